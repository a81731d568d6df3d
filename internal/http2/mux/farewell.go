package mux

import "github.com/hakone-gateway/hakone/internal/http2"

// A server that has answered before the request was complete asks the client by RST_STREAM with
// NO_ERROR to send no more (RFC 9113 section 8.1). Clients that read both in one go take the reset for
// the end of the answer and lose it (curl 7.88 does), so the reset is held back: for a second or two, in
// which what they still send is passed over, at most one window of it.

// farewellDelay is how long the reset is held back, in milliseconds; maxFarewells how many may be held
// back at once.
const (
	farewellDelay = 1000
	maxFarewells  = 32
)

// farewell is a stream that has been answered and waits for its reset.
type farewell struct {
	id    uint32
	since int64
}

// part ends a stream whose answer is complete and whose request is not. The caller holds mu.
func (c *Conn) part(s *Stream) {
	c.rememberReset(s)
	c.farewells = append(c.farewells, farewell{s.id, c.now()})
	if len(c.farewells) > maxFarewells {
		c.sayFarewell(1)
	}
	c.end(s, &ResetError{Code: http2.NoError}, false)
}

// sayFarewell sends the n oldest resets. The caller holds mu.
func (c *Conn) sayFarewell(n int) {
	if n == 0 {
		return
	}
	o := c.outgoing()
	for _, f := range c.farewells[:n] {
		o.b = http2.AppendRSTStream(o.b, f.id, http2.NoError)
	}
	c.farewells = append(c.farewells[:0], c.farewells[n:]...)
	c.kick()
}

// farewellsDue sends the resets whose time has come. The caller holds mu.
func (c *Conn) farewellsDue(now int64) {
	n := 0
	for n < len(c.farewells) && now-c.farewells[n].since >= farewellDelay {
		n++
	}
	c.sayFarewell(n)
}

// parted reports whether a stream waits for its reset; if the client has ended it, no reset is needed any
// more. The caller holds mu.
func (c *Conn) parted(id uint32, ended bool) bool {
	for i, f := range c.farewells {
		if f.id == id {
			if ended {
				c.farewells = append(c.farewells[:i], c.farewells[i+1:]...)
			}
			return true
		}
	}
	return false
}
