package trust

import (
	"crypto/x509"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Standing is what is known about the revocation of one certificate.
type Standing uint8

// Standings.
const (
	Unknown Standing = iota // nothing could be found out, Detail says why
	Good
	Revoked
)

// Finding is an answer of Online. Until says when it has to be asked again; zero: now.
type Finding struct {
	Standing Standing
	OCSP     bool      // found out by OCSP, else by a revocation list
	Invalid  bool      // Unknown although there was an answer: it is stale, or proves nothing
	At       time.Time // of the revocation
	Reason   string    // of the revocation, in words
	Detail   string    // one sentence for logs
	Until    time.Time
}

// Online finds out whether a certificate is revoked, from lists and responders that the certificate
// names. It is asked only about certificates whose chain verifies. It may wait for the network, for a few
// seconds at most, where how is hard; else it answers from what it has and fetches in the background.
// Package revocation implements it.
type Online interface {
	Check(cert, issuer *x509.Certificate, how ir.Revocation, now time.Time) Finding
}
