package istio

import (
	"fmt"

	istio "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/noeffect"
)

// rootNamespace is where Istio's own configuration stands.
const rootNamespace = "istio-system"

// meshConfig is what is read of Istio's MeshConfig.
type meshConfig struct {
	OutboundTrafficPolicy *struct {
		Mode string `json:"mode"`
	} `json:"outboundTrafficPolicy"`
	CACertificates []any          `json:"caCertificates"`
	TLSDefaults    map[string]any `json:"tlsDefaults"`
	MeshMTLS       map[string]any `json:"meshMTLS"`
}

// outbound reads outboundTrafficPolicy: of Sidecars for their namespace, of one in the root namespace and
// of MeshConfig for all.
func (t *translator) outbound() {
	var whole []translate.Outbound
	for _, s := range t.set.Sidecars() {
		noeffect.Report(t.out, s.Object(), s.Spec, noeffect.Paths("outboundTrafficPolicy", "workloadSelector"))
		p := s.Spec.GetOutboundTrafficPolicy()
		if p == nil {
			continue
		}
		from := at(&s.Meta, "spec.outboundTrafficPolicy")
		switch {
		case len(s.Spec.GetWorkloadSelector().GetLabels()) > 0:
			t.report(diag.FieldWithoutEffect, at(&s.Meta, "spec.workloadSelector"), "without sidecars, workloads cannot be told apart by labels: the Sidecar's outboundTrafficPolicy does nothing", "Write outboundTrafficPolicy into a ForwardProxy of its own for these workloads, or remove workloadSelector.")
			continue
		case p.GetMode() != istio.OutboundTrafficPolicy_REGISTRY_ONLY && p.GetMode() != istio.OutboundTrafficPolicy_ALLOW_ANY:
			t.report(diag.BadValue, below(from, "mode"), fmt.Sprintf("mode %s is not known", p.GetMode()), "Use REGISTRY_ONLY or ALLOW_ANY.")
			continue
		}
		if p.GetEgressProxy() != nil {
			t.report(diag.FieldWithoutEffect, below(from, "egressProxy"), "egressProxy names where sidecars send unknown traffic, which comes here as it is", "Send hosts through an UpstreamProxy, or give the ForwardProxy rules.")
		}
		o := translate.Outbound{Origin: from, Namespace: s.Namespace, RegistryOnly: p.GetMode() == istio.OutboundTrafficPolicy_REGISTRY_ONLY}
		if s.Namespace == rootNamespace {
			o.Namespace = ""
			whole = append(whole, o)
			continue
		}
		t.out.Outbound = append(t.out.Outbound, o)
	}
	t.out.Outbound = append(t.out.Outbound, whole...)
	if m := t.set.ConfigMap(rootNamespace, "istio"); m != nil {
		t.meshConfig(m)
	}
	t.tellOutbound()
}

// meshConfig reads the entry mesh of Istio's ConfigMap.
func (t *translator) meshConfig(m *resource.ConfigMap) {
	text, ok := m.Data["mesh"]
	from := at(&m.Meta, "data[mesh]")
	if !ok {
		return
	}
	var c meshConfig
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.report(diag.BadValue, from, fmt.Sprintf("the entry is no MeshConfig: %v", err), "Correct the YAML.")
		return
	}
	if len(c.CACertificates) > 0 {
		t.info(diag.FieldWithoutEffect, from, "caCertificates of MeshConfig are roots for identities of a mesh, which this gateway does not have; no connection is verified with them", "For destinations, write caCertificates or credentialName into a DestinationRule; for an intercepting proxy, caRef into an UpstreamProxy.")
	}
	if len(c.TLSDefaults) > 0 {
		t.info(diag.FieldWithoutEffect, from, "tlsDefaults of MeshConfig are not read", "Write a TLSPolicy (hakone.dev/v1alpha1).")
	}
	if c.OutboundTrafficPolicy == nil {
		return
	}
	switch c.OutboundTrafficPolicy.Mode {
	case "REGISTRY_ONLY", "ALLOW_ANY", "":
		t.out.Outbound = append(t.out.Outbound, translate.Outbound{Origin: from, RegistryOnly: c.OutboundTrafficPolicy.Mode == "REGISTRY_ONLY"})
	default:
		t.report(diag.BadValue, from, fmt.Sprintf("outboundTrafficPolicy.mode %q is not known", c.OutboundTrafficPolicy.Mode), "Use REGISTRY_ONLY or ALLOW_ANY.")
	}
}

// tellOutbound says where Istio's outboundTrafficPolicy restricts ForwardProxies that say nothing.
func (t *translator) tellOutbound() {
	told := map[ir.Origin]bool{}
	for _, f := range t.set.ForwardProxies() {
		if f.Spec.OutboundTrafficPolicy != "" {
			continue
		}
		for _, o := range t.out.Outbound {
			if o.Namespace != "" && o.Namespace != f.Namespace {
				continue
			}
			if o.RegistryOnly && !told[o.Origin] {
				told[o.Origin] = true
				t.report(diag.OutboundPolicyRead, o.Origin, fmt.Sprintf("REGISTRY_ONLY: ForwardProxy %s/%s, which says nothing itself, lets clients reach hosts of ServiceEntries, Services and UpstreamProxies only", f.Namespace, f.Name),
					"Write outboundTrafficPolicy into the ForwardProxy to have it otherwise.")
			}
			break
		}
	}
}
