package demo

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// hosts of the demo.
const (
	httpbin    = "httpbin." + domain
	helloworld = "helloworld." + domain
	partners   = "partners." + domain
)

// ingress is the scene of two APIs on one port.
type ingress struct {
	alice, mallory [2]string
}

// Ingress is the scene of hosts in Istio's and the Gateway API on one port, one with mutual TLS.
func Ingress() Scene { return &ingress{} }

func (i *ingress) prepare(ctx context.Context, s *stage) error {
	port, err := start(ctx, backend(), nil)
	if err != nil {
		return err
	}
	ca, err := newAuthority("Hakone Demo CA")
	if err != nil {
		return err
	}
	if err := writeManifests(folder(s.dir), ca, port); err != nil {
		return err
	}
	if s.ca, err = write(s.dir, "demo-ca.pem", ca.pem); err != nil {
		return err
	}
	if i.alice, err = s.client(ca, "alice"); err != nil {
		return err
	}
	// The same name from another CA of the same name: only signatures tell them apart.
	other, err := newAuthority("Hakone Demo CA")
	if err != nil {
		return err
	}
	i.mallory, err = s.client(other, "mallory")
	return err
}

func (*ingress) made(s *stage) []string {
	return []string{
		fmt.Sprintf("certificates  %s, %s, %s; clients alice, and mallory from another CA of the same name", httpbin, helloworld, partners),
		fmt.Sprintf("manifests     %s (Istio and Gateway API; edit them, they are read at once)", folder(s.dir)),
	}
}

func (i *ingress) steps(*stage) []step {
	return []step{
		{host: httpbin, path: "/status/418", status: 418, says: "418, a teapot"},
		{host: helloworld, path: "/hello", status: 200, says: "200, another host and certificate on the same port"},
		{host: httpbin, path: "/nowhere", status: 404, code: diag.NoRoute, says: "404; the line here names the nearest route"},
		{host: partners, path: "/status/418", code: diag.ClientCertMissing, says: "refused: a client certificate is required (alert 116)"},
		{host: partners, path: "/headers", client: i.alice, status: 200, says: "200; the backend is told who alice is"},
		{host: partners, path: "/headers", client: i.mallory, code: diag.ClientCertUnknownCA, says: "refused: another CA of the same name"},
		{host: httpbin, path: "/get", tlsMax: "1.1", code: diag.TLSVersionTooLow, says: "refused: TLS 1.1 is below the floor (alert 70)"},
		{host: "unknown." + domain, path: "/", code: diag.SNIUnknown, says: "closed: no listener has this name"},
		{host: httpbin, path: "/get", http: true, status: 400, code: diag.PlaintextOnTLSPort, says: "400: plain HTTP on a TLS port"},
		{host: httpbin, path: "/get", noCA: true, code: diag.PeerUnknownCA, says: "the client does not trust the CA; this side knows why"},
	}
}

// writeManifests fills dir with what a user would keep in git: two hosts in Istio's API, one of them
// with mutual TLS, and one in the Gateway API, all on port 443, and the backend's address.
func writeManifests(dir string, ca *authority, backendPort int) error {
	files := map[string]string{
		"istio.yaml":       istioManifest,
		"gateway-api.yaml": gatewayManifest,
		"services.yaml":    fmt.Sprintf(serviceManifest, backendPort, backendPort),
	}
	secrets := ""
	for _, host := range []string{httpbin, helloworld, partners} {
		cert, key, err := ca.issue(host, false)
		if err != nil {
			return err
		}
		secrets += fmt.Sprintf("---\napiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata:\n  name: %s-credential\n  namespace: istio-system\ndata:\n  tls.crt: %s\n  tls.key: %s\n",
			host[:len(host)-len(domain)-1], base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
		if host == partners {
			secrets += "  ca.crt: " + base64.StdEncoding.EncodeToString(ca.pem) + "\n"
		}
	}
	files["secrets.yaml"] = secrets
	for name, text := range files {
		if _, err := write(dir, name, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// folder is where the manifests are below the demo's temporary folder.
func folder(dir string) string { return filepath.Join(dir, "manifests") }

const istioManifest = `# Istio: two hosts on one port, each with its own certificate. partners asks for a client certificate.
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: mygateway
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 443
      name: https-httpbin
      protocol: HTTPS
    tls:
      mode: SIMPLE
      credentialName: httpbin-credential
    hosts:
    - httpbin.localhost
  - port:
      number: 443
      name: https-partners
      protocol: HTTPS
    tls:
      mode: MUTUAL
      credentialName: partners-credential
    hosts:
    - partners.localhost
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: httpbin
spec:
  hosts:
  - httpbin.localhost
  - partners.localhost
  gateways:
  - mygateway
  http:
  - match:
    - uri:
        prefix: /status
    - uri:
        prefix: /delay
    - uri:
        prefix: /get
    - uri:
        prefix: /headers
    route:
    - destination:
        host: httpbin
        port:
          number: 8000
`

const gatewayManifest = `# Kubernetes Gateway API: a third host on the same port.
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: hello
  namespace: istio-system
spec:
  gatewayClassName: hakone
  listeners:
  - name: https
    hostname: helloworld.localhost
    port: 443
    protocol: HTTPS
    tls:
      mode: Terminate
      certificateRefs:
      - name: helloworld-credential
    allowedRoutes:
      namespaces:
        from: Selector
        selector:
          matchLabels:
            kubernetes.io/metadata.name: default
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: helloworld
spec:
  parentRefs:
  - name: hello
    namespace: istio-system
  hostnames:
  - helloworld.localhost
  rules:
  - matches:
    - path:
        type: Exact
        value: /hello
    backendRefs:
    - name: httpbin
      port: 8000
`

const serviceManifest = `# The backend, as Kubernetes would describe it. Loopback works in a folder.
apiVersion: v1
kind: Service
metadata:
  name: httpbin
spec:
  ports:
  - name: http
    port: 8000
    targetPort: %d
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: httpbin-demo
  labels:
    kubernetes.io/service-name: httpbin
addressType: IPv4
ports:
- name: http
  port: %d
  protocol: TCP
endpoints:
- addresses:
  - 127.0.0.1
`
