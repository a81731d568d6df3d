package telemetry

import (
	"context"
	"errors"
	"sync"
)

// RecorderOptions are where records go. What is nil gets none.
type RecorderOptions struct {
	Metrics    *Metrics
	Log        *AccessLog
	Handshakes *HandshakeLog
	Store      Sink // keeps records to be pulled
	Tap        Sink // sees every record after the others

	Archive Archive // where Explain looks for what the ring has not any more

	Requests int // requests kept for Explain; default 4096
	Refusals int // refused handshakes kept for Explain, and a quarter as many successful ones; default 4096
}

// Recorder is the one Sink of a process: it hands each record to metrics, logs and the ring from which
// Explain answers. Safe for concurrent use.
type Recorder struct {
	opt   RecorderOptions
	ring  *ring
	names *names
	codes *codes
	shed  sample
}

// NewRecorder returns a Recorder. Run drives its logs.
func NewRecorder(opt RecorderOptions) *Recorder {
	if opt.Requests == 0 {
		opt.Requests = 4096
	}
	if opt.Refusals == 0 {
		opt.Refusals = 4096
	}
	r := &Recorder{opt: opt, ring: newRing(opt.Requests, opt.Refusals), names: newNames(), codes: newCodes()}
	if opt.Metrics != nil && opt.Log != nil {
		dropped := opt.Log.Dropped
		opt.Metrics.dropped.Store(&dropped)
	}
	return r
}

// Run drives the logs until ctx ends and has then written what waited. End it after the data side.
func (r *Recorder) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	var log, shakes error
	if r.opt.Log != nil {
		wg.Go(func() { log = r.opt.Log.Run(ctx) })
	}
	if r.opt.Handshakes != nil {
		wg.Go(func() { shakes = r.opt.Handshakes.Run(ctx) })
	}
	wg.Wait()
	return errors.Join(log, shakes)
}

// Access takes a request. It keeps copies only.
func (r *Recorder) Access(a *Access) {
	if r.opt.Metrics != nil {
		r.opt.Metrics.access(a)
	}
	if r.opt.Log != nil {
		r.opt.Log.Access(a)
	}
	if r.opt.Store != nil {
		r.opt.Store.Access(a)
	}
	r.ring.access(a)
	if r.opt.Tap != nil {
		r.opt.Tap.Access(a)
	}
}

// Handshake takes a handshake, which nobody changes any more. Of connections that were shed all are
// counted, and twenty a second logged.
func (r *Recorder) Handshake(h *Handshake) {
	if r.opt.Metrics != nil {
		r.opt.Metrics.handshake(h, r.names)
	}
	if !r.shed.pass(h) {
		return
	}
	if r.opt.Log != nil {
		r.opt.Log.Handshake(h)
	}
	if r.opt.Handshakes != nil {
		r.opt.Handshakes.Handshake(h)
	}
	if r.opt.Store != nil {
		r.opt.Store.Handshake(h)
	}
	r.ring.handshake(h)
	if r.opt.Tap != nil {
		r.opt.Tap.Handshake(h)
	}
}
