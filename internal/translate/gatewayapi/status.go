package gatewayapi

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Status is what translation found out about every object that is ours, for the conditions that the
// API asks for. What becomes of a listener on a socket is not in it: package status adds that from
// what was applied. Lists are in the order of the Set.
type Status struct {
	Classes  []ClassStatus   `json:"classes,omitempty"`
	Gateways []GatewayStatus `json:"gateways,omitempty"`
	Routes   []RouteStatus   `json:"routes,omitempty"`
}

// Condition is one condition of the API. Code is that of the diagnostic that tells more, zero where
// there is none.
type Condition struct {
	Type    string    `json:"type"`
	True    bool      `json:"true"`
	Reason  string    `json:"reason"`
	Code    diag.Code `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
}

// ClassStatus is a GatewayClass of ours.
type ClassStatus struct {
	Object     diag.Object `json:"object"`
	Generation int64       `json:"-"`
	Accepted   Condition   `json:"accepted"`
}

// GatewayStatus is a Gateway of ours. Conditions hold Accepted, ResolvedRefs and, when a client may
// pass without a valid certificate, InsecureFrontendValidationMode.
type GatewayStatus struct {
	Object     diag.Object      `json:"object"`
	Generation int64            `json:"-"`
	Address    string           `json:"address,omitempty"` // asked for in spec.addresses; empty: the process's own
	Conditions []Condition      `json:"conditions"`
	Listeners  []ListenerStatus `json:"listeners,omitempty"`
}

// ListenerStatus is one listener. Conditions hold Accepted, ResolvedRefs and, where they are true,
// Conflicted and OverlappingTLSConfig. Programmed is derived in package status: it needs Serves, a
// chain of the name Chain in the compiled configuration, and a bound socket.
type ListenerStatus struct {
	Name           string      `json:"name"`
	Chain          string      `json:"chain"`
	SupportedKinds []string    `json:"supportedKinds"`
	AttachedRoutes int32       `json:"attachedRoutes"`
	Serves         bool        `json:"serves"` // it has what it needs to serve
	Conditions     []Condition `json:"conditions"`
}

// RouteStatus is an HTTPRoute or GRPCRoute with at least one parentRef to a Gateway of ours.
type RouteStatus struct {
	Object     diag.Object    `json:"object"`
	Generation int64          `json:"-"`
	Parents    []ParentStatus `json:"parents"`
}

// ParentStatus is what became of one parentRef, which is echoed as it was written. Conditions hold
// Accepted, ResolvedRefs and, where a part of the rules is refused, PartiallyInvalid.
type ParentStatus struct {
	Ref        gatewayv1.ParentReference `json:"ref"`
	Conditions []Condition               `json:"conditions"`
}

// good returns a condition in its healthy state.
func good[T, R ~string](typ T, reason R, message string) Condition {
	return Condition{Type: string(typ), True: true, Reason: string(reason), Message: message}
}

// bad returns a condition that is false, with the diagnostic's code.
func bad[T, R ~string](typ T, reason R, code diag.Code, message string) Condition {
	return Condition{Type: string(typ), Reason: string(reason), Code: code, Message: message}
}
