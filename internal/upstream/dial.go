package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// TLS originates TLS towards one upstream; *tlsconf.Originator is one. Values are compared with ==:
// equal ones are the same material.
type TLS interface {
	// Handshake runs the client side over conn until ctx ends. host is the request's host where the
	// settings follow it, or the name of an origin that has one; else "". speak says what ALPN offers: h2 for UpstreamHTTP2, then there is no
	// connection without it; h2 and http/1.1 for UpstreamAuto; else http/1.1. The record is never nil;
	// its Code is zero exactly if there is a connection. It does not close conn.
	Handshake(ctx context.Context, conn net.Conn, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake)

	// ReadError tells what an error of a connection after its handshake means, as TLS 1.3 servers
	// refuse a client's certificate only then. It returns false for errors that TLS knows nothing of.
	ReadError(err error) (diag.Code, string, bool)
}

// reviewer is TLS material that finds out, after a handshake, that a peer's certificate is revoked.
type reviewer interface {
	// Revoked reports whether one was since the last call. It does not wait.
	Revoked() bool
}

// connect makes a connection to e until ctx ends. A permit is held by the caller.
func (u *Upstream) connect(ctx context.Context, e *Endpoint, t *originator, host string, speak ir.UpstreamProtocol) (*Conn, *Error) {
	c := &Conn{Endpoint: e, up: u, host: host, material: t.num, http2: speak == ir.UpstreamHTTP2}
	var err *Error
	if u.via == nil {
		c.wire, err = u.dialEndpoint(ctx, e)
		c.Conn = c.wire
	} else {
		err = u.connectVia(ctx, c)
	}
	if err != nil {
		u.tellEgress(e, host, nil, err)
		return nil, err
	}
	if t.tls != nil {
		if err := u.secure(ctx, c, t, speak); err != nil {
			c.Conn.Close()
			c.wire.Close()
			c.left()
			return nil, err
		}
	} else if c.Via != nil {
		u.tellEgress(e, host, &telemetry.Handshake{Proxy: c.Via.Proxy}, nil)
	}
	e.open.Add(1)
	return c, nil
}

// dialWire makes a TCP connection.
func (r *Registry) dialWire(ctx context.Context, to netip.AddrPort) (*wire, *Error) {
	conn, err := r.opt.Dial(ctx, "tcp", to.String())
	if err != nil {
		return nil, connectError(to, err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, connectError(to, fmt.Errorf("dial returned a %T, not a TCP connection", conn))
	}
	w, err := newWire(tcp)
	if err != nil {
		conn.Close()
		return nil, connectError(to, err)
	}
	return w, nil
}

// connectVia connects c by a proxy, or directly where that is allowed and no proxy is left.
func (u *Upstream) connectVia(ctx context.Context, c *Conn) *Error {
	l, direct, err := u.through(ctx, c.Endpoint)
	if l != nil {
		c.wire, c.Conn, c.Via, c.tunnel = l.wire, l.conn, l.way, l.addr
		c.tunnel.open.Add(1)
		return nil
	}
	if !direct {
		return err
	}
	if u.dest != nil {
		var failure *Error
		if c.wire, failure = u.dest.dial(ctx, c.Endpoint); failure != nil {
			failure.Detail += " (directly, as no proxy can be used: " + err.Detail + ")"
			return failure
		}
		c.Conn = c.wire
		return nil
	}
	host, port := u.asks(c.Endpoint)
	addrs := []netip.Addr{c.Endpoint.Address.Addr()}
	if !c.Endpoint.Address.IsValid() || port != c.Endpoint.Address.Port() {
		found, dnsErr := u.registry.resolveHost(ctx, host)
		if dnsErr != nil {
			return &Error{Code: diag.UpstreamDNS, Detail: fmt.Sprintf("the name %q does not resolve, and no proxy can be used (%s)", host, err.Detail), Err: dnsErr}
		}
		addrs = found
	}
	var failure *Error
	for _, ip := range addrs {
		if c.wire, failure = u.registry.dialWire(ctx, netip.AddrPortFrom(ip, port)); failure == nil {
			c.Conn = c.wire
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	failure.Detail += " (directly, as no proxy can be used: " + err.Detail + ")"
	return failure
}

// resolveHost is resolve for what may be an IP address.
func (r *Registry) resolveHost(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	return r.resolve(ctx, host)
}

// left says that the connection is not one of its proxy's tunnels any more.
func (c *Conn) left() {
	if c.tunnel != nil {
		c.tunnel.open.Add(-1)
		c.tunnel = nil
	}
}

// secure makes TLS with the destination.
func (u *Upstream) secure(ctx context.Context, c *Conn, t *originator, speak ir.UpstreamProtocol) *Error {
	e, name, proxy := c.Endpoint, c.host, ""
	if e.server != nil && e.server.VerifyName != "" {
		name = e.server.VerifyName
	}
	if s := u.Settings.TLS; u.via != nil && name == "" && s.SNI == "" && s.VerifyName == "" {
		name, _ = u.asks(e) // the destination's
	}
	if c.Via != nil {
		proxy = c.Via.Proxy
	}
	secured, rec := handshakeVia(ctx, t.tls, c.Conn, proxy, name, speak)
	rec.Proxy = proxy
	if rec.Code == diag.UpstreamSpeaksPlaintext && u.Settings.IsProxy && proxy == "" {
		rec.Code, rec.Detail = diag.ProxySpeaksPlaintext, rec.Detail+"; the endpoint is an HTTP proxy that takes CONNECT in the clear"
	}
	if u.registry.opt.Sink != nil {
		u.registry.opt.Sink.Handshake(rec)
	}
	if c.Via != nil {
		seen := *c.Via // what is known elsewhere of the way is frozen
		seen.Subject, seen.Issuer, seen.Intercepted = cmp.Or(rec.PeerSubject, rec.PeerOffered), rec.Issuer, rec.Intercepted
		c.Via = &seen
	}
	var failure *Error
	if secured == nil {
		failure = &Error{Code: rec.Code, Endpoint: e.Address, Detail: rec.Detail, Via: c.Via}
		if rec.Err != "" {
			failure.Err = errors.New(rec.Err)
		}
	}
	u.tellEgress(e, cmp.Or(name, rec.Hello.SNI), rec, failure)
	if failure != nil {
		return failure
	}
	c.Conn, c.TLS, c.explain, c.shake, c.http2 = secured, secured, t.tls, rec, rec.ALPN == "h2"
	c.Version, c.Suite = rec.Version, rec.Suite
	return nil
}

// tellEgress tells what a connection to a destination outside met. rec is nil where nothing was shown.
func (u *Upstream) tellEgress(e *Endpoint, name string, rec *telemetry.Handshake, failure *Error) {
	sink := u.registry.opt.Egress
	if sink == nil || u.Settings.Destination == "" && u.via == nil {
		return
	}
	ev := &telemetry.EgressEvent{Time: time.Now(), Host: cmp.Or(name, u.Settings.Destination), Port: e.Address.Port()}
	if e.host != "" {
		host, port := u.asks(e)
		ev.Host, ev.Port = cmp.Or(name, host), port
	}
	if rec != nil {
		ev.Proxy, ev.Subject, ev.Issuer, ev.IssuerKey, ev.Intercepted = rec.Proxy, cmp.Or(rec.PeerSubject, rec.PeerOffered), rec.Issuer, rec.IssuerKey, rec.Intercepted
	}
	if failure != nil {
		if ev.Code, ev.Detail = failure.Code, failure.Detail; failure.Via != nil {
			ev.Proxy = failure.Via.Proxy
		}
	}
	sink.Egress(ev)
}

// openRaw is open for bytes that are not HTTP: nothing is offered but what the settings say, and the connection
// is lent to nobody else.
func (u *Upstream) openRaw(ctx context.Context, e *Endpoint, t *originator, host string) (*Conn, *Error) {
	bounded, cancel := context.WithTimeout(ctx, u.patience())
	defer cancel()
	speak := ir.UpstreamRaw
	if u.Settings.Protocol == ir.UpstreamHTTP2 || u.Settings.Protocol == ir.UpstreamAuto {
		speak = u.Settings.Protocol
	}
	c, err := u.connect(bounded, e, t, host, speak)
	if err == nil {
		e.connected()
		return c, nil
	}
	u.limit.release()
	err.Server = e.Server()
	if end := ctx.Err(); end == nil || end != context.Canceled && err.Code != diag.UpstreamConnectTimeout {
		e.failed()
		e.Failed(err)
	}
	return nil, err
}
