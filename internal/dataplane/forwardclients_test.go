package dataplane

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// keepAlive is one connection to the proxy on which requests follow each other.
type keepAlive struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func (o *outsideWorld) keepAlive(listener string) *keepAlive {
	o.t.Helper()
	c, err := net.Dial("tcp", o.address(o.applied, listener))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &keepAlive{o.t, c, bufio.NewReaderSize(c, 16)} // nothing of a tunnel's is read with its head
}

// ask sends a request, lines apart, and returns the status; 0 if the connection has ended.
func (k *keepAlive) ask(request, body string) int {
	k.t.Helper()
	fmt.Fprint(k.c, strings.ReplaceAll(request, "\n", "\r\n")+"\r\n\r\n"+body)
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(k.r, &http.Request{Method: method})
	if err != nil {
		return 0
	}
	if method != "CONNECT" || resp.StatusCode != 200 {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return 0
		}
	}
	return resp.StatusCode
}

func login(user string) string {
	return "\nProxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":password"))
}

// withUsers lets alice and bob in.
func withUsers(f *ir.Forward, s *ir.Snapshot) {
	hash := secret.NewBytes([]byte("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")) // "password"
	f.Passwords = "t/users"
	s.Secrets.Passwords = map[ir.SecretRef]*ir.Passwords{"t/users": {Digest: "1", Users: map[string]secret.Bytes{"alice": hash, "bob": hash}}}
}

// TestForwardAgainAfter407 has clients log in on the connection on which they were asked to.
func TestForwardAgainAfter407(t *testing.T) {
	o := newOutside(t, withUsers)
	target := o.origin(o.public, testca.Spec{})
	get, post := "GET http://"+o.backend+"/ HTTP/1.1\nHost: "+o.backend, "POST http://"+o.backend+"/ HTTP/1.1\nHost: "+o.backend+"\nContent-Length: 5"
	connect := "CONNECT " + target + " HTTP/1.1\nHost: " + target
	k := o.keepAlive("*:3128")
	for i, step := range []struct {
		request, body string
		status        int
	}{
		{get, "", 407}, {get + login("alice"), "", 200}, {post, "hello", 407}, {post + login("bob"), "hello", 200},
		{get + login("mallory"), "", 407}, {get, "", 407}, {connect, "", 407}, {connect + login("alice"), "", 200},
	} {
		if got := k.ask(step.request, step.body); got != step.status {
			t.Fatalf("step %d: %d, want %d", i, got, step.status)
		}
	}
	c := tls.Client(k.c, &tls.Config{ServerName: "a.test", RootCAs: o.mesh.Pool()})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	inside := &keepAlive{t, c, bufio.NewReader(c)}
	if got := inside.ask("GET /inside HTTP/1.1\nHost: a.test", ""); got != 200 {
		t.Errorf("inside the tunnel: %d", got)
	}
	o.logged("TCP_MISS/200 GET http://" + o.backend + "/ alice HIER_DIRECT -")
	o.logged("TCP_MISS/200 POST http://" + o.backend + "/ bob HIER_DIRECT -")
	o.logged("TCP_MISS/200 GET https://a.test/inside alice HIER_DIRECT bump")
}

// TestForwardUsersBesideEachOther has two users ask at the same time, in the clear and in tunnels: nobody is taken for
// the other.
func TestForwardUsersBesideEachOther(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
		withUsers(f, s)
		f.ACLs = []ir.ACL{{Name: "alice", Type: "proxy_auth", Values: []string{"alice"}}, {Name: "users", Type: "proxy_auth", Values: []string{"REQUIRED"}},
			{Name: "hers", Type: "urlpath_regex", Values: []string{"^/alice"}}, {Name: "step1", Type: "at_step", Values: []string{"SslBump1"}}}
		f.Access = []ir.ForwardRule{{Action: "allow", ACLs: []string{"CONNECT", "users"}}, {Action: "allow", ACLs: []string{"hers", "alice"}}, {Action: "deny", ACLs: []string{"hers"}},
			{Action: "allow", ACLs: []string{"users"}}, {Action: "deny", ACLs: []string{"all"}}}
	})
	target := o.origin(o.public, testca.Spec{})
	var all sync.WaitGroup
	for i := range 8 {
		user, status := "alice", 200
		if i%2 == 1 {
			user, status = "bob", 403
		}
		plain, tunnel := o.keepAlive("*:3128"), o.keepAlive("*:3128")
		all.Go(func() {
			for range 10 {
				if got := plain.ask("GET http://"+o.backend+"/alice HTTP/1.1\nHost: "+o.backend+login(user), ""); got != status && (user == "alice" || got != 407) {
					t.Errorf("%s in the clear: %d", user, got)
				}
				if got := plain.ask("GET http://"+o.backend+"/all HTTP/1.1\nHost: "+o.backend+login(user), ""); got != 200 {
					t.Errorf("%s in the clear, for all: %d", user, got)
				}
			}
			if got := tunnel.ask("CONNECT "+target+" HTTP/1.1\nHost: "+target+login(user), ""); got != 200 {
				t.Errorf("CONNECT of %s: %d", user, got)
				return
			}
			c := tls.Client(tunnel.c, &tls.Config{ServerName: "a.test", RootCAs: o.mesh.Pool()})
			inside := &keepAlive{t, c, bufio.NewReader(c)}
			for range 10 {
				if got := inside.ask("GET /alice HTTP/1.1\nHost: a.test", ""); got != status {
					t.Errorf("%s in a tunnel: %d", user, got)
				}
				if got := inside.ask("GET /all HTTP/1.1\nHost: a.test", ""); got != 200 {
					t.Errorf("%s in a tunnel, for all: %d", user, got)
				}
			}
		})
	}
	all.Wait()
	for _, a := range o.log.lines() {
		if strings.HasPrefix(a, "TCP_MISS/200") && strings.Contains(a, "/alice ") && !strings.Contains(a, " alice HIER") {
			t.Errorf("somebody else got what is hers: %s", a)
		}
	}
}

// TestForwardProxyHeader has the client's address in a PROXY header, on ports of both kinds.
func TestForwardProxyHeader(t *testing.T) {
	var port uint16
	o := newOutside(t, nil)
	_, text, _ := net.SplitHostPort(o.backend)
	_, _ = fmt.Sscan(text, &port)
	o.use(func(f *ir.Forward, s *ir.Snapshot) {
		for _, l := range s.Config.Listeners {
			l.Forward.ProxyProtocol = true
		}
		f.Revision = "2"
		f.ACLs = []ir.ACL{{Name: "us", Type: "src", Values: []string{"192.0.2.7"}}}
		f.Access = []ir.ForwardRule{{Action: "allow", ACLs: []string{"us"}}, {Action: "deny", ACLs: []string{"all"}}}
		s.Config.Listeners[1].Forward.OriginatePort = port
	})
	for listener, request := range map[string]string{"*:3128": "GET http://" + o.backend + "/ HTTP/1.1\nHost: " + o.backend, "*:3129": "GET / HTTP/1.1\nHost: 127.0.0.1"} {
		for header, status := range map[string]int{"PROXY TCP4 192.0.2.7 127.0.0.1 1234 3128\n": 200, "PROXY TCP4 192.0.2.8 127.0.0.1 1234 3128\n": 403, "": 0, "PROXY TCP4 192.0.2.7\n": 0} {
			if got := o.keepAlive(listener).ask(header+request, ""); got != status && (status != 0 || got != 400) {
				t.Errorf("%s, %q: %d, want %d", listener, header, got, status)
			}
		}
	}
}

// TestForwardLoopWithoutVia finds requests that come back though nothing is said in Via.
func TestForwardLoopWithoutVia(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) { f.Via = false })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%q %s", r.Header.Values("Via"), strings.Join(r.Header.Values("CDN-Loop"), ", "))
	}))
	t.Cleanup(s.Close)
	host := s.Listener.Addr().String()
	get := "GET http://" + host + "/ HTTP/1.1\nHost: " + host
	_, first := o.ask(get + "\nCDN-Loop: other")
	via, mark, _ := strings.Cut(first, " ")
	if via != "[]" || !strings.HasPrefix(mark, "other, hakone-") {
		t.Fatalf("the destination was told %s", first)
	}
	if resp, body := o.ask(get + "\nCDN-Loop: " + mark); resp.StatusCode != 508 || !strings.Contains(body, "forwarding_loop") {
		t.Errorf("a request that was here: %d %s", resp.StatusCode, body)
	}
	if resp, _ := o.ask(get + "\nCDN-Loop: hakone-0123456789abcdef"); resp.StatusCode != 200 {
		t.Errorf("another process's mark: %d", resp.StatusCode)
	}
}

// TestForwardDrain waits for spliced connections, by CONNECT and without, and cuts those that are left.
func TestForwardDrain(t *testing.T) {
	o := newOutside(t, nil)
	target := o.origin(o.public, testca.Spec{})
	_, port, _ := net.SplitHostPort(target)
	o.use(func(f *ir.Forward, s *ir.Snapshot) {
		f.Revision = "2"
		f.ACLs = []ir.ACL{{Name: "step1", Type: "at_step", Values: []string{"SslBump1"}}}
		f.Interception.Rules = []ir.ForwardRule{{Action: "peek", ACLs: []string{"step1"}}, {Action: "splice", ACLs: []string{"all"}}}
		l := s.Config.Listeners[1].Forward
		_, _ = fmt.Sscan(port, &l.OriginatePort)
		l.OriginateTLS = true
	})
	asked, _, err := o.connect(target, &tls.Config{ServerName: "a.test", RootCAs: o.public.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	taken, err := tls.Dial("tcp", o.address(o.applied, "*:3129"), &tls.Config{ServerName: "localhost", RootCAs: o.public.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_ = taken.SetDeadline(time.Now().Add(10 * time.Second))
	if f := o.plane.Forwards().Figures(); f.Spliced != 2 || f.Bumped != 0 || f.Used == 0 {
		t.Errorf("%+v", f)
	}
	ctx, cut := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- o.plane.Drain(ctx) }()
	for name, c := range map[string]net.Conn{"by CONNECT": asked, "captured": taken} {
		k := &keepAlive{t, c, bufio.NewReader(c)}
		if got := k.ask("GET / HTTP/1.1\nHost: a.test", ""); got != 200 {
			t.Errorf("%s, while draining: %d", name, got)
		}
	}
	select {
	case err := <-over:
		t.Fatalf("drained with open connections: %v", err)
	default:
	}
	cut()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("drained: %v", err)
	}
	for name, c := range map[string]net.Conn{"by CONNECT": asked, "captured": taken} {
		if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: not cut: %v", name, err)
		}
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		o.log.mu.Lock()
		cuts := 0
		for _, a := range o.log.access {
			if a.Code == diag.Draining {
				cuts++
			}
		}
		o.log.mu.Unlock()
		if cuts == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are told to have been cut, want 2: %v", cuts, o.log.lines())
		}
	}
}
