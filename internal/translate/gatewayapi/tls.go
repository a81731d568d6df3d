package gatewayapi

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/translate/grant"
)

// listenerTLS translates how an HTTPS listener terminates TLS.
func (t *translator) listenerTLS(l *listener) {
	spec, field := l.spec.TLS, l.field+".tls"
	switch {
	case spec == nil:
		t.refuseTLS(l, l.field, "an HTTPS listener needs tls", "Add tls with certificateRefs.")
		l.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, diag.ListenerTLSInvalid, "no certificateRefs")
		return
	case spec.Mode != nil && *spec.Mode != "" && *spec.Mode != gatewayv1.TLSModeTerminate:
		t.refuseTLS(l, field+".mode", fmt.Sprintf("mode %s cannot be used with protocol HTTPS", *spec.Mode), "Use mode Terminate.")
		return
	}
	l.terminate = &ir.TLS{Origin: ir.Origin{Object: l.gateway.Object(), Field: field}}
	l.terminate.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthNone, Origin: l.terminate.Origin}
	t.certificates(l)
	validation, at := frontendValidation(l.gateway.Spec.TLS, l.spec.Port)
	mode := t.options(l, validation != nil)
	if l.terminate == nil {
		return
	}
	switch {
	case validation != nil:
		t.frontend(l, validation, at)
	case mode != ir.ClientAuthNone:
		t.mutual(l, mode)
	}
}

// refuseTLS refuses a listener that cannot be told how to terminate TLS. It keeps no TLS settings.
func (t *translator) refuseTLS(l *listener, field, message, fix string) {
	t.report(&l.gateway.Meta, diag.ListenerTLSInvalid, field, message+", so the listener does not serve", fix)
	l.refuse(gatewayv1.ListenerReasonUnsupportedValue, diag.ListenerTLSInvalid, message)
	l.terminate = nil
}

// certificates resolves certificateRefs: the first usable one of each kind of key. Where none is
// usable the hosts refuse handshakes and say so; no other certificate takes their place.
func (t *translator) certificates(l *listener) {
	refs, field := l.spec.TLS.CertificateRefs, l.field+".tls.certificateRefs"
	if len(refs) == 0 {
		message := "no certificateRefs"
		t.report(&l.gateway.Meta, diag.ListenerTLSInvalid, field, "terminating TLS needs a certificate, and certificateRefs is empty", "Name a Secret of type kubernetes.io/tls.")
		l.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, diag.ListenerTLSInvalid, message)
		l.terminate.Certificates = []ir.SecretRef{t.noCertificate(ir.SecretRef("none:"+l.name()), l.terminate.Origin, "the listener names no certificate")}
		return
	}
	var unusable []ir.SecretRef
	kinds := map[string]ir.SecretRef{}
	for i := range refs {
		at := ir.Origin{Object: l.gateway.Object(), Field: fmt.Sprintf("%s[%d]", field, i)}
		ref, ok := t.certificate(l, &refs[i], at)
		if !ok {
			unusable = append(unusable, ref)
			continue
		}
		kind := keyKind(t.fragment.Secrets[ref].Pair)
		if first := kinds[kind]; first != "" || len(kinds) == maxCertificates {
			if first != ref {
				t.withoutEffect(&l.gateway.Meta, at.Field, fmt.Sprintf("a listener serves one certificate of each kind of key, and at most %d; earlier ones are used", maxCertificates))
			}
			continue
		}
		kinds[kind] = ref
		l.terminate.Certificates = append(l.terminate.Certificates, ref)
		l.usable = true
	}
	if !l.usable {
		l.terminate.Certificates = unusable[:1]
	}
}

// maxCertificates is how many certificates a listener can choose from.
const maxCertificates = 2

// keyKind names the kind of a certificate's key, without its size.
func keyKind(p *secret.KeyPair) string {
	kind, _, _ := strings.Cut(p.KeyType(), "-")
	return kind
}

// certificate resolves one certificateRef. The reference returned is valid in every case.
func (t *translator) certificate(l *listener, r *gatewayv1.SecretObjectReference, at ir.Origin) (ir.SecretRef, bool) {
	to := grant.To{Group: string(deref(r.Group)), Kind: resource.KindSecret, Namespace: l.gateway.Namespace, Name: string(r.Name)}
	if r.Kind != nil && *r.Kind != "" {
		to.Kind = string(*r.Kind)
	}
	if r.Namespace != nil && *r.Namespace != "" {
		to.Namespace = string(*r.Namespace)
	}
	from := fromGateway(l.gateway.Namespace)
	switch {
	case to.Group != "" || to.Kind != resource.KindSecret:
		message := fmt.Sprintf("a certificate cannot be read from kind %s (group %q)", to.Kind, to.Group)
		t.report(&l.gateway.Meta, diag.RefKindInvalid, at.Field, message, "Refer to a Secret (group \"\").")
		l.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, diag.RefKindInvalid, message)
		return t.noCertificate(ir.SecretRef(fmt.Sprintf("kind:%s:%s/%s", to.Kind, to.Namespace, to.Name)), at, message), false
	case !t.grants.Permits(from, to):
		message, fix := t.grants.Refusal(from, to)
		t.report(&l.gateway.Meta, diag.RefNotPermitted, at.Field, message, fix)
		l.unresolved(gatewayv1.ListenerReasonRefNotPermitted, diag.RefNotPermitted, message)
		// A name of its own: the secret itself may well serve those who are permitted.
		return t.noCertificate(ir.SecretRef(fmt.Sprintf("denied:%s:%s/%s", from.Namespace, to.Namespace, to.Name)), at, message), false
	}
	ref, ok := t.credentials.Pair([]string{to.Namespace}, to.Name, at)
	if !ok {
		c := t.fragment.Secrets[ref]
		code := diag.SecretInvalid
		if t.set.Secret(to.Namespace, to.Name) == nil {
			code = diag.SecretNotFound
		}
		l.unresolved(gatewayv1.ListenerReasonInvalidCertificateRef, code, c.Detail)
	}
	return ref, ok
}

// noCertificate notes a credential that will never be there, and returns its reference.
func (t *translator) noCertificate(ref ir.SecretRef, from ir.Origin, why string) ir.SecretRef {
	t.fragment.Secrets[ref] = &ir.Credential{Origin: from, Code: diag.CredentialMissing, Detail: why}
	return ref
}

// mutual sets the client authentication that Istio's option asks for: the CA stands in the secret of
// the first certificate, or in the one named after it with "-cacert".
func (t *translator) mutual(l *listener, mode ir.ClientAuthMode) {
	at := ir.Origin{Object: l.gateway.Object(), Field: l.field + ".tls.options[" + optionTerminateMode + "]"}
	l.terminate.ClientAuth = ir.ClientAuth{Mode: mode, Origin: at}
	const missing = "there is no certificateRef whose Secret could hold the CA"
	ok := false
	if refs := l.spec.TLS.CertificateRefs; len(refs) > 0 && t.readable(l, &refs[0]) {
		namespace := l.gateway.Namespace
		if refs[0].Namespace != nil && *refs[0].Namespace != "" {
			namespace = string(*refs[0].Namespace)
		}
		l.terminate.ClientAuth.Trust, ok = t.credentials.TrustBeside([]string{namespace}, string(refs[0].Name), at)
	} else {
		l.terminate.ClientAuth.Trust = t.credentials.NoTrust("none:"+l.name(), at, missing)
	}
	if !ok {
		l.unresolved(gatewayv1.ListenerReasonInvalidCACertificateRef, diag.CANotFound, t.fragment.Trust[l.terminate.ClientAuth.Trust].Detail)
		l.refuse(gatewayv1.ListenerReasonNoValidCACertificate, diag.CANotFound, "no valid CA for client certificates")
		l.usable = false
	}
}

// readable reports whether a certificateRef names a Secret that may be read.
func (t *translator) readable(l *listener, r *gatewayv1.SecretObjectReference) bool {
	to := grant.To{Kind: resource.KindSecret, Namespace: l.gateway.Namespace, Name: string(r.Name)}
	if r.Namespace != nil && *r.Namespace != "" {
		to.Namespace = string(*r.Namespace)
	}
	return deref(r.Group) == "" && (r.Kind == nil || *r.Kind == "" || *r.Kind == resource.KindSecret) && t.grants.Permits(fromGateway(l.gateway.Namespace), to)
}
