package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// http2Origin is the upstream's end of an exchange on a stream. It lies in the exchange. The stream is
// closed, and with it becomes another's, only by close, when nobody can be blocked in it any more.
type http2Origin struct {
	x     *exchange
	lease *upstream.Conn
	space upstream.Conn // for lease
	s     *mux.Stream   // nil: not opened
	req   message.Request
	tried bool // there was an answer: the lease goes back as used well
	web   bool // an extended CONNECT

	sentAll   bool        // the request ended with its head
	announced bool        // the request has a Trailer field
	headed    atomic.Bool // the final head of the answer has come

	left  int  // bytes of body that are there
	ended bool // and nothing follows them
}

// unopened is why a connection took no stream: nothing has been sent.
type unopened struct{ error }

func (e *unopened) Unwrap() error { return e.error }

// speakHTTP2 makes a slot of an HTTP/2 connection the exchange's upstream.
func (x *exchange) speakHTTP2(lease *upstream.Conn) {
	o := &x.muxed
	o.x, o.lease, o.s, o.tried, o.web, o.left, o.ended = x, lease, nil, false, false, 0, false
	o.headed.Store(false)
	x.up = o
}

// head opens the stream. The head waits for a moment for what follows it: see package mux.
func (o *http2Origin) head(req *message.Request, end bool) error {
	o.req = *req // the lists are shared, and only read
	o.req.Scheme = "http"
	if o.lease.TLS != nil {
		o.req.Scheme = "https"
	}
	if len(req.Upgrade) > 0 {
		switch {
		case !isWebSocket(req): // ignoring Upgrade is a server's right (RFC 9110 section 7.8)
			o.req.Upgrade = nil
		case !o.lease.H2.ExtendedConnect():
			return &http1.Error{Code: diag.UpstreamNoWebSocket, Detail: o.lease.Endpoint.Text + " speaks HTTP/2 without SETTINGS_ENABLE_CONNECT_PROTOCOL"}
		default:
			o.web, end = true, false
			o.req.Method, o.req.Protocol = []byte("CONNECT"), []byte(webSocket)
			req.Fields.DelID(message.SecWebSocketKey)
		}
	}
	s, err := o.lease.H2.Open(&o.req, end)
	if err != nil {
		return &unopened{err}
	}
	o.s, o.sentAll, o.announced = s, end, req.Fields.Has(message.Trailer)
	o.x.task.upStream.Store(s)
	return nil
}

func (o *http2Origin) write(w *watch, p []byte, more bool) error {
	if len(p) == 0 {
		return nil
	}
	if !o.arm(w) {
		return errInterrupted
	}
	return o.s.Write(p, false)
}

func (o *http2Origin) end(w *watch, p []byte, trailers *message.Fields) error {
	if o.web || o.sentAll {
		return nil
	}
	if !o.arm(w) {
		return errInterrupted
	}
	if trailers.Len() == 0 || !o.takesTrailers() {
		return o.s.Write(p, true)
	}
	if err := o.s.Write(p, false); err != nil {
		return err
	}
	if o.takesTrailers() && o.lease.SendTrailers() {
		return o.s.WriteTrailers(trailers)
	}
	return o.s.Write(nil, true)
}

// takesTrailers reports whether trailers may be of use to the upstream: those that were not announced are
// read by few (RFC 9110 section 6.5.1), and who has answered has read enough. Servers of net/http end the
// whole connection, with everybody's streams, for trailers of a stream that they have ended.
func (o *http2Origin) takesTrailers() bool { return o.announced && !o.headed.Load() }

// arm begins a wait for the upstream to take bytes. The request's first are also bound by its deadline.
func (o *http2Origin) arm(w *watch) bool {
	var until int64
	if w == &o.x.task.watch {
		until = o.x.until
	}
	return w.arm(waitUpstreamWrite, o.x.quiet(o.x.client.p.limits.UpstreamIdle), until)
}

// answer implements origin.
func (o *http2Origin) answer() error {
	x := o.x
	for {
		if !o.await() {
			return errInterrupted
		}
		err := o.s.ReadResponse(&x.resp)
		if err == nil {
			break
		}
		if !o.again() {
			return err
		}
	}
	x.answered, o.tried = true, true
	if x.resp.Status >= 200 {
		o.headed.Store(true)
	}
	if o.web && x.resp.Status >= 200 && x.resp.Status < 300 {
		x.resp.Status, x.resp.Upgrade, x.resp.Body = 101, x.Request.Upgrade, message.Body{}
		return nil
	}
	o.look()
	return nil
}

// await begins a wait for the upstream.
func (o *http2Origin) await() bool {
	return o.x.answerWatch().arm(waitUpstreamRead, o.x.quiet(o.x.client.p.limits.UpstreamIdle), o.x.until)
}

// again says whether a wait goes on whose time is over, since the client's body moves.
func (o *http2Origin) again() bool {
	if !o.x.patient() {
		return false
	}
	o.x.task.watch.recover()
	_ = o.s.SetReadDeadline(time.Time{})
	return true
}

func (o *http2Origin) look() { o.left, o.ended = o.s.Buffered() }

// next implements origin.
func (o *http2Origin) next() ([]byte, error) {
	for {
		if !o.more() && !o.await() {
			return nil, errInterrupted
		}
		piece, err := o.s.Next()
		switch {
		case err == nil:
			o.look()
			return piece, nil
		case errors.Is(err, io.EOF) || !o.again():
			return nil, err
		}
	}
}

func (o *http2Origin) more() bool                { return o.left > 0 || o.ended }
func (o *http2Origin) over() bool                { return o.left == 0 && o.ended }
func (o *http2Origin) trailers() *message.Fields { return o.s.Trailers() }
func (o *http2Origin) detached() bool            { return false }

func (o *http2Origin) lent() *upstream.Conn { return o.lease }

func (o *http2Origin) explain(err error) *upstream.Error { return o.lease.Explain(err) }

func (o *http2Origin) giveBack(bool) { o.close() }

func (o *http2Origin) cancel() {
	if o.s != nil {
		o.s.Reset(http2.Cancel)
	}
}

// close gives stream and slot back, if that has not happened. No upload runs any more.
func (o *http2Origin) close() {
	if o.lease == nil {
		return
	}
	if w := o.x.answerWatch(); !w.disarm() {
		w.recover()
	}
	o.x.task.upStream.Store(nil)
	if o.s != nil {
		o.s.Close()
	}
	if o.tried {
		o.lease.Release()
	} else {
		o.lease.Close()
	}
	o.s, o.lease, o.req = nil, nil, message.Request{}
}

func (o *http2Origin) tunnel() (*pipe, error) {
	return &pipe{conn: &streamPipe{s: o.s}, closeWrite: func() error { return o.s.Write(nil, true) }}, nil
}

// streamPipe reads and writes a stream as if it were a connection.
type streamPipe struct {
	s    *mux.Stream
	rest []byte
}

func (p *streamPipe) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		piece, err := p.s.Next()
		if err != nil {
			return 0, err
		}
		p.rest = piece
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *streamPipe) Write(b []byte) (int, error) {
	if err := p.s.Write(b, false); err != nil {
		return 0, err
	}
	return len(b), nil
}
