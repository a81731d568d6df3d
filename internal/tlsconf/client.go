package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// refusal is the error by which our own verification ends a handshake; crypto/tls sends alert 42.
type refusal struct {
	code   diag.Code
	detail string
}

// Error returns the sentence for the log.
func (r *refusal) Error() string { return r.detail }

// verifyConnection judges the client, on full handshakes after crypto/tls's own verification and on
// resumed ones instead of it. It only decides: possession of the key is not proved yet. It implements
// tls.Config.VerifyConnection.
func (c *class) verifyConnection(cs tls.ConnectionState) error {
	verdict := c.judge.VerifyClient(cs.PeerCertificates, c.state.now())
	if verdict.Code != 0 {
		return &refusal{verdict.Code, verdict.Detail}
	}
	return nil
}

// clientCert describes the client's certificate after the handshake. The verdict comes from the cache
// that verifyConnection has filled a round trip ago.
func (c *class) clientCert(cs tls.ConnectionState) *filter.ClientCert {
	verdict := c.judge.VerifyClient(cs.PeerCertificates, c.state.now())
	out := &filter.ClientCert{Verified: verdict.Verified()}
	if !out.Verified {
		out.Code = verdict.Code
		if verdict.Ignored != 0 {
			out.Code = verdict.Ignored
		}
	}
	for _, cert := range cs.PeerCertificates {
		out.DER = append(out.DER, cert.Raw)
	}
	if f := verdict.Leaf; f != nil {
		out.Subject, out.Issuer, out.Serial = f.Subject, f.Issuer, f.Serial
		out.Hash, out.SPKI = f.Hash, f.SPKI
		out.URI, out.DNS = f.URIs, f.DNS
	}
	return out
}

// describeCert names a certificate that was presented, without saying that it is anybody's.
func describeCert(c *x509.Certificate) string {
	return secret.Subject(c) + " sha256:" + secret.Fingerprint(c)
}

// offered describes what the client presented in a refused handshake, "" if nothing.
func (s *shake) offered(err error, cs tls.ConnectionState) string {
	if certs := presented(err, cs); len(certs) > 0 {
		return describeCert(certs[0])
	}
	return ""
}

// presented returns the peer's certificates of a failed handshake. crypto/tls keeps those that failed
// its own verification in the error only.
func presented(err error, cs tls.ConnectionState) []*x509.Certificate {
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) {
		return bad.UnverifiedCertificates
	}
	return cs.PeerCertificates
}
