//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
)

// matchWorld is a gateway with the rules of testdata/match in one API.
type matchWorld struct {
	g               *gateway.Gateway
	site            site
	backend, canary *rawupstream.Upstream
}

func newMatchWorld(t *testing.T, family string) *matchWorld {
	t.Helper()
	answer := func(m *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
		return rawupstream.Reply(c, 200, "X-Origin: secret\r\nX-Answer: origin\r\n", m.Field("x-rule"))
	}
	w := &matchWorld{site: newSite(t, "a.test", "*.wild.test"), backend: rawupstream.Start(t, answer), canary: rawupstream.Start(t, answer)}
	w.g = gateway.Start(t, gateway.Options{Files: map[string]string{"match.yaml": document(t, "match", family+".yaml"), "secret.yaml": secretTLS("site", w.site.leaf)},
		Endpoints: []string{"backend.default:8000=" + w.backend.Addr, "canary.default:8000=" + w.canary.Addr}})
	return w
}

// TestMatching sends requests past every kind of match, in both APIs.
func TestMatching(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		w := newMatchWorld(t, family)
		conns := map[string]*client.Conn{}
		ask := func(host, method, target, fields string) (int, string) {
			name, _, _ := strings.Cut(host, ":")
			if conns[name] == nil {
				conns[name] = client.DialTLS(t, w.g.Addr(443), w.site.config(name))
			}
			conns[name].Send(method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\n" + fields + "\r\n")
			resp, body := conns[name].Receive(method)
			if resp.Close {
				conns[name] = nil
			}
			return resp.StatusCode, body
		}
		for _, c := range []struct {
			host, method, target, fields string
			rule                         string // "" for 404; "istio:x gatewayapi:y" where the APIs differ
		}{
			{"a.test", "GET", "/exact", "", "exact"},
			{"a.test", "GET", "/exact?q=1", "", "exact"},
			{"a.test", "GET", "/exact/", "", "istio: gatewayapi:prefix-of-exact"},
			{"a.test", "GET", "/Exact", "", ""},
			{"a.test", "GET", "/r/42", "", "regex"},
			{"a.test", "GET", "/r/42x", "", ""},
			{"a.test", "GET", "/x/r/42", "", ""},
			{"a.test", "GET", "/h/1", "X-User: alice\r\n", "header"},
			{"a.test", "GET", "/h/1", "x-uSER: bob@example.com\r\n", "header-regex"},
			{"a.test", "GET", "/h/1", "X-User: bob@example.com.evil\r\n", ""},
			{"a.test", "GET", "/h/1", "X-User: Alice\r\n", ""},
			{"a.test", "GET", "/h/1", "", ""},
			{"a.test", "GET", "/q?v=2", "", "query"},
			{"a.test", "GET", "/q?x=1&v=2&y", "", "query"},
			{"a.test", "GET", "/q?v=22", "", ""},
			{"a.test", "GET", "/q", "", ""},
			{"a.test", "POST", "/m", "", "method"},
			{"a.test", "GET", "/m", "", ""},
			{"a.test", "GET", "/open", "", "open"},
			{"a.test", "GET", "/open/sea", "", "open"},
			{"a.test", "GET", "/opened", "", "istio:open gatewayapi:"},
			{"a.test:443", "GET", "/open", "", "open"},
			{"A.TEST", "GET", "/open", "", "open"},
			{"one.wild.test", "GET", "/open", "", "open"},
			{"one.wild.test", "GET", "/nothing", "", "istio: gatewayapi:wild"},
			{"two.wild.test", "GET", "/nothing", "", "wild"},
		} {
			want := c.rule
			for _, word := range strings.Fields(c.rule) {
				if f, rule, ok := strings.Cut(word, ":"); ok && f == family {
					want = rule
				}
			}
			status, rule := ask(c.host, c.method, c.target, c.fields)
			if want == "" && status != 404 || want != "" && (status != 200 || rule != want) {
				t.Errorf("%s %s%s %q: status %d, rule %.40q; want %q", c.method, c.host, c.target, c.fields, status, rule, want)
			}
		}
	})
}

// TestOnePath sends targets that origins read differently: what is matched is what the origin gets,
// and what is ambiguous gets 400.
func TestOnePath(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		w := newMatchWorld(t, family)
		for _, c := range []struct{ target, rule, received string }{
			{"/open/../admin", "admin", "/admin"},
			{"/open/%2e%2e/admin", "admin", "/admin"},
			{"/open/%2E./admin/x", "admin", "/admin/x"},
			{"//admin", "admin", "/admin"},
			{"/open//..//admin", "admin", "/admin"},
			{"/./admin/.", "admin", "/admin/"},
			{"/%61dmin", "admin", "/admin"},
			{"/open/%7euser?a=../..//%2f", "open", "/open/~user?a=../..//%2f"},
			{"/open/a;v=1/b", "open", "/open/a;v=1/b"},
			{"/open/%25%32%66", "open", "/open/%252f"},
			{"https://a.test/admin", "admin", "/admin"},
			{"https://A.test/open/x", "open", "/open/x"},
			{"https://a.test:443/open/x", "400", ""}, // differs from Host
			{"/open%2fadmin", "400", ""},
			{"/open%2F..%2Fadmin", "400", ""},
			{"/open/..%5cadmin", "400", ""},
			{"/open/..\\admin", "400", ""},
			{"/open/..;/admin", "400", ""},
			{"/open/%2e%2e;x=y/admin", "400", ""},
			{"/open/%00", "400", ""},
			{"/open/\x00", "400", ""},
			{"/open/../../admin", "400", ""},
			{"/open/%", "400", ""},
			{"/open#/admin", "400", ""},
			{"https://b.test/admin", "400", ""},
			{"https://user@a.test/admin", "400", ""},
			{"admin", "400", ""},
		} {
			before := len(w.backend.Messages())
			conn := client.DialTLS(t, w.g.Addr(443), w.site.config("a.test"))
			conn.Send("GET " + c.target + " HTTP/1.1\r\nHost: a.test\r\n\r\n")
			resp, rule := conn.Receive("GET")
			conn.Close()
			got := w.backend.Messages()[before:]
			switch {
			case c.rule == "400":
				if resp.StatusCode != 400 || len(got) != 0 {
					t.Errorf("%q: status %d, %d requests reached the origin; want 400 and none", c.target, resp.StatusCode, len(got))
				}
			case resp.StatusCode != 200 || rule != c.rule || len(got) != 1 || got[0].Path() != c.received:
				path := ""
				if len(got) > 0 {
					path = got[0].Path()
				}
				t.Errorf("%q: status %d, rule %q, the origin received %q; want rule %q and %q", c.target, resp.StatusCode, rule, path, c.rule, c.received)
			}
		}
	})
}

// TestRedirectsAndHeaders follows redirects and modified headers.
func TestRedirectsAndHeaders(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		w := newMatchWorld(t, family)
		trust := w.site.caFile(t)
		// The redirect leads to the port that is bound for 443, where the client can follow it.
		want := fmt.Sprintf("https://a.test:%d/some/path?q=1", w.g.Port(443))
		if a := client.Curl(t, w.g.Addr(80), "http://a.test/some/path?q=1"); a.Status != 301 || a.Field("Location") != want {
			t.Errorf("plain HTTP: status %d, Location %q", a.Status, a.Field("Location"))
		}
		a := client.Curl(t, w.g.Addr(443), "https://a.test/old/things", "--cacert", trust)
		if loc := a.Field("Location"); a.Status != 308 || !strings.HasPrefix(loc, "https://b.test") || !strings.HasSuffix(loc, "/new") {
			t.Errorf("redirect: status %d, Location %q", a.Status, loc)
		}
		a = client.Curl(t, w.g.Addr(443), "https://a.test/mod", "--cacert", trust, "-H", "X-Secret: 1", "-H", "X-Set: old", "-H", "X-Add: first")
		if a.Status != 200 || a.Field("X-Answer") != "set" || a.Field("X-Origin") != "" {
			t.Errorf("answer: %d\n%s", a.Status, a.Head)
		}
		m := w.backend.Await(1)[0]
		if add := m.Field("X-Add"); m.Field("X-Secret") != "" || m.Field("X-Set") != "new" || add != "first\x00second" && add != "first,second" && add != "first, second" {
			t.Errorf("the origin received:\n%s", m.Head)
		}
	})
}

// TestWeights counts where weighted requests go.
func TestWeights(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		w := newMatchWorld(t, family)
		c := client.DialTLS(t, w.g.Addr(443), w.site.config("w.wild.test"))
		const n = 600
		for i := range n {
			if resp, _ := c.Get("w.wild.test", fmt.Sprintf("/%d", i)); resp.StatusCode != 200 {
				t.Fatalf("status %d", resp.StatusCode)
			}
		}
		// 20 % of 600 with six standard deviations either way.
		if got := len(w.canary.Messages()); got < 60 || got > 180 || got+len(w.backend.Messages()) != n {
			t.Errorf("the canary got %d of %d requests, want about %d", got, n, n/5)
		}
	})
}
