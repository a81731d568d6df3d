package dataplane

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/clientcert"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// handle takes an accepted connection: handshake on this goroutine, whose stack grows by it, then the
// requests on a fresh one.
func (p *Plane) handle(c *listen.Conn) {
	l := (*p.listeners.Load())[c.Spec().Name]
	if l == nil {
		c.Close()
		return
	}
	if c.Spec().ProxyProtocol && !p.proxyHeader(c) {
		return
	}
	if p.forwarded(c, l) {
		return
	}
	term := l.term.Load()
	if term == nil {
		if p.plainTCP(c, l) {
			return
		}
		peer := &filter.Peer{Remote: c.Remote(), Local: c.Local(), ListenPort: c.Spec().Port, PortMap: p.opts.PortMap}
		p.proxy.Serve(proxy.Downstream{Raw: c, Peer: peer}, &l.state)
		return
	}
	result := term.Handshake(c)
	if result.PassedThrough {
		p.passThrough(l, result)
		return
	}
	p.opts.Sink.Handshake(result.Record)
	if result.Record.Code != 0 {
		return
	}
	if result.Chain.TCP != nil {
		p.terminated(l, result)
		return
	}
	peer := result.Peer()
	peer.PortMap = p.opts.PortMap
	if peer.Forward == "" {
		peer.Forward = p.opts.Forward
	}
	peer.Identity = clientcert.Prepare(peer.ClientCert, clientcert.Default())
	d := proxy.Downstream{Raw: c, TLS: result.Conn, Stream: result.Stream(p.opts.Sink), Peer: peer, Chain: result.Chain.Name, Handshake: result.Record, Admission: result.Session(&l.term), Closed: result.AfterHandshake}
	go p.proxy.Serve(d, &l.state)
}

// refused records a connection over a bound.
func (p *Plane) refused(c *listen.Conn, code diag.Code) {
	p.opts.Sink.Handshake(&telemetry.Handshake{
		Time: time.Now(), Conn: c.ID(), Side: telemetry.Downstream, Listener: c.Spec().Name, Remote: c.Remote(), Local: c.Local(),
		Code: code, Detail: overBound(code),
	})
}

// overBound is the sentence on a connection that was not admitted.
func overBound(code diag.Code) string {
	switch code {
	case diag.OverloadMemory:
		return "memory is at its bound"
	case diag.OverloadConnections:
		return "the process is at its bound of open connections"
	case diag.OverloadAddress:
		return "the address is at its bound of open connections"
	}
	return "the listener is at its bound of open connections"
}

// Connections returns how many connections a listener has open.
func (p *Plane) Connections(name string) int { return p.sockets.Open(name) }

// OpenConnections returns the open connections of every listener.
func (p *Plane) OpenConnections() map[string]int {
	open := map[string]int{}
	for name := range *p.listeners.Load() {
		open[name] = p.sockets.Open(name)
	}
	return open
}

// Faults returns how many faults of ours, panics, have ended a request or a connection.
func (p *Plane) Faults() int64 { return p.proxy.Faults() + p.tcp.Faults() + p.upstreams.Faults() }

// HTTP2 returns the open HTTP/2 connections and streams of every listener.
func (p *Plane) HTTP2() map[string]proxy.HTTP2Stats {
	out := p.proxy.HTTP2()
	for name := range *p.listeners.Load() {
		if _, ok := out[name]; !ok {
			out[name] = proxy.HTTP2Stats{}
		}
	}
	return out
}
