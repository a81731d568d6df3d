package trust

import (
	"crypto/x509"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// VerifyOngoing judges the client of a connection that was accepted at since, because anchors, lists
// or settings have changed: presented is what it showed then. What the clock alone has changed is no
// cause: a certificate that has expired meanwhile, or a revocation list that is due, ends no connection
// (nor do they in Envoy, nginx or HAProxy), and does not hide a cause that is one, such as a revoked
// certificate or an anchor that is gone.
func (v *Verifier) VerifyOngoing(presented []*x509.Certificate, since, now time.Time) Verdict {
	first := v.aged.VerifyClient(presented, now)
	if !outOfTime(first) {
		return first
	}
	last := now
	for _, c := range presented {
		last = earliest(last, c.NotAfter)
	}
	// Anchors that were renewed meanwhile are valid at the one time, those that have expired at the other.
	for _, at := range [...]time.Time{last, since} {
		if d := v.aged.VerifyClient(presented, at); !outOfTime(d) {
			return d
		}
	}
	return first
}

// VerifyOngoingServer is the same for an upstream that a connection is kept to: name and staple are those of
// its handshake. It never waits for an answer about revocation.
func (v *Verifier) VerifyOngoingServer(presented []*x509.Certificate, staple []byte, name string, now time.Time) Verdict {
	return v.aged.VerifyStapled(presented, staple, name, now)
}

// outOfTime reports whether a verdict says of a certificate only that this is not its time.
func outOfTime(d Verdict) bool {
	code := d.Code
	if code == 0 {
		code = d.Ignored
	}
	return code == diag.ClientCertExpired || code == diag.ClientCertNotYetValid
}
