package backend

import (
	"fmt"
	"net/netip"
	"strings"

	istio "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// outside returns the host name by which an UpstreamProxy takes a target: that of what is outside the
// mesh, or "" for a service inside.
func outside(t target) string {
	switch {
	case t.service != nil:
		if t.service.Spec.Type == corev1.ServiceTypeExternalName && !isAddress(t.service.Spec.ExternalName) {
			return strings.ToLower(strings.TrimSuffix(t.service.Spec.ExternalName, "."))
		}
		return ""
	case len(t.entries) > 0:
		if t.entries[0].Spec.Location == istio.ServiceEntry_MESH_EXTERNAL && !t.wild.IsValid() {
			return t.host
		}
		return ""
	case t.internal():
		return ""
	}
	return t.host
}

// dynamic reports whether requests name the destinations of an entry's wildcard hosts themselves.
func dynamic(e *resource.ServiceEntry) bool {
	return e.Spec.Resolution == istio.ServiceEntry_NONE || e.Spec.Resolution == istio.ServiceEntry_DYNAMIC_DNS
}

// hostAddresses returns those addresses of an entry that are one host's, without their mask.
func hostAddresses(e *resource.ServiceEntry) []string {
	var out []string
	for _, a := range e.Spec.GetAddresses() {
		if p, err := parsePrefix(a); err == nil && p.IsSingleIP() {
			out = append(out, p.Addr().String())
		}
	}
	return out
}

// parsePrefix reads an address or a network.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// fromRequest makes an upstream whose destination is what each request names. It returns false, as
// fromEntry does where there are no addresses.
func (r *Resolver) fromRequest(up *ir.Upstream, t target, p port, e *resource.ServiceEntry) bool {
	if !t.wild.IsValid() { // one host of a wildcard entry, or an entry that should have one
		up.Resolve = &ir.ResolveDNS{Host: t.host, Port: uint16(p.target)}
		return false
	}
	up.Dynamic = &ir.Dynamic{Hosts: []hostname.Pattern{t.wild}, Port: uint16(p.target), Original: e.Spec.Resolution == istio.ServiceEntry_NONE}
	return false
}

// firstName returns the name that DNS_ROUND_ROBIN asks for where an endpoint gives it.
func firstName(e *resource.ServiceEntry, p port, labels map[string]string) (string, uint32, bool) {
	if len(e.Spec.Endpoints) != 1 || !hasLabels(e.Spec.Endpoints[0].GetLabels(), labels) || !isDNSName(e.Spec.Endpoints[0].GetAddress()) || isAddress(e.Spec.Endpoints[0].GetAddress()) {
		return "", 0, false
	}
	w := e.Spec.Endpoints[0]
	number := p.target
	if n := w.GetPorts()[p.name]; n != 0 {
		number = n
	}
	return strings.ToLower(w.GetAddress()), number, number > 0 && number < 65536
}

// lintEntry reports what contradicts itself in a ServiceEntry.
func lintEntry(e *resource.ServiceEntry, out *translate.Fragment) {
	report := func(field, message, fix string) {
		out.Report(diag.ServiceEntryInvalid, e.Object(), field, message, fix)
	}
	warn := func(field, message, fix string) {
		d := diag.New(diag.ServiceEntryInvalid, e.Object(), field, message, fix)
		d.Severity = diag.Warning
		out.Diagnostics = append(out.Diagnostics, d)
	}
	for i, a := range e.Spec.GetAddresses() {
		if _, err := parsePrefix(a); err != nil {
			report(fmt.Sprintf("spec.addresses[%d]", i), fmt.Sprintf("%q is neither an IP address nor a network", a), "Write 192.0.2.1 or 192.0.2.0/24.")
		}
	}
	resolution := e.Spec.GetResolution()
	for i, h := range e.Spec.GetHosts() {
		p, err := hostname.Parse(h)
		field := fmt.Sprintf("spec.hosts[%d]", i)
		switch {
		case err != nil || p.IsAny():
		case p.IsWildcard() && len(e.Spec.GetEndpoints()) == 0 && (resolution == istio.ServiceEntry_DNS || resolution == istio.ServiceEntry_DNS_ROUND_ROBIN):
			warn(field, fmt.Sprintf("resolution %s asks DNS for full names: of %s those work that routes name, and Istio refuses the entry", resolution, p), "Use resolution DYNAMIC_DNS or NONE, which take the name from each request.")
		case p.IsExact() && resolution == istio.ServiceEntry_DYNAMIC_DNS:
			warn(field, fmt.Sprintf("resolution DYNAMIC_DNS is for wildcard hosts; %s is resolved as by DNS", p), "Use resolution DNS.")
		}
	}
	switch {
	case resolution == istio.ServiceEntry_DYNAMIC_DNS && len(e.Spec.GetEndpoints()) > 0:
		out.Report(diag.FieldWithoutEffect, e.Object(), "spec.endpoints", "resolution DYNAMIC_DNS takes the name from each request, so endpoints do nothing", "Remove them, or use resolution DNS.")
	case resolution == istio.ServiceEntry_NONE && len(e.Spec.GetEndpoints()) > 0:
		report("spec.endpoints", "resolution NONE sends connections to where the client meant them to go, so Istio refuses endpoints beside it", "Use resolution STATIC for addresses, DNS for names.")
	case resolution == istio.ServiceEntry_DNS_ROUND_ROBIN && len(e.Spec.GetEndpoints()) > 1:
		report("spec.endpoints", "resolution DNS_ROUND_ROBIN takes one endpoint at most", "Use resolution DNS.")
	}
	if resolution == istio.ServiceEntry_DYNAMIC_DNS {
		for i, p := range e.Spec.GetPorts() {
			if strings.EqualFold(p.GetProtocol(), "TCP") {
				report(fmt.Sprintf("spec.ports[%d].protocol", i), "raw TCP names no host that DYNAMIC_DNS could resolve", "Use protocol TLS, HTTPS or HTTP.")
			}
		}
	}
}
