package dataplane

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// kept is an origin whose answers may be kept by everybody. It says who it is, and how often it was asked.
func (o *outsideWorld) keptOrigin(name string, by *testca.Pair) (port string) {
	o.t.Helper()
	var asked atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprintf(w, "%s %d %s %s", name, asked.Add(1), r.Host, r.Header.Get("X-Forwarded-Host"))
	}))
	s.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	if by == nil {
		s.Start()
	} else {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{by.Issue(testca.Spec{DNS: []string{"localhost", "*.test"}, IPs: []string{"127.0.0.1"}}).TLS()}}
		s.StartTLS()
	}
	o.t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return port
}

// exchange sends one request over a connection and returns the answer's body.
func (o *outsideWorld) exchange(c net.Conn, host string) string {
	o.t.Helper()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func caching(f *ir.Forward) {
	f.Cache = &ir.Cache{Name: "ForwardProxy t/out", MemoryBytes: 1 << 20, MaxObjectBytes: 1 << 16}
}

// TestForwardCacheForgedHost has a client ask an origin of its own for somebody else's URL, by every way in, and then
// another client for the URL itself.
func TestForwardCacheForgedHost(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) { caching(f) })
	evil, good := o.keptOrigin("evil", nil), "localhost:"+o.keptOrigin("good", nil)
	evilTLS, goodTLS := o.keptOrigin("evil", o.public), "localhost:"+o.keptOrigin("good", o.public)
	client := o.via(nil)
	trust := func(sni string) *tls.Config { return &tls.Config{ServerName: sni, RootCAs: o.mesh.Pool()} }

	inTunnel, _, err := o.connect("127.0.0.1:"+evil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := o.exchange(inTunnel, good); !strings.HasPrefix(got, "evil 1") {
		t.Fatalf("plain HTTP in a tunnel: %q", got)
	}
	inTunnel.Close()
	same, _, err := o.connect("localhost:"+evilTLS, trust("localhost"))
	if err != nil {
		t.Fatal(err)
	}
	if got := o.exchange(same, goodTLS); !strings.HasPrefix(got, "evil 1") {
		t.Fatalf("the same host's other port in TLS: %q", got)
	}
	same.Close()
	named, _, err := o.connect("127.0.0.1:"+evilTLS, trust("localhost"))
	if err != nil {
		t.Fatal(err)
	}
	if got := o.exchange(named, goodTLS); !strings.HasPrefix(got, "evil ") {
		t.Fatalf("the name of another destination in TLS: %q", got)
	}
	named.Close()
	if _, got := o.ask("GET http://" + good + "/ HTTP/1.1\nHost: evil.test\nConnection: close"); !strings.HasPrefix(got, "good 1 "+good) {
		t.Fatalf("an absolute URL with another Host: %q", got)
	}
	if _, got := o.ask("GET http://" + good + "/lie HTTP/1.1\nHost: x\nX-Forwarded-Host: evil.test\nConnection: close"); !strings.HasSuffix(got, "evil.test") {
		t.Fatalf("a forged X-Forwarded-Host: %q", got)
	}
	for _, c := range []struct{ url, want string }{
		{"http://" + good + "/", "good 1 " + good + " "}, {"https://" + goodTLS + "/", "good 1 " + goodTLS + " "}, {"https://" + goodTLS + "/", "good 1 " + goodTLS + " "},
		{"http://" + good + "/lie", "good 3 " + good + " "},
	} {
		if _, got := o.fetch(client, c.url); got != c.want {
			t.Errorf("%s gives %q, want %q", c.url, got, c.want)
		}
	}
	o.logged("TCP_MEM_HIT/200 GET https://" + goodTLS + "/ - HIER_NONE bump")
}

// TestForwardCacheCaptured has clients that take the proxy for the destination lie about the host: what they get is
// what they asked for.
func TestForwardCacheCaptured(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) { caching(f) })
	port := o.keptOrigin("origin", o.public)
	o.use(func(f *ir.Forward, s *ir.Snapshot) {
		caching(f)
		l := s.Config.Listeners[1].Forward
		_, _ = fmt.Sscan(port, &l.OriginatePort)
		l.OriginateTLS = true
	})
	at := o.address(o.applied, "*:3129")
	for i, c := range []struct{ host, want string }{
		{"localhost", "origin 1 localhost"}, {"localhost", "origin 1 localhost"}, {"127.0.0.1", "origin 2 127.0.0.1"}, {"localhost:8080", "origin 1 localhost"}, {"localhost", "origin 1 localhost"},
	} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if got := o.exchange(conn, c.host); !strings.HasPrefix(got, c.want) {
			t.Errorf("%d: Host %s: %q, want %q", i, c.host, got, c.want)
		}
		conn.Close()
	}
	c, err := tls.Dial("tcp", at, &tls.Config{ServerName: "localhost", RootCAs: o.mesh.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: victim.test\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 421 {
		t.Errorf("another Host than the SNI: %v %v", resp, err)
	}
}

// TestForwardCacheTolerated keeps answers of a destination that did not verify, which a rule allows some clients, from
// those whom it does not.
func TestForwardCacheTolerated(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) {
		caching(f)
		f.ACLs = []ir.ACL{{Name: "careless", Type: "browser", Values: []string{"careless"}}}
		f.Interception.Errors = []ir.ForwardRule{{Action: "allow", ACLs: []string{"all"}}}
	})
	url := "https://localhost:" + o.keptOrigin("origin", o.stranger) + "/"
	careless := o.via(func(tr *http.Transport) { tr.TLSClientConfig.InsecureSkipVerify = true })
	if resp, body := o.fetch(careless, url); resp.StatusCode != 200 || !strings.HasPrefix(body, "origin 1") {
		t.Fatalf("%d %q", resp.StatusCode, body)
	}
	o.use(func(f *ir.Forward, _ *ir.Snapshot) { caching(f) })
	strict := o.via(nil)
	if resp, body := o.fetch(strict, url); resp.StatusCode != 503 {
		t.Errorf("what did not verify is given to whom it is not allowed: %d %q", resp.StatusCode, body)
	}
}

// TestForwardCacheUsers has rules hold on hits, and a private cache keep users apart.
func TestForwardCacheUsers(t *testing.T) {
	password := secret.NewBytes([]byte("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")) // "password"
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("private %v", private), func(t *testing.T) {
			o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
				caching(f)
				f.Cache.Private = private
				f.Passwords = "t/users"
				s.Secrets.Passwords = map[ir.SecretRef]*ir.Passwords{"t/users": {Digest: "1", Users: map[string]secret.Bytes{"alice": password, "bob": password, "eve": password}}}
				f.ACLs = []ir.ACL{{Name: "eve", Type: "proxy_auth", Values: []string{"eve"}}, {Name: "known", Type: "proxy_auth", Values: []string{"REQUIRED"}}}
				f.Access = []ir.ForwardRule{{Action: "deny", ACLs: []string{"eve"}}, {Action: "allow", ACLs: []string{"known"}}}
			})
			host := "localhost:" + o.keptOrigin("origin", nil)
			second := "origin 1"
			if private {
				second = "origin 2"
			}
			for _, c := range []struct {
				user   string
				status int
				says   string
			}{{"alice", 200, "origin 1"}, {"bob", 200, second}, {"alice", 200, "origin 1"}, {"eve", 407, ""}, {"", 407, ""}} {
				line := ""
				if c.user != "" {
					line = "\nProxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c.user+":password"))
				}
				resp, body := o.ask("GET http://" + host + "/ HTTP/1.1\nHost: " + host + "\nConnection: close" + line)
				if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
					t.Errorf("%s: %d %q, want %d with %q", c.user, resp.StatusCode, body, c.status, c.says)
				}
			}
		})
	}
}

// TestForwardCacheRenews serves stale answers while the destination is asked anew in the background, by plain requests and
// in tunnels that are gone by then.
func TestForwardCacheRenews(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) { caching(f) })
	var asked atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=600")
		fmt.Fprint(w, asked.Add(1))
	})
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(handler)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{o.public.Issue(testca.Spec{DNS: []string{"localhost"}}).TLS()}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	for _, url := range []string{"http://" + plain.Listener.Addr().String() + "/", "https://localhost:" + port + "/"} {
		asked.Store(0)
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			c := o.via(nil)
			resp, body := o.fetch(c, url)
			c.CloseIdleConnections()
			if (len(body) > 1 || body >= "3") && strings.Contains(resp.Header.Get("Cache-Status"), "hit") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %s, %q", url, resp.Header.Get("Cache-Status"), body)
			}
		}
	}
}
