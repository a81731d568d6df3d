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
		lintBalancers(d, out)
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
	}
}

func rulePaths() noeffect.Handled {
	paths := []string{"{host,exportTo}", "workloadSelector.matchLabels", "subsets.{name,labels}"}
	for _, at := range []string{"trafficPolicy.", "subsets.trafficPolicy."} {
		for _, level := range []string{at, at + "portLevelSettings."} {
			paths = append(paths, level+"loadBalancer.simple", level+"connectionPool.tcp.{maxConnections,connectTimeout,idleTimeout}",
				level+"connectionPool.http.{http1MaxPendingRequests,maxRequestsPerConnection,idleTimeout}", level+"tls")
		}
		paths = append(paths, at+"portLevelSettings.port")
	}
	return noeffect.Paths(paths...)
}

// entryPaths leaves out workloadSelector (WorkloadEntries are not read) and addresses, which only
// matter to connections without a name.
func entryPaths() noeffect.Handled {
	return noeffect.Paths("{hosts,ports,location,resolution,exportTo,subjectAltNames}", "endpoints.{address,ports,labels,weight}")
}

// lintBalancers reports the one simple balancer that a gateway cannot have.
func lintBalancers(d *resource.DestinationRule, out *translate.Fragment) {
	check := func(lb *istio.LoadBalancerSettings, path string) {
		if lb.GetSimple() == istio.LoadBalancerSettings_PASSTHROUGH {
			out.Report(diag.FieldWithoutEffect, d.Object(), path+".loadBalancer.simple",
				"PASSTHROUGH sends to the connection's original address, which a request to a gateway does not have; LEAST_REQUEST is used", "Use LEAST_REQUEST, ROUND_ROBIN or RANDOM.")
		}
	}
	policy := func(tp *istio.TrafficPolicy, path string) {
		check(tp.GetLoadBalancer(), path)
		for i, p := range tp.GetPortLevelSettings() {
			check(p.GetLoadBalancer(), fmt.Sprintf("%s.portLevelSettings[%d]", path, i))
		}
	}
	policy(d.Spec.GetTrafficPolicy(), "spec.trafficPolicy")
	for i, s := range d.Spec.GetSubsets() {
		policy(s.GetTrafficPolicy(), fmt.Sprintf("spec.subsets[%d].trafficPolicy", i))
	}
}
