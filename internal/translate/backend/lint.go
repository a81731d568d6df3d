package backend

import (
	"fmt"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/noeffect"
)

// Lint reports what is wrong with DestinationRules and ServiceEntries themselves, whether a route
// uses them or not: invalid hosts and fields without effect. The translator of Istio's API calls it.
func Lint(set *resource.Set, out *translate.Fragment) {
	rules, entries := rulePaths(), entryPaths()
	for _, d := range set.DestinationRules() {
		if _, err := hostname.Parse(d.Spec.GetHost()); err != nil {
			out.Report(diag.DestinationInvalid, d.Object(), "spec.host", err.Error(), "Name a service or a host of a ServiceEntry.")
		}
		noeffect.Report(out, d.Object(), d.Spec, rules)
		lintPolicies(d, out)
	}
	for _, e := range set.ServiceEntries() {
		for i, h := range e.Spec.GetHosts() {
			if p, err := hostname.Parse(h); err != nil || p.IsAny() {
				message := `host "*" covers everything, which is no service`
				if err != nil {
					message = err.Error()
				}
				out.Report(diag.DestinationInvalid, e.Object(), fmt.Sprintf("spec.hosts[%d]", i), message, "Write a DNS name, or \"*.\" and a DNS name.")
			}
		}
		if len(e.Spec.GetPorts()) == 0 {
			out.Report(diag.MissingField, e.Object(), "spec.ports", "a ServiceEntry without ports leads nowhere", "Add ports.")
		}
		noeffect.Report(out, e.Object(), e.Spec, entries)
		lintEntry(e, out)
	}
}

func rulePaths() noeffect.Handled {
	paths := []string{"{host,exportTo}", "workloadSelector.matchLabels", "subsets.{name,labels}"}
	for _, at := range []string{"trafficPolicy.", "subsets.trafficPolicy."} {
		for _, level := range []string{at, at + "portLevelSettings."} {
			paths = append(paths, level+"loadBalancer.simple", level+"connectionPool.tcp.{maxConnections,connectTimeout,idleTimeout}",
				level+"connectionPool.http.{http1MaxPendingRequests,http2MaxRequests,maxRequestsPerConnection,maxRetries,idleTimeout,h2UpgradePolicy,useClientProtocol,maxConcurrentStreams}", level+"tls")
		}
		paths = append(paths, at+"portLevelSettings.port", at+"tunnel")
	}
	return noeffect.Paths(paths...)
}

// entryPaths leaves out workloadSelector: WorkloadEntries are not read.
func entryPaths() noeffect.Handled {
	return noeffect.Paths("{hosts,addresses,ports,location,resolution,exportTo,subjectAltNames}", "endpoints.{address,ports,labels,weight}")
}

// lintPolicies looks at every trafficPolicy of a rule, of its subsets and of their ports.
func lintPolicies(d *resource.DestinationRule, out *translate.Fragment) {
	policy := func(tp *istio.TrafficPolicy, path string) {
		lintBalancer(d, tp.GetLoadBalancer(), path, out)
		lintPool(d, tp.GetConnectionPool(), path+".connectionPool", out)
		for i, p := range tp.GetPortLevelSettings() {
			port := fmt.Sprintf("%s.portLevelSettings[%d]", path, i)
			lintBalancer(d, p.GetLoadBalancer(), port, out)
			lintPool(d, p.GetConnectionPool(), port+".connectionPool", out)
		}
	}
	policy(d.Spec.GetTrafficPolicy(), "spec.trafficPolicy")
	for i, s := range d.Spec.GetSubsets() {
		policy(s.GetTrafficPolicy(), fmt.Sprintf("spec.subsets[%d].trafficPolicy", i))
	}
}

// lintBalancer reports the one simple balancer that a gateway cannot have.
func lintBalancer(d *resource.DestinationRule, lb *istio.LoadBalancerSettings, path string, out *translate.Fragment) {
	if lb.GetSimple() == istio.LoadBalancerSettings_PASSTHROUGH {
		out.Report(diag.FieldWithoutEffect, d.Object(), path+".loadBalancer.simple",
			"PASSTHROUGH sends to the connection's original address, which a request to a gateway does not have; LEAST_REQUEST is used", "Use LEAST_REQUEST, ROUND_ROBIN or RANDOM.")
	}
}

// lintPool reports bounds that are none and settings that exclude each other.
func lintPool(d *resource.DestinationRule, pool *istio.ConnectionPoolSettings, path string, out *translate.Fragment) {
	http := pool.GetHttp()
	for _, b := range []struct {
		field string
		value int32
	}{
		{"tcp.maxConnections", pool.GetTcp().GetMaxConnections()}, {"http.http1MaxPendingRequests", http.GetHttp1MaxPendingRequests()},
		{"http.http2MaxRequests", http.GetHttp2MaxRequests()}, {"http.maxRequestsPerConnection", http.GetMaxRequestsPerConnection()},
		{"http.maxRetries", http.GetMaxRetries()}, {"http.maxConcurrentStreams", http.GetMaxConcurrentStreams()},
	} {
		if b.value < 0 {
			out.Report(diag.BadValue, d.Object(), path+"."+b.field, fmt.Sprintf("%d is no bound; the default is used", b.value), "Write a number above 0, or remove the field.")
		}
	}
	if http.GetUseClientProtocol() && http.GetH2UpgradePolicy() == istio.ConnectionPoolSettings_HTTPSettings_UPGRADE {
		out.Report(diag.FieldWithoutEffect, d.Object(), path+".http.h2UpgradePolicy", "h2UpgradePolicy does nothing beside useClientProtocol, which keeps the client's protocol", "Remove one of the two.")
	}
}
