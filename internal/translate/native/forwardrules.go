package native

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Defaults of interception.
const (
	defaultLeafValidity = 24 * time.Hour
	defaultLeafMemory   = 4 << 20
	defaultLeafDisk     = 64 << 20
)

// firstStep is the ACL of the rules that hold where none are written: Squid's "at_step SslBump1".
const firstStep = "hakone::step1"

// acls reads the ACLs. One that cannot be used closes the forward proxy: without it a rule would match more
// or less than was meant.
func (b *forwardBuilder) acls() {
	for _, a := range b.s.ACLs {
		b.out.ACLs = append(b.out.ACLs, ir.ACL{Name: a.Name, Type: a.Type, Values: a.Values, Options: a.Options})
	}
	for _, p := range acl.Verify(b.out.ACLs) {
		field := fmt.Sprintf("spec.acls[%d]", p.Index)
		if !p.Fatal {
			b.report(b.m, diag.ACLIneffective, field, fmt.Sprintf("acl %s: %s", p.Name, p.Message), sentence(p.Fix))
			continue
		}
		b.report(b.m, diag.ACLInvalid, field, fmt.Sprintf("acl %s: %s", p.Name, p.Message), sentence(p.Fix))
		b.close(diag.ACLInvalid, fmt.Sprintf("the ACL %s cannot be used", p.Name))
	}
}

// sentence writes a remedy as one.
func sentence(s string) string {
	if s = strings.TrimSuffix(s, "."); s == "" {
		return "Correct it."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// names returns the ACLs of a rule, and closes the forward proxy if one of them is not there.
func (b *forwardBuilder) names(field string, acls []string) []string {
	for _, p := range acl.VerifyRules(b.out.ACLs, []ir.ForwardRule{{ACLs: acls}}) {
		fix := sentence(p.Fix)
		var known []string
		for _, a := range b.out.ACLs {
			known = append(known, a.Name)
		}
		if near := translate.Nearest(p.Name, append(known, "all", "localhost", "to_localhost", "to_linklocal", "manager", "CONNECT")); near != "" {
			fix = fmt.Sprintf("Did you mean %s?", near)
		}
		b.report(b.m, diag.ACLNotFound, field+".acls", p.Message, fix)
		b.close(diag.ACLNotFound, fmt.Sprintf("a rule names the ACL %s, which is not there", p.Name))
	}
	return acls
}

// access reads rules of Allow and Deny.
func (b *forwardBuilder) access(field string, rules []v1alpha1.AccessRule) []ir.ForwardRule {
	var out []ir.ForwardRule
	for i, r := range rules {
		out = append(out, b.rule(fmt.Sprintf("%s[%d]", field, i), r.Action, "", r.ACLs, "allow", "deny"))
	}
	return out
}

// rule reads one rule whose action is one of known.
func (b *forwardBuilder) rule(field, action, value string, acls []string, known ...string) ir.ForwardRule {
	word := strings.ToLower(action)
	for _, k := range known {
		if word == k {
			return ir.ForwardRule{Action: word, Value: value, ACLs: b.names(field, acls)}
		}
	}
	b.report(b.m, diag.UnknownEnum, field, fmt.Sprintf("%q is no action here", action), "Use "+strings.Join(known, ", ")+".")
	b.close(diag.ForwardProxyInvalid, fmt.Sprintf("the action %q of %s is not known", action, field))
	return ir.ForwardRule{Action: word, Value: value, ACLs: acls}
}

// interception reads how TLS is looked into.
func (b *forwardBuilder) interception() {
	s := b.s.Interception
	if s == nil {
		return
	}
	const field = "spec.interception"
	from := ir.Origin{Object: b.m.Object(), Field: field}
	out := &ir.Interception{CA: b.signer(b.m, &s.CARef, field+".caRef"), KeyType: strings.ToLower(cmp.Or(s.KeyType, "ECDSA")),
		Validity:    b.duration(b.m, diag.ForwardProxyInvalid, field+".validity", s.Validity, time.Minute, defaultLeafValidity),
		MemoryBytes: cmp.Or(s.MemoryBytes, defaultLeafMemory), DiskPath: s.DiskPath, DiskBytes: s.DiskBytes,
		TunnelOthers: s.OnUnsupportedProtocol == "Tunnel", LearnPinned: s.LearnPinned,
		TLS: ir.TLS{Origin: from, ALPN: []string{"h2", "http/1.1", "http/1.0"}, Certificates: []ir.SecretRef{}, ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone, Origin: from},
			MinVersion: b.version(b.m, field+".minVersion", s.MinVersion, "clients", 0)},
	}
	b.out.Interception = out
	b.suites(field+".cipherSuites", s.CipherSuites, &out.TLS.MinVersion, &out.TLS.MaxVersion, &out.TLS.CipherSuites)
	switch {
	case s.DiskPath == "" && s.DiskBytes != 0:
		b.report(b.m, diag.FieldWithoutEffect, field+".diskBytes", "without diskPath no leaves are kept on disk", "Add diskPath, or remove diskBytes.")
		out.DiskBytes = 0
	case s.DiskPath != "" && s.DiskBytes == 0:
		out.DiskBytes = defaultLeafDisk
	}
	if out.KeyType == "rsa" {
		b.report(b.m, diag.SlowLeaves, field+".keyType", "leaves with RSA keys cost several times the processor time of ECDSA ones", "Remove keyType unless clients know no ECDSA.")
	}
	if c := b.translator.out.Secrets[out.CA]; c != nil && c.Pair != nil && c.Pair.IsRSA() {
		b.report(b.m, diag.SlowLeaves, field+".caRef", "the CA has an RSA key, so every new leaf costs a signature of about a millisecond", "Make a CA with an ECDSA key (hakone egress ca create), and hand it out beside this one.")
	}
	b.bumping(field, s, out)
	if s.LearnPinned && !bumps(out.Rules) {
		b.report(b.m, diag.FieldWithoutEffect, field+".learnPinned", "no rule bumps, so no client sees a leaf of ours", "Remove it, or add a rule with action Bump.")
	}
}

// bumping reads the rules.
func (b *forwardBuilder) bumping(field string, s *v1alpha1.Interception, out *ir.Interception) {
	for i, r := range s.Rules {
		out.Rules = append(out.Rules, b.rule(fmt.Sprintf("%s.rules[%d]", field, i), r.Action, "", r.ACLs, "peek", "splice", "stare", "bump", "terminate"))
	}
	if len(s.Rules) == 0 {
		b.out.ACLs = append(b.out.ACLs, ir.ACL{Name: firstStep, Type: "at_step", Values: []string{"SslBump1"}})
		out.Rules = []ir.ForwardRule{{Action: "peek", ACLs: []string{firstStep}}, {Action: "bump", ACLs: []string{"all"}}}
	}
	out.Errors = b.access(field+".certificateErrors", s.CertificateErrors)
	for i, r := range out.Errors {
		if everything(r.ACLs) {
			if r.Action == "allow" {
				b.report(b.m, diag.VerificationOff, fmt.Sprintf("%s.certificateErrors[%d]", field, i), "whatever is wrong with a destination's certificate is let pass, so any attacker's is accepted", "Remove the rule, or narrow it to hosts (ssl::server_name, dstdomain) and errors (ssl_error).")
			}
			break
		}
	}
	for i, r := range s.Sign {
		out.Sign = append(out.Sign, b.rule(fmt.Sprintf("%s.sign[%d]", field, i), r.Sign, "", r.ACLs, "trusted", "untrusted", "self"))
		if r.Sign == "Trusted" && everything(r.ACLs) {
			b.report(b.m, diag.VerificationOff, fmt.Sprintf("%s.sign[%d]", field, i), "leaves for destinations whose certificate did not verify are signed like good ones, so clients cannot tell", "Sign Untrusted where ssl::certUntrusted, ssl::certSelfSigned or ssl::certHasExpired match.")
		}
	}
	for i, r := range s.Adapt {
		out.Adapt = append(out.Adapt, b.rule(fmt.Sprintf("%s.adapt[%d]", field, i), r.Adapt, r.Value, r.ACLs, "setvalidafter", "setvalidbefore", "setcommonname"))
		if r.Value != "" && r.Adapt != "setCommonName" {
			b.report(b.m, diag.FieldWithoutEffect, fmt.Sprintf("%s.adapt[%d].value", field, i), r.Adapt+" takes no value", "Remove it.")
		}
	}
}

func bumps(rules []ir.ForwardRule) bool {
	for _, r := range rules {
		if r.Action == "bump" || r.Action == "stare" {
			return true
		}
	}
	return false
}
