package trust

import (
	"crypto/x509"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// causes are the codes of one side: the same fault has a 21xx code at a client and a 31xx code at an
// upstream.
type causes struct {
	role     string // "client" or "server", for words and cache keys
	usage    x509.ExtKeyUsage
	usageTxt string

	unknownCA, expired, notYetValid, wrongUsage, revoked, crlStale, crlMissing diag.Code
	name, noName, pin, malformed, tooLong, constraint, weak, invalid           diag.Code

	// What policies and Online say about revocation.
	local, ocspRevoked, unknown, ocspInvalid, crlInvalid, noStaple diag.Code
}

// revocation reports whether a code says that something is revoked, which is the cause that matters
// whatever else is amiss.
func (c causes) revocation(code diag.Code) bool {
	return code == c.revoked || code == c.local || code == c.ocspRevoked
}

func clientCauses() causes {
	return causes{
		role: "client", usage: x509.ExtKeyUsageClientAuth, usageTxt: "clientAuth",
		unknownCA: diag.ClientCertUnknownCA, expired: diag.ClientCertExpired, notYetValid: diag.ClientCertNotYetValid,
		wrongUsage: diag.ClientCertWrongEKU, revoked: diag.ClientCertRevoked, crlStale: diag.CRLStale, crlMissing: diag.CRLMissing,
		name: diag.ClientCertSANMismatch, noName: diag.ClientCertSANMismatch, pin: diag.ClientCertPinMismatch,
		malformed: diag.ClientCertMalformed, tooLong: diag.ClientCertChainTooLong, constraint: diag.ClientCertNameConstraint,
		weak: diag.ClientCertWeakKey, invalid: diag.ClientCertInvalid,
		local: diag.ClientCertRevokedLocally, ocspRevoked: diag.ClientCertRevokedOCSP, unknown: diag.ClientRevocationUnknown,
		ocspInvalid: diag.ClientOCSPInvalid, crlInvalid: diag.ClientCRLInvalid, noStaple: diag.ClientRevocationUnknown,
	}
}

func serverCauses() causes {
	return causes{
		role: "server", usage: x509.ExtKeyUsageServerAuth, usageTxt: "serverAuth",
		unknownCA: diag.UpstreamUnknownCA, expired: diag.UpstreamCertExpired, notYetValid: diag.UpstreamCertNotYetValid,
		wrongUsage: diag.UpstreamCertInvalid, revoked: diag.UpstreamCertRevoked, crlStale: diag.UpstreamCRLUnusable, crlMissing: diag.UpstreamCRLUnusable,
		name: diag.UpstreamNameMismatch, noName: diag.UpstreamCertNoSAN, pin: diag.UpstreamPinMismatch,
		malformed: diag.UpstreamCertInvalid, tooLong: diag.UpstreamCertInvalid, constraint: diag.UpstreamCertInvalid,
		weak: diag.UpstreamCertInvalid, invalid: diag.UpstreamCertInvalid,
		local: diag.UpstreamRevokedLocally, ocspRevoked: diag.UpstreamRevokedOCSP, unknown: diag.UpstreamRevocationUnknown,
		ocspInvalid: diag.UpstreamOCSPInvalid, crlInvalid: diag.UpstreamCRLInvalid, noStaple: diag.UpstreamStapleMissing,
	}
}
