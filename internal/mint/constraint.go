package mint

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// limits are the name constraints of a CA and of those above it (RFC 5280 section 4.2.1.10).
type limits []*x509.Certificate

// newLimits returns those of a chain that have constraints on names of servers.
func newLimits(pair *secret.KeyPair) limits {
	var out limits
	for _, c := range append([]*x509.Certificate{pair.Leaf}, pair.Issuers...) {
		if len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains)+len(c.PermittedIPRanges)+len(c.ExcludedIPRanges) > 0 {
			out = append(out, c)
		}
	}
	return out
}

// hostBy returns the CA that forbids a host name; nil if none does.
func (l limits) hostBy(name string) *x509.Certificate {
	name = strings.ToLower(name)
	for _, c := range l {
		if len(c.PermittedDNSDomains) > 0 && !anyDomain(c.PermittedDNSDomains, name, false) || anyDomain(c.ExcludedDNSDomains, name, true) {
			return c
		}
	}
	return nil
}

// ipBy returns the CA that forbids an address; nil if none does.
func (l limits) ipBy(ip net.IP) *x509.Certificate {
	within := func(nets []*net.IPNet) bool {
		for _, n := range nets {
			if n.Contains(ip) {
				return true
			}
		}
		return false
	}
	for _, c := range l {
		if len(c.PermittedIPRanges) > 0 && !within(c.PermittedIPRanges) || within(c.ExcludedIPRanges) {
			return c
		}
	}
	return nil
}

// anyDomain reports whether a name falls under one of the constraints. A wildcard is permitted if all that
// it stands for is, and excluded if anything is.
func anyDomain(constraints []string, name string, excluded bool) bool {
	base, wild := strings.CutPrefix(name, "*.")
	for _, c := range constraints {
		c = strings.ToLower(c)
		sub := strings.HasPrefix(c, ".") // only names below it
		domain := strings.TrimPrefix(c, ".")
		switch {
		case domain == "":
			return true
		case wild && (base == domain || strings.HasSuffix(base, "."+domain)):
			return true
		case wild && excluded && !sub && parent(domain) == base:
			return true
		case !wild && (name == domain && !sub || strings.HasSuffix(name, "."+domain)):
			return true
		}
	}
	return false
}

func parent(domain string) string {
	_, rest, _ := strings.Cut(domain, ".")
	return rest
}

// permits returns an error if the CA may not sign for what the client asked for.
func (l limits) permits(names []string, ips []netip.Addr) *Error {
	if len(l) == 0 {
		return nil
	}
	refuse := func(name string, by *x509.Certificate) *Error {
		return &Error{Code: diag.MintNameNotPermitted, Detail: fmt.Sprintf("the name constraints of the CA %s do not permit %s", secret.Subject(by), name)}
	}
	for _, n := range names {
		if by := l.hostBy(n); by != nil {
			return refuse(n, by)
		}
	}
	for _, ip := range ips {
		if by := l.ipBy(ip.Unmap().AsSlice()); by != nil {
			return refuse(ip.String(), by)
		}
	}
	return nil
}

// keep removes what the CA may not sign for from what a destination's certificate names: one such name
// would spoil the whole leaf.
func (l limits) keep(n *subjectNames) *Error {
	if len(l) == 0 {
		return nil
	}
	var dns []string
	var ips []net.IP
	var by *x509.Certificate
	for _, d := range n.dns {
		if c := l.hostBy(d); c == nil {
			dns = append(dns, d)
		} else {
			by = c
		}
	}
	for _, ip := range n.ips {
		if c := l.ipBy(ip); c == nil {
			ips = append(ips, ip)
		} else {
			by = c
		}
	}
	if len(dns)+len(ips) == 0 && by != nil {
		return &Error{Code: diag.MintNameNotPermitted, Detail: fmt.Sprintf("the name constraints of the CA %s permit none of the destination's names (%s)", secret.Subject(by), n.words())}
	}
	n.dns, n.ips = dns, ips
	if hostLike(n.common) && l.hostBy(n.common) != nil {
		n.common = n.first()
	}
	return nil
}

// words lists the names for people.
func (n *subjectNames) words() string {
	all := append([]string(nil), n.dns...)
	for _, ip := range n.ips {
		all = append(all, ip.String())
	}
	if len(all) > 5 {
		return strings.Join(all[:5], ", ") + fmt.Sprintf(" and %d more", len(all)-5)
	}
	return strings.Join(all, ", ")
}
