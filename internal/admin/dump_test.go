package admin

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

func TestDumpWithoutAWordListsTheNames(t *testing.T) {
	w := httptest.NewRecorder()
	NewServer(still{}, Access{}, slog.New(slog.DiscardHandler)).Handler(true).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/dump", nil))
	var got struct{ Dumps []string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || !slices.Equal(got.Dumps, DumpNames()) {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
}
