//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// manyHosts is how many hosts there are, and perFile how many of them share a file of manifests.
const (
	manyHosts = 10_000
	perFile   = 250
)

// many is a gateway with very many hosts, of which one has a broken secret. A handful of key pairs,
// each good for any of the hosts, is shared out over all secrets.
type many struct {
	*testing.T
	ca   *testca.Pair
	pool []*testca.Pair
	g    *gateway.Gateway
}

func manyName(i int) string { return fmt.Sprintf("h%05d.many.test", i) }

// TestTenThousandHosts breaks one secret among those of ten thousand hosts: only that host fails, with
// object, field and fix. It prints how long starting, mending and changing take.
func TestTenThousandHosts(t *testing.T) {
	t.Parallel()
	w := &many{T: t, ca: testca.New(t, testca.Spec{CommonName: "Many CA"})}
	for range 4 {
		w.pool = append(w.pool, w.ca.Issue(testca.Spec{DNS: []string{"*.many.test"}}))
	}
	broken := manyHosts / 3
	files := map[string]string{}
	var gateways strings.Builder
	for first := 0; first < manyHosts; first += perFile {
		var servers, secrets strings.Builder
		fmt.Fprintf(&servers, manyGateway, first)
		fmt.Fprintf(&gateways, "  - gw-%05d\n", first)
		for i := first; i < min(first+perFile, manyHosts); i++ {
			fmt.Fprintf(&servers, manyServer, i, i, manyName(i))
			if i != broken {
				secrets.WriteString("---\n" + w.secret(i))
			}
		}
		files[fmt.Sprintf("gateway-%05d.yaml", first)] = servers.String()
		files[fmt.Sprintf("secrets-%05d.yaml", first)] = secrets.String()
	}
	files["route.yaml"] = fmt.Sprintf(manyRoute, gateways.String())
	files["broken.yaml"] = testca.SecretYAML("istio-system", fmt.Sprintf("s%05d", broken), map[string][]byte{"tls.crt": w.pool[0].ChainPEM(), "tls.key": w.pool[1].KeyPEM()})
	begin := time.Now()
	w.g = gateway.Start(t, gateway.Options{Files: files, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	w.Logf("%d hosts: from writing the files to serving %s, %d KiB resident (%.1f KiB a host)", manyHosts, time.Since(begin).Round(time.Millisecond), residentKiB(w.T, w.g), float64(residentKiB(w.T, w.g))/float64(manyHosts))
	w.judge(broken)
	w.mend(broken)
}

func (w *many) secret(i int) string {
	p := w.pool[i%len(w.pool)]
	return testca.SecretYAML("istio-system", fmt.Sprintf("s%05d", i), p.SecretData(testca.FormatTLS, nil, nil))
}

// judge tries hosts all over the range: only the broken one fails, with object, field and fix.
func (w *many) judge(broken int) {
	w.Helper()
	tried := []int{0, broken - 1, broken + 1, manyHosts - 1}
	for range 50 {
		tried = append(tried, rand.IntN(manyHosts))
	}
	for _, i := range tried {
		if i == broken {
			continue
		}
		if err := w.ask(i); err != nil {
			w.Errorf("%s: %v", manyName(i), err)
		}
	}
	if err := w.ask(broken); err == nil || !strings.Contains(err.Error(), "remote error: tls: internal error") {
		w.Errorf("the broken host: %v; want alert 80", err)
	}
	object := fmt.Sprintf("istio-system/s%05d", broken)
	line := w.g.AwaitLine(0, "kind", "handshake", "code", "HK2302")
	if line.S("sni") != manyName(broken) || line.S("origin") != "Secret "+object || !strings.Contains(line.S("detail"), "tls.key") {
		w.Errorf("handshake log: %v", line)
	}
	var failing []string
	for _, l := range w.g.Lines() {
		if l.S("kind") == "handshake" && l.S("code") != "" && l.S("code") != "HK1108" && l.S("sni") != manyName(broken) {
			failing = append(failing, l.S("sni"))
		}
	}
	if len(failing) > 0 {
		w.Errorf("other hosts fail: %v", failing)
	}
	begin := time.Now()
	r := gateway.Command(w, nil, "", "check", w.g.Dir)
	w.Logf("hakone check of %d hosts takes %s", manyHosts, time.Since(begin).Round(time.Millisecond))
	if r.Code != 3 || !strings.Contains(r.Out, object) || !strings.Contains(r.Out, fmt.Sprintf("spec.servers[%d].tls.credentialName", broken%perFile)) || !strings.Contains(r.Out, "fix:") {
		w.Errorf("check: exit %d\n%.2000s", r.Code, r.Out)
	}
	if n := strings.Count(r.Out, "\nerror ") + strings.Count(r.Out[:min(6, len(r.Out))], "error "); n < 1 || n > 3 {
		w.Errorf("check finds %d errors for one broken secret\n%.2000s", n, r.Out)
	}
}

// mend measures from a change of one host's secret to serving it.
func (w *many) mend(broken int) {
	w.Helper()
	begin := time.Now()
	w.g.Write("broken.yaml", w.secret(broken))
	for w.ask(broken) != nil {
		if time.Since(begin) > 30*time.Second {
			w.Fatal("the mended host does not serve")
		}
		time.Sleep(2 * time.Millisecond)
	}
	w.Logf("a mended secret among %d hosts serves after %s", manyHosts, time.Since(begin).Round(time.Millisecond))
	fresh := w.ca.Issue(testca.Spec{DNS: []string{manyName(broken)}})
	begin = time.Now()
	w.g.Write("broken.yaml", testca.SecretYAML("istio-system", fmt.Sprintf("s%05d", broken), fresh.SecretData(testca.FormatTLS, nil, nil)))
	for {
		c := client.DialTLS(w, w.g.Addr(443), w.config(broken))
		done := c.TLS().PeerCertificates[0].Equal(fresh.Cert)
		c.Close()
		if done {
			break
		}
		if time.Since(begin) > 30*time.Second {
			w.Fatal("the rotated certificate is not served")
		}
		time.Sleep(2 * time.Millisecond)
	}
	w.Logf("a rotated secret among %d hosts serves after %s; %d KiB resident", manyHosts, time.Since(begin).Round(time.Millisecond), residentKiB(w.T, w.g))
}

func (w *many) config(i int) *tls.Config {
	return &tls.Config{RootCAs: w.ca.Pool(), ServerName: manyName(i)}
}

// ask makes a request to a host.
func (w *many) ask(i int) error {
	c, err := client.TryTLS(w, w.g.Addr(443), w.config(i))
	if err != nil {
		return err
	}
	defer c.Close()
	if resp, _ := c.Get(manyName(i), "/status/200"); resp.StatusCode != 200 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

const manyGateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: gw-%05d
spec:
  selector:
    istio: ingressgateway
  servers:
`

const manyServer = `  - port:
      number: 443
      name: https-%05d
      protocol: HTTPS
    tls:
      mode: SIMPLE
      credentialName: s%05d
    hosts:
    - %s
`

const manyRoute = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: all
spec:
  hosts:
  - "*.many.test"
  gateways:
%s  http:
  - route:
    - destination:
        host: backend
        port:
          number: 8000
`
