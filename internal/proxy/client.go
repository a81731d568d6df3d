package proxy

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

// client is a downstream connection, whatever version of HTTP it speaks.
type client struct {
	// Fixed after construction.
	p     *Proxy
	d     Downstream
	rw    net.Conn // d.Stream, else d.TLS, else d.Raw
	state *atomic.Pointer[State]

	offered string // SHA-256 of the certificate that the client showed, in hex; "" for none

	current atomic.Pointer[State] // of the last request
	memo    authz.Memo            // what policies think of the client

	cutOff  atomic.Bool // withdrawn, and the grace is over: nothing goes on
	noticed int64       // when it was found withdrawn, milliseconds since base; 0: it is not. Owned by the sweeper.
}

func (c *client) init(p *Proxy, d Downstream, state *atomic.Pointer[State]) {
	c.p, c.d, c.rw, c.state = p, d, d.Raw, state
	if d.TLS != nil {
		c.rw = d.TLS
	}
	if d.Stream != nil {
		c.rw = d.Stream
	}
	if len(d.Peer.Presented) > 0 {
		c.offered = authz.Fingerprint(d.Peer.Presented[0])
	}
}

func (c *client) scheme() string {
	if c.d.TLS != nil {
		return "https"
	}
	return "http"
}

// present returns the listener's present state, or nil if the connection is to end: the listener is
// gone, or the connection is not admitted any more.
func (c *client) present() *State {
	if a := c.d.Admission; a != nil {
		if _, ok := a.Admits(); !ok {
			return nil
		}
	}
	return c.state.Load()
}

// orphaned reports whether the connection should end, as far as is known without judging it.
func (c *client) orphaned() bool {
	if c.state.Load() == nil {
		return true
	}
	code, _ := c.withdrawn()
	return code != 0
}

// withdrawn returns why the connection is not admitted any more, as far as is known; 0 if it is.
func (c *client) withdrawn() (diag.Code, string) {
	if c.d.Admission == nil {
		return 0, ""
	}
	return c.d.Admission.Withdrawn()
}

// barred judges the connection and returns why nothing new is served on it, 0 if it is.
func (c *client) barred() (diag.Code, string) {
	if a := c.d.Admission; a != nil {
		if code, ok := a.Admits(); !ok && (code == diag.ClientCertWithdrawn || code == diag.AccessWithdrawn) {
			_, detail := a.Withdrawn()
			return code, detail
		}
	}
	return 0, ""
}

// overdue is for the sweeper: it reports whether the connection was withdrawn, and the grace is over
// for what is in progress on it. From then on left is true of its exchanges.
func (c *client) overdue() bool {
	code, _ := c.withdrawn()
	now := c.p.now()
	switch {
	case code == diag.AccessWithdrawn: // there is no grace
		c.cutOff.Store(true)
		return true
	case code != diag.ClientCertWithdrawn:
		c.noticed = 0
		return false
	case c.noticed == 0:
		c.noticed = max(now, 1)
	}
	if now-c.noticed < c.p.limits.WithdrawnGrace.Milliseconds() {
		return false
	}
	c.cutOff.Store(true)
	return true
}

// latest returns the listener's present state; that of the last request, if there was one, where the
// present one does not admit the connection.
func (c *client) latest() *State {
	if s := c.present(); s != nil {
		if c.current.Load() != s {
			c.current.Store(s)
		}
		return s
	}
	if c.current.Load() == nil {
		c.current.Store(c.state.Load())
	}
	return c.current.Load()
}

// lingering ends the sending side and reads on for a while, so that what was sent arrives.
func (c *client) lingering() {
	if c.d.TLS != nil {
		_ = c.d.Raw.SetWriteDeadline(time.Now().Add(lingerTime))
		_ = c.d.TLS.CloseWrite()
	}
	_ = c.d.Raw.CloseLinger(lingerBytes, lingerTime)
}

// downstream is the client's end of an exchange: where its body comes from and its answer goes. The
// body belongs to the exchange's goroutine or, while one runs, to its upload; the rest to the former.
type downstream interface {
	// arrived returns a piece of the request's body that is there without waiting, else nil. A piece is
	// valid until the next is asked for.
	arrived() ([]byte, error)
	// next waits for a piece; w is the watch of the goroutine that asks. more says that arrived has another
	// one. The error is io.EOF at the end of the body, errClient if the client went away, else a refusal.
	next(w *watch) (piece []byte, more bool, err error)
	// whole reports whether the body has been taken to its end; trailers are complete then.
	whole() bool
	trailers() *message.Fields

	// interim sends a 1xx answer, if the client's version knows them.
	interim(resp *message.Response) error
	// head composes the head of the final answer. It is sent with the first write, or by finish.
	head(resp *message.Response, framing message.Body)
	// write takes a piece of the answer's body, which is sent at the latest with flush. Errors of what
	// sends are *clientError.
	write(p []byte, flush bool) error
	// finish takes the last piece and the trailers, nil for none, and sends everything.
	finish(p []byte, trailers *message.Fields) error

	// persists says whether there is a point in waiting for the rest of a body that nobody wants.
	persists() bool
	// forsake says that the rest of the body will not be read.
	forsake()
	// independent says that an answer may end while the body still comes, with no harm to later requests.
	independent() bool
	// cut ends an answer that cannot be completed in a way that the client can tell.
	cut(code diag.Code)
	// gone ends the exchange with a client that is not there any more, or takes nothing.
	gone()
	// tunnel sends the head of a switch of protocols and returns what follows as a stream of bytes.
	tunnel(resp *message.Response) (*pipe, error)
	// refused says that the answer at hand refuses CONNECT. What follows on an HTTP/1 connection may be meant for the
	// tunnel and must not be taken for requests: it ends, unless the client may come again and has sent nothing yet.
	refused(again bool)
	// last says that the connection ends after the answer at hand.
	last()
	// accept sends the head of the answer to CONNECT and completes t. giveAway lets the connection go: when the
	// exchange is over or, where only a stream is given away, at once and until that is over.
	accept(resp *message.Response, t *Takeover) error
	giveAway(take func(*Takeover), t *Takeover)
}

// Bounds of reading on after the last answer, so that it arrives before the connection ends.
const (
	lingerBytes = 1 << 20
	lingerTime  = 2 * time.Second
)

// clientError is a failure on the client's side of the relay.
type clientError struct{ error }
