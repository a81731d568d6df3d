package gatewayapi

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// frontendValidation returns the client validation of a port and its field; nil if clients are not
// asked for a certificate there. An entry of perPort replaces the default even if it says nothing
// (FrontendTLSConfig). Validation is per port and never per listener: a browser may reuse a connection
// for another host of the port (GEP-91).
func frontendValidation(tls *gatewayv1.GatewayTLSConfig, port int32) (*gatewayv1.FrontendTLSValidation, string) {
	if tls == nil || tls.Frontend == nil {
		return nil, ""
	}
	for i := range tls.Frontend.PerPort {
		if p := &tls.Frontend.PerPort[i]; p.Port == port {
			return p.TLS.Validation, fmt.Sprintf("spec.tls.frontend.perPort[%d].tls.validation", i)
		}
	}
	return tls.Frontend.Default.Validation, "spec.tls.frontend.default.validation"
}

// frontend applies a port's client validation to an HTTPS listener. Without one usable CA the listener
// is not accepted, and its chain refuses every client.
func (t *translator) frontend(l *listener, v *gatewayv1.FrontendTLSValidation, field string) {
	at := ir.Origin{Object: l.gateway.Object(), Field: field}
	l.terminate.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthRequire, Origin: at}
	switch v.Mode {
	case "", gatewayv1.AllowValidOnly:
	case gatewayv1.AllowInsecureFallback:
		l.terminate.ClientAuth.Mode = ir.ClientAuthRequest
		l.gateway.insecure = true
		t.report(&l.gateway.Meta, diag.InsecureValidation, field+".mode", fmt.Sprintf("on port %d clients pass without a valid certificate", l.spec.Port), "Use AllowValidOnly.")
	default:
		t.refuseTLS(l, field+".mode", fmt.Sprintf("mode %q is not one of AllowValidOnly, AllowInsecureFallback", v.Mode), "Use AllowValidOnly.")
		return
	}
	var sources []credential.Source
	for i := range v.CACertificateRefs {
		if s, ok := t.clientCA(l, &v.CACertificateRefs[i], ir.Origin{Object: at.Object, Field: fmt.Sprintf("%s.caCertificateRefs[%d]", field, i)}); ok {
			sources = append(sources, s)
		}
	}
	if len(sources) > 0 {
		l.terminate.ClientAuth.Trust, _ = t.credentials.Trust(sources)
		return
	}
	const message = "none of caCertificateRefs can be used, so every client is refused"
	l.terminate.ClientAuth.Mode = ir.ClientAuthRequire
	l.terminate.ClientAuth.Trust = t.credentials.NoTrust("none:"+l.name(), at, message)
	if len(v.CACertificateRefs) == 0 {
		l.unresolved(gatewayv1.ListenerReasonInvalidCACertificateRef, diag.CANotFound, "caCertificateRefs is empty")
	}
	l.refuse(gatewayv1.ListenerReasonNoValidCACertificate, diag.CANotFound, message)
	l.usable = false
}

// clientCA checks one caCertificateRef: a ConfigMap or Secret with ca.crt that may be referred to.
func (t *translator) clientCA(l *listener, r *gatewayv1.ObjectReference, at ir.Origin) (credential.Source, bool) {
	to := grantTo{string(r.Group), string(r.Kind), l.gateway.Namespace, string(r.Name)}
	if r.Namespace != nil && *r.Namespace != "" {
		to.namespace = string(*r.Namespace)
	}
	from := fromGateway(l.gateway.Namespace)
	src := credential.Source{Kind: to.kind, Namespace: to.namespace, Name: to.name, From: at}
	switch {
	case to.group != "" || to.kind != resource.KindConfigMap && to.kind != resource.KindSecret:
		message := fmt.Sprintf("a CA cannot be read from kind %s (group %q)", to.kind, to.group)
		t.report(&l.gateway.Meta, diag.RefKindInvalid, at.Field, message, "Refer to a ConfigMap or Secret (group \"\") with ca.crt.")
		l.unresolved(gatewayv1.ListenerReasonInvalidCACertificateKind, diag.RefKindInvalid, message)
		return src, false
	case !t.grants.permits(from, to):
		message, fix := refusal(from, to)
		t.report(&l.gateway.Meta, diag.RefNotPermitted, at.Field, message, fix)
		l.unresolved(gatewayv1.ListenerReasonRefNotPermitted, diag.RefNotPermitted, message)
		return src, false
	}
	// Asked one by one, because every unusable reference shows in the listener's status.
	trial := translate.NewFragment()
	if _, ok := credential.New(t.set, t.ctx, trial, t.cache).Trust([]credential.Source{src}); ok {
		return src, true
	}
	message, code := fmt.Sprintf("%s %s/%s cannot be used as CA", to.kind, to.namespace, to.name), diag.CAInvalid
	for _, d := range trial.Diagnostics {
		if d.Field == at.Field {
			message, code = d.Message, d.Code
		}
	}
	t.fragment.Diagnostics = append(t.fragment.Diagnostics, trial.Diagnostics...)
	l.unresolved(gatewayv1.ListenerReasonInvalidCACertificateRef, code, message)
	return src, false
}
