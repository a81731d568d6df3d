package istio

import (
	"fmt"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate/noeffect"
)

// way is how a server takes connections.
type way struct {
	tls     bool   // terminated here
	passed  bool   // TLS, passed through
	sni     bool   // passed through by the SNI of tls rules
	l4      bool   // to tcp or tls rules
	hop     bool   // of an egress gateway whose ISTIO_MUTUAL is left out
	port    uint32 // the port to take, if not the declared one
	refused string // the server is left out, and its hosts to nobody else
}

// protocol reads a server's protocol and TLS mode; false if the server cannot be read at all, which has
// been reported.
func (t *translator) protocol(g *gateway, spec *istio.Server, from ir.Origin) (way, bool) {
	p, field := strings.ToUpper(spec.GetPort().GetProtocol()), below(from, "port.protocol")
	switch p {
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB": // every plain port takes HTTP/1.1 and HTTP/2
		return way{}, true
	case "TCP", "MONGO", "MYSQL", "REDIS": // of which nothing but the bytes is looked at
		return way{l4: true}, true
	case "HTTPS", "TLS":
		return t.tlsWay(g, spec, from, p == "TLS"), true
	case "":
		t.report(diag.MissingField, field, "the port has no protocol", "Write HTTP, HTTPS, TLS or TCP.")
		return way{}, false
	}
	t.report(diag.ListenerUnsupported, field, fmt.Sprintf("protocol %s is not served by this version; the server is left out", p), "Use HTTP, HTTPS, TLS or TCP.")
	return way{}, false
}

// tlsWay reads the TLS mode of a server with protocol TLS (l4) or HTTPS.
func (t *translator) tlsWay(g *gateway, spec *istio.Server, from ir.Origin, l4 bool) way {
	mode := below(from, "tls.mode")
	switch {
	case spec.GetTls() == nil: // see serverTLS
	case spec.GetTls().GetMode() == istio.ServerTLSSettings_PASSTHROUGH:
		for _, f := range noeffect.Unhandled(spec.GetTls(), from.Field+".tls", noeffect.Paths("mode")) {
			t.report(diag.FieldWithoutEffect, ir.Origin{Object: from.Object, Field: f}, "TLS is passed through (mode PASSTHROUGH, which is also meant where mode is missing), so nothing else of tls does anything",
				"Write mode SIMPLE to terminate TLS here, or remove the field.")
		}
		return way{passed: true, sni: true, l4: true}
	case spec.GetTls().GetMode() == istio.ServerTLSSettings_AUTO_PASSTHROUGH:
		t.report(diag.ListenerUnsupported, mode, "mode AUTO_PASSTHROUGH takes names of services that only sidecars of another cluster send as SNI; the server is left out",
			"Use PASSTHROUGH with tls rules for the hosts that are meant.")
		return way{passed: true, refused: "its mode AUTO_PASSTHROUGH is not served"}
	case spec.GetTls().GetMode() == istio.ServerTLSSettings_ISTIO_MUTUAL && g.egress:
		return t.hopWay(spec.GetPort().GetNumber(), mode, l4)
	}
	return way{tls: true, l4: l4}
}

// hopWay says what a server takes whose clients were to be sidecars: what workloads speak, on the port
// from which rules for the mesh lead here.
func (t *translator) hopWay(port uint32, mode ir.Origin, l4 bool) way {
	w, in := way{hop: true, l4: l4, port: port}, t.hopsTo(port)
	if in.known {
		w.l4, w.passed = l4 && in.kind != httpHop, l4 && in.kind == tlsHop
		if in.port != 0 {
			w.port = in.port
		}
	}
	speaks := "plain HTTP"
	switch {
	case w.passed:
		speaks = "TLS, passed through"
	case w.l4:
		speaks = "plain connections"
	}
	t.report(diag.MeshHopPlain, mode, fmt.Sprintf("mode ISTIO_MUTUAL is mutual TLS with sidecars, of which there are none: port %d takes %s from whoever reaches it", w.port, speaks),
		"Let only workloads reach the port, or write mode MUTUAL with a credentialName of your own.")
	return w
}

// kindOfRules names the rules that a server of connections takes.
func (s *server) kindOfRules() string {
	if s.sni {
		return "tls"
	}
	return "tcp"
}
