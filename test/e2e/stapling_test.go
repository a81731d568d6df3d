//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// responder answers OCSP requests about certificates of any of its CAs, and publishes their lists.
type responder struct {
	*httptest.Server
	mu      sync.Mutex
	ca      *testca.Pair
	revoked map[string]bool // by serial number
	down    bool
	asked   int
}

func newResponder(t *testing.T) *responder {
	r := &responder{revoked: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *responder) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	body, err := io.ReadAll(req.Body)
	if err != nil || r.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	question, err := ocsp.ParseRequest(body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = w.Write(r.ca.OCSP(&x509.Certificate{SerialNumber: question.SerialNumber}, testca.OCSPSpec{ThisUpdate: time.Now().Add(-time.Minute), Revoked: r.revoked[question.SerialNumber.String()]}))
}

func (r *responder) set(change func(*responder)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// eventually waits until a condition holds; answers come in the background.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 200 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error(what + " does not come")
}

// TestStapling shows the staple of a served certificate, to openssl and to Go, through a renewal of the
// certificate and its revocation.
func TestStapling(t *testing.T) {
	t.Parallel()
	r := newResponder(t)
	ca := testca.New(t, testca.Spec{CommonName: "Stapling CA"})
	r.ca = ca
	inter := ca.Intermediate(testca.Spec{CommonName: "Stapling issuer"})
	r.ca = inter
	leaf := func(must bool) *testca.Pair {
		return inter.Issue(testca.Spec{DNS: []string{"a.test"}, Responders: []string{r.URL}, MustStaple: must})
	}
	first, second := leaf(false), leaf(true)
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "a"}), "a.yaml": secretTLS("a", first)}})
	caFile := pemFile(t, ca.CertPEM())
	stapled := func() (*ocsp.Response, error) {
		conn, err := tls.Dial("tcp", g.Addr(443), &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"})
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if len(conn.ConnectionState().OCSPResponse) == 0 {
			return nil, nil
		}
		return ocsp.ParseResponseForCert(conn.ConnectionState().OCSPResponse, conn.ConnectionState().PeerCertificates[0], inter.Cert)
	}
	eventually(t, "a staple", func() bool { a, err := stapled(); return err == nil && a != nil && a.Status == ocsp.Good })
	if out := program.Run(t, program.Command{Path: program.Find(t, "openssl"), Limit: 20 * time.Second,
		Args: []string{"s_client", "-connect", g.Addr(443), "-servername", "a.test", "-CAfile", caFile, "-status", "-verify_return_error"}}).Out; !strings.Contains(out, "OCSP Response Status: successful") || !strings.Contains(out, "Cert Status: good") {
		t.Errorf("openssl s_client -status:\n%s", out)
	}
	if m := g.Get("/metrics"); !strings.Contains(m, `hakone_ocsp_staples{state="good"} 1`) || !strings.Contains(m, `hakone_revocation_fetches_total{kind="ocsp",result="ok"}`) {
		t.Errorf("metrics lack the staple:\n%s", m)
	}
	// The certificate is renewed; the staple follows it.
	g.Change(func() { g.Write("a.yaml", secretTLS("a", second)) })
	eventually(t, "the staple of the new certificate", func() bool {
		a, err := stapled()
		return err == nil && a != nil && a.SerialNumber.Cmp(second.Cert.SerialNumber) == 0
	})
	// A must-staple certificate without its answer, and one that is revoked, are served and told of.
	third, fourth := leaf(true), leaf(false)
	r.set(func(r *responder) { r.down = true })
	g.Change(func() { g.Write("a.yaml", secretTLS("a", third)) })
	g.AwaitStderr("served without a staple", "HK2306")
	if a, err := stapled(); a != nil || err != nil {
		t.Errorf("%v %v", a, err)
	}
	if h := g.Get("/healthz?verbose"); !strings.Contains(h, "HK2306") {
		t.Errorf("health says nothing of the missing staple:\n%s", h)
	}
	r.set(func(r *responder) { r.down, r.revoked[fourth.Cert.SerialNumber.String()] = false, true })
	g.Change(func() { g.Write("a.yaml", secretTLS("a", fourth)) })
	g.AwaitStderr("is revoked", "HK2305")
	if a, err := stapled(); a != nil || err != nil {
		t.Errorf("what is stapled to a revoked certificate: %v %v", a, err)
	}
	if h, m := g.Get("/healthz?verbose"), g.Get("/metrics"); !strings.Contains(h, "HK2305") || !strings.Contains(m, `hakone_ocsp_staples{state="revoked"} 1`) {
		t.Errorf("health or metrics say nothing of the revocation:\n%s", h)
	}
}

// TestStaplingOff shows that nobody is asked where stapling is switched off.
func TestStaplingOff(t *testing.T) {
	t.Parallel()
	r := newResponder(t)
	ca := testca.New(t, testca.Spec{})
	r.ca = ca
	leaf := ca.Issue(testca.Spec{DNS: []string{"a.test"}, Responders: []string{r.URL}})
	pair := *leaf
	g := gateway.Start(t, gateway.Options{Args: []string{"--ocsp-stapling", "off"},
		Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "a"}), "a.yaml": secretTLS("a", &pair)}})
	time.Sleep(300 * time.Millisecond)
	r.set(func(r *responder) {
		if r.asked != 0 {
			t.Errorf("the responder was asked %d times", r.asked)
		}
	})
	if m := g.Get("/metrics"); strings.Contains(m, `hakone_ocsp_staples{`) {
		t.Error("metrics tell of staples")
	}
}

// TestClientRevocation lets clients in by what their CA's responder says: hard and soft, with the
// responder there and away, each refusal with its own reason.
func TestClientRevocation(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"Hard", "Soft"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := newResponder(t)
			site := newSite(t, "a.test")
			ca := testca.New(t, testca.Spec{CommonName: "Client CA"})
			r.ca = ca
			clientOf := func() *testca.Pair { return ca.Issue(testca.Spec{CommonName: "c", Responders: []string{r.URL}}) }
			good, gone, listed, late := clientOf(), clientOf(), clientOf(), clientOf()
			r.revoked[gone.Cert.SerialNumber.String()] = true
			backend := httptest.NewServer(http.HandlerFunc(lasting))
			t.Cleanup(backend.Close)
			g := gateway.Start(t, gateway.Options{Endpoints: []string{"backend.default:8000=" + backend.Listener.Addr().String()}, Args: []string{"--revocation-cache", t.TempDir()},
				Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "a"}), "route.yaml": routeAll("all", "*", "backend"), "a.yaml": secretTLS("a", site.leaf),
					"ca.yaml":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: client-ca, namespace: default}\ndata:\n  ca.crt: |\n" + indented("    ", []string{string(ca.CertPEM())}),
					"policy.yaml": "apiVersion: hakone.dev/v1alpha1\nkind: ClientCertificatePolicy\nmetadata: {name: p, namespace: default}\nspec:\n  targetRefs: [{group: networking.istio.io, kind: Gateway, name: gw}]\n  hosts: [a.test]\n  trust: {caRefs: [{kind: ConfigMap, name: client-ca}]}\n  revocation: {mode: " + mode + ", ocsp: Fetch, serials: [\"" + listed.Cert.SerialNumber.Text(16) + "\"]}\n"}})
			ask := func(p *testca.Pair) (int, string) {
				config := site.config("a.test")
				config.Certificates = []tls.Certificate{p.TLS()}
				c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, g.Addr(443))
				}}}
				defer c.CloseIdleConnections()
				resp, err := c.Get("https://a.test/x")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				return resp.StatusCode, string(b)
			}
			want := func(p *testca.Pair, status int, code string) {
				t.Helper()
				if got, body := ask(p); got != status || !strings.Contains(body, code) {
					t.Errorf("%d %s, want %d %s", got, body, status, code)
				}
			}
			want(good, 200, "")
			want(listed, 403, "HK2140")
			if mode == "Hard" {
				want(gone, 403, "HK2141")
			} else {
				eventually(t, "the refusal of a revoked client", func() bool { s, b := ask(gone); return s == 403 && strings.Contains(b, "HK2141") })
			}
			r.set(func(r *responder) { r.down = true })
			want(good, 200, "") // its answer is still there
			if mode == "Hard" {
				want(late, 403, "HK2142")
			} else {
				want(late, 200, "")
			}
			r.set(func(r *responder) { r.down = false })
			eventually(t, "the client after the responder is back", func() bool { s, _ := ask(late); return s == 200 })
		})
	}
}
