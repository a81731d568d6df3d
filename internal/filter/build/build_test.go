package build

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestRoute(t *testing.T) {
	edit := ir.Filter{ResponseHeaders: &ir.HeaderEdit{Set: []ir.NameValue{{Name: "X-A", Value: "1"}}}}
	r := &ir.Route{Filters: []ir.Filter{edit}, Redirect: &ir.Redirect{Status: 301, Scheme: "https"}}
	fs, err := Route(r, nil)
	if err != nil || len(fs) != 2 {
		t.Fatalf("%d filters, %v", len(fs), err)
	}
	if got := fs[0].Request(&filter.Exchange{}); got.Verdict != filter.Continue {
		t.Errorf("the redirect is not last")
	}
	if fs, err = Route(r, &ir.Backend{Filters: []ir.Filter{edit}}); err != nil || len(fs) != 1 {
		t.Errorf("a backend has %d filters, %v", len(fs), err)
	}
}

func TestErrorNamesTheObject(t *testing.T) {
	for _, f := range []ir.Filter{{}, {RequestHeaders: &ir.HeaderEdit{Remove: []string{"Host"}}}, {Rewrite: &ir.Rewrite{Host: "a b"}}} {
		f.Origin = ir.Origin{Object: diag.Object{Kind: "HTTPRoute", Namespace: "ns", Name: "r"}, Field: "spec.rules[0].filters[0]"}
		if _, err := Route(&ir.Route{Filters: []ir.Filter{f}}, nil); err == nil || !strings.Contains(err.Error(), "HTTPRoute ns/r spec.rules[0].filters[0]") {
			t.Errorf("error %v", err)
		}
	}
}
