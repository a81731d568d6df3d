package trust

import (
	"fmt"
	"net/netip"
	"strings"
)

// SANKind is a kind of subject alternative name. The zero value is any kind.
type SANKind uint8

// Kinds of names.
const (
	SANAny SANKind = iota
	SANDNS
	SANURI
	SANEmail
	SANIP
)

// SAN is a name that a certificate may be asked to carry. The match is exact, as in Istio's
// subjectAltNames: a "*" in Value is an ordinary character. DNS names are compared without case, and a
// wildcard in the *certificate* covers one label, as in Envoy. URIs and e-mail addresses are compared
// byte by byte, IP addresses by value. An address without a kind matches addresses alone: a DNS name that
// reads like one is none.
type SAN struct {
	Kind  SANKind
	Value string
}

// ParseSANs makes names of any kind of the strings; empty ones are dropped.
func ParseSANs(in []string) []SAN {
	var out []SAN
	for _, s := range in {
		if s != "" {
			out = append(out, SAN{Value: s})
		}
	}
	return out
}

// Match reports whether the certificate with these facts carries the name.
func (s SAN) Match(f *Facts) bool {
	if s.Value == "" {
		return false
	}
	is := func(k SANKind) bool { return s.Kind == SANAny || s.Kind == k }
	want, err := netip.ParseAddr(s.Value)
	address := err == nil
	if s.Kind == SANDNS || s.Kind == SANAny && !address {
		for _, n := range f.DNS {
			if dnsMatch(n, s.Value) {
				return true
			}
		}
	}
	if is(SANURI) {
		for _, n := range f.URIs {
			if n == s.Value {
				return true
			}
		}
	}
	if is(SANEmail) {
		for _, n := range f.Emails {
			if n == s.Value {
				return true
			}
		}
	}
	if address && is(SANIP) {
		for _, n := range f.IPs {
			if got, err := netip.ParseAddr(n); err == nil && got.Unmap() == want.Unmap() {
				return true
			}
		}
	}
	return false
}

// dnsMatch compares a certificate's DNS name with the one wanted.
func dnsMatch(cert, want string) bool {
	if strings.EqualFold(cert, want) {
		return true
	}
	suffix, wild := strings.CutPrefix(cert, "*.")
	if !wild || !strings.Contains(suffix, ".") {
		return false
	}
	label, rest, ok := strings.Cut(want, ".")
	return ok && label != "" && label != "*" && strings.EqualFold(rest, suffix)
}

// namesWords lists the certificate's names for people, as many as fit.
func (f *Facts) namesWords() string {
	if !f.HasSAN {
		return "no subject alternative names"
	}
	var all []string
	for _, n := range f.DNS {
		all = append(all, "DNS:"+n)
	}
	for _, n := range f.URIs {
		all = append(all, "URI:"+n)
	}
	for _, n := range f.Emails {
		all = append(all, "email:"+n)
	}
	for _, n := range f.IPs {
		all = append(all, "IP:"+n)
	}
	if len(all) == 0 {
		return "no names of a known kind"
	}
	return "the names " + few(all)
}

func sanWords(sans []SAN) string {
	all := make([]string, len(sans))
	for i, s := range sans {
		all[i] = s.Value
	}
	return few(all)
}

func few(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}
