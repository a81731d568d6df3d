package proxy

import (
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// patience is how long a complete answer waits for the end of the request's body: an upstream that
// answers while it reads ends both at about the same time.
const patience = 200 * time.Millisecond

// upload passes the rest of a request body on, on a goroutine of its own. Between startUpload and
// joinUpload or stopUpload the exchange's body and BytesReceived are its own.
type upload struct {
	c     *conn
	x     *exchange
	up    *upstream.Conn
	watch watch
	done  chan struct{}
	buf   *[]byte
	left  []byte // received beyond the body; valid when done

	last   atomic.Int64 // of progress, milliseconds since base
	first  atomic.Bool  // a byte has come
	over   atomic.Bool
	cause  error // on the client's side; valid when over
	broken bool  // the upstream took no more; valid when over
}

func (c *conn) startUpload(x *exchange) {
	u := &upload{c: c, x: x, up: x.up, done: make(chan struct{}), buf: c.p.spare.larges.Get().(*[]byte)}
	u.watch.conn, u.watch.upload = c, true
	u.last.Store(c.p.now())
	if x.access.BytesReceived > 0 {
		u.first.Store(true)
	}
	x.upload = u
	c.uploading.Store(true)
	c.p.watches.add(&u.watch)
	go u.run()
}

func (u *upload) run() {
	defer close(u.done)
	err := u.guarded()
	var refused *http1.Error
	switch {
	case err == nil:
	case errors.As(err, &refused), errors.Is(err, errClient):
		u.cause = err
	default:
		u.broken = true
	}
	u.c.p.watches.remove(&u.watch)
	u.over.Store(true)
	u.c.uploading.Store(false)
	if u.cause != nil {
		// Whoever waits for the answer is to stop waiting.
		_ = u.up.SetReadDeadline(time.Unix(1, 0))
	}
}

// guarded is pass; a fault in it ends the connection as if the client had gone, and not the process.
func (u *upload) guarded() (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			u.c.p.log.Error("passing a request body on failed", "listener", u.c.d.Raw.Spec().Name, "peer", u.c.d.Peer.Remote, "err", fault,
				"stack", string(debug.Stack()))
			err = errClient
		}
	}()
	return u.pass()
}

// errClient marks the end of a body that the client did not finish.
var errClient = errors.New("the client closed in the middle of the body")

// pass copies until the end of the body. Errors of the client's side are an *http1.Error or errClient.
func (u *upload) pass() error {
	c, x := u.c, u.x
	chunked := x.req.Body.Kind == message.Chunked
	var framed []byte
	for {
		if !u.watch.arm(waitClientRead, c.p.limits.BodyIdle, 0) {
			return u.clientError()
		}
		n, err := c.rw.Read(*u.buf)
		if n == 0 && err != nil {
			return u.clientError()
		}
		u.first.Store(true)
		u.last.Store(c.p.now())
		rest := (*u.buf)[:n]
		framed = framed[:0]
		for len(rest) > 0 && !x.body.Done() {
			payload, used, _, err := x.body.Next(rest)
			if err != nil {
				return err
			}
			rest = rest[used:]
			x.access.BytesReceived += int64(len(payload))
			if chunked {
				framed = appendPayload(framed, payload, true)
				continue
			}
			framed = payload // a Sized body is one piece
		}
		if err := c.bounded(x); err != nil {
			return err
		}
		if chunked && x.body.Done() {
			framed = http1.AppendLastChunk(framed, x.body.Trailers())
		}
		if !u.watch.arm(waitUpstreamWrite, c.p.limits.UpstreamIdle, 0) {
			return u.clientError()
		}
		if len(framed) > 0 {
			if _, err := u.up.Write(framed); err != nil {
				return err
			}
		}
		if !chunked {
			framed = nil
		}
		u.last.Store(c.p.now())
		if x.body.Done() {
			u.left = rest
			u.watch.disarm()
			return nil
		}
	}
}

func (u *upload) clientError() error {
	if u.watch.why() == endTime {
		return &http1.Error{Code: diag.RequestBodyTimeout, Detail: "no byte of the body came in time"}
	}
	return errClient
}

func (u *upload) finished() bool { return u.over.Load() && !u.broken && u.cause == nil }
func (u *upload) begun() bool    { return u.first.Load() }

// failed returns the client's fault that ended the upload, if that is what did.
func (u *upload) failed() error {
	if u.over.Load() {
		return u.cause
	}
	return nil
}

// moved reports whether there was progress lately.
func (u *upload) moved() bool {
	return !u.over.Load() && u.c.p.now()-u.last.Load() < u.c.p.limits.UpstreamIdle.Milliseconds()
}

// joinUpload waits a moment for the upload to end. It returns true if the whole body was passed on;
// what was received beyond it is then in x.in. Otherwise the upload is stopped.
func (c *conn) joinUpload(x *exchange) bool {
	u := x.upload
	select {
	case <-u.done:
	default:
		if x.keep {
			t := time.NewTimer(patience)
			select {
			case <-u.done:
			case <-t.C:
			}
			t.Stop()
		}
	}
	if !u.finished() {
		c.stopUpload(x)
		return false
	}
	<-u.done
	c.endUpload(x)
	return true
}

// stopUpload ends an upload that is of no use any more and waits for it. Both connections must not be
// used further.
func (c *conn) stopUpload(x *exchange) {
	u := x.upload
	if u == nil {
		return
	}
	past := time.Unix(1, 0)
	_ = c.d.Raw.SetReadDeadline(past)
	_ = u.up.SetWriteDeadline(past)
	<-u.done
	x.keep = false
	c.endUpload(x)
}

// endUpload takes over what was received beyond the body.
func (c *conn) endUpload(x *exchange) {
	u := x.upload
	x.used, x.filled = 0, 0
	if len(u.left) > 0 {
		// The request's own slices point into the old buffer, which therefore is left alone.
		in := make([]byte, max(headSize, len(u.left)))
		x.filled = copy(in, u.left)
		x.in = in
	}
	c.p.spare.larges.Put(u.buf)
	x.upload, u.buf = nil, nil
}

// uploadFailed ends an exchange whose client did not send the body that it announced.
func (c *conn) uploadFailed(x *exchange) {
	cause := x.upload.failed()
	c.watch.disarm()
	c.dropUpstream(x)
	c.stopUpload(x)
	var refused *http1.Error
	if errors.As(cause, &refused) {
		_ = c.d.Raw.SetReadDeadline(time.Time{})
		c.refuse(x, refused.Code, refused.Detail)
		return
	}
	c.clientGone(x)
}
