package trust_test

import (
	"crypto/x509"
	"runtime"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// BenchmarkVerify100000 judges 100,000 different clients one after the other, by a policy with a
// revocation list that names 100,000 others. The cache of verdicts is far too small for them, and stays so.
func BenchmarkVerify100000(b *testing.B) {
	const clients, remembered = 100_000, 4096
	root := testca.New(b, testca.Spec{})
	key := root.Issue(testca.Spec{}).Key
	chains := make([][]*x509.Certificate, clients)
	for i := range chains {
		chains[i] = root.Issue(testca.Spec{Reuse: key}).Chain()
	}
	others := make([]*x509.Certificate, clients)
	for i := range others {
		others[i] = &x509.Certificate{SerialNumber: root.Issue(testca.Spec{Reuse: key}).Cert.SerialNumber}
	}
	crls, err := secret.ParseCRLs(root.CRL(testca.CRLSpec{Revoked: others}))
	if err != nil {
		b.Fatal(err)
	}
	p, err := trust.AccessPolicy(&ir.AccessPolicy{Revocation: ir.Revocation{Hard: true}}, &ir.TrustBundle{Bundle: bundle(root), CRLs: crls}, nil)
	if err != nil {
		b.Fatal(err)
	}
	cache := trust.NewCache(remembered)
	v := trust.New(p, cache)
	now := time.Now()
	before := heap()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if got := v.VerifyClient(chains[i%clients], now); got.Code != 0 {
			b.Fatal(got.Code, got.Detail)
		}
		i++
	}
	b.StopTimer()
	if cache.Len() > remembered {
		b.Errorf("%d verdicts are remembered", cache.Len())
	}
	after := heap()
	runtime.KeepAlive(chains)
	b.ReportMetric(float64(after-before)/float64(max(cache.Len(), 1)), "B/verdict")
	runtime.KeepAlive(v)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
