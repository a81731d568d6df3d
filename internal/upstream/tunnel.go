package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Times of a tunnel's making: for a TCP connection while there is another address to try, and for the body
// of a refusal.
const (
	briefDial   = 3 * time.Second
	refusalTime = 500 * time.Millisecond
)

// asked is what a proxy is asked for.
type asked struct {
	method string // CONNECT or POST; "": CONNECT
	host   string
	port   uint16
}

// line is a connection through a proxy to a destination, before any TLS with that.
type line struct {
	wire *wire    // TCP to the proxy
	conn net.Conn // what the destination is spoken to over
	addr *proxyAddress
	way  *Way
}

func (l *line) close() {
	_ = l.wire.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	l.conn.Close()
	l.wire.Close()
}

// through makes a line by the first address that yields one. direct says that there is none and that the
// destination may be connected to without a proxy.
func (u *Upstream) through(ctx context.Context, e *Endpoint) (l *line, direct bool, failure *Error) {
	host, port := u.asks(e)
	want := asked{method: u.via.Method, host: host, port: port}
	list, direct, failure := u.registry.candidates(u.via)
	for i, c := range list {
		l, established, err := u.registry.tunnel(ctx, c, want, i < len(list)-1)
		switch {
		case err == nil:
			c.addr.worked(l.way.Time)
			return l, false, nil
		case ended(ctx):
			return nil, false, err
		}
		c.addr.failed(err, established)
		failure = err
		if !otherAddress(err.Code) {
			return nil, false, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, direct && ctx.Err() == nil, failure
}

// asks returns what is asked for to reach e.
func (u *Upstream) asks(e *Endpoint) (host string, port uint16) {
	host, port = e.host, e.port
	if d := u.Settings.Destination; d != "" && !strings.Contains(d, "*") {
		if _, err := netip.ParseAddr(host); err == nil {
			host = d // so that the proxy knows whom it deals with
		}
	}
	if u.via == nil {
		return host, port
	}
	if u.via.Host != "" {
		host = u.via.Host
	}
	if u.via.Port != 0 {
		port = u.via.Port
	}
	return host, port
}

// tunnel makes a line by one address. more says that there is another to try. established says that the address
// took a connection.
func (r *Registry) tunnel(ctx context.Context, c candidate, want asked, more bool) (l *line, established bool, failure *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.state.timeout)
	defer cancel()
	way := &Way{Proxy: c.state.Settings.Name, Address: c.addr.text}
	began := time.Now()
	defer func() {
		if failure != nil && failure.Via == nil {
			failure.Via = way
		}
	}()
	w, failure := r.dialProxy(ctx, c, more)
	if failure != nil {
		return nil, false, failure
	}
	l = &line{wire: w, conn: w, way: way, addr: c.addr}
	if c.addr.TLS {
		if l.conn, failure = r.hop(ctx, c, w); failure != nil {
			w.Close()
			return nil, true, failure
		}
	}
	x := &exchange{ctx: ctx, c: c, want: want, wire: w, conn: l.conn}
	l.conn, failure = x.run()
	way.Status, way.Time = x.answer.status, time.Since(began)
	if failure != nil {
		w.Close()
		return nil, true, failure
	}
	return l, true, nil
}

// dialProxy makes a TCP connection to an address.
func (r *Registry) dialProxy(ctx context.Context, c candidate, more bool) (*wire, *Error) {
	who := fmt.Sprintf("the proxy %s at %s", c.state.Settings.Name, c.addr.text)
	if more {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, briefDial)
		defer cancel()
	}
	addrs, err := c.addr.resolve(ctx)
	if err != nil {
		return nil, &Error{Code: diag.ProxyUnreachable, Detail: who + ": its name does not resolve", Err: err}
	}
	var failure *Error
	for _, ip := range addrs {
		to := netip.AddrPortFrom(ip, c.addr.Port)
		conn, err := r.opt.Dial(ctx, "tcp", to.String())
		if err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				w, wireErr := newWire(tcp)
				if wireErr == nil {
					return w, nil
				}
				err = wireErr
			} else {
				err = fmt.Errorf("dial returned a %T, not a TCP connection", conn)
			}
			conn.Close()
		}
		cause := connectError(to, err)
		failure = &Error{Code: diag.ProxyUnreachable, Detail: who + ": " + cause.Detail, Err: err}
		if cause.Code == diag.UpstreamConnectTimeout {
			failure.Code = diag.ProxyTimeout
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failure
}

// hop makes TLS with the proxy itself. Its record has the codes of the hop, never those of a destination.
func (r *Registry) hop(ctx context.Context, c candidate, w *wire) (net.Conn, *Error) {
	name := c.state.Settings.Name
	if c.state.Hop == nil {
		return nil, &Error{Code: diag.ProxyUntrusted, Detail: "there is no TLS material for the proxy " + name}
	}
	host := ""
	if t := c.state.Settings.TLS; t == nil || t.HostSNI || t.SNI == "" && t.VerifyName == "" {
		host = c.addr.Host
	}
	secured, rec := c.state.Hop.Handshake(ctx, w, host, ir.UpstreamHTTP1)
	var failure *Error
	if secured == nil {
		failure = &Error{Code: hopCode(rec.Code), Detail: fmt.Sprintf("TLS with the proxy %s at %s itself: %s", name, c.addr.text, strings.ReplaceAll(rec.Detail, "the upstream", "the proxy"))}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			failure.Code = diag.ProxyTimeout
		}
		if rec.Err != "" {
			failure.Err = errors.New(rec.Err)
		}
		rec.Code, rec.Detail = failure.Code, failure.Detail
	}
	rec.Proxy = name
	if r.opt.Sink != nil {
		r.opt.Sink.Handshake(rec)
	}
	if failure != nil {
		return nil, failure
	}
	return secured, nil
}

// hopCode is the reason of the hop for one of TLS with an upstream.
func hopCode(c diag.Code) diag.Code {
	switch c {
	case diag.UpstreamSpeaksPlaintext:
		return diag.ProxySpeaksPlaintext
	case diag.UpstreamConnectTimeout:
		return diag.ProxyTimeout
	}
	return diag.ProxyUntrusted
}

// early is a connection of which some bytes have been read already.
type early struct {
	net.Conn
	pending []byte // owned by whoever reads
}

// Read returns those bytes first.
func (c *early) Read(p []byte) (int, error) {
	if len(c.pending) > 0 {
		n := copy(p, c.pending)
		if c.pending = c.pending[n:]; len(c.pending) == 0 {
			c.pending = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends the sending direction.
func (c *early) CloseWrite() error { return closeWrite(c.Conn) }

// closeWrite ends the sending direction of a connection that can.
func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// tunnelled is TLS material that knows how destinations are verified through each proxy.
type tunnelled interface {
	// HandshakeVia is Handshake with a destination behind the proxy of that name.
	HandshakeVia(ctx context.Context, conn net.Conn, proxy, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake)
}

// handshakeVia makes TLS with a destination; proxy is "" for a direct connection. Material that knows nothing of
// proxies verifies as it does without.
func handshakeVia(ctx context.Context, t TLS, conn net.Conn, proxy, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	if m, ok := t.(tunnelled); ok && proxy != "" {
		return m.HandshakeVia(ctx, conn, proxy, host, speak)
	}
	return t.Handshake(ctx, conn, host, speak)
}
