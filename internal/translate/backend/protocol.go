package backend

import (
	"fmt"
	"strings"

	istio "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// serviceProtocol reads appProtocol, else the port name's part before the first hyphen, as Istio does.
func serviceProtocol(p corev1.ServicePort) string {
	if p.AppProtocol != nil {
		return strings.ToLower(*p.AppProtocol)
	}
	return prefix(p.Name)
}

// prefix is the protocol that a port name begins with; grpc-web is the only one with a hyphen.
func prefix(name string) string {
	name = strings.ToLower(name)
	if name == "grpc-web" || strings.HasPrefix(name, "grpc-web-") {
		return "grpc-web"
	}
	p, _, _ := strings.Cut(name, "-")
	return p
}

// speak returns what is spoken to a port when nothing but the port and its DestinationRule decide.
// A plain http port stays HTTP/1.1 under TLS too, as in Istio; https leaves the choice to ALPN.
func speak(p port, rule policy) ir.UpstreamProtocol {
	http := rule.pool.GetHttp()
	switch p.protocol {
	case "grpc", "grpc-web":
		return ir.UpstreamHTTP2 // whatever the client speaks: gRPC is HTTP/2
	}
	switch {
	case http.GetUseClientProtocol():
		return ir.UpstreamSame
	case http.GetH2UpgradePolicy() == istio.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		return ir.UpstreamHTTP2
	}
	switch p.protocol {
	case "http2", "h2c", "kubernetes.io/h2c":
		return ir.UpstreamHTTP2
	case "https", "tls":
		if rule.originates() {
			return ir.UpstreamAuto
		}
	}
	return ir.UpstreamHTTP1
}

// originates reports whether the policy asks for TLS to the endpoints.
func (p policy) originates() bool {
	return p.tls != nil && p.tls.GetMode() != istio.ClientTLSSettings_DISABLE
}

// grpcSuffix ends the name of an upstream that a GRPCRoute speaks HTTP/2 to although others do not, so
// that one name never means two protocols.
const grpcSuffix = "/grpc"

// overGRPC settles what a GRPCRoute makes of a port whose own declaration is not HTTP/2: HTTP/2 all the
// same, unless appProtocol says HTTP/1.1, which cannot carry gRPC.
func (r *Resolver) overGRPC(t target, p port, from ir.Origin) *ir.Fault {
	switch p.protocol {
	case "http", "kubernetes.io/ws", "kubernetes.io/wss":
		if !p.explicit {
			break
		}
		return r.fault(diag.ProtocolIneffective, from, fmt.Sprintf("port %d of %s has appProtocol %s, which is HTTP/1.1 and cannot carry gRPC", p.number, t, p.protocol),
			"Set appProtocol to grpc or kubernetes.io/h2c if the port speaks it, or remove appProtocol.").Fault
	case "https", "tls": // others leave it to ALPN: no contradiction
		return nil
	}
	declares := "declares no protocol"
	if p.explicit || p.protocol == "http" || p.protocol == "tcp" {
		declares = "is declared as " + p.protocol
	}
	d := diag.New(diag.ProtocolIneffective, from.Object, from.Field,
		fmt.Sprintf("port %d of %s %s; HTTP/2 is spoken to it here, because a GRPCRoute leads to it", p.number, t, declares),
		"Name the port grpc, or set appProtocol: kubernetes.io/h2c, so that every route speaks the same to it.")
	d.Severity = diag.Info
	r.out.Diagnostics = append(r.out.Diagnostics, d)
	return nil
}

// reportProtocol tells where the declared protocol is not what will be spoken.
func (r *Resolver) reportProtocol(t target, p port, up *ir.Upstream, from ir.Origin) {
	switch p.protocol {
	case "udp", "mongo", "mysql", "redis":
		r.report(diag.ProtocolIneffective, from, fmt.Sprintf("port %d of %s is declared as %s, but an HTTP route leads to it", p.number, t, p.protocol),
			"Route to an HTTP port, or correct the port's protocol.")
	case "https", "tls", "kubernetes.io/wss":
		if up.TLS == nil && up.Fault == nil {
			r.report(diag.PlaintextToTLSPort, from, fmt.Sprintf("port %d of %s is declared as %s, but plain HTTP is sent to it", p.number, t, p.protocol),
				fmt.Sprintf("Add a DestinationRule for host %s with trafficPolicy.tls.mode SIMPLE.", t.host))
		}
	}
}

// reportClientProtocol tells that useClientProtocol does not hold for a port.
func (r *Resolver) reportClientProtocol(t target, p port, rule policy) {
	if rule.pool.GetHttp().GetUseClientProtocol() && (p.protocol == "grpc" || p.protocol == "grpc-web") {
		r.report(diag.ProtocolIneffective, below(rule.poolFrom, "http.useClientProtocol"),
			fmt.Sprintf("port %d of %s is declared as %s, so HTTP/2 is spoken to it whatever the client speaks", p.number, t, p.protocol), "Remove useClientProtocol, or correct the port's protocol.")
	}
}
