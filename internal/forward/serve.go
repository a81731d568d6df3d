package forward

import (
	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Accepted counts a connection of the listener, for rules about their number.
func (t *Port) Accepted(c *listen.Conn) {
	a := c.Remote().Addr()
	t.opts.State.open(a)
	c.OnClose(func() { t.opts.State.closed(a) })
}

// Captures reports whether connections of the listener begin at Serve: clients do not know that it is a proxy.
func (t *Port) Captures() bool { return !t.explicit() }

// Serve serves a connection of a listener that clients take for the destination, or that the kernel has brought
// here. It blocks until the connection is over, and closes it.
func (t *Port) Serve(c *listen.Conn, peer *filter.Peer) {
	n := &Tunnel{at: t, peer: peer, conn: c, access: t.record(c)}
	if t.spec.Mode != ir.ForwardGateway {
		to, ok := c.OriginalDestination()
		if !ok {
			n.lost = true
			n.look(&acl.Facts{}, "peek")
			return
		}
		n.address, n.port, n.host = to.Addr(), to.Port(), to.Addr().String()
		if t.opts.Own[to.Port()] && t.opts.State.isOwn(to.Addr()) {
			n.close(diag.ForwardLoop, to.String()+" is a listener of this process")
			return
		}
	} else {
		n.port, n.originated = t.spec.OriginatePort, true
	}
	n.access.Target = []byte(hostname.WithPort(n.host, n.port))
	facts := &acl.Facts{Method: "CONNECT", Host: n.host, Port: n.port, Dest: n.address}
	t.connectionFacts(facts, peer)
	action := "peek"
	if t.intercepts() && n.address.IsValid() {
		facts.Step, facts.URL = 1, hostname.WithPort(n.host, n.port)
		d := t.bump.Decide(facts)
		n.rule = d.Text
		switch d.Action {
		case "terminate":
			n.access.Bump = "terminate"
			n.close(diag.ForwardTerminated, d.Text+" at step 1")
			return
		case "", "splice":
			action = "splice"
		default:
			action = d.Action
		}
	}
	n.start = action
	n.look(facts, action)
}

// record begins the record of a connection that nobody asked for by CONNECT.
func (t *Port) record(c *listen.Conn) *telemetry.Access {
	return &telemetry.Access{Start: c.Accepted(), Conn: c.ID(), Listener: t.listener.Name, Chain: t.ir.Name, Route: t.route.IR.Name, Origin: t.ir.Origin.String(),
		Remote: c.Remote(), Local: c.Local(), Client: c.Remote().Addr(), Proto: "HTTP/1.1", Scheme: "tcp", Method: []byte("CONNECT"), Status: 200}
}

// lostDetail is why the destination of a captured connection is not known.
const lostDetail = "the connection was not brought here by nftables (REDIRECT, TPROXY), but addressed to the listener itself"

// aimTLS finds out where TLS of a captured connection is meant to go, and asks the access rules as for CONNECT. It
// returns false if the connection is over.
func (n *Tunnel) aimTLS(facts *acl.Facts) bool {
	t := n.at
	switch {
	case n.lost:
		n.access.Status = 400
		n.refuseTLS(diag.ForwardNoDestination, lostDetail, 49)
		return false
	case n.name != "":
		n.host = n.name
		if t.spec.Mode == ir.ForwardGateway {
			n.port = gatewayTLSPort(t)
		}
	case t.spec.Mode == ir.ForwardGateway:
		n.refuseTLS(diag.ForwardNoDestination, "the client sent no server name, and the listener has no other way to tell the destination", 112)
		return false
	}
	n.originated = false
	facts.Host, facts.Port, facts.URL, facts.ClientName = n.host, n.port, hostname.WithPort(n.host, n.port), n.name
	n.to, n.own = t.meant(n.host, n.address)
	facts.Dest = n.to
	a := n.access
	a.Target, a.URL, a.Authority = []byte(facts.URL), []byte(facts.URL), []byte(facts.URL)
	if t.fault != nil {
		n.refuseTLS(t.fault.Code, t.fault.Detail, 80)
		return false
	}
	d := t.access.Decide(facts)
	if d.Action == "deny" {
		return n.deniedTLS(facts, refuse(diag.ForwardDenied, d.Text))
	}
	var no *refusal
	if n.way, no = t.wayMeant(facts, n.host, n.port, n.to, n.own); no != nil {
		return n.deniedTLS(facts, no)
	}
	if n.start == "splice" || !t.intercepts() {
		if n.unproven() {
			if no = t.unproven(facts, n.host, n.way.to); no != nil {
				return n.deniedTLS(facts, no)
			}
		}
		n.splice(nil, nil)
		return false
	}
	return true
}

// unproven reports whether the destination's name is the client's word alone, and the connection goes to the address
// that the client gave.
func (n *Tunnel) unproven() bool { return n.way.to.IsValid() && !n.own }

// gatewayTLSPort is the port of destinations whose clients speak TLS to a Gateway listener: that of the listener
// as clients know it would be a guess where it is not the destination's.
func gatewayTLSPort(t *Port) uint16 {
	if t.spec.OriginateTLS && t.spec.OriginatePort != 0 {
		return t.spec.OriginatePort
	}
	return 443
}

// deniedTLS tells the client why it is refused: by a page in TLS of ours where that is possible, else by an
// alert. It returns false.
func (n *Tunnel) deniedTLS(facts *acl.Facts, no *refusal) bool {
	n.access.Result = "TCP_DENIED"
	if n.at.intercepts() && n.at.authority != nil && n.at.authority.Fault() == nil {
		n.fault = no
		n.intercept(facts, false)
		return false
	}
	n.access.Status = 403
	n.refuseTLS(no.code, no.detail, 49)
	return false
}
