package native

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/tlsname"
	"github.com/hakone-gateway/hakone/internal/translate"
)

func translated(spec v1alpha1.TLSPolicySpec) *translate.Fragment {
	var b resource.Builder
	b.Add(&resource.TLSPolicy{Meta: resource.Meta{Key: resource.Key{Group: resource.GroupHakone, Kind: resource.KindTLSPolicy, Namespace: "default", Name: "p"}}, Spec: &spec})
	set, _ := b.Build()
	return Translate(set, translate.Context{}, nil)
}

func TestPolicies(t *testing.T) {
	x25519, p256 := uint16(tls.X25519), uint16(tls.CurveP256)
	gcm := tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	for _, c := range []struct {
		name     string
		spec     v1alpha1.TLSPolicySpec
		min, max uint16
		suites   int // how many; -1: nil
		groups   []uint16
		codes    []diag.Code
	}{
		{"nothing", v1alpha1.TLSPolicySpec{}, 0, 0, -1, nil, nil},
		{"floor", v1alpha1.TLSPolicySpec{MinVersion: "1.2"}, tls.VersionTLS12, 0, -1, nil, nil},
		{"legacy", v1alpha1.TLSPolicySpec{MinVersion: "1.0", MaxVersion: "1.1"}, tls.VersionTLS10, tls.VersionTLS11, -1, nil, []diag.Code{diag.TLSLegacy}},
		{"contradiction keeps the floor", v1alpha1.TLSPolicySpec{MinVersion: "1.3", MaxVersion: "1.2"}, tls.VersionTLS13, tls.VersionTLS13, -1, nil, []diag.Code{diag.TLSFloorInvalid}},
		{"unknown version", v1alpha1.TLSPolicySpec{MinVersion: "1.4"}, 0, 0, -1, nil, []diag.Code{diag.TLSFloorInvalid}},
		{"modern", v1alpha1.TLSPolicySpec{Preset: v1alpha1.PresetModern}, tls.VersionTLS13, tls.VersionTLS13, 6,
			[]uint16{uint16(tls.X25519MLKEM768), x25519, p256, uint16(tls.CurveP384)}, nil},
		{"preset with a field by hand", v1alpha1.TLSPolicySpec{Preset: v1alpha1.PresetIntermediate, MinVersion: "1.3", Groups: []string{"X25519", "secp256r1"}},
			tls.VersionTLS13, tls.VersionTLS13, 6, []uint16{x25519, p256}, nil},
		{"suites", v1alpha1.TLSPolicySpec{CipherSuites: []string{"ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256", "X", "DHE-RSA-AES128-SHA"}}, 0, 0, 1, nil,
			[]diag.Code{diag.CipherUnknown, diag.CipherNotSupported, diag.TLSSettingIneffective}},
		{"no usable suite raises the floor", v1alpha1.TLSPolicySpec{MinVersion: "1.2", CipherSuites: []string{"X"}}, tls.VersionTLS13, tls.VersionTLS13, -1, nil,
			[]diag.Code{diag.CipherUnknown, diag.TLSSettingIneffective}},
		{"order of groups", v1alpha1.TLSPolicySpec{Groups: []string{"P-256", "X25519", "X448"}}, 0, 0, -1, []uint16{p256, x25519},
			[]diag.Code{diag.GroupUnknown, diag.TLSSettingIneffective}},
		{"no usable group", v1alpha1.TLSPolicySpec{Groups: []string{"X448"}}, 0, 0, -1, []uint16{p256}, []diag.Code{diag.GroupUnknown}},
	} {
		f := translated(c.spec)
		if len(f.Policies) != 1 {
			t.Errorf("%s: %d policies", c.name, len(f.Policies))
			continue
		}
		p := f.Policies[0]
		if p.MinVersion != c.min || p.MaxVersion != c.max || !slices.Equal(p.Groups, c.groups) {
			t.Errorf("%s: %+v", c.name, p)
		}
		if n := len(p.CipherSuites); c.suites >= 0 && n != c.suites || c.suites < 0 && p.CipherSuites != nil || c.suites == 1 && p.CipherSuites[0] != gcm {
			t.Errorf("%s: suites %v", c.name, p.CipherSuites)
		}
		diag.Sort(f.Diagnostics)
		var codes []diag.Code
		for _, d := range f.Diagnostics {
			codes = append(codes, d.Code)
		}
		slices.Sort(codes)
		codes = slices.Compact(codes)
		slices.Sort(c.codes)
		if !slices.Equal(codes, c.codes) {
			t.Errorf("%s: %v", c.name, f.Diagnostics)
		}
	}
}

func TestOldOffersEverythingButRC4(t *testing.T) {
	p := translated(v1alpha1.TLSPolicySpec{Preset: v1alpha1.PresetOld}).Policies[0]
	if p.MinVersion != tls.VersionTLS10 || !slices.Contains(p.CipherSuites, tls.TLS_RSA_WITH_AES_128_CBC_SHA) || slices.Contains(p.CipherSuites, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA) {
		t.Errorf("%+v", p)
	}
	if n, all := len(p.CipherSuites), len(tlsname.OfferableSuites()); n != all-3 {
		t.Errorf("%d of %d suites", n, all)
	}
}

func TestTargets(t *testing.T) {
	ref := func(kind, group, name string) *v1alpha1.TLSPolicyTarget {
		return &v1alpha1.TLSPolicyTarget{Kind: kind, Group: group, Name: name, SectionName: "s"}
	}
	f := translated(v1alpha1.TLSPolicySpec{TargetRef: ref("Gateway", "networking.istio.io", "gw"), Hosts: []string{"b.test", "*.a.test", "b.test", "-"}})
	if p := f.Policies[0]; p.Gateway.String() != "Gateway default/gw" || p.Section != "s" || len(p.Hosts) != 2 {
		t.Errorf("%+v", p)
	}
	for name, spec := range map[string]v1alpha1.TLSPolicySpec{
		"another kind":   {TargetRef: ref("HTTPRoute", "", "x")},
		"another group":  {TargetRef: ref("Gateway", "apps", "x")},
		"no name":        {TargetRef: ref("Gateway", "", "")},
		"only bad hosts": {Hosts: []string{"-"}, MinVersion: "1.0"},
	} {
		if f := translated(spec); len(f.Policies) != 0 || len(f.Diagnostics) == 0 {
			t.Errorf("%s: %+v %v", name, f.Policies, f.Diagnostics)
		}
	}
}
