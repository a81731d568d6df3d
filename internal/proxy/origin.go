package proxy

import (
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// origin is the upstream's end of an exchange: where the request goes and the answer comes from. It
// lasts for one try. Sending belongs to the exchange's goroutine or, while one runs, to its upload; the
// rest to the former. w is the watch of the goroutine that calls.
type origin interface {
	// head takes the head of the request; end says that no body follows. It may be held back until the
	// first write without more, or the end.
	head(req *message.Request, end bool) error
	// write takes a piece of the body. With more another piece or the end follows at once.
	write(w *watch, p []byte, more bool) error
	// end takes the last piece and the trailers and sends what was held back.
	end(w *watch, p []byte, trailers *message.Fields) error

	// answer waits for the next head and leaves it in the exchange's resp: interim ones, then the final.
	answer() error
	// next waits for a piece of the answer's body, which is valid until the next call; io.EOF at the end.
	next() ([]byte, error)
	// more says that next will not wait. over says that nothing but the trailers is left.
	more() bool
	over() bool
	trailers() *message.Fields

	// detached says that the last piece outlives giveBack.
	detached() bool
	// giveBack ends the use of an upstream that has answered completely; reusable says that nothing in
	// the exchange speaks against another request on the same connection.
	giveBack(reusable bool)
	// cancel ends the use of an upstream whose answer is not wanted any more, or cannot be had. It wakes
	// an upload that is blocked in write.
	cancel()
	explain(err error) *upstream.Error

	// lent returns the connection.
	lent() *upstream.Conn
	// tunnel returns what follows an answer that switched protocols, which it has looked at.
	tunnel() (*pipe, error)
}
