package telemetry

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// EgressEvent is what was learnt about one destination outside by one connection or decision: who showed
// which certificate, through which proxy, and what was done about it.
type EgressEvent struct {
	Time time.Time
	Host string
	Port uint16

	// Decision is what a forward proxy did with a client's TLS: "bump", "splice", "terminate"; "" where the
	// event is about the destination.
	Decision string
	Rule     string // what decided, for people: "ssl_bump rule 2 (bump all)"

	// Of TLS with the destination.
	Proxy       string // "namespace/name" of the UpstreamProxy; "": direct
	Subject     string // of the leaf that was shown
	Issuer      string // subject of its issuer
	IssuerKey   string // hex of SHA-256 over the issuer's SubjectPublicKeyInfo if it was shown or found, else over its name
	Intercepted bool   // verified by the proxy's interception CA
	Code        diag.Code
	Detail      string
}

// EgressSink takes events. It is called from many goroutines and must not block.
type EgressSink interface {
	Egress(*EgressEvent)
}
