package upstream

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// A proxy is asked for plain HTTP by absolute URLs and not by CONNECT: so it can cache and log, and proxies as
// they are commonly set up take CONNECT for port 443 alone.

// connectHTTP is connect for requests.
func (u *Upstream) connectHTTP(ctx context.Context, e *Endpoint, t *originator, host string, speak ir.UpstreamProtocol) (*Conn, *Error) {
	if u.dest == nil || u.via == nil || u.Settings.TLS != nil || u.via.Method != "" && u.via.Method != http.MethodConnect {
		return u.connect(ctx, e, t, host, speak)
	}
	c := &Conn{Endpoint: e, up: u, host: host, material: t.num}
	list, direct, failure := u.registry.candidates(u.via)
	for i, x := range list {
		err := u.registry.plainWire(ctx, c, x, i < len(list)-1)
		switch {
		case err == nil:
			e.open.Add(1)
			u.tellEgress(e, u.dest.key.host, &telemetry.Handshake{Proxy: c.Via.Proxy}, nil)
			return c, nil
		case ended(ctx):
			return nil, err
		}
		x.addr.failed(err, c.wire != nil)
		c.wire, failure = nil, err
		if ctx.Err() != nil {
			break
		}
	}
	if !direct || ctx.Err() != nil {
		u.tellEgress(e, u.dest.key.host, nil, failure)
		return nil, failure
	}
	why := failure
	if c.wire, failure = u.dest.dial(ctx, e); failure != nil {
		failure.Detail += " (directly, as no proxy can be used: " + why.Detail + ")"
		u.tellEgress(e, u.dest.key.host, nil, failure)
		return nil, failure
	}
	c.Conn = c.wire
	e.open.Add(1)
	return c, nil
}

// plainWire connects c to one address of a proxy.
func (r *Registry) plainWire(ctx context.Context, c *Conn, x candidate, more bool) *Error {
	ctx, cancel := context.WithTimeout(ctx, x.state.timeout)
	defer cancel()
	way := &Way{Proxy: x.state.Settings.Name, Address: x.addr.text}
	w, failure := r.dialProxy(ctx, x, more)
	if failure == nil {
		c.wire, c.Conn = w, w
		if x.addr.TLS {
			if c.Conn, failure = r.hop(ctx, x, w); failure != nil {
				w.Close()
			}
		}
	}
	if failure != nil {
		if failure.Via == nil {
			failure.Via = way
		}
		return failure
	}
	c.Via, c.plain, c.tunnel = way, x.state, x.addr
	c.tunnel.open.Add(1)
	return nil
}

// Absolute reports whether a proxy reads the requests, and so has to be told the whole URL.
func (c *Conn) Absolute() bool { return c.plain != nil }

// AppendLogin appends the field lines that the proxy of an Absolute connection wants, each with its end. They are
// secret: the caller overwrites them when they are sent.
func (c *Conn) AppendLogin(dst []byte) []byte {
	if l := c.plain.Login; l != nil {
		both := append([]byte(l.User+":"), l.Password.Expose()...)
		dst = append(dst, "Proxy-Authorization: Basic "...)
		dst = append(base64.StdEncoding.AppendEncode(dst, both), "\r\n"...)
		clear(both)
	}
	for _, h := range c.plain.Settings.Headers {
		dst = append(append(append(append(dst, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	return dst
}
