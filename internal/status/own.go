package status

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/gatewayapi"
)

// Own is the status of an object of our own kinds.
type Own struct {
	Object  diag.Object `json:"object"`
	Display string      `json:"display,omitempty"` // the object's name for people

	// Conditions holds Accepted: false if anything about the object is an error. Its reason is the code's
	// word in camel case, its message begins with the code.
	Conditions []metav1.Condition `json:"conditions"`
}

// own returns the statuses of TLSPolicies, ClientCertificatePolicies, EdgeHosts, OriginPools, OriginPulls,
// UpstreamProxies, ForwardProxies and CachePolicies, in the order of the Set, and after them those that could not be read.
func (b *builder) own() []Own {
	if b.Set == nil {
		return nil
	}
	worst := map[diag.Object]diag.Diagnostic{}
	more := map[diag.Object]int{}
	for _, d := range b.Diagnostics {
		if d.Severity != diag.Error {
			continue
		}
		if _, known := worst[d.Object]; !known {
			worst[d.Object] = d
		} else {
			more[d.Object]++
		}
	}
	var out []Own
	for _, r := range b.Set.All() {
		m := r.Info()
		if m.Group != resource.GroupHakone {
			continue
		}
		c := gatewayapi.Condition{Type: "Accepted", True: true, Reason: "Accepted"}
		if d, wrong := worst[m.Object()]; wrong {
			c = refusedBy(d, more[m.Object()])
		}
		out = append(out, Own{m.Object(), displayName(r), []metav1.Condition{b.condition(c, m.Generation)}})
	}
	for _, x := range b.Set.Broken() {
		if x.Group == resource.GroupHakone && b.Set.Lookup(x.Key) == nil {
			c := gatewayapi.Condition{Type: "Accepted", Reason: camel(x.Code.Slug()), Code: x.Code, Message: "the object cannot be read: " + x.Position.String()}
			if d, told := worst[x.Object()]; told {
				c = refusedBy(d, more[x.Object()])
			}
			out = append(out, Own{Object: x.Object(), Conditions: []metav1.Condition{b.condition(c, 0)}})
		}
	}
	return out
}

// refusedBy is the condition of an object with an error, and more beside it.
func refusedBy(d diag.Diagnostic, more int) gatewayapi.Condition {
	message := d.Message
	if d.Field != "" {
		message = d.Field + ": " + message
	}
	if more > 0 {
		message += fmt.Sprintf(" (and %d more)", more)
	}
	return gatewayapi.Condition{Type: "Accepted", Reason: camel(d.Code.Slug()), Code: d.Code, Message: message}
}

// camel writes "edge_host_invalid" as "EdgeHostInvalid", the form of a condition's reason.
func camel(slug string) string {
	var out strings.Builder
	for word := range strings.SplitSeq(slug, "_") {
		if word != "" {
			out.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return out.String()
}

func displayName(r resource.Resource) string {
	switch o := r.(type) {
	case *resource.EdgeHost:
		return o.Spec.DisplayName
	case *resource.OriginPool:
		return o.Spec.DisplayName
	case *resource.OriginPull:
		return o.Spec.DisplayName
	case *resource.ClientCertificatePolicy:
		return o.Spec.DisplayName
	}
	return ""
}
