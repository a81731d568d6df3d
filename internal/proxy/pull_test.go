package proxy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter/build"
	"github.com/hakone-gateway/hakone/internal/filter/forwarded"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// TestPullVariantByTheHostThatWasAskedFor sends each host to its own variant of the upstream, whatever a
// filter made of the host, and refuses where the variant is not there.
func TestPullVariantByTheHostThatWasAskedFor(t *testing.T) {
	base, zone := answering(t, sized("base")), answering(t, sized("zone"))
	pattern := func(s string) hostname.Pattern {
		p, err := hostname.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	routes := []*ir.Route{{Name: "all",
		Filters: []ir.Filter{{Rewrite: &ir.Rewrite{Host: "rewritten.x.test"}}},
		Forward: []ir.Backend{{Upstream: "u", Weight: 1, Pull: []ir.PullVariant{{Host: pattern("gone.x.test"), Upstream: "nowhere"}, {Host: pattern("*.x.test"), Upstream: "u|pull=zone"}}}}}}
	g := start(t, setup{backend: base.addr, routes: routes})
	other := g.reg.Acquire(&ir.Upstream{Name: "u|pull=zone", Protocol: ir.UpstreamHTTP1, Balancing: ir.RoundRobin})
	t.Cleanup(func() { g.reg.Release(other) })
	at := netip.MustParseAddrPort(zone.addr)
	other.SetEndpoints([]ir.Endpoint{{Host: at.Addr().String(), Port: at.Port()}})
	g.state.Store(g.p.Compile(&ir.Listener{Name: "*:80", Port: 80, Chains: []*ir.Chain{g.chain}}, Wiring{
		Build: g.build, Standard: build.Standard(forwarded.Settings{}), Upstreams: map[string]*upstream.Upstream{"u": g.up, other.Name: other}}))
	for asked, want := range map[string]string{"a.test": "base", "b.x.test": "zone", "x.test": "base"} {
		if got := readAnswer(t, g.dial(), "GET / HTTP/1.1\r\nHost: "+asked+"\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", asked, got)
		}
		if a := g.record(); a.Code != 0 {
			t.Errorf("%s: %s", asked, a.Code)
		}
	}
	if got := readAnswer(t, g.dial(), "GET / HTTP/1.1\r\nHost: gone.x.test\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 500 ") {
		t.Errorf("got %q", got)
	}
	if a := g.record(); a.Code != diag.RouteInvalid {
		t.Errorf("record has %s", a.Code)
	}
}
