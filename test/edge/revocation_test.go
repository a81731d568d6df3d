//go:build e2e

package edge

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// caServer is a responder with lists, in a process of its own, that can be ended and started again.
type caServer struct {
	t    *testing.T
	line []string
	dir  string
	addr string
	cmd  *exec.Cmd

	ready string // what it says when it listens; "": a connection shows it
	said  output
}

// output keeps what a process prints.
type output struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Reset()
}

func newCAServer(t *testing.T, addr, dir string, line ...string) *caServer {
	s := &caServer{t: t, addr: addr, dir: dir, line: line}
	t.Cleanup(s.stop)
	return s
}

func (s *caServer) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.line[0], s.line[1:]...)
	s.cmd.Dir = s.dir
	s.said.reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "the responder listens", func() bool {
		if s.ready != "" {
			return strings.Contains(s.said.String(), s.ready)
		}
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *caServer) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// refresh is how long a revocation may take to become known in these tests, and slack what a busy machine adds.
const (
	refresh = 2 * time.Second
	slack   = 4 * time.Second
)

// revocationWorld serves a.test, whose clients are of an authority and are asked about as the policy's line
// says, and free.test, which asks for nothing.
func revocationWorld(t *testing.T, bundle, revocation string, args ...string) *world {
	t.Helper()
	w := newWorld(t, "a.test", "free.test")
	w.files["bundles.yaml"] = configMap("ca", bundle)
	w.files["policy.yaml"] = policy("p", "hosts: [a.test]", trusts("ca"), "revocation: "+revocation)
	w.start(append([]string{"--revocation-refresh", refresh.String(), "--revocation-wait", "1s"}, args...)...)
	return w
}

// enters asks for a.test as a client, on a connection of its own, and tells what came and how long it took.
func (w *world) enters(p *testca.Pair) (string, time.Duration) {
	w.Helper()
	c := w.browser(true, "", p)
	defer c.CloseIdleConnections()
	begin := time.Now()
	got := w.get(c, "https://a.test/x").got()
	return got, time.Since(begin)
}

// becomes waits until a client gets an answer, and is at most the refresh and some slack late.
func (w *world) becomes(p *testca.Pair, want string) {
	w.Helper()
	begin, got := time.Now(), ""
	for time.Since(begin) < refresh+slack {
		if got, _ = w.enters(p); got == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.Errorf("%s after its standing changed, %s still gets %s, want %s", refresh+slack, p.Cert.Subject.CommonName, got, want)
}

// TestRevokedWithOwnAuthority revokes clients with hakone cert revoke; the gateway finds out by list or
// responder. With the responder away, soft lets in whom nobody knows, and hard does not.
func TestRevokedWithOwnAuthority(t *testing.T) {
	t.Parallel()
	for _, how := range []struct{ name, settings, revoked, unknown string }{
		{"ocsp hard", "{mode: Hard, ocsp: Fetch}", "403 HK2141", "403 HK2142"},
		{"ocsp soft", "{mode: Soft, ocsp: Fetch}", "403 HK2141", "200"},
		{"crl hard", "{mode: Hard, crl: Fetch}", "403 HK2106", "403 HK2142"},
		{"crl soft", "{mode: Soft, crl: Fetch}", "403 HK2106", "200"},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			addr := fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(t))
			c := newOwnCA(t, "--url", "http://"+addr)
			s := newCAServer(t, addr, c.dir, gateway.Binary(t), "ca", "ocsp", "--ca-dir", c.store, "--listen", addr)
			s.start()
			c.bundle("root.pem")
			for _, name := range []string{"alice", "bob"} {
				c.issue(name, "--profile", "client", "--cn", name)
			}
			alice, bob := c.pair("alice"), c.pair("bob")
			w := revocationWorld(t, string(c.read("root.pem")), how.settings)
			w.becomes(alice, "200")
			w.becomes(bob, "200")
			open := w.browser(true, "", alice) // a connection from before the revocation
			if a := w.get(open, "https://a.test/x"); a.got() != "200" {
				t.Fatal(a.got())
			}
			c.must("cert", "revoke", "@alice.crt", "--reason", "keyCompromise")
			w.becomes(alice, how.revoked)
			await(t, "the refusal on an open connection", func() bool { return w.get(open, "https://a.test/y").got() == how.revoked })
			if got, _ := w.enters(bob); got != "200" {
				t.Errorf("bob, who was not revoked: %s", got)
			}
			// The responder is gone. Whoever was known stays so; of another CA's clients nothing is known.
			s.stop()
			c2 := &ownCA{T: t, dir: c.dir, store: c.path("other"), openssl: c.openssl}
			c2.must("ca", "init", "--url", "http://"+addr)
			c2.issue("carol", "--profile", "client", "--cn", "carol")
			c2.bundle("root2.pem")
			w.g.Change(func() {
				w.g.Write("bundles.yaml", configMap("ca", string(c.read("root.pem"))+string(c2.read("root2.pem"))))
			})
			if got, took := w.enters(c2.pair("carol")); got != how.unknown || took > 1*time.Second+slack {
				t.Errorf("carol, with the responder away: %s after %s, want %s", got, took, how.unknown)
			}
			if got, _ := w.enters(bob); got != "200" {
				t.Errorf("bob, with the responder away: %s", got)
			}
			if got, _ := w.enters(alice); got != how.revoked {
				t.Errorf("alice, with the responder away: %s", got)
			}
		})
	}
}

// TestRevokedByTheProcessItself: a gateway that has the authority open acts on a revocation by another process
// long before the good answer that it holds is due, for new connections as for those that are open.
func TestRevokedByTheProcessItself(t *testing.T) {
	t.Parallel()
	for _, how := range []struct{ name, settings, revoked string }{
		{"ocsp", "{mode: Hard, ocsp: Fetch, crl: \"Off\"}", "403 HK2141"},
		{"crl", "{mode: Hard, crl: Fetch}", "403 HK2106"},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			addr := fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(t))
			c := newOwnCA(t, "--url", "http://"+addr)
			c.bundle("root.pem")
			c.issue("alice", "--profile", "client", "--cn", "alice")
			alice := c.pair("alice")
			w := newWorld(t, "a.test")
			w.files["bundles.yaml"] = configMap("ca", string(c.read("root.pem")))
			w.files["policy.yaml"] = policy("p", "hosts: [a.test]", trusts("ca"), "revocation: "+how.settings)
			w.start("--ca-dir", c.store, "--ca-listen", addr) // answers are kept for an hour
			w.becomes(alice, "200")
			open := w.browser(true, "", alice)
			if a := w.get(open, "https://a.test/x"); a.got() != "200" {
				t.Fatal(a.got())
			}
			c.must("cert", "revoke", "@alice.crt")
			w.becomes(alice, how.revoked)
			await(t, "the refusal on an open connection", func() bool { return w.get(open, "https://a.test/y").got() == how.revoked })
		})
	}
}

// TestResponderHangs: a responder that takes connections and says nothing delays hard clients for the stated
// time, and nobody else.
func TestResponderHangs(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() }) // connections stay in its queue
	ca := testca.New(t, testca.Spec{CommonName: "Hanging"})
	w := revocationWorld(t, string(ca.CertPEM()), "{mode: Hard, ocsp: Fetch}")
	stuck := make(chan string)
	const clients = 8
	for i := range clients {
		p := ca.Issue(testca.Spec{CommonName: fmt.Sprint("c", i), Responders: []string{"http://" + ln.Addr().String()}})
		c := w.browser(true, "", p)
		go func() {
			begin := time.Now()
			a, err := w.try(c, "https://a.test/x")
			if err != nil {
				stuck <- err.Error()
			} else if d := time.Since(begin); d < 900*time.Millisecond || d > 1*time.Second+slack {
				stuck <- fmt.Sprintf("after %s: %s", d, a.got())
			} else {
				stuck <- a.got()
			}
		}()
	}
	slowest := time.Duration(0)
	for range 30 {
		begin := time.Now()
		if a := w.get(w.browser(true, "", nil), "https://free.test/x"); a.got() != "200" {
			t.Error(a.got())
		}
		slowest = max(slowest, time.Since(begin))
	}
	if slowest > 800*time.Millisecond {
		t.Errorf("a bystander waited %s", slowest)
	}
	for range clients {
		if got := <-stuck; got != "403 HK2142" {
			t.Errorf("a client of the hanging responder: %s", got)
		}
	}
}

// TestRevokedWithOpenSSL asks openssl's responder.
func TestRevokedWithOpenSSL(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"Hard", "Soft"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := gateway.Folder(t)
			port := gateway.FreePort(t)
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			ca := testca.New(t, testca.Spec{CommonName: "OpenSSL CA"})
			ca.Write(dir, "ca")
			issue := func(name string) *testca.Pair {
				return ca.Issue(testca.Spec{CommonName: name, Responders: []string{"http://" + addr}})
			}
			alice, bob, stranger := issue("alice"), issue("bob"), issue("stranger")
			// The index of "openssl ca": state, end, revocation, serial, file, subject, between tabs.
			index := func(revoked bool) {
				t.Helper()
				text := ""
				for _, p := range []*testca.Pair{alice, bob} {
					state, at := "V", ""
					if revoked && p == alice {
						state, at = "R", time.Now().Add(-time.Minute).UTC().Format("060102150405Z")+",keyCompromise"
					}
					text += fmt.Sprintf("%s\t%s\t%s\t%s\tunknown\t/CN=%s\n", state, p.Cert.NotAfter.UTC().Format("060102150405Z"), at, serialHex(p), p.Cert.Subject.CommonName)
				}
				if err := os.WriteFile(dir+"/index.txt", []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			index(false)
			s := newCAServer(t, addr, dir, program.Find(t, "openssl"), "ocsp", "-index", "index.txt", "-port", fmt.Sprint(port), "-rsigner", "ca.crt", "-rkey", "ca.key", "-CA", "ca.crt", "-nmin", "60")
			s.ready = "waiting for OCSP client connections" // one that says nothing would keep it busy for ever
			s.start()
			w := revocationWorld(t, string(ca.CertPEM()), "{mode: "+mode+", ocsp: Fetch}")
			w.becomes(alice, "200")
			w.becomes(bob, "200")
			if got, _ := w.enters(stranger); mode == "Hard" && got == "200" {
				t.Errorf("whom the responder does not know: %s", got)
			}
			s.stop()
			index(true)
			s.start()
			w.becomes(alice, "403 HK2141")
			if got, _ := w.enters(bob); got != "200" {
				t.Errorf("bob: %s", got)
			}
			w.g.AwaitLine(0, "code", "HK2141", "reason", "client_cert_revoked_ocsp")
		})
	}
}

func serialHex(p *testca.Pair) string {
	text := strings.ToUpper(p.Cert.SerialNumber.Text(16))
	return strings.Repeat("0", len(text)%2) + text
}

// TestStaplesOfOwnAuthority shows our own responder's answers in handshakes, as openssl sees them, until the
// certificate is revoked.
func TestStaplesOfOwnAuthority(t *testing.T) {
	t.Parallel()
	addr := fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(t))
	c := newOwnCA(t, "--url", "http://"+addr)
	c.bundle("root.pem")
	c.issue("web", "--san", "a.test")
	w := newWorld(t, "a.test")
	w.files["secret.yaml"] = testca.SecretYAML("default", "edge", map[string][]byte{"tls.crt": c.read("web.crt"), "tls.key": c.read("web.key")})
	// The gateway has the authority open itself.
	w.start("--ca-dir", c.store, "--ca-listen", addr, "--revocation-refresh", refresh.String())
	status := func() string {
		out, _ := c.asks("s_client", "-connect", w.g.Addr(443), "-servername", "a.test", "-CAfile", "root.pem", "-status", "-verify_return_error")
		return out
	}
	await(t, "a staple", func() bool { return strings.Contains(status(), "Cert Status: good") })
	if out := status(); !strings.Contains(out, "OCSP Response Status: successful") || !strings.Contains(out, "Verify return code: 0 (ok)") {
		t.Errorf("%s", out)
	}
	c.must("cert", "revoke", "@web.crt")
	await(t, "no staple for a revoked certificate", func() bool { return strings.Contains(status(), "OCSP response: no response sent") })
	w.g.AwaitStderr("is revoked", "HK2305")
}

// TestRevokedOrigin: an origin whose certificate is revoked is not spoken to any more.
func TestRevokedOrigin(t *testing.T) {
	t.Parallel()
	for _, how := range []struct{ name, settings, code string }{{"ocsp", "{mode: Hard, ocsp: Fetch}", "HK3118"}, {"crl", "{mode: Soft, crl: Fetch}", "HK3111"}} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			addr := fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(t))
			c := newOwnCA(t, "--url", "http://"+addr)
			s := newCAServer(t, addr, c.dir, gateway.Binary(t), "ca", "ocsp", "--ca-dir", c.store, "--listen", addr)
			s.start()
			c.bundle("root.pem")
			for _, name := range []string{"one", "two"} {
				c.issue(name, "--profile", "origin", "--san", name+".test")
			}
			one, two := startOrigin(t, "one", originTLS(c.pair("one"))), startOrigin(t, "two", originTLS(c.pair("two")))
			pool := func(name string, o *originServer) string {
				return originPool(name, []string{o.entry("verifyName: " + name + ".test")}, "tls: {caRef: {kind: ConfigMap, name: ca}, revocation: "+how.settings+"}")
			}
			w := newWorld(t, "a.test")
			w.files["hosts.yaml"] = documents(originHost("edge", "one", "a.test"), originHost("second", "two", "b.test"), pool("one", one), pool("two", two))
			w.files["secret.yaml"] = w.secret("edge", "a.test", "b.test")
			w.files["ca.yaml"] = configMap("ca", string(c.read("root.pem")))
			w.start("--revocation-refresh", refresh.String(), "--revocation-wait", "1s")
			browser := w.browser(true, "", nil)
			ask := func(host string) string { return w.get(browser, "https://"+host+"/x").got() }
			if a, b := ask("a.test"), ask("b.test"); a != "200" || b != "200" {
				t.Fatalf("%s, %s", a, b)
			}
			c.must("cert", "revoke", "@one.crt", "--reason", "keyCompromise")
			// It keeps connections open, over which requests could go on for ever.
			await(t, "502 "+how.code+" with connections kept", func() bool { return ask("a.test") == "502 "+how.code })
			if got := ask("b.test"); got != "200" {
				t.Errorf("the other origin: %s", got)
			}
		})
	}
}
