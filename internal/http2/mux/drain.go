package mux

import (
	"io"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
)

// Shutdown ends the connection gracefully, in two steps for a server (RFC 9113 section 6.8): GOAWAY
// that refuses nothing yet, and after a round trip (or two Ticks) GOAWAY with the last stream. Serve
// returns when the last stream is over. It does not block and may be called again.
func (c *Conn) Shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.drain != drainNone {
		return
	}
	o := c.outgoing()
	if c.client {
		c.drain = drainLast
		o.b = http2.AppendGoAway(o.b, 0, http2.NoError, "")
		c.kick()
		c.finish()
		return
	}
	c.drain = drainFirst
	o.b = http2.AppendGoAway(o.b, http2.MaxStream, http2.NoError, "")
	o.b = http2.AppendPing(o.b, pingDrain, false)
	c.kick()
}

// drainLast is the second step. The caller holds mu.
func (c *Conn) drainLast() {
	c.drain = drainLast
	o := c.outgoing()
	o.b = http2.AppendGoAway(o.b, c.lastID, http2.NoError, "")
	c.kick()
	c.finish()
}

// finish ends a draining connection when its last stream is over. The caller holds mu.
func (c *Conn) finish() {
	if c.drain == drainLast && len(c.streams) == 0 && c.err == nil {
		c.sayFarewell(len(c.farewells))
		c.fail(io.EOF) // or what the peer's GOAWAY says
	}
}

// Abort sends GOAWAY with code and ends the connection; streams end with ErrAborted. It does not block.
func (c *Conn) Abort(code http2.ErrorCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		if c.gentle { // do not wait for a slow reader any more
			c.gentle = false
			c.nc.SetWriteDeadline(time.Now().Add(lingerTime))
		}
		return
	}
	o := c.outgoing()
	o.b = http2.AppendGoAway(o.b, c.lastSeen(), code, "")
	c.fail(ErrAborted)
}

// drainRounds is how many Ticks the first step of Shutdown lasts if the PING is not answered.
const drainRounds = 2

// Tick is called about once a second with Config.Now's time: it asks by PING, notices what is late, and
// lets an idle connection give back its buffer and its writer. It does not block.
func (c *Conn) Tick(now int64) {
	received := c.received.Swap(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if err := c.late(now); err != nil {
		c.fail(err)
		if c.writeSince.Load() != 0 {
			c.nc.SetWriteDeadline(longAgo)
		}
		return
	}
	if c.drain == drainFirst {
		if c.drainTicks++; c.drainTicks >= drainRounds {
			c.drainLast()
		}
	}
	c.farewellsDue(now)
	if received {
		c.quiet, c.ticksUnused = now, 0
	} else {
		c.ticksUnused++
	}
	c.ping(now, received)
	if c.ticksUnused == 1 {
		if c.holdsRead.Load() {
			c.nc.SetReadDeadline(longAgo)
		}
		if c.writerIdle {
			c.retire, c.writerIdle = true, false
			c.writerWake.Signal()
		}
	}
}

// late returns what the peer should have done by now.
func (c *Conn) late(now int64) error {
	passed := func(since int64, bound time.Duration) bool {
		return since != 0 && bound > 0 && now-since > bound.Milliseconds()
	}
	switch {
	case passed(c.writeSince.Load(), c.lim.WriteTimeout):
		return &http2.Error{Code: diag.ClientTooSlow, HTTP2: http2.NoError, Detail: "a write did not end"}
	case passed(c.lateSince.Load(), c.lim.HeaderTimeout):
		return &http2.Error{Code: diag.RequestHeadTimeout, HTTP2: http2.NoError, Detail: "preface, frame or header block was not completed"}
	case !c.acked && passed(c.start, c.lim.HeaderTimeout):
		return &http2.Error{Code: diag.HTTP2SettingsWait, HTTP2: http2.SettingsTimeout, Detail: "SETTINGS were not acknowledged"}
	case passed(c.pingSent, c.lim.PingTimeout):
		return &http2.Error{Code: diag.HTTP2PingTimeout, HTTP2: http2.NoError, Detail: "PING was not answered"}
	}
	return nil
}

// ping asks a silent peer whether it is there, while somebody waits for it. Anything it sends is an
// answer.
func (c *Conn) ping(now int64, received bool) {
	if received {
		c.pingSent = 0
	}
	if len(c.streams) == 0 || c.pingSent != 0 || c.lim.PingInterval <= 0 || now-c.quiet < c.lim.PingInterval.Milliseconds() {
		return
	}
	c.pingSent = now
	o := c.outgoing()
	o.b = http2.AppendPing(o.b, pingAlive, false)
	c.kick()
}
