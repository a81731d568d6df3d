//go:build e2e

package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
	"github.com/hakone-gateway/hakone/test/testca"
)

// world is a gateway with hosts, whose clients have certificates of two CAs.
type world struct {
	*testing.T
	g      *gateway.Gateway
	public *testca.Pair // signs the hosts' certificates
	a, b   *testca.Pair // sign clients'
	up     *rawupstream.Upstream
	files  map[string]string
}

// newWorld makes the CAs, an origin that answers with the request line, and manifests for the hosts; what
// is in files is added, and start starts the gateway. The bundles of both CAs are the ConfigMaps a and b.
func newWorld(t *testing.T, hosts ...string) *world {
	t.Helper()
	w := &world{T: t, public: testca.New(t, testca.Spec{CommonName: "Public"}), a: testca.New(t, testca.Spec{CommonName: "CA A"}), b: testca.New(t, testca.Spec{CommonName: "CA B"}),
		up: rawupstream.Start(t, nil), files: map[string]string{}}
	w.files["hosts.yaml"] = edgeHost("edge", w.up.Addr, hosts...)
	w.files["secret.yaml"] = w.secret("edge", hosts...)
	w.files["bundles.yaml"] = configMap("a", string(w.a.CertPEM())) + "---\n" + configMap("b", string(w.b.CertPEM()))
	return w
}

// secret is a certificate of the public CA.
func (w *world) secret(name string, hosts ...string) string {
	return testca.SecretYAML("default", name, w.public.Issue(testca.Spec{DNS: hosts}).SecretData(testca.FormatTLS, nil, nil))
}

func (w *world) start(args ...string) {
	w.Helper()
	w.g = gateway.Start(w, gateway.Options{Files: w.files, Args: args})
}

// edgeHost makes an EdgeHost and a pool of one origin, both called name; the certificate is the Secret name.
func edgeHost(name, origin string, hosts ...string) string {
	address, port, _ := strings.Cut(origin, ":")
	return fmt.Sprintf(`apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: %[1]s}
spec:
  hosts: ["%[2]s"]
  certificateRefs: [{name: %[1]s}]
  poolRef: {name: %[1]s}
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: %[1]s}
spec:
  origins: [{name: only, address: %[3]s, port: %[4]s}]
`, name, strings.Join(hosts, `", "`), address, port)
}

// policy makes a policy; spec holds the lines of its spec.
func policy(name string, spec ...string) string {
	return fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: ClientCertificatePolicy\nmetadata: {name: %s}\nspec:\n  %s\n", name, strings.Join(spec, "\n  "))
}

// trusts is the line of a policy that names ConfigMaps.
func trusts(names ...string) string {
	var refs []string
	for _, n := range names {
		refs = append(refs, "{kind: ConfigMap, name: "+n+"}")
	}
	return "trust: {caRefs: [" + strings.Join(refs, ", ") + "]}"
}

// documents joins manifests.
func documents(docs ...string) string { return strings.Join(docs, "---\n") }

// config is a client's, that shows cert, if any, whatever CAs are named.
func (w *world) config(sni string, cert *testca.Pair) *tls.Config {
	c := &tls.Config{RootCAs: w.public.Pool(), ServerName: sni}
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair := cert.TLS()
			return &pair, nil
		}
	}
	return c
}

// browser is a client with connections of its own, over HTTP/2 or 1.1; sni is asked for by its connections, ""
// for the host's name.
func (w *world) browser(http2 bool, sni string, cert *testca.Pair) *http.Client {
	tr := &http.Transport{TLSClientConfig: w.config(sni, cert), ForceAttemptHTTP2: http2, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", w.g.Addr(443))
	}}
	if !http2 {
		tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	w.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is what a browser got. Code is of a refusal's JSON.
type answer struct {
	*http.Response
	Body, Code string
}

// get asks for JSON. fields are names and values in turn; a field Host sets the authority.
func (w *world) get(c *http.Client, url string, fields ...string) answer {
	w.Helper()
	a, err := w.try(c, url, fields...)
	if err != nil {
		w.Fatalf("%s: %v", url, err)
	}
	return a
}

// try is get with the error as a result.
func (w *world) try(c *http.Client, url string, fields ...string) (answer, error) {
	w.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			req.Host = fields[i+1]
		} else {
			req.Header.Set(fields[i], fields[i+1])
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	var page struct{ Code string }
	if bytes.HasPrefix(body, []byte("{")) {
		_ = json.Unmarshal(body, &page) // of an origin's answer there may be none
	}
	return answer{resp, string(body), page.Code}, nil
}

// got is status and code of an answer in one word, as tables have them: "200", "403 HK2101".
func (a answer) got() string {
	if a.Code == "" {
		return fmt.Sprint(a.StatusCode)
	}
	return fmt.Sprintf("%d %s", a.StatusCode, a.Code)
}

// raw makes a connection of HTTP/1.1.
func (w *world) raw(sni string, cert *testca.Pair) *client.Conn {
	w.Helper()
	return client.DialTLS(w, w.g.Addr(443), w.config(sni, cert))
}

// line waits for the log's line of an answer.
func (w *world) line(a answer) gateway.Line {
	w.Helper()
	return w.g.AwaitLine(0, "kind", "request", "id", a.Header.Get("X-Request-Id"))
}

func sha256Of(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
