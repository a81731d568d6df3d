// Package ir is what the control side tells the data side: an immutable Snapshot of listeners,
// routes, upstreams, endpoints, secrets and trust, free of any API's dialect.
//
// Once published, a Snapshot and everything it points to is frozen: readers share it, nobody patches
// it. It imports the words (diag, hostname, secret) and nothing of Kubernetes, Gateway API or Istio.
// Begin reading at Snapshot, then Listener, Route and Upstream.
package ir

import (
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Revision identifies the content of one family of a snapshot: the first 16 hex digits of the
// SHA-256 of its canonical dump. Equal revisions mean equal content.
type Revision string

// Origin says which field of which object a node comes from, so that every log line, error page and
// diagnostic can name it. Field may be empty.
type Origin struct {
	Object diag.Object `json:"object"`
	Field  string      `json:"field,omitempty"`
}

// String returns "Kind namespace/name field".
func (o Origin) String() string {
	if o.Field == "" {
		return o.Object.String()
	}
	return o.Object.String() + " " + o.Field
}

// Snapshot is the whole of what the data side runs on. The four families change independently:
// a rotated certificate gives a new Secrets and leaves the other three pointers equal.
type Snapshot struct {
	Config    *Config
	Endpoints *Endpoints
	Secrets   *Secrets
	Trust     *Trust
}

// Config holds listeners, routes and upstreams. Listeners are ordered by port and bind address,
// upstreams by name.
type Config struct {
	Revision  Revision    `json:"revision"`
	Listeners []*Listener `json:"listeners"`
	Upstreams []*Upstream `json:"upstreams"`

	AccessPolicies []*AccessPolicy `json:"accessPolicies,omitempty"` // ordered by name

	Proxies  []*Proxy   `json:"proxies,omitempty"`  // ordered by name
	Forwards []*Forward `json:"forwards,omitempty"` // ordered by name
}

// Generation is an immutable compiled input: what nodes fetch, prepare and acknowledge, and what is
// activated (architecture, invariant 11). A single node is the case of one member.
type Generation struct {
	Epoch    uint64            // rises by one with each published generation of this process or cluster
	Hash     Revision          // of the canonical dump of Snapshot
	Objects  map[string]string // "Kind namespace/name" → content hash, what it was compiled from
	Security bool              // raises a floor or withdraws trust: members that lag must not serve the older one
	Snapshot *Snapshot
}

// Applied says what became of a generation on this node.
type Applied struct {
	Epoch     uint64
	Hash      Revision
	Listeners []ListenerResult // ordered as Config.Listeners
}

// ListenerResult is the outcome for one listener. Address is the bound socket address as host:port,
// or what was tried; Code is zero when it serves.
type ListenerResult struct {
	Name    string    `json:"name"`
	Address string    `json:"address"`
	Code    diag.Code `json:"code,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Fix     string    `json:"fix,omitempty"`
}
