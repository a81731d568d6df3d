package route

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestMisdirected holds the 15 (SNI, host) pairs of Gateway API's HTTPRouteHTTPSListenerDetectMisdirected
// rule: 421 where the two names belong to different listeners, the listener's own answer where not. A
// host without a route is the chain's own affair.
func TestMisdirected(t *testing.T) {
	tls := &ir.TLS{Class: "1"}
	chain := func(name, host string) *ir.Chain {
		return &ir.Chain{Name: name, Hosts: patterns(t, host), TLS: tls}
	}
	x := NewIndex(&ir.Listener{Chains: []*ir.Chain{chain("any", "*"), chain("second", "second-example.org"), chain("wild", "*.wildcard.org"),
		chain("fourth", "fourth-example.wildcard.org")}}, noFilters)
	for _, c := range []struct{ sni, host, chain string }{
		{"example.org", "example.org", "any"},
		{"example.org", "second-example.org", ""},
		{"example.org", "unknown-example.org", "any"},
		{"unknown-example.org", "example.org", "any"},
		{"unknown-example.org", "unknown-example.org", "any"},
		{"unknown-example.org", "second-example.org", ""},
		{"second-example.org", "second-example.org", "second"},
		{"second-example.org", "example.org", ""},
		{"second-example.org", "unknown-example.org", ""},
		{"third-example.wildcard.org", "third-example.wildcard.org", "wild"},
		{"third-example.wildcard.org", "fifth-example.wildcard.org", "wild"},
		{"third-example.wildcard.org", "fourth-example.wildcard.org", ""},
		{"fourth-example.wildcard.org", "fourth-example.wildcard.org", "fourth"},
		{"fourth-example.wildcard.org", "third-example.wildcard.org", ""},
		{"third-example.wildcard.org", "second-example.org", ""},
	} {
		e, code := x.Choose(true, c.sni, []byte(c.host))
		if want := c.chain == ""; (code == diag.MisdirectedRequest) != want || code == 0 && e.Chain.Name != c.chain {
			t.Errorf("SNI %q host %q: %v, want chain %q", c.sni, c.host, code, c.chain)
		}
	}
	if e, code := x.Choose(false, "", []byte("second-example.org")); code != 0 || e.Chain.Name != "second" {
		t.Errorf("plain HTTP chooses by host: %v", code)
	}
}

// TestCoalescing asks on one connection for hosts of the same and of other chains and TLS policy
// classes, with and without a catch-all chain.
func TestCoalescing(t *testing.T) {
	plain, alike, strict, other := &ir.TLS{Class: "1"}, &ir.TLS{Class: "1"}, &ir.TLS{Class: "2"}, &ir.TLS{Class: "3"}
	narrow := func(host string, tls *ir.TLS) ir.HostTLS { return ir.HostTLS{Host: patterns(t, host)[0], TLS: tls} }
	wild := &ir.Chain{Name: "wild", Hosts: patterns(t, "*.example.com"), TLS: plain, HostTLS: []ir.HostTLS{
		narrow("one.strict.example.com", plain), narrow("alike.example.com", alike), narrow("strict.example.com", strict), narrow("*.strict.example.com", strict)}}
	mutual := &ir.Chain{Name: "mutual", Hosts: patterns(t, "m.example.com", "n.example.com"), TLS: other}
	catch := &ir.Chain{Name: "catch", Hosts: patterns(t, "*"), TLS: plain, HostTLS: []ir.HostTLS{narrow("high.test", strict)}}
	open, closed := NewIndex(&ir.Listener{Chains: []*ir.Chain{wild, mutual, catch}}, noFilters), NewIndex(&ir.Listener{Chains: []*ir.Chain{wild, mutual}}, noFilters)
	const ok, misdirected, nobody = diag.Code(0), diag.MisdirectedRequest, diag.NoHost
	for _, c := range []struct {
		x         *Index
		sni, host string
		code      diag.Code
	}{
		{closed, "a.example.com", "a.example.com", ok},
		{closed, "a.example.com", "b.example.com", ok},
		{closed, "a.example.com", "deep.b.example.com", ok},
		{closed, "a.example.com", "alike.example.com", ok},
		{closed, "alike.example.com", "a.example.com", ok},
		{closed, "a.example.com", "strict.example.com", misdirected},
		{closed, "strict.example.com", "a.example.com", misdirected},
		{closed, "strict.example.com", "two.strict.example.com", ok},
		{closed, "one.strict.example.com", "two.strict.example.com", misdirected},
		{closed, "one.strict.example.com", "a.example.com", ok},
		{closed, "m.example.com", "n.example.com", ok},
		{closed, "a.example.com", "m.example.com", misdirected},
		{closed, "m.example.com", "a.example.com", misdirected},
		{closed, "a.example.com", "nowhere.test", nobody},
		{closed, "gone.test", "a.example.com", misdirected},
		{closed, "", "a.example.com", misdirected},
		{closed, "", "", nobody},
		{closed, "a.example.com", "192.0.2.1", nobody},
		{closed, "a.example.com.", "a.example.com", misdirected},

		{open, "", "nowhere.test", ok},
		{open, "", "", ok},
		{open, "", "high.test", misdirected},
		{open, "", "m.example.com", misdirected},
		{open, "", "192.0.2.1", ok},
		{open, "", "2001:db8::1", ok},
		{open, "other.test", "nowhere.test", ok},
		{open, "high.test", "other.test", misdirected},
		{open, "high.test.", "high.test", misdirected},
		{open, "a.example.com", "nowhere.test", misdirected},
		{open, "a.example.com", "192.0.2.1", misdirected},
		{open, "a.example.com", "example.com", misdirected},
		{open, "a.example.com", "", misdirected},
		{open, "m.example.com", "m.example.com", ok},
	} {
		if _, code := c.x.Choose(true, c.sni, []byte(c.host)); code != c.code {
			t.Errorf("SNI %q host %q: %v, want %v", c.sni, c.host, code, c.code)
		}
	}
	if got, want := closed.Nearest([]byte("n.exmple.com")), `the nearest is "n.example.com"`; !strings.HasSuffix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
	if got := open.FindString("strict.example.com").TLS("strict.example.com"); got != strict {
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
