package forward

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/mint"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Tunnel is a connection to one destination that a client asked for: by CONNECT, or by being redirected here.
// It is proxy.Downstream.Tunnel and Admission of what runs inside.
type Tunnel struct {
	// Fixed once HTTP runs inside.
	at       *Port // under which it began
	explicit bool  // by CONNECT
	host     string
	port     uint16
	address  netip.Addr // that a captured connection was on its way to
	to       netip.Addr // of captured TLS: what Policy.meant says of host
	own      bool
	name     string // SNI; "" for none
	tls      bool   // looked into

	// lost says that nobody knows where the connection is meant to go: only the listener's own pages are served.
	lost bool

	// originated says that the client speaks plainly to a listener that takes it for the destination: each
	// request names its own.
	originated bool

	user          string
	authenticated bool
	bump          string // what Access.Bump says
	rule          string // that decided
	facts         upstream.Facts
	errors        []string    // what is wrong with facts, in OpenSSL's words
	tolerated     bool        // and allowed
	fault         *refusal    // what a request is answered with
	told          atomic.Bool // fault has been answered
	ca            string      // digest of the CA that the client was shown a leaf of; "" for none

	// Of the way here.
	conn       *listen.Conn // what the client's bytes are read from
	hello      *listen.Hello
	peer       *filter.Peer
	access     *telemetry.Access
	ended      func() (diag.Code, string) // may be nil
	way        way
	want       mint.Want
	start      string // action of step 1, of captured connections
	helloBytes int    // that were sent on before the relay began

}

var (
	_ proxy.Covering  = (*Tunnel)(nil)
	_ proxy.Admission = (*Tunnel)(nil)
)

// Covers implements proxy.Covering: a tunnel is for one destination. Where that was asked for by its address alone, plain
// requests may say what it is called. Rules about the request would be asked about another host than it goes to.
func (n *Tunnel) Covers(host []byte) bool {
	switch {
	case n.fault != nil, string(host) == n.host, bytes.IndexByte(host, ':') >= 0 && canonical(string(host)) == n.host:
		return true
	case n.tls:
		return string(host) == n.name
	case !n.explicit || len(host) == 0:
		return true
	}
	_, address := literal(n.host)
	return address
}

// Admits implements proxy.Admission: connections that were intercepted with a CA that is no longer the
// listener's, or that is not to intercept any more, end after what is in progress; and so do those on which
// everything is refused: the next one is decided about anew.
func (n *Tunnel) Admits() (diag.Code, bool) {
	code, _ := n.Withdrawn()
	return code, code == 0
}

// Withdrawn implements proxy.Admission.
func (n *Tunnel) Withdrawn() (diag.Code, string) {
	if n.fault != nil && n.told.Load() {
		return n.fault.code, n.fault.detail
	}
	if n.ca == "" {
		return 0, ""
	}
	now := n.at.live.Port.Load()
	if now == nil || now.caDigest() == n.ca {
		return 0, ""
	}
	return diag.ForwardCAWithdrawn, "the connection was intercepted with a CA that " + n.at.ir.Name + " does not use any more"
}

// intercepts reports whether TLS of the listener may be looked into.
func (t *Port) intercepts() bool { return t.spec.Intercept && t.ir.Interception != nil }

// caDigest returns what names the CA in use; "" for none.
func (t *Port) caDigest() string {
	if !t.intercepts() || t.pair == nil {
		return "none"
	}
	return t.pair.Digest
}

// begin takes over what is known of a connection that was given away.
func (n *Tunnel) begin(tk *proxy.Takeover) {
	n.peer, n.access, n.ended = tk.Peer, tk.Access, tk.Ended
	if n.access.Start.IsZero() {
		n.access.Start = time.Now()
	}
}

// take is what becomes of a connection after CONNECT whose TLS is looked at.
func (n *Tunnel) take(tk *proxy.Takeover, facts *acl.Facts, action string) {
	n.begin(tk)
	n.conn = listen.Nested(tk.Raw, tk.Stream, tk.Pending)
	n.look(facts, action)
}

// look peeks at what the client sends and takes the steps. It blocks until the connection is over.
func (n *Tunnel) look(facts *acl.Facts, action string) {
	hello, err := n.peek()
	if err != nil {
		n.notTLS(facts, err)
		return
	}
	if !n.greeted(hello) {
		return
	}
	if !n.explicit && !n.aimTLS(facts) {
		return
	}
	if action == "bump" {
		n.access.Bump = "bump"
		n.intercept(facts, true)
		return
	}
	n.second(facts)
}

// peek waits for the client's hello.
func (n *Tunnel) peek() (*listen.Hello, error) {
	_ = n.conn.SetReadDeadline(time.Now().Add(n.at.opts.HandshakeTimeout))
	defer func() { _ = n.conn.SetReadDeadline(time.Time{}) }()
	return n.conn.PeekHello()
}

// greeted takes over what a hello says. It returns false if the connection is over because of that.
func (n *Tunnel) greeted(hello *listen.Hello) bool {
	n.hello, n.tls = hello, true
	n.access.SNI, n.access.JA4 = hello.ServerName, hello.JA4
	if hello.ServerName != "" && !isHost(hello.ServerName) {
		// It would stand in requests to other proxies, in rules and in lookups.
		n.refuseTLS(diag.HelloMalformed, fmt.Sprintf("the server name %.80q is no name of a host", hello.ServerName), 47)
		return false
	}
	n.name = canonical(hello.ServerName)
	return true
}

// second takes step 2: the client's hello is known.
func (n *Tunnel) second(facts *acl.Facts) {
	t := n.at
	facts.Step, facts.ClientName = 2, n.name
	d := t.bump.Decide(facts)
	if n.unproven() && !looksInto(&d) {
		// Nobody would verify the name: it may not be what keeps the connection from being looked into.
		if d = t.bump.Decide(addressAlone(facts, n.way.to)); !looksInto(&d) {
			if no := t.unproven(facts, n.host, n.way.to); no != nil {
				n.deniedTLS(facts, no)
				return
			}
		}
	}
	n.rule = d.Text
	if (d.Action == "bump" || d.Action == "stare") && t.ir.Interception.LearnPinned && !n.unproven() && t.opts.State.pinned.spliced(n.pinKey()) {
		n.rule = "learnPinned: clients refused our certificate for this host"
		n.splice(nil, nil)
		return
	}
	switch d.Action {
	case "bump":
		n.intercept(facts, false)
	case "terminate":
		n.terminate(d.Text + " at step 2")
	case "peek":
		n.peekServer(facts)
	case "stare":
		n.stare(facts)
	default:
		n.splice(nil, nil)
	}
}

// looksInto reports whether a decision of step 2 leaves no bytes of the client's to the destination.
func looksInto(d *acl.Decision) bool {
	return d.Action == "bump" || d.Action == "stare" || d.Action == "terminate"
}

// third takes step 3 after peeking at the server or staring at it: what step 2 has made impossible is not among
// the choices, and where no rule matches, it goes on as it began.
func (n *Tunnel) third(facts *acl.Facts, peeked bool) string {
	facts.Step, facts.Chain = 3, n.facts.Chain
	if len(n.facts.Chain) > 0 {
		facts.ServerName = acl.ServerNames(n.facts.Chain[0])
	}
	banned := []string{"peek", "stare", "splice"}
	guess := "bump"
	if peeked {
		banned[2], guess = "bump", "splice"
	}
	d := n.at.bump.Decide(facts, banned...)
	n.rule = d.Text
	if d.Action == "" || d.Index < 0 {
		return guess
	}
	return d.Action
}

// pinKey is the name under which refusals are remembered.
func (n *Tunnel) pinKey() string {
	if n.name != "" {
		return n.name
	}
	return n.host
}

// terminate ends the connection with an alert.
func (n *Tunnel) terminate(why string) {
	n.access.Bump = "terminate"
	n.at.tell(n, "terminate", "")
	n.refuseTLS(diag.ForwardTerminated, why, 49)
}

// refuseTLS ends a connection whose hello has been seen.
func (n *Tunnel) refuseTLS(code diag.Code, why string, alert uint8) {
	_ = n.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = n.conn.Write(listen.Alert(alert)) // the peer may be gone
	n.close(code, why)
}

// close ends the connection and records it.
func (n *Tunnel) close(code diag.Code, why string) {
	_ = n.conn.CloseLinger(16<<10, 200*time.Millisecond)
	n.record(code, why)
}

// record hands the record of the CONNECT request over.
func (n *Tunnel) record(code diag.Code, why string) {
	a := n.access
	if n.ended != nil {
		if ours, detail := n.ended(); ours != 0 { // what was done to the connection from here looks like the client's doing
			code, why = ours, detail
		}
	}
	a.Duration = time.Since(a.Start)
	a.Code, a.Detail = code, why
	if a.Result == "" {
		a.Result = "NONE_NONE"
		if code == diag.ForwardTerminated || code == diag.ForwardDenied {
			a.Result = "TCP_DENIED"
		}
	}
	if a.Hierarchy == "" {
		a.Hierarchy = "HIER_NONE"
	}
	a.User = n.user
	a.Route, a.Origin = n.at.route.IR.Name, n.at.route.Origin
	a.Metrics, _ = n.at.route.Metrics.(*telemetry.RouteMetrics)
	n.at.opts.Sink.Access(a)
}

// notTLS deals with what is no ClientHello: HTTP is served, other protocols tunnelled or refused.
func (n *Tunnel) notTLS(facts *acl.Facts, err error) {
	t := n.at
	var peek *listen.PeekError
	if !errors.As(err, &peek) {
		n.close(diag.ClosedBeforeHello, err.Error())
		return
	}
	timeout := false
	var ne net.Error
	if errors.As(err, &ne) {
		timeout = ne.Timeout()
	}
	switch {
	case peek.Protocol == listen.ProtocolHTTP || peek.Protocol == listen.ProtocolHTTP2:
		n.plain()
	case peek.Code == diag.ClosedBeforeHello && !timeout:
		n.close(0, "")
	case peek.Code == diag.HelloMalformed || peek.Code == diag.HelloTooLarge:
		n.refuseTLS(peek.Code, peek.Detail, 50)
	case n.lost:
		n.close(diag.ForwardNoDestination, lostDetail)
	case n.fault != nil:
		n.close(n.fault.code, n.fault.detail)
	case t.ir.Interception != nil && t.ir.Interception.TunnelOthers && n.host != "":
		n.rule = "onUnsupportedProtocol: Tunnel"
		n.splice(nil, nil)
	default:
		n.close(diag.ForwardNotTLS, peek.Detail)
	}
}

// plain serves HTTP that came in the clear.
func (n *Tunnel) plain() {
	t := n.at
	if n.explicit {
		n.access.Hierarchy = "HIER_NONE"
		n.record(0, "")
	}
	t.opts.Engine.Serve(proxy.Downstream{Raw: n.conn, Tunnel: n, Peer: n.peer}, t.live.State)
}

// inside is who the client is for what runs in its tunnel.
func (n *Tunnel) inside(res *tlsconf.Result) *filter.Peer {
	peer := res.Peer()
	peer.ListenPort, peer.PortMap = n.peer.ListenPort, n.peer.PortMap
	peer.ClientCert, peer.Presented, peer.Identity = n.peer.ClientCert, n.peer.Presented, nil
	peer.Forward = n.peer.Forward
	return peer
}

// tell reports a decision.
func (t *Port) tell(n *Tunnel, decision, detail string) {
	if t.opts.Egress == nil {
		return
	}
	host := n.host
	if n.name != "" && !n.explicit {
		host = n.name
	}
	rule := n.rule
	if rule == "" {
		rule = "no interception"
	}
	t.opts.Egress.Egress(&telemetry.EgressEvent{Time: time.Now(), Host: host, Port: n.port, Decision: decision, Rule: rule, Detail: detail, Code: n.facts.Code})
}
