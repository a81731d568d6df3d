package compile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/test/golden"
)

const tcpServers = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: [a.test]}
  - {port: {number: 8443, name: terminated, protocol: TLS}, hosts: [a.test], tls: {mode: SIMPLE, credentialName: cert}}
  - {port: {number: 443, name: passed, protocol: TLS}, hosts: [a.test], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: [b.test]}
  - {port: {number: 443, name: passed, protocol: HTTPS}, hosts: [a.test], tls: {mode: PASSTHROUGH}}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [c.test], tls: {mode: SIMPLE, credentialName: cert}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: [a.test, b.test]
  gateways: [one, two]
  tcp:
  - {match: [{gateways: [one]}], route: [{destination: {host: web, port: {number: 80}}}]}
  - {match: [{gateways: [two]}], route: [{destination: {host: web, port: {number: 80}}}]}
  tls:
  - {match: [{gateways: [one], sniHosts: [a.test]}], route: [{destination: {host: web, port: {number: 80}}}]}
  - {match: [{gateways: [two], sniHosts: [a.test]}], route: [{destination: {host: web, port: {number: 80}}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: cert}
type: kubernetes.io/tls
data: {tls.crt: "${a.crt}", tls.key: "${a.key}"}
`

// tcpRoutes compiles and lists the chains with their routes of connections.
func tcpRoutes(t *testing.T, more string) ([]string, []diag.Diagnostic) {
	t.Helper()
	set, bad := manifest.Set(map[string]string{"a.yaml": golden.Fill(tcpServers + more)})
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	s, ds := compileSet(set, 0, nil)
	var out []string
	for _, l := range s.Config.Listeners {
		for _, c := range l.Chains {
			line := fmt.Sprintf("%s %s %v tls=%v", l.Name, c.Name, c.Hosts, c.TLS != nil)
			if c.TCP != nil && c.TLS != nil && len(c.TLS.ALPN) > 0 {
				t.Errorf("%s negotiates %v for what is no HTTP", c.Name, c.TLS.ALPN)
			}
			for _, r := range c.TCP {
				line += " " + strings.TrimPrefix(r.Name, "default/v/")
				if r.Fault != nil {
					line += "!" + r.Fault.Code.String()
				}
			}
			out = append(out, line)
		}
	}
	for _, u := range s.Config.Upstreams {
		out = append(out, u.Name)
	}
	return out, ds
}

func TestConnectionsOfOneSocketAreOneChain(t *testing.T) {
	got, ds := tcpRoutes(t, "")
	want := []string{
		"*:443 default/one/passed [a.test] tls=false tls-0/match-0 tls-1/match-0",
		"*:443 default/two/https [c.test] tls=true",
		"*:8443 default/one/terminated [a.test] tls=true tcp-0/match-0",
		"*:9000 default/one/tcp [*] tls=false tcp-0/match-0 tcp-1/match-0",
		"web.default:80",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, d := range ds {
		if d.Severity == diag.Error {
			t.Error(d)
		}
	}
}

func TestConnectionsAndRequestsShareNoPlainPort(t *testing.T) {
	got, ds := tcpRoutes(t, `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: younger}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 9000, name: http, protocol: HTTP}, hosts: [h.test]}]
`)
	if !slices.ContainsFunc(ds, func(d diag.Diagnostic) bool { return d.Code == diag.ProtocolConflict && d.Object.Name == "younger" }) {
		t.Errorf("no conflict: %v", ds)
	}
	if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "younger") }) {
		t.Errorf("it serves: %v", got)
	}
}

// TestPoliciesRefuseConnections holds that a policy which cannot be carried out on a host lets nobody in.
func TestPoliciesRefuseConnections(t *testing.T) {
	const policy = `---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: p}
spec:
  hosts: [a.test]
  trust: {caRefs: [{kind: ConfigMap, name: ca}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ca}
data:
  ca.crt: |
    ${ca.pem}
`
	got, ds := tcpRoutes(t, policy)
	for _, line := range got {
		routes := strings.Count(line, "match-")
		if strings.Count(line, "!HK5878") != routes {
			t.Errorf("connections are let in: %s", line)
		}
	}
	if !slices.ContainsFunc(ds, func(d diag.Diagnostic) bool { return d.Code == diag.AccessOverTCP && d.Severity == diag.Error }) {
		t.Errorf("nothing is told: %v", ds)
	}
}
