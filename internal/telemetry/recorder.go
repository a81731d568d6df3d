package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// RecorderOptions are where records go. What is nil gets none.
type RecorderOptions struct {
	Metrics    *Metrics
	Log        *AccessLog
	Handshakes *HandshakeLog
	Tap        Sink // sees every record after the others

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
	r.ring.handshake(h)
	if r.opt.Tap != nil {
		r.opt.Tap.Handshake(h)
	}
}

// Story is what is known about a request or a connection.
type Story struct {
	Requests   []json.RawMessage `json:"requests,omitempty"`   // as in the access log, by time
	Handshakes []json.RawMessage `json:"handshakes,omitempty"` // of the connection
	Reasons    []Reason          `json:"reasons,omitempty"`    // of the codes that occur
}

// Reason is a code with its words from the catalogue.
type Reason struct {
	Code  diag.Code `json:"code"`
	Slug  string    `json:"slug"`
	Title string    `json:"title"`
	Cause string    `json:"cause"`
	Fix   string    `json:"fix"`
}

// Explain returns the Story of a request ID, or of a connection number, as JSON, and false if nothing
// is (or is any longer) known about it.
func (r *Recorder) Explain(id string) (json.RawMessage, bool) {
	var requests []*keptAccess
	var shakes []*Handshake
	if k := r.ring.byID(id); k != nil {
		requests, shakes = []*keptAccess{k}, r.ring.shakes(k.access.Conn)
	} else if conn, err := strconv.ParseUint(id, 10, 64); err == nil {
		requests, shakes = r.ring.byConn(conn), r.ring.shakes(conn)
	}
	if len(requests)+len(shakes) == 0 {
		return nil, false
	}
	e := &encoder{names: r.names, codes: r.codes}
	var s Story
	seen := map[diag.Code]bool{}
	reason := func(c diag.Code) {
		if entry, ok := diag.Lookup(c); ok && !seen[c] {
			seen[c] = true
			s.Reasons = append(s.Reasons, Reason{c, entry.Slug, entry.Title, entry.Cause, entry.Fix})
		}
	}
	for _, h := range shakes {
		s.Handshakes = append(s.Handshakes, e.handshakeJSON(nil, h))
		reason(h.Code)
	}
	for _, k := range requests {
		s.Requests = append(s.Requests, e.requestJSON(nil, &k.access))
		reason(k.access.Code)
	}
	b, err := json.Marshal(&s)
	if err != nil { // the encoder's lines are JSON, as its tests prove
		return nil, false
	}
	return b, true
}
