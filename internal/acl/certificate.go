package acl

import (
	"crypto/sha1" //nolint:gosec // the fingerprints of Squid's configurations
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"slices"
	"strings"
)

// certErrors is ssl_error.
type certErrors struct{ names map[string]struct{} }

func makeErrors(b *builder, _, values []string) matcher {
	e := &certErrors{names: map[string]struct{}{}}
	e.add(b, values)
	return e
}

// errorClass returns the X509_V_ERR names of one of Squid's classes.
func errorClass(name string) []string {
	switch strings.TrimPrefix(name, "ssl::") {
	case "certHasExpired":
		return []string{"X509_V_ERR_CERT_HAS_EXPIRED"}
	case "certNotYetValid":
		return []string{"X509_V_ERR_CERT_NOT_YET_VALID"}
	case "certDomainMismatch":
		return []string{"SQUID_X509_V_ERR_DOMAIN_MISMATCH"}
	case "certUntrusted":
		return []string{"X509_V_ERR_INVALID_CA", "X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN", "X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE",
			"X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT", "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "X509_V_ERR_CERT_UNTRUSTED"}
	case "certSelfSigned":
		return []string{"X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"}
	}
	return nil
}

// KnownErrors are the errors that verification of a destination can yield, as ssl_error takes them.
func KnownErrors() []string {
	return []string{"X509_V_ERR_CERT_HAS_EXPIRED", "X509_V_ERR_CERT_NOT_YET_VALID", "SQUID_X509_V_ERR_DOMAIN_MISMATCH", "X509_V_ERR_INVALID_CA",
		"X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN", "X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE", "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT",
		"X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "X509_V_ERR_CERT_UNTRUSTED", "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT", "X509_V_ERR_CERT_REVOKED",
		"X509_V_ERR_UNABLE_TO_GET_CRL", "X509_V_ERR_CRL_HAS_EXPIRED", "X509_V_ERR_INVALID_PURPOSE", "X509_V_ERR_PERMITTED_VIOLATION", "X509_V_ERR_CERT_CHAIN_TOO_LONG",
		"X509_V_ERR_PATH_LENGTH_EXCEEDED", "X509_V_ERR_CERT_SIGNATURE_FAILURE", "X509_V_ERR_EE_KEY_TOO_SMALL", "X509_V_ERR_CA_MD_TOO_WEAK", "X509_V_ERR_CERT_REJECTED",
		"SQUID_ERR_SSL_HANDSHAKE", "X509_V_ERR_UNSPECIFIED"}
}

func (e *certErrors) add(b *builder, values []string) {
	for _, v := range values {
		if class := errorClass(v); class != nil {
			for _, n := range class {
				e.names[n] = struct{}{}
			}
			continue
		}
		if !strings.HasPrefix(v, "X509_V_ERR_") && !strings.HasPrefix(v, "SQUID_") {
			b.fatal("use a class as ssl::certHasExpired, or a name as X509_V_ERR_CERT_REVOKED", "%q is no error of certificates", v)
			continue
		}
		if !slices.Contains(KnownErrors(), v) {
			b.warn("use one of "+strings.Join(KnownErrors(), " "), "verification never yields %s", v)
		}
		e.names[v] = struct{}{}
	}
}

func (e *certErrors) match(f *Facts) verdict {
	for _, n := range f.Errors {
		if _, ok := e.names[n]; ok {
			return yes
		}
	}
	return no
}

// fingerprints is server_cert_fingerprint.
type fingerprints struct{ set map[string]struct{} }

func makeFingerprints(b *builder, _, values []string) matcher {
	p := &fingerprints{set: map[string]struct{}{}}
	p.add(b, values)
	return p
}

func (p *fingerprints) add(b *builder, values []string) {
	for _, v := range values {
		if v == "-sha1" {
			continue
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(v), "sha256:"), ":", ""))
		if err != nil || len(raw) != sha1.Size && len(raw) != sha256.Size {
			b.fatal("write 20 bytes of SHA-1 or 32 of SHA-256 in hex, with or without colons", "%q is no fingerprint", v)
			continue
		}
		p.set[string(raw)] = struct{}{}
	}
}

func (p *fingerprints) match(f *Facts) verdict {
	if len(f.Chain) == 0 {
		return no
	}
	one := sha1.Sum(f.Chain[0].Raw) //nolint:gosec // compared with what the user wrote
	if _, ok := p.set[string(one[:])]; ok {
		return yes
	}
	two := sha256.Sum256(f.Chain[0].Raw)
	_, ok := p.set[string(two[:])]
	return truth(ok)
}

// attribute is user_cert and ca_cert: an attribute of the client's certificate, or of its issuer.
type attribute struct {
	issuer bool
	name   string
	values []string
}

func certificateKind(issuer bool) func(*builder, []string, []string) matcher {
	return func(b *builder, _, values []string) matcher {
		if len(values) < 2 {
			b.fatal("write the attribute and its values: CN alice bob", "it needs an attribute and a value")
			return nil
		}
		a := &attribute{issuer: issuer, name: values[0], values: values[1:]}
		if a.name != "DN" && attributeOID(a.name) == "" {
			b.fatal("use DN, C, O, OU, CN, L, ST, emailAddress, serialNumber or an object identifier", "%q is no attribute of a name", a.name)
			return nil
		}
		return a
	}
}

// attributeOID returns the object identifier of an attribute of X.500 names, "" for unknown ones.
func attributeOID(name string) string {
	switch strings.ToUpper(name) {
	case "CN":
		return "2.5.4.3"
	case "SERIALNUMBER":
		return "2.5.4.5"
	case "C":
		return "2.5.4.6"
	case "L":
		return "2.5.4.7"
	case "ST":
		return "2.5.4.8"
	case "O":
		return "2.5.4.10"
	case "OU":
		return "2.5.4.11"
	case "EMAILADDRESS":
		return "1.2.840.113549.1.9.1"
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return ""
		}
	}
	if !strings.Contains(name, ".") {
		return ""
	}
	return name
}

func (a *attribute) match(f *Facts) verdict {
	if f.ClientCert == nil {
		return no
	}
	subject := &f.ClientCert.Subject
	if a.issuer {
		subject = &f.ClientCert.Issuer
	}
	if a.name == "DN" {
		return truth(slices.Contains(a.values, slashes(subject)) || slices.Contains(a.values, subject.String()))
	}
	oid := attributeOID(a.name)
	for _, n := range subject.Names {
		if n.Type.String() != oid {
			continue
		}
		if v, ok := n.Value.(string); ok && slices.Contains(a.values, v) {
			return yes
		}
	}
	return no
}

// slashes writes a name as OpenSSL's one-line form does: /C=JP/O=Example/CN=alice.
func slashes(n *pkix.Name) string {
	var out strings.Builder
	for _, a := range n.Names {
		v, ok := a.Value.(string)
		if !ok {
			continue
		}
		label := a.Type.String()
		for _, short := range []string{"CN", "serialNumber", "C", "L", "ST", "O", "OU", "emailAddress"} {
			if attributeOID(short) == label {
				label = short
				break
			}
		}
		out.WriteString("/" + label + "=" + v)
	}
	return out.String()
}

// ServerNames returns the names of a server's certificate in lower case: those of the SAN and, without any,
// the common name.
func ServerNames(c *x509.Certificate) []string {
	if c == nil {
		return nil
	}
	var out []string
	for _, n := range c.DNSNames {
		out = append(out, strings.ToLower(n))
	}
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	if cn := c.Subject.CommonName; cn != "" && !slices.Contains(out, strings.ToLower(cn)) {
		out = append(out, strings.ToLower(cn))
	}
	return out
}
