package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// Whom a handshake refuses where policies decide.
func TestRejects(t *testing.T) {
	one, two := testca.New(t, testca.Spec{CommonName: "One"}), testca.New(t, testca.Spec{CommonName: "Two"})
	bundles := &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"one": {Bundle: secret.NewBundle(one.Cert)}, "two": {Bundle: secret.NewBundle(two.Cert)}}}
	of1, of2 := []*x509.Certificate{one.Issue(testca.Spec{CommonName: "vera"}).Cert}, []*x509.Certificate{two.Issue(testca.Spec{}).Cert}
	bad, patient := ir.AccessPolicy{Name: "one", Trust: "one", Reject: true}, ir.AccessPolicy{Name: "two", Trust: "two"}
	audit, narrow, both := bad, bad, patient
	audit.Audit, narrow.Allow, both.Reject = true, []ir.CertificateRule{{CommonNames: []string{"otto"}}}, true
	for _, k := range []struct {
		name     string
		mode     ir.RejectMode
		policies []*ir.AccessPolicy
		missing  bool
		shown    []*x509.Certificate
		want     diag.Code
	}{
		{"nobody", ir.RejectNone, []*ir.AccessPolicy{&bad}, false, of2, 0},
		{"bad, none shown", ir.RejectBad, []*ir.AccessPolicy{&bad}, false, nil, 0},
		{"bad, good shown", ir.RejectBad, []*ir.AccessPolicy{&bad, &patient}, false, of1, 0},
		{"bad, strange shown", ir.RejectBad, []*ir.AccessPolicy{&bad}, false, of2, diag.ClientCertUnknownCA},
		{"bad, of the policy that does not reject", ir.RejectBad, []*ir.AccessPolicy{&bad, &patient}, false, of2, diag.ClientCertUnknownCA},
		{"bad, of the other that rejects", ir.RejectBad, []*ir.AccessPolicy{&bad, &both}, false, of2, 0},
		{"bad, not authorised", ir.RejectBad, []*ir.AccessPolicy{&narrow}, false, of1, diag.ClientCertNotAuthorised},
		{"all, none shown", ir.RejectAll, []*ir.AccessPolicy{&bad}, false, nil, diag.ClientCertMissing},
		{"all, good shown", ir.RejectAll, []*ir.AccessPolicy{&bad}, false, of1, 0},
		{"all, audit", ir.RejectAll, []*ir.AccessPolicy{&audit}, false, nil, 0},
		{"all, the policy is missing", ir.RejectAll, []*ir.AccessPolicy{&bad}, true, of1, diag.PolicyBroken},
	} {
		settings := &ir.TLS{ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthPolicy, Reject: k.mode}}
		for _, p := range k.policies {
			settings.ClientAuth.Policies = append(settings.ClientAuth.Policies, p.Name)
		}
		set := authz.NewSet(k.policies, bundles, nil, authz.Settings{}, nil)
		if k.missing {
			set = nil
		}
		term := &Terminator{opts: Options{Access: set}}
		c := NewState(nil).newClass(settings, nil, term.accessOf(&settings.ClientAuth), "")
		if code, detail := c.rejects(k.shown, time.Now()); code != k.want || (code != 0) != (detail != "") {
			t.Errorf("%s: %s %s, want %s", k.name, code, detail, k.want)
		}
		if required := c.config.ClientAuth == tls.RequireAnyClientCert; required != (k.mode == ir.RejectAll && !k.missing && !k.policies[0].Audit) {
			t.Errorf("%s: %v", k.name, c.config.ClientAuth)
		}
	}
}

// CAs are named up to a bound, and keys of classes follow what policies trust.
func TestPoliciesInClasses(t *testing.T) {
	var many []*x509.Certificate
	ca := testca.New(t, testca.Spec{})
	for range 4 {
		many = append(many, testca.New(t, testca.Spec{CommonName: "Root", Organization: string(make([]byte, 6000))}).Cert)
	}
	p := []*ir.AccessPolicy{{Name: "p", Trust: "ca"}}
	compiled := func(certs ...*x509.Certificate) []*authz.Policy {
		return []*authz.Policy{authz.NewSet(p, &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ca": {Bundle: secret.NewBundle(certs...)}}}, nil, authz.Settings{}, nil).Policy("p")}
	}
	if acceptable(compiled(ca.Cert)) == nil || acceptable(compiled(many...)) != nil || acceptable([]*authz.Policy{nil}) != nil {
		t.Error("the wrong CAs are named")
	}
	settings := &ir.TLS{ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthPolicy, Policies: []string{"p"}}}
	keys := map[string]bool{classKey(settings, nil, compiled(ca.Cert)): true, classKey(settings, nil, compiled(many[0])): true, classKey(settings, nil, []*authz.Policy{nil}): true}
	if len(keys) != 3 || !keys[classKey(settings, nil, compiled(ca.Cert))] {
		t.Errorf("%d keys", len(keys))
	}
}
