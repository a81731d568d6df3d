package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
)

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
	return cmp.Or(x.want.method, "CONNECT") + " " + hostname.WithPort(x.want.host, x.want.port)
}

func (x *exchange) late() *Error {
	if ended(x.ctx) {
		return &Error{Code: diag.ProxyTimeout, Detail: "the request ended before " + x.who() + " had answered " + x.what(), Err: x.ctx.Err()}
	}
	return &Error{Code: diag.ProxyTimeout, Detail: fmt.Sprintf("%s did not answer %s in time", x.who(), x.what()), Err: x.ctx.Err()}
}

// head is the request.
func (x *exchange) head() []byte {
	target := hostname.WithPort(x.want.host, x.want.port)
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
	if mark := x.c.addr.proxy.registry.opt.Mark; mark != "" {
		b = append(append(append(b, "CDN-Loop: "...), mark...), "\r\n"...)
	}
	for _, h := range x.c.state.Settings.Headers {
		b = append(append(append(append(b, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// ask sends the request and reads the answer. What follows its head stays in buf.
func (x *exchange) ask() *Error {
	if !token([]byte(x.want.method)) && x.want.method != "" || strings.ContainsFunc(x.want.host, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return &Error{Code: diag.ProxyRejectedRequest, Detail: fmt.Sprintf("%s is not asked for %q, which no request can hold", x.who(), x.want.host)}
	}
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
