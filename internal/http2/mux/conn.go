package mux

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Conn is one HTTP/2 connection. Its methods may be called from any goroutine.
type Conn struct {
	// Fixed after construction.
	nc      net.Conn
	client  bool
	lim     Limits
	accept  func(*Stream)
	refused func(Refusal)
	changed func()
	now     func() int64
	ready   chan struct{} // closed with the peer's first SETTINGS, or at the end

	// Shared by atomics.
	received   atomic.Bool  // bytes came since the last Tick
	lateSince  atomic.Int64 // when something that should not take long began to arrive; 0: nothing is
	holdsRead  atomic.Bool  // the reader holds a buffer and no part of a frame
	writeSince atomic.Int64 // when the present Write began; 0: there is none

	reader

	mu sync.Mutex
	connState
}

// connState is what Conn.mu guards.
type connState struct {
	err       error // why the connection ended; nil: it has not
	drain     drain
	gentle    bool               // it ended in order, with bytes of answers to be sent
	parting   *GoAwayError       // the peer's GOAWAY, if it names a fault; client role
	streams   map[uint32]*Stream // open in one direction at least
	pending   []*Stream          // heads that are complete; Accept has not been told yet
	notify    []*Stream          // whose OnReset is to be called by the reader
	owned     int                // streams that owners have not closed
	zombies   int                // of these, the ones reset before their time
	idle      int64              // since when owned is 0
	lastID    uint32             // the highest stream of the peer
	ignored   uint32             // the highest stream that came behind our last GOAWAY, and was not looked at
	nextID    uint32             // of our next stream
	closed    closedStreams
	farewells []farewell // answered, oldest first; their resets are held back

	peer        http2.Settings
	peerReady   bool // the peer's first SETTINGS have come
	acked       bool // the peer has acknowledged ours
	encoder     *http2.Encoder
	sendWindow  int64 // bytes that the peer takes, all streams together
	recvWindow  int64 // bytes that the peer may send, all streams together
	held        int   // bytes received and not consumed
	earned      int   // frames of the peer that are owed to ours
	tiny        bucket
	goodFrames  int   // DATA of a good size, each of which excuses a tiny one
	headQueue   queue // streams that wait to send what needs no window
	bodyQueue   queue // streams that wait to send DATA and have a window
	out         *buffer
	provoked    int // bytes of out that the peer provoked
	inWrite     int // bytes of the present Write
	writing     bool
	writerIdle  bool
	retire      bool // the idle writer ends
	writerWake  sync.Cond
	writerEnded sync.Cond

	start       int64 // when the connection began
	pingSent    int64 // when our PING went out; 0: none is out
	quiet       int64 // since when nothing was received, as Tick sees it
	drainTicks  int
	ticksUnused int // Ticks in a row without a byte received
}

// drain is how far a graceful end has come.
type drain uint8

const (
	drainNone  drain = iota
	drainFirst       // GOAWAY was sent that refuses nothing yet
	drainLast        // no new streams; the connection ends with the last one
)

// New returns a connection that does nothing until Serve.
func New(cfg Config) *Conn {
	c := &Conn{nc: cfg.Conn, client: cfg.Client, lim: cfg.Limits.withDefaults(cfg.Client), accept: cfg.Accept, refused: cfg.Refused,
		changed: cfg.Changed, now: cfg.Now, ready: make(chan struct{})}
	if c.now == nil {
		begin := time.Now()
		c.now = func() int64 { return time.Since(begin).Milliseconds() + 1 }
	}
	c.writerWake.L, c.writerEnded.L = &c.mu, &c.mu
	c.streams = make(map[uint32]*Stream)
	c.peer = http2.DefaultSettings()
	c.sendWindow, c.recvWindow = http2.DefaultWindow, int64(c.lim.ConnWindow)
	c.start = c.now()
	c.idle, c.quiet = c.start, c.start
	c.nextID = 1
	c.tiny = newBucket(c.lim.TinyBurst, c.lim.TinyRate, c.start)
	c.control = newBucket(c.lim.ControlBurst, c.lim.ControlRate, c.start)
	c.small = newBucket(c.lim.SmallBurst, c.lim.SmallRate, c.start)
	c.resets = newBucket(c.lim.ResetBurst, c.lim.ResetRate, c.start)
	c.decoder, c.encoder = http2.NewDecoder(), http2.NewEncoder()
	c.decoder.Scheme, c.decoder.Client, c.decoder.Connect = cfg.Scheme, cfg.Client, !cfg.Client
	c.decoder.Proxy = cfg.Proxy
	c.lateSince.Store(c.start)
	c.greet()
	return c
}

// greet appends what either side sends first.
func (c *Conn) greet() {
	o := c.outgoing()
	settings := [...]http2.Setting{
		{ID: http2.SettingInitialWindowSize, Value: uint32(c.lim.StreamWindow)},
		{ID: http2.SettingMaxHeaderListSize, Value: uint32(c.lim.Head.HeadBytes)},
		{ID: http2.SettingMaxFrameSize, Value: uint32(c.lim.MaxFrame)},
		{ID: http2.SettingHeaderTableSize, Value: uint32(c.lim.HeaderTable)},
		{ID: http2.SettingMaxConcurrentStreams, Value: uint32(c.lim.MaxStreams)},
		{ID: http2.SettingEnableConnect, Value: 1},
	}
	if c.client {
		o.b = append(o.b, http2.Preface...)
		settings[4] = http2.Setting{ID: http2.SettingEnablePush, Value: 0}
		o.b = http2.AppendSettings(o.b, settings[:5]...)
	} else {
		o.b = http2.AppendSettings(o.b, settings[:]...)
	}
	if more := c.lim.ConnWindow - http2.DefaultWindow; more > 0 {
		o.b = http2.AppendWindowUpdate(o.b, 0, uint32(more))
	}
}

// Bounds of reading on after our last frame, so that it is not reset away before it arrives.
const (
	lingerBytes = 1 << 20
	lingerTime  = time.Second
)

// Serve runs the connection and returns when it has ended: io.EOF for an orderly end (the peer closed
// it with no stream open, or Shutdown is complete), *http2.Error for what the peer did wrong,
// *GoAwayError for what it said that we did, ErrAborted, *PanicError, or the error of the net.Conn. All streams
// are over by then, but their owners still close them. It is called once. After an orderly end it returns when
// what is unsent is written, within Limits.WriteTimeout for each Write; Abort shortens that.
func (c *Conn) Serve() error {
	c.mu.Lock()
	c.kick()
	c.mu.Unlock()
	err := guard(c.read)
	if e := guard(func() error { return c.ended(err) }); e != nil {
		err = e
	}
	for guard(c.deliver) != nil { // the others hear of it though one panicked
	}
	guard(func() error { return c.linger(err) })
	c.mu.Lock()
	for c.writing {
		c.writerEnded.Wait()
	}
	if c.out != nil {
		putWriteBuffer(c.out)
		c.out = nil
	}
	c.mu.Unlock()
	guard(c.nc.Close)
	c.giveReadBuffer()
	return err
}

// ended ends the connection for the reader and returns why it ended.
func (c *Conn) ended(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(err)
	return c.err
}

// linger reads on after our last frame, and as long as the writer has something to write: bytes that nobody
// reads would make the kernel reset the connection.
func (c *Conn) linger(err error) error {
	var fault *http2.Error
	var broken *PanicError
	orderly := errors.As(err, &fault) || errors.As(err, &broken) || err == io.EOF || err == ErrAborted
	if _, ok := c.nc.(closeWriter); !ok || c.client || !orderly || c.sawEnd {
		return nil
	}
	if c.in == nil {
		c.takeReadBuffer()
	}
	for left := lingerBytes; left > 0; {
		busy := c.isWriting()
		if err := c.nc.SetReadDeadline(time.Now().Add(lingerTime)); err != nil {
			return err
		}
		n, err := c.nc.Read(c.in.b)
		switch left -= n; {
		case err == nil:
		case !busy || !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
	return nil
}

// isWriting reports whether the writer is not done.
func (c *Conn) isWriting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writing
}

// closeWriter is a connection of which one direction can be closed.
type closeWriter interface{ CloseWrite() error }

// fail ends the connection: GOAWAY if the peer or we are at fault, no frames after it, and all streams
// end. The first reason counts. The caller holds mu.
func (c *Conn) fail(err error) {
	if c.err != nil {
		return
	}
	var fault *http2.Error
	var broken *PanicError
	deadline := time.Now().Add(lingerTime)
	if c.gentle = err == io.EOF && !c.client && (c.unsent() > 0 || c.inWrite > 0); c.gentle { // the ends of answers
		deadline = c.writeDeadline()
	}
	if c.parting != nil && err != ErrAborted && !errors.As(err, &fault) { // the peer ended the connection, and has said why
		if err != io.EOF {
			c.parting.Err = err
		}
		err = c.parting
	}
	c.err = err
	switch {
	case errors.As(err, &fault):
		o := c.outgoing()
		o.b = http2.AppendGoAway(o.b, c.lastSeen(), fault.HTTP2, "")
	case errors.As(err, &broken):
		o := c.outgoing()
		o.b = http2.AppendGoAway(o.b, c.lastSeen(), http2.InternalError, "")
	case err != io.EOF && err != ErrAborted:
		if c.out != nil { // the transport is broken: nothing can be sent
			c.out.b = c.out.b[:0]
		}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	for _, s := range c.streams {
		c.end(s, err, true)
	}
	if !c.peerReady {
		c.peerReady = true
		close(c.ready)
	}
	c.nc.SetReadDeadline(longAgo)
	c.nc.SetWriteDeadline(deadline)
	c.kick()
}

// writeDeadline returns when a Write that begins now has to end.
func (c *Conn) writeDeadline() time.Time {
	if c.lim.WriteTimeout < 0 {
		return time.Time{}
	}
	return time.Now().Add(c.lim.WriteTimeout)
}

// lastSeen returns the stream to name in GOAWAY.
func (c *Conn) lastSeen() uint32 {
	if c.client {
		return 0
	}
	return c.lastID
}

// Open sends the head of a request (with Protocol set: extended CONNECT) and returns its stream, which
// the caller closes in the end. end says that no body follows. It never blocks; req is not kept. Errors:
// ErrNoSlot, ErrGoingAway, or why the connection ended. Client role.
func (c *Conn) Open(req *message.Request, end bool) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil && c.err != io.EOF:
		return nil, c.err
	case c.leaving():
		return nil, ErrGoingAway
	case c.available() == 0 || c.unsent() > 2*c.lim.OutBytes:
		return nil, ErrNoSlot
	}
	s := newStream(c, c.nextID)
	s.method = append(s.method[:0], req.Method...)
	s.given = true
	c.nextID += 2
	c.owned++
	c.streams[s.id] = s
	o := c.outgoing()
	mark := beginHead(o)
	o.b = c.encoder.AppendRequest(o.b, req)
	c.finishHead(o, mark, s.id, end)
	if end {
		c.sendEnd(s)
	}
	c.kick()
	return s, nil
}

// assumedStreams is how many streams a server is trusted to allow before its SETTINGS are here.
const assumedStreams = 100

func (c *Conn) available() int { return max(c.maxStreams()-len(c.streams), 0) }

func (c *Conn) maxStreams() int {
	if c.peerReady {
		return int(min(c.peer.MaxStreams, http2.MaxStream))
	}
	return assumedStreams
}

// leaving reports whether no stream can be opened any more. The caller holds mu.
func (c *Conn) leaving() bool {
	return c.err != nil || c.drain != drainNone || c.nextID > http2.MaxStream
}

// MaxStreams returns how many streams the peer allows at once, those that are open included; 0 after
// GOAWAY or Shutdown. Config.Changed tells when to ask again. Client role.
func (c *Conn) MaxStreams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving() {
		return 0
	}
	return c.maxStreams()
}

// Streams returns how many streams are open or have an exchange that still runs.
func (c *Conn) Streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owned
}

// Available returns how many more streams may be opened now; 0 after GOAWAY or Shutdown. Client role.
func (c *Conn) Available() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving() {
		return 0
	}
	return c.available()
}

// Held returns how many bytes of streams the connection holds: received and not read, or to be sent.
func (c *Conn) Held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held + c.unsent() + c.inWrite
}

// congestedAfter is how many milliseconds a stream waits on the connection's window before that is full.
const congestedAfter = 1000

// Congested reports whether sending is stalled by the window of the connection, which all streams share: a
// stream whose own window is open has had bytes to send for more than a second. now is Config.Now's time.
func (c *Conn) Congested(now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.bodyQueue.first
	return c.err == nil && s != nil && c.sendWindow <= 0 && now-s.waitSince > congestedAfter
}

// Ready is closed when the peer's first SETTINGS have arrived, or the connection has ended.
func (c *Conn) Ready() <-chan struct{} { return c.ready }

// ExtendedConnect reports whether the peer takes extended CONNECT (RFC 8441); false before Ready.
// Client role.
func (c *Conn) ExtendedConnect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer.EnableConnect
}

// IdleSince returns the time of Config.Now since which there has been no stream, or 0 while there is
// one.
func (c *Conn) IdleSince() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owned > 0 {
		return 0
	}
	return c.idle
}
