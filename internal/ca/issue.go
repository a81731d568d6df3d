package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/certlint"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// plan is a certificate before it is signed.
type plan struct {
	profile    Profile
	rules      profileRules
	rawSubject []byte // DER
	subject    pkix.Name
	names      sans
	validity   time.Duration
	explicit   bool // the validity was asked for, so it is not shortened silently
	public     any
	request    Request // for profile intermediate
	found      []Finding
}

func (p *plan) add(code diag.Code, fix, format string, args ...any) {
	p.found = append(p.found, Finding{Code: code, Severity: code.Severity(), Message: fmt.Sprintf(format, args...), Fix: fix})
}

// Issue makes a key and a certificate for it. It returns when the certificate is in the journal and on
// the disk. The error is an *Error; CertRefused carries the findings that say why.
func (a *Authority) Issue(ctx context.Context, r Request) (*Issued, []Finding, error) {
	kind, err := ParseKeyKind(string(r.Key))
	if err != nil {
		return nil, nil, err
	}
	p, err := newPlan(r)
	if err != nil {
		return nil, nil, err
	}
	if p.rawSubject, err = asn1.Marshal(r.Subject.ToRDNSequence()); err != nil {
		return nil, nil, fail(diag.IssueInvalid, "Use plain text.", "the subject cannot be encoded: %s", err)
	}
	p.subject = r.Subject
	key, err := newKey(kind)
	if err != nil {
		return nil, nil, err
	}
	p.public = key.Public()
	return a.withKey(ctx, p, key)
}

// withKey issues for a key that was made here and hands it out too.
func (a *Authority) withKey(ctx context.Context, p *plan, key crypto.Signer) (*Issued, []Finding, error) {
	issued, found, err := a.issue(ctx, p)
	if err != nil {
		return nil, found, err
	}
	issued.Key, err = sealKey(key, secret.Bytes{})
	return issued, found, err
}

// newPlan reads the parts of a request that do not depend on where the key comes from.
func newPlan(r Request) (*plan, error) {
	rules, ok := r.Profile.rules()
	if !ok {
		return nil, fail(diag.IssueInvalid, fmt.Sprintf("Use one of %s.", join(Profiles())), "%q is no profile", r.Profile)
	}
	p := &plan{profile: r.Profile, rules: rules, validity: r.Validity, explicit: r.Validity != 0, request: r}
	if p.validity == 0 {
		p.validity = rules.validity
	}
	if p.validity < time.Minute {
		return nil, fail(diag.IssueInvalid, "Ask for a minute or more.", "a certificate cannot be valid for %s", p.validity)
	}
	if r.PathLength < 0 || r.PathLength > 5 || r.PathLength > 0 && r.Profile != Intermediate {
		return nil, fail(diag.IssueInvalid, "Use 0 to 5, with profile intermediate.", "the path length %d is not possible for profile %s", r.PathLength, r.Profile)
	}
	if !r.Constraints.empty() && r.Profile != Intermediate {
		return nil, fail(diag.IssueInvalid, "Use profile intermediate, or leave them out.", "name constraints are for CAs, not for profile %s", r.Profile)
	}
	var err error
	if p.request.Constraints, err = r.Constraints.normal(); err != nil {
		return nil, err
	}
	p.names, p.found = parseNames(r.Names)
	return p, nil
}

// issue judges, signs and journals.
func (a *Authority) issue(ctx context.Context, p *plan) (*Issued, []Finding, error) {
	if err := checkSubject(p.subject, 64); err != nil {
		return nil, nil, err
	}
	var out *Issued
	err := a.change(ctx, func() error {
		var err error
		out, err = a.issueLocked(p)
		return err
	})
	return out, p.found, err
}

// issueLocked is issue for who holds mu and the lock.
func (a *Authority) issueLocked(p *plan) (*Issued, error) {
	parent := a.issuing()
	if p.profile == Intermediate && parent.role == roleIssuer && (parent.cert.MaxPathLen == 0 || parent.cert.MaxPathLen <= p.request.PathLength) {
		// No CA fits below the issuer, so the root vouches for it.
		parent = a.idx.root(a.idx.generation)
	}
	most := parent.cert.MaxPathLen
	if a.config.RootOnly {
		most = a.config.PathLength
	}
	if p.profile == Intermediate && most >= 0 && most <= p.request.PathLength {
		return nil, fail(diag.IssueInvalid, "Ask for a smaller path length, or make an authority with a greater one.", "%s of authority %q allows %d CAs below it, so one with path length %d does not fit", parent.id, a.name, most, p.request.PathLength)
	}
	return a.sign(p, parent)
}

// sign issues from one CA: reserve a serial number, judge, sign, journal. The caller holds mu and the lock.
func (a *Authority) sign(p *plan, parent *caCert) (*Issued, error) {
	if err := a.usable(parent); err != nil {
		return nil, err
	}
	number, err := a.newSerial()
	if err != nil {
		return nil, err
	}
	t, err := a.template(p, parent, number)
	if err != nil {
		return nil, err
	}
	if err := a.lint(p, t, parent); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(p.found, func(f Finding) bool { return f.Severity == diag.Error }) {
		return nil, refused(p.found)
	}
	key, err := a.signer(parent.id)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent.cert, p.public, key)
	if err != nil {
		return nil, failWith(err, diag.IssueInvalid, "Correct the request.", "the certificate cannot be signed")
	}
	c, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	chain := append([]*x509.Certificate{c}, a.idx.chain(parent)...)
	if err := a.verify(chain, parent, p.rules.usages); err != nil {
		return nil, err
	}
	if err := a.write(certificateLine(c, parent.id, p.profile, "")); err != nil {
		return nil, err
	}
	return &Issued{Entry: a.idx.records[len(a.idx.records)-1].entry(), Certificate: c, Chain: chain}, nil
}

func refused(found []Finding) *Error {
	var why, fix []string
	for _, f := range found {
		if f.Severity == diag.Error {
			why, fix = append(why, f.Message), append(fix, f.Fix)
		}
	}
	e := fail(diag.CertRefused, strings.Join(fix, " "), "%s", strings.Join(why, "; "))
	e.Findings = found
	return e
}

// usable refuses a CA whose certificates nobody would take.
func (a *Authority) usable(c *caCert) error {
	const fix = "Rotate the root: hakone ca rotate prepare, then switch."
	if a.now().After(c.cert.NotAfter) {
		return fail(diag.IssuerExpired, fix, "%s of authority %q expired on %s", c.id, a.name, c.cert.NotAfter.UTC().Format(time.DateOnly))
	}
	if r := a.idx.bySerialNumber(c.cert.SerialNumber); r != nil && r.revoked != 0 {
		return fail(diag.IssuerExpired, fix, "%s of authority %q was revoked on %s", c.id, a.name, stamp(r.revoked).Format(time.DateOnly))
	}
	return nil
}

// template makes what will be signed, and shortens a validity that nobody asked for.
func (a *Authority) template(p *plan, parent *caCert, number *big.Int) (*x509.Certificate, error) {
	id, err := keyID(p.public)
	if err != nil {
		return nil, failWith(err, diag.KeyRefused, "Use RSA, ECDSA or Ed25519.", "the public key cannot be used")
	}
	from := a.now().UTC().Truncate(time.Second).Add(-backdate)
	if from.Before(parent.cert.NotBefore) {
		from = parent.cert.NotBefore
	}
	t := &x509.Certificate{SerialNumber: number, RawSubject: p.rawSubject, NotBefore: from, NotAfter: from.Add(p.validity), SubjectKeyId: id, BasicConstraintsValid: true,
		DNSNames: p.names.dns, IPAddresses: p.names.ips, EmailAddresses: p.names.emails, URIs: p.names.uris, ExtKeyUsage: p.rules.usages, KeyUsage: x509.KeyUsageDigitalSignature}
	if len(p.rawSubject) == 0 {
		t.RawSubject = []byte{0x30, 0}
	}
	if t.NotAfter.After(parent.cert.NotAfter) {
		end := parent.cert.NotAfter.UTC().Format(time.DateOnly)
		if p.explicit {
			p.add(diag.ValidityTooLong, "Ask for less, or rotate the root: hakone ca rotate prepare.", "the certificate would be valid until %s, and its issuer %s ends on %s", t.NotAfter.Format(time.DateOnly), parent.id, end)
		} else {
			t.NotAfter = parent.cert.NotAfter
			p.add(diag.ValidityShortened, "Rotate the root: hakone ca rotate prepare.", "the certificate ends with its issuer %s on %s, before the %d days of profile %s", parent.id, end, p.validity/day, p.profile)
		}
	}
	switch p.profile {
	case Intermediate:
		t.IsCA, t.MaxPathLen, t.MaxPathLenZero = true, p.request.PathLength, p.request.PathLength == 0
		t.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		if err := p.request.Constraints.put(t); err != nil {
			return nil, err
		}
	case OCSP:
		// Nobody asks about the responder's own certificate (RFC 6960 section 4.2.2.2.1), so it is short-lived.
		t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}}
	default:
		if _, ok := p.public.(*rsa.PublicKey); ok {
			t.KeyUsage |= x509.KeyUsageKeyEncipherment
		}
	}
	if p.profile != OCSP {
		a.addPlaces(t, parent.id)
	}
	return t, nil
}

// lint judges a plan: its own rules first, then certlint on a trial that a throw-away key signs.
func (a *Authority) lint(p *plan, t *x509.Certificate, parent *caCert) error {
	p.found = append(p.found, p.names.lint(p.rules.hosts)...)
	switch {
	case p.rules.hosts && len(p.names.dns)+len(p.names.ips) == 0:
		fix := "Give the host names it is to serve."
		if cn := p.subject.CommonName; cn != "" {
			fix = fmt.Sprintf("Give %s as a name too.", cn)
		}
		p.add(diag.CertUnnamed, fix, "a certificate of profile %s needs a host name or an address among its subject alternative names; the common name is not looked at", p.profile)
	case p.names.len() == 0 && p.subject.CommonName == "":
		p.add(diag.CertUnnamed, "Give a common name or another name.", "the certificate would name nobody")
	}
	if p.validity > p.rules.longest {
		p.add(diag.ValidityTooLong, fmt.Sprintf("Ask for %d days or less, or use profile origin (up to 5475).", p.rules.longest/day),
			"%d days are more than the %d of profile %s", p.validity/day, p.rules.longest/day, p.profile)
	}
	for _, c := range append(a.idx.chain(parent), a.idx.root(parent.generation).cert) {
		if bad := outside(p.names, c); len(bad) > 0 {
			p.add(diag.NameOutsideConstraints, "Use other names, or an authority with other constraints.", "%s: %s", strings.Join(bad, ", "), allowed(c))
			break
		}
	}
	if err := a.lintKey(p); err != nil {
		return err
	}
	trial, err := trialOf(t, parent.cert, p.public)
	if err != nil {
		return failWith(err, diag.IssueInvalid, "Correct the request.", "the certificate cannot be made")
	}
	if p.profile == Intermediate {
		return nil
	}
	for _, f := range certlint.Single(trial, p.rules.usages...) {
		switch {
		case f.Code == diag.CertNoSAN || f.Code == diag.CertLongLived && p.profile == Origin:
			// Judged above; and an origin is asked by the edge alone.
		case f.Code == diag.CertWeakKey:
		default:
			p.found = append(p.found, f)
		}
	}
	return nil
}

// trialOf signs a template with a key that is forgotten at once, to see the certificate as clients will.
func trialOf(t, parent *x509.Certificate, public any) (*x509.Certificate, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	stand := &x509.Certificate{RawSubject: parent.RawSubject, SubjectKeyId: parent.SubjectKeyId, PublicKey: key.Public()}
	der, err := x509.CreateCertificate(rand.Reader, t, stand, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// lintKey judges the key that is to be certified.
func (a *Authority) lintKey(p *plan) error {
	const fix = "Make a new key: ECDSA P-256, Ed25519, or RSA of 2048 to 8192 bits."
	switch k := p.public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 8192 {
			p.add(diag.KeyRefused, fix, "the key is RSA of %d bits; clients take 2048 to 8192", n)
		} else if k.E < 65537 {
			p.add(diag.KeyRefused, fix, "the RSA key has the exponent %d; 65537 is what everybody uses", k.E)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			p.add(diag.KeyRefused, fix, "the key is on the curve %s, which browsers do not take", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		p.add(diag.KeyRefused, fix, "the key is of a kind that TLS does not know")
		return nil
	}
	sum, err := spkiDigest(p.public)
	if err != nil {
		return err
	}
	if a.idx.compromised[hex.EncodeToString(sum[:])] {
		p.add(diag.KeyRefused, fix, "the key belongs to a certificate that was revoked for keyCompromise")
	}
	for _, id := range a.idx.order {
		if samePublic(p.public, a.idx.cas[id].cert.PublicKey) {
			p.add(diag.KeyRefused, fix, "the key is that of the authority's own %s", id)
			break
		}
	}
	return nil
}

// verify is the last look before the journal: whether Go's verifier, which is not ours, takes the chain.
func (a *Authority) verify(chain []*x509.Certificate, parent *caCert, usages []x509.ExtKeyUsage) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.idx.root(parent.generation).cert)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if len(usages) == 0 {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: chain[0].NotBefore.Add(time.Second), KeyUsages: usages}); err != nil {
		return failWith(err, diag.CertRefused, "Correct the request.", "the certificate would not verify")
	}
	return nil
}

// ChainPEM returns the certificate and its issuers, as a server sends them.
func (i *Issued) ChainPEM() []byte { return certPEM(i.Chain...) }

// CertificatePEM returns the certificate alone.
func (i *Issued) CertificatePEM() []byte { return certPEM(i.Certificate) }
