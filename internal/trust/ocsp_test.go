package trust_test

import (
	"crypto"
	"crypto/x509"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

func TestParseOCSP(t *testing.T) {
	now := time.Now()
	root := testca.New(t, testca.Spec{CommonName: "Root"})
	inter := root.Intermediate(testca.Spec{CommonName: "Inter"})
	twin := testca.New(t, testca.Spec{CommonName: "Root", Reuse: nil})
	serial := big.NewInt(77)
	leaf := root.Issue(testca.Spec{Serial: serial})
	other := root.Issue(testca.Spec{})
	ocspUse := []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
	responder := root.Issue(testca.Spec{CommonName: "responder", EKU: ocspUse})
	bare := root.Issue(testca.Spec{CommonName: "no responder"})
	ended := root.Issue(testca.Spec{CommonName: "ended", EKU: ocspUse, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour)})
	nested := inter.Issue(testca.Spec{CommonName: "of another", EKU: ocspUse})
	good := root.OCSP(leaf.Cert, testca.OCSPSpec{})
	broken := append([]byte(nil), good...)
	broken[len(broken)-5] ^= 1
	tests := []struct {
		name  string
		der   []byte
		is    trust.Standing
		words string // of the error
	}{
		{"good", good, trust.Good, ""},
		{"revoked", root.OCSP(leaf.Cert, testca.OCSPSpec{Revoked: true, Reason: 1}), trust.Revoked, ""},
		{"not known", root.OCSP(leaf.Cert, testca.OCSPSpec{Unknown: true}), trust.Unknown, ""},
		{"SHA-256 names", root.OCSP(leaf.Cert, testca.OCSPSpec{Hash: crypto.SHA256}), trust.Good, ""},
		{"of a responder", root.OCSP(leaf.Cert, testca.OCSPSpec{By: responder}), trust.Good, ""},
		{"of the issuer with its certificate", root.OCSP(leaf.Cert, testca.OCSPSpec{By: root}), trust.Good, ""},
		{"of a certificate that is not for it", root.OCSP(leaf.Cert, testca.OCSPSpec{By: bare}), 0, "not for signing OCSP"},
		{"of the leaf itself", root.OCSP(leaf.Cert, testca.OCSPSpec{By: leaf}), 0, "not for signing OCSP"},
		{"of a responder that has ended", root.OCSP(leaf.Cert, testca.OCSPSpec{By: ended}), 0, "is valid from"},
		{"of a responder of another CA", root.OCSP(leaf.Cert, testca.OCSPSpec{By: nested}), 0, "is not of the issuer"},
		{"of a stranger", twin.OCSP(leaf.Cert, testca.OCSPSpec{}), 0, "another issuer"},
		{"of the root's intermediate", inter.OCSP(leaf.Cert, testca.OCSPSpec{}), 0, "another issuer"},
		{"signed by a stranger", root.OCSP(leaf.Cert, testca.OCSPSpec{By: twin}), 0, "is not of the issuer"},
		{"about another certificate", root.OCSP(other.Cert, testca.OCSPSpec{}), 0, "no response matching"},
		{"about the same number of another CA", inter.OCSP(inter.Issue(testca.Spec{Serial: serial}).Cert, testca.OCSPSpec{By: responder}), 0, "another issuer"},
		{"broken signature", broken, 0, "not signed by"},
		{"try later", []byte{0x30, 3, 10, 1, 3}, 0, "refuses"},
		{"junk", []byte("junk"), 0, "cannot be read"},
		{"too large", make([]byte, 1<<20), 0, "bytes"},
	}
	for _, tc := range tests {
		got, err := trust.ParseOCSP(tc.der, leaf.Cert, root.Cert, now)
		if (err != nil) != (tc.words != "") || err != nil && !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.words)
		}
		if got.Standing != tc.is || tc.is == trust.Revoked && got.Reason != "keyCompromise" {
			t.Errorf("%s: %+v, want %d", tc.name, got, tc.is)
		}
	}
	for name, tc := range map[string]struct {
		spec  testca.OCSPSpec
		words string
	}{
		"of now":        {testca.OCSPSpec{}, ""},
		"no end":        {testca.OCSPSpec{NoNext: true}, ""},
		"no end, old":   {testca.OCSPSpec{NoNext: true, ThisUpdate: now.Add(-25 * time.Hour)}, "renewal"},
		"ended":         {testca.OCSPSpec{NextUpdate: now.Add(-time.Second)}, "renewal"},
		"not yet":       {testca.OCSPSpec{ThisUpdate: now.Add(time.Hour)}, "clock"},
		"a little skew": {testca.OCSPSpec{ThisUpdate: now.Add(time.Minute)}, ""},
	} {
		got, err := trust.ParseOCSP(root.OCSP(leaf.Cert, tc.spec), leaf.Cert, root.Cert, now)
		if err != nil || (got.Stale(now) == "") != (tc.words == "") || !strings.Contains(got.Stale(now), tc.words) {
			t.Errorf("%s: %v %q, want %q", name, err, got.Stale(now), tc.words)
		}
	}
}

// findings is an Online that answers by serial number and counts.
type findings struct {
	mu    sync.Mutex
	by    map[string]trust.Finding
	asked int
	hard  bool
}

func (f *findings) Check(cert, _ *x509.Certificate, how ir.Revocation, _ time.Time) trust.Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	f.hard = how.Hard
	return f.by[cert.SerialNumber.String()]
}

func TestAccessRevocation(t *testing.T) {
	now := time.Now()
	root := testca.New(t, testca.Spec{})
	inter := root.Intermediate(testca.Spec{Serial: big.NewInt(2)})
	leaf := inter.Issue(testca.Spec{Serial: big.NewInt(0xab)})
	facts, err := trust.NewFacts(leaf.Cert)
	if err != nil {
		t.Fatal(err)
	}
	interFacts, _ := trust.NewFacts(inter.Cert)
	later := now.Add(time.Hour)
	good, gone := trust.Finding{Standing: trust.Good, Until: later}, trust.Finding{Standing: trust.Revoked, Until: later}
	goneOCSP := gone
	goneOCSP.OCSP = true
	lost, bad, badOCSP := trust.Finding{Detail: "down"}, trust.Finding{Invalid: true}, trust.Finding{Invalid: true, OCSP: true}
	lists := func(pems ...[]byte) []*secret.CRL {
		var out []*secret.CRL
		for _, p := range pems {
			out = append(out, parseCRL(t, p))
		}
		return out
	}
	both := lists(inter.CRL(testca.CRLSpec{}), root.CRL(testca.CRLSpec{}))
	names := lists(inter.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{leaf.Cert}}), root.CRL(testca.CRLSpec{}))
	stale := lists(inter.CRL(testca.CRLSpec{NextUpdate: now.Add(-time.Minute)}), root.CRL(testca.CRLSpec{}))
	tests := []struct {
		name     string
		how      ir.Revocation
		lists    []*secret.CRL
		leaf     trust.Finding
		inter    trust.Finding
		code     diag.Code
		warnings int
		asked    int
	}{
		{"nothing", ir.Revocation{}, nil, lost, lost, 0, 0, 0},
		{"hard, nothing to ask", ir.Revocation{Hard: true}, nil, lost, lost, diag.ClientRevocationUnknown, 0, 0},
		{"serial", ir.Revocation{Serials: []string{"00:AB"}}, nil, lost, lost, diag.ClientCertRevokedLocally, 0, 0},
		{"serial of the issuer", ir.Revocation{Serials: []string{"2"}}, nil, lost, lost, 0, 0, 0},
		{"key", ir.Revocation{SPKI: []string{facts.SPKI}}, nil, lost, lost, diag.ClientCertRevokedLocally, 0, 0},
		{"key of the issuer", ir.Revocation{SPKI: []string{interFacts.SPKI}}, nil, lost, lost, diag.ClientCertRevokedLocally, 0, 0},
		{"list names it", ir.Revocation{OCSP: true}, names, good, good, diag.ClientCertRevoked, 0, 0},
		{"list names it, not looked at", ir.Revocation{NoCRL: true}, names, lost, lost, 0, 0, 0},
		{"lists decide", ir.Revocation{Hard: true, OCSP: true}, both, gone, gone, 0, 0, 0},
		{"stale list, soft", ir.Revocation{}, stale, lost, lost, 0, 1, 0},
		{"stale list, hard", ir.Revocation{Hard: true}, stale, lost, lost, diag.CRLStale, 0, 0},
		{"stale list, asked instead", ir.Revocation{Hard: true, OCSP: true}, stale, good, lost, 0, 0, 1},
		{"good", ir.Revocation{Hard: true, OCSP: true}, nil, good, good, 0, 0, 2},
		{"revoked by OCSP", ir.Revocation{OCSP: true}, nil, goneOCSP, good, diag.ClientCertRevokedOCSP, 0, 2},
		{"revoked by a list", ir.Revocation{FetchCRL: true}, nil, gone, good, diag.ClientCertRevoked, 0, 2},
		{"issuer revoked, leaf unknown", ir.Revocation{OCSP: true, Hard: true}, nil, lost, goneOCSP, diag.ClientCertRevokedOCSP, 0, 2},
		{"unknown, soft", ir.Revocation{OCSP: true}, nil, lost, good, 0, 1, 2},
		{"unknown, hard", ir.Revocation{OCSP: true, Hard: true}, nil, lost, good, diag.ClientRevocationUnknown, 0, 2},
		{"invalid answer", ir.Revocation{OCSP: true, Hard: true}, nil, badOCSP, good, diag.ClientOCSPInvalid, 0, 2},
		{"invalid list", ir.Revocation{FetchCRL: true, Hard: true}, nil, bad, good, diag.ClientCRLInvalid, 0, 2},
		{"issuer unknown", ir.Revocation{OCSP: true, Hard: true}, nil, good, lost, diag.ClientRevocationUnknown, 0, 2},
		{"issuer unknown, leaf only", ir.Revocation{OCSP: true, Hard: true, LeafOnly: true}, nil, good, lost, 0, 0, 1},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			online := &findings{by: map[string]trust.Finding{"171": tc.leaf, "2": tc.inter}}
			p, err := trust.AccessPolicy(&ir.AccessPolicy{Revocation: tc.how}, &ir.TrustBundle{Bundle: bundle(root), CRLs: tc.lists}, online)
			if err != nil {
				t.Fatal(err)
			}
			got := trust.New(p, nil).VerifyClient(leaf.Chain(), now)
			if got.Code != tc.code || len(got.Warnings) != tc.warnings {
				t.Errorf("%v %q, warnings %v; want %v and %d", got.Code, got.Detail, got.Warnings, tc.code, tc.warnings)
			}
			if online.asked != tc.asked {
				t.Errorf("asked %d times, want %d", online.asked, tc.asked)
			}
			// An open connection is ended by revocation, not because nobody answers now.
			ongoing := trust.New(p, nil).VerifyOngoing(leaf.Chain(), now.Add(-time.Minute), now)
			lasting := tc.code != 0 && (tc.asked == 0 || tc.leaf.Standing == trust.Revoked || tc.inter.Standing == trust.Revoked) && tc.code != diag.CRLStale
			if (ongoing.Code != 0) != lasting || online.hard && tc.asked > 0 {
				t.Errorf("ongoing: %v, want a refusal %v; asked hard %v", ongoing.Code, lasting, online.hard)
			}
		})
	}
	for _, bad := range []ir.Revocation{{Serials: []string{"xyz"}}, {Serials: []string{""}}, {SPKI: []string{"AAAA"}}} {
		if _, err := trust.AccessPolicy(&ir.AccessPolicy{Revocation: bad}, nil, nil); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// Verdicts are remembered no longer than the answers they rest on.
func TestCacheHeedsAnswers(t *testing.T) {
	now := time.Now()
	root := testca.New(t, testca.Spec{})
	leaf := root.Issue(testca.Spec{Serial: big.NewInt(5)})
	online := &findings{by: map[string]trust.Finding{}}
	p, err := trust.AccessPolicy(&ir.AccessPolicy{Revocation: ir.Revocation{OCSP: true}}, &ir.TrustBundle{Bundle: bundle(root)}, online)
	if err != nil {
		t.Fatal(err)
	}
	v := trust.New(p, trust.NewCache(10))
	steps := []struct {
		at    time.Duration
		is    trust.Finding
		code  diag.Code
		asked int
	}{
		{0, trust.Finding{}, 0, 1}, // no end: not remembered
		{0, trust.Finding{Standing: trust.Good, Until: now.Add(time.Minute)}, 0, 2},
		{59 * time.Second, trust.Finding{Standing: trust.Revoked, OCSP: true}, 0, 2},
		{time.Minute, trust.Finding{Standing: trust.Revoked, OCSP: true, Until: now.Add(time.Hour)}, diag.ClientCertRevokedOCSP, 3},
		{90 * time.Second, trust.Finding{}, diag.ClientCertRevokedOCSP, 3},
		{3 * time.Minute, trust.Finding{Standing: trust.Good}, 0, 4},
	}
	for i, s := range steps {
		online.by["5"] = s.is
		if got := v.VerifyClient(leaf.Chain(), now.Add(s.at)); got.Code != s.code || online.asked != s.asked {
			t.Errorf("step %d: %v, asked %d; want %v and %d", i, got.Code, online.asked, s.code, s.asked)
		}
	}
}

func TestStaples(t *testing.T) {
	now := time.Now()
	root := testca.New(t, testca.Spec{})
	plain := root.Issue(testca.Spec{DNS: []string{"a.test"}})
	must := root.Issue(testca.Spec{DNS: []string{"a.test"}, MustStaple: true})
	hard, soft := &ir.Revocation{Hard: true}, &ir.Revocation{}
	hardOCSP, softOCSP := &ir.Revocation{Hard: true, OCSP: true}, &ir.Revocation{OCSP: true}
	good, gone, old := testca.OCSPSpec{}, testca.OCSPSpec{Revoked: true}, testca.OCSPSpec{NextUpdate: now.Add(-time.Minute)}
	tests := []struct {
		name     string
		leaf     *testca.Pair
		how      *ir.Revocation
		staple   *testca.OCSPSpec
		code     diag.Code
		warnings int
		asked    int
	}{
		{"not looked at", plain, nil, &gone, 0, 0, 0},
		{"must, not looked at", must, nil, nil, 0, 0, 0},
		{"good, hard", plain, hardOCSP, &good, 0, 0, 0},
		{"good, nothing else to ask", plain, hard, &good, 0, 0, 0},
		{"revoked", plain, soft, &gone, diag.UpstreamRevokedOCSP, 0, 0},
		{"none, hard", plain, hard, nil, diag.UpstreamRevocationUnknown, 0, 0},
		{"none, asked", plain, hardOCSP, nil, 0, 0, 1},
		{"stale, asked", plain, softOCSP, &old, 0, 1, 1},
		{"must, good", must, hard, &good, 0, 0, 0},
		{"must, none, hard", must, hardOCSP, nil, diag.UpstreamStapleMissing, 0, 0},
		{"must, stale, hard", must, hardOCSP, &old, diag.UpstreamStapleMissing, 0, 0},
		{"must, none, soft", must, softOCSP, nil, 0, 1, 1},
	}
	for _, tc := range tests {
		online := &findings{by: map[string]trust.Finding{tc.leaf.Cert.SerialNumber.String(): {Standing: trust.Good, Until: now.Add(time.Hour)}}}
		p, err := trust.ServerPolicy(&ir.UpstreamTLS{Trust: "a/b", Revocation: tc.how}, &ir.TrustBundle{Bundle: bundle(root)}, nil, online)
		if err != nil {
			t.Fatal(err)
		}
		var staple []byte
		if tc.staple != nil {
			staple = root.OCSP(tc.leaf.Cert, *tc.staple)
		}
		v := trust.New(p, trust.NewCache(4))
		for range 2 {
			if got := v.VerifyStapled(tc.leaf.Chain(), staple, "a.test", now); got.Code != tc.code || len(got.Warnings) != tc.warnings || online.asked != tc.asked {
				t.Errorf("%s: %v %q, warnings %v, asked %d", tc.name, got.Code, got.Detail, got.Warnings, online.asked)
			}
		}
	}
	// The same certificate with another staple is another question.
	p, _ := trust.ServerPolicy(&ir.UpstreamTLS{Trust: "a/b", Revocation: hard}, &ir.TrustBundle{Bundle: bundle(root)}, nil, nil)
	v := trust.New(p, trust.NewCache(4))
	if v.VerifyStapled(plain.Chain(), root.OCSP(plain.Cert, good), "a.test", now).Code != 0 || v.VerifyStapled(plain.Chain(), nil, "a.test", now).Code == 0 {
		t.Error("a verdict is shared by connections with and without a staple")
	}
	for _, bad := range []*ir.UpstreamTLS{{SPKI: []string{"x"}}, {Revocation: &ir.Revocation{Serials: []string{"?"}}}} {
		if _, err := trust.ServerPolicy(bad, nil, nil, nil); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestPathsAreNoAnchors(t *testing.T) {
	now := time.Now()
	root := testca.New(t, testca.Spec{CommonName: "Root"})
	inter := root.Intermediate(testca.Spec{CommonName: "Inter"})
	other := testca.New(t, testca.Spec{CommonName: "Other"})
	stranger := other.Intermediate(testca.Spec{CommonName: "Stranger"})
	tests := []struct {
		name   string
		roots  *secret.Bundle
		leaf   []*x509.Certificate
		code   diag.Code
		length int
		words  string
	}{
		{"the bundle has the intermediate that the client left out", bundle(root, inter), inter.Issue(testca.Spec{}).Chain()[:1], 0, 3, ""},
		{"an intermediate of another root", bundle(root, stranger), stranger.Issue(testca.Spec{}).Chain(), diag.ClientCertUnknownCA, 0, "only builds paths"},
		{"an intermediate alone", bundle(stranger), stranger.Issue(testca.Spec{}).Chain(), 0, 2, ""},
		{"an intermediate alone, of its root's other children", bundle(inter), root.Issue(testca.Spec{}).Chain(), diag.ClientCertUnknownCA, 0, ""},
	}
	for _, tc := range tests {
		got := trust.New(require(tc.roots), nil).VerifyClient(tc.leaf, now)
		if got.Code != tc.code || len(got.Chain) != tc.length || !strings.Contains(got.Detail, tc.words) {
			t.Errorf("%s: %v, chain of %d, %q", tc.name, got.Code, len(got.Chain), got.Detail)
		}
	}
}

func FuzzParseOCSP(f *testing.F) {
	root := testca.New(f, testca.Spec{})
	leaf := root.Issue(testca.Spec{})
	responder := root.Issue(testca.Spec{EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}})
	good := root.OCSP(leaf.Cert, testca.OCSPSpec{By: responder})
	f.Add(good)
	f.Add(root.OCSP(leaf.Cert, testca.OCSPSpec{Revoked: true}))
	f.Add([]byte{0x30, 3, 10, 1, 6})
	f.Fuzz(func(t *testing.T, der []byte) {
		a, err := trust.ParseOCSP(der, leaf.Cert, root.Cert, time.Now())
		if err == nil && a.NextUpdate.IsZero() {
			t.Error("an answer without end")
		}
		if err != nil && a != (trust.OCSP{}) {
			t.Error("an answer beside an error")
		}
	})
}
