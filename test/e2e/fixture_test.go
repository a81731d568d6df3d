//go:build e2e

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/testca"
)

// families are the two APIs in which every walk is told.
var families = []string{"istio", "gatewayapi"}

// eachFamily runs a test in both APIs, side by side.
func eachFamily(t *testing.T, f func(t *testing.T, family string)) {
	t.Helper()
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			f(t, family)
		})
	}
}

// seedDir holds the walk's certificates, which openssl makes once for all tests.
var seedDir struct {
	once sync.Once
	path string
}

// TestMain ends with the folder of the walk's certificates.
func TestMain(m *testing.M) {
	code := m.Run()
	if seedDir.path != "" {
		os.RemoveAll(seedDir.path)
	}
	os.Exit(code)
}

func seedCerts(t *testing.T) *testca.Seed {
	t.Helper()
	seedDir.once.Do(func() {
		dir, err := os.MkdirTemp("", "hk-seed-")
		if err != nil {
			t.Fatal(err)
		}
		testca.SeedCerts(t, dir)
		seedDir.path = dir
	})
	if seedDir.path == "" {
		t.Fatal("the walk's certificates could not be made; see the first test that failed")
	}
	return testca.OpenSeed(t, seedDir.path)
}

// document reads a file of testdata.
func document(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents returns files of testdata by their base names.
func documents(t *testing.T, paths ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range paths {
		out[filepath.Base(p)] = document(t, p)
	}
	return out
}

// with returns a copy of files with more of them.
func with(files map[string]string, namesAndTexts ...string) map[string]string {
	out := map[string]string{}
	for k, v := range files {
		out[k] = v
	}
	for i := 0; i+1 < len(namesAndTexts); i += 2 {
		out[namesAndTexts[i]] = namesAndTexts[i+1]
	}
	return out
}

// secretTLS is what "kubectl create secret tls" makes of a pair, in the gateway's namespace.
func secretTLS(name string, p *testca.Pair) string {
	return testca.SecretYAML("istio-system", name, p.SecretData(testca.FormatTLS, nil, nil))
}

// site is a host with a good certificate of a CA of its own.
type site struct {
	ca   *testca.Pair
	leaf *testca.Pair
}

// newSite makes a CA and a certificate for names.
func newSite(t *testing.T, names ...string) site {
	t.Helper()
	ca := testca.New(t, testca.Spec{CommonName: "Site CA of " + names[0], Organization: "e2e"})
	return site{ca, ca.Issue(testca.Spec{DNS: names})}
}

// config returns a client's settings that trust the site.
func (s site) config(name string) *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool(), ServerName: name, MinVersion: tls.VersionTLS10}
}

// caFile writes the CA for curl and openssl and returns its path.
func (s site) caFile(t *testing.T) string { return pemFile(t, s.ca.CertPEM()) }

func pemFile(t *testing.T, pem []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// trustAny returns settings of a client that takes a certificate of any of the CAs, whatever names it
// has: the walk's certificates have only a common name, which Go does not look at.
func trustAny(name string, cas ...*testca.Pair) *tls.Config {
	return &tls.Config{ServerName: name, InsecureSkipVerify: true, VerifyConnection: func(cs tls.ConnectionState) error {
		for _, ca := range cas {
			if cs.PeerCertificates[0].CheckSignatureFrom(ca.Cert) == nil {
				return nil
			}
		}
		return errors.New("certificate of no known CA")
	}}
}

// issuedBy reports whether a connection's certificate is of a CA.
func issuedBy(cs tls.ConnectionState, ca *testca.Pair) bool {
	return cs.PeerCertificates[0].CheckSignatureFrom(ca.Cert) == nil
}

// presents returns a copy of settings with a client certificate, which is sent whatever the server
// says it accepts.
func presents(config *tls.Config, cert tls.Certificate) *tls.Config {
	c := config.Clone()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return c
}

// istioServer is a server of an Istio Gateway on port 443.
type istioServer struct {
	name, host, mode, secret string
	tls                      string // further lines of tls, as "minProtocolVersion: TLSV1_2"
}

// istioGateway renders a Gateway "gw" in namespace default, and VirtualServices that lead every host to
// the service backend:8000.
func istioGateway(servers ...istioServer) string {
	var b strings.Builder
	b.WriteString("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: gw\nspec:\n  selector:\n    istio: ingressgateway\n  servers:\n")
	for _, s := range servers {
		name, mode := s.name, s.mode
		if name == "" {
			name = "https-" + strings.NewReplacer(".", "-", "*", "any").Replace(s.host)
		}
		if mode == "" {
			mode = "SIMPLE"
		}
		b.WriteString("  - port:\n      number: 443\n      name: " + name + "\n      protocol: HTTPS\n    hosts:\n    - \"" + s.host + "\"\n" +
			"    tls:\n      mode: " + mode + "\n      credentialName: " + s.secret + "\n")
		for line := range strings.SplitSeq(s.tls, "\n") {
			if line != "" {
				b.WriteString("      " + line + "\n")
			}
		}
	}
	return b.String()
}

// routeAll is a VirtualService that leads every host to a service, with further lines in its rule.
func routeAll(name, host, service string, more ...string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: " + name + "\nspec:\n  hosts:\n  - \"" + host +
		"\"\n  gateways:\n  - gw\n  http:\n  - route:\n    - destination:\n        host: " + service + "\n        port:\n          number: 8000\n" +
		indented("    ", more)
}

// slice is an EndpointSlice of one address for a service.
func slice(service, address string, port int, ready bool) string {
	return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: %s-1\n  labels:\n    kubernetes.io/service-name: %s\n"+
		"addressType: IPv4\nports:\n- name: http\n  port: %d\n  protocol: TCP\nendpoints:\n- addresses:\n  - %s\n  conditions:\n    ready: %v\n", service, service, port, address, ready)
}

func indented(by string, texts []string) string {
	var b strings.Builder
	for _, text := range texts {
		for line := range strings.SplitSeq(text, "\n") {
			b.WriteString(by + line + "\n")
		}
	}
	return b.String()
}

// startSite starts a gateway that serves hosts of one site over TLS and leads them to backend.
func startSite(t *testing.T, s site, backend string, hosts ...string) *gateway.Gateway {
	t.Helper()
	var servers []istioServer
	for _, h := range hosts {
		servers = append(servers, istioServer{host: h, secret: "site"})
	}
	return gateway.Start(t, gateway.Options{
		Files: map[string]string{"gateway.yaml": istioGateway(servers...), "route.yaml": routeAll("all", "*", "backend"),
			"secret.yaml": secretTLS("site", s.leaf)},
		Endpoints: []string{"backend.default:8000=" + backend},
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// revokedSerial is the number of the certificate that revocation lists of tests name.
func revokedSerial() *big.Int { return big.NewInt(0x5e1d0) }

// drain says that nothing more is sent and reads until the peer has closed.
func drain(t *testing.T, c *client.Conn) {
	t.Helper()
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	readToEnd(t, c)
}

// readToEnd reads until the peer has closed, and returns what came.
func readToEnd(t *testing.T, c *client.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c.R)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection was not closed")
	}
	return string(b)
}

// gatewayPort is a free port as text.
func gatewayPort(t *testing.T) string { return fmt.Sprint(gateway.FreePort(t)) }
