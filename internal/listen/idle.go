package listen

import (
	"errors"
	"time"
)

// ErrIdleRecords is what Read returns after too many TLS records that carried nothing; HK1110.
var ErrIdleRecords = errors.New("too many TLS records that carry nothing")

// IdleRecords bounds the records of a connection that carry no bytes of the application: KeyUpdates,
// each of which has us derive keys and, if the peer so wishes, answer; empty records; fragments of
// messages that are no use after the handshake. What they are is encrypted, so they are told by what
// comes of them: records were read and nothing was delivered. crypto/tls by itself bounds only those
// that come in a row, at 16, and not all of them.
type IdleRecords struct {
	Burst   int // at once; default 100
	Rate    int // per second in the long run; default 10
	Lenient int // further ones allowed before each record that carries something, as TLS 1.0's empty fragments are
}

// idleRecords is the account of a connection. It belongs to the goroutine that reads.
type idleRecords struct {
	on     bool
	limits IdleRecords
	left   int       // records that may still come
	at     time.Time // when left was counted
}

// GuardRecords bounds idle records from now on, which is after the handshake. Whoever reads what TLS
// carries calls Delivered.
func (c *Conn) GuardRecords(limits IdleRecords) {
	if limits.Burst == 0 {
		limits.Burst = 100
	}
	if limits.Rate == 0 {
		limits.Rate = 10
	}
	c.frame.seen = 0
	c.idle = idleRecords{on: true, limits: limits, left: limits.Burst, at: time.Now()}
}

// Delivered says that the record read last carried bytes of the application. It belongs to the
// goroutine that reads.
func (c *Conn) Delivered() {
	if idle := c.frame.seen - 1 - c.idle.limits.Lenient; idle > 0 {
		c.idle.left -= idle
	}
	c.frame.seen = 0
}

// check returns ErrIdleRecords if so many records as were seen may not come without any use. The clock
// is asked only when the account is empty.
func (a *idleRecords) check(seen int) error {
	if !a.on || seen <= a.left {
		return nil
	}
	now := time.Now()
	if earned := int(now.Sub(a.at).Seconds() * float64(a.limits.Rate)); earned > 0 {
		a.left, a.at = min(a.left+earned, a.limits.Burst), now
	}
	if seen > a.left+a.limits.Lenient+1 {
		return ErrIdleRecords
	}
	return nil
}
