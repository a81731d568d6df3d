package forward

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// turncoat is the DNS of somebody who says one thing to rules and another one to connections.
type turncoat struct {
	answer func() ([]netip.Addr, error)
}

func (d *turncoat) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return d.answer()
}

// keepers makes a policy that lets nobody to 192.0.2.0/24, with a record of what is dialled.
func keepers(t *testing.T, dns *turncoat) (p *Policy, dialled *atomic.Pointer[string]) {
	t.Helper()
	dialled = &atomic.Pointer[string]{}
	f := &ir.Forward{Name: "t/out", ACLs: []ir.ACL{{Name: "inner", Type: "dst", Values: []string{"192.0.2.0/24"}}},
		Access: []ir.ForwardRule{{Action: "deny", ACLs: []string{"inner"}}, {Action: "allow", ACLs: []string{"all"}}}}
	reg := upstream.NewRegistry(upstream.Options{Resolver: dns, Dial: func(_ context.Context, _, to string) (net.Conn, error) {
		dialled.Store(&to)
		return nil, context.DeadlineExceeded
	}})
	d := upstream.NewDestinations(reg, f, nil, 0)
	t.Cleanup(func() {
		d.Close()
		reg.Close()
	})
	return New(f, Options{State: NewState(StateOptions{}), Destinations: d, Secrets: &ir.Secrets{}, Trust: &ir.Trust{}}), dialled
}

// TestRulesAndConnectionsSeeTheSameAddresses has a name lead elsewhere after the rules about its addresses were asked.
func TestRulesAndConnectionsSeeTheSameAddresses(t *testing.T) { synctest.Test(t, seeTheSame) }

func seeTheSame(t *testing.T) {
	good, inner := []netip.Addr{netip.MustParseAddr("203.0.113.7")}, []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	dns := &turncoat{}
	lie := false
	dns.answer = func() ([]netip.Addr, error) {
		if lie {
			return inner, nil
		}
		return good, nil
	}
	p, dialled := keepers(t, dns)
	facts := &acl.Facts{Method: "CONNECT", Host: "evil.test", Port: 443, Lookup: p.lookup}
	if d := p.access.Decide(facts); d.Action != "allow" {
		t.Fatalf("%+v", d)
	}
	w, no := p.way(facts, "evil.test", 443, netip.Addr{})
	if no != nil {
		t.Fatal(no.detail)
	}
	// The client waits with its ClientHello until what DNS said is over, and another answer takes its place.
	lie = true
	time.Sleep(time.Minute)
	for name, get := range map[string]func() (*upstream.Upstream, func()){
		"spliced": func() (*upstream.Upstream, func()) { return p.raw(&w) },
		"plain":   func() (*upstream.Upstream, func()) { return p.upstream(&w, false) },
	} {
		u, release := get()
		dialled.Store(nil)
		_, _ = u.Connect(t.Context(), upstream.Query{Host: "evil.test"})
		release()
		if to := dialled.Load(); to == nil || *to != "203.0.113.7:443" {
			t.Errorf("%s: connected to %v", name, to)
		}
	}
	// A request within the tunnel whose rules see another host goes where the tunnel does.
	n, inside := &Tunnel{at: &Port{Policy: p}, host: "evil.test", way: w}, way{host: "evil.test", port: 443}
	if n.keepTo(&inside); len(inside.seen) != 1 || inside.seen[0] != good[0] {
		t.Errorf("a request within the tunnel goes to %v", inside.seen)
	}
	facts = &acl.Facts{Method: "CONNECT", Host: "evil.test", Port: 443, Lookup: p.lookup}
	if d := p.access.Decide(facts); d.Action != "deny" {
		t.Errorf("asked again: %+v", d)
	}
}

// TestRulesThatCannotBeDecided has DNS fail for the rules alone.
func TestRulesThatCannotBeDecided(t *testing.T) { synctest.Test(t, cannotBeDecided) }

func cannotBeDecided(t *testing.T) {
	broken := true
	dns := &turncoat{answer: func() ([]netip.Addr, error) {
		if broken {
			return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	}}
	p, _ := keepers(t, dns)
	facts := &acl.Facts{Method: "CONNECT", Host: "evil.test", Port: 443, Lookup: p.lookup}
	if d := p.access.Decide(facts); d.Action != "allow" { // as in Squid: what is not known matches nothing
		t.Fatalf("%+v", d)
	}
	broken = false
	time.Sleep(time.Minute)
	if _, no := p.way(facts, "evil.test", 443, netip.Addr{}); no == nil || no.code != diag.ForwardNameUnknown {
		t.Errorf("%+v", no)
	}
}
