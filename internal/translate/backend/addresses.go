package backend

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	istio "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// addresses gives the upstream its endpoints, or a name for DNS.
func (r *Resolver) addresses(up *ir.Upstream, t target, p port, subset string, labels map[string]string, from ir.Origin) {
	var found []ir.Endpoint
	switch slices := r.set.EndpointSlicesOf(t.namespace, t.name); {
	case len(r.flagged(t, p.number, subset)) > 0:
		found = r.fromFlags(r.flagged(t, p.number, subset))
	case t.internal() && len(slices) > 0:
		found = r.fromSlices(slices, p, labels)
	case t.service != nil && t.service.Spec.Type == corev1.ServiceTypeExternalName:
		if !r.fromExternalName(up, t, p, &found) {
			return
		}
	case p.entry != nil:
		if !r.fromEntry(up, t, p, labels, &found) {
			return
		}
	case isAddress(t.host):
		found = []ir.Endpoint{{Host: t.host, Port: uint16(p.number), Origin: up.Origin}}
	case t.internal() && r.ctx.Complete:
	default:
		r.byDNS(up, t, p, labels, from)
		if up.Resolve != nil {
			return
		}
	}
	slices.SortStableFunc(found, func(a, b ir.Endpoint) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	found = slices.CompactFunc(found, func(a, b ir.Endpoint) bool { return a.Host == b.Host && a.Port == b.Port })
	if found == nil {
		found = []ir.Endpoint{}
	}
	r.out.Endpoints[up.Name] = found
	if len(found) == 0 {
		r.noEndpoints(t, p, subset, labels, from)
	}
}

func (r *Resolver) noEndpoints(t target, p port, subset string, labels map[string]string, from ir.Origin) {
	message, fix := fmt.Sprintf("nothing gives a ready address for port %d of %s", p.number, t), "Add an EndpointSlice"
	if len(t.entries) > 0 {
		fix = "Add endpoints to the ServiceEntry"
	}
	if len(labels) > 0 {
		message = fmt.Sprintf("no endpoint of port %d of %s has the labels %s of subset %q", p.number, t, labelText(labels), subset)
	}
	if names := slicePortNames(r.set.EndpointSlicesOf(t.namespace, t.name)); t.internal() && len(names) > 0 && !slices.Contains(names, p.name) {
		message += fmt.Sprintf("; its EndpointSlices name their ports %q, the Service names it %q", names, p.name)
	}
	r.report(diag.NoEndpoints, from, message, fmt.Sprintf("%s, or --endpoint %s=HOST:PORT.", fix, r.name(t, p.number, subset)))
}

// byDNS asks DNS for the target's name. A service in a folder is asked for by its full name, as in a
// cluster, then by its short one, as in Docker Compose.
func (r *Resolver) byDNS(up *ir.Upstream, t target, p port, labels map[string]string, from ir.Origin) {
	if len(labels) > 0 {
		return // DNS tells nothing of labels: better no endpoint than one of the wrong subset.
	}
	up.Resolve = &ir.ResolveDNS{Host: t.host, Port: uint16(p.target)}
	if !t.internal() {
		r.report(diag.ResolvedByDNS, from, fmt.Sprintf("%s is in no ServiceEntry; DNS is asked for it", t), "Nothing to do if that is meant.")
		return
	}
	up.Resolve.Also = []string{t.name + "." + t.namespace, t.name}
	asked := fmt.Sprintf("DNS is asked for %s, %s and %s", t.host, up.Resolve.Also[0], up.Resolve.Also[1])
	fix := fmt.Sprintf("If DNS does not know it, add an EndpointSlice, or --endpoint %s=HOST:PORT.", strings.TrimSuffix(up.Name, grpcSuffix))
	if t.service != nil && len(t.service.Spec.Selector) > 0 {
		// Every manifest that was exported without its EndpointSlices is like that, and DNS may well know.
		d := diag.New(diag.NoEndpoints, t.service.Object(), "spec.selector",
			fmt.Sprintf("%s selects pods, and no EndpointSlice lists their addresses; %s", t, asked), fix)
		d.Severity = diag.Info
		r.out.Diagnostics = append(r.out.Diagnostics, d)
		return
	}
	if message, mend, slip := r.absent(t); t.service == nil && slip { // a slip is more likely than a name of DNS
		d := diag.New(diag.ServiceNotFound, from.Object, from.Field, message+"; "+asked, mend+" "+fix)
		d.Severity = diag.Warning
		r.out.Diagnostics = append(r.out.Diagnostics, d)
		return
	}
	r.report(diag.ResolvedByDNS, from, fmt.Sprintf("nothing here gives addresses for %s; %s", t, asked), fix)
}

// fromSlices takes the ready endpoints of every slice whose port has the Service port's name.
func (r *Resolver) fromSlices(all []*resource.EndpointSlice, p port, labels map[string]string) []ir.Endpoint {
	var out []ir.Endpoint
	for _, s := range all {
		number, ok := slicePort(s, p)
		if !ok || !hasLabels(s.Labels, labels) {
			continue
		}
		for i, e := range s.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for j, a := range e.Addresses {
				from := fromField(&s.Meta, "endpoints[%d].addresses[%d]", i, j)
				if ep, ok := r.endpoint(a, number, from); ok {
					out = append(out, ep)
				}
			}
		}
	}
	return out
}

// slicePort finds the slice's port for a Service port: by name, as Kubernetes does. Without a Service
// the number decides, or the only port there is.
func slicePort(s *resource.EndpointSlice, p port) (uint32, bool) {
	var tcp []discoveryv1.EndpointPort
	for _, sp := range s.Ports {
		if sp.Port != nil && *sp.Port > 0 && *sp.Port < 65536 && (sp.Protocol == nil || *sp.Protocol == corev1.ProtocolTCP) {
			tcp = append(tcp, sp)
		}
	}
	for _, sp := range tcp {
		if p.known && portName(sp) == p.name || !p.known && uint32(*sp.Port) == p.number {
			return uint32(*sp.Port), true
		}
	}
	if !p.known && len(tcp) == 1 {
		return uint32(*tcp[0].Port), true
	}
	return 0, false
}

func portName(p discoveryv1.EndpointPort) string {
	if p.Name == nil {
		return ""
	}
	return *p.Name
}

func slicePortNames(all []*resource.EndpointSlice) []string {
	var names []string
	for _, s := range all {
		for _, p := range s.Ports {
			names = append(names, portName(p))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// endpoint checks one address of the configuration.
func (r *Resolver) endpoint(host string, port uint32, from ir.Origin) (ir.Endpoint, bool) {
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && (addr.IsUnspecified() || addr.IsMulticast()):
		r.report(diag.EndpointInvalid, from, fmt.Sprintf("%s is no address of a server", host), "Write the server's address.")
		return ir.Endpoint{}, false
	case err == nil && addr.IsLoopback():
		r.report(diag.LoopbackEndpoint, from, fmt.Sprintf("%s is a loopback address: it works here, a Kubernetes cluster refuses it", host), "Nothing to do for a folder.")
	case err != nil && !isDNSName(host):
		r.report(diag.EndpointInvalid, from, fmt.Sprintf("%q is neither an IP address nor a DNS name", host), "Write the server's address.")
		return ir.Endpoint{}, false
	}
	return ir.Endpoint{Host: strings.ToLower(host), Port: uint16(port), Origin: from}, true
}

// fromExternalName fills found, or sets up.Resolve and returns false.
func (r *Resolver) fromExternalName(up *ir.Upstream, t target, p port, found *[]ir.Endpoint) bool {
	name, from := strings.TrimSuffix(t.service.Spec.ExternalName, "."), fromField(&t.service.Meta, "spec.externalName")
	switch {
	case isAddress(name):
		r.report(diag.ExternalNameIP, from, fmt.Sprintf("externalName %q is an IP address: it is used as one here, Kubernetes asks DNS for it as a name", name),
			"Use an EndpointSlice, or a ServiceEntry with resolution STATIC.")
		*found = []ir.Endpoint{{Host: name, Port: uint16(p.number), Origin: from}}
	case isDNSName(name):
		up.Resolve = &ir.ResolveDNS{Host: strings.ToLower(name), Port: uint16(p.number)}
		return false
	default:
		r.report(diag.EndpointInvalid, from, fmt.Sprintf("externalName %q is no DNS name", name), "Write the name that DNS is to be asked for.")
	}
	return true
}

// fromEntry fills found from a ServiceEntry, or sets up.Resolve and returns false.
func (r *Resolver) fromEntry(up *ir.Upstream, t target, p port, labels map[string]string, found *[]ir.Endpoint) bool {
	e := p.entry
	if t.wild.IsValid() || e.Spec.Resolution == istio.ServiceEntry_DYNAMIC_DNS && !isAddress(t.host) {
		return r.fromRequest(up, t, p, e)
	}
	if e.Spec.Resolution == istio.ServiceEntry_DNS_ROUND_ROBIN {
		if one, number, ok := firstName(e, p, labels); ok {
			up.Resolve = &ir.ResolveDNS{Host: one, Port: uint16(number), First: true}
			return false
		}
	}
	if len(e.Spec.Endpoints) > 0 {
		for i, w := range e.Spec.Endpoints {
			if !hasLabels(w.GetLabels(), labels) {
				continue
			}
			number := p.target
			if n := w.GetPorts()[p.name]; n != 0 {
				number = n
			}
			from := fromField(&e.Meta, "spec.endpoints[%d].address", i)
			if strings.HasPrefix(w.GetAddress(), "unix://") {
				r.report(diag.EndpointInvalid, from, fmt.Sprintf("%s is a Unix socket of a workload's own host, which a gateway cannot connect to", w.GetAddress()), "Write an IP address; the workload must listen on TCP.")
				continue
			}
			if !isAddress(w.GetAddress()) && e.Spec.Resolution == istio.ServiceEntry_STATIC {
				r.report(diag.EndpointInvalid, from, fmt.Sprintf("%q is no IP address, which resolution STATIC asks for", w.GetAddress()), "Write an IP address, or use resolution DNS.")
				continue
			}
			if ep, ok := r.entryEndpoint(w.GetAddress(), number, from); ok {
				ep.Weight = w.GetWeight()
				*found = append(*found, ep)
			}
		}
		return true
	}
	switch {
	case e.Spec.Resolution == istio.ServiceEntry_STATIC:
		return true
	case isAddress(t.host):
		*found = []ir.Endpoint{{Host: t.host, Port: uint16(p.target), Origin: up.Origin}}
		return true
	case len(labels) > 0:
		return true
	case e.Spec.Resolution == istio.ServiceEntry_NONE && p.protocol == "tcp" && len(hostAddresses(e)) > 0:
		// Whoever captured the connection knows it by one of these addresses; its host name may be invented.
		for i, a := range hostAddresses(e) {
			*found = append(*found, ir.Endpoint{Host: a, Port: uint16(p.target), Origin: fromField(&e.Meta, "spec.addresses[%d]", i)})
		}
		return true
	}
	// NONE asks for the connection's original address; a request to a gateway has none, so DNS is asked.
	up.Resolve = &ir.ResolveDNS{Host: t.host, Port: uint16(p.target)}
	return false
}

// entryEndpoint is endpoint without the remark on loopback, which a ServiceEntry may name.
func (r *Resolver) entryEndpoint(host string, port uint32, from ir.Origin) (ir.Endpoint, bool) {
	if a, err := netip.ParseAddr(host); err == nil && a.IsLoopback() {
		return ir.Endpoint{Host: host, Port: uint16(port), Origin: from}, true
	}
	if port == 0 || port > 65535 {
		r.report(diag.EndpointInvalid, from, fmt.Sprintf("port %d is no port number", port), "Use 1 to 65535.")
		return ir.Endpoint{}, false
	}
	return r.endpoint(host, port, from)
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func hasLabels(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

func labelText(labels map[string]string) string {
	var out []string
	for k, v := range labels {
		out = append(out, k+"="+strconv.Quote(v))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
