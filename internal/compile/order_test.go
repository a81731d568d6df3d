package compile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/test/golden"
)

// documents returns manifests of both APIs that share ports, hosts, names and policies in many ways.
// Each has a creation time; some share it.
func documents() []string {
	var docs []string
	add := func(format string, args ...any) { docs = append(docs, fmt.Sprintf(format, args...)) }
	for i := range 6 {
		created := fmt.Sprintf("2026-01-0%dT00:00:00Z", 1+i/2)
		add(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw-%d, namespace: default, creationTimestamp: "%s"}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com", host-%d.example.com]}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [host-%d.example.com, shared.example.com], tls: {mode: SIMPLE, credentialName: cert-%d}}
`, i, created, i%3, i, i%2)
		add(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs-%d, namespace: default, creationTimestamp: "%s"}
spec:
  hosts: ["host-%d.example.com", "*.example.com"]
  gateways: [gw-%d, gw-%d]
  http:
  - match: [{uri: {prefix: /%d}}]
    route: [{destination: {host: web, port: {number: 80}}}]
`, i, created, i%3, i, (i+1)%6, i)
		add(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw-%d, namespace: default, creationTimestamp: "%s"}
spec:
  gatewayClassName: hakone
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: "kube-%d.example.com"}
  - {name: https, port: 443, protocol: HTTPS, hostname: "host-%d.example.com", tls: {certificateRefs: [{name: cert-%d, namespace: default}]}}
`, i, created, i%4, i+3, i%2)
		add(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r-%d, namespace: default, creationTimestamp: "%s"}
spec:
  parentRefs: [{name: gw-%d}]
  rules: [{matches: [{path: {type: PathPrefix, value: /r%d}}], backendRefs: [{name: web, port: 80}]}]
`, i, created, i, i)
		add(`apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: r-%d, namespace: default, creationTimestamp: "%s"}
spec:
  parentRefs: [{name: gw-%d}, {name: gw-%d}]
  hostnames: ["host-%d.example.com", "*.example.org"]
  rules: [{matches: [{method: {service: a.B%d}}], backendRefs: [{name: web, port: 80}]}]
`, i, created, (i+1)%6, (i+2)%6, i, i)
		add(`apiVersion: hakone.dev/v1alpha1
kind: TLSPolicy
metadata: {name: p-%d, namespace: default, creationTimestamp: "%s"}
spec: {targetRef: {kind: Gateway, name: gw-%d}, hosts: ["*.example.com", host-%d.example.com], minVersion: "1.%d"}
`, i, created, i%2, i, 1+i%3)
	}
	for i := range 3 {
		created := fmt.Sprintf("2026-01-0%dT00:00:00Z", 1+i/2)
		add(`apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: up-%d, namespace: default, creationTimestamp: "%s"}
spec: {urls: ["http://192.0.2.%d:3128"], hosts: ["*.example.net", a-%d.example.net], except: [10.0.0.0/8], credentialsRef: {name: login}, interception: {caRef: {name: anchors-%d}}}
`, i, created, i, i, i)
		add(`apiVersion: v1
kind: Secret
metadata: {name: anchors-%d, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"}
data: {ca.crt: "${anchors-%d-ca.crt}"}
`, i, i)
		add(`apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: fp-%d, namespace: default, creationTimestamp: "%s"}
spec:
  listeners: [{name: a, port: 443}, {name: b, port: 3128}, {name: c, port: 813%d}]
  proxies: [{proxyRefs: [{name: up-%d}]}]
`, i, created, i, i)
		add(`apiVersion: hakone.dev/v1alpha1
kind: CachePolicy
metadata: {name: cache-%d, namespace: default, creationTimestamp: "%s"}
spec: {targetRefs: [{kind: Gateway, name: gw-1}, {kind: HTTPRoute, name: r-1}]}
`, i, created)
		add(`apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: pool-%d, namespace: default, creationTimestamp: "%s"}
spec: {tls: {}, origins: [{name: a, address: a-%d.example.net}, {name: b, address: b.example.org}]}
`, i, created, i)
		add(`apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: edge-%d, namespace: default, creationTimestamp: "%s"}
spec: {hosts: [edge-%d.example.com], certificateRefs: [{name: cert-0}], poolRef: {name: pool-%d}}
`, i, created, i, i)
	}
	add(`apiVersion: v1
kind: Secret
metadata: {name: login, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"}
stringData: {username: u, password: p}
`)
	for i := range 2 {
		for _, ns := range []string{"default", "istio-system"} {
			add(`apiVersion: v1
kind: Secret
metadata: {name: cert-%d, namespace: %s, creationTimestamp: "2026-01-01T00:00:00Z"}
type: kubernetes.io/tls
data: {tls.crt: "${httpbin%d.crt}", tls.key: "${httpbin%d.key}"}
`, i, ns, i, i)
		}
	}
	add(`apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {ports: [{port: 80}]}
`)
	return docs
}

// setOf spreads documents over files, in the order given.
func setOf(t testing.TB, docs []string, files int) *resource.Set {
	t.Helper()
	parts := make([][]string, files)
	for i, d := range docs {
		parts[i%files] = append(parts[i%files], d)
	}
	texts := map[string]string{}
	for i, p := range parts {
		texts[fmt.Sprintf("%02d.yaml", i)] = golden.Fill(strings.Join(p, "---\n"))
	}
	set, bad := manifest.Set(texts)
	for _, d := range bad {
		t.Fatalf("the input is at fault: %s", d)
	}
	return set
}

func TestShuffledInputGivesTheSameSnapshot(t *testing.T) {
	docs := documents()
	first, ds := compileSet(setOf(t, docs, 1), 0, nil)
	ds = placeless(ds)
	want := dumpOf(t, first)
	if len(first.Config.Listeners) != 6 || len(ds) == 0 {
		t.Fatalf("the documents do not meet: %s", brief(first))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		random.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		s, again := compileSet(setOf(t, docs, 1+random.IntN(9)), 0, nil)
		if got := dumpOf(t, s); got != want {
			t.Fatalf("another order gives another snapshot\n%s\nwant\n%s", brief(s), brief(first))
		}
		if s.Hash() != first.Hash() {
			t.Fatal("equal dumps have different hashes")
		}
		if again = placeless(again); !slices.Equal(ds, again) {
			t.Fatalf("another order gives other diagnostics: %v\nwant %v", again, ds)
		}
	}
}

// placeless takes positions away: they are where a document stands.
func placeless(ds []diag.Diagnostic) []diag.Diagnostic {
	for i := range ds {
		ds[i].Position = diag.Position{}
	}
	return diag.Compact(ds)
}

func TestCompilingTwiceGivesTheSame(t *testing.T) {
	set := setOf(t, documents(), 3)
	a, _ := compileSet(set, 0, nil)
	b, _ := compileSet(set, 0, nil)
	if dumpOf(t, a) != dumpOf(t, b) {
		t.Error("two runs over one set differ")
	}
}

// TestChainsServeDisjointHosts holds the promise that the data side builds on: within one socket a
// host belongs to one chain, and names are unique.
func TestChainsServeDisjointHosts(t *testing.T) {
	s, _ := compileSet(setOf(t, documents(), 2), 0, nil)
	names := map[string]bool{}
	for _, l := range s.Config.Listeners {
		owner := map[string]string{}
		for _, c := range l.Chains {
			if names[c.Name] {
				t.Errorf("two chains are called %s", c.Name)
			}
			names[c.Name] = true
			for _, h := range c.Hosts {
				if other := owner[h.String()]; other != "" {
					t.Errorf("%s and %s of %s both have %s", other, c.Name, l.Name, h)
				}
				owner[h.String()] = c.Name
			}
			if l.TLS != (c.TLS != nil) {
				t.Errorf("chain %s of %s: TLS settings %v", c.Name, l.Name, c.TLS)
			}
			if c.TLS != nil && (c.TLS.MinVersion == 0 || c.TLS.MinVersion > c.TLS.MaxVersion || c.TLS.Class == "" || len(c.TLS.ALPN) == 0) {
				t.Errorf("chain %s is incomplete: %+v", c.Name, c.TLS)
			}
		}
	}
}

// BenchmarkCompile10000Hosts is a reload of 10,000 hosts with a server and VirtualService each, a
// thousand of which have a TLSPolicy of their own. Manifests are parsed before.
func BenchmarkCompile10000Hosts(b *testing.B) {
	set := setOf(b, manyHosts(10_000, 1000), 20)
	b.ReportAllocs()
	for b.Loop() {
		s, _ := compileSet(set, 0, nil)
		if len(s.Config.Listeners) != 1 || len(s.Config.Listeners[0].Chains) != 10_000 {
			b.Fatal("hosts are missing")
		}
	}
}

func manyHosts(hosts, policies int) []string {
	var docs []string
	for i := range hosts {
		docs = append(docs, fmt.Sprintf(`{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"gw-%d"},"spec":{"selector":{"istio":"ingressgateway"},"servers":[{"port":{"number":443,"name":"https","protocol":"HTTPS"},"hosts":["h%d.example.com"],"tls":{"mode":"SIMPLE","credentialName":"cert"}}]}}
---
{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"vs-%d"},"spec":{"hosts":["h%d.example.com"],"gateways":["gw-%d"],"http":[{"route":[{"destination":{"host":"web","port":{"number":80}}}]}]}}
`, i, i, i, i, i))
		if i < policies {
			docs = append(docs, fmt.Sprintf(`{"apiVersion":"hakone.dev/v1alpha1","kind":"TLSPolicy","metadata":{"name":"p-%d"},"spec":{"hosts":["h%d.example.com"],"minVersion":"1.3"}}`+"\n", i, i))
		}
	}
	return append(docs, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"cert","namespace":"istio-system"},"type":"kubernetes.io/tls","data":{"tls.crt":"${httpbin.crt}","tls.key":"${httpbin.key}"}}
`, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}]}}
`)
}
