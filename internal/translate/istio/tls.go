package istio

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// serverTLS reads the tls of a server that terminates TLS; nil if it cannot, which has been reported.
func (t *translator) serverTLS(g *gateway, s *istio.ServerTLSSettings, server ir.Origin) *ir.TLS {
	from := below(server, "tls")
	if s == nil {
		t.report(diag.ListenerTLSInvalid, from, "protocols HTTPS and TLS need tls settings; the server is left out", "Add tls with mode SIMPLE and credentialName.")
		return nil
	}
	out := &ir.TLS{Origin: from, ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone, Origin: below(from, "mode")}}
	switch s.GetMode() {
	case istio.ServerTLSSettings_SIMPLE:
	case istio.ServerTLSSettings_MUTUAL:
		out.ClientAuth.Mode = ir.ClientAuthRequire
	case istio.ServerTLSSettings_OPTIONAL_MUTUAL:
		out.ClientAuth.Mode = ir.ClientAuthOptional
	default:
		t.report(diag.ListenerUnsupported, below(from, "mode"), fmt.Sprintf("mode %s is not served by this version; the server is left out", s.GetMode()), "Use SIMPLE, MUTUAL or OPTIONAL_MUTUAL.")
		return nil
	}
	if s.GetHttpsRedirect() {
		t.report(diag.FieldWithoutEffect, below(from, "httpsRedirect"), "httpsRedirect does nothing on a port that is https already", "Put it on the server of port 80.")
	}
	if !t.certificates(g, s, out) || !t.clientAuth(g, s, out) {
		return nil
	}
	t.versions(s, out)
	return out
}

// certificates looks up the one or two certificates. Missing and broken ones keep their place: their
// hosts refuse. false means that none is named.
func (t *translator) certificates(g *gateway, s *istio.ServerTLSSettings, out *ir.TLS) bool {
	from, places := out.Origin, t.creds.Places(g.Namespace)
	add := func(ref ir.SecretRef, _ bool) { out.Certificates = append(out.Certificates, ref) }
	switch {
	case s.GetCredentialName() != "":
		add(t.creds.Pair(places, s.GetCredentialName(), below(from, "credentialName")))
	case len(s.GetCredentialNames()) > 0:
		for i, name := range s.GetCredentialNames() {
			add(t.creds.Pair(places, name, below(from, "credentialNames[%d]", i)))
		}
	case s.GetServerCertificate() != "" && s.GetPrivateKey() != "":
		add(t.creds.PairFiles(s.GetServerCertificate(), s.GetPrivateKey(), below(from, "serverCertificate"), below(from, "privateKey")))
	case len(s.GetTlsCertificates()) > 0:
		for i, c := range s.GetTlsCertificates() {
			at := below(from, "tlsCertificates[%d]", i)
			add(t.creds.PairFiles(c.GetServerCertificate(), c.GetPrivateKey(), below(at, "serverCertificate"), below(at, "privateKey")))
		}
	default:
		t.report(diag.ListenerTLSInvalid, from, "the server names no certificate, so it cannot terminate TLS and is left out",
			"Add credentialName with the name of a TLS secret.")
		return false
	}
	t.filesBeside(s, from)
	if len(out.Certificates) > 2 {
		t.report(diag.BadValue, from, fmt.Sprintf("%d certificates are named; the first two are used", len(out.Certificates)), "Name one, or one RSA and one ECDSA.")
		out.Certificates = out.Certificates[:2]
	}
	if len(out.Certificates) == 2 {
		a, b := t.out.Secrets[out.Certificates[0]], t.out.Secrets[out.Certificates[1]]
		if a.Pair != nil && b.Pair != nil && a.Pair.IsECDSA() == b.Pair.IsECDSA() {
			t.report(diag.TLSSettingIneffective, from, fmt.Sprintf("both certificates have keys of the same kind (%s, %s), so clients are only ever shown the first", a.Pair.KeyType(), b.Pair.KeyType()),
				"Name one RSA and one ECDSA certificate.")
		}
	}
	return true
}

// filesBeside reports file fields that credentialName makes idle.
func (t *translator) filesBeside(s *istio.ServerTLSSettings, from ir.Origin) {
	if s.GetCredentialName() == "" && len(s.GetCredentialNames()) == 0 {
		return
	}
	for _, f := range []struct{ field, value string }{{"serverCertificate", s.GetServerCertificate()}, {"privateKey", s.GetPrivateKey()},
		{"caCertificates", s.GetCaCertificates()}, {"caCrl", s.GetCaCrl()}} {
		if f.value != "" {
			t.report(diag.FieldWithoutEffect, below(from, "%s", f.field), f.field+" does nothing beside credentialName", "Put it into the secret, or remove it.")
		}
	}
}

// clientAuth reads everything about client certificates. false means that it cannot be enforced as
// written.
func (t *translator) clientAuth(g *gateway, s *istio.ServerTLSSettings, out *ir.TLS) bool {
	from, auth := out.Origin, &out.ClientAuth
	if auth.Mode == ir.ClientAuthNone {
		t.idleClientAuth(s, from)
		return true
	}
	places := t.creds.Places(g.Namespace)
	switch {
	case s.GetCaCertCredentialName() != "":
		auth.Trust, _ = t.creds.TrustNamed(places, s.GetCaCertCredentialName(), below(from, "caCertCredentialName"))
	case s.GetCredentialName() != "":
		auth.Trust, _ = t.creds.TrustBeside(places, s.GetCredentialName(), below(from, "credentialName"))
	case len(s.GetCredentialNames()) > 0:
		auth.Trust, _ = t.creds.TrustBeside(places, s.GetCredentialNames()[0], below(from, "credentialNames[0]"))
	default:
		t.trustFiles(s, from, auth)
	}
	if s.GetInsecureSkipVerify().GetValue() {
		auth.Mode = ir.ClientAuthRequest
		t.report(diag.InsecureValidation, below(from, "insecureSkipVerify"), "client certificates are asked for and judged, but every client is let in", "Remove insecureSkipVerify.")
	}
	auth.SANs = s.GetSubjectAltNames()
	return t.pins(s, from, auth)
}

// trustFiles reads caCertificates of the server, else of the first of tlsCertificates that has any.
func (t *translator) trustFiles(s *istio.ServerTLSSettings, from ir.Origin, auth *ir.ClientAuth) {
	ca, at := s.GetCaCertificates(), below(from, "caCertificates")
	for i, c := range s.GetTlsCertificates() {
		if ca == "" {
			ca, at = c.GetCaCertificates(), below(from, "tlsCertificates[%d].caCertificates", i)
		}
	}
	if ca == "" {
		auth.Trust = t.creds.NoTrust("none:"+from.Object.Namespace+"/"+from.Object.Name+"/"+from.Field, below(from, "mode"),
			fmt.Sprintf("mode %s demands client certificates, but no CA is named to verify them, so every client is refused", s.GetMode()))
		return
	}
	auth.Trust, _ = t.creds.TrustFiles(ca, s.GetCaCrl(), at, below(from, "caCrl"))
}

// idleClientAuth reports settings of client certificates on a server that asks for none.
func (t *translator) idleClientAuth(s *istio.ServerTLSSettings, from ir.Origin) {
	for _, f := range []struct {
		field string
		set   bool
	}{
		{"caCertificates", s.GetCaCertificates() != "" && s.GetCredentialName() == "" && len(s.GetCredentialNames()) == 0},
		{"caCertCredentialName", s.GetCaCertCredentialName() != ""},
		{"subjectAltNames", len(s.GetSubjectAltNames()) > 0}, {"verifyCertificateSpki", len(s.GetVerifyCertificateSpki()) > 0},
		{"verifyCertificateHash", len(s.GetVerifyCertificateHash()) > 0}, {"insecureSkipVerify", s.GetInsecureSkipVerify().GetValue()},
	} {
		if f.set {
			t.report(diag.FieldWithoutEffect, below(from, "%s", f.field), f.field+" is about client certificates, which mode SIMPLE does not ask for", "Use mode MUTUAL or OPTIONAL_MUTUAL.")
		}
	}
}

// pins reads verifyCertificateSpki and verifyCertificateHash. Without any usable one left, what was
// meant as a restriction would be none, so the server is left out.
func (t *translator) pins(s *istio.ServerTLSSettings, from ir.Origin, auth *ir.ClientAuth) bool {
	for i, pin := range s.GetVerifyCertificateSpki() {
		if sum, err := base64.StdEncoding.DecodeString(pin); err != nil || len(sum) != 32 {
			t.report(diag.PinInvalid, below(from, "verifyCertificateSpki[%d]", i), fmt.Sprintf("%q is not base64 of a SHA-256 (32 bytes); no client can match it", pin),
				"Make it with: openssl x509 -in CERT -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64.")
			continue
		}
		auth.SPKI = append(auth.SPKI, pin)
	}
	for i, pin := range s.GetVerifyCertificateHash() {
		plain := strings.ToLower(strings.ReplaceAll(pin, ":", ""))
		if sum, err := hex.DecodeString(plain); err != nil || len(sum) != 32 {
			t.report(diag.PinInvalid, below(from, "verifyCertificateHash[%d]", i), fmt.Sprintf("%q is not hex of a SHA-256 (64 digits); no client can match it", pin),
				"Make it with: openssl x509 -in CERT -outform DER | openssl dgst -sha256.")
			continue
		}
		auth.Hashes = append(auth.Hashes, plain)
	}
	asked := len(s.GetVerifyCertificateSpki())+len(s.GetVerifyCertificateHash()) > 0
	if asked && len(auth.SPKI)+len(auth.Hashes) == 0 {
		t.report(diag.ListenerTLSInvalid, from, "none of the certificate pins can be used; the server is left out rather than served without them", "Correct the pins.")
		return false
	}
	return true
}

// versions reads minimum, maximum and cipher suites. TLS_AUTO says nothing: policies or the default
// decide.
func (t *translator) versions(s *istio.ServerTLSSettings, out *ir.TLS) {
	out.MinVersion, out.MaxVersion = version(s.GetMinProtocolVersion()), version(s.GetMaxProtocolVersion())
	if v := out.MinVersion; v != 0 && v < tls.VersionTLS12 {
		t.report(diag.TLSLegacy, below(out.Origin, "minProtocolVersion"), fmt.Sprintf("TLS %s is enabled, which RFC 8996 deprecates", tlsname.Version(v)), "Use TLSV1_2.")
	}
	if v := out.MaxVersion; v != 0 && v < tls.VersionTLS12 {
		t.report(diag.TLSLegacy, below(out.Origin, "maxProtocolVersion"), fmt.Sprintf("nothing above TLS %s can be negotiated, which RFC 8996 deprecates", tlsname.Version(v)), "Remove maxProtocolVersion.")
	}
	field := below(out.Origin, "cipherSuites")
	suites, ok := t.out.CipherSuites(field.Object, field.Field, s.GetCipherSuites())
	out.CipherSuites = suites
	if !ok {
		t.report(diag.TLSSettingIneffective, field, "none of the suites can be offered, so TLS 1.2 and below cannot be negotiated: the floor is raised to 1.3", "Name a suite such as ECDHE-RSA-AES128-GCM-SHA256.")
		out.MinVersion, out.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	}
}

func version(v istio.ServerTLSSettings_TLSProtocol) uint16 {
	switch v {
	case istio.ServerTLSSettings_TLSV1_0:
		return tls.VersionTLS10
	case istio.ServerTLSSettings_TLSV1_1:
		return tls.VersionTLS11
	case istio.ServerTLSSettings_TLSV1_2:
		return tls.VersionTLS12
	case istio.ServerTLSSettings_TLSV1_3:
		return tls.VersionTLS13
	}
	return 0
}
