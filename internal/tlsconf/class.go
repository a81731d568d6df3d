package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// policy is the settings of some hosts with the configuration that carries them out.
type policy struct {
	tls   *ir.TLS
	class *class
}

// class is one prebuilt tls.Config for all settings with the same content apart from certificates:
// those are chosen per connection, so that 10,000 hosts under one policy share one configuration and
// the rotation of a secret rebuilds none. Apart from minted it is immutable.
type class struct {
	key    string // what it was built from, trust by content
	config *tls.Config
	modest *tls.Config // the same without h2, for clients that must not have it; nil: there are none
	auth   *ir.ClientAuth
	bundle *ir.TrustBundle // nil if there is none or nobody is asked for a certificate
	judge  *trust.Verifier // nil if nobody is asked for a certificate, or policies judge
	access []*authz.Policy // for ir.ClientAuthPolicy, as auth.Policies; nil for one that is missing
	minted issuerClasses   // variants for certificates that are made
	broken error           // the settings cannot be carried out; everybody is refused
	state  *State
}

// classKey names the content of settings and trust. It does not rely on ir.TLS.Class alone, so that
// no mistake in computing that can lend one host another one's policy, or its session tickets.
func classKey(t *ir.TLS, bundle *ir.TrustBundle, access []*authz.Policy) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %x %x %x %v %q %s %q %q %q %q", t.Class, t.MinVersion, t.MaxVersion, t.CipherSuites, t.Groups, t.ALPN,
		t.ClientAuth.Mode, t.ClientAuth.Trust, t.ClientAuth.SANs, t.ClientAuth.SPKI, t.ClientAuth.Hashes)
	if asksClient(t.ClientAuth.Mode) && bundle != nil {
		fmt.Fprintf(h, " %q", bundle.Revision)
		if bundle.Bundle != nil {
			fmt.Fprintf(h, " %q", bundle.Bundle.Digest)
		}
		for _, crl := range bundle.CRLs {
			fmt.Fprintf(h, " %q", crl.Digest)
		}
	}
	if t.ClientAuth.Mode == ir.ClientAuthPolicy {
		fmt.Fprintf(h, " %s", t.ClientAuth.Reject)
		for i, name := range t.ClientAuth.Policies {
			fmt.Fprintf(h, " %q", name)
			if p := access[i]; p != nil {
				fmt.Fprintf(h, " %s", p.Key())
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// asksClient reports whether a mode asks the client for a certificate.
func asksClient(m ir.ClientAuthMode) bool { return m != ir.ClientAuthNone && m != "" }

// newClass builds the configuration.
func (s *State) newClass(t *ir.TLS, bundle *ir.TrustBundle, access []*authz.Policy, key string) *class {
	c := &class{key: key, auth: &t.ClientAuth, access: access, state: s}
	config := &tls.Config{
		MinVersion:       t.MinVersion,
		MaxVersion:       t.MaxVersion,
		CipherSuites:     servedSuites(t.CipherSuites, t.MinVersion),
		CurvePreferences: t.Groups,
		NextProtos:       t.ALPN,
		GetCertificate:   getCertificate,
		Time:             s.now,
		WrapSession:      c.wrapSession,
		UnwrapSession:    c.unwrapSession,
		// Answers of a gateway are as often large as small, and records of a packet each cost a
		// tenth of the CPU time of bulk transfers.
		DynamicRecordSizingDisabled: true,
	}
	switch {
	case t.ClientAuth.Mode == ir.ClientAuthPolicy:
		config.ClientAuth, config.ClientCAs = tls.RequestClientCert, acceptable(access)
		config.VerifyConnection = c.verifyPolicies
		if code, _ := c.rejects(nil, time.Time{}); code == diag.ClientCertMissing {
			config.ClientAuth = tls.RequireAnyClientCert // its alert says what is missing
		}
	case asksClient(t.ClientAuth.Mode):
		c.bundle = bundle
		wanted, err := trust.ClientPolicy(t.ClientAuth, bundle)
		c.broken, c.judge = err, trust.New(wanted, s.verdicts)
		config.ClientCAs = anchors(bundle).Pool()
		config.VerifyConnection = c.verifyConnection
		switch t.ClientAuth.Mode {
		case ir.ClientAuthRequest:
			config.ClientAuth = tls.RequestClientCert
		case ir.ClientAuthOptional:
			config.ClientAuth = tls.VerifyClientCertIfGiven
		default: // also for modes unknown here: fail closed
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	c.config, c.modest = config, withoutHTTP2(config)
	return c
}

// anchors returns the certificates of a bundle, nil if there are none.
func anchors(b *ir.TrustBundle) *secret.Bundle {
	if b == nil {
		return nil
	}
	return b.Bundle
}

// missingTrust reports whether clients are to be judged by a bundle or pins that are not there.
func (c *class) missingTrust() bool {
	mode := c.auth.Mode
	return c.broken != nil || asksClient(mode) && mode != ir.ClientAuthRequest && mode != ir.ClientAuthPolicy && anchors(c.bundle).Len() == 0
}

// oldSuites are the suites of TLS 1.0 and 1.1 that Go leaves out of its defaults: without them many
// of the clients for whose sake somebody lowers the floor below 1.2 share no suite with us.
var oldSuites = [...]uint16{
	tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
}

// modernSuites are what TLS 1.2 clients are offered unless suites are named: forward secrecy and AEAD
// alone, which all clients of TLS 1.2 that are kept up have, and which HTTP/2 asks for (RFC 9113 section 9.2.2).
var modernSuites = [...]uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// servedSuites is suites for clients.
func servedSuites(configured []uint16, minVersion uint16) []uint16 {
	if len(configured) == 0 && minVersion >= tls.VersionTLS12 {
		return modernSuites[:]
	}
	return suites(configured, minVersion)
}

// suites returns the configured suites, or Go's defaults (nil), or for a floor below 1.2 Go's secure
// suites with oldSuites. Named explicitly they do not depend on GODEBUG settings.
func suites(configured []uint16, minVersion uint16) []uint16 {
	if len(configured) > 0 || minVersion >= tls.VersionTLS12 {
		return configured
	}
	var out []uint16
	for _, s := range tls.CipherSuites() {
		if s.SupportedVersions[0] < tls.VersionTLS13 {
			out = append(out, s.ID)
		}
	}
	return append(out, oldSuites[:]...)
}

// getCertificate picks the pair for a connection whose chain the pipeline has chosen.
func getCertificate(chi *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s, ok := attachedShake(chi.Conn)
	if !ok {
		return nil, fmt.Errorf("no chain was chosen for this connection")
	}
	if s.minted.on {
		return s.pick(chi).TLS(), nil
	}
	return s.t.state.certificate(s.pick(chi)), nil
}

// servedPair is the credential that a host serves: at most two pairs, the elliptic one first.
type servedPair struct {
	pairs  [2]*secret.KeyPair
	n      int
	chosen *secret.KeyPair
}

// credentials resolves the references of settings. With none usable it returns the first credential
// that has a reason, nil if a reference leads nowhere.
func credentials(settings *ir.TLS, secrets *ir.Secrets) (servedPair, *ir.Credential) {
	var served servedPair
	var broken *ir.Credential
	for _, ref := range settings.Certificates {
		cred := secrets.ByRef[ref]
		if cred == nil || cred.Pair == nil {
			if broken == nil {
				broken = cred
			}
			continue
		}
		if served.n < len(served.pairs) {
			served.pairs[served.n] = cred.Pair
			served.n++
		}
	}
	if served.n == 2 && served.pairs[1].IsECDSA() && !served.pairs[0].IsECDSA() {
		served.pairs[0], served.pairs[1] = served.pairs[1], served.pairs[0]
	}
	return served, broken
}

// pick chooses the first pair that the client can use, the first of all if it can use none. The
// server name is left out of the question: that the host serves this certificate is configured.
func (p *servedPair) pick(chi *tls.ClientHelloInfo) *secret.KeyPair {
	p.chosen = p.pairs[0]
	if p.n == 2 {
		nameless := *chi
		nameless.ServerName = ""
		if nameless.SupportsCertificate(p.pairs[0].TLS()) != nil && nameless.SupportsCertificate(p.pairs[1].TLS()) == nil {
			p.chosen = p.pairs[1]
		}
	}
	return p.chosen
}

// keyTypes names the types of the pairs, "ECDSA-P256 and RSA-2048".
func (p *servedPair) keyTypes() string {
	var out []string
	for _, pair := range p.pairs[:p.n] {
		out = append(out, pair.KeyType())
	}
	return strings.Join(out, " and ")
}
