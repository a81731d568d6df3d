package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Format is how access log lines look.
type Format string

// Formats: one JSON object a line; Envoy's default line; Istio's longer line; Squid's native line, with the
// result tags of Squid 5 or of Squid 4; the common log format, and with Referer and User-Agent.
const (
	FormatJSON     Format = "json"
	FormatEnvoy    Format = "envoy"
	FormatIstio    Format = "istio"
	FormatSquid    Format = "squid"
	FormatSquid4   Format = "squid4"
	FormatCommon   Format = "common"
	FormatCombined Format = "combined"
)

// Formats returns the formats' names for people.
func Formats() string { return "json, envoy, istio, squid, squid4, common, combined" }

// ordered reports whether lines are to be in the order in which requests ended: those who read logs of Squid count
// on it.
func (f Format) ordered() bool {
	return f == FormatSquid || f == FormatSquid4 || f == FormatCommon || f == FormatCombined
}

// request appends a request's line without line feed.
func (f Format) request(e *encoder, b []byte, a *Access) []byte {
	switch f {
	case FormatEnvoy, FormatIstio:
		return e.requestText(b, a, f == FormatIstio)
	case FormatSquid, FormatSquid4:
		return e.requestSquid(b, a, f == FormatSquid4)
	case FormatCommon, FormatCombined:
		return e.requestCommon(b, a, f == FormatCombined)
	}
	return e.requestJSON(b, a)
}

// handshake appends the line of a refused handshake without line feed.
func (f Format) handshake(e *encoder, b []byte, h *Handshake) []byte {
	switch f {
	case FormatEnvoy, FormatIstio:
		return e.handshakeText(b, h, f == FormatIstio)
	case FormatSquid, FormatSquid4:
		return e.handshakeSquid(b, h, f == FormatSquid4)
	}
	return e.handshakeJSON(b, h)
}

// tells reports whether the format has lines for refused handshakes of a side. Squid's are about clients: what
// failed on the way out is told by the line of the request that wanted it. The common ones are about requests.
func (f Format) tells(side Side) bool {
	switch f {
	case FormatSquid, FormatSquid4:
		return side == Downstream
	case FormatCommon, FormatCombined:
		return false
	}
	return true
}

// LogOptions are an AccessLog's settings. Zero values mean the defaults named.
type LogOptions struct {
	Format Format        // default json
	Path   string        // file to append to; "" or "-": Stdout
	Stdout io.Writer     // default os.Stdout
	Every  time.Duration // a line is written at most this much later; default 100 ms
	Bound  int           // bytes that may wait to be written; default 8 MiB; what is over is dropped
	Logger *slog.Logger  // told of write errors; nil: nobody
}

// AccessLog writes a line for each request and each refused handshake. Lines are encoded by the caller
// into one of several buffers and written by one goroutine, Run, so lines of different connections may
// change places within Every, but in Squid's formats and the common ones. Safe for concurrent use.
type AccessLog struct {
	// Fixed after construction.
	opt    LogOptions
	shards []logShard
	kick   chan struct{} // there is something to write
	full   chan struct{} // write now

	waiting atomic.Bool // kick has been sent since the last flush
	dropped atomic.Uint64
	failing bool // owned by the writer: the last write failed

	mu   sync.Mutex // guards out, and writing to it
	out  io.Writer
	file *os.File // nil for Stdout
}

type logShard struct {
	mu      sync.Mutex
	encoder encoder
	pending []byte // whole lines
	spare   []byte
	_       [64]byte
}

// flushAt is how many bytes wait in a shard before they are written early; keptBuffer how much memory
// a shard keeps.
const (
	flushAt    = 32 << 10
	keptBuffer = 256 << 10
)

// OpenLog opens the destination. Nothing is written until Run runs.
func OpenLog(opt LogOptions) (*AccessLog, error) {
	switch opt.Format {
	case "":
		opt.Format = FormatJSON
	case FormatJSON, FormatEnvoy, FormatIstio, FormatSquid, FormatSquid4, FormatCommon, FormatCombined:
	default:
		return nil, fmt.Errorf("access log format %q is not one of %s", opt.Format, Formats())
	}
	if opt.Every <= 0 {
		opt.Every = 100 * time.Millisecond
	}
	if opt.Bound <= 0 {
		opt.Bound = 8 << 20
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	l := &AccessLog{opt: opt, kick: make(chan struct{}, 1), full: make(chan struct{}, 1), out: opt.Stdout}
	n, c := newNames(), newCodes()
	shards := shardCount()
	if opt.Format.ordered() {
		shards = 1
	}
	l.shards = make([]logShard, shards)
	for i := range l.shards {
		l.shards[i].encoder = encoder{names: n, codes: c}
	}
	if opt.Path != "" && opt.Path != "-" {
		if err := l.Reopen(); err != nil {
			return nil, err
		}
	} else if l.out == nil {
		l.out = os.Stdout
	}
	return l, nil
}

// shardCount is a power of two, more than there are threads to meet in one.
func shardCount() int {
	n := 4
	for n < 2*runtime.GOMAXPROCS(0) && n < 64 {
		n *= 2
	}
	return n
}

// Reopen opens the file of Path again, after somebody has renamed it. Lines that wait go to the new
// file. On an error the old file stays in use. It does nothing for Stdout.
func (l *AccessLog) Reopen() error {
	if l.opt.Path == "" || l.opt.Path == "-" {
		return nil
	}
	f, err := os.OpenFile(l.opt.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	l.mu.Lock()
	old := l.file
	l.file, l.out = f, f
	l.mu.Unlock()
	if old != nil {
		old.Close() // every write to it has returned, and nothing is buffered
	}
	return nil
}

// Dropped returns how many lines were lost because the destination was too slow or failed.
func (l *AccessLog) Dropped() uint64 { return l.dropped.Load() }

// shard returns a locked shard.
func (l *AccessLog) shard(conn uint64) *logShard {
	n := uint64(len(l.shards))
	for i := range n {
		if s := &l.shards[(conn+i)&(n-1)]; s.mu.TryLock() {
			return s
		}
	}
	s := &l.shards[conn&(n-1)]
	s.mu.Lock()
	return s
}

// Access appends a request's line. It does not block on the destination.
func (l *AccessLog) Access(a *Access) {
	s := l.shard(a.Conn)
	if len(s.pending) >= l.opt.Bound/len(l.shards) {
		s.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	s.pending = l.opt.Format.request(&s.encoder, s.pending, a)
	l.end(s)
}

// Handshake appends a refused handshake's line, if the format has one; others have none.
func (l *AccessLog) Handshake(h *Handshake) {
	if h.Code == 0 || !l.opt.Format.tells(h.Side) {
		return
	}
	s := l.shard(h.Conn)
	if len(s.pending) >= l.opt.Bound/len(l.shards) {
		s.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	s.pending = l.opt.Format.handshake(&s.encoder, s.pending, h)
	l.end(s)
}

// end ends the line and unlocks the shard.
func (l *AccessLog) end(s *logShard) {
	s.pending = append(s.pending, '\n')
	n := len(s.pending)
	s.mu.Unlock()
	if !l.waiting.Load() && !l.waiting.Swap(true) {
		signal(l.kick)
	}
	if n >= flushAt {
		signal(l.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run writes lines until ctx ends, then those that wait, and closes the file. A destination that takes
// nothing more delays the end by at most three seconds.
func (l *AccessLog) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.write(ctx)
	}()
	<-ctx.Done()
	select {
	case <-done:
		return l.close()
	case <-time.After(3 * time.Second):
		return fmt.Errorf("access log: the destination takes no more lines")
	}
}

func (l *AccessLog) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			l.flush()
			return
		case <-l.kick:
		}
		t := time.NewTimer(l.opt.Every)
		select {
		case <-ctx.Done():
		case <-l.full:
		case <-t.C:
		}
		t.Stop()
		l.waiting.Store(false)
		l.flush()
	}
}

func (l *AccessLog) flush() {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		lines := s.pending
		s.pending, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		if len(lines) > 0 {
			l.emit(lines)
		}
		if cap(lines) <= keptBuffer {
			s.mu.Lock()
			s.spare = lines[:0]
			s.mu.Unlock()
		}
	}
}

// emit writes whole lines, and counts them as dropped if that fails.
func (l *AccessLog) emit(lines []byte) {
	l.mu.Lock()
	_, err := l.out.Write(lines)
	l.mu.Unlock()
	if err != nil {
		l.dropped.Add(uint64(bytes.Count(lines, []byte{'\n'})))
		if !l.failing {
			l.opt.Logger.Error("access log cannot be written", "path", l.opt.Path, "err", err)
		}
	}
	l.failing = err != nil
}

func (l *AccessLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file, l.out = nil, io.Discard
	if err := f.Close(); err != nil {
		return fmt.Errorf("close access log: %w", err)
	}
	return nil
}
