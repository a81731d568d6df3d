package ca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// sans are the subject alternative names of a certificate (RFC 5280 section 4.2.1.6).
type sans struct {
	dns    []string
	ips    []net.IP
	emails []string
	uris   []*url.URL
}

func (s sans) len() int { return len(s.dns) + len(s.ips) + len(s.emails) + len(s.uris) }

// all returns the names as text.
func (s sans) all() []string {
	out := slices.Clone(s.dns)
	for _, ip := range s.ips {
		out = append(out, ip.String())
	}
	out = append(out, s.emails...)
	for _, u := range s.uris {
		out = append(out, u.String())
	}
	return out
}

func namesOf(c *x509.Certificate) []string {
	return sans{c.DNSNames, c.IPAddresses, c.EmailAddresses, c.URIs}.all()
}

// parseNames sorts names by what they look like: an address, a URI, an e-mail address, else a host name.
// Repeats are dropped.
func parseNames(names []string) (sans, []Finding) {
	var s sans
	var found []Finding
	bad := func(format string, args ...any) {
		found = append(found, Finding{Code: diag.NameInvalid, Severity: diag.Error, Message: fmt.Sprintf(format, args...), Fix: "Correct the name."})
	}
	seen := map[string]bool{}
	for _, raw := range names {
		n := strings.TrimSpace(raw)
		addr, ipErr := netip.ParseAddr(n)
		switch {
		case n == "":
			bad("a name is empty")
		case ipErr == nil && addr.Zone() == "":
			if n = addr.Unmap().String(); !seen[n] {
				s.ips = append(s.ips, net.IP(addr.Unmap().AsSlice()))
			}
		case strings.Contains(n, "://"):
			u, err := url.Parse(n)
			if err != nil || u.Host == "" && u.Path == "" || !isASCII(n) {
				bad("%q is no URI that a certificate can hold", n)
				continue
			}
			if !seen[n] {
				s.uris = append(s.uris, u)
			}
		case strings.Contains(n, "@"):
			m, err := mail.ParseAddress(n)
			if err != nil || m.Address != n || !isASCII(n) {
				bad("%q is no e-mail address that a certificate can hold", n)
				continue
			}
			if !seen[n] {
				s.emails = append(s.emails, n)
			}
		default:
			p, err := hostname.Parse(n)
			if err != nil {
				bad("%q is no host name: %s", n, err)
				continue
			}
			if n = p.String(); !seen[n] {
				s.dns = append(s.dns, n)
			}
		}
		seen[n] = true
	}
	return s, found
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// lintNames looks at the names by the rules that hold for every profile.
func (s sans) lint(wildcards bool) []Finding {
	var found []Finding
	add := func(code diag.Code, fix, format string, args ...any) {
		found = append(found, Finding{Code: code, Severity: code.Severity(), Message: fmt.Sprintf(format, args...), Fix: fix})
	}
	if s.len() > maxNames {
		add(diag.NameInvalid, "Ask for several certificates.", "%d names are asked for, and a certificate holds at most %d", s.len(), maxNames)
	}
	var underscores []string
	for _, n := range s.dns {
		labels := strings.Split(n, ".")
		switch {
		case n == "*":
			add(diag.NameWildcard, "Write *.example.com.", "the name * matches nothing")
		case strings.HasPrefix(n, "*.") && !wildcards:
			add(diag.NameWildcard, "Name the host.", "%s is a wildcard, and certificates of clients name somebody", n)
		case strings.HasPrefix(n, "*.") && len(labels) < 3:
			add(diag.NameWildcard, "Put a domain below the top-level domain behind the star.", "%s is a wildcard directly above a top-level domain; clients refuse it", n)
		}
		if strings.Contains(n, "_") {
			underscores = append(underscores, n)
		}
		// The longest name that DNS can ask for (RFC 1035 section 2.3.4).
		if len(n) > 253 {
			add(diag.NameInvalid, "Use a shorter name.", "a host name has %d letters, and DNS allows 253", len(n))
		}
	}
	if len(underscores) > 0 {
		add(diag.NameUnderscore, "Nothing to do if your clients take them; curl, OpenSSL and Go do.", "%s: host names with underscores are refused by some clients", strings.Join(underscores, ", "))
	}
	return found
}

// checkSubject refuses what RFC 5280 does not allow in a name; most is for the common name.
func checkSubject(n pkix.Name, most int) error {
	bad := func(what, value string, most int) error {
		if len([]rune(value)) > most {
			return fail(diag.NameInvalid, "Use a shorter one.", "the subject's %s has %d letters, and %d are allowed", what, len([]rune(value)), most)
		}
		if strings.ContainsFunc(value, unicode.IsControl) {
			return fail(diag.NameInvalid, "Use plain text.", "the subject's %s holds control characters", what)
		}
		return nil
	}
	if err := bad("common name", n.CommonName, most); err != nil {
		return err
	}
	for what, list := range map[string][]string{"organization": n.Organization, "organizational unit": n.OrganizationalUnit, "locality": n.Locality, "province": n.Province, "street": n.StreetAddress} {
		for _, v := range list {
			if err := bad(what, v, 128); err != nil {
				return err
			}
		}
	}
	for _, c := range n.Country {
		if len(c) != 2 {
			return fail(diag.NameInvalid, "Use the two letters of ISO 3166, as JP.", "the subject's country %q is no country code", c)
		}
	}
	return nil
}

// normal checks constraints and writes domains without stars and leading dots.
func (c Constraints) normal() (Constraints, error) {
	for _, list := range []*[]string{&c.PermittedDNS, &c.ExcludedDNS} {
		out := make([]string, 0, len(*list))
		for _, d := range *list {
			p, err := hostname.Parse(strings.TrimPrefix(strings.TrimPrefix(d, "*"), "."))
			if err != nil || !p.IsExact() {
				return c, fail(diag.AuthoritySetup, "Write it as example.com; what is below it is meant too.", "the name constraint %q is no domain", d)
			}
			out = append(out, p.String())
		}
		*list = slices.Clip(out)
	}
	for _, list := range [][]string{c.PermittedIP, c.ExcludedIP} {
		if _, err := networks(list); err != nil {
			return c, failWith(err, diag.AuthoritySetup, "Write it as 10.0.0.0/8.", "a name constraint is no range of addresses")
		}
	}
	return c, nil
}

func (c Constraints) empty() bool {
	return len(c.PermittedDNS)+len(c.ExcludedDNS)+len(c.PermittedIP)+len(c.ExcludedIP) == 0
}

// put writes the constraints into a template, critical as RFC 5280 section 4.2.1.10 asks.
func (c Constraints) put(t *x509.Certificate) error {
	if c.empty() {
		return nil
	}
	var err error
	if t.PermittedIPRanges, err = networks(c.PermittedIP); err != nil {
		return err
	}
	if t.ExcludedIPRanges, err = networks(c.ExcludedIP); err != nil {
		return err
	}
	t.PermittedDNSDomainsCritical, t.PermittedDNSDomains, t.ExcludedDNSDomains = true, c.PermittedDNS, c.ExcludedDNS
	return nil
}

// outside returns the names that a CA's constraints do not allow.
func outside(s sans, ca *x509.Certificate) []string {
	var out []string
	below := func(name, domain string) bool {
		name, domain = strings.TrimPrefix(name, "*."), strings.TrimPrefix(domain, ".")
		return domain == "" || name == domain || strings.HasSuffix(name, "."+domain)
	}
	for _, n := range s.dns {
		in := len(ca.PermittedDNSDomains) == 0 || slices.ContainsFunc(ca.PermittedDNSDomains, func(d string) bool { return below(n, d) })
		if !in || slices.ContainsFunc(ca.ExcludedDNSDomains, func(d string) bool { return below(n, d) || strings.HasPrefix(n, "*.") && below(d, n) }) {
			out = append(out, n)
		}
	}
	for _, ip := range s.ips {
		in := len(ca.PermittedIPRanges) == 0 || slices.ContainsFunc(ca.PermittedIPRanges, func(r *net.IPNet) bool { return r.Contains(ip) })
		if !in || slices.ContainsFunc(ca.ExcludedIPRanges, func(r *net.IPNet) bool { return r.Contains(ip) }) {
			out = append(out, ip.String())
		}
	}
	return out
}

// allowed describes constraints for people.
func allowed(ca *x509.Certificate) string {
	var parts []string
	ranges := func(word string, names []string, nets []*net.IPNet) {
		all := slices.Clone(names)
		for _, n := range nets {
			all = append(all, n.String())
		}
		if len(all) > 0 {
			parts = append(parts, word+" "+strings.Join(all, ", "))
		}
	}
	ranges("only", ca.PermittedDNSDomains, ca.PermittedIPRanges)
	ranges("not", ca.ExcludedDNSDomains, ca.ExcludedIPRanges)
	return fmt.Sprintf("%s allows %s", secret.Subject(ca), strings.Join(parts, " and "))
}
