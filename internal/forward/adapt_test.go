package forward

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/mint"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/upstream"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestAdapt has sslproxy_cert_sign and sslproxy_cert_adapt as Squid documents them: without rules the algorithm follows
// from the errors, setValidAfter is about the end of a leaf, and setValidBefore about its beginning.
func TestAdapt(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	ca := testca.New(t, testca.Spec{NotBefore: now.Add(-90 * 24 * time.Hour), NotAfter: now.Add(90 * 24 * time.Hour)})
	pair, _, err := secret.ParseKeyPair(ca.ChainPEM(), ca.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	expired := ca.Issue(testca.Spec{DNS: []string{"other.test"}, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}).Cert
	future := ca.Issue(testca.Spec{DNS: []string{"a.test"}, NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}).Cert
	adapt := func(words ...string) []ir.ForwardRule {
		return []ir.ForwardRule{{Action: words[0], Value: words[1], ACLs: words[2:]}}
	}
	for _, c := range []struct {
		name        string
		shown       *x509.Certificate
		errors      []string
		sign, adapt []ir.ForwardRule
		by          mint.Sign
		valid       bool
		common      string
	}{
		{"expired: mimicked", expired, []string{"X509_V_ERR_CERT_HAS_EXPIRED"}, nil, nil, mint.Trusted, false, "other.test"},
		{"expired: valid until the CA's end", expired, []string{"X509_V_ERR_CERT_HAS_EXPIRED"}, nil, adapt("setvalidafter", "", "ssl::certHasExpired"), mint.Trusted, true, "other.test"},
		{"expired: another beginning does not help", expired, []string{"X509_V_ERR_CERT_HAS_EXPIRED"}, nil, adapt("setvalidbefore", "", "all"), mint.Trusted, false, "other.test"},
		{"not valid yet: mimicked", future, []string{"X509_V_ERR_CERT_NOT_YET_VALID"}, nil, nil, mint.Trusted, false, "a.test"},
		{"not valid yet: from the CA's beginning", future, []string{"X509_V_ERR_CERT_NOT_YET_VALID"}, nil, adapt("setvalidbefore", "", "ssl::certNotYetValid"), mint.Trusted, true, "a.test"},
		{"not valid yet: another end does not help", future, []string{"X509_V_ERR_CERT_NOT_YET_VALID"}, nil, adapt("setvalidafter", "", "all"), mint.Trusted, false, "a.test"},
		{"another name: mimicked", expired, []string{"SQUID_X509_V_ERR_DOMAIN_MISMATCH"}, nil, nil, mint.Trusted, false, "other.test"},
		{"another name: the host's", expired, []string{"SQUID_X509_V_ERR_DOMAIN_MISMATCH"}, nil, adapt("setcommonname", "", "ssl::certDomainMismatch"), mint.Trusted, false, "a.test"},
		{"another name: the rule's", expired, []string{"SQUID_X509_V_ERR_DOMAIN_MISMATCH"}, nil, adapt("setcommonname", "c.test", "ssl::certDomainMismatch"), mint.Trusted, false, "c.test"},
		{"the rule is for another error", expired, []string{"X509_V_ERR_CERT_HAS_EXPIRED"}, nil, adapt("setcommonname", "", "ssl::certDomainMismatch"), mint.Trusted, false, "other.test"},
		{"unknown CA", expired, []string{"X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"}, nil, nil, mint.Untrusted, false, "other.test"},
		{"private root", expired, []string{"X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN"}, nil, nil, mint.Untrusted, false, "other.test"},
		{"self-signed", expired, []string{"X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"}, nil, nil, mint.Self, false, "other.test"},
		{"a rule before the defaults", expired, []string{"X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"}, adapt("trusted", "", "ssl::certSelfSigned"), nil, mint.Trusted, false, "other.test"},
		{"a rule that does not match", expired, []string{"X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"}, adapt("trusted", "", "ssl::certUntrusted"), nil, mint.Self, false, "other.test"},
	} {
		f := &ir.Forward{Name: "t/f", Interception: &ir.Interception{CA: "t/ca", KeyType: "ecdsa", Validity: time.Hour, Sign: c.sign, Adapt: c.adapt}}
		p := New(f, Options{State: NewState(StateOptions{}), Secrets: &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"t/ca": {Pair: pair}}}, Trust: &ir.Trust{}})
		if p.fault != nil {
			t.Fatalf("%s: %v", c.name, p.fault)
		}
		n := &Tunnel{at: &Port{Policy: p}, host: "a.test", name: "a.test", facts: upstream.Facts{Chain: []*x509.Certificate{c.shown}}, tolerated: true, errors: c.errors}
		n.adapt(&acl.Facts{Host: "a.test", ClientName: "a.test", Chain: n.facts.Chain, Errors: c.errors})
		if n.want.Sign != c.by {
			t.Errorf("%s: signed as %s, want %s", c.name, n.want.Sign, c.by)
		}
		leaf, err := p.authority.Leaf(n.want)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := leaf.Leaf
		if valid := !now.Before(got.NotBefore) && now.Before(got.NotAfter); valid != c.valid || got.Subject.CommonName != c.common || got.DNSNames[0] != c.common {
			t.Errorf("%s: %s %v from %s to %s", c.name, got.Subject.CommonName, got.DNSNames, got.NotBefore, got.NotAfter)
		}
		p.Close()
	}
}
