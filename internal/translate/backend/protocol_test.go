package backend

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// TestGRPCServiceHasItsOwnName holds that one name never means two protocols, and that --endpoint
// reaches both.
func TestGRPCServiceHasItsOwnName(t *testing.T) {
	ctx := translate.Context{EndpointFlags: map[string][]string{"web.prod:80": {"127.0.0.1:1"}}}
	r, f := resolver(t, ctx)
	call := r.GRPCService("prod", "web", 80, ir.Origin{}).Upstream
	if unused := UnusedFlags(ctx, f.Endpoints); len(unused) != 0 {
		t.Errorf("the flag gives the GRPCRoute's upstream its address: %v", unused)
	}
	web := r.Service("prod", "web", 80, ir.Origin{}).Upstream
	if web != "web.prod:80" || call != "web.prod:80/grpc" {
		t.Fatalf("%q and %q", web, call)
	}
	if p := f.Upstreams[web].Protocol; p != ir.UpstreamHTTP1 {
		t.Errorf("%s speaks %s", web, p)
	}
	if p := f.Upstreams[call].Protocol; p != ir.UpstreamHTTP2 {
		t.Errorf("%s speaks %s", call, p)
	}
	for _, name := range []string{web, call} {
		if e := f.Endpoints[name]; len(e) != 1 || e[0].Port != 1 {
			t.Errorf("%s has endpoints %v", name, e)
		}
	}
}

func TestServiceProtocol(t *testing.T) {
	h2c := "Kubernetes.io/H2C"
	for want, p := range map[string]corev1.ServicePort{
		"":                  {},
		"http":              {Name: "HTTP-api"},
		"grpc":              {Name: "grpc"},
		"grpc-web":          {Name: "gRPC-Web-api"},
		"grpcweb":           {Name: "grpcweb"},
		"https":             {Name: "https-grpc"},
		"kubernetes.io/h2c": {Name: "http", AppProtocol: &h2c},
	} {
		if got := serviceProtocol(p); got != want {
			t.Errorf("port %q: %q, want %q", p.Name, got, want)
		}
	}
	if got := serviceProtocol(corev1.ServicePort{Name: "grpc-webhook"}); got != "grpc" {
		t.Errorf("grpc-webhook is %q", got)
	}
}
