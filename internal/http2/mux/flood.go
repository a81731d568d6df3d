package mux

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
)

// bucket is a budget of events: burst at once and rate per second. The clock is looked at only when
// nothing is left, so a quiet spell pays back up to burst.
type bucket struct {
	burst, rate int64
	left        int64 // thousandths of an event
	filled      int64 // milliseconds; when left was last raised
}

func newBucket(burst, rate int, now int64) bucket {
	return bucket{burst: int64(burst), rate: int64(max(rate, 0)), left: int64(burst) * 1000, filled: now}
}

// take spends one event and reports whether there was one.
func (b *bucket) take(now func() int64) bool {
	if b.burst < 0 {
		return true
	}
	if b.left < 1000 {
		t := now()
		b.left = min(b.left+(t-b.filled)*b.rate, b.burst*1000)
		b.filled = t
		if b.left < 1000 {
			return false
		}
	}
	b.left -= 1000
	return true
}

// refund gives back n thousandths of an event.
func (b *bucket) refund(n int64) { b.left = min(b.left+n, max(b.left, b.burst*1000)) }

// earnedBound is how many frames of the peer may be paid by what we sent.
const earnedBound = 4096

// earn notes that n bytes were sent in a frame: the peer may answer with window updates, for each frame
// or each kilobyte, and with PINGs that measure the path (as gRPC does), at no cost to its budget.
func (c *Conn) earn(n int) { c.earned = min(c.earned+3+n>>10, earnedBound) }

// spend charges the peer for a frame that carries nothing but may be owed to what we sent. The caller
// holds mu.
func (c *Conn) spend(what string) error {
	if c.earned > 0 {
		c.earned--
		return nil
	}
	return c.charge(what)
}

// charge charges the peer for a frame that carries nothing. It runs on the reader's goroutine.
func (c *Conn) charge(what string) error {
	if c.control.take(c.now) {
		return nil
	}
	return &http2.Error{Code: diag.HTTP2ControlFlood, HTTP2: http2.EnhanceYourCalm, Detail: what}
}

// chargeReset charges the peer for a stream that cost work for nothing: it reset the stream, made us
// reset it, or should not have opened it. Servers only: of a client's streams each is wanted. It runs on
// the reader's goroutine.
func (c *Conn) chargeReset(code diag.Code, what string) error {
	if c.client || c.resets.take(c.now) {
		return nil
	}
	return &http2.Error{Code: code, HTTP2: http2.EnhanceYourCalm, Detail: what}
}

// weigh charges a client for DATA of n bytes that costs as much as a large frame and brings next to nothing. Large
// ones earn small ones. A server's frames are not charged: other streams share its connection, and a client may
// have asked for them. It runs on the reader's goroutine.
func (c *Conn) weigh(n int, end bool) error {
	switch {
	case end:
		return nil
	case n == 0:
		return c.charge("DATA frames without a byte")
	case c.client:
		return nil
	case n >= smallFrame:
		c.small.refund(int64(n) * 1000 / smallEarned)
		return nil
	case c.small.take(c.now):
		return nil
	}
	return &http2.Error{Code: diag.HTTP2ControlFlood, HTTP2: http2.EnhanceYourCalm, Detail: "tiny DATA frames, over and over"}
}

// Received DATA in bytes: below which a frame is small, and how many in larger ones pay for a small one.
const (
	smallFrame  = 16
	smallEarned = 64
)

// chargeTiny charges the peer for a DATA frame that its windows made tiny, unless frames of a good size came
// before: what is left of a large window is now and then tiny. The caller holds mu.
func (c *Conn) chargeTiny() {
	if c.goodFrames > 0 {
		c.goodFrames--
		return
	}
	if !c.tiny.take(c.now) {
		c.fail(&http2.Error{Code: diag.HTTP2TinyWindow, HTTP2: http2.EnhanceYourCalm, Detail: "windows allow only tiny DATA frames"})
	}
}

// Sizes of DATA in bytes: below which it is tiny, from which it excuses one, and how many it may.
const (
	tinyFrame  = 128
	goodFrame  = 1024
	goodFrames = 256
)

// Bounds on the pieces of one header block: their number grows with what a head may take.
const (
	blockFrames     = 8
	blockFrameBytes = 512 // on average, of the bytes that a block may have
	smallFragment   = 1024
)

// checkFragment bounds the bytes and the number of frames of the block that is being collected, and
// charges for fragments so small that an honest encoder would not send them.
func (c *Conn) checkFragment(n int) error {
	flood := func(what string) error {
		return &http2.Error{Code: diag.HTTP2HeaderFlood, HTTP2: http2.EnhanceYourCalm, Detail: what}
	}
	bound := 2 * c.lim.Head.HeadBytes
	switch {
	case len(c.block)+n > bound:
		return flood("header block in pieces longer than twice the bound of heads")
	case c.blockFrames > blockFrames+bound/blockFrameBytes:
		return flood("header block in too many pieces")
	case n < smallFragment:
		return c.charge("header block in tiny pieces")
	}
	return nil
}
