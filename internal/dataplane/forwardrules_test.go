package dataplane

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// ask sends a request to the proxy as it stands and reads the answer.
func (o *outsideWorld) ask(request string) (*http.Response, string) {
	o.t.Helper()
	conn, err := net.Dial("tcp", o.address(o.applied, "*:3128"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, strings.ReplaceAll(request, "\n", "\r\n")+"\r\n\r\n")
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		o.t.Fatalf("%s: %v", request, err)
	}
	var body []byte
	if resp.StatusCode != 200 || method != "CONNECT" {
		body, _ = io.ReadAll(resp.Body)
	}
	return resp, string(body)
}

func TestForwardRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*ir.Forward, *ir.Snapshot)
		ask    string // BACKEND is replaced by the origin's address
		status int
		says   string
		log    string // result and hierarchy
	}{
		{"denied by rule", func(f *ir.Forward, _ *ir.Snapshot) {
			f.ACLs = []ir.ACL{{Name: "bad", Type: "dstdomain", Values: []string{".bad.test"}}}
			f.Access = []ir.ForwardRule{{Action: "deny", ACLs: []string{"bad"}}, {Action: "allow", ACLs: []string{"all"}}}
			f.Contact = "noc@example.com"
		}, "GET http://www.bad.test/ HTTP/1.1\nHost: www.bad.test", 403, "detail: access rule 1 (deny bad)", "TCP_DENIED/403 GET http://www.bad.test/ - HIER_NONE -"},
		{"CONNECT denied", func(f *ir.Forward, _ *ir.Snapshot) {
			f.Interception = nil // else the page is shown in TLS: TestForwardPageInTLS
			f.ACLs = []ir.ACL{{Name: "SSL_ports", Type: "port", Values: []string{"443"}}}
			f.Access = []ir.ForwardRule{{Action: "deny", ACLs: []string{"CONNECT", "!SSL_ports"}}, {Action: "allow", ACLs: []string{"all"}}}
		}, "CONNECT a.test:25 HTTP/1.1\nHost: a.test:25", 403, "HK4502", "TCP_DENIED/403 CONNECT a.test:25 - HIER_NONE -"},
		{"JSON page", func(f *ir.Forward, _ *ir.Snapshot) {
			f.Access = []ir.ForwardRule{{Action: "deny", ACLs: []string{"all"}}}
		},
			"GET http://a.test/ HTTP/1.1\nHost: a.test\nAccept: application/json", 403, `"reason":"egress_denied"`, ""},
		{"own page", func(f *ir.Forward, _ *ir.Snapshot) {
			f.Access = []ir.ForwardRule{{Action: "deny", ACLs: []string{"all"}}}
			f.Page = "<b>{{code}} {{host}} {{ contact }}</b>{{nothing}}"
			f.Contact = "<noc>"
		}, "GET http://a.test/ HTTP/1.1\nHost: a.test\nAccept: text/html", 403, "<b>HK4502 a.test &lt;noc&gt;</b>{{nothing}}", ""},
		{"a path alone", nil, "GET /x HTTP/1.1\nHost: a.test", 400, "not_a_proxy_request", ""},
		{"Via names us", nil, "GET http://BACKEND/ HTTP/1.1\nHost: BACKEND\nVia: 1.0 fred, 1.1 out (hakone)", 508, "forwarding_loop", ""},
		{"Via names another", nil, "GET http://BACKEND/ HTTP/1.1\nHost: BACKEND\nVia: 1.1 outer", 200, "BACKEND /", ""},
		{"a listener of ours", nil, "GET http://127.0.0.1:PROXY/ HTTP/1.1\nHost: 127.0.0.1:PROXY", 508, "is a listener of this process", ""},
		{"loopback", func(f *ir.Forward, _ *ir.Snapshot) { f.Loopback = false }, "GET http://BACKEND/ HTTP/1.1\nHost: BACKEND", 403, "local_destination", ""},
		{"loopback by name", func(f *ir.Forward, _ *ir.Snapshot) { f.Loopback, f.Interception = false, nil }, "CONNECT localhost:443 HTTP/1.1\nHost: localhost:443", 403, "local_destination", ""},
		{"metadata", func(f *ir.Forward, _ *ir.Snapshot) { f.Loopback = false }, "GET http://169.254.169.254/ HTTP/1.1\nHost: 169.254.169.254", 403, "local_destination", ""},
		{"not in the registry", func(f *ir.Forward, _ *ir.Snapshot) {
			f.KnownOnly = true
			p, _ := hostname.Parse("known.test")
			f.Known = []ir.KnownHost{{Host: p}}
		}, "GET http://BACKEND/ HTTP/1.1\nHost: BACKEND", 403, "destination_not_registered", ""},
		{"known, with an upstream of its own", func(f *ir.Forward, _ *ir.Snapshot) {
			f.KnownOnly = true
			p, _ := hostname.Parse("known.test")
			f.Known = []ir.KnownHost{{Host: p, Upstream: "u"}}
		}, "GET http://known.test/ HTTP/1.1\nHost: known.test", 200, "known.test /", ""},
		{"never direct", func(f *ir.Forward, _ *ir.Snapshot) {
			f.Direct = []ir.ForwardRule{{Action: "deny", ACLs: []string{"all"}}}
		},
			"GET http://BACKEND/ HTTP/1.1\nHost: BACKEND", 503, "direct_forbidden", ""},
		{"terminate at step 1", func(f *ir.Forward, _ *ir.Snapshot) {
			f.Interception.Rules = []ir.ForwardRule{{Action: "terminate", ACLs: []string{"all"}}}
		}, "CONNECT BACKEND HTTP/1.1\nHost: BACKEND", 403, "terminated_by_rule", ""},
		{"spliced to nobody", func(f *ir.Forward, _ *ir.Snapshot) { f.Interception = nil }, "CONNECT 127.0.0.1:1 HTTP/1.1\nHost: 127.0.0.1:1", 503, "upstream_connection_refused", ""},
		{"a broken policy", func(f *ir.Forward, _ *ir.Snapshot) { f.ACLs = []ir.ACL{{Name: "x", Type: "gone"}} }, "GET http://BACKEND/ HTTP/1.1\nHost: BACKEND", 503, "forward_proxy_unavailable", ""},
		{"trust page", nil, "GET http://hakone.internal/ HTTP/1.1\nHost: hakone.internal", 200, "keytool -importcert", ""},
		{"CA as PEM", nil, "GET /.well-known/hakone/trust/ca.pem HTTP/1.1\nHost: proxy", 200, "-----BEGIN CERTIFICATE-----", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOutside(t, c.change)
			_, port, _ := net.SplitHostPort(o.address(o.applied, "*:3128"))
			fill := strings.NewReplacer("BACKEND", o.backend, "PROXY", port)
			resp, body := o.ask(fill.Replace(c.ask))
			if resp.StatusCode != c.status || !strings.Contains(body, fill.Replace(c.says)) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if id := resp.Header.Get("X-Request-Id"); strings.HasPrefix(body, "HK") && (id == "" || !strings.Contains(body, "\nrequest: "+id+"\n")) {
				t.Errorf("the page does not name the request %q: %s", id, body)
			}
			if c.log != "" {
				o.logged(c.log)
			}
		})
	}
}

func TestForwardAuthentication(t *testing.T) {
	users := &ir.Passwords{Digest: "1", Users: map[string]secret.Bytes{"alice": secret.NewBytes([]byte("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="))}} // "password"
	o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
		f.Passwords = "t/users"
		s.Secrets.Passwords = map[ir.SecretRef]*ir.Passwords{"t/users": users}
	})
	basic := func(s string) string {
		return "\nProxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s))
	}
	get := "GET http://" + o.backend + "/ HTTP/1.1\nHost: " + o.backend
	for _, c := range []struct {
		ask    string
		status int
		says   string
	}{
		{get, 407, "proxy_authentication_required"},
		{get + basic("alice:wrong"), 407, "proxy_authentication_failed"},
		{get + basic("bob:password"), 407, "proxy_authentication_failed"},
		{get + "\nProxy-Authorization: Bearer x", 407, "not of the scheme Basic"},
		{get + basic("alice:password"), 200, " /"},
		{"CONNECT " + o.backend + " HTTP/1.1\nHost: " + o.backend, 407, "HK4503"},
		{"CONNECT " + o.backend + " HTTP/1.1\nHost: " + o.backend + basic("alice:password"), 200, ""},
	} {
		resp, body := o.ask(c.ask)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", c.ask, resp.StatusCode, body)
		}
		if want := `Basic realm="out", charset="UTF-8"`; c.status == 407 && resp.Header.Get("Proxy-Authenticate") != want {
			t.Errorf("Proxy-Authenticate: %s", resp.Header.Get("Proxy-Authenticate"))
		}
	}
	o.logged("TCP_DENIED/407 GET http://" + o.backend + "/ - HIER_NONE -")
	o.logged("TCP_MISS/200 GET http://" + o.backend + "/ alice HIER_DIRECT -")

	_, port, _ := net.SplitHostPort(o.origin(o.public, testca.Spec{}))
	at := o.address(o.applied, "*:3128")
	c := o.via(func(tr *http.Transport) {
		tr.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: at, User: url.UserPassword("alice", "password")})
	})
	resp, _ := o.fetch(c, "https://localhost:"+port+"/")
	if resp.StatusCode != 200 || resp.Header.Get("X-Leaked") != "" {
		t.Errorf("%d, leaked %q", resp.StatusCode, resp.Header.Get("X-Leaked"))
	}
	o.logged("TCP_MISS/200 GET https://localhost:" + port + "/ alice HIER_DIRECT bump")
	for range 25 {
		resp, _ = o.ask(get + basic("alice:guess"))
	}
	if resp.StatusCode != 429 {
		t.Errorf("a guesser is answered %d", resp.StatusCode)
	}
	if resp, _ = o.ask(get + basic("alice:password")); resp.StatusCode != 200 {
		t.Errorf("a verified login of the same address: %d", resp.StatusCode)
	}
}

// TestForwardCredentialsStay has a plain origin say what it was sent.
func TestForwardCredentialsStay(t *testing.T) {
	o := newOutside(t, nil)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %q", r.Header.Get("Proxy-Authorization"), r.Header.Get("Proxy-Connection"))
	}))
	t.Cleanup(s.Close)
	host := s.Listener.Addr().String()
	if _, body := o.ask("GET http://" + host + "/ HTTP/1.1\nHost: " + host + "\nProxy-Authorization: Basic eDp5\nProxy-Connection: keep-alive"); body != `"" ""` {
		t.Errorf("the origin was sent %s", body)
	}
}

// TestForwardWebSocket has an origin that switches protocols, in TLS and in the clear, through CONNECT.
func TestForwardWebSocket(t *testing.T) {
	o := newOutside(t, nil)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			http.Error(w, "no upgrade", 400)
			return
		}
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(conn, buf)
	})
	secure := httptest.NewUnstartedServer(echo)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{o.public.Issue(testca.Spec{DNS: []string{"ws.test"}}).TLS()}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(echo)
	t.Cleanup(plain.Close)
	for _, at := range []*httptest.Server{secure, plain} {
		host := at.Listener.Addr().String()
		var conn net.Conn
		var err error
		if at == secure {
			conn, _, err = o.connect(host, &tls.Config{ServerName: "ws.test", RootCAs: o.mesh.Pool()})
		} else {
			conn, _, err = o.connect(host, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		name := host
		if at == secure {
			name = "ws.test"
		}
		fmt.Fprintf(conn, "GET /chat HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", name)
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v %v", resp, err)
		}
		fmt.Fprint(conn, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
			t.Errorf("%q %v", got, err)
		}
	}
}
