// Package admin is the one API about something running: health, metrics, dumps, explanations, and
// the few changes that commands make. Its Server answers, its Client asks.
//
// A unix socket of mode 0600 may do everything. A TCP address serves reads only, unless the caller
// shows a client certificate or a token with the role "operator". A change is never a GET and is
// always written to the audit log. The package decides nothing by itself: what it tells and does
// comes from a Backend. Begin reading at Backend and Server.
package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Backend is what a running process tells and does. Methods are safe for concurrent use.
type Backend interface {
	Status() Status
	Health() Health
	Dump(what string) (any, error) // one of DumpNames; ErrNoDump for others
	Explain(ctx context.Context, id string) (json.RawMessage, bool)
	Metrics() http.Handler
	SetTLSVersion(ctx context.Context, change TLSChange) (TLSChanged, error)
	Reload()
}

// DumpNames are the parts that can be dumped.
func DumpNames() []string {
	return []string{"snapshot", "listeners", "routes", "upstreams", "proxies", "certs"}
}

// Status is what "hakone status" shows.
type Status struct {
	Version     string            `json:"version"`
	PID         int               `json:"pid"`
	Started     time.Time         `json:"started"`
	Folders     []string          `json:"folders"`
	Namespace   string            `json:"namespace"`
	Epoch       uint64            `json:"epoch"`
	Revision    ir.Revision       `json:"revision"`
	Revisions   Revisions         `json:"revisions"`
	AppliedAt   time.Time         `json:"appliedAt"`
	Draining    bool              `json:"draining,omitempty"`
	Resources   []ResourceStatus  `json:"resources,omitempty"`
	Listeners   []ListenerStatus  `json:"listeners"`
	Upstreams   []UpstreamStatus  `json:"upstreams"`
	Objects     any               `json:"objects,omitempty"` // conditions, as the APIs spell them
	Kept        []string          `json:"kept,omitempty"`
	Diagnostics []diag.Diagnostic `json:"diagnostics"`
}

// ResourceStatus is how short the process is of memory (bytes), connections or handshakes. Level is
// calm, thrifty, refusing or cutting; a bound of 0 is none.
type ResourceStatus struct {
	Resource string `json:"resource"`
	Level    string `json:"level"`
	Used     uint64 `json:"used"`
	Bound    uint64 `json:"bound"`
}

// Revisions of the four families.
type Revisions struct {
	Config    ir.Revision `json:"config"`
	Endpoints ir.Revision `json:"endpoints"`
	Secrets   ir.Revision `json:"secrets"`
	Trust     ir.Revision `json:"trust"`
}

// ListenerStatus is one socket with its chains.
type ListenerStatus struct {
	ir.ListenerResult
	TLS         bool          `json:"tls"`
	Connections int64         `json:"connections"`
	Chains      []ChainStatus `json:"chains"`
}

// ChainStatus is one chain: hosts, floor, certificate.
type ChainStatus struct {
	Name        string     `json:"name"`
	Display     string     `json:"display,omitempty"` // an EdgeHost's name for people
	Hosts       []string   `json:"hosts"`
	MinVersion  string     `json:"minVersion,omitempty"` // "1.2"
	MaxVersion  string     `json:"maxVersion,omitempty"`
	HostFloors  []HostTLS  `json:"hostFloors,omitempty"` // hosts with a policy of their own
	ClientAuth  string     `json:"clientAuth,omitempty"`
	Certificate string     `json:"certificate,omitempty"` // fingerprint, or the reason why there is none
	NotAfter    *time.Time `json:"notAfter,omitempty"`
	Routes      int        `json:"routes"`
}

// HostTLS is the floor of a host that differs from its chain's.
type HostTLS struct {
	Host       string `json:"host"`
	MinVersion string `json:"minVersion"`
}

// UpstreamStatus is one upstream with the number of its endpoints.
type UpstreamStatus struct {
	Name      string `json:"name"`
	Endpoints int    `json:"endpoints"`
	DNS       string `json:"dns,omitempty"`
	TLS       bool   `json:"tls,omitempty"`
}

// Check is one line of a health report.
type Check struct {
	Name   string `json:"name"`
	State  string `json:"state"` // ok, degraded, failed
	Detail string `json:"detail,omitempty"`
}

// Health is the health of the process. Live is false only when it should be restarted.
type Health struct {
	Live   bool    `json:"live"`
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks"`
}

// Degraded reports whether a check is not ok.
func (h Health) Degraded() bool {
	for _, c := range h.Checks {
		if c.State != "ok" {
			return true
		}
	}
	return false
}

// TLSChange asks for another floor. Empty Listener and Host mean everywhere; Listener is a chain name
// ("namespace/gateway/section") or "namespace/gateway". MinVersion is "1.0" to "1.3", or "" to remove
// the setting.
type TLSChange struct {
	MinVersion string `json:"minVersion"`
	Listener   string `json:"listener,omitempty"`
	Host       string `json:"host,omitempty"`
}

// TLSChanged says what was done. Before is the value that the same target had; Object is the policy as
// YAML, File where it was written.
type TLSChanged struct {
	Object string `json:"object"`
	File   string `json:"file,omitempty"`
	Before string `json:"before,omitempty"`
	Status Status `json:"status"`
}
