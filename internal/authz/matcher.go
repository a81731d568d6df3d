package authz

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/certname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// matcher is a compiled ir.CertificateRule.
type matcher struct {
	name string // "allow[0]"
	rule *ir.CertificateRule

	common   []certname.Glob
	subjects []certname.Pattern
	issuers  []certname.Pattern
	dns      []certname.Glob
	uris     []certname.Glob
	emails   []certname.Glob
	nets     []netip.Prefix
	usages   []asn1.ObjectIdentifier
}

// subject is a certificate that rules are applied to. changes is when its time alone changes what the
// rules say of it; zero: never.
type subject struct {
	cert    *x509.Certificate
	facts   *trust.Facts
	now     time.Time
	changes time.Time

	dn, issuer certname.Name
	parsed     bool
}

// newMatchers compiles a list of rules. The error names the entry that cannot be understood.
func newMatchers(rules []ir.CertificateRule, list string) ([]matcher, error) {
	var out []matcher
	for i := range rules {
		m, err := newMatcher(&rules[i])
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", list, i, err)
		}
		m.name = fmt.Sprintf("%s[%d]", list, i)
		out = append(out, m)
	}
	return out, nil
}

func newMatcher(r *ir.CertificateRule) (matcher, error) {
	m := matcher{rule: r, common: certname.Globs(r.CommonNames), dns: certname.Globs(lowered(r.DNS)), uris: certname.Globs(r.URIs), emails: certname.Globs(r.Emails)}
	var err error
	if m.subjects, err = certname.ParsePatterns(r.Subjects); err != nil {
		return m, fmt.Errorf("subjects: %w", err)
	}
	if m.issuers, err = certname.ParsePatterns(r.Issuers); err != nil {
		return m, fmt.Errorf("issuers: %w", err)
	}
	for _, text := range r.IPs {
		p, err := parseNet(text)
		if err != nil {
			return m, fmt.Errorf("ips: %w", err)
		}
		m.nets = append(m.nets, p)
	}
	for _, text := range r.Usages {
		oid, err := certname.ParseOID(text)
		if err != nil {
			return m, fmt.Errorf("usages: %w", err)
		}
		m.usages = append(m.usages, oid)
	}
	return m, digests(r)
}

// digests checks what is compared as text: an entry that no certificate can have would deny nobody.
func digests(r *ir.CertificateRule) error {
	for _, f := range r.Fingerprints {
		if b, err := hex.DecodeString(f); err != nil || len(b) != 32 || f != strings.ToLower(f) {
			return fmt.Errorf("fingerprints: %q is not a SHA-256 in lower-case hex", f)
		}
	}
	for _, f := range r.SPKI {
		if b, err := base64.StdEncoding.DecodeString(f); err != nil || len(b) != 32 {
			return fmt.Errorf("spki: %q is not a SHA-256 in base64", f)
		}
	}
	for _, f := range r.Serials {
		n, ok := new(big.Int).SetString(f, 16)
		if !ok || n.Text(16) != f {
			return fmt.Errorf("serials: %q is not a number in lower-case hex without leading zeros", f)
		}
	}
	return nil
}

// match returns "" if every part of the rule holds for the certificate, else the first that does not, as
// words. deny says what several common names mean: there one of them suffices, else all have to fit.
func (m *matcher) match(s *subject, deny bool) string {
	r, f := m.rule, s.facts
	if len(m.common)+len(m.subjects)+len(m.issuers) > 0 {
		s.parse()
	}
	switch {
	case len(m.common) > 0 && !commonFits(m.common, s.dn.Values(certname.CommonName), deny):
		return fmt.Sprintf("the common name is %q", s.dn.Values(certname.CommonName))
	case len(m.subjects) > 0 && !fitsDN(m.subjects, s.dn):
		return "the subject is another"
	case len(m.issuers) > 0 && !fitsDN(m.issuers, s.issuer):
		return fmt.Sprintf("the issuer is %q", f.Issuer)
	case !m.sanFits(f):
		return fmt.Sprintf("the subject alternative names are %s", names(f))
	case len(r.Fingerprints) > 0 && !slices.Contains(r.Fingerprints, f.Hash):
		return "the fingerprint is " + f.Hash
	case len(r.SPKI) > 0 && !slices.Contains(r.SPKI, f.SPKI):
		return "the key's digest is " + f.SPKI
	case len(r.Serials) > 0 && !slices.Contains(r.Serials, f.Serial):
		return "the serial number is " + f.Serial
	}
	if missing := m.lacksUsage(s.cert); missing != "" {
		return "it lacks the extended key usage " + missing
	}
	if life := f.NotAfter.Sub(f.NotBefore); r.MaxValidity > 0 && life > r.MaxValidity {
		return fmt.Sprintf("it is valid for %s in all, at most %s is allowed", life, r.MaxValidity)
	}
	if r.MinRemaining > 0 {
		last := f.NotAfter.Add(-r.MinRemaining)
		if s.now.After(last) {
			return fmt.Sprintf("it is valid for another %s, at least %s is asked for", f.NotAfter.Sub(s.now).Round(time.Second), r.MinRemaining)
		}
		if edge := last.Add(1); s.changes.IsZero() || edge.Before(s.changes) {
			s.changes = edge
		}
	}
	return ""
}

func (s *subject) parse() {
	if !s.parsed {
		s.dn, s.issuer, s.parsed = certname.ParseName(s.cert.RawSubject), certname.ParseName(s.cert.RawIssuer), true
	}
}

// commonFits compares common names. A subject with several is let in only if each fits, and kept out if
// one does.
func commonFits(patterns []certname.Glob, names []string, anyName bool) bool {
	fits := func(name string) bool {
		return slices.ContainsFunc(patterns, func(g certname.Glob) bool { return g.Match(name) })
	}
	if anyName {
		return slices.ContainsFunc(names, fits)
	}
	return len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !fits(n) })
}

func fitsDN(patterns []certname.Pattern, name certname.Name) bool {
	return slices.ContainsFunc(patterns, func(p certname.Pattern) bool { return p.Match(name) })
}

// sanFits reports whether one entry of the four lists of names holds, or there is none.
func (m *matcher) sanFits(f *trust.Facts) bool {
	if len(m.dns)+len(m.uris)+len(m.emails)+len(m.nets) == 0 {
		return true
	}
	return anyOf(m.dns, f.DNS, func(g certname.Glob, n string) bool { return g.MatchDNS(strings.ToLower(n)) }) ||
		anyOf(m.uris, f.URIs, certname.Glob.Match) || anyOf(m.emails, f.Emails, certname.Glob.Match) ||
		anyOf(m.nets, f.IPs, func(p netip.Prefix, n string) bool {
			a, err := netip.ParseAddr(n)
			return err == nil && p.Contains(a.Unmap())
		})
}

func anyOf[P any](patterns []P, names []string, fits func(P, string) bool) bool {
	for _, p := range patterns {
		for _, n := range names {
			if fits(p, n) {
				return true
			}
		}
	}
	return false
}

// lacksUsage returns the first usage asked for that the certificate has not.
func (m *matcher) lacksUsage(c *x509.Certificate) string {
	if len(m.usages) == 0 {
		return ""
	}
	var has []asn1.ObjectIdentifier
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) {
			if _, err := asn1.Unmarshal(e.Value, &has); err != nil {
				has = nil
			}
		}
	}
	for i, want := range m.usages {
		if !slices.ContainsFunc(has, want.Equal) {
			return m.rule.Usages[i]
		}
	}
	return ""
}

// names lists the subject alternative names for people.
func names(f *trust.Facts) string {
	all := slices.Concat(f.DNS, f.URIs, f.Emails, f.IPs)
	if len(all) == 0 {
		return "none"
	}
	if len(all) > 5 {
		return fmt.Sprintf("%q and %d more", all[:5], len(all)-5)
	}
	return fmt.Sprintf("%q", all)
}

func lowered(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = strings.ToLower(s)
	}
	return out
}

// parseNet reads an address or prefix.
func parseNet(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no address and no prefix", text)
	}
	return p.Masked(), nil
}
