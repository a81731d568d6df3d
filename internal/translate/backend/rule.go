package backend

import (
	"fmt"
	"slices"
	"strings"
	"time"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// ruleIndex finds DestinationRules by namespace and host.
type ruleIndex struct {
	byNamespace map[string]*rulesOf
	all         *rulesOf
}

// rulesOf holds rules by their host, so that ten thousand destinations need not be held against ten
// thousand rules each.
type rulesOf struct {
	exact map[string][]hostRule
	wide  []hostRule // of wildcard hosts
}

func (x *rulesOf) add(h hostRule) {
	if !h.host.IsExact() {
		x.wide = append(x.wide, h)
		return
	}
	if x.exact == nil {
		x.exact = map[string][]hostRule{}
	}
	x.exact[h.host.String()] = append(x.exact[h.host.String()], h)
}

// near returns the rules that may be about t; x may be nil.
func (x *rulesOf) near(t target) []hostRule {
	if x == nil {
		return nil
	}
	return append(slices.Clip(x.exact[t.host]), x.wide...)
}

// hostRule is a DestinationRule with its host read.
type hostRule struct {
	*resource.DestinationRule
	host hostname.Pattern
}

// indexRules collects the DestinationRules that are about this process. Invalid hosts are reported by
// Lint.
func indexRules(r *Resolver) *ruleIndex {
	x := &ruleIndex{byNamespace: map[string]*rulesOf{}, all: &rulesOf{}}
	for _, d := range r.set.DestinationRules() {
		if w := d.Spec.GetWorkloadSelector(); w != nil && !(d.Namespace == r.ctx.Namespace && r.ours(w.GetMatchLabels())) {
			continue
		}
		host, err := hostname.Parse(d.Spec.GetHost())
		if err != nil {
			continue
		}
		if host.IsExact() {
			t, err := r.locate(d.Spec.GetHost(), d.Namespace)
			if err != nil {
				continue
			}
			if host, err = hostname.Parse(t.host); err != nil {
				continue
			}
		}
		h := hostRule{d, host}
		if x.byNamespace[d.Namespace] == nil {
			x.byNamespace[d.Namespace] = &rulesOf{}
		}
		x.all.add(h)
		x.byNamespace[d.Namespace].add(h)
	}
	return x
}

// ours reports whether this process has all of the labels.
func (r *Resolver) ours(want map[string]string) bool {
	for k, v := range want {
		if !r.ctx.Is(k, v) {
			return false
		}
	}
	return true
}

// lookup returns the rules of the one host pattern that counts for t, the oldest first: the most
// specific in the gateway's namespace, else in the service's own, else in istio-system, which is
// Istio's root namespace. Where nothing says whose the host is, any namespace will do.
func (r *Resolver) lookup(t target) []hostRule {
	places := []string{r.ctx.Namespace, t.home(), "istio-system"}
	for _, ns := range places {
		if found := r.mostSpecific(r.rules.byNamespace[ns].near(t), t); len(found) > 0 {
			return found
		}
	}
	if t.home() == "" {
		found := r.mostSpecific(r.rules.all.near(t), t)
		return slices.DeleteFunc(found, func(h hostRule) bool { return h.Namespace != found[0].Namespace })
	}
	return nil
}

func (r *Resolver) mostSpecific(rules []hostRule, t target) []hostRule {
	var best []hostRule
	for _, h := range rules {
		if !h.host.Match(t.host) && !(t.wild.IsValid() && h.host.Covers(t.wild)) {
			continue
		}
		if !visible(h.Spec.GetExportTo(), h.Namespace, r.ctx.Namespace) {
			r.report(diag.DestinationHidden, fromField(&h.Meta, "spec.exportTo"),
				fmt.Sprintf("a route leads to %s, but exportTo hides this rule from the gateway's namespace %s", t, r.ctx.Namespace),
				fmt.Sprintf("Add %q, or \"*\", to exportTo.", r.ctx.Namespace))
			continue
		}
		switch {
		case len(best) == 0 || hostname.Compare(h.host, best[0].host) < 0:
			best = []hostRule{h}
		case h.host == best[0].host:
			best = append(best, h)
		}
	}
	return best
}

// policy is what DestinationRules say of one port and subset. A field that is nil was not set; the
// origins name the fields for diagnostics.
type policy struct {
	labels   map[string]string
	balance  *istio.LoadBalancerSettings
	pool     *istio.ConnectionPoolSettings
	poolFrom ir.Origin
	tls      *istio.ClientTLSSettings
	tlsFrom  ir.Origin
	tlsOwner *resource.DestinationRule

	tunnel     *istio.TrafficPolicy_TunnelSettings
	tunnelFrom ir.Origin
}

// ruleFor finds the policy of a port and subset. The fault says that the subset does not exist.
func (r *Resolver) ruleFor(t target, port uint32, subset string, from ir.Origin) (policy, *ir.Fault) {
	rules := r.lookup(t)
	p, known, ok := pick(rules, port, subset)
	if ok {
		return p, nil
	}
	message := fmt.Sprintf("no DestinationRule for %s defines subset %q", t, subset)
	if len(known) > 0 {
		message += "; there are " + strings.Join(known, ", ")
	}
	for _, b := range r.set.Broken() {
		if b.Group == resource.GroupIstio && b.Kind == resource.KindDestinationRule && (b.Namespace == t.home() || b.Namespace == r.ctx.Namespace) {
			message += fmt.Sprintf("; DestinationRule %s/%s %s", b.Namespace, b.Name, r.set.Unaccepted(b.Key))
		}
	}
	return p, r.fault(diag.SubsetNotFound, below(from, "subset"), message, "Define the subset in a DestinationRule, or remove it here.").Fault
}

// pick finds the policy of a port and subset in the rules of one host. Not ok, it returns the subsets that
// there are.
func pick(rules []hostRule, port uint32, subset string) (p policy, known []string, ok bool) {
	for _, h := range rules {
		if h.Spec.GetTrafficPolicy() != nil {
			p = overridden(p, h, h.Spec.GetTrafficPolicy(), "spec.trafficPolicy", port)
			break
		}
	}
	if subset == "" {
		return p, nil, true
	}
	for _, h := range rules {
		for i, s := range h.Spec.GetSubsets() {
			if s.GetName() == subset {
				p = overridden(p, h, s.GetTrafficPolicy(), fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), port)
				p.labels = s.GetLabels()
				return p, nil, true
			}
			known = append(known, s.GetName())
		}
	}
	return p, known, false
}

// overridden lays one trafficPolicy over another. Settings of a port replace all four of the
// settings above them, even those that they leave out, as Istio does.
func overridden(p policy, h hostRule, tp *istio.TrafficPolicy, path string, port uint32) policy {
	if tp.GetTunnel() != nil {
		p.tunnel, p.tunnelFrom = tp.GetTunnel(), fromField(&h.Meta, "%s.tunnel", path)
	}
	for i, pl := range tp.GetPortLevelSettings() {
		if pl.GetPort().GetNumber() == port {
			return policy{labels: p.labels, tunnel: p.tunnel, tunnelFrom: p.tunnelFrom, balance: pl.GetLoadBalancer(), pool: pl.GetConnectionPool(), tls: pl.GetTls(),
				poolFrom: fromField(&h.Meta, "%s.portLevelSettings[%d].connectionPool", path, i), tlsFrom: fromField(&h.Meta, "%s.portLevelSettings[%d].tls", path, i), tlsOwner: h.DestinationRule}
		}
	}
	if tp.GetLoadBalancer() != nil {
		p.balance = tp.GetLoadBalancer()
	}
	if tp.GetConnectionPool() != nil {
		p.pool, p.poolFrom = tp.GetConnectionPool(), fromField(&h.Meta, "%s.connectionPool", path)
	}
	if tp.GetTls() != nil {
		p.tls, p.tlsFrom, p.tlsOwner = tp.GetTls(), fromField(&h.Meta, "%s.tls", path), h.DestinationRule
	}
	return p
}

// apply puts the policy into an upstream.
func (p policy) apply(r *Resolver, up *ir.Upstream, t target) {
	switch p.balance.GetSimple() {
	case istio.LoadBalancerSettings_ROUND_ROBIN:
		up.Balancing = ir.RoundRobin
	case istio.LoadBalancerSettings_RANDOM:
		up.Balancing = ir.Random
	}
	tcp, http := p.pool.GetTcp(), p.pool.GetHttp()
	up.Pool = ir.Pool{
		MaxConnections:           bound(tcp.GetMaxConnections()),
		MaxPendingRequests:       bound(http.GetHttp1MaxPendingRequests()),
		MaxRequestsPerConnection: bound(http.GetMaxRequestsPerConnection()),
		MaxRequests:              bound(http.GetHttp2MaxRequests()),
		MaxStreams:               bound(http.GetMaxConcurrentStreams()),
		MaxRetries:               bound(http.GetMaxRetries()),
		ConnectTimeout:           max(0, tcp.GetConnectTimeout().AsDuration()),
		IdleTimeout:              idle(http.GetIdleTimeout().AsDuration(), tcp.GetIdleTimeout().AsDuration()),
	}
	p.applyTLS(r, up, t)
}

// bound reads a bound of a pool; negative ones, which Lint reports, are none.
func bound(n int32) int { return max(0, int(n)) }

func idle(http, tcp time.Duration) time.Duration {
	if http > 0 {
		return http
	}
	return max(0, tcp)
}
