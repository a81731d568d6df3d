package trust_test

import (
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

func TestCacheNeverOutlivesValidity(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	root := testca.New(t, testca.Spec{NotAfter: now.Add(30 * time.Minute)})
	leaf := root.Issue(testca.Spec{NotBefore: now.Add(-time.Minute), NotAfter: now.Add(10 * time.Minute)}).Chain()
	long := root.Issue(testca.Spec{}).Chain()
	list := parseCRL(t, root.CRL(testca.CRLSpec{NextUpdate: now.Add(20 * time.Minute)}))
	v := trust.New(require(bundle(root)), trust.NewCache(10))
	p := require(bundle(root))
	p.CRLs = []*secret.CRL{list}
	withList := trust.New(p, trust.NewCache(10))
	steps := []struct {
		at   time.Duration
		v    *trust.Verifier
		leaf []*x509.Certificate
		code diag.Code
	}{
		{0, v, leaf, 0},
		{10 * time.Minute, v, leaf, 0}, // notAfter is inclusive
		{10*time.Minute + 1, v, leaf, diag.ClientCertExpired},
		{0, v, leaf, 0}, // the clock was set back
		{-2 * time.Minute, v, leaf, diag.ClientCertNotYetValid},
		{0, v, leaf, 0},
		{0, v, long, 0},
		{31 * time.Minute, v, long, diag.ClientCertExpired}, // the root's
		{0, withList, long, 0},
		{21 * time.Minute, withList, long, diag.CRLStale},
	}
	for i, s := range steps {
		if got := s.v.VerifyClient(s.leaf, now.Add(s.at)); got.Code != s.code {
			t.Errorf("step %d at %v: %v %s", i, s.at, got.Code, got.Detail)
		}
	}
}

func TestCacheKeepsPoliciesApart(t *testing.T) {
	now := time.Now()
	root := testca.New(t, testca.Spec{})
	leaf := root.Issue(testca.Spec{DNS: []string{"a.test"}})
	cache := trust.NewCache(100)
	base := trust.Policy{Mode: ir.ClientAuthRequire, Roots: bundle(root)}
	crl := base
	crl.CRLs = []*secret.CRL{parseCRL(t, root.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{leaf.Cert}}))}
	pin := base
	pin.SPKI = [][32]byte{{1}}
	hash := base
	hash.Hashes = [][32]byte{{1}}
	san := base
	san.SANs = []trust.SAN{{Value: "b.test"}}
	roots := base
	roots.Roots = bundle(testca.New(t, testca.Spec{}))
	want := map[string]struct {
		p    trust.Policy
		code diag.Code
	}{
		"base": {base, 0}, "crl": {crl, diag.ClientCertRevoked}, "pin": {pin, diag.ClientCertPinMismatch}, "hash": {hash, diag.ClientCertPinMismatch},
		"san": {san, diag.ClientCertSANMismatch}, "roots": {roots, diag.ClientCertUnknownCA},
	}
	seen := map[string]string{}
	for range 2 {
		for name, w := range want {
			v := trust.New(w.p, cache)
			if other, dup := seen[v.Revision()]; dup && other != name {
				t.Errorf("%s and %s have one revision", name, other)
			}
			seen[v.Revision()] = name
			if got := v.VerifyClient(leaf.Chain(), now); got.Code != w.code {
				t.Errorf("%s: %v", name, got.Code)
			}
		}
	}
	server := trust.New(trust.Policy{Roots: bundle(root)}, cache)
	for _, name := range []string{"a.test", "b.test", "a.test"} {
		if got := server.VerifyServer(leaf.Chain(), name, now); (got.Code == 0) != (name == "a.test") {
			t.Errorf("%s: %v", name, got.Code)
		}
	}
	// The same leaf with and without its intermediate are different questions.
	deep := root.Intermediate(testca.Spec{}).Issue(testca.Spec{}).Chain()
	v := trust.New(base, cache)
	if v.VerifyClient(deep[:1], now).Code == 0 || v.VerifyClient(deep, now).Code != 0 || v.VerifyClient(deep[:1], now).Code == 0 {
		t.Error("the whole presented chain is the key")
	}
}

func TestCacheIsBoundedAndShared(t *testing.T) {
	root := testca.New(t, testca.Spec{})
	cache := trust.NewCache(3)
	v := trust.New(require(bundle(root)), cache)
	var chains [][]*x509.Certificate
	for range 8 {
		chains = append(chains, root.Issue(testca.Spec{}).Chain())
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 24 {
				if got := v.VerifyClient(chains[(i+j)%len(chains)], time.Now()); !got.Verified() {
					t.Errorf("%v", got.Code)
				}
			}
		})
	}
	wg.Wait()
	if n := cache.Len(); n == 0 || n > 3 {
		t.Errorf("%d entries", n)
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	root := testca.New(b, testca.Spec{})
	leaf := root.Issue(testca.Spec{}).Chain()
	v := trust.New(require(bundle(root)), trust.NewCache(8))
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if v.VerifyClient(leaf, now).Code != 0 {
			b.Fatal("refused")
		}
	}
}

func FuzzNewFacts(f *testing.F) {
	root := testca.New(f, testca.Spec{})
	f.Add(root.Issue(testca.Spec{CommonName: "a", DNS: []string{"a.test"}, IPs: []string{"::1"}, URIs: []string{"spiffe://a/b"}, Emails: []string{"a@b.test"}}).Cert.Raw)
	f.Add(root.Cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		facts, err := trust.NewFacts(c)
		if facts == nil {
			t.Fatal("facts always come")
		}
		for _, s := range append(append(append([]string{facts.Subject, facts.Issuer}, facts.DNS...), facts.URIs...), facts.Emails...) {
			for i := range len(s) {
				if s[i] < 0x20 || s[i] >= 0x7f {
					t.Fatalf("%q is no safe text (error %v)", s, err)
				}
			}
		}
		trust.New(require(bundle(root)), nil).VerifyClient([]*x509.Certificate{c}, time.Now())
	})
}
