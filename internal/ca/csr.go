package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/certname"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// maxCSR bounds a signing request: one with a hundred names and an RSA-8192 key is 30 KiB.
const maxCSR = 64 << 10

// Sign certifies the key of a signing request (RFC 2986, PEM or DER) whose signature proves possession.
// Its subject and names are honoured unless r has others; whatever is not honoured is told in findings.
func (a *Authority) Sign(ctx context.Context, csr []byte, r Request) (*Issued, []Finding, error) {
	req, err := parseCSR(csr)
	if err != nil {
		return nil, nil, err
	}
	asked := sans{req.DNSNames, req.IPAddresses, req.EmailAddresses, req.URIs}.all()
	replaced := len(r.Names) > 0
	if !replaced {
		r.Names = asked
	}
	p, err := newPlan(r)
	if err != nil {
		return nil, nil, err
	}
	p.public = req.PublicKey
	p.rawSubject, p.subject = req.RawSubject, req.Subject
	if len(r.Subject.ToRDNSequence()) > 0 {
		if p.rawSubject, err = asn1.Marshal(r.Subject.ToRDNSequence()); err != nil {
			return nil, nil, fail(diag.IssueInvalid, "Use plain text.", "the subject cannot be encoded: %s", err)
		}
		if len(req.Subject.ToRDNSequence()) > 0 && !bytes.Equal(p.rawSubject, req.RawSubject) {
			p.changed("the request's subject %s is replaced by %s", req.Subject, r.Subject)
		}
		p.subject = r.Subject
	}
	if replaced {
		kept := p.names.all()
		if dropped := slices.DeleteFunc(slices.Clone(asked), func(n string) bool { return slices.Contains(kept, strings.ToLower(n)) }); len(dropped) > 0 {
			p.changed("names of the request are replaced by those given here; dropped: %s", strings.Join(dropped, ", "))
		}
	}
	p.dropped(req)
	return a.issue(ctx, p)
}

func (p *plan) changed(format string, args ...any) {
	p.add(diag.CSRChanged, "Nothing to do if that is meant.", format, args...)
}

// parseCSR reads a request and checks that its sender has the key.
func parseCSR(data []byte) (*x509.CertificateRequest, error) {
	const fix = "Make it again: openssl req -new -key KEY -subj /CN=NAME -addext subjectAltName=DNS:NAME."
	if len(data) > maxCSR {
		return nil, fail(diag.CSRInvalid, "Ask for fewer names.", "the signing request has %d bytes, and %d are the bound", len(data), maxCSR)
	}
	der := data
	if bytes.Contains(data, []byte("-----BEGIN")) {
		der = nil
		for rest := data; der == nil; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				return nil, fail(diag.CSRInvalid, fix, "the text holds no CERTIFICATE REQUEST in PEM")
			}
			switch block.Type {
			case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
				der = block.Bytes
			case labelCert:
				return nil, fail(diag.CSRInvalid, fix, "the file holds a certificate, not a signing request")
			}
		}
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, failWith(err, diag.CSRInvalid, fix, "the signing request cannot be parsed")
	}
	if err := req.CheckSignature(); err != nil {
		var weak x509.InsecureAlgorithmError
		if errors.As(err, &weak) {
			return nil, fail(diag.CSRInvalid, "Sign it with SHA-256: openssl req -new -sha256.", "the signing request is signed with %s, which proves nothing", req.SignatureAlgorithm)
		}
		return nil, failWith(err, diag.CSRInvalid, fix, "the signing request does not prove that its sender has the key")
	}
	return req, nil
}

// dropped tells what of a request's extensions is not honoured.
func (p *plan) dropped(req *x509.CertificateRequest) {
	for _, e := range req.Extensions {
		switch oid := e.Id.String(); oid {
		case "2.5.29.17":
			if other := otherNames(e.Value); other > 0 {
				p.changed("%d names of the request are of kinds that are not issued here (directory names, other names); they are dropped", other)
			}
		case "2.5.29.19":
			if asksCA(e.Value) && p.profile != Intermediate {
				p.add(diag.CSRChanged, "Use profile intermediate if it is to be a CA.", "the request asks for a CA certificate; profile %s makes none", p.profile)
				p.found[len(p.found)-1].Severity = diag.Warning
			}
		case "2.5.29.15", "2.5.29.37", "2.5.29.14", "2.5.29.35":
			// What almost every request carries: usages and key identifiers. The profile decides; only a usage
			// that is missed is worth a word.
			if oid == "2.5.29.37" {
				p.usages(e.Value)
			}
		default:
			p.changed("the request's extension %s is dropped", oid)
		}
	}
}

// usages tells which purposes were asked for and are not in the profile.
func (p *plan) usages(value []byte) {
	var asked []asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(value, &asked); err != nil {
		return
	}
	words := map[string]x509.ExtKeyUsage{"1.3.6.1.5.5.7.3.1": x509.ExtKeyUsageServerAuth, "1.3.6.1.5.5.7.3.2": x509.ExtKeyUsageClientAuth, "1.3.6.1.5.5.7.3.9": x509.ExtKeyUsageOCSPSigning}
	names := map[string]string{"1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.2": "clientAuth", "1.3.6.1.5.5.7.3.9": "OCSPSigning", "1.3.6.1.5.5.7.3.3": "codeSigning", "1.3.6.1.5.5.7.3.4": "emailProtection"}
	var missed []string
	for _, oid := range asked {
		if u, known := words[oid.String()]; known && slices.Contains(p.rules.usages, u) {
			continue
		}
		name := names[oid.String()]
		if name == "" {
			name = oid.String()
		}
		missed = append(missed, name)
	}
	if len(missed) > 0 {
		p.changed("the request asks for the usages %s, which profile %s does not give", strings.Join(missed, ", "), p.profile)
	}
}

func asksCA(value []byte) bool {
	var bc struct {
		CA   bool `asn1:"optional"`
		Path int  `asn1:"optional,default:-1"`
	}
	_, err := asn1.Unmarshal(value, &bc)
	return err == nil && bc.CA
}

// otherNames counts the general names that Go does not read: all but rfc822Name, dNSName, URI and
// iPAddress.
func otherNames(value []byte) int {
	var seq asn1.RawValue
	if _, err := asn1.Unmarshal(value, &seq); err != nil {
		return 0
	}
	n := 0
	for rest := seq.Bytes; len(rest) > 0; {
		var v asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			break
		}
		if v.Tag != 1 && v.Tag != 2 && v.Tag != 6 && v.Tag != 7 {
			n++
		}
	}
	return n
}

// Renew issues again what ref (as Find takes it) names, from the CA that issues now. What is revoked, or
// belongs to the authority itself, is refused.
func (a *Authority) Renew(ctx context.Context, ref string, r Renewal) (*Issued, []Finding, error) {
	old, err := a.Get(ref)
	if err != nil {
		return nil, nil, err
	}
	switch e := old.Entry; {
	case e.ID != "" || e.Profile == OCSP:
		return nil, nil, fail(diag.IssueInvalid, "Rotate the root: hakone ca rotate prepare.", "%s belongs to the authority itself and is not renewed so", e.Subject)
	case e.RevokedAt != nil:
		return nil, nil, fail(diag.CertAlreadyRevoked, "Issue a new one: hakone cert issue.", "%s is revoked (%s) and is not renewed", e.Subject, e.Reason)
	case r.SameKey && (len(r.CSR) > 0 || r.Key != ""):
		return nil, nil, fail(diag.IssueInvalid, "Give one of them.", "the same key and another one cannot both be certified")
	}
	c := old.Certificate
	req := Request{Profile: old.Entry.Profile, Names: namesOf(c), Validity: r.Validity, PathLength: max(c.MaxPathLen, 0), Constraints: constraintsOf(c)}
	p, err := newPlan(req)
	if err != nil {
		return nil, nil, err
	}
	p.rawSubject, p.subject = c.RawSubject, c.Subject
	if r.Validity == 0 {
		p.validity = min(c.NotAfter.Sub(c.NotBefore), p.rules.longest)
	}
	switch {
	case len(r.CSR) > 0:
		asked, err := parseCSR(r.CSR)
		if err != nil {
			return nil, nil, err
		}
		if asked.Subject.String() != c.Subject.String() && len(asked.Subject.ToRDNSequence()) > 0 {
			p.changed("the request's subject %s is not looked at: a renewal keeps %s", asked.Subject, c.Subject)
		}
		p.public = asked.PublicKey
	case r.SameKey:
		p.public = c.PublicKey
	default:
		kind := r.Key
		if kind == "" {
			kind = kindOf(c.PublicKey)
		}
		key, err := newKey(kind)
		if err != nil {
			return nil, nil, err
		}
		p.public = key.Public()
		return a.withKey(ctx, p, key)
	}
	return a.issue(ctx, p)
}

func constraintsOf(c *x509.Certificate) Constraints {
	out := Constraints{PermittedDNS: c.PermittedDNSDomains, ExcludedDNS: c.ExcludedDNSDomains}
	for _, n := range c.PermittedIPRanges {
		out.PermittedIP = append(out.PermittedIP, n.String())
	}
	for _, n := range c.ExcludedIPRanges {
		out.ExcludedIP = append(out.ExcludedIP, n.String())
	}
	return out
}

// ParseSubject reads "CN=name,O=organization" (the slashes of openssl are taken too: "/CN=name/O=org").
// Commas in values are written "\,". The error is an *Error.
func ParseSubject(s string) (pkix.Name, error) {
	separator := ","
	if strings.HasPrefix(s, "/") {
		s, separator = s[1:], "/"
	}
	n, err := certname.ParseSubject(s, separator)
	if err != nil {
		return n, fail(diag.IssueInvalid, "Write it as CN=name,O=organization.", "%v", err)
	}
	return n, nil
}
