package upstream

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// TLS originates TLS towards one upstream. Values are compared with ==: equal ones are the same
// material.
type TLS interface {
	// Handshake runs the client side over conn until ctx ends. host is the request's host where the
	// settings follow it, else "". It leaves its record with whatever sink it was made for; a refusal
	// has its code of 31xx or 32xx in the error's Code. It does not close conn.
	Handshake(ctx context.Context, conn net.Conn, host string) (*tls.Conn, *Error)
}

// connect makes a connection to e within the connect timeout. A permit is held by the caller.
func (u *Upstream) connect(ctx context.Context, e *Endpoint, t *originator, host string) (*Conn, *Error) {
	ctx, cancel := context.WithTimeout(ctx, u.pool.ConnectTimeout)
	defer cancel()
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
	c := &Conn{Conn: w, Endpoint: e, up: u, wire: w, host: host, material: t.num}
	if t.tls != nil {
		secured, failure := t.tls.Handshake(ctx, w, host)
		if failure != nil {
			conn.Close()
			if failure.Code == 0 {
				failure.Code = diag.UpstreamTLSFailed
			}
			failure.Endpoint = e.Address
			return nil, failure
		}
		c.Conn, c.TLS = secured, secured
	}
	e.open.Add(1)
	return c, nil
}
