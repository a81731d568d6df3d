package proxy

import (
	"errors"
	"io"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/httpcache"
	"github.com/hakone-gateway/hakone/internal/message"
)

// brokenFill is the reason of answers that break off because the one that is being fetched does.
const brokenFill = diag.UpstreamBodyTruncated

// What a fetch may go on for when its client has gone and nobody else reads it.
const (
	orphanBytes = 1 << 20
	orphanTime  = 30 * time.Second
)

// pump reads an answer that is to be stored into the store, on a goroutine of its own, so that neither the client
// that it was fetched for nor others that read it hold it up. Until done is closed the upstream's end is its own.
type pump struct {
	x     *exchange
	fill  *httpcache.Fill
	o     *httpcache.Object
	watch watch
	done  chan struct{}
	quit  chan struct{} // closed when nobody wants the rest
}

// The watch of a pump is not ended by what happens to its client.
func (m *pump) interrupt(wait)  { m.x.task.stopAnswer(time.Unix(1, 0)) }
func (m *pump) look(int64)      {}
func (m *pump) left() bool      { return false }
func (m *pump) lastByte() int64 { return 0 }
func (m *pump) drain()          {}
func (m *pump) kill()           { m.x.task.stopAnswer(time.Unix(1, 0)) }

// store keeps the answer whose head was received, and serves it.
func (x *exchange) store(o *httpcache.Object) {
	k := x.cache
	x.access.UpstreamStatus = x.resp.Status
	x.openReader(o, 0, -1) // before anything is written: what nobody reads of an answer that is not kept is dropped
	m := &pump{x: x, fill: k.fill, o: o, done: make(chan struct{}), quit: make(chan struct{})}
	m.begin()
	whole, err := x.gatherAnswer(o)
	switch {
	case err != nil:
		m.end()
		x.reads = nil
		x.closeReader()
		k.fill.End(httpcache.ErrIncomplete)
		x.upstreamFailed(err)
		return
	case whole:
		x.endUpstream(!x.Request.Continue || x.invited)
		m.end()
		x.reads, m = nil, nil
		k.fill.End(nil)
	default:
		go m.run()
	}
	x.serve(o, x.fetched(), false)
	if m != nil {
		x.joinPump(m)
	}
}

// gatherAnswer takes what is there of the body, and says whether that is all.
func (x *exchange) gatherAnswer(o *httpcache.Object) (whole bool, err error) {
	f := x.cache.fill
	for {
		if x.up.over() {
			f.Trailers(o, x.up.trailers())
			return true, nil
		}
		if !x.up.more() {
			return false, nil
		}
		piece, err := x.up.next()
		f.Write(o, piece)
		if errors.Is(err, io.EOF) {
			f.Trailers(o, x.up.trailers())
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// begin takes the reading of the answer over from the exchange: whoever ends a wait of that, because its client has
// gone, does not end what others read.
func (m *pump) begin() {
	t := m.x.task
	m.watch.init(m.x.client.p, m)
	m.watch.inner = true
	m.x.client.p.watches.add(&m.watch)
	m.x.reads = &m.watch
	if !t.watch.disarm() { // since the head has come; who waits for the client next notices again
		t.watch.recover()
		t.stopAnswer(time.Time{})
	}
}

// end gives the watch back.
func (m *pump) end() {
	m.watch.disarm()
	if m.watch.why() != 0 {
		m.watch.recover()
	}
	m.x.client.p.watches.remove(&m.watch)
}

func (m *pump) run() {
	x := m.x
	defer close(m.done)
	err := m.guarded()
	if err == nil {
		x.endUpstream(!x.Request.Continue || x.invited)
	}
	m.end()
	m.fill.End(err)
}

// guarded is copy; a fault in it ends the answer and not the process.
func (m *pump) guarded() (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			m.x.client.fault("storing an answer failed", fault)
			err = httpcache.ErrIncomplete
		}
	}()
	return m.copy()
}

// copy reads to the end.
func (m *pump) copy() error {
	up := m.x.up
	for {
		piece, err := up.next()
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return httpcache.ErrIncomplete
		}
		if room := m.fill.Write(m.o, piece); room != nil && !m.await(room) {
			return httpcache.ErrIncomplete
		}
		if end || up.over() {
			m.fill.Trailers(m.o, up.trailers())
			return nil
		}
	}
}

// await waits until the readers of an answer that is not kept have caught up.
func (m *pump) await(room <-chan struct{}) bool {
	select {
	case <-room:
	case <-m.quit:
	}
	return !m.fill.Unread(m.o)
}

// joinPump waits for the end of a fetch whose client has been served, or is gone: then for a while, and as long as
// others read it.
func (x *exchange) joinPump(m *pump) {
	defer func() {
		x.reads = nil
		x.dropUpstream()
	}()
	select {
	case <-m.done:
		return
	default:
	}
	left := m.o.Size() - m.o.Received()
	if m.o.Size() < 0 || left <= orphanBytes || m.fill.Followed(m.o) {
		t := time.NewTimer(orphanTime)
		defer t.Stop()
		for waiting := true; waiting; {
			select {
			case <-m.done:
				return
			case <-t.C:
				if waiting = m.fill.Followed(m.o) && !x.client.p.cut.Load(); waiting {
					t.Reset(orphanTime)
				}
			}
		}
	}
	close(m.quit)
	x.task.stopAnswer(time.Unix(1, 0))
	<-m.done
}

// tee copies the answer to a POST, which goes to its client as any other, into the store.
func (x *exchange) tee(o *httpcache.Object) { x.cache.teed = o }

// teePiece is told of the pieces of a body that are passed on.
func (x *exchange) teePiece(p []byte) {
	if k := x.cache; k != nil && k.teed != nil {
		k.fill.Write(k.teed, p)
	}
}

// teeEnd is told of the end of a body.
func (x *exchange) teeEnd(trailers *message.Fields) {
	if k := x.cache; k != nil && k.teed != nil {
		if trailers != nil {
			k.fill.Trailers(k.teed, trailers)
		}
		k.fill.End(nil)
		k.fill, k.teed = nil, nil
	}
}

// answerWatch returns the watch of the goroutine that reads the answer.
func (x *exchange) answerWatch() *watch {
	if x.reads != nil {
		return x.reads
	}
	return &x.task.watch
}
