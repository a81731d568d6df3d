package backend

import (
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Pool resolves a reference to an OriginPool, whose upstream the translator of our own kinds makes. grpc
// says that a GRPCRoute asks: HTTP/2 is spoken then, unless the pool says HTTP/1.1.
func (r *Resolver) Pool(namespace, name string, grpc bool, from ir.Origin) Result {
	p := r.set.OriginPool(namespace, name)
	if p == nil {
		message, fix := translate.AbsentPool(r.set, namespace, name)
		return r.fault(diag.OriginPoolNotFound, from, message, fix)
	}
	switch {
	case !grpc || p.Spec.Protocol == "http2":
		return Result{Upstream: translate.PoolUpstream(namespace, name, false)}
	case p.Spec.Protocol == "http1":
		return r.fault(diag.ProtocolIneffective, from, fmt.Sprintf("OriginPool %s/%s speaks HTTP/1.1, which cannot carry gRPC", namespace, name), "Set its protocol to http2.")
	}
	return Result{Upstream: translate.PoolUpstream(namespace, name, true)}
}

// poolDomain ends the host of a destination that is an OriginPool: "NAME.NAMESPACE.originpool", or
// "NAME.originpool" for one of the rule's namespace.
const poolDomain = ".originpool"

// poolOf reads a destination's host as the name of an OriginPool.
func poolOf(host, namespace string) (ns, name string, ok bool) {
	rest, ok := strings.CutSuffix(strings.TrimSuffix(strings.ToLower(host), "."), poolDomain)
	if !ok || rest == "" {
		return "", "", false
	}
	// A namespace has no dot, a pool's name may have some.
	if i := strings.LastIndexByte(rest, '.'); i > 0 {
		return rest[i+1:], rest[:i], true
	}
	return namespace, rest, true
}

// pool resolves a destination that is an OriginPool. One whose name has a dot may also stand without its
// namespace, as any does.
func (r *Resolver) pool(d Destination, namespace string, from ir.Origin) (Result, bool) {
	ns, name, ok := poolOf(d.Host, namespace)
	if !ok {
		return r.nearPool(d.Host, namespace, from)
	}
	if whole := name + "." + ns; r.set.OriginPool(ns, name) == nil && r.set.OriginPool(namespace, whole) != nil {
		ns, name = namespace, whole
	}
	if d.Subset != "" {
		return r.fault(diag.SubsetNotFound, below(from, "subset"), fmt.Sprintf("OriginPool %s/%s has no subsets, as no DestinationRule is about it", ns, name), "Remove subset, or make two pools."), true
	}
	if d.Port != 0 {
		r.report(diag.FieldWithoutEffect, below(from, "port"), "the ports of an OriginPool are its origins' own", "Remove port.")
	}
	return r.Pool(ns, name, false, below(from, "host")), true
}

// nearPool refuses a destination that is an OriginPool but for a slip in the domain.
func (r *Resolver) nearPool(host, namespace string, from ir.Origin) (Result, bool) {
	const slips = 4
	i := strings.LastIndexByte(host, '.')
	if i < 0 || diag.Distance(strings.ToLower(host[i:]), poolDomain, slips) >= slips {
		return Result{}, false
	}
	ns, name, ok := poolOf(host[:i]+poolDomain, namespace)
	if !ok || r.set.OriginPool(ns, name) == nil && r.set.OriginPool(namespace, name+"."+ns) == nil {
		return Result{}, false
	}
	return r.fault(diag.OriginPoolNotFound, below(from, "host"), fmt.Sprintf("%q is no OriginPool's name, which ends in %s", host, poolDomain), fmt.Sprintf("Did you mean %s%s?", host[:i], poolDomain)), true
}
