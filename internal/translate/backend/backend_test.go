package backend

import (
	"reflect"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

const manifests = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: prod}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: test}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: example, namespace: com}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: prod, labels: {kubernetes.io/service-name: web, version: v1}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.2]}, {addresses: [192.0.2.1]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, namespace: prod, labels: {kubernetes.io/service-name: web, version: v2}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [192.0.2.3]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec:
  hosts: [example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: prod}
spec:
  host: web
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}}
  subsets: [{name: v2, labels: {version: v2}}]
`

func resolver(t *testing.T, ctx translate.Context) (*Resolver, *translate.Fragment) {
	t.Helper()
	set, ds := manifest.Set(map[string]string{"a.yaml": manifests})
	if w, _ := diag.Worst(ds); w == diag.Error {
		t.Fatal(ds)
	}
	f := translate.NewFragment()
	return New(set, ctx, f, credential.New(set, ctx, f, nil)), f
}

// TestBothAPIsMeanTheSame holds the promise that fragments merge: equal names, equal contents.
func TestBothAPIsMeanTheSame(t *testing.T) {
	a, byService := resolver(t, translate.Context{})
	want := a.Service("prod", "web", 80, ir.Origin{})
	for _, d := range []struct {
		host, namespace string
	}{{"web", "prod"}, {"web.prod", "x"}, {"web.prod.svc", "x"}, {"Web.Prod.svc.cluster.local.", "x"}} {
		b, byHost := resolver(t, translate.Context{})
		got := b.Destination(Destination{Host: d.host}, d.namespace, ir.Origin{})
		if got != want || got.Upstream != "web.prod:80" {
			t.Errorf("%v: %+v, want %+v", d, got, want)
		}
		if !reflect.DeepEqual(byHost.Upstreams, byService.Upstreams) || !reflect.DeepEqual(byHost.Endpoints, byService.Endpoints) {
			t.Errorf("%v: contents differ", d)
		}
	}
	if n := byService.Upstreams["web.prod:80"].Pool.MaxConnections; n != 5 {
		t.Errorf("DestinationRule of the service's namespace: %d connections", n)
	}
	if e := byService.Endpoints["web.prod:80"]; len(e) != 3 || e[0].Host != "192.0.2.1" || e[0].Port != 8080 {
		t.Errorf("endpoints %v", e)
	}
}

func TestSubsetOfSlicesByTheirLabels(t *testing.T) {
	r, f := resolver(t, translate.Context{})
	got := r.Destination(Destination{Host: "web", Port: 80, Subset: "v2"}, "prod", ir.Origin{})
	if e := f.Endpoints[got.Upstream]; got.Upstream != "web.prod:80|v2" || len(e) != 1 || e[0].Host != "192.0.2.3" {
		t.Errorf("%+v: %v", got, e)
	}
}

// TestExternalHostNamedLikeAService keeps two things with one spelling apart.
func TestExternalHostNamedLikeAService(t *testing.T) {
	r, f := resolver(t, translate.Context{})
	service := r.Service("com", "example", 80, ir.Origin{})
	external := r.Destination(Destination{Host: "example.com", Port: 80}, "default", ir.Origin{})
	if service.Upstream != "example.com:80" || external.Upstream != "example.com.:80" {
		t.Fatalf("%+v and %+v", service, external)
	}
	if a, b := f.Upstreams[service.Upstream].Resolve.Host, f.Upstreams[external.Upstream].Resolve.Host; a != "example.com.svc.cluster.local" || b != "example.com" {
		t.Errorf("hosts %q and %q", a, b)
	}
}

func TestEndpointFlags(t *testing.T) {
	for _, c := range []struct {
		key  string
		want bool
	}{
		{"web.prod:80", true}, {"web.prod.svc.cluster.local:80", true}, {"web.prod:80|v2", false},
		{"web:80", false}, // there is a web in another namespace
		{"web.prod:81", false},
	} {
		ctx := translate.Context{EndpointFlags: map[string][]string{c.key: {"127.0.0.1:1"}}}
		r, f := resolver(t, ctx)
		up := r.Service("prod", "web", 80, ir.Origin{}).Upstream
		used := len(f.Endpoints[up]) == 1 && f.Endpoints[up][0].Port == 1
		if used != c.want {
			t.Errorf("%s used: %v, want %v", c.key, used, c.want)
		}
		if unused := len(UnusedFlags(ctx, f.Endpoints)) == 1; unused == c.want {
			t.Errorf("%s reported as unused: %v", c.key, unused)
		}
	}
	ctx := translate.Context{EndpointFlags: map[string][]string{"only:9": {"localhost:1"}}}
	r, f := resolver(t, ctx)
	if up := r.Service("default", "only", 9, ir.Origin{}).Upstream; len(f.Endpoints[up]) != 1 || len(UnusedFlags(ctx, f.Endpoints)) != 0 {
		t.Errorf("a short name that is the only one: %v", f.Endpoints)
	}
}

func TestCompleteSetKnowsWhatIsMissing(t *testing.T) {
	r, _ := resolver(t, translate.Context{Complete: true})
	if got := r.Service("prod", "gone", 80, ir.Origin{}); got.Fault == nil || got.Fault.Code != diag.ServiceNotFound {
		t.Errorf("%+v", got)
	}
	r, f := resolver(t, translate.Context{})
	if got := r.Service("prod", "gone", 80, ir.Origin{}); got.Fault != nil || f.Upstreams[got.Upstream].Resolve == nil {
		t.Errorf("a folder asks DNS: %+v", got)
	}
	if got := r.Service("prod", "web", 81, ir.Origin{}); got.Fault == nil || got.Fault.Code != diag.ServicePortMissing {
		t.Errorf("%+v", got)
	}
}
