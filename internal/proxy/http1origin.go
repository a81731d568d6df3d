package proxy

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// http1Origin is the upstream's end of an exchange on an HTTP/1 connection. It comes from a pool.
type http1Origin struct {
	x    *exchange
	conn *upstream.Conn

	out     []byte // of the request: held back
	inBuf   bool   // out lies in buf, which is not needed before the answer
	chunked bool
	stays   bool   // the answer leaves the connection open; x.resp may be another's while the body still comes
	key     []byte // of a WebSocket that the client asked for in HTTP/2

	buf    []byte  // received: the head of the answer, and bodies that fit
	large  *[]byte // takes the place of buf for long bodies; from spares
	rest   []byte  // received and not looked at
	parser http1.ResponseParser
	body   http1.BodyReader
}

func newHTTP1Origin() *http1Origin {
	o := &http1Origin{buf: make([]byte, reply)}
	o.body.Response = true
	return o
}

// speakHTTP1 makes conn the exchange's upstream.
func (x *exchange) speakHTTP1(conn *upstream.Conn) {
	o := x.plain
	if o == nil {
		o = x.client.p.spare.origins.Get().(*http1Origin)
		x.plain = o
	}
	o.x, o.conn, o.out, o.inBuf, o.rest, o.chunked, o.stays = x, conn, o.buf[:0], true, nil, false, false
	o.parser.Limits = x.client.p.limits.Response
	o.parser.Reset()
	x.up = o
	x.task.up.Store(conn)
}

// forget lets go of everything that does not belong to a pooled end.
func (o *http1Origin) forget() {
	if o.large != nil {
		o.x.task.putLarge(o.large)
		o.large = nil
	}
	o.conn, o.out, o.rest = nil, nil, nil
	if len(o.buf) > kept {
		o.buf = make([]byte, reply)
	}
}

func (o *http1Origin) head(req *message.Request, _ bool) error {
	body := req.Body
	if m := string(req.Method); body.Kind == message.NoBody && req.Proto == message.HTTP2 && (m == "POST" || m == "PUT" || m == "PATCH") {
		body.Kind = message.Sized // RFC 9110 section 8.6: such methods say that there is nothing
	}
	if body.Kind == message.Sized && req.Proto == message.HTTP2 && req.Fields.Has(message.Trailer) {
		body.Kind = message.Chunked // only so can trailers follow
	}
	o.chunked = body.Kind == message.Chunked
	o.key = nil
	if len(req.Upgrade) > 0 && req.Proto == message.HTTP2 {
		o.key = addWebSocketKey(req)
	}
	if o.conn.Absolute() {
		lines := o.conn.AppendLogin(nil)
		o.out = http1.AppendForwardHead(o.out, req, body, lines)
		clear(lines)
		return nil
	}
	o.out = http1.AppendRequestHead(o.out, req, body)
	return nil
}

func (o *http1Origin) write(w *watch, p []byte, more bool) error {
	if !more && !o.chunked && len(o.out) == 0 {
		if len(p) == 0 {
			return nil
		}
		return o.send(w, p)
	}
	o.out = appendPayload(o.out, p, o.chunked)
	if more && len(o.out) < largeSize {
		return nil
	}
	return o.flush(w)
}

func (o *http1Origin) end(w *watch, p []byte, trailers *message.Fields) error {
	if !o.chunked {
		return o.write(w, p, false)
	}
	o.out = http1.AppendLastChunk(appendPayload(o.out, p, true), trailers)
	return o.flush(w)
}

func (o *http1Origin) flush(w *watch) error {
	if len(o.out) == 0 {
		return nil
	}
	p := o.out
	o.out = p[:0]
	if o.inBuf {
		o.inBuf, o.out = false, nil
		if cap(p) > len(o.buf) {
			o.buf = p[:cap(p)]
		}
	}
	return o.send(w, p)
}

// send writes. The request's first bytes are also bound by its deadline.
func (o *http1Origin) send(w *watch, p []byte) error {
	var until int64
	if w == &o.x.task.watch {
		until = o.x.until
	}
	if !w.arm(waitUpstreamWrite, o.x.client.p.limits.UpstreamIdle, until) {
		return errInterrupted
	}
	_, err := o.conn.Write(p)
	return err
}

// answer implements origin.
func (o *http1Origin) answer() error {
	x := o.x
	for {
		if len(o.rest) > 0 {
			n, err := o.parser.Parse(o.rest, x.Request.Method, &x.resp)
			if err != nil {
				return err
			}
			if n > 0 {
				if x.resp.Status >= 200 {
					o.body.Reset(x.resp.Body, x.client.p.limits.Response)
					o.stays = x.resp.KeepAlive
				}
				o.rest = o.rest[n:]
				return nil
			}
		}
		have := copy(o.buf, o.rest)
		if have == len(o.buf) {
			o.buf = append(o.buf, make([]byte, len(o.buf))...)
		}
		n, err := o.read(o.buf[have:])
		if n == 0 && err != nil {
			return err
		}
		x.answered = true
		o.rest = o.buf[:have+n]
	}
}

// read reads from the upstream. As long as the client's body moves there is no haste.
func (o *http1Origin) read(b []byte) (int, error) {
	x := o.x
	w := x.answerWatch()
	for {
		if !w.arm(waitUpstreamRead, x.client.p.limits.UpstreamIdle, x.until) {
			return 0, errInterrupted
		}
		n, err := o.conn.Read(b)
		if n > 0 || err == nil {
			return n, nil
		}
		if !x.patient() {
			return 0, err
		}
		w.recover()
		_ = o.conn.SetReadDeadline(time.Time{})
	}
}

// next implements origin.
func (o *http1Origin) next() ([]byte, error) {
	for {
		for len(o.rest) > 0 && !o.body.Done() {
			piece, n, _, err := o.body.Next(o.rest)
			if err != nil {
				return nil, err
			}
			o.rest = o.rest[n:]
			if len(piece) > 0 {
				return piece, nil
			}
		}
		if o.body.Done() {
			return nil, io.EOF
		}
		b := o.buf
		if left := o.body.Remaining(); o.large == nil && (left < 0 || left > int64(len(b))) {
			o.large = o.x.task.large()
		}
		if o.large != nil {
			b = *o.large
		}
		n, err := o.read(b)
		if n == 0 && err != nil {
			if !errors.Is(err, io.EOF) {
				return nil, err
			}
			if err := o.body.End(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		o.rest = b[:n]
	}
}

func (o *http1Origin) more() bool                { return len(o.rest) > 0 || o.body.Done() }
func (o *http1Origin) over() bool                { return o.body.Done() }
func (o *http1Origin) trailers() *message.Fields { return o.body.Trailers() }
func (o *http1Origin) detached() bool            { return true }

// giveBack implements origin. What follows an answer belongs to nobody: then the connection is in doubt.
func (o *http1Origin) giveBack(reusable bool) {
	x := o.x
	w := x.answerWatch()
	sound := w.disarm()
	if !sound {
		w.recover()
	}
	x.task.up.Store(nil)
	if reusable && sound && o.stays && o.body.Done() && len(o.rest) == 0 {
		o.conn.Release()
	} else {
		o.conn.Close()
	}
}

func (o *http1Origin) cancel() {
	o.x.task.up.Store(nil)
	o.conn.Close()
}

func (o *http1Origin) lent() *upstream.Conn { return o.conn }

func (o *http1Origin) explain(err error) *upstream.Error { return o.conn.Explain(err) }

func (o *http1Origin) tunnel() (*pipe, error) {
	if o.key != nil {
		if err := checkWebSocketAccept(o.key, &o.x.resp); err != nil {
			return nil, err
		}
	}
	return &pipe{conn: o.conn, early: slices.Clone(o.rest), closeWrite: o.conn.CloseWrite}, nil
}
