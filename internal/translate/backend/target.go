package backend

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// target is what a destination's host means. Either namespace and name are set (a Service, which may
// be missing), or only host is (an external name).
type target struct {
	host      string // full name in lower case: name.namespace.svc.cluster.local, or the external host
	namespace string
	name      string
	service   *resource.Service
	entries   []*resource.ServiceEntry // that have the host, the most specific first
	wild      hostname.Pattern         // the wildcard host of a ServiceEntry; the zero Pattern for others
}

// internal reports whether the target is a Kubernetes service by its name.
func (t target) internal() bool { return t.name != "" }

// String names the target for people.
func (t target) String() string {
	if t.internal() {
		return "service " + t.namespace + "/" + t.name
	}
	return "host " + t.host
}

// object returns what the upstream comes from. It depends on the target alone, so that both APIs name
// the same.
func (t target) object() diag.Object {
	switch {
	case t.service == nil && len(t.entries) > 0:
		return t.entries[0].Object()
	case t.internal():
		return diag.Object{Kind: resource.KindService, Namespace: t.namespace, Name: t.name}
	}
	return diag.Object{Kind: "Host", Name: t.host}
}

// home returns the namespace that counts as the service's own for DestinationRules; empty if nothing
// says so.
func (t target) home() string {
	switch {
	case t.internal():
		return t.namespace
	case len(t.entries) > 0:
		return t.entries[0].Namespace
	}
	return ""
}

func (r *Resolver) service(namespace, name string) target {
	t := target{namespace: namespace, name: name, host: name + "." + namespace + ".svc." + r.ctx.ClusterDomain}
	t.service = r.set.Service(namespace, name)
	if t.service == nil {
		t.entries = r.entries.find(t.host)
		if len(t.entries) == 0 {
			// People write the short forms into a ServiceEntry that stands in for a missing Service.
			t.entries = append(r.entries.exact[name+"."+namespace+".svc"], r.entries.exact[name+"."+namespace]...)
		}
	}
	return t
}

// locate reads Istio's destination.host: a name without a dot belongs to the rule's namespace, names
// under the cluster domain are services, everything else is a host of a ServiceEntry or of DNS. Unlike
// Istio it also takes name.namespace for a service if there is one, because that is what people mean.
func (r *Resolver) locate(host, namespace string) (target, error) {
	p, err := hostname.Parse(host)
	if err != nil {
		return target{}, err
	}
	if !p.IsExact() {
		t := target{host: p.String(), wild: p, entries: slices.DeleteFunc(slices.Clone(r.entries.wildcard[p.Suffix()]), func(e *resource.ServiceEntry) bool { return !dynamic(e) })}
		if p.IsAny() || len(t.entries) == 0 {
			return target{}, fmt.Errorf("host %q is a wildcard, which is no destination without a ServiceEntry of that host with resolution NONE or DYNAMIC_DNS", host)
		}
		return t, nil
	}
	host = p.String()
	if !strings.ContainsAny(host, ".:") {
		return r.service(namespace, host), nil
	}
	for _, suffix := range []string{".svc." + r.ctx.ClusterDomain, ".svc"} {
		if rest, ok := strings.CutSuffix(host, suffix); ok {
			if name, ns, ok := twoLabels(rest); ok {
				return r.service(ns, name), nil
			}
		}
	}
	t := target{host: host, entries: r.entries.exact[host]}
	if len(t.entries) > 0 {
		return t, nil
	}
	if name, ns, ok := twoLabels(host); ok && r.isService(ns, name) {
		return r.service(ns, name), nil
	}
	t.entries = r.entries.find(host)
	return t, nil
}

// isService reports whether anything in the configuration says that namespace/name is a service.
func (r *Resolver) isService(namespace, name string) bool {
	if r.set.Service(namespace, name) != nil || len(r.set.EndpointSlicesOf(namespace, name)) > 0 {
		return true
	}
	_, known := r.set.NamespaceLabels(namespace)
	if !known || r.ctx.Complete {
		return false
	}
	// In a folder every namespace "exists"; only one in which something stands counts.
	for _, ns := range r.set.Namespaces() {
		if ns.Name == namespace {
			return true
		}
	}
	return false
}

// twoLabels splits "name.namespace".
func twoLabels(s string) (name, namespace string, ok bool) {
	name, namespace, ok = strings.Cut(s, ".")
	if _, err := netip.ParseAddr(s); err == nil {
		return "", "", false
	}
	return name, namespace, ok && name != "" && namespace != "" && !strings.Contains(namespace, ".")
}

// absent says that there is no Service of a target's name, and what is near. slip reports that one
// was most likely meant which is written otherwise, or was not accepted.
func (r *Resolver) absent(t target) (message, fix string, slip bool) {
	if stands := r.set.Unaccepted(resource.Key{Kind: resource.KindService, Namespace: t.namespace, Name: t.name}); stands != "" {
		return fmt.Sprintf("Service %s/%s %s", t.namespace, t.name, stands), "Mend what is reported there.", true
	}
	message, fix = fmt.Sprintf("there is no Service %s/%s", t.namespace, t.name), "Create it, or correct the name."
	if near := r.similar(t); near != "" {
		return message, fmt.Sprintf("Did you mean %s?", near), true
	}
	return message, fix, false
}

// maxSought bounds the searches of similar: ten thousand missing services must not be compared with ten
// thousand others.
const maxSought = 100

// similar returns the Service of the target's namespace that may have been meant, or "".
func (r *Resolver) similar(t target) string {
	if r.sought++; r.sought > maxSought {
		return ""
	}
	var names []string
	for _, s := range r.set.Services() {
		if s.Namespace == t.namespace {
			names = append(names, s.Name)
		}
	}
	return translate.Nearest(t.name, names)
}

// entryIndex finds ServiceEntries by host.
type entryIndex struct {
	exact    map[string][]*resource.ServiceEntry
	wildcard map[string][]*resource.ServiceEntry // by ".suffix"
}

// indexEntries collects the ServiceEntries that the gateway may see. Invalid hosts are reported by
// Lint.
func indexEntries(r *Resolver) *entryIndex {
	x := &entryIndex{map[string][]*resource.ServiceEntry{}, map[string][]*resource.ServiceEntry{}}
	for _, e := range r.set.ServiceEntries() {
		if !visible(e.Spec.ExportTo, e.Namespace, r.ctx.Namespace) {
			continue
		}
		for _, h := range e.Spec.Hosts {
			p, err := hostname.Parse(h)
			switch {
			case err != nil:
			case p.IsExact():
				x.exact[p.String()] = append(x.exact[p.String()], e)
			case p.IsWildcard():
				x.wildcard[p.Suffix()] = append(x.wildcard[p.Suffix()], e)
			}
		}
	}
	return x
}

// find returns the entries of the most specific host that covers name.
func (x *entryIndex) find(name string) []*resource.ServiceEntry {
	if es := x.exact[name]; len(es) > 0 {
		return es
	}
	for i, c := range name {
		if c == '.' && i > 0 {
			if es := x.wildcard[name[i:]]; len(es) > 0 {
				return es
			}
		}
	}
	return nil
}

// visible applies exportTo: empty and "*" mean everyone, "." the object's own namespace, "~" no one.
func visible(exportTo []string, own, client string) bool {
	if len(exportTo) == 0 {
		return true
	}
	for _, e := range exportTo {
		if e == "*" || e == client || e == "." && own == client {
			return true
		}
	}
	return false
}

// fromField is where a ServiceEntry or Service is at fault.
func fromField(m *resource.Meta, format string, args ...any) ir.Origin {
	return ir.Origin{Object: m.Object(), Field: fmt.Sprintf(format, args...)}
}
