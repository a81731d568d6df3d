// Package status makes the statuses of Gateway API objects and of our own kinds: the conditions that the API asks for, out
// of what translation found out, what was compiled, and what became of it on the sockets.
//
// It is pure and writes nowhere: the command "hakone status" prints what it returns, and a home that
// can hold a status writes it, keeping the conditions of others and the times of transitions that did
// not happen. Messages begin with the HK code of the diagnostic that tells more. Begin reading at Build.
package status

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/gatewayapi"
)

// Input is what statuses are made of.
type Input struct {
	Translated *gatewayapi.Status
	Config     *ir.Config  // compiled from it; nil as long as there is none
	Applied    *ir.Applied // nil until something was applied; then Programmed is Unknown

	Set         *resource.Set     // that was translated; nil: no statuses of our own kinds
	Diagnostics []diag.Diagnostic // about its objects, the worst first

	Controller string      // name of our controller
	Addresses  []string    // of this process, for Gateways that ask for none
	Now        metav1.Time // LastTransitionTime of every condition
}

// Objects are the statuses of everything that is ours, in the order of the Set.
type Objects struct {
	Classes  []Class   `json:"classes,omitempty"`
	Gateways []Gateway `json:"gateways,omitempty"`
	Routes   []Route   `json:"routes,omitempty"`
	Own      []Own     `json:"own,omitempty"` // of our own kinds
}

// Class is the status of a GatewayClass.
type Class struct {
	Object diag.Object                  `json:"object"`
	Status gatewayv1.GatewayClassStatus `json:"status"`
}

// Gateway is the status of a Gateway.
type Gateway struct {
	Object diag.Object             `json:"object"`
	Status gatewayv1.GatewayStatus `json:"status"`
}

// Route is the status of an HTTPRoute or GRPCRoute. It has one entry for each parentRef to a Gateway of ours.
type Route struct {
	Object diag.Object           `json:"object"`
	Status gatewayv1.RouteStatus `json:"status"`
}

// Build returns the statuses. All parts of one object belong to one generation of it.
func Build(in Input) Objects {
	b := &builder{Input: in, sockets: map[string]string{}, results: map[string]ir.ListenerResult{}}
	if in.Config != nil {
		for _, l := range in.Config.Listeners {
			for _, c := range l.Chains {
				b.sockets[c.Name] = l.Name
			}
		}
	}
	if in.Applied != nil {
		for _, r := range in.Applied.Listeners {
			b.results[r.Name] = r
		}
	}
	var out Objects
	for _, c := range in.Translated.Classes {
		out.Classes = append(out.Classes, Class{c.Object, gatewayv1.GatewayClassStatus{
			Conditions: []metav1.Condition{b.condition(c.Accepted, c.Generation)}}})
	}
	for i := range in.Translated.Gateways {
		g := &in.Translated.Gateways[i]
		out.Gateways = append(out.Gateways, Gateway{g.Object, b.gateway(g)})
	}
	for _, r := range in.Translated.Routes {
		out.Routes = append(out.Routes, Route{r.Object, b.route(r)})
	}
	out.Own = b.own()
	return out
}

// builder holds the state of one Build.
type builder struct {
	Input
	sockets map[string]string // chain → socket
	results map[string]ir.ListenerResult
}

// maxMessage is the length that the API server accepts.
const maxMessage = 32768

// condition turns a Condition into the API's type.
func (b *builder) condition(c gatewayapi.Condition, generation int64) metav1.Condition {
	status := metav1.ConditionFalse
	if c.True {
		status = metav1.ConditionTrue
	}
	message := c.Message
	if c.Code != 0 {
		message = c.Code.String() + ": " + message
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	return metav1.Condition{Type: c.Type, Status: status, Reason: c.Reason, Message: message, ObservedGeneration: generation, LastTransitionTime: b.Now}
}

// pending returns a condition that is not known yet.
func (b *builder) pending(typ string, generation int64) metav1.Condition {
	return metav1.Condition{Type: typ, Status: metav1.ConditionUnknown, Reason: string(gatewayv1.GatewayReasonPending), Message: "nothing was applied yet",
		ObservedGeneration: generation, LastTransitionTime: b.Now}
}

func (b *builder) gateway(g *gatewayapi.GatewayStatus) gatewayv1.GatewayStatus {
	s := gatewayv1.GatewayStatus{Addresses: b.addresses(g)}
	programmed, unknown, accepted := 0, 0, 0
	var unbound []ir.ListenerResult
	for i := range g.Listeners {
		l, result := b.listener(&g.Listeners[i], g.Generation)
		s.Listeners = append(s.Listeners, l)
		switch find(l.Conditions, string(gatewayv1.ListenerConditionProgrammed)).Status {
		case metav1.ConditionTrue:
			programmed++
		case metav1.ConditionUnknown:
			unknown++
		}
		if find(l.Conditions, string(gatewayv1.ListenerConditionAccepted)).Status == metav1.ConditionTrue {
			accepted++
		}
		if result.Code != 0 {
			unbound = append(unbound, result)
		}
	}
	for _, c := range g.Conditions {
		if c.Type == string(gatewayv1.GatewayConditionAccepted) {
			c = afterBinding(c, accepted, len(g.Listeners))
		}
		s.Conditions = append(s.Conditions, b.condition(c, g.Generation))
	}
	s.Conditions = append(s.Conditions, b.programmed(g, programmed, unknown, unbound))
	return s
}

// afterBinding corrects the Gateway's Accepted for listeners whose port could not be bound.
func afterBinding(c gatewayapi.Condition, accepted, all int) gatewayapi.Condition {
	switch {
	case !c.True || accepted == all:
		return c
	case c.Reason == string(gatewayv1.GatewayReasonAccepted):
		c.Reason, c.Message = string(gatewayv1.GatewayReasonListenersNotValid), "a listener's port cannot be bound"
	}
	if accepted == 0 {
		c.True, c.Code = false, diag.NoUsableListener
	}
	return c
}

// programmed is the Gateway's Programmed: at least one listener is.
func (b *builder) programmed(g *gatewayapi.GatewayStatus, programmed, unknown int, unbound []ir.ListenerResult) metav1.Condition {
	const typ = string(gatewayv1.GatewayConditionProgrammed)
	c := gatewayapi.Condition{Type: typ}
	switch {
	case programmed > 0:
		c.True, c.Reason = true, string(gatewayv1.GatewayReasonProgrammed)
	case unknown > 0:
		return b.pending(typ, g.Generation)
	case len(unbound) > 0 && g.Address != "":
		c.Reason, c.Code, c.Message = string(gatewayv1.GatewayReasonAddressNotUsable), unbound[0].Code, fmt.Sprintf("address %s cannot be bound: %s", g.Address, unbound[0].Detail)
	default:
		c.Reason, c.Code, c.Message = string(gatewayv1.GatewayReasonInvalid), diag.NoUsableListener, "no listener serves"
	}
	return b.condition(c, g.Generation)
}

// listener returns a listener's status, and what became of its socket.
func (b *builder) listener(l *gatewayapi.ListenerStatus, generation int64) (gatewayv1.ListenerStatus, ir.ListenerResult) {
	s := gatewayv1.ListenerStatus{Name: gatewayv1.SectionName(l.Name), AttachedRoutes: l.AttachedRoutes, SupportedKinds: []gatewayv1.RouteGroupKind{}}
	group := gatewayv1.Group(gatewayv1.GroupName)
	for _, k := range l.SupportedKinds {
		s.SupportedKinds = append(s.SupportedKinds, gatewayv1.RouteGroupKind{Group: &group, Kind: gatewayv1.Kind(k)})
	}
	programmed := gatewayapi.Condition{Type: string(gatewayv1.ListenerConditionProgrammed), Reason: string(gatewayv1.ListenerReasonInvalid)}
	socket, compiled := b.sockets[l.Chain]
	result, applied := b.results[socket]
	switch {
	case !l.Serves:
		programmed.Code, programmed.Message = firstFault(l.Conditions)
	case b.Config == nil || compiled && !applied:
		s.Conditions = append(s.Conditions, b.pending(programmed.Type, generation))
	case !compiled:
		programmed.Code, programmed.Message = diag.ListenerConflict, "an older listener on this socket has the host or another protocol"
	case result.Code != 0:
		programmed.Code, programmed.Message = result.Code, fmt.Sprintf("%s: %s", result.Address, result.Detail)
	default:
		programmed.True, programmed.Reason, programmed.Message = true, string(gatewayv1.ListenerReasonProgrammed), "serves on "+result.Address
	}
	if len(s.Conditions) == 0 {
		s.Conditions = append(s.Conditions, b.condition(programmed, generation))
	}
	for _, c := range l.Conditions {
		if c.Type == string(gatewayv1.ListenerConditionAccepted) && c.True && l.Serves && compiled && result.Code != 0 {
			c = gatewayapi.Condition{Type: c.Type, Reason: string(gatewayv1.ListenerReasonPortUnavailable), Code: result.Code, Message: programmed.Message}
		}
		s.Conditions = append(s.Conditions, b.condition(c, generation))
	}
	if !compiled || !l.Serves {
		result = ir.ListenerResult{}
	}
	return s, result
}

// firstFault returns the reason of the first condition that is not as it should be.
func firstFault(list []gatewayapi.Condition) (diag.Code, string) {
	for _, c := range list {
		if !c.True {
			return c.Code, c.Message
		}
	}
	return 0, "the Gateway is not accepted"
}

func (b *builder) addresses(g *gatewayapi.GatewayStatus) []gatewayv1.GatewayStatusAddress {
	values := b.Addresses
	if g.Address != "" {
		values = []string{g.Address}
	}
	typ := gatewayv1.IPAddressType
	var out []gatewayv1.GatewayStatusAddress
	for _, v := range values {
		out = append(out, gatewayv1.GatewayStatusAddress{Type: &typ, Value: v})
	}
	return out
}

func (b *builder) route(r gatewayapi.RouteStatus) gatewayv1.RouteStatus {
	var s gatewayv1.RouteStatus
	for _, p := range r.Parents {
		entry := gatewayv1.RouteParentStatus{ParentRef: p.Ref, ControllerName: gatewayv1.GatewayController(b.Controller)}
		for _, c := range p.Conditions {
			entry.Conditions = append(entry.Conditions, b.condition(c, r.Generation))
		}
		s.Parents = append(s.Parents, entry)
	}
	return s
}

// find returns the condition of a type; the zero Condition if there is none.
func find(list []metav1.Condition, typ string) metav1.Condition {
	for _, c := range list {
		if c.Type == typ {
			return c
		}
	}
	return metav1.Condition{}
}
