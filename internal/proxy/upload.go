package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// patience is how long a complete answer waits for the end of the request's body: an upstream that
// answers while it reads ends both at about the same time.
const patience = 200 * time.Millisecond

// upload passes the rest of a request body on, on a goroutine of its own. Between startUpload and
// joinUpload or stopUpload the exchange's body and BytesReceived are its own.
type upload struct {
	x     *exchange
	up    origin
	watch watch
	done  chan struct{}

	last   atomic.Int64 // of progress, milliseconds since base
	first  atomic.Bool  // a byte has come
	over   atomic.Bool
	cause  error // on the client's side; valid when over
	broken bool  // the upstream did not take all; valid when over
}

func (x *exchange) startUpload() {
	p := x.client.p
	u := &upload{x: x, up: x.up, done: make(chan struct{})}
	u.watch.init(p, x.task.watch.of)
	u.watch.inner = true
	u.last.Store(p.now())
	if x.access.BytesReceived > 0 {
		u.first.Store(true)
	}
	if !x.replayable() {
		x.sent.lost.Store(true)
	}
	x.upload = u
	x.task.uploading.Store(true)
	p.watches.add(&u.watch)
	go u.run()
}

func (u *upload) run() {
	defer close(u.done)
	err := u.guarded()
	var client *clientError
	switch {
	case err == nil:
	case errors.As(err, &client):
		u.cause = client.error
	default:
		u.broken = true
	}
	u.watch.disarm()
	u.x.client.p.watches.remove(&u.watch)
	u.over.Store(true)
	u.x.task.uploading.Store(false)
	if u.cause != nil {
		// Whoever waits for the answer is to stop waiting.
		u.x.task.stopAnswer(time.Unix(1, 0))
	}
}

// guarded is pass; a fault in it ends the connection as if the client had gone, and not the process.
func (u *upload) guarded() (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			u.x.client.fault("passing a request body on failed", fault)
			err = &clientError{errClient}
		}
	}()
	return u.pass()
}

// pass copies until the end of the body. Errors of the client's side are *clientError. When the upstream
// takes no more the rest is read all the same, until somebody stops that: an answer may be on its way, and
// a client whose body was read whole can go on with its next request.
func (u *upload) pass() error {
	x := u.x
	p := x.client.p
	var broken error
	if held := x.sent.held; held != nil {
		x.sent.held = nil
		broken = u.up.write(&u.watch, held, false)
	}
	for {
		piece, more, err := x.down.next(&u.watch)
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			if broken != nil {
				return broken
			}
			return &clientError{err}
		}
		u.first.Store(true)
		x.access.BytesReceived += int64(len(piece))
		end = end || x.down.whole()
		if err := x.bounded(); err != nil {
			return &clientError{err}
		}
		if piece, err = x.inbound(piece, end); err != nil {
			return &clientError{err}
		}
		x.sent.take(x.task, piece)
		switch {
		case broken != nil:
		case end:
			broken = u.up.end(&u.watch, piece, x.down.trailers())
		default:
			u.last.Store(p.now())
			broken = u.up.write(&u.watch, piece, more)
			u.last.Store(p.now())
		}
		if end {
			return broken
		}
	}
}

// finished reports whether the client's body was read whole.
func (u *upload) finished() bool { return u.over.Load() && u.cause == nil && u.x.down.whole() }
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
	p := u.x.client.p
	return !u.over.Load() && p.now()-u.last.Load() < p.limits.UpstreamIdle.Milliseconds()
}

// joinUpload waits a moment for the upload to end, else stops it. It returns true if the whole body was
// passed on.
func (x *exchange) joinUpload() bool {
	u := x.upload
	select {
	case <-u.done:
	default:
		if x.down.persists() {
			t := time.NewTimer(patience)
			select {
			case <-u.done:
			case <-t.C:
			}
			t.Stop()
		}
	}
	if !u.finished() {
		x.stopUpload()
		return false
	}
	<-u.done
	x.upload = nil
	return !u.broken
}

// stopUpload ends an upload that is of no use any more and waits for it. Neither side's connection must
// be used further as if nothing had been on its way.
func (x *exchange) stopUpload() {
	u := x.upload
	if u == nil {
		return
	}
	past := time.Unix(1, 0)
	x.task.stopReading(past)
	x.task.stopRequest(past)
	<-u.done
	x.upload = nil
	x.down.forsake()
}

// pauseUpload ends an upload whose upstream has been cancelled, so that another one can go on where it is.
// It returns false if the client has failed meanwhile.
func (x *exchange) pauseUpload() bool {
	u := x.upload
	if u == nil {
		return true
	}
	failed := u.failed() != nil
	x.task.stopReading(time.Unix(1, 0))
	<-u.done
	x.task.stopReading(time.Time{})
	x.upload = nil
	return !failed
}

// uploadFailed ends an exchange whose client did not send the body that it announced.
func (x *exchange) uploadFailed() {
	cause := x.upload.failed()
	x.task.watch.disarm()
	x.dropUpstream()
	x.stopUpload()
	if code, detail, ok := refusal(cause); ok {
		x.refuse(code, detail)
		return
	}
	x.clientGone()
}
