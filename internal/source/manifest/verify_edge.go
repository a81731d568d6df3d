package manifest

import (
	"fmt"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// verifyCertificatePolicy checks that a policy is about something, and that it has trust where it
// needs some.
func verifyCertificatePolicy(p *v1alpha1.ClientCertificatePolicySpec) []fault {
	var faults []fault
	if len(p.TargetRefs) == 0 && len(p.Hosts) == 0 {
		faults = append(faults, fault{diag.MissingField, 0, "spec", "The policy names neither targetRefs nor hosts, so it is about nothing.",
			"Add hosts, or targetRefs with the Gateway, EdgeHost or route that it is about."})
	}
	if p.Trust == nil && p.Action != v1alpha1.ActionOpen {
		faults = append(faults, fault{diag.MissingField, 0, "spec", "The policy needs trust: the CAs whose certificates are accepted.",
			"Add trust.caRefs, or set action: Open to let everybody in."})
	}
	return faults
}

// verifyOriginPool checks names and weights of origins.
func verifyOriginPool(p *v1alpha1.OriginPoolSpec) []fault {
	var faults []fault
	first := map[string]int{}
	for i, o := range p.Origins {
		at := fmt.Sprintf("spec.origins[%d]", i)
		if j, twice := first[o.Name]; twice {
			faults = append(faults, fault{diag.BadValue, 0, at + ".name",
				fmt.Sprintf("Origin %d has the name %s of origin %d.", i, quote(o.Name), j), "Give every origin its own name."})
		} else {
			first[o.Name] = i
		}
		if w := o.Weight; w != nil && !(*w >= 0 && *w <= 1) {
			faults = append(faults, fault{diag.BadValue, 0, at + ".weight", fmt.Sprintf("%s.weight must be a number from 0 to 1, not %v.", at, *w),
				"Write the origin's share, such as 0.5; the shares need not add up to 1."})
		}
	}
	return faults
}
