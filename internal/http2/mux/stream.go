package mux

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Stream is one request with its answer. At most one goroutine receives and one sends at a time; Close,
// by its owner, is the last call.
type Stream struct {
	c  *Conn
	id uint32

	// Kept when the stream is used again.
	req      message.Request // server role; filled before Accept, then the owner's
	trailers message.Fields  // filled before recvEnded is set
	method   []byte          // client role
	recvWake sync.Cond
	sendWake sync.Cond
	holds    atomic.Int64 // life.held, for those who must not lock

	life
}

// life is what a stream is born without. It is guarded by Conn.mu.
type life struct {
	given  bool  // Accept or Open's caller has it
	over   bool  // not in Conn.streams any more
	zombie bool  // counted in Conn.zombies
	lost   bool  // it ended before its time by the peer's doing
	fault  error // why it ended before its time

	onReset   func()
	inNotify  bool // it is in Conn.notify
	notifying bool // onReset is running

	// Receiving.
	recvWindow  int64 // bytes that the peer may send
	held        int   // received and not consumed
	lent        int   // of the first chunk, returned by the last Next
	first, last *chunk
	recvLeft    int64 // bytes of the body to come as Content-Length says; -1: it does not say
	recvEnded   bool  // END_STREAM has come: what is held is the rest
	readExpired bool
	heads       []*message.Response // read, and not yet asked for; client role
	headDone    bool                // the final head has been read; client role

	// Sending. What a blocked call wants to send is here until the writer has taken it.
	sendWindow    int64 // bytes that the peer takes; may be negative
	sendEnded     bool
	writeExpired  bool
	headIn        int64 // bytes of the head's frames that came; server role
	headOut       int64 // bytes of the frames of heads and trailers that went out; server role
	op            sendOp
	opErr         error
	opEnd         bool
	data          []byte
	resp          *message.Response
	fields        *message.Fields
	queue         *queue
	before, after *Stream
	waitSince     int64 // when it began to wait for its turn in Conn.bodyQueue; 0: it has had one
}

// streams is the pool of streams that no owner holds.
var streams = sync.Pool{New: func() any { return new(Stream) }}

// newStream returns a stream that is in no table yet. For a client the caller holds mu; a server sets
// the send window when it publishes the stream.
func newStream(c *Conn, id uint32) *Stream {
	s := streams.Get().(*Stream)
	s.c, s.id = c, id
	s.recvWake.L, s.sendWake.L = &c.mu, &c.mu
	s.recvWindow, s.recvLeft = c.streamWindow(), -1
	if c.client {
		s.sendWindow = int64(c.peer.InitialWindow)
	}
	return s
}

// streamWindow returns how many bytes the peer may send on a new stream: it may not know our window yet.
func (c *Conn) streamWindow() int64 {
	if !c.acked {
		return max(int64(c.lim.StreamWindow), http2.DefaultWindow)
	}
	return int64(c.lim.StreamWindow)
}

// putStream gives a stream back that nobody refers to.
func putStream(s *Stream) {
	s.req.Reset()
	s.trailers.Reset()
	s.c, s.recvWake.L, s.sendWake.L = nil, nil, nil
	heads := s.heads[:0]
	s.life = life{heads: heads}
	streams.Put(s)
}

// ID returns the stream's identifier.
func (s *Stream) ID() uint32 { return s.id }

// HeadBytes returns how many bytes the frames of the request's head had, and those of heads and trailers
// that were sent. It is for the one who sends, when nothing is being sent. Server role.
func (s *Stream) HeadBytes() (in, out int64) { return s.headIn, s.headOut }

// Conn returns the stream's connection.
func (s *Stream) Conn() *Conn { return s.c }

// Request returns the request's head; server role. It is the owner's until Close. Its Trailers stay
// empty; see Stream.Trailers.
func (s *Stream) Request() *message.Request { return &s.req }

// Trailers returns the received trailers, perhaps empty, once Next has returned io.EOF.
func (s *Stream) Trailers() *message.Fields { return &s.trailers }

// Reset ends the stream with RST_STREAM unless it is over. Waiting calls return a *ResetError.
func (s *Stream) Reset(code http2.ErrorCode) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(s, code)
}

// reset is Reset by a caller that holds mu.
func (c *Conn) reset(s *Stream, code http2.ErrorCode) {
	if s.over {
		return
	}
	o := c.outgoing()
	o.b = http2.AppendRSTStream(o.b, s.id, code)
	c.kick()
	c.rememberReset(s)
	c.end(s, &ResetError{Code: code}, false)
}

// end takes a stream out of the table before its time; byPeer says that its owner does not know. The
// caller holds mu.
func (c *Conn) end(s *Stream, err error, byPeer bool) {
	delete(c.streams, s.id)
	s.over, s.fault = true, err
	if s.queue != nil {
		s.queue.remove(s)
	}
	if s.op != opNone {
		s.op, s.opErr = opNone, err
	}
	if !s.recvEnded {
		s.dropChunks()
		c.creditConn()
	}
	if s.given {
		s.zombie = true
		c.zombies++
		complete := c.client && s.recvEnded || !c.client && s.sendEnded
		if byPeer && !complete {
			s.lost, s.inNotify = true, true
			c.notify = append(c.notify, s)
		}
	}
	s.recvWake.Signal()
	s.sendWake.Signal()
	c.finish()
}

// retireStream takes a stream out of the table that both sides have ended. The caller holds mu.
func (c *Conn) retireStream(s *Stream) {
	delete(c.streams, s.id)
	s.over = true
	c.closed.addEnded(s.id)
	c.finish()
}

// Close gives the stream back: no call on it is running or follows. If it is not over it is reset with
// CANCEL or, by a server that has answered completely, a little later with NO_ERROR (farewell.go). What it held is credited. When
// it returns, the function of OnReset is not running and will not be called.
func (s *Stream) Close() {
	s.leave()
	for i, h := range s.heads {
		putResponse(h)
		s.heads[i] = nil
	}
	putStream(s)
}

// leave takes the stream from its connection for its owner.
func (s *Stream) leave() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.notifying {
		s.recvWake.Wait()
	}
	if s.inNotify {
		for i, n := range c.notify {
			if n == s {
				c.notify = append(c.notify[:i], c.notify[i+1:]...)
				break
			}
		}
	}
	s.lent = 0
	s.dropChunks()
	switch {
	case s.over:
	case !c.client && s.sendEnded && c.err == nil:
		c.part(s)
	default:
		c.reset(s, http2.Cancel)
	}
	if s.zombie {
		c.zombies--
	}
	if c.owned--; c.owned == 0 {
		c.idle = c.now()
	}
	c.creditConn()
}

// SetReadDeadline with a time in the past makes ReadResponse and Next return os.ErrDeadlineExceeded,
// also those that wait now. The zero time, or one to come, clears that: there are no timers here.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.readExpired = expired(t)
	s.recvWake.Signal()
	return nil
}

// SetWriteDeadline does the same for WriteHead, Write and WriteTrailers.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.writeExpired = expired(t)
	s.sendWake.Signal()
	return nil
}

func expired(t time.Time) bool { return !t.IsZero() && !t.After(time.Now()) }

// Fault returns what the peer did wrong if the stream was reset because of that, else nil.
func (s *Stream) Fault() *http2.Error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	var reset *ResetError
	if errors.As(s.fault, &reset) {
		return reset.Cause
	}
	return nil
}

// OnReset sets what is called, once, when the stream ends before its time by the peer's doing: a reset,
// a fault of the stream, or the end of the connection; at once if that has happened. It runs on the
// goroutine of Serve (or the caller's), must not block, and must not call Close.
func (s *Stream) OnReset(f func()) {
	c := s.c
	c.mu.Lock()
	s.onReset = f
	late := s.lost && !s.inNotify && !s.notifying
	if late {
		s.onReset = nil
	}
	c.mu.Unlock()
	if late && f != nil {
		f()
	}
}
