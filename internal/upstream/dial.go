package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

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
	conn, err := u.registry.opt.Dial(ctx, "tcp", e.Text)
	if err != nil {
		return nil, connectError(e.Address, err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, connectError(e.Address, fmt.Errorf("dial returned a %T, not a TCP connection", conn))
	}
	w, err := newWire(tcp)
	if err != nil {
		conn.Close()
		return nil, connectError(e.Address, err)
	}
	c := &Conn{Conn: w, Endpoint: e, up: u, wire: w, host: host, material: t.num, http2: speak == ir.UpstreamHTTP2}
	if t.tls != nil {
		name := host
		if e.server != nil && e.server.VerifyName != "" {
			name = e.server.VerifyName
		}
		secured, rec := t.tls.Handshake(ctx, w, name, speak)
		if u.registry.opt.Sink != nil {
			u.registry.opt.Sink.Handshake(rec)
		}
		if secured == nil {
			conn.Close()
			failure := &Error{Code: rec.Code, Endpoint: e.Address, Detail: rec.Detail}
			if rec.Err != "" {
				failure.Err = errors.New(rec.Err)
			}
			return nil, failure
		}
		c.Conn, c.TLS, c.explain, c.shake, c.http2 = secured, secured, t.tls, rec, rec.ALPN == "h2"
		c.Version, c.Suite = rec.Version, rec.Suite
	}
	e.open.Add(1)
	return c, nil
}
