package inspect

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/certlint"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// judge adds what there is to say about the items together.
func judge(rep *Report, opts Options) {
	j := &judgement{rep: rep, opts: opts}
	for _, i := range rep.Items {
		switch {
		case i.cert != nil:
			j.certs = append(j.certs, i)
		case i.Kind == KindKey && i.public != nil:
			j.keys = append(j.keys, i)
		case i.request != nil:
			j.requests = append(j.requests, i)
		case i.crl != nil:
			j.crls = append(j.crls, i)
		case i.ocsp != nil:
			j.responses = append(j.responses, i)
		}
	}
	j.match()
	j.swapped()
	j.certificates()
	j.asked()
	j.lists()
	j.answers()
	rep.Findings = compact(rep.Findings)
}

// compact drops exact repeats and keeps the order.
func compact(ds []diag.Diagnostic) []diag.Diagnostic {
	seen := map[diag.Diagnostic]bool{}
	return slices.DeleteFunc(ds, func(d diag.Diagnostic) bool {
		again := seen[d]
		seen[d] = true
		return again
	})
}

type judgement struct {
	rep                                    *Report
	opts                                   Options
	certs, keys, requests, crls, responses []*Item
}

func (j *judgement) say(i *Item, code diag.Code, sev diag.Severity, message, fix string) {
	j.rep.Findings = append(j.rep.Findings, finding(spot{file: i.File, entry: i.Entry, line: i.Line}, code, sev, message, fix))
}

func (j *judgement) tell(i *Item, code diag.Code, message, fix string) {
	j.say(i, code, code.Severity(), message, fix)
}

func same(a, b any) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// match finds the certificate or request that each key belongs to.
func (j *judgement) match() {
	for _, k := range j.keys {
		for _, c := range slices.Concat(j.certs, j.requests) {
			if same(k.public, c.public) {
				k.BelongsTo = c.title()
				break
			}
		}
		if r, ok := k.public.(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			j.tell(k, diag.CertWeakKey, fmt.Sprintf("the private key is %s, which clients refuse", secret.KeyType(r)), "Make a new one with RSA 2048 or ECDSA P-256.")
		}
		if k.BelongsTo != "" || len(j.certs)+len(j.requests) == 0 {
			continue
		}
		with := slices.Concat(j.certs, j.requests)[0]
		j.tell(k, diag.KeyMismatch, fmt.Sprintf("the key (%s) does not belong to the %s of %s (%s)", k.Key, with.Kind, with.title(), with.Key),
			"Pair the key and the certificate that were made together.")
	}
}

// swapped tells of a key where a certificate is expected by its name, and the other way round.
func (j *judgement) swapped() {
	for _, i := range j.rep.Items {
		where := cmp.Or(i.Entry, filepath.Base(i.File))
		isKeyPlace := where == "tls.key" || where == "key" || where == "private_key" || strings.HasSuffix(where, ".key")
		isCertPlace := where == "tls.crt" || where == "cert" || where == "certificate" || where == "ca.crt" || where == "cacert" || strings.HasSuffix(where, ".crt") || strings.HasSuffix(where, ".cer")
		switch {
		case i.Kind == KindKey && isCertPlace && !j.holds(i.File, i.Entry, KindCertificate):
			j.tell(i, diag.SecretInvalid, fmt.Sprintf("%s holds a private key instead of a certificate", where), "Put the certificate there; if others could read it, the key is exposed: make a new one.")
		case i.Kind == KindCertificate && isKeyPlace && !j.holds(i.File, i.Entry, KindKey):
			j.tell(i, diag.SecretInvalid, fmt.Sprintf("%s holds a certificate instead of a private key", where), "Put the private key there.")
		}
	}
}

func (j *judgement) holds(file, entry string, k Kind) bool {
	return slices.ContainsFunc(j.rep.Items, func(i *Item) bool { return i.File == file && i.Entry == entry && i.Kind == k })
}

// certificates judges leaves with their chains, and bundles.
func (j *judgement) certificates() {
	if len(j.certs) == 0 {
		return
	}
	var all []*x509.Certificate
	for _, c := range j.certs {
		all = append(all, c.cert)
	}
	bundles := []*secret.Bundle{secret.NewBundle(all...)}
	if j.opts.CAs.Len() > 0 {
		bundles = append(bundles, j.opts.CAs)
	}
	known := certlint.NewKnown(bundles, nil)
	leaves := j.leaves()
	for _, i := range j.certs {
		if slices.Contains(leaves, i) || slices.ContainsFunc(leaves, func(l *Item) bool { return slices.Contains(j.chain(l), i) }) {
			continue
		}
		for _, f := range certlint.Bundle(secret.NewBundle(i.cert), j.opts.Now) {
			j.say(i, f.Code, f.Severity, f.Message, f.Fix)
		}
	}
	for _, l := range leaves {
		chain := j.chain(l)
		pair := &secret.KeyPair{Leaf: l.cert, Fingerprint: l.Fingerprint}
		for _, c := range chain {
			pair.Issuers = append(pair.Issuers, c.cert)
		}
		in := certlint.Input{Pair: pair, Hosts: j.opts.Hosts, Client: j.client(l.cert), Known: known, System: j.opts.System}
		for _, f := range certlint.Leaf(in, j.opts.Now) {
			j.say(l, f.Code, f.Severity, f.Message, f.Fix)
		}
		j.order(l, chain)
		j.trusted(l, chain)
	}
}

// leaves are the certificates that are not there to vouch for others: those that are no CA, and
// a CA with its key where somebody says which hosts it serves. A file of CAs only is a bundle.
func (j *judgement) leaves() []*Item {
	var out []*Item
	seen := map[string]bool{}
	for _, c := range j.certs {
		hasKey := slices.ContainsFunc(j.keys, func(k *Item) bool { return same(k.public, c.public) })
		old := c.cert.Version < 3 && bytes.Equal(c.cert.RawSubject, c.cert.RawIssuer) && !hasKey // a root of the time before extensions
		if c.CA && !(hasKey && len(j.opts.Hosts) > 0) || old || seen[c.Fingerprint] {
			continue
		}
		seen[c.Fingerprint] = true
		out = append(out, c)
	}
	return out
}

// issued reports whether ca signed c; for signatures that Go does not check, by names and key
// identifiers.
func issued(ca, c *x509.Certificate) bool {
	if !bytes.Equal(ca.RawSubject, c.RawIssuer) {
		return false
	}
	err := c.CheckSignatureFrom(ca)
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &insecure) && (len(c.AuthorityKeyId) == 0 || len(ca.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId))
}

// chain returns the issuers of a leaf that are in the input, nearest first.
func (j *judgement) chain(leaf *Item) []*Item {
	var out []*Item
	for child := leaf; !bytes.Equal(child.cert.RawSubject, child.cert.RawIssuer) && len(out) < 16; {
		n := slices.IndexFunc(j.certs, func(c *Item) bool {
			return c != child && !slices.Contains(out, c) && c != leaf && issued(c.cert, child.cert)
		})
		if n < 0 {
			break
		}
		child = j.certs[n]
		out = append(out, child)
	}
	return out
}

func (j *judgement) client(c *x509.Certificate) bool {
	server := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
	return j.opts.Client || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !server && len(j.opts.Hosts) == 0
}

// order tells where the certificates of one file do not follow each other.
func (j *judgement) order(leaf *Item, chain []*Item) {
	var have, want []*Item
	for _, i := range j.certs {
		if i.File == leaf.File && i.Entry == leaf.Entry && (i == leaf || slices.Contains(chain, i)) {
			have = append(have, i)
		}
	}
	for _, i := range append([]*Item{leaf}, chain...) {
		if slices.Contains(have, i) {
			want = append(want, i)
		}
	}
	if slices.Equal(have, want) {
		return
	}
	words := make([]string, 0, len(want))
	for _, i := range want {
		words = append(words, i.title())
	}
	j.tell(leaf, diag.CertChainOrder, "the certificates are out of order; they should stand as "+strings.Join(words, " ← "),
		"Put the leaf first, then each certificate that issued the one before.")
}

// trusted verifies the chain as a client would.
func (j *judgement) trusted(leaf *Item, chain []*Item) {
	if j.opts.CAs.Len() == 0 && (!j.opts.Trusted || j.opts.System == nil) {
		return
	}
	inter := x509.NewCertPool()
	for _, c := range chain {
		inter.AddCert(c.cert)
	}
	at := j.opts.Now
	if at.After(leaf.cert.NotAfter) || at.Before(leaf.cert.NotBefore) {
		at = leaf.cert.NotAfter.Add(-time.Second) // its dates are another finding
	}
	var err error
	for _, pool := range []*x509.CertPool{j.opts.CAs.Pool(), j.opts.System} {
		if pool == nil {
			continue
		}
		if _, err = leaf.cert.Verify(x509.VerifyOptions{Roots: pool, Intermediates: inter, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			return
		}
	}
	if err == nil {
		return
	}
	j.tell(leaf, diag.UntrustedHere, fmt.Sprintf("the chain of %s does not verify: %s", leaf.title(), strings.TrimPrefix(err.Error(), "x509: ")),
		"Give the private CA with --ca FILE, or serve the missing intermediates.")
}

// asked judges certificate requests.
func (j *judgement) asked() {
	for _, i := range j.requests {
		q := i.request
		if err := q.CheckSignature(); err != nil {
			j.tell(i, diag.CSRInvalid, fmt.Sprintf("the request of %s is not signed by its own key: %v", i.title(), err), "Make it again: openssl req -new -key KEY -out REQUEST.")
		}
		if r, ok := q.PublicKey.(*rsa.PublicKey); ok && r.N.BitLen() < 2048 {
			j.tell(i, diag.CertWeakKey, fmt.Sprintf("the request has the weak key %s", i.Key), "Make it with RSA 2048 or ECDSA P-256.")
		}
		if len(i.Names) == 0 {
			j.tell(i, diag.CertNoSAN, fmt.Sprintf("the request of %s asks for no subject alternative name", i.Subject), "Make it with -addext subjectAltName=DNS:HOST, or give names when signing: hakone cert sign --san HOST.")
		}
	}
}

// lists judges revocation lists, and certificates by them.
func (j *judgement) lists() {
	for _, i := range j.crls {
		l := i.crl
		switch {
		case !l.NextUpdate.IsZero() && j.opts.Now.After(l.NextUpdate):
			j.tell(i, diag.CRLInvalid, fmt.Sprintf("the revocation list of %s was due for renewal on %s", i.Issuer, stamp(l.NextUpdate)), "Publish a fresh list.")
		case l.ThisUpdate.After(j.opts.Now.Add(5 * time.Minute)):
			j.tell(i, diag.CRLInvalid, fmt.Sprintf("the revocation list of %s is valid from %s", i.Issuer, stamp(l.ThisUpdate)), "Check the clocks.")
		}
		if issuer := j.issuerNamed(l.RawIssuer); issuer != nil {
			if err := l.CheckSignatureFrom(issuer); err != nil {
				j.tell(i, diag.CRLInvalid, fmt.Sprintf("the revocation list is not signed by %s beside it: %v", secret.Subject(issuer), err), "Use the list of this very CA.")
			}
		}
		for _, c := range j.certs {
			n := slices.IndexFunc(l.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.cert.SerialNumber) == 0 })
			if n >= 0 && bytes.Equal(c.cert.RawIssuer, l.RawIssuer) {
				e := l.RevokedCertificateEntries[n]
				j.tell(c, diag.CertRevoked, fmt.Sprintf("the certificate of %s was revoked on %s (%s)", c.title(), stamp(e.RevocationTime), secret.Revocation{Reason: e.ReasonCode}.ReasonText()), "Issue a new certificate.")
			}
		}
	}
}

func (j *judgement) issuerNamed(raw []byte) *x509.Certificate {
	for _, c := range j.certs {
		if bytes.Equal(c.cert.RawSubject, raw) {
			return c.cert
		}
	}
	for n := range j.opts.CAs.Len() {
		if c := j.opts.CAs.Certificates[n]; bytes.Equal(c.RawSubject, raw) {
			return c
		}
	}
	return nil
}

// answers judges OCSP responses (RFC 6960 section 3.2).
func (j *judgement) answers() {
	for _, i := range j.responses {
		resp := i.ocsp
		switch {
		case !resp.NextUpdate.IsZero() && j.opts.Now.After(resp.NextUpdate):
			j.tell(i, diag.OCSPResponseStale, fmt.Sprintf("the OCSP response was due for renewal on %s", stamp(resp.NextUpdate)), "Fetch a fresh one.")
		case resp.ThisUpdate.After(j.opts.Now.Add(5 * time.Minute)):
			j.tell(i, diag.OCSPResponseStale, fmt.Sprintf("the OCSP response is valid from %s", stamp(resp.ThisUpdate)), "Check the clocks.")
		}
		if resp.Status != ocsp.Good {
			j.tell(i, diag.CertRevoked, fmt.Sprintf("the OCSP responder says about serial number %s: %s", i.Serial, i.Status), "Issue a new certificate.")
		}
		for _, c := range j.certs {
			if c.cert.SerialNumber.Cmp(resp.SerialNumber) != 0 {
				continue
			}
			if issuer := j.issuerNamed(c.cert.RawIssuer); issuer != nil {
				if _, err := ocsp.ParseResponseForCert(i.raw.Expose(), c.cert, issuer); err != nil {
					j.tell(i, diag.OCSPResponseInvalid, fmt.Sprintf("the OCSP response is not the issuer's: %v", err), "Ask the responder that the certificate names.")
				}
			}
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
