package authz

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"runtime"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// town is 10,000 hosts, each with a policy on a path of its own, whose CA has a list of so many entries.
func town(tb testing.TB, revoked int) (*Set, *Index, *testca.Pair) {
	tb.Helper()
	ca := testca.New(tb, testca.Spec{})
	t := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for i := range revoked {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: new(big.Int).SetBit(big.NewInt(int64(i)), 120, 1), RevocationTime: t.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, t, ca.Cert, ca.Key)
	if err != nil {
		tb.Fatal(err)
	}
	lists, err := secret.ParseCRLs(der)
	if err != nil {
		tb.Fatal(err)
	}
	c := &ir.Chain{}
	for i := range 10_000 {
		c.Access = append(c.Access, ir.AccessRule{Policy: "ns/p", Host: pattern(tb, fmt.Sprintf("h%d.test", i)), Path: fmt.Sprintf("/p%d", i)})
	}
	ps := []*ir.AccessPolicy{{Name: "ns/p", Trust: "ca", Forward: []string{ir.ForwardXFCC, ir.ForwardRFC9440}}}
	bundles := &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ca": {Bundle: secret.NewBundle(ca.Cert), CRLs: lists}}}
	return NewSet(ps, bundles, nil, Settings{Cache: trust.NewCache(1000)}, nil), NewIndex(c, ps), ca
}

func decideOften(b *testing.B, set *Set, x *Index, r *Request, want Verdict) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if d := set.Decide(x, r); d.Verdict != want {
			b.Fatalf("%s %s", d.Verdict, d.Detail)
		}
	}
}

// BenchmarkDecide is the cost of a request by what is known: nothing to decide, a connection that is known, a
// certificate that is, and one that comes for the first time.
func BenchmarkDecide(b *testing.B) {
	set, x, ca := town(b, 100_000)
	leaf := ca.Issue(testca.Spec{}).Cert
	request := func(path string) *Request {
		return &Request{Host: []byte("h7777.test"), Path: []byte(path), TLS: true, Presented: []*x509.Certificate{leaf}, Memo: &Memo{}, Now: time.Now()}
	}
	b.Run("open path", func(b *testing.B) { decideOften(b, set, x, request("/api/v1/items/42"), None) })
	b.Run("other host", func(b *testing.B) {
		r := request("/p7777/x")
		r.Host = []byte("other.example.org")
		decideOften(b, set, x, r, None)
	})
	b.Run("known connection", func(b *testing.B) { decideOften(b, set, x, request("/p7777/v1/items/42"), Allow) })
	b.Run("odd path", func(b *testing.B) { decideOften(b, set, x, request("/p7777/a%20b;c"), Allow) })
	b.Run("known certificate", func(b *testing.B) {
		r := request("/p7777/x")
		r.Memo = nil
		decideOften(b, set, x, r, Allow)
	})
	b.Run("new certificate", func(b *testing.B) {
		certs := make([]*x509.Certificate, 2000)
		for i := range certs {
			certs[i] = ca.Issue(testca.Spec{}).Cert
		}
		r := request("/p7777/x")
		r.Memo = nil
		n := 0
		b.ReportAllocs()
		for b.Loop() {
			r.Presented = certs[n%len(certs) : n%len(certs)+1]
			n++
			if d := set.Decide(x, r); d.Verdict != Allow {
				b.Fatal(d.Detail)
			}
		}
	})
}

// A request whose client is known costs no allocation.
func TestDecideDoesNotAllocate(t *testing.T) {
	set, x, ca := town(t, 10)
	r := &Request{Host: []byte("h7777.test"), Path: []byte("/p7777/v1"), TLS: true, Presented: []*x509.Certificate{ca.Issue(testca.Spec{}).Cert}, Memo: &Memo{}, Now: time.Now()}
	for _, path := range []string{"/p7777/v1", "/other"} {
		r.Path = []byte(path)
		if n := testing.AllocsPerRun(100, func() { set.Decide(x, r) }); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// BenchmarkList is the memory of a list of 100,000 entries and of 10,000 hosts with a rule each.
func BenchmarkList(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	set, x, _ := town(b, 100_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for b.Loop() {
		runtime.KeepAlive(set)
		runtime.KeepAlive(x)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
}
