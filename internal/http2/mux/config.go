package mux

import (
	"net"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Config is what a connection is made of.
type Config struct {
	// Conn carries the bytes. Each Write is one turn, of at most Limits.OutBytes and a little. The
	// connection's deadlines belong to this package; it is closed before Serve returns. CloseWrite is
	// used if there is one.
	Conn net.Conn

	Client bool   // we opened the connection and send requests
	Scheme string // "http" or "https", given to requests; server role
	Proxy  bool   // requests say their scheme themselves: see http2.Decoder.Proxy; server role
	Limits Limits

	// Accept is told of a request whose head is complete; server role. The owner answers it and calls
	// Stream.Close in the end. It runs on the goroutine of Serve, after all frames that were read with
	// the head have been looked at, and must not block: it starts a goroutine or wakes one.
	Accept func(*Stream)

	// Refused, if not nil, is told of a request that Accept will not see; server role. It runs on the
	// goroutine of Serve and must not block.
	Refused func(Refusal)

	// Changed, if not nil, is told that MaxStreams may have changed: SETTINGS or GOAWAY came; client role.
	// It runs on the goroutine of Serve and must not block.
	Changed func()

	// Now returns milliseconds of a coarse monotonic clock that never goes back; nil for one of our own.
	Now func() int64
}

// Refusal is a request that was refused before it became an exchange: malformed, too large, beyond
// MaxStreams, or reset by the client in the same breath.
type Refusal struct {
	Stream  uint32
	Request *message.Request // what could be read of the head, perhaps nothing; valid during the call
	Err     *http2.Error     // code and detail; its HTTP2 code was sent to the client
	Status  int              // of the answer that was sent (431); 0: none, the stream was reset
}

// Limits bounds what a peer may cost us. A zero field means its default; a negative budget or time means
// none.
type Limits struct {
	MaxStreams   int // streams that the peer may have open, and as many more that it reset and that still run; server role; default 128
	StreamWindow int // bytes that a stream's reader may be behind; default 256 KiB
	ConnWindow   int // bytes that may be on their way to us, all streams together; default 1 MiB
	HoldBytes    int // unread bytes of all streams beyond which ConnWindow shrinks; default 1 MiB; server role
	MaxFrame     int // bytes of payload that we take; default 16 KiB, which is the least
	HeaderTable  int // bytes of the peer's HPACK table; default 4096
	Head         http2.Limits
	OutBytes     int // bytes appended and unsent beyond which streams wait; default 64 KiB
	ControlBytes int // bytes of unsent frames that the peer provoked; default 16 KiB

	// Budgets, in events: so many at once, and so many more per second.
	ResetBurst, ResetRate     int // streams that cost us work for nothing; default 200, 100; server role
	ControlBurst, ControlRate int // frames that carry nothing; default 1000, 200
	TinyBurst, TinyRate       int // DATA below 128 bytes because of the peer's windows; default 1000, 200
	SmallBurst, SmallRate     int // received DATA below 16 bytes, and one more for each 64 bytes of larger frames; default 10000, 5000; server role

	HeaderTimeout time.Duration // preface and SETTINGS, acknowledgement of ours, a head from its first frame; default 10 s
	WriteTimeout  time.Duration // one Write; default 60 s
	PingInterval  time.Duration // silence with streams open after which we ask; default 60 s for a server, 330 s for a client
	PingTimeout   time.Duration // until the answer; default 20 s
}

// Defaults of Limits.
const (
	DefaultMaxStreams    = 128
	DefaultStreamWindow  = 256 << 10
	DefaultConnWindow    = 1 << 20
	DefaultHoldBytes     = 1 << 20
	DefaultOutBytes      = 64 << 10
	DefaultControlBytes  = 16 << 10
	DefaultResetBurst    = 200
	DefaultResetRate     = 100
	DefaultControlBurst  = 1000
	DefaultControlRate   = 200
	DefaultTinyBurst     = 1000
	DefaultTinyRate      = 200
	DefaultSmallBurst    = 10000
	DefaultSmallRate     = 5000
	DefaultHeaderTimeout = 10 * time.Second
	DefaultWriteTimeout  = 60 * time.Second
	DefaultPingServer    = 60 * time.Second
	DefaultPingClient    = 330 * time.Second // grpc-go ends connections that ask more often than every 5 minutes
	DefaultPingTimeout   = 20 * time.Second
)

// withDefaults returns limits without a zero field.
func (l Limits) withDefaults(client bool) Limits {
	number := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	span := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	number(&l.MaxStreams, DefaultMaxStreams)
	number(&l.StreamWindow, DefaultStreamWindow)
	number(&l.ConnWindow, DefaultConnWindow)
	number(&l.HoldBytes, DefaultHoldBytes)
	number(&l.MaxFrame, http2.DefaultMaxFrame)
	number(&l.HeaderTable, http2.DefaultHeaderTable)
	number(&l.Head.HeadBytes, http2.DefaultHeadBytes)
	number(&l.OutBytes, DefaultOutBytes)
	number(&l.ControlBytes, DefaultControlBytes)
	number(&l.ResetBurst, DefaultResetBurst)
	number(&l.ResetRate, DefaultResetRate)
	number(&l.ControlBurst, DefaultControlBurst)
	number(&l.ControlRate, DefaultControlRate)
	number(&l.TinyBurst, DefaultTinyBurst)
	number(&l.TinyRate, DefaultTinyRate)
	number(&l.SmallBurst, DefaultSmallBurst)
	number(&l.SmallRate, DefaultSmallRate)
	span(&l.HeaderTimeout, DefaultHeaderTimeout)
	span(&l.WriteTimeout, DefaultWriteTimeout)
	span(&l.PingTimeout, DefaultPingTimeout)
	if client {
		span(&l.PingInterval, DefaultPingClient)
	} else {
		span(&l.PingInterval, DefaultPingServer)
	}
	l.MaxFrame = min(max(l.MaxFrame, http2.DefaultMaxFrame), http2.LargestFrame)
	l.ConnWindow = min(max(l.ConnWindow, http2.DefaultWindow), http2.MaxWindow)
	l.StreamWindow = min(max(l.StreamWindow, 1), http2.MaxWindow)
	return l
}
