package ca_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ca"
)

type got struct {
	status int
	header http.Header
	body   []byte
}

func get(t *testing.T, url string, header ...string) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) got {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header, b}
}

func mustBundle(t *testing.T, a *ca.Authority) []byte {
	t.Helper()
	b, err := a.BundlePEM()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
