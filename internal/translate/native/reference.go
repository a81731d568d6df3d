package native

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
	"github.com/hakone-gateway/hakone/internal/translate/grant"
)

// report adds a diagnostic about a field of an object.
func (t *translator) report(m *resource.Meta, code diag.Code, field, message, fix string) {
	t.out.Diagnostics = append(t.out.Diagnostics, m.Diag(code, field, message, fix))
}

// reportAs is report with another severity than the code's own.
func (t *translator) reportAs(s diag.Severity, m *resource.Meta, code diag.Code, field, message, fix string) {
	d := m.Diag(code, field, message, fix)
	d.Severity = s
	t.out.Diagnostics = append(t.out.Diagnostics, d)
}

// refer resolves a reference to an object of one of kinds. What keeps it from being followed has been
// reported and is returned; "" if nothing does. Whether the object exists is not looked at.
func (t *translator) refer(m *resource.Meta, ref *v1alpha1.ObjectReference, field string, kinds ...string) (grant.To, string) {
	to := grant.To{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
	if to.Kind == "" {
		to.Kind = resource.KindSecret
	}
	if to.Namespace == "" {
		to.Namespace = m.Namespace
	}
	from := grant.From{Group: resource.GroupHakone, Kind: m.Kind, Namespace: m.Namespace}
	switch {
	case !slices.Contains(kinds, to.Kind):
		message := fmt.Sprintf("kind %s cannot be referred to here", to.Kind)
		t.report(m, diag.RefKindInvalid, field+".kind", message, "Refer to a "+strings.Join(kinds, " or ")+".")
		return to, message
	case to.Name == "":
		t.report(m, diag.MissingField, field+".name", "the reference has no name", "Name the "+to.Kind+".")
		return to, "the reference has no name"
	case !t.grants.Permits(from, to):
		message, fix := t.grants.Refusal(from, to)
		t.report(m, diag.RefNotPermitted, field, message, fix)
		return to, message
	}
	return to, ""
}

// certificate resolves a reference to a Secret with certificate and key. The reference returned is
// valid in every case: under that of a credential that cannot be had stands why.
func (t *translator) certificate(m *resource.Meta, ref *v1alpha1.ObjectReference, field string) ir.SecretRef {
	at := ir.Origin{Object: m.Object(), Field: field}
	to, fault := t.refer(m, ref, field, resource.KindSecret)
	if fault != "" {
		return t.noCertificate(m, to, at, fault)
	}
	if ref.Key != "" {
		t.report(m, diag.FieldWithoutEffect, field+".key", "certificate and key are read from the entries tls.crt and tls.key (or cert and key), whatever key says", "Remove key.")
	}
	out, _ := t.creds.Pair([]string{to.Namespace}, to.Name, at)
	return out
}

// noCertificate stands for a credential that may not be read: the same Secret may serve those who may.
func (t *translator) noCertificate(m *resource.Meta, to grant.To, at ir.Origin, why string) ir.SecretRef {
	ref := ir.SecretRef(fmt.Sprintf("denied:%s:%s:%s/%s", m.Namespace, to.Kind, to.Namespace, to.Name))
	t.out.Secrets[ref] = &ir.Credential{Origin: at, Code: diag.CredentialMissing, Detail: why}
	return ref
}

// authorities resolves references to objects with CA certificates, of which at least one has to be
// usable. fields has one for each. What is returned is valid in every case; false means that it
// refuses every peer.
func (t *translator) authorities(m *resource.Meta, refs []v1alpha1.ObjectReference, fields []string) (ir.TrustRef, bool) {
	var sources []credential.Source
	denied, why := "", ""
	for i := range refs {
		to, fault := t.refer(m, &refs[i], fields[i], resource.KindSecret, resource.KindConfigMap)
		if fault != "" {
			denied, why = fmt.Sprintf("denied:%s:%s:%s/%s", m.Namespace, to.Kind, to.Namespace, to.Name), fault
			continue
		}
		sources = append(sources, credential.Source{Kind: to.Kind, Namespace: to.Namespace, Name: to.Name, Entry: refs[i].Key, From: ir.Origin{Object: m.Object(), Field: fields[i]}})
	}
	if len(sources) > 0 {
		return t.creds.Trust(sources)
	}
	t.out.Trust[ir.TrustRef(denied)] = &ir.TrustBundle{Origin: ir.Origin{Object: m.Object()}, Code: diag.TrustMissing, Detail: why}
	return ir.TrustRef(denied), false
}

// targetOf reads what a policy is about, or says why it cannot be.
func targetOf(m *resource.Meta, ref v1alpha1.PolicyTarget, field string) (translate.AccessTarget, *diag.Diagnostic) {
	out := translate.AccessTarget{Field: field, Section: ref.SectionName, Object: diag.Object{Kind: ref.Kind, Namespace: cmp.Or(ref.Namespace, m.Namespace), Name: ref.Name}}
	families := map[string]translate.Family{}
	switch ref.Kind {
	case resource.KindGateway:
		families[resource.GroupGateway], families[resource.GroupIstio], families[""] = translate.GatewayAPI, translate.Istio, 0
	case resource.KindEdgeHost:
		families[resource.GroupHakone], families[""] = translate.Native, translate.Native
	case resource.KindHTTPRoute, resource.KindGRPCRoute:
		families[resource.GroupGateway], families[""] = translate.GatewayAPI, translate.GatewayAPI
	case resource.KindVirtualService:
		families[resource.GroupIstio], families[""] = translate.Istio, translate.Istio
	default:
		d := m.Diag(diag.RefKindInvalid, field+".kind", fmt.Sprintf("a %s cannot target kind %s", m.Kind, ref.Kind), "Use Gateway, EdgeHost, HTTPRoute, GRPCRoute or VirtualService.")
		return out, &d
	}
	family, ok := families[ref.Group]
	if out.Family = family; !ok {
		d := m.Diag(diag.RefKindInvalid, field+".group", fmt.Sprintf("group %q has no %s", ref.Group, ref.Kind), "Remove group, or correct it.")
		return out, &d
	}
	return out, nil
}

// duration reads a length of time; what is not given, or is shorter than least, is otherwise.
func (t *translator) duration(m *resource.Meta, code diag.Code, field string, v v1alpha1.Duration, least, otherwise time.Duration) time.Duration {
	if v == "" {
		return otherwise
	}
	d, err := time.ParseDuration(string(v))
	if err != nil || d < least {
		t.report(m, code, field, fmt.Sprintf("%q is no duration of at least %s; %s holds instead", string(v), short(least), short(otherwise)), "Write a duration such as 30s or 1h30m.")
		return otherwise
	}
	return d
}

// short writes a duration without zero parts: "5m", not "5m0s".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
