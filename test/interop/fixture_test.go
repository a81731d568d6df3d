//go:build e2e

package interop

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// site is a host with its certificate, and a client's certificate of the same CA, as files too.
type site struct {
	host                           string
	ca, leaf, client               *testca.Pair
	caFile, clientCert, clientFile string // clientFile is the key
}

// newSite makes the certificates of a host; further names and addresses are in its certificate too.
func newSite(t *testing.T, host string, more testca.Spec) site {
	t.Helper()
	s := site{host: host, ca: testca.New(t, testca.Spec{CommonName: "Interop CA", Organization: "interop"})}
	more.DNS, more.CommonName = append([]string{host}, more.DNS...), host
	s.leaf = s.ca.Issue(more)
	s.client = s.ca.Issue(testca.Spec{CommonName: "interop client", Organization: "interop", DNS: []string{"client." + host}})
	dir := gateway.Folder(t)
	s.caFile = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(s.caFile, s.ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.clientCert, s.clientFile = s.client.Write(dir, "client")
	return s
}

// backend is the workload and how it is spoken to.
type backend struct {
	addr string
	port string // name of its port: http, http2, grpc
	ca   *testca.Pair
	name string // in its certificate, if ca is not nil
}

// plainBackend answers as httpbin over HTTP/1.1 and h2c.
func plainBackend(t *testing.T, port string) backend {
	t.Helper()
	srv := httptest.NewUnstartedServer(httpbin.Handler())
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return backend{addr: srv.Listener.Addr().String(), port: port}
}

// start starts a gateway with an HTTP listener on port 80 and an HTTPS listener on port 443, for any
// host, that leads everything to the backend. mutual asks clients for certificates.
func (s site) start(t *testing.T, b backend, mutual bool, args ...string) *gateway.Gateway {
	t.Helper()
	return gateway.Start(t, gateway.Options{Files: s.manifests(b, mutual), Endpoints: []string{"backend.default:8000=" + b.addr}, Args: args})
}

func (s site) manifests(b backend, mutual bool) map[string]string {
	options := ""
	data := s.leaf.SecretData(testca.FormatTLS, nil, nil)
	if mutual {
		options = "      options:\n        gateway.istio.io/tls-terminate-mode: MUTUAL\n"
		data = s.leaf.SecretData(testca.FormatTLS, s.ca.CertPEM(), nil)
	}
	files := map[string]string{
		"gateway.yaml": "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: gw\nspec:\n  gatewayClassName: istio\n  listeners:\n" +
			"  - name: web\n    port: 80\n    protocol: HTTP\n" +
			"  - name: tls\n    port: 443\n    protocol: HTTPS\n    tls:\n      certificateRefs:\n      - name: site\n" + options,
		"route.yaml": "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: all\nspec:\n  parentRefs:\n  - name: gw\n" +
			"  rules:\n  - backendRefs:\n    - name: backend\n      port: 8000\n",
		"service.yaml": fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: backend\nspec:\n  ports:\n  - name: %s\n    port: 8000\n", b.port),
		"secret.yaml":  testca.SecretYAML("default", "site", data),
	}
	if b.ca != nil {
		files["policy.yaml"] = originate("backend", b.name, b.ca.CertPEM())
	}
	return files
}

// originate makes the gateway speak TLS to a service, whose certificate must have the name.
func originate(service, name string, ca []byte) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: " + service + "\nspec:\n  host: " + service +
		"\n  trafficPolicy:\n    tls:\n      mode: SIMPLE\n      credentialName: upstream-ca\n      sni: " + name +
		"\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: upstream-ca\ndata:\n  ca.crt: " + base64.StdEncoding.EncodeToString(ca) + "\n"
}
