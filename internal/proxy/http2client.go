package proxy

import (
	"errors"
	"io"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/message"
)

// http2Client is the client's end of an exchange on a stream, with the exchange itself.
type http2Client struct {
	exchange
	c    *http2Conn
	s    *mux.Stream
	done bool // the request's body has been taken to its end

	composed *message.Response // head that is not sent
}

func newHTTP2Client() *http2Client {
	h := &http2Client{}
	h.down = h
	return h
}

// serve runs one request of c on the worker's goroutine.
func (h *http2Client) serve(c *http2Conn, w *worker, s *mux.Stream) {
	p := c.p
	h.c, h.s, h.composed = c, s, nil
	h.exchange.begin(&c.client, &w.task, s.Request())
	defer h.end(c, w)
	w.conn.Store(c)
	h.begin(w)
	h.started = time.Since(p.base)
	h.access.Stream = s.ID()
	w.number.Add(1)
	h.state = c.latest()
	h.handle()
	h.access.HeadReceived, h.access.HeadSent = s.HeadBytes()
	h.record()
}

func (h *http2Client) begin(w *worker) {
	req := h.Request
	w.gone.Store(false)
	w.stream.Store(h.s)
	h.s.OnReset(w.lost)
	if req.Protocol != nil {
		h.unfold(req)
	}
	h.done = req.Body.Kind == message.NoBody
}

// unfold gives the extended CONNECT of a WebSocket the shape of HTTP/1.1, in which routes and filters know
// it. What comes on the stream is then no body. Other protocols stay CONNECT, and are refused as that.
func (h *http2Client) unfold(req *message.Request) {
	if message.EqualFold(req.Protocol, []byte(webSocket)) {
		req.Method, req.Upgrade, req.Body = []byte("GET"), req.Protocol, message.Body{}
	}
}

// end gives everything back, also after a fault, which ends the request and not the process.
func (h *http2Client) end(c *http2Conn, w *worker) {
	defer c.running.Done()
	fault := recover()
	if fault != nil {
		c.fault("request handling failed", fault)
		h.dropUpstream()
		h.stopUpload()
		h.s.Reset(http2.InternalError)
	}
	if !w.watch.disarm() {
		w.watch.recover()
	}
	h.settle()
	w.stream.Store(nil)
	w.conn.Store(nil)
	h.s.Close()
	if fault != nil {
		return // nobody knows who still uses the buffers
	}
	h.dropOrigin()
	h.release()
	h.c, h.s, h.composed = nil, nil, nil
	c.p.spare.streams.Put(h)
}

// arrived implements downstream.
func (h *http2Client) arrived() ([]byte, error) {
	if h.done {
		return nil, nil
	}
	n, ended := h.s.Buffered()
	if n == 0 && !ended {
		return nil, nil
	}
	piece, err := h.take(n, ended)
	if err != nil {
		return nil, nil // next will tell
	}
	return piece, nil
}

// take returns the next piece; n bytes are known to be there, and ended says that they are the last.
func (h *http2Client) take(n int, ended bool) ([]byte, error) {
	piece, err := h.s.Next()
	if errors.Is(err, io.EOF) {
		h.done = true
		return nil, nil
	}
	h.done = err == nil && ended && n == len(piece)
	return piece, err
}

// next implements downstream. Once the answer has begun, both directions have their time as long as one of
// them moves: a stream of messages may be silent for long.
func (h *http2Client) next(w *watch) ([]byte, bool, error) {
	limits := &h.client.p.limits
	for !h.done {
		n, ended := h.s.Buffered()
		if n == 0 && !ended {
			d := limits.BodyIdle
			if h.flowing.Load() {
				d = limits.UpstreamIdle
			}
			if !w.arm(waitClientRead, h.quiet(d), 0) {
				return nil, false, clientEnded(w)
			}
		}
		piece, err := h.take(n, ended)
		switch {
		case err == nil && piece == nil:
		case err == nil:
			return piece, !h.done && n > len(piece), nil
		case w.why() == endTime && h.flowing.Load() && h.client.p.now()-h.task.active.Load() < limits.UpstreamIdle.Milliseconds():
			w.recover()
			_ = h.s.SetReadDeadline(time.Time{})
		default:
			if code, detail, ok := refusal(err); ok { // the length is not as declared, or the trailers are malformed
				h.fail(code, detail)
			}
			return nil, false, clientEnded(w)
		}
	}
	return nil, false, io.EOF
}

func (h *http2Client) whole() bool { return h.done }

func (h *http2Client) trailers() *message.Fields { return h.s.Trailers() }

// arm begins a wait for the client to take bytes.
func (h *http2Client) arm() bool {
	return h.task.watch.arm(waitClientWrite, h.client.p.limits.WriteTimeout, h.until)
}

func (h *http2Client) interim(resp *message.Response) error {
	if !h.arm() {
		return &clientError{errInterrupted}
	}
	if err := h.s.WriteHead(resp, false); err != nil {
		return &clientError{err}
	}
	return nil
}

func (h *http2Client) head(resp *message.Response, framing message.Body) {
	resp.Body = framing
	h.composed = resp
}

func (h *http2Client) write(p []byte, _ bool) error { return h.send(p, nil, false) }

func (h *http2Client) finish(p []byte, trailers *message.Fields) error {
	return h.send(p, trailers, true)
}

// send sends the head, if that has not happened, a piece of the body, and the end.
func (h *http2Client) send(p []byte, trailers *message.Fields, end bool) error {
	if !h.arm() {
		return &clientError{errInterrupted}
	}
	tail := end && trailers != nil && trailers.Len() > 0
	var err error
	if resp := h.composed; resp != nil {
		h.composed, h.headed = nil, true
		last := end && len(p) == 0 && !tail
		h.flowing.Store(true)
		err = h.s.WriteHead(resp, last)
		end = end && !last
	}
	if err == nil && (len(p) > 0 || end && !tail) {
		err = h.s.Write(p, end && !tail)
	}
	if err == nil && tail {
		err = h.s.WriteTrailers(trailers)
	}
	if err != nil {
		return &clientError{err}
	}
	h.task.active.Store(h.client.p.now())
	return nil
}

func (h *http2Client) persists() bool    { return true }
func (h *http2Client) independent() bool { return true }
func (h *http2Client) forsake()          {}

// gone implements downstream. A client whose stream was reset for what it sent did not leave.
func (h *http2Client) gone() {
	if e := h.s.Fault(); e != nil {
		h.fail(e.Code, e.Detail)
	}
	h.s.Reset(http2.Cancel)
	var reset *mux.ResetError
	switch err := h.s.Write(nil, true); { // why the stream is over
	case !errors.As(err, &reset) || !reset.Remote:
	case h.overdue():
		h.fail(diag.UpstreamTimeout, h.call.ranOut())
	default:
		h.fail(diag.ClientClosed, "the client reset the stream with "+reset.Code.String())
	}
}

// cut implements downstream: the client learns the upstream's code where there is one that is true of us
// as well.
func (h *http2Client) cut(diag.Code) { h.s.Reset(h.resetCode()) }

// resetCode returns the code of RST_STREAM for an answer that cannot be completed.
func (h *http2Client) resetCode() http2.ErrorCode {
	switch h.fate {
	case http2.Cancel, http2.EnhanceYourCalm, http2.InadequateSecurity, http2.HTTP11Required:
		if h.reset {
			return h.fate
		}
	}
	return http2.InternalError
}

// tunnel implements downstream: what HTTP/1.1 calls 101 is 200 here.
func (h *http2Client) tunnel(resp *message.Response) (*pipe, error) {
	resp.Status, resp.Upgrade = 200, nil
	resp.Fields.DelID(message.SecWebSocketAccept)
	h.access.Status = 200
	h.head(resp, message.Body{Kind: message.Chunked})
	if err := h.send(nil, nil, false); err != nil {
		return nil, err
	}
	s := h.s
	return &pipe{conn: &streamPipe{s: s}, closeWrite: func() error { return s.Write(nil, true) }}, nil
}
