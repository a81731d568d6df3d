// Package backend turns destinations into upstreams with endpoints, for the translators of both APIs:
// Istio's destination.host and the Gateway API's backendRef to a Service lead to the same Upstream,
// with what DestinationRules say about it.
//
// Addresses come from, in this order: --endpoint, EndpointSlices, the Service's externalName, a
// ServiceEntry, DNS. A destination may also be an OriginPool, whose upstream package native makes. The package checks no ReferenceGrant and knows no route. Begin reading at
// Resolver.
//
// A subset selects endpoints by labels. ServiceEntry endpoints carry their own; endpoints of an
// EndpointSlice have those of the slice, because nothing else in the configuration can give them any.
package backend

import (
	"net"
	"strconv"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// Resolver resolves destinations for one translation. It is owned by one goroutine.
type Resolver struct {
	set     *resource.Set
	ctx     translate.Context
	out     *translate.Fragment
	creds   *credential.Finder
	entries *entryIndex
	rules   *ruleIndex
	guards  guards
	sought  int // how often similar has searched
}

// New returns a Resolver that reads set and writes upstreams and endpoints into out; creds writes
// there too.
func New(set *resource.Set, ctx translate.Context, out *translate.Fragment, creds *credential.Finder) *Resolver {
	if ctx.ClusterDomain == "" {
		ctx.ClusterDomain = "cluster.local"
	}
	r := &Resolver{set: set, ctx: ctx, out: out, creds: creds, guards: indexGuards(set)}
	r.entries = indexEntries(r)
	r.rules = indexRules(r)
	return r
}

// Result is where a destination leads. Exactly one of Upstream and Fault is set; a Fault has been
// reported for the field that asked.
type Result struct {
	Upstream string // name of an upstream of the fragment
	Fault    *ir.Fault
}

// Service resolves a Gateway API backendRef to a Service.
func (r *Resolver) Service(namespace, name string, port uint16, from ir.Origin) Result {
	return r.resolve(r.service(namespace, name), wish{port: uint32(port)}, from)
}

// GRPCService is Service for a GRPCRoute: HTTP/2 is spoken to the port even where it does not say so.
func (r *Resolver) GRPCService(namespace, name string, port uint16, from ir.Origin) Result {
	return r.resolve(r.service(namespace, name), wish{port: uint32(port), grpc: true}, from)
}

// Destination is Istio's destination, as written.
type Destination struct {
	Host   string
	Port   uint32 // 0: the only port of the service
	Subset string // empty: none
}

// Destination resolves an Istio destination. namespace is that of the rule, which completes short
// names. Diagnostics about host, port and subset are reported at those fields below from.
func (r *Resolver) Destination(d Destination, namespace string, from ir.Origin) Result {
	if result, is := r.pool(d, namespace, from); is {
		return result
	}
	t, err := r.locate(d.Host, namespace)
	if err != nil {
		return r.fault(diag.DestinationInvalid, below(from, "host"), err.Error(), "Name a service (name, or name.namespace.svc."+r.ctx.ClusterDomain+") or a host of a ServiceEntry.")
	}
	return r.resolve(t, wish{port: d.Port, subset: d.Subset}, from)
}

// TCPDestination is Destination for a route of connections: what the port declares to speak does not
// matter, and tunnel of its DestinationRule holds.
func (r *Resolver) TCPDestination(d Destination, namespace string, from ir.Origin) Result {
	if _, _, ok := poolOf(d.Host, namespace); ok {
		return r.fault(diag.DestinationInvalid, below(from, "host"), "an OriginPool takes requests, and the route carries connections", "Name a service or a host of a ServiceEntry.")
	}
	t, err := r.locate(d.Host, namespace)
	if err != nil {
		return r.fault(diag.DestinationInvalid, below(from, "host"), err.Error(), "Name a service (name, or name.namespace.svc."+r.ctx.ClusterDomain+") or a host of a ServiceEntry.")
	}
	return r.resolve(t, wish{port: d.Port, subset: d.Subset, tcp: true}, from)
}

// wish is what a route asks of a target.
type wish struct {
	port   uint32 // 0: the only one
	subset string
	grpc   bool // the route carries gRPC and nothing else
	tcp    bool // the route carries connections
}

// resolve makes the upstream of a target, unless it is there already.
func (r *Resolver) resolve(t target, w wish, from ir.Origin) Result {
	p, fault := r.port(t, w.port, from)
	if fault != nil {
		return Result{Fault: fault}
	}
	if fault := r.guarded(t, p, from); fault != nil {
		return Result{Fault: fault}
	}
	rule, fault := r.ruleFor(t, p.number, w.subset, from)
	if fault != nil {
		return Result{Fault: fault}
	}
	name, protocol := r.name(t, p.number, w.subset), speak(p, rule)
	if w.grpc && protocol != ir.UpstreamHTTP2 {
		if fault := r.overGRPC(t, p, from); fault != nil {
			return Result{Fault: fault}
		}
		name, protocol = name+grpcSuffix, ir.UpstreamHTTP2
	}
	if rule.tunnel != nil {
		if w.tcp {
			name += tunnelSuffix
		} else {
			r.tunnelOnHTTP(t, p, rule)
		}
	}
	if r.out.Upstreams[name] != nil {
		return Result{Upstream: name}
	}
	up := &ir.Upstream{Name: name, Origin: ir.Origin{Object: t.object()}, Protocol: protocol, GRPCWeb: p.protocol == "grpc-web", Balancing: ir.LeastRequest}
	r.out.Upstreams[name] = up
	up.IsProxy = r.plainProxy(t, p)
	rule.apply(r, up, t)
	if !up.IsProxy {
		up.Destination = outside(t)
	}
	r.addresses(up, t, p, w.subset, rule.labels, from)
	if w.tcp {
		if rule.tunnel != nil {
			r.tunnel(up, rule)
		}
		return Result{Upstream: name}
	}
	r.reportProtocol(t, p, up, from)
	r.reportClientProtocol(t, p, rule)
	return Result{Upstream: name}
}

// name returns the upstream's name: "httpbin.default:8000", "example.com:443", with "|subset". An
// external host whose name reads like that of an existing Service gets its final dot.
func (r *Resolver) name(t target, port uint32, subset string) string {
	host := t.host
	if t.internal() {
		host = t.name + "." + t.namespace
	} else if name, ns, ok := twoLabels(host); ok && r.set.Service(ns, name) != nil {
		host += "."
	}
	name := net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
	if subset != "" {
		name += "|" + subset
	}
	return name
}

func (r *Resolver) fault(code diag.Code, from ir.Origin, message, fix string) Result {
	d := diag.New(code, from.Object, from.Field, message, fix)
	d.Severity = diag.Error
	r.out.Diagnostics = append(r.out.Diagnostics, d)
	return Result{Fault: &ir.Fault{Code: code, Detail: message}}
}

func (r *Resolver) report(code diag.Code, from ir.Origin, message, fix string) {
	r.out.Report(code, from.Object, from.Field, message, fix)
}

// below returns a field of the thing that from names.
func below(from ir.Origin, field string) ir.Origin {
	if from.Field == "" {
		return ir.Origin{Object: from.Object, Field: field}
	}
	return ir.Origin{Object: from.Object, Field: from.Field + "." + field}
}
