package ca

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// many makes an authority with n certificates of servers, written in batches: one sync for each would
// measure the disk.
func many(b *testing.B, n int, revoked bool) string {
	b.Helper()
	dir := b.TempDir()
	a, _, err := Create(context.Background(), Dir(dir), "default", Setup{Subject: pkix.Name{CommonName: "Bench"}}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	key, err := newKey(ECDSAP256)
	if err != nil {
		b.Fatal(err)
	}
	parent := a.issuing()
	signer, err := a.signer(parent.id)
	if err != nil {
		b.Fatal(err)
	}
	for done := 0; done < n; done += 1000 {
		var lines []line
		for i := range min(1000, n-done) {
			number, err := a.newSerial()
			if err != nil {
				b.Fatal(err)
			}
			p := &plan{profile: Server, validity: 90 * day, public: key.Public(), names: sans{dns: []string{fmt.Sprintf("host-%d.example.test", done+i)}}}
			p.rules, _ = Server.rules()
			t, err := a.template(p, parent, number)
			if err != nil {
				b.Fatal(err)
			}
			der, err := x509.CreateCertificate(rand.Reader, t, parent.cert, p.public, signer)
			if err != nil {
				b.Fatal(err)
			}
			c, err := parseCertificate(der)
			if err != nil {
				b.Fatal(err)
			}
			lines = append(lines, certificateLine(c, parent.id, Server, ""))
			if revoked {
				lines = append(lines, line{Event: eventRevoked, Serial: serialText(number), Issuer: parent.id, Reason: "superseded"})
			}
		}
		if err := a.write(lines...); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

const benched = 100_000

// Opening reads and checks every line; what it costs in memory is reported as heap-MB.
func BenchmarkOpen(b *testing.B) {
	dir := many(b, benched, false)
	var a *Authority
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for b.Loop() {
		var err error
		if a, err = Open(b.Context(), Dir(dir), "default", Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/(1<<20), "heap-MB")
	b.ReportMetric(float64(a.tip.size)/(1<<20), "journal-MB")
	serial := hex.EncodeToString(a.idx.records[benched/2].serial[:])
	start := time.Now()
	const rounds = 1000
	for range rounds {
		if _, err := a.Get(serial); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/rounds, "get-µs")
}

// Issuing from an authority that has issued 100,000 already: two syncs and one signature.
func BenchmarkIssueAfterMany(b *testing.B) {
	a, err := Open(b.Context(), Dir(many(b, benched, false)), "default", Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := a.Issue(b.Context(), Request{Profile: Server, Names: []string{"a.test"}}); err != nil {
			b.Fatal(err)
		}
	}
}

// A revocation list of 100,000 entries.
func BenchmarkPublishCRL(b *testing.B) {
	a, err := Open(b.Context(), Dir(many(b, benched, true)), "default", Options{})
	if err != nil {
		b.Fatal(err)
	}
	var l *List
	for b.Loop() {
		if l, err = a.PublishCRL(b.Context(), ""); err != nil {
			b.Fatal(err)
		}
	}
	if l.Entries != benched {
		b.Fatal(l.Entries)
	}
	b.ReportMetric(float64(len(l.DER))/(1<<20), "list-MB")
}

// BenchmarkOCSP answers about 100,000 revoked certificates, from the cache and signing anew.
func BenchmarkOCSP(b *testing.B) {
	dir := many(b, benched, true)
	a, err := Open(b.Context(), Dir(dir), "default", Options{})
	if err != nil {
		b.Fatal(err)
	}
	r := newResponder(a)
	q := &ocspRequest{certs: []askedCert{{raw: []byte{0x30, 0}}}}
	ask := func(b *testing.B, i int) {
		q.certs[0].serial = newInt(a.idx.records[2+i%benched].serial)
		q.certs[0].raw = a.idx.records[2+i%benched].serial[:]
		if _, err := r.answer(b.Context(), "issuer-1", q); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			ask(b, 5)
		}
	})
	b.Run("signed", func(b *testing.B) {
		i := 0
		for b.Loop() {
			ask(b, i)
			i++
		}
	})
}
