package ir

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
)

// Pool settings of an upstream that is an OriginPool. Its origins are the upstream's Endpoints, each
// with its Server. Upstreams of one Name (they differ in the certificate that is presented) share health,
// passive health, affinity and counters.
type OriginPool struct {
	Name     string `json:"name"` // "namespace/name"
	Display  string `json:"display,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
	Minimum  int    `json:"minimum"`            // healthy origins; at least 1
	Fallback string `json:"fallback,omitempty"` // name of an Upstream; "": none

	Affinity *Affinity      `json:"affinity,omitempty"`
	Monitor  *Monitor       `json:"monitor,omitempty"`
	Passive  *PassiveHealth `json:"passive,omitempty"`
}

// Server is what an Endpoint is as an origin of a pool.
type Server struct {
	Name       string   `json:"name"`
	Disabled   bool     `json:"disabled,omitempty"`
	Share      float64  `json:"share"` // 0 to 1
	HostHeader string   `json:"hostHeader,omitempty"`
	VerifyName string   `json:"verifyName,omitempty"` // and SNI; "": the request's host
	Regions    []string `json:"regions,omitempty"`    // upper case
}

// Affinity keeps a client at its origin.
type Affinity struct {
	ByAddress bool          `json:"byAddress,omitempty"` // no cookie, a hash of the address
	Cookie    string        `json:"cookie,omitempty"`
	TTL       time.Duration `json:"ttl,omitempty"`
	Drain     time.Duration `json:"drain,omitempty"`
	SameSite  string        `json:"sameSite,omitempty"` // Auto, Lax, None, Strict
	Secure    string        `json:"secure,omitempty"`   // Auto, Always, Never
	Failover  string        `json:"failover"`           // temporary, sticky, none
}

// Monitor is an active health check.
type Monitor struct {
	Type            string        `json:"type"` // http, https, tcp
	Method          string        `json:"method,omitempty"`
	Path            string        `json:"path,omitempty"`
	Port            uint16        `json:"port,omitempty"` // 0: the endpoint's
	Headers         []NameValue   `json:"headers,omitempty"`
	Interval        time.Duration `json:"interval"`
	Timeout         time.Duration `json:"timeout"`
	Retries         int           `json:"retries,omitempty"`
	Codes           []CodeRange   `json:"codes,omitempty"`
	Body            string        `json:"body,omitempty"`
	FollowRedirects bool          `json:"followRedirects,omitempty"`
	AllowInsecure   bool          `json:"allowInsecure,omitempty"`
	Up              int           `json:"up"`   // checks in a row
	Down            int           `json:"down"` // checks in a row
}

// CodeRange is statuses, both ends included.
type CodeRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// PassiveHealth takes endpoints out by what clients' requests meet.
type PassiveHealth struct {
	Failures   int           `json:"failures"` // in a row
	Ejection   time.Duration `json:"ejection"`
	MaxPercent int           `json:"maxPercent"`
}

// PullVariant is the upstream to use instead for hosts that have a client certificate of their own
// (authenticated origin pull).
type PullVariant struct {
	Host     hostname.Pattern `json:"host"`
	Upstream string           `json:"upstream"`
}
