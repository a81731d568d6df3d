package ca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// maxCALife bounds the life of a root: 50 years.
const maxCALife = 18250 * day

// Create makes an authority: a root, and an issuer below it unless RootOnly. One whose making was cut off
// is made from the start; nothing of it had been handed out. The error is an *Error: AuthorityExists,
// AuthoritySetup or AuthorityStore.
func Create(ctx context.Context, s Store, name string, setup Setup, o Options) (*Authority, []Finding, error) {
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	a := newAuthority(s, name, o)
	found, err := a.configure(setup)
	if err != nil {
		return nil, found, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	release, err := a.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if err := a.vacant(); err != nil {
		return nil, nil, err
	}
	b, err := json.MarshalIndent(a.config, "", "  ")
	if err != nil {
		return nil, nil, fmt.Errorf("encode configuration of the authority: %w", err)
	}
	// The head goes first: what stands behind it does not count.
	if err := s.Put(name, entryHead, []byte("{}\n")); err != nil {
		return nil, nil, err
	}
	if err := s.Append(name, 0, nil); err != nil {
		return nil, nil, err
	}
	if err := s.Put(name, entryConfig, append(b, '\n')); err != nil {
		return nil, nil, err
	}
	if err := a.newGeneration(1, a.config.Key, nil); err != nil {
		return nil, nil, err
	}
	if err := a.write(line{Event: eventReady}); err != nil {
		return nil, nil, err
	}
	if err := a.exports(); err != nil {
		// The authority is made; the next change writes these files.
		found = append(found, Finding{Code: diag.AuthorityStore, Severity: diag.Warning, Message: "the trust bundle and the first lists could not be written: " + err.Error(), Fix: "Publish them: hakone ca crl."})
	}
	return a, found, nil
}

// vacant refuses a place where an authority is.
func (a *Authority) vacant() error {
	_, err := a.store.Get(a.name, entryConfig)
	if errors.Is(err, fs.ErrNotExist) {
		// A journal without its configuration is what is left of an authority, not of a beginning.
		mark, err := a.store.Mark(a.name)
		if err != nil {
			return err
		}
		if keys, err := a.store.List(a.name); err != nil || len(keys) == 0 || mark.Size == 0 {
			return err
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	exists := fail(diag.AuthorityExists, "Use another name, or rotate its root with hakone ca rotate.", "there is an authority %q in %s already", a.name, a.store)
	if err := a.load(); err != nil || a.idx.ready {
		return exists
	}
	a.idx, a.tip, a.mark, a.torn = newIndex(), tip{}, Mark{}, false
	return nil
}

// configure checks a setup and makes the configuration of it.
func (a *Authority) configure(s Setup) ([]Finding, error) {
	refuse := func(fix, format string, args ...any) ([]Finding, error) {
		return nil, fail(diag.AuthoritySetup, fix, format, args...)
	}
	if s.Subject.CommonName == "" {
		return refuse("Give one, as in --subject \"CN=Example Root CA,O=Example\".", "the authority's subject has no common name")
	}
	if err := checkSubject(s.Subject, 64-len(issuerSuffix)); err != nil {
		return nil, err
	}
	kind, err := ParseKeyKind(string(s.Key))
	if err != nil {
		return nil, err
	}
	place, err := checkURL(s.URL)
	if err != nil {
		return nil, err
	}
	subject, err := asn1.Marshal(s.Subject.ToRDNSequence())
	if err != nil {
		return refuse("Use plain text.", "the authority's subject cannot be encoded: %s", err)
	}
	a.config = config{Version: 1, Name: a.name, Subject: subject, Key: kind, RootValidity: s.RootValidity, IssuerValidity: s.IssuerValidity, RootOnly: s.RootOnly,
		PathLength: s.PathLength, Constraints: s.Constraints, URL: place, CRLLifetime: s.CRLLifetime, OCSPLifetime: s.OCSPLifetime, Encrypted: a.options.Passphrase.Len() > 0}
	c := &a.config
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.RootValidity, defaultRootValidity)
	def(&c.IssuerValidity, min(defaultIssuerValidity, c.RootValidity))
	def(&c.CRLLifetime, defaultCRLLifetime)
	def(&c.OCSPLifetime, defaultOCSPLifetime)
	switch {
	case c.RootValidity < time.Hour || c.RootValidity > maxCALife:
		return refuse("Use 1 hour to 50 years.", "the root cannot be valid for %s", c.RootValidity)
	case !c.RootOnly && (c.IssuerValidity < time.Hour || c.IssuerValidity > c.RootValidity):
		return refuse("Make it at most as long as the root's.", "the issuer cannot be valid for %s under a root of %s", c.IssuerValidity, c.RootValidity)
	case c.PathLength < 0 || c.PathLength > 5:
		return refuse("Use 0 to 5.", "%d CAs cannot stand below the issuer", c.PathLength)
	case c.CRLLifetime < time.Minute || c.CRLLifetime > 365*day:
		return refuse("Use 1 minute to 365 days.", "a revocation list cannot live for %s", c.CRLLifetime)
	case c.OCSPLifetime < time.Minute || c.OCSPLifetime > 10*day:
		return refuse("Use 1 minute to 10 days.", "an OCSP answer cannot live for %s", c.OCSPLifetime)
	}
	if c.Constraints, err = c.Constraints.normal(); err != nil {
		return nil, err
	}
	var found []Finding
	if place == "" {
		found = append(found, Finding{Code: diag.AuthoritySetup, Severity: diag.Info, Message: "no URL was given, so certificates will not say where their CRL and OCSP responder are",
			Fix: "Make the authority with --url http://HOST:PORT if peers are to find them by themselves."})
	}
	return found, nil
}

const issuerSuffix = " Issuing CA"

// newGeneration makes root and issuer of a generation, as far as the journal does not have them. The
// caller holds mu and the lock.
func (a *Authority) newGeneration(n int, kind KeyKind, subject pkix.RDNSequence) error {
	name := subject
	if name == nil {
		if _, err := asn1.Unmarshal(a.config.Subject, &name); err != nil {
			return fail(diag.AuthorityStore, "Restore the file from a backup.", "the subject in %s is damaged", entryConfig)
		}
		if n > 1 {
			name = renamed(name, fmt.Sprintf(" G%d", n))
		}
	}
	rootID, issuerID := fmt.Sprintf("%s-%d", roleRoot, n), fmt.Sprintf("%s-%d", roleIssuer, n)
	if a.idx.cas[rootID] == nil {
		// No path length: the next root must fit below this one while they change.
		t, err := a.caTemplate(name, a.config.RootValidity, -1, a.config.Constraints)
		if err != nil {
			return err
		}
		key, err := a.makeKey(rootID, kind)
		if err != nil {
			return err
		}
		if err := a.issueOwn(rootID, profileRoot, t, key.Public(), nil, key); err != nil {
			return err
		}
	}
	if a.config.RootOnly || a.idx.cas[issuerID] != nil {
		return nil
	}
	root := a.idx.cas[rootID]
	t, err := a.caTemplate(renamed(name, issuerSuffix), a.config.IssuerValidity, a.config.PathLength, a.config.Constraints)
	if err != nil {
		return err
	}
	if t.NotAfter.After(root.cert.NotAfter) {
		t.NotAfter = root.cert.NotAfter
	}
	rootKey, err := a.signer(rootID)
	if err != nil {
		return err
	}
	key, err := a.makeKey(issuerID, kind)
	if err != nil {
		return err
	}
	return a.issueOwn(issuerID, Intermediate, t, key.Public(), root, rootKey)
}

// renamed adds to the common name.
func renamed(name pkix.RDNSequence, suffix string) pkix.RDNSequence {
	out := make(pkix.RDNSequence, len(name))
	for i, set := range name {
		out[i] = slices.Clone(set)
		for j, attr := range out[i] {
			if s, ok := attr.Value.(string); ok && attr.Type.Equal(asn1.ObjectIdentifier{2, 5, 4, 3}) {
				out[i][j].Value = s + suffix
			}
		}
	}
	return out
}

// makeKey makes the key of a CA and writes its file. One that is there was never used: its certificate is
// not in the journal.
func (a *Authority) makeKey(id string, kind KeyKind) (crypto.Signer, error) {
	k, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	sealed, err := sealKey(k, a.options.Passphrase)
	if err != nil {
		return nil, err
	}
	return k, a.store.Put(a.name, id+suffixKey, sealed.Expose())
}

// caTemplate returns what CA certificates have in common; pathLength -1 is no bound.
func (a *Authority) caTemplate(subject pkix.RDNSequence, life time.Duration, pathLength int, names Constraints) (*x509.Certificate, error) {
	raw, err := asn1.Marshal(subject)
	if err != nil {
		return nil, fmt.Errorf("encode subject: %w", err)
	}
	from := a.now().UTC().Truncate(time.Second).Add(-backdate)
	t := &x509.Certificate{RawSubject: raw, NotBefore: from, NotAfter: from.Add(life), BasicConstraintsValid: true, IsCA: true, MaxPathLen: pathLength, MaxPathLenZero: pathLength == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature}
	return t, names.put(t)
}

// issueOwn signs a certificate of the authority itself and writes it into the journal. A nil parent is
// for a root, which signs itself.
func (a *Authority) issueOwn(id string, profile Profile, t *x509.Certificate, public any, parent *caCert, key crypto.Signer) error {
	var err error
	if t.SerialNumber, err = a.newSerial(); err != nil {
		return err
	}
	if t.SubjectKeyId, err = keyID(public); err != nil {
		return err
	}
	parentCert, issuer := t, id
	if parent != nil {
		parentCert, issuer = parent.cert, parent.id
		a.addPlaces(t, parent.id)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parentCert, public, key)
	if err != nil {
		return fmt.Errorf("sign %s: %w", id, err)
	}
	c, err := parseCertificate(der)
	if err != nil {
		return err
	}
	if err := a.write(certificateLine(c, issuer, profile, id)); err != nil {
		return err
	}
	return a.store.Put(a.name, id+suffixCert, certPEM(c))
}

// addPlaces writes into a template where the CRL, the OCSP responder and the certificate of its issuer
// are.
func (a *Authority) addPlaces(t *x509.Certificate, issuer string) {
	if a.config.URL == "" {
		return
	}
	t.CRLDistributionPoints = []string{a.config.URL + pathList + a.name + "-" + issuer + suffixList}
	t.OCSPServer = []string{a.config.URL + strings.TrimSuffix(pathOCSP, "/")}
	t.IssuingCertificateURL = []string{a.config.URL + pathCA + a.name + "-" + issuer + suffixCert}
}

func certificateLine(c *x509.Certificate, issuer string, profile Profile, id string) line {
	sum := sha256.Sum256(c.Raw)
	return line{Event: eventCertificate, ID: id, Serial: serialText(c.SerialNumber), Issuer: issuer, Profile: profile, Subject: secret.Subject(c), Names: namesOf(c),
		NotBefore: c.NotBefore.Unix(), NotAfter: c.NotAfter.Unix(), Fingerprint: hex.EncodeToString(sum[:]), Certificate: base64.StdEncoding.EncodeToString(c.Raw)}
}

func certPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: labelCert, Bytes: c.Raw})...)
	}
	return out
}
