package route

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestMisdirected holds the (SNI, host) pairs of Gateway API's HTTPRouteHTTPSListenerDetectMisdirected
// rule: 421 where the two names belong to different listeners, the listener's own answer where not.
func TestMisdirected(t *testing.T) {
	plain, strict := &ir.TLS{Class: "1"}, &ir.TLS{Class: "2"}
	chain := func(name, host string) *ir.Chain {
		return &ir.Chain{Name: name, Hosts: patterns(t, host), TLS: plain}
	}
	wild := chain("wild", "*.wildcard.org")
	wild.HostTLS = []ir.HostTLS{{Host: patterns(t, "strict.wildcard.org")[0], TLS: strict}, {Host: patterns(t, "same.wildcard.org")[0], TLS: &ir.TLS{Class: "1"}}}
	open := NewIndex(&ir.Listener{Chains: []*ir.Chain{chain("any", "*"), chain("second", "second-example.org"), wild, chain("fourth", "fourth-example.wildcard.org")}}, noFilters)
	closed := NewIndex(&ir.Listener{Chains: []*ir.Chain{chain("second", "second-example.org"), wild}}, noFilters)
	for _, c := range []struct {
		x         *Index
		sni, host string
		chain     string
		code      diag.Code
	}{
		{open, "example.org", "example.org", "any", 0},
		{open, "unknown-example.org", "example.org", "any", 0},
		{open, "example.org", "second-example.org", "", diag.MisdirectedRequest},
		{open, "second-example.org", "unknown-example.org", "", diag.MisdirectedRequest},
		{open, "a.wildcard.org", "b.wildcard.org", "wild", 0},
		{open, "a.wildcard.org", "fourth-example.wildcard.org", "", diag.MisdirectedRequest},
		{open, "fourth-example.wildcard.org", "fourth-example.wildcard.org", "fourth", 0},
		{open, "", "example.org", "any", 0},
		{open, "", "second-example.org", "", diag.MisdirectedRequest},
		{open, "a.wildcard.org", "strict.wildcard.org", "", diag.MisdirectedRequest},
		{open, "strict.wildcard.org", "a.wildcard.org", "", diag.MisdirectedRequest},
		{open, "same.wildcard.org", "a.wildcard.org", "wild", 0},
		{closed, "second-example.org", "nowhere.org", "", diag.NoHost},
		{open, "fourth-example.wildcard.org.", "fourth-example.wildcard.org", "fourth", 0},
		{closed, "gone.org", "second-example.org", "", diag.MisdirectedRequest},
	} {
		e, code := c.x.Choose(true, c.sni, []byte(c.host))
		if code != c.code || code == 0 && e.Chain.Name != c.chain {
			t.Errorf("SNI %q host %q: %v, want chain %q code %v", c.sni, c.host, code, c.chain, c.code)
		}
	}
	if e, code := open.Choose(false, "", []byte("second-example.org")); code != 0 || e.Chain.Name != "second" {
		t.Errorf("plain HTTP chooses by host: %v", code)
	}
	if got, want := closed.Nearest([]byte("second-exmple.org")), `the nearest is "second-example.org"`; !strings.HasSuffix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
	if got := open.FindString("strict.wildcard.org").TLS("strict.wildcard.org"); got != strict {
		t.Errorf("TLS of a narrower host: %v", got)
	}
}

func TestChooseDoesNotAllocate(t *testing.T) {
	x := NewIndex(&ir.Listener{Chains: []*ir.Chain{{Hosts: patterns(t, "*.b.test")}}}, noFilters)
	host := []byte("a.b.test")
	if n := testing.AllocsPerRun(100, func() { x.Choose(true, "c.b.test", host) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
