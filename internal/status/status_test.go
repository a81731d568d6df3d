package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate/gatewayapi"
)

var at = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// listener returns a healthy listener; its chain is infra/edge/NAME.
func listener(name string) gatewayapi.ListenerStatus {
	return gatewayapi.ListenerStatus{Name: name, Chain: "infra/edge/" + name, SupportedKinds: []string{"HTTPRoute"}, AttachedRoutes: 2, Serves: true, Conditions: []gatewayapi.Condition{
		{Type: "Accepted", True: true, Reason: "Accepted"}, {Type: "ResolvedRefs", True: true, Reason: "ResolvedRefs"}}}
}

func edge(address string, ls ...gatewayapi.ListenerStatus) *gatewayapi.Status {
	return &gatewayapi.Status{Gateways: []gatewayapi.GatewayStatus{{
		Object: diag.Object{Kind: "Gateway", Namespace: "infra", Name: "edge"}, Generation: 7, Address: address, Listeners: ls,
		Conditions: []gatewayapi.Condition{{Type: "Accepted", True: true, Reason: "Accepted"}}}}}
}

// socket returns a configuration with one socket that has the chains.
func socket(chains ...string) *ir.Config {
	l := &ir.Listener{Name: "*:443"}
	for _, c := range chains {
		l.Chains = append(l.Chains, &ir.Chain{Name: c})
	}
	return &ir.Config{Listeners: []*ir.Listener{l}}
}

func applied(code diag.Code) *ir.Applied {
	return &ir.Applied{Listeners: []ir.ListenerResult{{Name: "*:443", Address: "0.0.0.0:443", Code: code, Detail: "permission denied"}}}
}

// line writes conditions as TYPE=STATUS/REASON.
func line(list []metav1.Condition) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Type+"="+string(c.Status)+"/"+c.Reason)
	}
	return strings.Join(out, " ")
}

func TestProgrammed(t *testing.T) {
	unresolved := listener("a")
	unresolved.Serves = false
	unresolved.Conditions[1] = gatewayapi.Condition{Type: "ResolvedRefs", Reason: "InvalidCertificateRef", Code: diag.SecretNotFound, Message: "no secret"}
	tests := []struct {
		name              string
		in                Input
		gateway, listener string
		message           string // of the listener's Programmed
	}{
		{"bound", Input{Translated: edge("", listener("a")), Config: socket("infra/edge/a"), Applied: applied(0)},
			"Accepted=True/Accepted Programmed=True/Programmed", "Programmed=True/Programmed Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs", "serves on 0.0.0.0:443"},
		{"nothing applied yet", Input{Translated: edge("", listener("a"))},
			"Accepted=True/Accepted Programmed=Unknown/Pending", "Programmed=Unknown/Pending Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs", "nothing was applied yet"},
		{"compiled and not applied", Input{Translated: edge("", listener("a")), Config: socket("infra/edge/a")},
			"Accepted=True/Accepted Programmed=Unknown/Pending", "Programmed=Unknown/Pending Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs", "nothing was applied yet"},
		{"port refused", Input{Translated: edge("", listener("a")), Config: socket("infra/edge/a"), Applied: applied(diag.BindRefused)},
			"Accepted=False/ListenersNotValid Programmed=False/Invalid", "Programmed=False/Invalid Accepted=False/PortUnavailable ResolvedRefs=True/ResolvedRefs", "HK6001: 0.0.0.0:443: permission denied"},
		{"address refused", Input{Translated: edge("203.0.113.7", listener("a")), Config: socket("infra/edge/a"), Applied: applied(diag.BindRefused)},
			"Accepted=False/ListenersNotValid Programmed=False/AddressNotUsable", "Programmed=False/Invalid Accepted=False/PortUnavailable ResolvedRefs=True/ResolvedRefs", "HK6001: 0.0.0.0:443: permission denied"},
		{"lost to an older Gateway", Input{Translated: edge("", listener("a")), Config: socket("infra/older/a"), Applied: applied(0)},
			"Accepted=True/Accepted Programmed=False/Invalid", "Programmed=False/Invalid Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs", "HK5201: an older listener on this socket has the host or another protocol"},
		{"one of two serves", Input{Translated: edge("", unresolved, listener("b")), Config: socket("infra/edge/a", "infra/edge/b"), Applied: applied(0)},
			"Accepted=True/Accepted Programmed=True/Programmed", "Programmed=False/Invalid Accepted=True/Accepted ResolvedRefs=False/InvalidCertificateRef", "HK5104: no secret"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.in.Now = at
			g := Build(tc.in).Gateways[0].Status
			if got := line(g.Conditions); got != tc.gateway {
				t.Errorf("Gateway %s, want %s", got, tc.gateway)
			}
			l := g.Listeners[0]
			if got := line(l.Conditions); got != tc.listener {
				t.Errorf("listener %s, want %s", got, tc.listener)
			}
			if got := l.Conditions[0].Message; got != tc.message {
				t.Errorf("message %q, want %q", got, tc.message)
			}
			for _, c := range append(l.Conditions, g.Conditions...) {
				if c.ObservedGeneration != 7 || c.LastTransitionTime != at {
					t.Errorf("%s has generation %d and time %s", c.Type, c.ObservedGeneration, c.LastTransitionTime)
				}
			}
		})
	}
}

func TestGatewayFields(t *testing.T) {
	none := listener("none")
	none.SupportedKinds = nil
	in := Input{Translated: edge("", listener("a"), none), Addresses: []string{"127.0.0.1"}}
	s := Build(in).Gateways[0].Status
	if len(s.Addresses) != 1 || *s.Addresses[0].Type != gatewayv1.IPAddressType || s.Addresses[0].Value != "127.0.0.1" {
		t.Errorf("addresses %v, want the process's own", s.Addresses)
	}
	if l := s.Listeners[0]; l.AttachedRoutes != 2 || len(l.SupportedKinds) != 1 || *l.SupportedKinds[0].Group != gatewayv1.GroupName {
		t.Errorf("listener %+v", l)
	}
	if data, _ := json.Marshal(s.Listeners[1]); !strings.Contains(string(data), `"supportedKinds":[]`) {
		t.Errorf("no kinds are not written as an empty list: %s", data)
	}
	in.Translated.Gateways[0].Address = "127.0.0.2"
	if s := Build(in).Gateways[0].Status; len(s.Addresses) != 1 || s.Addresses[0].Value != "127.0.0.2" {
		t.Errorf("addresses %v, want the one asked for", s.Addresses)
	}
}

func TestRoutesEchoTheirParents(t *testing.T) {
	section := gatewayv1.SectionName("https")
	ref := gatewayv1.ParentReference{Name: "edge", SectionName: &section}
	in := Input{Controller: "hakone.dev/gateway-controller", Translated: &gatewayapi.Status{
		Classes: []gatewayapi.ClassStatus{{Accepted: gatewayapi.Condition{Type: "Accepted", True: true, Reason: "Accepted"}}},
		Routes: []gatewayapi.RouteStatus{{Generation: 3, Parents: []gatewayapi.ParentStatus{
			{Ref: ref, Conditions: []gatewayapi.Condition{{Type: "ResolvedRefs", Reason: "BackendNotFound", Code: diag.ServiceNotFound, Message: "no service"}}}}}},
	}}
	out := Build(in)
	p := out.Routes[0].Status.Parents[0]
	if p.ParentRef.SectionName != &section || p.ParentRef.Namespace != nil || p.ParentRef.Kind != nil {
		t.Errorf("parentRef %+v is not as it was written", p.ParentRef)
	}
	if p.ControllerName != "hakone.dev/gateway-controller" || p.Conditions[0].Message != "HK5106: no service" || p.Conditions[0].ObservedGeneration != 3 {
		t.Errorf("parent %+v", p)
	}
	if got := line(out.Classes[0].Status.Conditions); got != "Accepted=True/Accepted" {
		t.Errorf("class %s", got)
	}
}
