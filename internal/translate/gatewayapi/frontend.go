package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
	"github.com/hakone-gateway/hakone/internal/translate/grant"
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

// portTrust is what one validation of a Gateway comes to. It is worked out once, however many
// listeners share it.
type portTrust struct {
	trust      ir.TrustRef
	usable     bool       // there is a CA
	unresolved *Condition // the first of caCertificateRefs that cannot be used
}

// frontend applies a port's client validation to an HTTPS listener. Without one usable CA the listener
// is not accepted, and its chain refuses every client.
func (t *translator) frontend(l *listener, v *gatewayv1.FrontendTLSValidation, field string) {
	if v.Mode != "" && v.Mode != gatewayv1.AllowValidOnly && v.Mode != gatewayv1.AllowInsecureFallback {
		t.refuseTLS(l, field+".mode", fmt.Sprintf("mode %q is not one of AllowValidOnly, AllowInsecureFallback", v.Mode), "Use AllowValidOnly.")
		return
	}
	p := l.gateway.validations[field]
	if p == nil {
		p = t.portTrust(l.gateway, v, field)
		l.gateway.validations[field] = p
	}
	l.terminate.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthRequire, Trust: p.trust, Origin: ir.Origin{Object: l.gateway.Object(), Field: field}}
	if p.unresolved != nil && l.unresolvedRef == nil {
		l.unresolvedRef = p.unresolved
	}
	switch {
	case !p.usable:
		l.refuse(gatewayv1.ListenerReasonNoValidCACertificate, diag.CANotFound, noUsableCA)
		l.usable = false
	case v.Mode == gatewayv1.AllowInsecureFallback:
		l.terminate.ClientAuth.Mode = ir.ClientAuthRequest
		l.gateway.insecure = true
		t.report(&l.gateway.Meta, diag.InsecureValidation, field+".mode", fmt.Sprintf("on port %d clients pass without a valid certificate", l.spec.Port), "Use AllowValidOnly.")
	}
}

const noUsableCA = "none of caCertificateRefs can be used, so every client is refused"

// portTrust resolves the caCertificateRefs of one validation.
func (t *translator) portTrust(g *gateway, v *gatewayv1.FrontendTLSValidation, field string) *portTrust {
	p := &portTrust{}
	var sources []credential.Source
	for i := range v.CACertificateRefs {
		at := ir.Origin{Object: g.Object(), Field: fmt.Sprintf("%s.caCertificateRefs[%d]", field, i)}
		src, problem := t.clientCA(g, &v.CACertificateRefs[i], at)
		switch {
		case problem == nil:
			sources = append(sources, src)
		case p.unresolved == nil:
			p.unresolved = problem
		}
	}
	if len(sources) > 0 {
		p.trust, p.usable = t.credentials.Trust(sources)
		return p
	}
	at := ir.Origin{Object: g.Object(), Field: field}
	if len(v.CACertificateRefs) == 0 {
		c := bad(gatewayv1.ListenerConditionResolvedRefs, gatewayv1.ListenerReasonInvalidCACertificateRef, diag.CANotFound, "caCertificateRefs is empty")
		p.unresolved = &c
		t.report(&g.Meta, diag.CANotFound, field+".caCertificateRefs", "caCertificateRefs is empty, so every client is refused", "Name a ConfigMap with ca.crt.")
	}
	p.trust = ir.TrustRef(fmt.Sprintf("none:%s/%s:%s", g.Namespace, g.Name, field))
	t.fragment.Trust[p.trust] = &ir.TrustBundle{Origin: at, Code: diag.TrustMissing, Detail: noUsableCA}
	return p
}

// clientCA checks one caCertificateRef: a ConfigMap or Secret with ca.crt that may be referred to.
// What is wrong comes as ResolvedRefs condition of the listeners.
func (t *translator) clientCA(g *gateway, r *gatewayv1.ObjectReference, at ir.Origin) (credential.Source, *Condition) {
	to := grant.To{Group: string(r.Group), Kind: string(r.Kind), Namespace: g.Namespace, Name: string(r.Name)}
	if r.Namespace != nil && *r.Namespace != "" {
		to.Namespace = string(*r.Namespace)
	}
	from := fromGateway(g.Namespace)
	src := credential.Source{Kind: to.Kind, Namespace: to.Namespace, Name: to.Name, From: at}
	unusable := func(reason gatewayv1.ListenerConditionReason, code diag.Code, message string) (credential.Source, *Condition) {
		c := bad(gatewayv1.ListenerConditionResolvedRefs, reason, code, message)
		return src, &c
	}
	switch {
	case to.Group != "" || to.Kind != resource.KindConfigMap && to.Kind != resource.KindSecret:
		message := fmt.Sprintf("a CA cannot be read from kind %s (group %q)", to.Kind, to.Group)
		t.report(&g.Meta, diag.RefKindInvalid, at.Field, message, "Refer to a ConfigMap or Secret (group \"\") with ca.crt.")
		return unusable(gatewayv1.ListenerReasonInvalidCACertificateKind, diag.RefKindInvalid, message)
	case !t.grants.Permits(from, to):
		message, fix := t.grants.Refusal(from, to)
		t.report(&g.Meta, diag.RefNotPermitted, at.Field, message, fix)
		return unusable(gatewayv1.ListenerReasonRefNotPermitted, diag.RefNotPermitted, message)
	}
	// Asked one by one, because every unusable reference shows in the listeners' status.
	trial := translate.NewFragment()
	if _, ok := credential.New(t.set, t.ctx, trial, t.cache).Trust([]credential.Source{src}); ok {
		return src, nil
	}
	message, code := fmt.Sprintf("%s %s/%s cannot be used as CA", to.Kind, to.Namespace, to.Name), diag.CAInvalid
	for _, d := range trial.Diagnostics {
		if d.Field == at.Field {
			message, code = d.Message, d.Code
		}
	}
	t.fragment.Diagnostics = append(t.fragment.Diagnostics, trial.Diagnostics...)
	return unusable(gatewayv1.ListenerReasonInvalidCACertificateRef, code, message)
}

// unusedPorts names entries of perPort that concern no HTTPS listener.
func (t *translator) unusedPorts(g *gateway) {
	if g.Spec.TLS == nil || g.Spec.TLS.Frontend == nil {
		return
	}
	for i, p := range g.Spec.TLS.Frontend.PerPort {
		if !slices.ContainsFunc(g.listeners, func(l *listener) bool { return l.tls && l.spec.Port == p.Port }) {
			t.withoutEffect(&g.Meta, fmt.Sprintf("spec.tls.frontend.perPort[%d]", i), fmt.Sprintf("no HTTPS listener is on port %d", p.Port))
		}
	}
}
