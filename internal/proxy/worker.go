package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
)

// maxIdleWorkers bounds the goroutines that wait for requests of HTTP/2. There are more while there are
// more requests.
const maxIdleWorkers = 256

// job is a request on a stream.
type job struct {
	c *http2Conn
	s *mux.Stream
}

// worker is a goroutine that serves requests on streams, one after the other, whatever connection they
// come by. Its stack has grown to what that takes.
type worker struct {
	task
	jobs chan job                  // has room for one
	conn atomic.Pointer[http2Conn] // that the present request came by
	lost func()                    // is told that the stream of the present request is over
}

// workers are those that have nothing to do, the last one first, since it is the warmest.
type workers struct {
	mu      sync.Mutex
	idle    []*worker
	fewest  int // idle ones since the last trim
	stopped bool
}

// hand gives a request to a worker. It does not block.
func (ws *workers) hand(p *Proxy, j job) {
	ws.mu.Lock()
	if n := len(ws.idle) - 1; n >= 0 {
		w := ws.idle[n]
		ws.idle[n] = nil
		ws.idle = ws.idle[:n]
		ws.fewest = min(ws.fewest, n)
		ws.mu.Unlock()
		w.jobs <- j
		return
	}
	ws.fewest = 0
	ws.mu.Unlock()
	go newWorker(p).run(j)
}

// park keeps a worker, and returns false if there are enough.
func (ws *workers) park(w *worker) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.stopped || len(ws.idle) >= maxIdleWorkers {
		return false
	}
	ws.idle = append(ws.idle, w)
	return true
}

// trim ends half of the workers that were not needed since it was last called.
func (ws *workers) trim() {
	ws.mu.Lock()
	n := (ws.fewest + 1) / 2
	surplus := append([]*worker(nil), ws.idle[:n]...)
	ws.idle = append(ws.idle[:0], ws.idle[n:]...)
	ws.fewest = len(ws.idle)
	ws.mu.Unlock()
	for _, w := range surplus {
		close(w.jobs)
	}
}

// stop ends all workers, the busy ones after their request.
func (ws *workers) stop() {
	ws.mu.Lock()
	idle := ws.idle
	ws.idle, ws.stopped = nil, true
	ws.fewest = 0
	ws.mu.Unlock()
	for _, w := range idle {
		close(w.jobs)
	}
}

func newWorker(p *Proxy) *worker {
	w := &worker{jobs: make(chan job, 1)}
	w.task.init(p)
	w.watch.init(p, w)
	w.watch.inner = true
	w.lost = func() {
		w.gone.Store(true)
		w.watch.expire(w.watch.at.Load(), endGone)
	}
	return w
}

func (w *worker) run(j job) {
	p := w.task.p
	p.watches.add(&w.watch)
	defer p.watches.remove(&w.watch)
	defer func() { // the request's own faults are recovered in serve; this one left it half ended
		if fault := recover(); fault != nil {
			j.c.fault("ending a request failed", fault)
			j.c.mux.Abort(http2.InternalError)
		}
	}()
	for {
		h := p.spare.streams.Get().(*http2Client)
		h.serve(j.c, w, j.s)
		if !p.workers.park(w) {
			return
		}
		var ok bool
		if j, ok = <-w.jobs; !ok {
			return
		}
	}
}
