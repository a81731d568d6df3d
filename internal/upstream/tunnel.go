package upstream

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
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

// exchange is CONNECT and its answer.
type exchange struct {
	ctx    context.Context
	c      candidate
	want   asked
	wire   *wire
	conn   net.Conn
	buf    []byte // what was read
	answer connectAnswer
}

// run asks and reads the answer, and returns the connection on which the destination is spoken to.
func (x *exchange) run() (net.Conn, *Error) {
	stop := context.AfterFunc(x.ctx, func() { _ = x.wire.SetDeadline(time.Unix(1, 0)) })
	failure := x.ask()
	if !stop() {
		if failure == nil || failure.Code == diag.ProxyTimeout || failure.Code == diag.ProxyClosed {
			failure = x.late()
		}
		return nil, failure
	}
	if failure != nil {
		return nil, failure
	}
	_ = x.wire.SetDeadline(time.Time{})
	conn := x.conn
	if len(x.buf) > 0 {
		conn = &early{Conn: conn, pending: x.buf}
	}
	if x.want.method == "POST" {
		conn = newPosted(conn, x.answer.chunked)
	}
	return conn, nil
}

func (x *exchange) who() string {
	return fmt.Sprintf("the proxy %s at %s", x.c.state.Settings.Name, x.c.addr.text)
}

func (x *exchange) what() string {
	return firstWord(x.want.method, "CONNECT") + " " + hostPort(x.want.host, x.want.port)
}

func firstWord(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (x *exchange) late() *Error {
	if ended(x.ctx) {
		return &Error{Code: diag.ProxyTimeout, Detail: "the request ended before " + x.who() + " had answered " + x.what(), Err: x.ctx.Err()}
	}
	return &Error{Code: diag.ProxyTimeout, Detail: fmt.Sprintf("%s did not answer %s in time", x.who(), x.what()), Err: x.ctx.Err()}
}

// head is the request.
func (x *exchange) head() []byte {
	target := hostPort(x.want.host, x.want.port)
	b := make([]byte, 0, 256)
	if x.want.method == "POST" {
		b = append(b, "POST / HTTP/1.1\r\nHost: "...)
		b = append(append(b, target...), "\r\nTransfer-Encoding: chunked\r\n"...)
	} else {
		b = append(append(b, "CONNECT "...), target...)
		b = append(append(append(b, " HTTP/1.1\r\nHost: "...), target...), "\r\n"...)
	}
	if l := x.c.state.Login; l != nil {
		both := append([]byte(l.User+":"), l.Password.Expose()...)
		b = append(b, "Proxy-Authorization: Basic "...)
		b = append(base64.StdEncoding.AppendEncode(b, both), "\r\n"...)
		clear(both)
	}
	for _, h := range x.c.state.Settings.Headers {
		b = append(append(append(append(b, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// ask sends the request and reads the answer. What follows its head stays in buf.
func (x *exchange) ask() *Error {
	head := x.head()
	_, err := x.conn.Write(head)
	clear(head)
	if err != nil && !isReset(err) { // one that refuses may answer without reading
		return x.broken(err)
	}
	interim := 0
	x.buf = make([]byte, 0, 1024)
	for {
		a, n, err := parseAnswer(x.buf)
		if err != nil {
			return x.nonsense(err)
		}
		switch {
		case n == 0:
			if err := x.more(); err != nil {
				return x.broken(err)
			}
			continue
		case a.status >= 200 || a.status == 101:
			x.answer, x.buf = a, x.buf[n:]
			return x.judge()
		}
		if interim++; interim > maxInterim {
			return x.nonsense(&malformed{"it is preceded by too many interim answers"})
		}
		x.buf = x.buf[n:]
	}
}

// more reads once. Beyond the bound of a head nothing is read, as parseAnswer has refused it then.
func (x *exchange) more() error {
	if len(x.buf) == cap(x.buf) {
		grown := make([]byte, len(x.buf), max(2*len(x.buf), 1024))
		copy(grown, x.buf)
		x.buf = grown
	}
	n, err := x.conn.Read(x.buf[len(x.buf):cap(x.buf)])
	x.buf = x.buf[:len(x.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

// broken is the error when the connection ended or failed before the answer was complete.
func (x *exchange) broken(err error) *Error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return x.late()
	case errors.Is(err, io.EOF), isReset(err):
		got := "before it answered"
		if len(x.buf) > 0 {
			got = "in the middle of its answer to"
		}
		return &Error{Code: diag.ProxyClosed, Detail: fmt.Sprintf("%s closed the connection %s %s", x.who(), got, x.what()), Err: err}
	}
	var head tls.RecordHeaderError
	if errors.As(err, &head) {
		return &Error{Code: diag.ProxyClosed, Detail: fmt.Sprintf("%s broke TLS before it answered %s", x.who(), x.what()), Err: err}
	}
	return &Error{Code: diag.ProxyClosed, Detail: fmt.Sprintf("the connection to %s failed before it answered %s", x.who(), x.what()), Err: err}
}

// nonsense is the error for an answer that is no HTTP/1.
func (x *exchange) nonsense(err error) *Error {
	if errors.Is(err, errAnswerTLS) {
		return &Error{Code: diag.ProxySpeaksTLS, Detail: fmt.Sprintf("%s answered %s with a TLS record: its port wants TLS first (https)", x.who(), x.what())}
	}
	return &Error{Code: diag.ProxyNotHTTP, Detail: fmt.Sprintf("what %s answered %s with is no HTTP/1: %v", x.who(), x.what(), err)}
}

// judge says what an answer means.
func (x *exchange) judge() *Error {
	a := &x.answer
	if a.status/100 == 2 {
		return nil
	}
	e := &Error{Detail: fmt.Sprintf("%s answered %s with %d", x.who(), x.what(), a.status)}
	if a.reason != "" {
		e.Detail += " " + a.reason
	}
	if s := x.refusal(); s != "" {
		e.Detail += fmt.Sprintf(" (%q)", s)
	}
	if a.proxyNote != "" {
		e.Detail += "; it says: " + a.proxyNote
	}
	switch a.status {
	case 407:
		e.Code = diag.ProxyAuthRequired
		switch {
		case x.c.state.Login != nil:
			e.Detail += fmt.Sprintf("; user name and password of %s were sent", x.c.state.Login.Origin)
		default:
			e.Detail += "; no user name and password are configured"
		}
		if len(a.schemes) > 0 {
			e.Detail += "; it offers " + strings.Join(a.schemes, ", ")
		}
	case 403:
		e.Code = diag.ProxyDenied
	case 502, 503, 504:
		e.Code = diag.ProxyCannotReach
	case 400, 405, 501:
		e.Code = diag.ProxyRejectedRequest
	default:
		e.Code = diag.ProxyOtherAnswer
	}
	return e
}

// refusal reads what there is of a refusal's body, within bounds, and returns the gist of it.
func (x *exchange) refusal() string {
	want := int64(maxRefusal)
	if x.answer.length >= 0 {
		want = min(want, x.answer.length)
	}
	by := time.Now().Add(refusalTime)
	if t, ok := x.ctx.Deadline(); ok && t.Before(by) {
		by = t
	}
	_ = x.wire.SetReadDeadline(by)
	for int64(len(x.buf)) < want {
		if x.more() != nil {
			break
		}
	}
	return gist(x.buf[:min(len(x.buf), maxRefusal)])
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
