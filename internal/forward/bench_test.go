package forward

import (
	"net/netip"
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/semantics"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// chooser returns a listener of a policy with a few rules, and a request for an address.
func chooser(tb testing.TB) (*Port, *proxy.ForwardRequest) {
	tb.Helper()
	r := upstream.NewRegistry(upstream.Options{})
	tb.Cleanup(r.Close)
	f := &ir.Forward{Name: "t/f", Hostname: "out", Via: true, Loopback: true,
		ACLs: []ir.ACL{{Name: "ports", Type: "port", Values: []string{"80", "443", "1025-65535"}}, {Name: "net", Type: "src", Values: []string{"192.0.2.0/24"}},
			{Name: "bad", Type: "dstdomain", Values: []string{".bad.test", "worse.test"}}},
		Access: []ir.ForwardRule{{Action: "deny", ACLs: []string{"!ports"}}, {Action: "deny", ACLs: []string{"bad"}}, {Action: "allow", ACLs: []string{"net"}}, {Action: "deny", ACLs: []string{"all"}}}}
	d := upstream.NewDestinations(r, f, func(*ir.Upstream) upstream.TLS { return nil }, 0)
	tb.Cleanup(d.Close)
	p := New(f, Options{State: NewState(StateOptions{}), Secrets: &ir.Secrets{}, Trust: &ir.Trust{}, Destinations: d})
	t := p.Port(&ir.Listener{Name: "*:3128", Forward: &ir.ForwardListener{Mode: ir.ForwardExplicit, Section: "proxy"}}, &Live{})

	req := &message.Request{Method: []byte("GET"), Scheme: "http", Absolute: "http", Path: []byte("/page")}
	if !semantics.SetAuthority(req, []byte("127.0.0.1:8080")) {
		tb.Fatal("the authority is none")
	}
	req.Fields.AddString("Accept", "*/*")
	x := &filter.Exchange{Request: req, Peer: &filter.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:1234"), Local: netip.MustParseAddrPort("192.0.2.2:3128")}}
	return t, &proxy.ForwardRequest{Exchange: x, Access: &telemetry.Access{URL: []byte("http://127.0.0.1:8080/page")}}
}

// BenchmarkChoose decides about a plain request, by rules about port, name and client.
func BenchmarkChoose(b *testing.B) {
	t, r := chooser(b)
	b.ReportAllocs()
	for b.Loop() {
		c := t.Choose(r)
		if c.Upstream == nil {
			b.Fatal("refused")
		}
		c.Release()
	}
}

// TestChooseAllocatesNothing decides about the next request of a connection without memory of its own.
func TestChooseAllocatesNothing(t *testing.T) {
	port, r := chooser(t)
	one := func() {
		c := port.Choose(r)
		if c.Upstream == nil {
			t.Fatal("refused")
		}
		c.Release()
	}
	one()
	if n := testing.AllocsPerRun(200, one); n >= 1 {
		t.Errorf("%.1f allocations for each request", n)
	}
}
