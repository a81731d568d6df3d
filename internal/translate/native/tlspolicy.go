package native

import (
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/tlsname"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// read returns a TLSPolicy's policy. One whose target cannot be read is left out; of one with a bad
// field, the rest holds, and never becomes laxer for it.
func read(f *translate.Fragment, p *resource.TLSPolicy) (translate.Policy, bool) {
	obj := p.Object()
	out := translate.Policy{Origin: ir.Origin{Object: obj, Field: "spec"}, Order: p.Rank}
	if !target(f, p, &out) {
		return out, false
	}
	base, known := presetOf(p.Spec.Preset)
	if !known {
		f.Report(diag.BadValue, obj, "spec.preset", fmt.Sprintf("preset %q is not known, so it sets nothing", p.Spec.Preset), "Use modern, intermediate, old or custom.")
	}
	out.MinVersion, out.MaxVersion, out.CipherSuites, out.Groups = base.min, base.max, base.suites, base.groups
	versions(f, p, &out)
	if len(p.Spec.CipherSuites) > 0 {
		suites, ok := f.CipherSuites(obj, "spec.cipherSuites", p.Spec.CipherSuites)
		out.CipherSuites = suites
		if !ok {
			f.Report(diag.TLSSettingIneffective, obj, "spec.cipherSuites", "none of the suites can be offered, so TLS 1.2 and below cannot be negotiated: the floor is raised to 1.3", "Name a suite such as ECDHE-RSA-AES128-GCM-SHA256.")
			out.MinVersion, out.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
		}
		remarkOrder(f, obj, "spec.cipherSuites", suites, suiteRank)
	}
	if len(p.Spec.Groups) > 0 {
		out.Groups = groups(f, obj, p.Spec.Groups)
	}
	return out, true
}

// target reads targetRef and hosts.
func target(f *translate.Fragment, p *resource.TLSPolicy, out *translate.Policy) bool {
	ok := true
	if ref := p.Spec.TargetRef; ref != nil {
		ns := ref.Namespace
		if ns == "" {
			ns = p.Namespace
		}
		out.Gateway = &diag.Object{Kind: resource.KindGateway, Namespace: ns, Name: ref.Name}
		out.Section = ref.SectionName
		if ref.Kind != "" && ref.Kind != resource.KindGateway {
			f.Report(diag.RefKindInvalid, p.Object(), "spec.targetRef.kind", fmt.Sprintf("a TLSPolicy cannot target kind %s", ref.Kind), "Use kind Gateway.")
			ok = false
		}
		switch ref.Group {
		case "":
		case resource.GroupIstio:
			out.Family = translate.Istio
		case resource.GroupGateway:
			out.Family = translate.GatewayAPI
		default:
			f.Report(diag.RefKindInvalid, p.Object(), "spec.targetRef.group", fmt.Sprintf("group %q has no Gateway", ref.Group), "Use networking.istio.io, gateway.networking.k8s.io, or nothing.")
			ok = false
		}
		if ref.Name == "" {
			f.Report(diag.MissingField, p.Object(), "spec.targetRef.name", "the target has no name", "Name the Gateway, or remove targetRef for all of them.")
			ok = false
		}
	}
	for i, h := range p.Spec.Hosts {
		pattern, err := hostname.Parse(h)
		if err != nil {
			f.Report(diag.ListenerHostInvalid, p.Object(), fmt.Sprintf("spec.hosts[%d]", i), err.Error(), "Correct the name.")
			continue
		}
		out.Hosts = append(out.Hosts, pattern)
	}
	if len(p.Spec.Hosts) > 0 && len(out.Hosts) == 0 {
		return false // Without its hosts the policy would hold for everything.
	}
	slices.SortFunc(out.Hosts, hostname.Compare)
	out.Hosts = slices.Compact(out.Hosts)
	return ok
}

// versions reads floor and ceiling. Where they contradict the floor holds: it is the promise.
func versions(f *translate.Fragment, p *resource.TLSPolicy, out *translate.Policy) {
	obj, floorField := p.Object(), "spec.preset"
	read := func(v v1alpha1.TLSVersion, field string, into *uint16) {
		if v == "" {
			return
		}
		n, ok := tlsname.ParseVersion(string(v))
		if !ok {
			f.Report(diag.TLSFloorInvalid, obj, field, fmt.Sprintf("%q is no TLS version; it is taken as not set", v), "Use 1.0, 1.1, 1.2 or 1.3.")
			return
		}
		*into = n
	}
	read(p.Spec.MinVersion, "spec.minVersion", &out.MinVersion)
	read(p.Spec.MaxVersion, "spec.maxVersion", &out.MaxVersion)
	if p.Spec.MinVersion != "" {
		floorField = "spec.minVersion"
	}
	if out.MinVersion != 0 && out.MaxVersion != 0 && out.MinVersion > out.MaxVersion {
		f.Report(diag.TLSFloorInvalid, obj, floorField, fmt.Sprintf("the floor %s is above the ceiling %s; the ceiling is raised to the floor",
			tlsname.Version(out.MinVersion), tlsname.Version(out.MaxVersion)), "Lower minVersion, or raise maxVersion.")
		out.MaxVersion = out.MinVersion
	}
	if out.MinVersion != 0 && out.MinVersion < tls.VersionTLS12 {
		f.Report(diag.TLSLegacy, obj, floorField, fmt.Sprintf("TLS %s is enabled, which RFC 8996 deprecates", tlsname.Version(out.MinVersion)), "Raise minVersion to \"1.2\".")
	}
}

// groups reads group names. If none is known the list would mean "all", so the one that every client
// of TLS 1.3 has to support is kept.
func groups(f *translate.Fragment, obj diag.Object, names []string) []uint16 {
	var ids []uint16
	for i, name := range names {
		id, ok := tlsname.ParseGroup(name)
		if !ok {
			f.Report(diag.GroupUnknown, obj, fmt.Sprintf("spec.groups[%d]", i), fmt.Sprintf("%q is no group that can be offered; it is left out", name),
				"Use X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024, X25519, P-256, P-384 or P-521.")
			continue
		}
		if !slices.Contains(ids, uint16(id)) {
			ids = append(ids, uint16(id))
		}
	}
	if len(ids) == 0 {
		ids = []uint16{uint16(tls.CurveP256)}
	}
	remarkOrder(f, obj, "spec.groups", ids, groupRank)
	return ids
}

// remarkOrder tells people who wrote their own order that it is not followed.
func remarkOrder(f *translate.Fragment, obj diag.Object, field string, ids []uint16, rank func(uint16) int) {
	if slices.IsSortedFunc(ids, func(a, b uint16) int { return rank(a) - rank(b) }) {
		return
	}
	d := diag.New(diag.TLSSettingIneffective, obj, field, "the order of the list has no effect: Go's TLS library has its own", "Nothing to do.")
	d.Severity = diag.Info
	f.Diagnostics = append(f.Diagnostics, d)
}

// groupRank is the place of a group in Go's order of preference.
func groupRank(id uint16) int {
	return slices.Index([]tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024, tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}, tls.CurveID(id))
}
