package upstream

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestTowardTakesOnlyItsHosts(t *testing.T) {
	r := NewRegistry(Options{Resolver: &book{table: map[string][]string{"a.example.com": {"192.0.2.1"}}}})
	defer r.Close()
	p, err := hostname.Parse("*.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for original, table := range map[bool]map[string]string{
		false: {"a.example.com": "a.example.com", "A.Example.com.": "a.example.com", "b.example.net": "", "": "", "192.0.2.9": ""},
		true:  {"a.example.com": "a.example.com", "b.example.net": "", "192.0.2.9": "192.0.2.9"},
	} {
		u := r.Acquire(&ir.Upstream{Name: "*.example.com:443", Dynamic: &ir.Dynamic{Hosts: []hostname.Pattern{p}, Port: 443, Original: original}})
		if !u.NeedsHost() {
			t.Error("the host of requests is not asked for")
		}
		for host, want := range table {
			to, release := u.Toward(host, 0)
			switch {
			case want == "" && to != nil, want != "" && to == nil:
				t.Errorf("original %v, %q: %v", original, host, to)
			case to != nil:
				if again, done := u.Toward(host, 0); again != to {
					t.Errorf("%q: two upstreams", host)
				} else {
					done()
				}
				if d := to.Settings.Destination; d != want {
					t.Errorf("%q leads to %q", host, d)
				}
				release()
			}
		}
		var refused *Error
		if _, err := u.Get(Query{Host: "b.example.net"}); !errors.As(err, &refused) || refused.Code != diag.RouteInvalid {
			t.Errorf("a foreign host: %v", err)
		}
		r.Release(u)
	}
}

func TestDNSRoundRobinTakesTheFirstAddress(t *testing.T) {
	r := NewRegistry(Options{Resolver: &book{table: map[string][]string{"many.example.com": {"192.0.2.9", "192.0.2.1", "192.0.2.9"}}}})
	defer r.Close()
	for first, want := range map[bool]int{true: 1, false: 2} {
		u := r.Acquire(&ir.Upstream{Name: "many", Resolve: &ir.ResolveDNS{Host: "many.example.com", Port: 80, First: first}})
		addrs, err := u.lookUp(context.Background(), "many.example.com")
		if err != nil || len(addrs) != want || first && addrs[0] != netip.MustParseAddr("192.0.2.9") {
			t.Errorf("first %v: %v, %v", first, addrs, err)
		}
		if _, err := u.lookUp(context.Background(), "none.example.com"); err == nil {
			t.Error("a name without address")
		}
		r.Release(u)
	}
}
