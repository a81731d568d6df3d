package dataplane

import (
	"fmt"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/tcpproxy"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// tables are the routes of a listener's chains that are not HTTP.
type tables struct {
	byChain map[string]*tcpproxy.Table
	plain   []*tcpproxy.Table // of a listener without TLS, in order; empty: it speaks HTTP
}

// compileTCP prepares the chains of a listener that are not HTTP; nil if there are none.
func compileTCP(l *ir.Listener, upstreams map[string]*upstream.Upstream) *tables {
	var t *tables
	for _, c := range l.Chains {
		if c.TCP == nil {
			continue
		}
		if t == nil {
			t = &tables{byChain: map[string]*tcpproxy.Table{}}
		}
		table := tcpproxy.Compile(c, upstreams)
		t.byChain[c.Name] = table
		if !l.TLS {
			t.plain = append(t.plain, table)
		}
	}
	return t
}

// plainTCP serves a connection of a listener without TLS if that is one of connections and not of requests.
func (p *Plane) plainTCP(c *listen.Conn, l *listener) bool {
	t := l.tcp.Load()
	if t == nil || len(t.plain) == 0 {
		return false
	}
	p.tcp.Serve(tcpproxy.Downstream{Raw: c}, t.plain...)
	return true
}

// passThrough relays a connection whose hello was looked at.
func (p *Plane) passThrough(l *listener, r *tlsconf.Result) {
	if table := p.table(l, r); table != nil {
		go p.tcp.Serve(tcpproxy.Downstream{Raw: r.Raw, Handshake: r.Record}, table)
	}
}

// terminated relays what is inside TLS.
func (p *Plane) terminated(l *listener, r *tlsconf.Result) {
	table := p.table(l, r)
	if table == nil {
		return
	}
	session := r.Session(&l.term)
	go p.tcp.Serve(tcpproxy.Downstream{Raw: r.Raw, Stream: r.Stream(p.opts.Sink), Handshake: r.Record, Withdrawn: session.Withdrawn}, table)
}

// table returns the routes of a connection's chain. Where a change has just taken the chain away the connection
// is refused as a new one would be.
func (p *Plane) table(l *listener, r *tlsconf.Result) *tcpproxy.Table {
	if t := l.tcp.Load(); t != nil && t.byChain[r.Chain.Name] != nil {
		return t.byChain[r.Chain.Name]
	}
	p.tell(r.Raw, diag.TCPNoRoute, "chain "+r.Chain.Name+" has just gone")
	r.Raw.Close()
	return nil
}

// tell records a connection that was refused before anything of it was understood.
func (p *Plane) tell(c *listen.Conn, code diag.Code, detail string) {
	p.opts.Sink.Handshake(&telemetry.Handshake{
		Time: time.Now(), Duration: time.Since(c.Accepted()), Conn: c.ID(), Side: telemetry.Downstream, Listener: c.Spec().Name, Remote: c.Remote(), Local: c.Local(),
		Code: code, Detail: detail,
	})
}

// takesProxyHeader reports whether connections of a listener begin with a PROXY header.
func (p *Plane) takesProxyHeader(l *ir.Listener) bool {
	return slices.Contains(p.opts.ProxyProtocol, l.Port) || l.Forward != nil && l.Forward.ProxyProtocol
}

// transparent reports whether a listener takes connections to addresses of others.
func transparent(l *ir.Listener) bool {
	return l.Forward != nil && l.Forward.Mode == ir.ForwardTProxy
}

// proxyHeader takes the PROXY header that the listener demands. If there is none the client is told in its own
// protocol, and the connection is closed.
func (p *Plane) proxyHeader(c *listen.Conn) bool {
	wait := p.opts.HandshakeTimeout
	if wait <= 0 {
		wait = 10 * time.Second
	}
	believed := p.opts.Trust.Believes
	if p.opts.Trust.Hops == 0 && len(p.opts.Trust.Nets) == 0 {
		believed = nil
	}
	_, err := c.ReadProxyHeader(wait, believed)
	if err == nil {
		return true
	}
	peek, ok := err.(*listen.PeekError)
	if !ok {
		peek = &listen.PeekError{Code: diag.ProxyHeaderMalformed, Detail: err.Error()}
	}
	p.tell(c, peek.Code, peek.Detail)
	c.Refuse(listen.NoProxyHeaderAnswer(peek))
	return false
}

// transparentFix says what helps where a transparent socket was refused.
func transparentFix(l *ir.Listener) string {
	return fmt.Sprintf("listener %s takes connections by TPROXY, which needs the capability CAP_NET_ADMIN: grant it, or use mode Transparent with nftables' redirect", l.Name)
}
