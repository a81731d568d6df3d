package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// chained sends everything through the proxy at addr, as a plain destination of what the request names.
func chained(t testing.TB, addr string) *gateway {
	f := &chooser{}
	g := startProxy(t, setup{backend: "127.0.0.1:1"}, f, nil)
	a := netip.MustParseAddrPort(addr)
	g.reg.SetProxies([]upstream.ProxyMaterial{{Settings: &ir.Proxy{Name: "ns/p", Addresses: []ir.ProxyAddress{{Host: a.Addr().String(), Port: a.Port()}},
		Headers: []ir.NameValue{{Name: "X-Site", Value: "north"}}}, Login: &ir.Login{User: "me", Password: secret.NewBytes([]byte("pw"))}}})
	d := upstream.NewDestinations(g.reg, &ir.Forward{Name: "ns/f", Template: ir.Upstream{Protocol: ir.UpstreamAuto}}, nil, 0)
	t.Cleanup(d.Close)
	f.choose = func(r *ForwardRequest) (ForwardChoice, bool) {
		u, release := d.Get(string(r.Request.Host), 80, false, &ir.Via{Proxies: []string{"ns/p"}})
		return ForwardChoice{Upstream: u, Release: release, Route: &route.Route{IR: &ir.Route{}}}, true
	}
	g.state.Store(g.state.Load()) // so that connections see all of that
	return g
}

// TestPlainThroughParent asks a parent proxy for plain HTTP by absolute URLs, with a login that is not the client's.
func TestPlainThroughParent(t *testing.T) {
	o := newMirror(t, "")
	g := chained(t, o.addr)
	c := g.dial()
	r := bufio.NewReader(c)
	for _, x := range []struct{ request, line string }{
		{"GET http://nowhere.test/x?y HTTP/1.1\r\nHost: nowhere.test\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n", "GET http://nowhere.test/x?y HTTP/1.1\r\nHost: nowhere.test\r\n"},
		{"GET http://nowhere.test:8080/ HTTP/1.1\r\nHost: nowhere.test:8080\r\n\r\n", "GET http://nowhere.test:8080/ HTTP/1.1\r\nHost: nowhere.test:8080\r\n"},
		{"OPTIONS http://nowhere.test HTTP/1.1\r\nHost: nowhere.test\r\n\r\n", "OPTIONS http://nowhere.test HTTP/1.1\r\nHost: nowhere.test\r\n"},
	} {
		_, body := roundTrip(t, c, r, "GET", x.request)
		if !strings.HasPrefix(body, x.line) || strings.Count(body, "Proxy-Authorization: Basic bWU6cHc=\r\n") != 1 || strings.Contains(body, "c2VjcmV0") || !strings.Contains(body, "X-Site: north\r\n") {
			t.Errorf("the parent received %q", body)
		}
		if a := g.record(); a.Proxy != "ns/p" || a.ProxyAddress != o.addr || a.Hierarchy != "FIRSTUP_PARENT" {
			t.Errorf("%s %s %s", a.Proxy, a.ProxyAddress, a.Hierarchy)
		}
	}
	if n := o.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestParentAsksForLogin is no question for the client.
func TestParentAsksForLogin(t *testing.T) {
	o := answering(t, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n\r\n")
	g := chained(t, o.addr)
	c := g.dial()
	resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if a := g.record(); resp.StatusCode != 502 || a.Code != diag.ProxyAuthRequired || a.ConnectStatus != 407 || resp.Header.Get("Proxy-Authenticate") != "" {
		t.Errorf("%d %v %d %v", resp.StatusCode, a.Code, a.ConnectStatus, resp.Header)
	}
}

// TestParentIsDown tells so.
func TestParentIsDown(t *testing.T) {
	g := chained(t, "127.0.0.1:1")
	c := g.dial()
	resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if a := g.record(); resp.StatusCode != 503 || a.Code != diag.ProxyUnreachable || a.Proxy != "ns/p" {
		t.Errorf("%d %v %s %s", resp.StatusCode, a.Code, a.Proxy, a.Detail)
	}
}

// TestRawThroughParent uses CONNECT all the same where bytes are passed on that are not HTTP.
func TestRawThroughParent(t *testing.T) {
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		head := readHead(r)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n\r\n%s", strings.SplitN(head, "\r\n", 2)[0])
	})
	g := chained(t, o.addr)
	d := upstream.NewDestinations(g.reg, &ir.Forward{Name: "ns/f"}, nil, 0)
	defer d.Close()
	u, release := d.Get("a.test", 443, false, &ir.Via{Proxies: []string{"ns/p"}})
	defer release()
	s, err := u.Connect(t.Context(), upstream.Query{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, _ := io.ReadAll(s); string(got) != "CONNECT a.test:443 HTTP/1.1" || s.Proxy != "ns/p" || s.ConnectStatus != 200 {
		t.Errorf("%q %s %d", got, s.Proxy, s.ConnectStatus)
	}
}
