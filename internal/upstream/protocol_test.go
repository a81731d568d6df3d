//lint:file-ignore SA1019 x/net's HTTP/2 takes single connections, which net/http does not

package upstream

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// greeting answers every request.
type greeting struct{}

func (greeting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "Proto")
	_, _ = w.Write([]byte("hello"))
	w.Header().Set("Proto", r.Proto)
}

// speaking is a server that negotiates by ALPN.
func speaking(t *testing.T, protocols ...string) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{ln: ln}
	config := &tls.Config{Certificates: []tls.Certificate{testca.New(t, testca.Spec{CommonName: "CA"}).Issue(testca.Spec{DNS: []string{"up.test"}}).TLS()}, NextProtos: protocols}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.count.Add(1)
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			wg.Go(func() {
				tc := tls.Server(c, config)
				if tc.Handshake() == nil && tc.ConnectionState().NegotiatedProtocol == "h2" {
					(&http2.Server{}).ServeConn(tc, &http2.ServeConnOpts{Handler: greeting{}})
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.each(func(c net.Conn) { c.Close() })
		wg.Wait()
	})
	return s
}

// TestProtocol speaks to endpoints what the upstream's settings, the client and ALPN come to.
func TestProtocol(t *testing.T) {
	for _, c := range []struct {
		name   string
		speak  ir.UpstreamProtocol
		server []string
		q      Query
		h2     bool
		code   diag.Code
	}{
		{"http1", ir.UpstreamHTTP1, []string{"h2", "http/1.1"}, Query{HTTP2: true}, false, 0},
		{"http2", ir.UpstreamHTTP2, []string{"h2", "http/1.1"}, Query{}, true, 0},
		{"http2, not spoken", ir.UpstreamHTTP2, []string{"http/1.1"}, Query{}, false, diag.UpstreamNoHTTP2},
		{"auto", ir.UpstreamAuto, []string{"h2", "http/1.1"}, Query{}, true, 0},
		{"auto, not spoken", ir.UpstreamAuto, []string{"http/1.1"}, Query{}, false, 0},
		{"auto, no ALPN", ir.UpstreamAuto, nil, Query{}, false, 0},
		{"auto, upgrade", ir.UpstreamAuto, []string{"h2", "http/1.1"}, Query{HTTP1: true}, false, 0},
		{"same, from HTTP/1.1", ir.UpstreamSame, []string{"h2", "http/1.1"}, Query{}, false, 0},
		{"same, from HTTP/2", ir.UpstreamSame, []string{"h2", "http/1.1"}, Query{HTTP2: true}, true, 0},
		{"same, not spoken", ir.UpstreamSame, []string{"http/1.1"}, Query{HTTP2: true}, false, diag.UpstreamNoHTTP2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := speaking(t, c.server...)
			r := NewRegistry(Options{})
			defer r.Close()
			u := r.Acquire(&ir.Upstream{Name: "u", Protocol: c.speak, TLS: &ir.UpstreamTLS{}})
			u.SetTLS(&plainTLS{name: "a"})
			u.SetEndpoints([]ir.Endpoint{s.endpoint()})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					l, err := u.Get(c.q)
					if codeOf(err) != c.code || (l == nil) != (c.code != 0) {
						t.Errorf("got %v", err)
						return
					}
					if l == nil {
						return
					}
					if (l.H2 != nil) != c.h2 || l.TLS == nil {
						t.Errorf("HTTP/2: %v", l.H2 != nil)
					}
					if l.H2 != nil {
						if status, err := ask(l); status != 200 || err != nil {
							t.Errorf("answered %d, %v", status, err)
						}
					}
					l.Release()
				})
			}
			wg.Wait()
			if c.code == 0 {
				if l := mustGet(t, u, c.q); !l.Reused {
					t.Error("not kept")
				} else {
					l.Close()
				}
			}
			if c.h2 && s.count.Load() != 1 {
				t.Errorf("%d connections", s.count.Load())
			}
		})
	}
}

// TestPlainProtocol does the same without TLS, where HTTP/2 needs prior knowledge.
func TestPlainProtocol(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h2c.NewHandler(greeting{}, &http2.Server{}), ReadHeaderTimeout: time.Minute}
	done := make(chan error)
	go func() { done <- srv.Serve(ln) }()
	defer func() { srv.Close(); <-done }()
	s := &server{ln: ln}
	for _, c := range []struct {
		speak ir.UpstreamProtocol
		q     Query
		h2    bool
	}{
		{ir.UpstreamHTTP1, Query{HTTP2: true}, false},
		{"", Query{HTTP2: true}, false},
		{ir.UpstreamHTTP2, Query{}, true},
		{ir.UpstreamAuto, Query{HTTP2: true}, false},
		{ir.UpstreamSame, Query{}, false},
		{ir.UpstreamSame, Query{HTTP2: true}, true},
		{ir.UpstreamSame, Query{HTTP2: true, HTTP1: true}, false},
	} {
		r := NewRegistry(Options{})
		u := r.Acquire(&ir.Upstream{Name: "u", Protocol: c.speak})
		u.SetEndpoints([]ir.Endpoint{s.endpoint()})
		l := mustGet(t, u, c.q)
		if (l.H2 != nil) != c.h2 {
			t.Errorf("%q, client in HTTP/2 %v: HTTP/2 %v", c.speak, c.q.HTTP2, l.H2 != nil)
		} else if c.h2 {
			if status, err := ask(l); status != 200 || err != nil {
				t.Errorf("answered %d, %v", status, err)
			}
		}
		l.Release()
		r.Release(u)
		r.Close()
	}
}

// TestByHost keeps connections apart that were made for different TLS server names.
func TestByHost(t *testing.T) {
	s := speaking(t, "h2")
	r := NewRegistry(Options{})
	defer r.Close()
	u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2, TLS: &ir.UpstreamTLS{HostSNI: true}})
	u.SetTLS(&plainTLS{name: "a"})
	u.SetEndpoints([]ir.Endpoint{s.endpoint()})
	a, b, again := mustGet(t, u, Query{Host: "a.test"}), mustGet(t, u, Query{Host: "b.test"}), mustGet(t, u, Query{Host: "a.test"})
	if a.H2 == b.H2 || a.H2 != again.H2 {
		t.Error("connections are not kept apart by host")
	}
	for _, l := range []*Conn{a, b, again} {
		l.Release()
	}
	e := u.known()[0]
	if n := len(e.groups()); n != 3 {
		t.Errorf("%d groups, want 3", n)
	}
	r.sweep(time.Now().Add(time.Hour).UnixNano())
	if n := len(e.groups()); n != 1 {
		t.Errorf("%d groups after idling, want 1", n)
	}
	mustGet(t, u, Query{Host: "a.test"}).Release()
}
