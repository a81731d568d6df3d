package authz

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// one makes the set and index of a single policy over everything, trusting ca with lists.
func one(t testing.TB, p *ir.AccessPolicy, ca *testca.Pair, lists ...*secret.CRL) (*Set, *Index) {
	t.Helper()
	p.Name, p.Trust = "ns/p", "ca"
	c, _ := chain(t, "ns/p *")
	ps := []*ir.AccessPolicy{p}
	bundles := &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ca": {Bundle: secret.NewBundle(ca.Cert), CRLs: lists}}}
	return NewSet(ps, bundles, &ir.Secrets{}, Settings{Cache: trust.NewCache(100)}, nil), NewIndex(c, ps)
}

func ask(certs ...*x509.Certificate) *Request {
	return &Request{Host: []byte("h.test"), Path: []byte("/"), TLS: true, Presented: certs, Now: time.Now()}
}

func TestRules(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "Root", Organization: "Example"})
	leaf := ca.Issue(testca.Spec{Subject: &pkix.Name{CommonName: "vera", Organization: []string{"Example, Inc."}, OrganizationalUnit: []string{"Ops"}},
		DNS: []string{"a.B.test", "*.wild.test"}, URIs: []string{"spiffe://td/ns/x/sa/y"}, Emails: []string{"vera@example.test"}, IPs: []string{"192.0.2.7", "2001:db8::1"},
		Serial: big.NewInt(0xabc), EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageEmailProtection}}).Cert
	hash, spki := sha256.Sum256(leaf.Raw), sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	for _, k := range []struct {
		name string
		rule ir.CertificateRule
		want bool
	}{
		{"nothing asked", ir.CertificateRule{}, true},
		{"common name", ir.CertificateRule{CommonNames: []string{"otto", "vera"}}, true},
		{"common name, case", ir.CertificateRule{CommonNames: []string{"Vera"}}, false},
		{"common name, star", ir.CertificateRule{CommonNames: []string{"v*a"}}, true},
		{"common name, part", ir.CertificateRule{CommonNames: []string{"ver"}}, false},
		{"whole subject", ir.CertificateRule{Subjects: []string{`CN=vera,OU=Ops,O=Example\, Inc.`}}, true},
		{"whole subject, spaces", ir.CertificateRule{Subjects: []string{`cn = vera , ou = Ops , o = "Example, Inc."`}}, true},
		{"whole subject, star", ir.CertificateRule{Subjects: []string{`CN=*,OU=Ops,O=Example\, *`}}, true},
		{"whole subject, order", ir.CertificateRule{Subjects: []string{`O=Example\, Inc.,OU=Ops,CN=vera`}}, false},
		{"whole subject, less", ir.CertificateRule{Subjects: []string{`CN=vera,OU=Ops`}}, false},
		{"one part", ir.CertificateRule{Subjects: []string{"OU=Ops"}}, true},
		{"one part by number", ir.CertificateRule{Subjects: []string{"2.5.4.11=Ops"}}, true},
		{"one part, hex", ir.CertificateRule{Subjects: []string{`O=Example\2C Inc.`}}, true},
		{"one part, raw text is no match", ir.CertificateRule{Subjects: []string{"O=Example"}}, false},
		{"escaped star", ir.CertificateRule{Subjects: []string{`OU=O\*s`}}, false},
		{"issuer", ir.CertificateRule{Issuers: []string{"CN=Root,O=Example"}}, true},
		{"issuer, other", ir.CertificateRule{Issuers: []string{"CN=Rooted"}}, false},
		{"dns", ir.CertificateRule{DNS: []string{"A.b.test"}}, true},
		{"dns, one label", ir.CertificateRule{DNS: []string{"*.b.test"}}, true},
		{"dns, not two", ir.CertificateRule{DNS: []string{"*.test"}}, false},
		{"dns, the certificate's star is a letter", ir.CertificateRule{DNS: []string{"x.wild.test"}}, false},
		{"uri", ir.CertificateRule{URIs: []string{"spiffe://td/ns/*/sa/y"}}, true},
		{"uri, prefix", ir.CertificateRule{URIs: []string{"spiffe://td/ns"}}, false},
		{"email", ir.CertificateRule{Emails: []string{"*@example.test"}}, true},
		{"address", ir.CertificateRule{IPs: []string{"192.0.2.7"}}, true},
		{"prefix", ir.CertificateRule{IPs: []string{"2001:db8::/32"}}, true},
		{"other prefix", ir.CertificateRule{IPs: []string{"192.0.3.0/24"}}, false},
		{"names are one list", ir.CertificateRule{DNS: []string{"no.test"}, IPs: []string{"192.0.2.0/24"}}, true},
		{"parts are all asked", ir.CertificateRule{CommonNames: []string{"vera"}, DNS: []string{"no.test"}}, false},
		{"fingerprint", ir.CertificateRule{Fingerprints: []string{hex.EncodeToString(hash[:])}}, true},
		{"fingerprint of the key", ir.CertificateRule{Fingerprints: []string{hex.EncodeToString(spki[:])}}, false},
		{"key", ir.CertificateRule{SPKI: []string{base64.StdEncoding.EncodeToString(spki[:])}}, true},
		{"serial", ir.CertificateRule{Serials: []string{"abc"}}, true},
		{"other serial", ir.CertificateRule{Serials: []string{"abcd"}}, false},
		{"usages", ir.CertificateRule{Usages: []string{"1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4"}}, true},
		{"usage that is missing", ir.CertificateRule{Usages: []string{"1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"}}, false},
		{"short life", ir.CertificateRule{MaxValidity: days(30)}, false},
		{"long life", ir.CertificateRule{MaxValidity: days(100)}, true},
		{"remaining", ir.CertificateRule{MinRemaining: days(80)}, true},
		{"too little remaining", ir.CertificateRule{MinRemaining: days(100)}, false},
	} {
		set, x := one(t, &ir.AccessPolicy{Allow: []ir.CertificateRule{{CommonNames: []string{"nobody"}}, k.rule}}, ca)
		d := set.Decide(x, ask(leaf))
		if d.Allowed() != k.want || !k.want && (d.Code != diag.ClientCertNotAuthorised || !strings.Contains(d.Detail, "allow[0]: the common name is") || !strings.Contains(d.Detail, "allow[1]: ")) {
			t.Errorf("allow, %s: %v %s %s", k.name, d.Verdict, d.Code, d.Detail)
		}
		set, x = one(t, &ir.AccessPolicy{Deny: []ir.CertificateRule{k.rule}}, ca)
		if d = set.Decide(x, ask(leaf)); d.Allowed() == k.want || k.want && d.Code != diag.ClientCertDenied {
			t.Errorf("deny, %s: %v %s %s", k.name, d.Verdict, d.Code, d.Detail)
		}
	}
}

// Of several common names each has to fit to be let in, and one suffices to be kept out.
func TestSeveralCommonNames(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{Subject: &pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: []int{2, 5, 4, 3}, Value: "mallory"}, {Type: []int{2, 5, 4, 3}, Value: "vera"}}}}).Cert
	rule := []ir.CertificateRule{{CommonNames: []string{"vera"}}}
	for _, p := range []*ir.AccessPolicy{{Allow: rule}, {Deny: rule}, {Deny: []ir.CertificateRule{{CommonNames: []string{"mallory"}}}}} {
		if set, x := one(t, p, ca); true {
			if d := set.Decide(x, ask(leaf)); d.Allowed() {
				t.Errorf("%+v lets in", p)
			}
		}
	}
}

// A rule that cannot be understood lets nobody in.
func TestBrokenRulesDeny(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{}).Cert
	for _, r := range []ir.CertificateRule{{Subjects: []string{"vera"}}, {Subjects: []string{"XX=a"}}, {Subjects: []string{`CN="a`}}, {Issuers: []string{`CN=a\`}}, {Subjects: []string{"CN=#zz"}},
		{IPs: []string{"a"}}, {IPs: []string{"::ffff:192.0.2.0/120"}}, {Usages: []string{"clientAuth"}}, {Fingerprints: []string{"ABCD"}}, {SPKI: []string{"a"}}, {Serials: []string{"0A"}}} {
		for _, p := range []*ir.AccessPolicy{{Deny: []ir.CertificateRule{r}}, {Allow: []ir.CertificateRule{{}, r}}} {
			set, x := one(t, p, ca)
			if d := set.Decide(x, ask(leaf)); d.Allowed() || d.Code != diag.PolicyBroken {
				t.Errorf("%+v: %s %s", r, d.Code, d.Detail)
			}
		}
	}
}

func TestDecisions(t *testing.T) {
	ca, other := testca.New(t, testca.Spec{}), testca.New(t, testca.Spec{})
	good, strange, v1 := ca.Issue(testca.Spec{}).Cert, other.Issue(testca.Spec{}).Cert, ca.Version1("localhost").Cert
	fault := &ir.Fault{Code: diag.TrustMissing, Detail: "gone"}
	list, err := secret.ParseCRLs(ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{good}}))
	if err != nil {
		t.Fatal(err)
	}
	stale, err := secret.ParseCRLs(ca.CRL(testca.CRLSpec{ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(-24 * time.Hour)}))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		name    string
		policy  ir.AccessPolicy
		cert    *x509.Certificate
		plain   bool
		lists   []*secret.CRL
		verdict Verdict
		code    diag.Code
	}{
		{"good", ir.AccessPolicy{}, good, false, nil, Allow, 0},
		{"version 1", ir.AccessPolicy{}, v1, false, nil, Allow, 0},
		{"none", ir.AccessPolicy{}, nil, false, nil, Deny, diag.ClientCertMissing},
		{"stranger", ir.AccessPolicy{}, strange, false, nil, Deny, diag.ClientCertUnknownCA},
		{"plain", ir.AccessPolicy{}, nil, true, nil, Deny, diag.PolicyNeedsTLS},
		{"open", ir.AccessPolicy{Open: true}, nil, true, nil, Allow, 0},
		{"audit", ir.AccessPolicy{Audit: true}, strange, false, nil, Audit, diag.ClientCertUnknownCA},
		{"audit, good", ir.AccessPolicy{Audit: true}, good, false, nil, Allow, 0},
		{"fault", ir.AccessPolicy{Fault: fault}, good, false, nil, Deny, diag.TrustMissing},
		{"revoked", ir.AccessPolicy{}, good, false, list, Deny, diag.ClientCertRevoked},
		{"stale", ir.AccessPolicy{Revocation: ir.Revocation{Hard: true}}, good, false, stale, Deny, diag.CRLStale},
		{"stale, softly", ir.AccessPolicy{}, good, false, stale, Allow, 0},
		{"locally revoked", ir.AccessPolicy{Revocation: ir.Revocation{Serials: []string{good.SerialNumber.Text(16)}}}, good, false, nil, Deny, diag.ClientCertRevokedLocally},
	} {
		set, x := one(t, &k.policy, ca, k.lists...)
		r := ask()
		if k.cert != nil {
			r = ask(k.cert)
		}
		r.TLS = !k.plain
		d := set.Decide(x, r)
		if d.Verdict != k.verdict || d.Code != k.code || (d.Code != 0) != (d.Detail != "") || d.Name != "ns/p" {
			t.Errorf("%s: %s %s %s", k.name, d.Verdict, d.Code, d.Detail)
		}
		if k.name == "version 1" && !strings.Contains(d.Judgement.Warning(), "version 1") {
			t.Errorf("%s: %+v", k.name, d.Judgement)
		}
	}
}

// What a connection remembers ends with the certificate, with the policy, and with a rule's time.
func TestMemo(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	now := time.Now()
	short := ca.Issue(testca.Spec{NotAfter: now.Add(30 * time.Second)}).Cert
	for _, p := range []*ir.AccessPolicy{{}, {Allow: []ir.CertificateRule{{MinRemaining: 10 * time.Second}}}} {
		set, x := one(t, p, ca)
		r := ask(short)
		r.Memo, r.Now = &Memo{}, now
		end := 30 * time.Second
		if p.Allow != nil {
			end = 20 * time.Second
		}
		first := set.Decide(x, r)
		r.Now = now.Add(end - 2*time.Second)
		if again := set.Decide(x, r); !first.Allowed() || again.Judgement != first.Judgement {
			t.Error("judged again")
		}
		r.Now = now.Add(end + 2*time.Second)
		if d := set.Decide(x, r); d.Allowed() {
			t.Error("let in by what was remembered")
		}
	}
	set, x := one(t, &ir.AccessPolicy{}, ca)
	r := ask(short)
	r.Memo = &Memo{}
	set.Decide(x, r)
	list, err := secret.ParseCRLs(ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{short}}))
	if err != nil {
		t.Fatal(err)
	}
	revoking, _ := one(t, &ir.AccessPolicy{}, ca, list...)
	if d := revoking.Decide(x, r); d.Allowed() {
		t.Error("a memo of another policy lets in")
	}
	if n := len(*r.Memo.list.Load()); n != 1 {
		t.Errorf("%d judgements are kept of two versions of a policy", n)
	}
	for i := range 3 * maxRemembered {
		j := &Judgement{until: r.Now.Add(time.Minute)}
		r.Memo.put(&Policy{ir: &ir.AccessPolicy{Name: fmt.Sprint(i)}, key: fmt.Sprint(i)}, j)
		if n := len(*r.Memo.list.Load()); n > maxRemembered {
			t.Fatalf("%d remembered after %d", n, i)
		}
	}
}

// A set of the same content is the same set; a changed list makes one policy anew.
func TestSetsAreTakenOver(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	ps := []*ir.AccessPolicy{{Name: "a", Trust: "a"}, {Name: "b", Trust: "b"}}
	bundles := func(lists ...*secret.CRL) *ir.Trust {
		return &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"a": {Bundle: secret.NewBundle(ca.Cert)}, "b": {Bundle: secret.NewBundle(ca.Cert), CRLs: lists}}}
	}
	first := NewSet(ps, bundles(), nil, Settings{}, nil)
	same := NewSet([]*ir.AccessPolicy{{Name: "a", Trust: "a"}, {Name: "b", Trust: "b"}}, bundles(), nil, Settings{}, first)
	if same != first {
		t.Error("made anew")
	}
	list, err := secret.ParseCRLs(ca.CRL(testca.CRLSpec{}))
	if err != nil {
		t.Fatal(err)
	}
	next := NewSet(ps, bundles(list...), nil, Settings{}, first)
	if next.Policy("a") != first.Policy("a") || next.Policy("b") == first.Policy("b") || next.Policy("b").Key() == first.Policy("b").Key() {
		t.Error("not the one that changed")
	}
	if NewSet(nil, nil, nil, Settings{}, nil).Policy("a") != nil || (*Set)(nil).Policy("a") != nil {
		t.Error("a policy from nowhere")
	}
}

// What parseNet relies on.
func TestNetipDoesNotUnmap(t *testing.T) {
	if netip.MustParsePrefix("10.0.0.0/8").Contains(netip.MustParseAddr("::ffff:10.0.0.1")) {
		t.Error("netip unmaps by itself now; parseNet need not")
	}
}

// lately is a trust.Online that finds out at a moment that everything is revoked.
type lately struct{ at time.Time }

func (l lately) Check(_, _ *x509.Certificate, _ ir.Revocation, now time.Time) trust.Finding {
	if now.Before(l.at) {
		return trust.Finding{Standing: trust.Good, Until: l.at}
	}
	return trust.Finding{Standing: trust.Revoked, OCSP: true, Until: now.Add(time.Hour)}
}

// TestRevokedWhileOpen: what a connection remembers holds no longer than the answer about revocation behind it.
func TestRevokedWhileOpen(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	now := time.Now()
	p := &ir.AccessPolicy{Name: "ns/p", Trust: "ca", Revocation: ir.Revocation{OCSP: true}}
	c, _ := chain(t, "ns/p *")
	bundles := &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ca": {Bundle: secret.NewBundle(ca.Cert)}}}
	for _, cache := range []*trust.Cache{nil, trust.NewCache(10)} {
		set := NewSet([]*ir.AccessPolicy{p}, bundles, &ir.Secrets{}, Settings{Online: lately{now.Add(3 * time.Second)}, Cache: cache}, nil)
		r := ask(ca.Issue(testca.Spec{}).Cert)
		r.Memo = &Memo{}
		for _, at := range []time.Duration{0, 2 * time.Second, 4 * time.Second} {
			r.Now = now.Add(at)
			if d := set.Decide(NewIndex(c, []*ir.AccessPolicy{p}), r); d.Allowed() != (at < 3*time.Second) {
				t.Errorf("after %s: %v", at, d.Verdict)
			}
		}
	}
}
