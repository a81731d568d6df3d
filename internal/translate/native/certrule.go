package native

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/certname"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// rules reads allow and deny. A rule that cannot be used lets nobody in: it is left out of allow, which
// closes the policy if no other is left, and closes the policy if it stands in deny.
func (b *accessBuilder) rules() {
	for i := range b.s.Allow {
		if r, ok := b.rule(fmt.Sprintf("spec.allow[%d]", i), &b.s.Allow[i]); ok {
			b.out.Policy.Allow = append(b.out.Policy.Allow, r)
		}
	}
	if len(b.s.Allow) > 0 && len(b.out.Policy.Allow) == 0 {
		b.close("none of the rules in spec.allow can be used")
	}
	for i := range b.s.Deny {
		if r, ok := b.rule(fmt.Sprintf("spec.deny[%d]", i), &b.s.Deny[i]); ok {
			b.out.Policy.Deny = append(b.out.Policy.Deny, r)
		} else {
			b.close(fmt.Sprintf("spec.deny[%d] cannot be used", i))
		}
	}
}

// rule translates one rule; false if it cannot be used, which has been reported.
func (b *accessBuilder) rule(field string, r *v1alpha1.CertificateRule) (ir.CertificateRule, bool) {
	out := ir.CertificateRule{
		CommonNames: slices.Clone(r.CommonNames), Subjects: slices.Clone(r.Subjects), Issuers: slices.Clone(r.Issuers), SPKI: slices.Clone(r.SPKI),
	}
	ok := true
	bad := func(name, message, fix string) {
		b.say(diag.AccessRuleUnreadable, field+"."+name, message, fix)
		ok = false
	}
	if n := r.SubjectAltNames; n != nil {
		out.DNS, out.URIs, out.Emails, out.IPs = lower(n.DNS), slices.Clone(n.URIs), slices.Clone(n.Emails), slices.Clone(n.IPs)
		if len(n.DNS)+len(n.URIs)+len(n.Emails)+len(n.IPs) == 0 {
			bad("subjectAltNames", "one of the lists has to have an entry; none has", "Give it dns, uris, emails or ips, or remove it.")
		}
		for i, ip := range n.IPs {
			_, err1 := netip.ParseAddr(ip)
			_, err2 := netip.ParsePrefix(ip)
			if err1 != nil && err2 != nil {
				bad(fmt.Sprintf("subjectAltNames.ips[%d]", i), fmt.Sprintf("%q is neither an address nor a range", ip), "Write 10.1.2.3 or 10.0.0.0/8.")
			}
		}
	}
	for _, f := range r.Fingerprints {
		out.Fingerprints = append(out.Fingerprints, strings.ToLower(strings.ReplaceAll(f, ":", "")))
	}
	for _, s := range r.Serials {
		out.Serials = append(out.Serials, serialText(s))
	}
	for _, d := range []struct {
		name string
		list []string
	}{{"subjects", r.Subjects}, {"issuers", r.Issuers}} {
		for i, text := range d.list {
			if _, err := certname.ParsePattern(text); err != nil {
				bad(fmt.Sprintf("%s[%d]", d.name, i), fmt.Sprintf("%q is no distinguished name, nor part of one: %v", text, err), "Write it as RFC 2253 does: CN=vera,O=Example, or O=Example.")
			}
		}
	}
	for i, u := range r.ExtendedKeyUsages {
		oid := usageOID(u)
		if oid == "" {
			bad(fmt.Sprintf("extendedKeyUsages[%d]", i), fmt.Sprintf("%q is no extended key usage", u), "Use clientAuth, serverAuth, emailProtection, codeSigning or an OID.")
		}
		out.Usages = append(out.Usages, oid)
	}
	for _, d := range []struct {
		name string
		from v1alpha1.Duration
		to   *time.Duration
	}{{"maxValidity", r.MaxValidity, &out.MaxValidity}, {"minRemaining", r.MinRemaining, &out.MinRemaining}} {
		if d.from == "" {
			continue
		}
		v, err := time.ParseDuration(string(d.from))
		if err != nil || v <= 0 {
			bad(d.name, fmt.Sprintf("%q is no length of time above zero", d.from), "Write a duration such as 2160h.")
		}
		*d.to = v
	}
	if ok && reflect.ValueOf(out).IsZero() {
		what := "holds for every certificate that verifies"
		b.say(diag.AccessRuleEmpty, field, "the rule names no condition, so it "+what, "Give it a condition, or remove it.")
	}
	return out, ok
}

func lower(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}

// usageOID returns the OID of an extended key usage (RFC 5280 section 4.2.1.12), or "".
func usageOID(name string) string {
	switch name {
	case "serverAuth":
		return "1.3.6.1.5.5.7.3.1"
	case "clientAuth":
		return "1.3.6.1.5.5.7.3.2"
	case "codeSigning":
		return "1.3.6.1.5.5.7.3.3"
	case "emailProtection":
		return "1.3.6.1.5.5.7.3.4"
	}
	if _, err := certname.ParseOID(name); err != nil {
		return ""
	}
	return name
}
