package native

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// egress translates UpstreamProxies, ForwardProxies and CachePolicies.
func (t *translator) egress() {
	for _, p := range t.set.UpstreamProxies() {
		t.upstreamProxy(p)
	}
	t.unreadProxies()
	for _, f := range t.set.ForwardProxies() {
		t.forwardProxy(f)
	}
	t.sharedCAs()
	for _, p := range t.set.CachePolicies() {
		t.cachePolicy(p)
	}
}

// isLoopback reports whether a host is this machine by its name or address.
func isLoopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// version reads a TLS version; what is not given or not known is otherwise. One that RFC 8996 deprecates is
// reported.
func (t *translator) version(m *resource.Meta, field, v, towards string, otherwise uint16) uint16 {
	if v == "" {
		return otherwise
	}
	n, ok := tlsname.ParseVersion(v)
	switch {
	case !ok:
		t.report(m, diag.TLSFloorInvalid, field, fmt.Sprintf("%q is no TLS version; %s holds instead", v, tlsname.Version(otherwise)), "Use 1.0, 1.1, 1.2 or 1.3.")
		return otherwise
	case n < 0x0303 && strings.HasSuffix(field, "minVersion"):
		t.report(m, diag.TLSLegacy, field, fmt.Sprintf("TLS %s towards %s is enabled, which RFC 8996 deprecates", tlsname.Version(n), towards), "Raise minVersion to \"1.2\".")
	}
	return n
}

// patterns reads host patterns, the most specific first. Those that cannot be used are left out.
func (t *translator) patterns(m *resource.Meta, code diag.Code, field string, list []string) []hostname.Pattern {
	var out []hostname.Pattern
	for i, h := range list {
		p, err := hostname.Parse(h)
		if err != nil {
			t.report(m, code, fmt.Sprintf("%s[%d]", field, i), err.Error()+"; this host is left out", `Write a DNS name, "*." and a DNS name, or "*".`)
			continue
		}
		out = append(out, p)
	}
	slices.SortFunc(out, hostname.Compare)
	return slices.Compact(out)
}

// prefix reads an address or a network in canonical form; "" if it is neither.
func prefix(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().String()
	}
	return ""
}

// trustOf resolves a reference to CAs, or "" for none.
func (t *translator) trustOf(m *resource.Meta, ref *v1alpha1.ObjectReference, field string) (ir.TrustRef, bool) {
	if ref == nil {
		return "", true
	}
	return t.authorities(m, []v1alpha1.ObjectReference{*ref}, []string{field})
}

// signer resolves a reference to a CA that leaves are signed with. Under the reference of one that cannot
// sign stands why, and no pair.
func (t *translator) signer(m *resource.Meta, ref *v1alpha1.ObjectReference, field string) ir.SecretRef {
	out := t.certificate(m, ref, field)
	c := t.out.Secrets[out]
	if c == nil || c.Pair == nil {
		return out
	}
	leaf, fault := c.Pair.Leaf, ""
	switch {
	case !leaf.BasicConstraintsValid || !leaf.IsCA:
		fault = "is no CA: its basicConstraints do not say CA:TRUE"
	case leaf.KeyUsage != 0 && leaf.KeyUsage&keyUsageCertSign == 0:
		fault = "may not sign certificates: its keyUsage lacks keyCertSign"
	}
	if fault != "" {
		message := fmt.Sprintf("the certificate of %s %s; TLS that would be looked into is refused", c.Origin.Object, fault)
		t.report(m, diag.InterceptionCAUnusable, field, message, "Name a Secret with a CA and its key: hakone egress ca create makes one.")
		unusable := "unusable-ca:" + out
		t.out.Secrets[unusable] = &ir.Credential{Origin: ir.Origin{Object: m.Object(), Field: field}, Code: diag.InterceptionCAUnusable, Detail: message, Cause: diag.InterceptionCAUnusable}
		return unusable
	}
	if len(leaf.PermittedDNSDomains)+len(leaf.ExcludedDNSDomains)+len(leaf.PermittedIPRanges)+len(leaf.ExcludedIPRanges) > 0 {
		t.reportAs(diag.Info, m, diag.InterceptionCAUnwise, field, fmt.Sprintf("the CA %s is bounded to names (%s): hosts beyond them are not looked into", c.Origin.Object, bounds(leaf.PermittedDNSDomains, leaf.ExcludedDNSDomains)),
			"Nothing to do if that is meant: such a CA can do little harm elsewhere.")
	}
	return out
}

// bounds writes name constraints.
func bounds(permitted, excluded []string) string {
	var out []string
	if len(permitted) > 0 {
		out = append(out, "only "+strings.Join(permitted, ", "))
	}
	if len(excluded) > 0 {
		out = append(out, "not "+strings.Join(excluded, ", "))
	}
	if out == nil {
		return "addresses"
	}
	return strings.Join(out, "; ")
}

// publicBundle is how many CAs make a bundle that of a system or browser.
const publicBundle = 40

// anchors judges the CA that an UpstreamProxy intercepts with.
func (t *translator) anchors(m *resource.Meta, ref ir.TrustRef, field string) {
	b := t.out.Trust[ref]
	if b == nil || b.Bundle == nil {
		return
	}
	if n := b.Bundle.Len(); n >= publicBundle {
		t.report(m, diag.InterceptionCAUnwise, field, fmt.Sprintf("%d CAs are named, which looks like the public ones of a system: whatever they signed passes as intercepted by the proxy", n),
			"Name the proxy's own CA alone.")
	}
	for _, c := range b.Bundle.Certificates {
		if !c.IsCA || !c.BasicConstraintsValid {
			t.report(m, diag.InterceptionCAUnwise, field, fmt.Sprintf("%q is no CA, so no leaf that the proxy makes can lead to it", c.Subject.String()),
				"Put the certificate there that the proxy signs with (Squid: tls-cert), not one that it showed.")
		}
		if len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains) > 0 {
			t.reportAs(diag.Info, m, diag.InterceptionCAUnwise, field, fmt.Sprintf("%q is bounded to names (%s): what the proxy intercepts beyond them does not verify", c.Subject.String(), bounds(c.PermittedDNSDomains, c.ExcludedDNSDomains)),
				"Nothing to do if that is meant.")
		}
	}
}

// sharedCAs tells of CAs that we and an upstream proxy intercept with alike: who holds its key then makes
// leaves that our own clients believe.
func (t *translator) sharedCAs() {
	for _, f := range t.out.Forwards {
		if f.Interception == nil {
			continue
		}
		own := t.out.Secrets[f.Interception.CA]
		if own == nil || own.Pair == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(t.out.Proxies)) {
			p := t.out.Proxies[name]
			b := t.out.Trust[p.Interception]
			if p.Interception == "" || b == nil || b.Bundle == nil || !b.Bundle.Contains(own.Pair.Leaf) {
				continue
			}
			t.out.Report(diag.InterceptionCAUnwise, f.Origin.Object, "spec.interception.caRef",
				fmt.Sprintf("the CA is the one that %s intercepts with too, so nobody can tell whose leaf it is", p.Origin.Object), "Give this forward proxy a CA of its own.")
		}
	}
}
