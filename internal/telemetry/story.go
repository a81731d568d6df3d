package telemetry

import (
	"context"
	"encoding/json"
	"net/netip"
	"strconv"

	"github.com/hakone-gateway/hakone/internal/diag"
)

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

// Archive keeps records longer than memory does. Its methods may read from a disk; they end with ctx, and
// then may know nothing.
type Archive interface {
	// Find returns the requests with an ID and the handshakes of their connections, by time.
	Find(ctx context.Context, id string) ([]*Access, []*Handshake)
	// Handshakes returns those of a connection of this process, by time.
	Handshakes(ctx context.Context, conn uint64) []*Handshake
}

// Explain returns the Story of a request ID, of a connection number, or of the newest connection from a client's address
// and port, as JSON, and false if nothing is (or is any longer) known about it.
func (r *Recorder) Explain(ctx context.Context, id string) (json.RawMessage, bool) {
	var requests []*Access
	var shakes []*Handshake
	if k := r.ring.byID(id); k != nil {
		requests, shakes = []*Access{&k.access}, r.ring.shakes(k.access.Conn)
		if len(shakes) == 0 && r.opt.Archive != nil {
			shakes = r.opt.Archive.Handshakes(ctx, k.access.Conn)
		}
	} else if r.opt.Archive != nil {
		requests, shakes = r.opt.Archive.Find(ctx, id)
	}
	conn, err := strconv.ParseUint(id, 10, 64)
	known := err == nil
	if client, err := netip.ParseAddrPort(id); err == nil {
		conn, known = r.ring.connOf(netip.AddrPortFrom(client.Addr().Unmap(), client.Port()))
	}
	if known && len(requests) == 0 {
		for _, k := range r.ring.byConn(conn) {
			requests = append(requests, &k.access)
		}
		if shakes = r.ring.shakes(conn); len(shakes) == 0 && r.opt.Archive != nil {
			shakes = r.opt.Archive.Handshakes(ctx, conn)
		}
	}
	return Tell(requests, shakes)
}

// Tell returns the Story of requests and handshakes as JSON, and false if there are none.
func Tell(requests []*Access, shakes []*Handshake) (json.RawMessage, bool) {
	if len(requests)+len(shakes) == 0 {
		return nil, false
	}
	e := &encoder{names: newNames(), codes: newCodes()}
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
	for _, a := range requests {
		s.Requests = append(s.Requests, e.requestJSON(nil, a))
		reason(a.Code)
		reason(a.PolicyCode)
	}
	b, err := json.Marshal(&s)
	if err != nil { // the encoder's lines are JSON, as its tests prove
		return nil, false
	}
	return b, true
}
