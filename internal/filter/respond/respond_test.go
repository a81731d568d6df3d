package respond

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestRespond(t *testing.T) {
	f, err := New(&ir.Respond{Status: 503, Body: "closed"})
	if err != nil {
		t.Fatal(err)
	}
	if r := f.Request(nil); r.Verdict != filter.Respond || r.Response.Status != 503 || string(r.Response.Body) != "closed" || r.Response.Code != 0 {
		t.Errorf("%+v", r.Response)
	}
	for _, s := range []int{0, 101, 600} {
		if _, err := New(&ir.Respond{Status: s}); err == nil {
			t.Errorf("status %d is accepted", s)
		}
	}
}
