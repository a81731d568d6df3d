//go:build e2e

package e2e

import (
	"crypto"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
	"github.com/hakone-gateway/hakone/test/testca"
)

// forger claims to hold the key of a certificate and signs with another one.
type forger struct {
	claimed crypto.PublicKey
	own     crypto.Signer
}

func (f forger) Public() crypto.PublicKey { return f.claimed }
func (f forger) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.own.Sign(rand, digest, opts)
}

// TestSomeoneElsesCertificate presents alice's public certificate without her key: refused, and alice
// is nowhere said to have been here.
func TestSomeoneElsesCertificate(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"MUTUAL", "OPTIONAL_MUTUAL"} {
		for _, kind := range []testca.Key{testca.P256, testca.RSA2048, testca.Ed25519} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				t.Run(fmt.Sprintf("%s key %d %s", mode, kind, tls.VersionName(version)), func(t *testing.T) {
					t.Parallel()
					someoneElse(t, mode, kind, version)
				})
			}
		}
	}
}

func someoneElse(t *testing.T, mode string, kind testca.Key, version uint16) {
	s := newSite(t, "a.test")
	clients := testca.New(t, testca.Spec{CommonName: "Client CA"})
	const name = "alice-of-accounting"
	alice := clients.Issue(testca.Spec{CommonName: name, Key: kind, DNS: []string{name + ".test"}})
	up := rawupstream.Start(t, nil)
	g := gateway.Start(t, gateway.Options{Files: map[string]string{
		"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "a", mode: mode}), "route.yaml": routeAll("all", "*", "backend"),
		"a.yaml": testca.SecretYAML("istio-system", "a", s.leaf.SecretData(testca.FormatTLS, clients.CertPEM(), nil)),
	}, Endpoints: []string{"backend.default:8000=" + up.Addr}})

	forged := alice.TLS()
	forged.PrivateKey = forger{alice.Key.Public(), testca.NewKey(t, kind)}
	config := s.config("a.test")
	config.MaxVersion = version
	c, err := client.TryTLS(t, g.Addr(443), presents(config, forged))
	if err == nil {
		c.Send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		_, _, err = c.TryReceive("GET")
	}
	if err == nil || !strings.Contains(err.Error(), "remote error: tls: error decrypting message") {
		t.Errorf("the forger got %v; want alert 51", err)
	}
	line := g.AwaitLine(0, "kind", "handshake", "code", "HK2113")
	if line.S("client_subject") != "" || line.S("client_cert") != "" || !strings.Contains(line.S("offered_cert")+line.S("detail"), name) {
		t.Errorf("the record must name alice as offered and nothing more: %v", line)
	}
	for _, l := range g.Lines() {
		if strings.Contains(l.S("client_subject"), name) || l.S("kind") == "request" {
			t.Errorf("in the access log: %v", l)
		}
	}
	if m := up.Messages(); len(m) != 0 {
		t.Errorf("the upstream received %q", m[0].Head)
	}
	for _, page := range []string{"/metrics", "/status", "/dump/snapshot", "/dump/listeners", "/dump/routes", "/dump/upstreams", "/dump/certs"} {
		if strings.Contains(g.Get(page), name) {
			t.Errorf("%s names alice", page)
		}
	}

	// The real alice gets in, and is told of: the checks above can fail.
	real := client.DialTLS(t, g.Addr(443), presents(config, alice.TLS()))
	if resp, _ := real.Get("a.test", "/"); resp.StatusCode != 200 {
		t.Errorf("alice got %d", resp.StatusCode)
	}
	if line := g.AwaitLine(0, "kind", "request"); !strings.Contains(line.S("client_subject"), name) {
		t.Errorf("alice's request: %v", line)
	}
	if x := up.Await(1)[0].Field("X-Forwarded-Client-Cert"); !strings.Contains(x, name) {
		t.Errorf("XFCC of alice's request: %q", x)
	}
}
