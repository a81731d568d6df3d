//go:build e2e

package edge

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/rawupstream"
	"github.com/hakone-gateway/hakone/test/testca"
)

// inner is what an origin answers at what it takes for /test1 or below; it answers "outer" elsewhere.
const inner = "inner sanctum"

// startExpress starts an Express origin as its tutorial has it, and returns its address.
func startExpress(t *testing.T) string {
	t.Helper()
	port := gateway.FreePort(t)
	dir := t.TempDir()
	script := fmt.Sprintf(`const app = require('express')();
app.get(['/test1', '/test1/*rest'], (req, res) => res.send('%s'));
app.use((req, res) => res.send('outer'));
app.listen(%d, '127.0.0.1', () => console.log('ready'));
`, inner, port)
	if err := os.WriteFile(filepath.Join(dir, "index.js"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	log := program.Start(t, program.Command{Path: program.Find(t, "node"), Args: []string{"index.js"}, Dir: dir, Env: []string{"NODE_PATH=" + program.NodeModules(t)}})
	await(t, "Express listens", func() bool { return strings.Contains(log(), "ready") })
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// startNginx starts an nginx that serves a folder without regard to case, as one on another file system would.
func startNginx(t *testing.T) string {
	t.Helper()
	port := gateway.FreePort(t)
	dir := gateway.Folder(t)
	conf := fmt.Sprintf(`daemon off; error_log stderr; pid %[1]s/pid; worker_processes 1;
events {}
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen 127.0.0.1:%[2]d; location ~* ^/test1(/|$) { return 200 '%[3]s'; } location / { return 200 outer; } }
}
`, dir, port, inner)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	program.Start(t, program.Command{Path: program.Find(t, "nginx"), Args: []string{"-c", filepath.Join(dir, "nginx.conf")}})
	await(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return address
}

// startLenient starts an origin that takes for /test1 what any of several servers would: Tomcat, which ends
// names at ";" before it decodes, IIS, which takes "\" for "/", forgets case and trailing dots and spaces, and
// a server behind a proxy that has decoded once already.
func startLenient(t *testing.T) *rawupstream.Upstream {
	return rawupstream.Start(t, func(m *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
		if leniently(m.Path()) {
			return rawupstream.Reply(c, 200, "", inner)
		}
		return rawupstream.Reply(c, 200, "", "outer")
	})
}

func leniently(target string) bool {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if _, rest, found := strings.Cut(target, "://"); found {
		_, rest, _ = strings.Cut(rest, "/")
		target = "/" + rest
	}
	serves := func(p string) bool {
		p = path.Clean("/" + strings.ReplaceAll(p, `\`, "/"))
		first, _, _ := strings.Cut(p[1:], "/")
		return strings.EqualFold(strings.TrimRight(first, ". "), "test1")
	}
	for p, n := target, 0; n < 3; n++ {
		if serves(p) || serves(withoutParameters(p)) {
			return true
		}
		next, err := url.PathUnescape(p)
		if err != nil {
			break
		}
		if without, err := url.PathUnescape(withoutParameters(p)); err == nil && serves(without) {
			return true
		}
		p = next
	}
	return false
}

// withoutParameters cuts every segment at ";".
func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// spelling is a request target. want is what becomes of it without a certificate: deny (403, HK2101), refuse
// (no gateway sends it on, whoever asks) or open. HOST stands for the host.
type spelling struct{ target, want string }

const deny, refuse, open = "deny", "refuse", "open"

// spellings is the table of the ways to write /test1, and of some that only look like it.
func spellings() []spelling {
	var out []spelling
	for want, targets := range map[string][]string{
		deny: {
			"/test1", "/test1/", "/test1//", "/test1/x", "/test1?a", "/test1?", "/%74est1", "/%74%65%73%74%31", "//test1", "///test1", "/x/../test1", "/x/..//test1", "/x//../test1", "/./test1",
			"/%2e/test1", "/x/%2e%2e/test1", "/x/.%2e/test1", "/test1/../test1", "/test1/%2e%2e/test1", "/x/test1/../../test1", "/test1/.", "/test1/x/..", "/TEST1", "/Test1/x",
			"/test1;a", "/test1;a=b;c", "/;x/test1", "/;/test1", "/;a;b/;c/test1;d/e", "/%3b/test1", "/test1%3ba", "/test1%253ba", "/test1.", "/test1./x", "/test1...", "/test1%2e", "/test1%20",
			"/test1%20/x", "/test1.%20", "/%2574est1", "/x%252f..%252ftest1", "/x%255c..%255ctest1", "/%252ftest1", "/%255Ctest1", "/test1%252fx", "/test1%255cx", "/test1%3Fx", "/test1%23x",
			"/test1%2500.html", "/%C1%B4est1", "/te%C5%BFt1", "/test1%0a", "/test1%0A?x", "/test1%0d%0ax", "/test1%250a", "/test1%09", "/x%0a/test1",
		},
		refuse: {
			"/test1#x", "/test1%2f", "/test1%2fx", "/x/..%2ftest1", "/%2Ftest1", "/.%2ftest1", "/te%73t1%2F..", "/x/..;/test1", "/test1/..;/x", "\\test1", "/\\test1", "/x\\..\\test1", "/%5ctest1",
			"/test1%00", "/test1%", "/test1%7", "/%u0074est1", "/../test1", "/../../test1", "/%2e%2e/test1", "test1", "", "*", "http:///test1", "http://HOST/test1", "https://user@HOST/test1",
			"https://other.test/test1", "/test1\t", "/test1 x", "/test1\x7f", "/test1\xff",
		},
		open: {"/", "/test10", "/test", "/test1x", "/test1-", "/xtest1", "/x/test1", "/test1/../open", "/test1,x", "/test1|x", "/test1&x", "/*", "//HOST/test1", "/?/test1", "/test1%2Bx", "/te.st1", "/te/st1"},
	} {
		for _, target := range targets {
			out = append(out, spelling{target, want})
		}
	}
	return out
}

// pathWorld is a gateway before three origins, each on a host of its own where /test1 is for clients of CA A.
type pathWorld struct {
	*world
	hosts   map[string]string // addresses of the origins
	lenient *rawupstream.Upstream
	vera    *testca.Pair
}

func newPathWorld(t *testing.T) *pathWorld {
	w := &pathWorld{world: newWorld(t, "other.test"), lenient: startLenient(t)}
	w.hosts = map[string]string{"express.test": startExpress(t), "nginx.test": startNginx(t), "lenient.test": w.lenient.Addr}
	for host, addr := range w.hosts {
		name, _, _ := strings.Cut(host, ".")
		w.files[name+".yaml"] = documents(edgeHost(name, addr, host), w.secret(name, host), policy(name, "hosts: ["+host+"]", "paths: [/test1]", trusts("a")))
	}
	w.vera = w.a.Issue(testca.Spec{CommonName: "vera"})
	w.start()
	return w
}

// outcome is what became of a request: the words of spelling, or another answer. served says that an origin
// took it for /test1.
type outcome struct {
	what   string
	served bool
}

func (w *pathWorld) judge(status int, body string, err error) outcome {
	switch {
	case err != nil || status == 400 || status == 0:
		return outcome{what: refuse}
	case status == 403 && strings.Contains(body, "HK2101"):
		return outcome{what: deny}
	case status == 200 && (body == inner || body == "outer"):
		return outcome{open, body == inner}
	}
	return outcome{what: fmt.Sprintf("%d %.60q", status, body)}
}

// http1 sends head as it stands on a connection of its own.
func (w *pathWorld) http1(host, head string, cert *testca.Pair) outcome {
	w.Helper()
	c := w.raw(host, cert)
	defer c.Close()
	c.Send(head)
	resp, body, err := c.TryReceive("GET")
	if err != nil {
		return w.judge(0, "", err)
	}
	return w.judge(resp.StatusCode, body, nil)
}

// TestSpellings asks for every spelling over both protocols. Without a certificate none reaches what an
// origin takes for /test1; with one they all arrive.
func TestSpellings(t *testing.T) {
	t.Parallel()
	w := newPathWorld(t)
	for host, address := range w.hosts {
		direct := 0
		for _, s := range spellings() {
			target := strings.ReplaceAll(s.target, "HOST", host)
			head := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
			c := client.Dial(t, address)
			c.Send(head)
			if _, body, err := c.TryReceive("GET"); err == nil && body == inner {
				direct++
			}
			c.Close()
			before := w.lenient.Count()
			w.expect(host+" HTTP/1.1 "+target, s, w.http1(host, head, nil), w.http1(host, head, w.vera))
			if n := len(w.lenient.Since(before)); s.want != open && host == "lenient.test" && n != map[string]int{deny: 1}[s.want] {
				t.Errorf("%s: the origin saw %d requests", target, n)
			}
		}
		w.spellings2(host)
		if least := map[string]int{"express.test": 12, "nginx.test": 25, "lenient.test": 50}[host]; direct < least {
			t.Errorf("%s itself takes only %d of the spellings for /test1, so the table shows nothing", host, direct)
		}
	}
}

// spellings2 is the table over HTTP/2.
func (w *pathWorld) spellings2(host string) {
	w.Helper()
	ask := func(target string, cert *testca.Pair) outcome {
		c := client.DialHTTP2(w, w.g.Addr(443), w.config(host, cert), 0, false)
		defer c.Close()
		s, err := c.Get("https", host, target)
		return w.judge(s.Status, string(s.Body), err)
	}
	for _, s := range spellings() {
		target := strings.ReplaceAll(s.target, "HOST", host)
		w.expect(host+" HTTP/2 "+target, s, ask(target, nil), ask(target, w.vera))
	}
	w.expect(host+" HTTP/2 absolute", spelling{"", refuse}, ask("https://"+host+"/test1", nil), ask("https://"+host+"/test1", w.vera))
}

func (w *pathWorld) expect(what string, s spelling, without, with outcome) {
	w.Helper()
	certified := s.want
	if s.want == deny {
		certified = open
	}
	if without.served || without.what != s.want || with.what != certified {
		w.Errorf("%q: without a certificate %+v, with %+v; want %s", what, without, with, s.want)
	}
}

// TestFormsOfRequests asks for /test1 in other than the usual ways: with other forms of the host and the
// target, methods, versions, upgrades, several requests at once.
func TestFormsOfRequests(t *testing.T) {
	t.Parallel()
	w := newPathWorld(t)
	const host = "lenient.test"
	line := func(method, target, host string) string {
		return method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\n\r\n"
	}
	for _, k := range []struct{ head, want string }{
		{line("GET", "https://"+host+"/test1", host), deny},
		{line("GET", "HTTPS://LENIENT.TEST/%74est1", "LENIENT.TEST"), deny},
		{line("GET", "/test1", "LENIENT.test"), deny},
		{line("GET", "/test1", host+"."), deny},
		{line("GET", "/test1", fmt.Sprintf("%s:%d", host, w.g.Port(443))), deny},
		{line("GET", fmt.Sprintf("https://%s:%d//test1", host, w.g.Port(443)), fmt.Sprintf("%s:%d", host, w.g.Port(443))), deny},
		{line("POST", "/test1", host), deny},
		{line("OPTIONS", "/test1", host), deny},
		{line("PROPFIND", "/test1", host), deny},
		{line("get", "/test1", host), deny},
		{"GET /test1 HTTP/1.0\r\nHost: " + host + "\r\n\r\n", deny},
		{"POST /test1 HTTP/1.1\r\nHost: " + host + "\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", deny},
		{"GET /test1 HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", deny},
		{"GET /open HTTP/1.1\r\nHost: " + host + "\r\nX-Original-URL: /open\r\nX-Forwarded-Client-Cert: Hash=ab;Subject=\"CN=vera\"\r\n\r\n", open},
		{"GET /test1 HTTP/1.1\r\nHost: " + host + "\r\nX-Forwarded-Client-Cert: Hash=ab;Subject=\"CN=vera\"\r\nClient-Cert: :aGk=:\r\n\r\n", deny},
		{"GET /test1 HTTP/1.1\r\nHost: " + host + "\r\nHost: other.test\r\n\r\n", refuse},
		{"GET /test1 HTTP/1.1\r\n\r\n", refuse},
	} {
		if got := w.http1(host, k.head, nil); got.served || got.what != k.want {
			t.Errorf("%q: %+v, want %s", k.head, got, k.want)
		}
	}
	for _, head := range []string{line("CONNECT", host+":443", host+":443"), line("OPTIONS", "*", host), line("TRACE", "/test1", host), line("GET", "/test1", "other.test"), line("GET", "https://other.test/test1", "other.test")} {
		if got := w.http1(host, head, nil); got.served || got.what == open {
			t.Errorf("%q: %+v", head, got)
		}
	}
	w.atOnce(host)
	w.forms2(host)
	for _, m := range w.lenient.Messages() {
		if leniently(m.Path()) {
			t.Errorf("the origin received %q", m.Head)
		}
	}
}

// atOnce sends requests behind others on one connection, and in what bodies end.
func (w *pathWorld) atOnce(host string) {
	w.Helper()
	c := w.raw(host, nil)
	c.Send("POST /open HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
		"GET /test1 HTTP/1.1\r\nHost: " + host + "\r\n\r\nGET /open HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	for i, want := range []string{open, deny, open} {
		resp, body, err := c.TryReceive("GET")
		if err != nil {
			w.Fatalf("answer %d: %v", i, err)
		}
		if got := w.judge(resp.StatusCode, body, nil); got.what != want || got.served {
			w.Errorf("answer %d: %+v, want %s", i, got, want)
		}
	}
}

func (w *pathWorld) forms2(host string) {
	w.Helper()
	get := func(namesAndValues ...string) client.Fields { return client.Lines(namesAndValues...) }
	for name, k := range map[string]struct {
		fields client.Fields
		want   string
	}{
		"upper case":         {get(":method", "GET", ":scheme", "https", ":authority", "LENIENT.TEST", ":path", "//TEST1"), deny},
		"host, no authority": {get(":method", "GET", ":scheme", "https", ":path", "/test1", "host", host), deny},
		"extended CONNECT":   {get(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", host, ":path", "/test1", "sec-websocket-version", "13"), deny},
		"CONNECT":            {get(":method", "CONNECT", ":authority", host+":443"), ""},
		"two paths":          {get(":method", "GET", ":scheme", "https", ":authority", host, ":path", "/open", ":path", "/test1"), refuse},
		"another host":       {get(":method", "GET", ":scheme", "https", ":authority", host, ":path", "/test1", "host", "other.test"), refuse},
		"scheme":             {get(":method", "GET", ":scheme", "http", ":authority", host, ":path", "/test1"), ""},
		"POST":               {get(":method", "POST", ":scheme", "https", ":authority", host, ":path", "/%74est1"), deny},
		"OPTIONS *":          {get(":method", "OPTIONS", ":scheme", "https", ":authority", host, ":path", "*"), ""},
	} {
		c := client.DialHTTP2(w, w.g.Addr(443), w.config(host, nil), 0, false)
		s, err := c.Await(c.Open(k.fields, name != "extended CONNECT"), nil)
		got := w.judge(s.Status, string(s.Body), err)
		if got.served || k.want != "" && got.what != k.want || k.want == "" && got.what == open {
			w.Errorf("HTTP/2, %s: %+v, want %s", name, got, k.want)
		}
		c.Close()
	}
}
