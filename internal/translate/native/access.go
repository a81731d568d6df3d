package native

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/semantics"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// access translates ClientCertificatePolicies. Whatever of a policy cannot be carried out closes it: it
// covers more or lets nobody in.
func (t *translator) access() {
	for _, p := range t.set.ClientCertificatePolicies() {
		b := &accessBuilder{translator: t, p: p, s: p.Spec}
		b.out = translate.Access{Order: p.Rank, Policy: &ir.AccessPolicy{
			Name: p.Namespace + "/" + p.Name, Display: p.Spec.DisplayName, Origin: ir.Origin{Object: p.Object(), Field: "spec"}, Forward: []string{},
		}}
		if b.covers() {
			b.policy()
			t.out.Access = append(t.out.Access, b.out)
		}
	}
	t.unread()
}

// unread closes what policies cover that were not accepted and have no earlier version.
func (t *translator) unread() {
	for i, x := range t.set.Broken() {
		if x.Reach == nil {
			continue
		}
		m := resource.Meta{Key: x.Key}
		p := &resource.ClientCertificatePolicy{Meta: m, Spec: x.Reach}
		b := &accessBuilder{translator: t, p: p, s: x.Reach, silent: true}
		b.out = translate.Access{Order: t.set.Len() + i, Policy: &ir.AccessPolicy{
			Name: x.Namespace + "/" + x.Name, Origin: ir.Origin{Object: x.Object(), Field: "spec"}, Forward: []string{}, CaseSensitive: x.Reach.CaseSensitive,
			Fault: &ir.Fault{Code: diag.PolicyBroken, Detail: "the policy " + t.set.Unaccepted(x.Key)},
		}}
		if !b.covers() {
			continue
		}
		t.out.Access = append(t.out.Access, b.out)
		d := diag.New(diag.AccessPolicyUnread, x.Object(), "", fmt.Sprintf("the policy %s, so what it covers is closed", t.set.Unaccepted(x.Key)), "Mend what is reported about it.")
		d.Position = x.Position
		t.out.Diagnostics = append(t.out.Diagnostics, d)
	}
}

// absent hands on which gateways and routes were not accepted, and the hosts that they name.
func (t *translator) absent() {
	for _, x := range t.set.Broken() {
		u := translate.Unread{Object: x.Object(), Stands: t.set.Unaccepted(x.Key)}
		for _, h := range x.Hosts {
			if _, host, ok := strings.Cut(h, "/"); ok { // NAMESPACE/HOST of an Istio server
				h = host
			}
			if p, err := hostname.Parse(h); err == nil {
				u.Hosts = append(u.Hosts, p)
			}
		}
		t.out.Unread = append(t.out.Unread, u)
	}
}

// accessBuilder makes the access of one policy.
type accessBuilder struct {
	*translator
	p      *resource.ClientCertificatePolicy
	s      *v1alpha1.ClientCertificatePolicySpec
	out    translate.Access
	silent bool // the object has its diagnostics already
}

func (b *accessBuilder) say(code diag.Code, field, message, fix string) {
	if !b.silent {
		b.report(&b.p.Meta, code, field, message, fix)
	}
}

// close makes the policy let nobody in. The first reason stays.
func (b *accessBuilder) close(detail string) {
	if b.out.Policy.Fault == nil && !b.out.Policy.Open {
		b.out.Policy.Fault = &ir.Fault{Code: diag.PolicyBroken, Detail: detail}
	}
}

// covers reads targets, hosts and paths; false if the policy can be about nothing.
func (b *accessBuilder) covers() bool {
	open := b.s.Action == v1alpha1.ActionOpen
	for i := range b.s.TargetRefs {
		if target, ok := b.target(i); ok {
			b.out.Targets = append(b.out.Targets, target)
		}
	}
	for i, h := range b.s.Hosts {
		p, err := hostname.Parse(h)
		if err != nil {
			b.say(diag.ListenerHostInvalid, fmt.Sprintf("spec.hosts[%d]", i), err.Error(), "Correct the name.")
			continue
		}
		b.out.Hosts = append(b.out.Hosts, p)
	}
	slices.SortFunc(b.out.Hosts, hostname.Compare)
	b.out.Hosts = slices.Compact(b.out.Hosts)
	switch lostTargets, lostHosts := len(b.s.TargetRefs) > 0 && len(b.out.Targets) == 0, len(b.s.Hosts) > 0 && len(b.out.Hosts) == 0; {
	case len(b.out.Targets) == 0 && len(b.out.Hosts) == 0, open && (lostTargets || lostHosts):
		b.say(diag.AccessCoversNothing, "spec", "none of the policy's targets and hosts can be used, so it covers nothing", "Correct spec.targetRefs and spec.hosts.")
		return false
	}
	if len(b.s.Except) > 0 {
		b.out.Except = b.paths("spec.except", b.s.Except, false)
	}
	b.out.Paths = b.paths("spec.paths", b.s.Paths, !open)
	if open && len(b.s.Paths) > 0 && len(b.out.Paths) == 0 {
		return false
	}
	return true
}

// target reads one targetRef.
func (b *accessBuilder) target(i int) (translate.AccessTarget, bool) {
	out, fault := targetOf(&b.p.Meta, b.s.TargetRefs[i], fmt.Sprintf("spec.targetRefs[%d]", i))
	if fault != nil {
		b.say(fault.Code, fault.Field, fault.Message, fault.Fix)
	}
	return out, fault == nil
}

// paths returns the canonical forms. Of one that no request can have the next path above is covered
// (widen), or nothing. The result is nil for every path.
func (b *accessBuilder) paths(field string, list []string, widen bool) []string {
	out := []string{}
	for i, p := range list {
		canonical, fault := semantics.CanonicalPath(p)
		star := strings.IndexByte(p, '*')
		if fault != "" || star >= 0 {
			at, message := fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("no request can have the path %q: %s", p, fault)
			if fault == "" {
				message = fmt.Sprintf("the path %q holds a star, which is no wildcard: a path covers all below it", p)
				p = p[:star+1] // what stands before it is covered
			}
			if !widen {
				b.say(diag.AccessPathInvalid, at, message+"; it is left out", "Write the path as the origin knows it.")
				continue
			}
			canonical = above(p)
			b.say(diag.AccessPathInvalid, at, fmt.Sprintf("%s; %s is covered instead", message, canonical), "Write the path as the origin knows it.")
		}
		canonical = strings.TrimRight(canonical, "/")
		if canonical == "" && widen {
			return nil // everything
		}
		out = append(out, canonical)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// above returns the nearest parent of p that has a canonical form.
func above(p string) string {
	for i := strings.LastIndexByte(p, '/'); i > 0; i = strings.LastIndexByte(p, '/') {
		p = p[:i]
		if canonical, fault := semantics.CanonicalPath(p); fault == "" {
			return canonical
		}
	}
	return "/"
}

// policy reads all but what is covered.
func (b *accessBuilder) policy() {
	out, s := b.out.Policy, b.s
	out.Open, out.Audit = s.Action == v1alpha1.ActionOpen, s.Mode == v1alpha1.ModeAudit
	out.CaseSensitive, out.CloseNow = s.CaseSensitive, s.OnChange == v1alpha1.OnChangeNow
	if out.Open {
		b.openWords()
		return
	}
	out.Reject = s.Enforcement == v1alpha1.EnforceRejectConnection
	if s.Preset == v1alpha1.PresetCloudflareAccess {
		out.Preset = ir.PresetCloudflare
	}
	b.trust()
	b.rules()
	if r := b.revocation(&b.p.Meta, "spec.revocation", s.Revocation); r != nil {
		out.Revocation = *r
	}
	b.forward()
	b.session()
	b.page()
	if out.Fault != nil {
		b.say(diag.AccessTrustUnusable, "spec", "the policy lets nobody in: "+out.Fault.Detail, "Mend what is reported beside it.")
	}
}

// openWords says what does nothing beside action Open.
func (b *accessBuilder) openWords() {
	s := b.s
	for _, x := range []struct {
		field string
		set   bool
	}{
		{"trust", s.Trust != nil}, {"allow", len(s.Allow) > 0}, {"deny", len(s.Deny) > 0}, {"revocation", s.Revocation != nil},
		{"enforcement", s.Enforcement == v1alpha1.EnforceRejectConnection}, {"mode", s.Mode == v1alpha1.ModeAudit},
		{"onChange", s.OnChange == v1alpha1.OnChangeNow}, {"forward", len(s.Forward) > 0},
		{"session", s.Session != nil}, {"denyPage", s.DenyPage != nil}, {"preset", s.Preset == v1alpha1.PresetCloudflareAccess},
	} {
		if x.set {
			b.say(diag.FieldWithoutEffect, "spec."+x.field, x.field+" does nothing beside action Open, which lets everybody in", "Remove it, or use action Require.")
		}
	}
	b.out.Policy.Audit = false
}

// trust finds CAs and revocation lists.
func (b *accessBuilder) trust() {
	m := &b.p.Meta
	if b.s.Trust == nil || len(b.s.Trust.CARefs) == 0 {
		b.say(diag.MissingField, "spec.trust", "the policy names no CA", "Add trust.caRefs, or set action: Open.")
		b.close("it names no CA")
		return
	}
	denied := ""
	sources := func(list []v1alpha1.ObjectReference, name string) (out []credential.Source) {
		for i := range list {
			field := fmt.Sprintf("spec.trust.%s[%d]", name, i)
			to, fault := b.refer(m, &list[i], field, resource.KindSecret, resource.KindConfigMap)
			if fault != "" {
				denied = fault
				continue
			}
			out = append(out, credential.Source{Kind: to.Kind, Namespace: to.Namespace, Name: to.Name, Entry: list[i].Key, From: ir.Origin{Object: m.Object(), Field: field}})
		}
		return out
	}
	cas := sources(b.s.Trust.CARefs, "caRefs")
	if len(cas) == 0 {
		b.close("none of its CAs may be referred to: " + denied)
		return
	}
	denied = ""
	lists := sources(b.s.Trust.CRLRefs, "crlRefs")
	if denied != "" {
		b.close("a revocation list may not be referred to: " + denied)
		return
	}
	ref, ok := b.creds.TrustListed(cas, lists)
	b.out.Policy.Trust = ref
	if !ok {
		b.close("its CAs cannot be used: " + b.translator.out.Trust[ref].Detail)
	}
}

// forward reads how origins are told of the certificate.
func (b *accessBuilder) forward() {
	list := b.s.Forward
	if len(list) == 0 {
		list = []v1alpha1.ForwardFormat{v1alpha1.ForwardRFC9440, v1alpha1.ForwardXFCC}
		if b.s.Preset == v1alpha1.PresetCloudflareAccess {
			list = []v1alpha1.ForwardFormat{v1alpha1.ForwardCloudflare}
		}
	}
	if slices.Contains(list, v1alpha1.ForwardNone) {
		if len(list) > 1 {
			b.say(diag.BadValue, "spec.forward", "None stands beside other formats; nothing is forwarded", "Keep None, or remove it.")
		}
		return
	}
	for _, f := range list {
		word := map[v1alpha1.ForwardFormat]string{v1alpha1.ForwardRFC9440: ir.ForwardRFC9440, v1alpha1.ForwardXFCC: ir.ForwardXFCC, v1alpha1.ForwardCloudflare: ir.ForwardCloudflare}[f]
		if word == "" {
			b.say(diag.UnknownEnum, "spec.forward", fmt.Sprintf("format %q is not known; it is left out", f), "Use RFC9440, XFCC, Cloudflare or None.")
			continue
		}
		b.out.Policy.Forward = append(b.out.Policy.Forward, word)
	}
	slices.Sort(b.out.Policy.Forward)
	b.out.Policy.Forward = slices.Compact(b.out.Policy.Forward)
}

// session reads the identity cookie. One whose key or time cannot be used is not given at all: that
// opens nothing.
func (b *accessBuilder) session() {
	s := b.s.Session
	cookie := "HK_Authorization"
	if b.s.Preset == v1alpha1.PresetCloudflareAccess {
		cookie = "CF_Authorization"
		if s == nil {
			s = &v1alpha1.IdentitySession{}
		}
	}
	if s == nil {
		return
	}
	m, sum := &b.p.Meta, sha256.Sum256([]byte(b.out.Policy.Name))
	out := &ir.Session{Cookie: s.CookieName, Algorithm: s.Algorithm, Issuer: s.Issuer, Audience: s.Audience, Alone: s.Accept == v1alpha1.AcceptAlone, SameSite: s.SameSite,
		Duration: b.duration(m, diag.BadValue, "spec.session.duration", s.Duration, time.Second, 24*time.Hour)}
	if out.Cookie == "" {
		out.Cookie = cookie
	}
	if out.Algorithm == "" {
		out.Algorithm = "RS256"
	}
	if out.Audience == "" {
		out.Audience = hex.EncodeToString(sum[:])
	}
	if s.NotBefore != "" {
		at, err := time.Parse(time.RFC3339, s.NotBefore)
		if err != nil {
			b.say(diag.BadValue, "spec.session.notBefore", fmt.Sprintf("%q is no time; no cookie is given", s.NotBefore), "Write a time such as 2026-01-02T15:04:05Z.")
			return
		}
		out.NotBefore = at.UTC()
	}
	if s.KeyRef != nil && !b.sessionKey(s, out) {
		return
	}
	b.out.Policy.Session = out
}

// sessionKey finds the key that cookies are signed with, and says whether it is one for the algorithm.
func (b *accessBuilder) sessionKey(s *v1alpha1.IdentitySession, out *ir.Session) bool {
	m, field := &b.p.Meta, "spec.session.keyRef"
	out.Key = b.certificate(m, s.KeyRef, field)
	c := b.translator.out.Secrets[out.Key]
	if c == nil || c.Pair == nil {
		b.say(diag.SessionKeyUnusable, field, "the key cannot be read, so no cookie is given", "Name a Secret with tls.crt and tls.key: hakone cert issue makes one.")
		return false
	}
	key, want := c.Pair.KeyType(), "an RSA key of at least 2048 bits"
	fits := c.Pair.IsRSA() && c.Pair.Leaf.PublicKeyAlgorithm.String() == "RSA" && rsaBits(key) >= 2048
	if out.Algorithm == "ES256" {
		want, fits = "an ECDSA key on P-256", key == "ECDSA-P256"
	}
	if !fits {
		b.say(diag.SessionKeyUnusable, field, fmt.Sprintf("%s needs %s, and this one is %s; no cookie is given", out.Algorithm, want, key), "Name another Secret, or set spec.session.algorithm to what the key is for.")
	}
	return fits
}

func rsaBits(keyType string) (bits int) {
	if _, err := fmt.Sscanf(keyType, "RSA-%d", &bits); err != nil {
		return 0
	}
	return bits
}

// page reads the deny page.
func (b *accessBuilder) page() {
	p := b.s.DenyPage
	if p == nil {
		return
	}
	b.out.Policy.Page = &ir.DenyPage{Status: int(p.Status), HTML: p.HTML, JSON: p.JSON, Redirect: p.RedirectURL}
	if p.RedirectURL != "" && (p.HTML != "" || p.JSON != "" || p.Status != 0) {
		b.say(diag.FieldWithoutEffect, "spec.denyPage", "status, html and json do nothing beside redirectURL, which answers 302", "Remove them, or redirectURL.")
	}
	for _, body := range []struct{ field, text string }{{"html", p.HTML}, {"json", p.JSON}} {
		for rest := body.text; ; {
			_, after, found := strings.Cut(rest, "${")
			if !found {
				break
			}
			name, _, closed := strings.Cut(after, "}")
			if known := []string{"code", "slug", "reason", "requestId", "host", "status"}; closed && len(name) < 32 && !slices.Contains(known, name) {
				fix := "Use ${code}, ${slug}, ${reason}, ${requestId}, ${host} or ${status}."
				if near := translate.Nearest(name, known); near != "" {
					fix = "Did you mean ${" + near + "}?"
				}
				b.say(diag.DenyPagePlaceholder, "spec.denyPage."+body.field, fmt.Sprintf("${%s} is no placeholder; it stays as it is", name), fix)
			}
			rest = after
		}
	}
}
