//go:build e2e

package egress

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
)

// attempts are the document's own objects, in the order in which its author tried them; %[1]s is the proxy's address.
const (
	attemptEntry = `apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: proxy
spec:
  hosts:
  - my-company-proxy.com # ignored
  addresses:
  - %[1]s/32
  ports:
  - number: 8080
    name: tcp
    protocol: TCP
  location: MESH_EXTERNAL
`
	attemptGateway = `apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: proxy
spec:
  hosts:
  - my-company-proxy.com # ignored
  addresses:
  - %[1]s/32
  ports:
  - number: 8080
    name: tcp
    protocol: TCP
  - number: 7777
    name: tcp-gateway
    protocol: TCP
  location: MESH_EXTERNAL
---
kind: Service
apiVersion: v1
metadata:
  name: myproxy
  namespace: istio-system
spec:
  type: ExternalName
  externalName: %[1]s
  ports:
  - protocol: TCP
    port: 8080
    name: tcp
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: istio-egressgateway
spec:
  selector:
    istio: egressgateway
  servers:
  - port:
      number: 7777
      name: tcp
      protocol: TCP
    hosts:
    - my-company-proxy.com
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: egressgateway-for-proxy
spec:
  host: istio-egressgateway.istio-system.svc.cluster.local
  subsets:
  - name: proxy
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: myproxy
spec:
  host: myproxy.istio-system.svc.cluster.local
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: direct-traffic-to-proxy-through-egress-gateway
spec:
  hosts:
  - my-company-proxy.com
  gateways:
  - mesh
  - istio-egressgateway
  tcp:
  - match:
    - gateways:
      - mesh
      destinationSubnets:
      - %[1]s/32
      port: 8080
    route:
    - destination:
        host: istio-egressgateway.istio-system.svc.cluster.local
        subset: proxy
        port:
          number: 7777
  - match:
    - gateways:
      - istio-egressgateway
      port: 7777
    route:
    - destination:
        host: myproxy.istio-system.svc.cluster.local
        port:
          number: 8080
      weight: 100
`
	attemptRule = `apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: my-company-proxy
spec:
  host: my-company-proxy.com
  trafficPolicy:
    tls:
      insecureSkipVerify: true
      caCertificates: /tmp/bump.pem
      mode: SIMPLE
`
)

// TestSeed2Attempts are the document's four attempts as they stand: the check says of each why it cannot do what
// its author wanted, and prints objects that do.
func TestSeed2Attempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	check := func(files map[string]string) string {
		dir := gateway.Folder(w)
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				w.Fatal(err)
			}
		}
		r := program.Run(w, program.Command{Path: gateway.Binary(w), Args: []string{"check", dir}})
		return r.Out + r.Err
	}
	entry := fmt.Sprintf(attemptEntry, w.company.Address)
	w.has("attempt 1", check(map[string]string{"se.yaml": entry}), `HK58[6-8]\d`, `(?i)verif`, `UpstreamProxy`)
	w.has("attempt 2", check(map[string]string{"all.yaml": fmt.Sprintf(attemptGateway, w.company.Address)}), `7777`, `(?i)ExternalName`, `UpstreamProxy`)
	three := check(map[string]string{"se.yaml": entry, "dr.yaml": strings.Replace(attemptRule, "      insecureSkipVerify: true\n", "", 1)})
	w.has("attempt 3", three, `(?i)plain`, `CONNECT`, `/tmp/bump\.pem`, `kind: UpstreamProxy`)
	w.has("attempt 4", check(map[string]string{"se.yaml": entry, "dr.yaml": attemptRule}), `insecureSkipVerify`, `kind: UpstreamProxy`)
}

// TestIstioOrigination is Istio's task "TLS origination" at a gateway: port 80 in the clear, 443 with TLS behind it, through
// the company's proxy, which an UpstreamProxy names.
func TestIstioOrigination(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.start(map[string]string{"egress.yaml": w.corp() + `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: example, namespace: default}
spec:
  hosts: [example.com]
  ports:
  - {number: 80, name: http-port, protocol: HTTP, targetPort: 443}
  - {number: 443, name: https-port, protocol: HTTPS}
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: example, namespace: default}
spec:
  host: example.com
  trafficPolicy:
    portLevelSettings:
    - port: {number: 80}
      tls: {mode: SIMPLE}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: istio-egressgateway, namespace: default}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [example.com]
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [example.com]
    tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: example, namespace: default}
spec:
  hosts: [example.com]
  gateways: [istio-egressgateway, mesh]
  http:
  - match: [{port: 80}]
    route:
    - destination: {host: example.com, port: {number: 80}}
  tls:
  - match: [{port: 443, sniHosts: [example.com]}]
    route:
    - destination: {host: example.com, port: {number: 443}}
`}, "--labels", "istio=egressgateway")
	w.write("bump.crt", w.squid.CA.CertPEM())
	before := len(w.squid.Log())
	w.title(w.curl("http://example.com/"))
	w.squid.AwaitLog(before, `GET https://example\.com/ `)
	w.title(w.curl("--cacert", "bump.crt", "https://example.com/")) // passed through: the client verifies
	if r := w.curl("--cacert", "public.crt", "https://example.com/"); r.Code != 60 {
		t.Errorf("the passed-through connection did not go through the proxy: exit %d", r.Code)
	}
}

// TestIstioTunnel is Istio's tunnel: bytes of a client that speaks TLS itself, in a tunnel through the proxy.
func TestIstioTunnel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.start(map[string]string{"egress.yaml": fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: proxy, namespace: default}
spec:
  hosts: [my-company-proxy.com]
  ports: [{number: 8080, name: http-proxy, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: %s}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: istio-egressgateway, namespace: default}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 443, name: tls, protocol: TLS}
    hosts: [example.com]
    tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: example, namespace: default}
spec:
  hosts: [example.com]
  gateways: [istio-egressgateway]
  tls:
  - match: [{port: 443, sniHosts: [example.com]}]
    route:
    - destination: {host: my-company-proxy.com, port: {number: 8080}, subset: to-example}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: proxy, namespace: default}
spec:
  host: my-company-proxy.com
  subsets:
  - name: to-example
    trafficPolicy:
      tunnel: {protocol: CONNECT, targetHost: example.com, targetPort: 443}
`, w.company.Address)}, "--labels", "istio=egressgateway")
	w.write("bump.crt", w.squid.CA.CertPEM())
	w.title(w.curl("--cacert", "bump.crt", "https://example.com/"))
	w.squid.AwaitLog(0, `CONNECT example\.com:443`)
}
