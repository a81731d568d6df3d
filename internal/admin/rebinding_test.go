package admin

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"
)

// still is a backend that has nothing to tell.
type still struct{}

func (still) Status() Status                                          { return Status{} }
func (still) Health() Health                                          { return Health{Live: true, Ready: true} }
func (still) Dump(string) (any, error)                                { return nil, ErrNoDump }
func (still) Explain(context.Context, string) (json.RawMessage, bool) { return nil, false }
func (still) Metrics() http.Handler                                   { return http.NotFoundHandler() }
func (still) Reload()                                                 {}
func (still) SetTLSVersion(context.Context, TLSChange) (TLSChanged, error) {
	return TLSChanged{}, nil
}

// TestRebinding asks an address of the loopback under other names, as a browser does for a page whose
// name was made to resolve to it.
func TestRebinding(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- NewServer(still{}, Access{}, slog.New(slog.DiscardHandler)).Serve(ctx, ln) }()
	defer func() { cancel(); <-done }()
	for host, want := range map[string]int{
		"": 200, "127.0.0.1": 200, "127.0.0.1:9000": 200, "[::1]:9000": 200, "localhost:9000": 200, "LOCALHOST.": 200, "a.localhost": 200,
		"evil.test": 421, "evil.test:9000": 421, "127.0.0.1.evil.test": 421, "192.0.2.1": 421, "localhost.evil.test": 421,
	} {
		req, err := http.NewRequest("GET", "http://"+ln.Addr().String()+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, resp.StatusCode, want)
		}
	}
}
