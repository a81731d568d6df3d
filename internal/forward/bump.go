package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/mint"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
)

// intercept prepares what looking into TLS needs. Without a usable CA everything else of the policy works, and what
// is to be looked into is refused.
func (p *Policy) intercept() {
	i := p.ir.Interception
	cred := p.opts.Secrets.ByRef[i.CA]
	if cred == nil || cred.Pair == nil {
		p.noCA = fmt.Sprintf("the interception CA %s is missing", i.CA)
		if cred != nil && cred.Detail != "" {
			p.noCA = cred.Detail
		}
		return
	}
	p.pair = cred.Pair
	p.authority = p.opts.State.authority(p.pair, i)
}

// Close lets go of what the policy shares with others. Connections that it began go on.
func (p *Policy) Close() {
	p.opts.State.let(p.opts.Destinations)
	if p.pair != nil {
		p.opts.State.release(p.pair, p.ir.Interception)
	}
}

// terminator prepares the handshakes of clients whose TLS is looked into. prev is the one before of the same
// listener; nil for none.
func (t *Port) terminator(prev *tlsconf.Terminator) {
	if !t.intercepts() {
		return
	}
	l := tlsconf.Intercepting(t.listener, t.ir)
	t.term = tlsconf.Build(l, t.opts.Secrets, t.opts.Trust, t.opts.TLS, prev, tlsconf.Options{Timeout: t.opts.HandshakeTimeout, Bounds: t.opts.Bounds,
		IdleRecords: t.opts.IdleRecords, Mint: mintLeaf, Distrusted: distrusted})
}

// learn finds out what the destination shows. It returns why it cannot be reached; what is wrong with its
// certificate is judged by judge. What it takes is not the client's time for its handshake: who waited in vain gets
// the page that says so.
func (n *Tunnel) learn(facts *acl.Facts) *refusal {
	t := n.at
	defer func(began time.Time) { n.conn.Excuse(time.Since(began)) }(time.Now())
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	if n.way.known != nil && n.way.known.Settings.TLS != nil {
		// The configuration says how TLS is spoken to the host, and by whom it is verified: requests find out.
		return nil
	}
	u, release := t.upstream(&n.way, true)
	defer done(release)
	found, err := u.Facts(ctx, n.serverName())
	if err != nil {
		return upstreamRefusal(err)
	}
	n.facts = found
	n.errors = t.errorNames(found.Code, found.Chain, n.serverName(), n.way.via)
	facts.Chain, facts.Errors = found.Chain, n.errors
	if len(found.Chain) > 0 {
		facts.ServerName = acl.ServerNames(found.Chain[0])
	}
	return nil
}

// judge decides about a destination that does not verify.
func (n *Tunnel) judge(facts *acl.Facts) *refusal {
	if n.facts.Code == 0 {
		return nil
	}
	all := len(n.facts.Chain) > 0
	one := *facts
	if n.unproven() {
		one = *addressAlone(facts, n.way.to)
	}
	for _, e := range n.errors { // each has to be excused by itself
		one.Errors = []string{e}
		d := n.at.errors.Decide(&one)
		all = all && d.Action == "allow"
	}
	if all {
		n.tolerated = true
		return nil
	}
	return &refusal{code: diag.ForwardUntrusted, detail: fmt.Sprintf("%s (%s): %s", n.facts.Code.Slug(), n.facts.Code, n.facts.Detail)}
}

// intercept looks into the connection: the client is shown a leaf of ours, and what it asks for is served.
// first says that the client is served before the destination is known (bump at step 1, CONNECT that is refused).
func (n *Tunnel) intercept(facts *acl.Facts, first bool) {
	t := n.at
	n.bump, n.access.Bump = "bump", "bump"
	if t.authority == nil {
		n.refuseTLS(diag.ForwardUnavailable, t.noCA, 80)
		return
	}
	if !first && n.fault == nil {
		if len(n.facts.Chain) == 0 {
			n.fault = n.learn(facts)
		}
		if n.fault == nil {
			n.fault = n.judge(facts)
		}
	}
	n.ca = t.pair.Digest
	n.adapt(facts)
	n.conn.Attach(n)
	term := t.term
	res := term.Handshake(n.conn)
	res.Record.Bump, res.Record.Proxy = "bump", n.access.Proxy
	t.opts.Sink.Handshake(res.Record)
	if n.fault != nil {
		n.access.Hierarchy = "HIER_NONE"
		t.tell(n, "bump", n.fault.detail)
	} else {
		n.noteWay()
		t.tell(n, "bump", "")
	}
	if n.access.Result == "" {
		n.access.Result = "NONE_NONE"
	}
	n.access.HeadSent = 0 // as Squid has it: what counts comes with the requests inside
	if res.Record.Code != 0 {
		_ = n.conn.Close()
		detail := res.Record.Detail
		if n.fault != nil {
			detail += "; the client was to be told: " + n.fault.detail
		}
		n.record(res.Record.Code, detail)
		return
	}
	if t.ir.Interception.LearnPinned {
		t.opts.State.pinned.accepted(n.pinKey())
	}
	n.note(res.Record)
	if first && n.fault != nil {
		n.record(n.fault.code, n.fault.detail)
	} else {
		n.record(0, "")
	}
	down := proxy.Downstream{Raw: n.conn, TLS: res.Conn, Stream: res.Stream(t.opts.Sink), Tunnel: n, Peer: n.inside(res), Chain: res.Chain.Name,
		Handshake: res.Record, Admission: n, Closed: res.AfterHandshake}
	t.opts.State.bumped.Add(1)
	defer t.opts.State.bumped.Add(-1)
	t.serve(down)
}

// noteWay records how the destination is reached: as far as it is known before the first request.
func (n *Tunnel) noteWay() {
	a, t := n.access, n.at
	if n.way.via != nil && len(n.way.via.Proxies) > 0 {
		a.Hierarchy, a.Proxy = "FIRSTUP_PARENT", n.way.via.Proxies[0]
		if x := t.via[a.Proxy]; x != nil && len(x.Addresses) > 0 {
			a.ProxyAddress = hostname.WithPort(x.Addresses[0].Host, x.Addresses[0].Port)
		}
		return
	}
	a.Hierarchy = "HIER_DIRECT"
	if n.way.to.IsValid() {
		a.Endpoint = netip.AddrPortFrom(n.way.to, n.way.port).String()
	} else if addrs := t.lookup(n.way.host); len(addrs) > 0 {
		a.Endpoint = netip.AddrPortFrom(addrs[0], n.way.port).String()
	}
}

// note writes the client's handshake into the record of CONNECT.
func (n *Tunnel) note(rec *telemetry.Handshake) {
	n.access.TLSVersion, n.access.TLSSuite, n.access.TLSGroup, n.access.Resumed = rec.Version, rec.Suite, rec.Group, rec.Resumed
}

// serve hands a connection to the engine on a goroutine whose stack no handshake has grown, and waits.
func (t *Port) serve(d proxy.Downstream) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		t.opts.Engine.Serve(d, t.live.State)
	}()
	<-over
}

// adapt decides by whom the leaf is signed and what of the original is changed.
func (n *Tunnel) adapt(facts *acl.Facts) {
	t := n.at
	host := n.host
	w := &n.want
	if a, ok := literal(n.serverName()); ok {
		w.IPs = []netip.Addr{a}
	} else {
		w.Names = []string{n.serverName()}
	}
	if n.fault != nil || len(n.facts.Chain) == 0 {
		// There is nothing to mimic, or nothing worth it: the client is to get as far as the page that says why.
		w.Sign = mint.Trusted
		return
	}
	w.Mimic = n.facts.Chain[0]
	w.Sign = mint.Sign(t.sign.Decide(facts).Action)
	ca := t.authority.CA()
	for _, what := range []string{"setvalidafter", "setvalidbefore", "setcommonname"} {
		others := slices.DeleteFunc([]string{"setvalidafter", "setvalidbefore", "setcommonname"}, func(o string) bool { return o == what })
		d := t.adapting.Decide(facts, others...)
		switch d.Action {
		case "setvalidafter": // as Squid has it: "not after" becomes the CA's
			w.NotAfter = ca.NotAfter
		case "setvalidbefore":
			w.NotBefore = ca.NotBefore
		case "setcommonname":
			if w.CommonName = d.Value; d.Value == "" {
				w.CommonName = cmp.Or(n.name, host)
			}
		}
	}
}

// mintLeaf is tlsconf.Mint: the tunnel is attached to the connection.
func mintLeaf(_ *listen.Hello, c *listen.Conn) (*secret.KeyPair, diag.Code, string) {
	n, ok := c.Attached().(*Tunnel)
	if !ok {
		return nil, diag.MintFailed, "nothing is known of the connection"
	}
	pair, err := n.at.authority.Leaf(n.want)
	var failure *mint.Error
	switch {
	case errors.As(err, &failure):
		return nil, failure.Code, failure.Detail
	case err != nil:
		return nil, diag.MintFailed, err.Error()
	}
	if n.tolerated && n.want.Sign != mint.Trusted {
		return pair, n.facts.Code, n.facts.Detail
	}
	return pair, 0, ""
}

// distrusted learns of clients that refuse leaves.
func distrusted(c *listen.Conn, rec *telemetry.Handshake) {
	n, ok := c.Attached().(*Tunnel)
	if !ok || !n.at.ir.Interception.LearnPinned || n.fault != nil {
		return
	}
	if n.at.opts.State.pinned.refused(n.pinKey()) {
		n.at.opts.Logger.Warn("clients refuse our certificate for a host twice; it is spliced for an hour", "host", n.pinKey(),
			"code", diag.ForwardPinnedLearnt.String(), "listener", rec.Listener)
		if n.at.opts.Egress != nil {
			n.at.opts.Egress.Egress(&telemetry.EgressEvent{Time: time.Now(), Host: n.pinKey(), Port: n.port, Decision: "splice", Rule: "learnPinned", Code: diag.ForwardPinnedLearnt})
		}
	}
}
