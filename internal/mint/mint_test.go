package mint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) func() time.Time { return func() time.Time { return epoch.Add(d) } }

// testCA makes a CA; change may alter it before it is signed.
func testCA(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) *secret.KeyPair {
	t.Helper()
	if key == nil {
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Company CA"}, NotBefore: epoch.AddDate(-1, 0, 0), NotAfter: epoch.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if change != nil {
		change(c)
	}
	return secret.NewKeyPair([]*x509.Certificate{sign(t, c, c, key.Public(), key)}, key)
}

func sign(t testing.TB, c, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// original makes what a destination showed.
func original(t testing.TB, key crypto.Signer, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	if key == nil {
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	c.SerialNumber = big.NewInt(2)
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = epoch.AddDate(0, -1, 0), epoch.AddDate(0, 2, 0)
	}
	return sign(t, c, c, key.Public(), key)
}

func verify(t *testing.T, ca *secret.KeyPair, got *secret.KeyPair, host string, now time.Time) {
	t.Helper()
	inter := x509.NewCertPool()
	for _, c := range got.Issuers {
		inter.AddCert(c)
	}
	if _, err := got.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: secret.NewBundle(ca.Leaf).Pool(), Intermediates: inter, CurrentTime: now}); err != nil {
		t.Errorf("the leaf for %s does not verify: %v", host, err)
	}
	if !bytes.Equal(got.Leaf.AuthorityKeyId, ca.Leaf.SubjectKeyId) || len(got.Leaf.SubjectKeyId) == 0 {
		t.Errorf("key identifiers: authority %x of CA %x, subject %x", got.Leaf.AuthorityKeyId, ca.Leaf.SubjectKeyId, got.Leaf.SubjectKeyId)
	}
	if pub, ok := got.Signer().Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(got.Leaf.PublicKey) {
		t.Error("the key is not the leaf's")
	}
}

func codeOf(err error) diag.Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestLeafOfNames(t *testing.T) {
	ca := testCA(t, nil, nil)
	a := New(ca, Options{Now: at(0)})
	got, err := a.Leaf(Want{Names: []string{"example.com"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	if err != nil {
		t.Fatal(err)
	}
	verify(t, ca, got, "example.com", epoch)
	verify(t, ca, got, "192.0.2.1", epoch)
	leaf := got.Leaf
	if leaf.Subject.CommonName != "example.com" || leaf.IsCA || leaf.SerialNumber.Sign() <= 0 || leaf.SerialNumber.BitLen() > 127 ||
		!slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || !got.IsECDSA() {
		t.Errorf("leaf: CN %q, CA %v, serial %x, EKU %v, key %s", leaf.Subject.CommonName, leaf.IsCA, leaf.SerialNumber, leaf.ExtKeyUsage, got.KeyType())
	}
	if want := epoch.Add(-time.Hour); !leaf.NotBefore.Equal(want) {
		t.Errorf("valid from %v, want %v", leaf.NotBefore, want)
	}
	if want := epoch.Add(24 * time.Hour); !leaf.NotAfter.Equal(want) {
		t.Errorf("valid to %v, want %v", leaf.NotAfter, want)
	}
	again, err := a.Leaf(Want{Names: []string{"example.com"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	if err != nil || again != got {
		t.Errorf("the second leaf is another one (%v)", err)
	}
	other, err := a.Leaf(Want{Names: []string{"example.org"}})
	if err != nil || other == got || other.Leaf.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Errorf("another name got the same leaf or serial (%v)", err)
	}
	if s := a.Stats(); s.Minted != 2 || s.Hits != 1 || s.Leaves != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestMimic(t *testing.T) {
	ca := testCA(t, nil, nil)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	full := &x509.Certificate{Subject: pkix.Name{CommonName: "www.example.com", Organization: []string{"Example"}}, DNSNames: []string{"www.example.com", "*.example.com"},
		IPAddresses: []net.IP{net.ParseIP("2001:db8::1")}, EmailAddresses: []string{"a@example.com"}}
	a := New(ca, Options{KeyType: KeyMimic, Now: at(0)})
	t.Run("names, subject and key", func(t *testing.T) {
		got, err := a.Leaf(Want{Names: []string{"www.example.com"}, Mimic: original(t, rsaKey, full)})
		if err != nil {
			t.Fatal(err)
		}
		verify(t, ca, got, "x.example.com", epoch)
		verify(t, ca, got, "2001:db8::1", epoch)
		if got.KeyType() != "RSA-2048" || got.Leaf.KeyUsage&x509.KeyUsageKeyEncipherment == 0 || !slices.Equal(got.Leaf.Subject.Organization, []string{"Example"}) || len(got.Leaf.EmailAddresses) > 0 {
			t.Errorf("key %s, usage %b, subject %s, mail %v", got.KeyType(), got.Leaf.KeyUsage, got.Leaf.Subject, got.Leaf.EmailAddresses)
		}
	})
	for _, tc := range []struct {
		name     string
		key      crypto.Signer
		cert     x509.Certificate
		want     Want
		keyType  string
		dns      []string
		cn       string
		from, to time.Time
	}{
		{name: "P-384", key: p384, cert: x509.Certificate{DNSNames: []string{"a.test"}}, keyType: "ECDSA-P384", dns: []string{"a.test"}, cn: "a.test"},
		{name: "only a common name", cert: x509.Certificate{Subject: pkix.Name{CommonName: "old.test"}}, dns: []string{"old.test"}, cn: "old.test"},
		{name: "no name at all", cert: x509.Certificate{Subject: pkix.Name{CommonName: "My Router"}}, want: Want{Names: []string{"router.test"}}, dns: []string{"router.test"}, cn: "router.test"},
		{name: "common name set", cert: x509.Certificate{DNSNames: []string{"a.test"}}, want: Want{CommonName: "b.test"}, dns: []string{"b.test"}, cn: "b.test"},
		{name: "ends before ours would", cert: x509.Certificate{DNSNames: []string{"a.test"}, NotBefore: epoch.AddDate(0, -1, 0), NotAfter: epoch.Add(time.Hour)}, dns: []string{"a.test"}, cn: "a.test", to: epoch.Add(time.Hour)},
		{name: "began just now", cert: x509.Certificate{DNSNames: []string{"a.test"}, NotBefore: epoch.Add(-time.Minute), NotAfter: epoch.AddDate(0, 1, 0)}, dns: []string{"a.test"}, cn: "a.test", from: epoch.Add(-time.Minute)},
		{name: "expired", cert: x509.Certificate{DNSNames: []string{"a.test"}, NotBefore: epoch.AddDate(0, -2, 0), NotAfter: epoch.AddDate(0, -1, 0)}, dns: []string{"a.test"}, cn: "a.test",
			from: epoch.AddDate(0, -2, 0), to: epoch.AddDate(0, -1, 0)},
		{name: "expired, but set", cert: x509.Certificate{DNSNames: []string{"a.test"}, NotBefore: epoch.AddDate(0, -2, 0), NotAfter: epoch.AddDate(0, -1, 0)}, want: Want{NotAfter: epoch.AddDate(5, 0, 0)},
			dns: []string{"a.test"}, cn: "a.test", to: epoch.Add(24 * time.Hour)},
		{name: "not yet valid", cert: x509.Certificate{DNSNames: []string{"a.test"}, NotBefore: epoch.AddDate(0, 1, 0), NotAfter: epoch.AddDate(0, 2, 0)}, dns: []string{"a.test"}, cn: "a.test",
			from: epoch.AddDate(0, 1, 0), to: epoch.AddDate(0, 1, 0).Add(24 * time.Hour)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.Mimic = original(t, tc.key, &tc.cert)
			got, err := a.Leaf(tc.want)
			if err != nil {
				t.Fatal(err)
			}
			if tc.keyType != "" && got.KeyType() != tc.keyType {
				t.Errorf("key %s, want %s", got.KeyType(), tc.keyType)
			}
			if !slices.Equal(got.Leaf.DNSNames, tc.dns) || got.Leaf.Subject.CommonName != tc.cn {
				t.Errorf("names %v, CN %q; want %v, %q", got.Leaf.DNSNames, got.Leaf.Subject.CommonName, tc.dns, tc.cn)
			}
			if !tc.from.IsZero() && !got.Leaf.NotBefore.Equal(tc.from) || !tc.to.IsZero() && !got.Leaf.NotAfter.Equal(tc.to) {
				t.Errorf("valid %v to %v, want %v to %v", got.Leaf.NotBefore, got.Leaf.NotAfter, tc.from, tc.to)
			}
		})
	}
}

func TestSigners(t *testing.T) {
	ca := testCA(t, nil, nil)
	a := New(ca, Options{Now: at(0)})
	w := Want{Names: []string{"a.test"}}
	seen := map[string]bool{}
	for _, s := range []Sign{Trusted, Untrusted, Self} {
		w.Sign = s
		got, err := a.Leaf(w)
		if err != nil {
			t.Fatal(err)
		}
		seen[secret.Issuer(got.Leaf)] = true
		_, err = got.Leaf.Verify(x509.VerifyOptions{DNSName: "a.test", Roots: secret.NewBundle(ca.Leaf).Pool(), CurrentTime: epoch})
		if (err == nil) != (s == Trusted) {
			t.Errorf("%s: verification says %v", s, err)
		}
		if self := got.Leaf.CheckSignature(got.Leaf.SignatureAlgorithm, got.Leaf.RawTBSCertificate, got.Leaf.Signature) == nil; self != (s == Self) {
			t.Errorf("%s: self-signed is %v", s, self)
		}
	}
	if len(seen) != 3 {
		t.Errorf("issuers %v", seen)
	}
}

func TestCAThatCannotSign(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*x509.Certificate)
		code   diag.Code
	}{
		{"no CA", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, 0 }, diag.MintCAUnusable},
		{"no keyCertSign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, diag.MintCAUnusable},
		{"for clients", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, diag.MintCAUnusable},
		{"expired", func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Minute) }, diag.MintCAExpired},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = epoch.Add(time.Minute) }, diag.MintCAExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := New(testCA(t, nil, tc.change), Options{Now: at(0)})
			if _, err := a.Leaf(Want{Names: []string{"a.test"}}); codeOf(err) != tc.code {
				t.Errorf("got %v (%v), want %v", codeOf(err), err, tc.code)
			}
			if f := a.Fault(); f == nil || f.Code != tc.code {
				t.Errorf("fault %v", f)
			}
			if _, err := a.Leaf(Want{Names: []string{"a.test"}, Sign: Untrusted}); err != nil {
				t.Errorf("the authority that nobody trusts does not sign: %v", err)
			}
		})
	}
	if _, err := New(nil, Options{}).Leaf(Want{Names: []string{"a.test"}}); codeOf(err) != diag.MintCAUnusable {
		t.Errorf("no CA: %v", err)
	}
}

func TestValidityOfCA(t *testing.T) {
	ca := testCA(t, nil, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = epoch.Add(-time.Minute), epoch.Add(time.Hour) })
	got, err := New(ca, Options{Now: at(0)}).Leaf(Want{Names: []string{"a.test"}})
	if err != nil || !got.Leaf.NotBefore.Equal(ca.Leaf.NotBefore) || !got.Leaf.NotAfter.Equal(ca.Leaf.NotAfter) {
		t.Errorf("leaf %v to %v, CA %v to %v (%v)", got.Leaf.NotBefore, got.Leaf.NotAfter, ca.Leaf.NotBefore, ca.Leaf.NotAfter, err)
	}
}

// TestWarnsOfTheCAsEnd: two weeks ahead, and of short-lived CAs not from their first day on.
func TestWarnsOfTheCAsEnd(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		life, left time.Duration
		want       bool
	}{{365 * day, 15 * day, false}, {365 * day, 13 * day, true}, {7 * day, 7 * day, false}, {7 * day, 2 * day, true}} {
		var log bytes.Buffer
		ca := testCA(t, nil, func(x *x509.Certificate) { x.NotBefore, x.NotAfter = epoch.Add(c.left-c.life), epoch.Add(c.left) })
		a := New(ca, Options{Now: at(0), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if _, err := a.Leaf(Want{Names: []string{"a.test"}}); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(log.Bytes(), []byte("code=HK2327")); got != c.want {
			t.Errorf("%v left of %v: told %v, want %v", c.left, c.life, got, c.want)
		}
	}
}

func TestNameConstraints(t *testing.T) {
	_, lan, _ := net.ParseCIDR("10.0.0.0/8")
	ca := testCA(t, nil, func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.ExcludedDNSDomains = []string{"example.com", ".sub.test"}, []string{"secret.example.com"}
		c.PermittedIPRanges = []*net.IPNet{lan}
		c.PermittedDNSDomainsCritical = true
	})
	a := New(ca, Options{Now: at(0)})
	for _, tc := range []struct {
		name string
		ok   bool
	}{
		{"example.com", true}, {"a.b.example.com", true}, {"A.Example.com", true}, {"*.example.com", false}, {"*.a.example.com", true},
		{"secret.example.com", false}, {"x.secret.example.com", false}, {"example.org", false}, {"notexample.com", false},
		{"sub.test", false}, {"x.sub.test", true}, {"10.1.2.3", true}, {"192.0.2.1", false},
	} {
		w := Want{Names: []string{tc.name}}
		if ip, err := netip.ParseAddr(tc.name); err == nil {
			w = Want{IPs: []netip.Addr{ip}}
		}
		got, err := a.Leaf(w)
		if (err == nil) != tc.ok || !tc.ok && codeOf(err) != diag.MintNameNotPermitted {
			t.Errorf("%s: %v, want ok=%v", tc.name, err, tc.ok)
		}
		if err == nil && tc.name[0] != '*' {
			verify(t, ca, got, tc.name, epoch)
		}
	}
	t.Run("mimicked names beyond are left out", func(t *testing.T) {
		o := original(t, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "example.net"}, DNSNames: []string{"example.net", "example.com"}, IPAddresses: []net.IP{{192, 0, 2, 1}}})
		got, err := a.Leaf(Want{Names: []string{"example.com"}, Mimic: o})
		if err != nil {
			t.Fatal(err)
		}
		verify(t, ca, got, "example.com", epoch)
		if got.Leaf.Subject.CommonName != "example.com" || len(got.Leaf.DNSNames)+len(got.Leaf.IPAddresses) != 1 {
			t.Errorf("CN %q, %v, %v", got.Leaf.Subject.CommonName, got.Leaf.DNSNames, got.Leaf.IPAddresses)
		}
		if _, err := a.Leaf(Want{Names: []string{"example.net"}, Mimic: o}); codeOf(err) != diag.MintNameNotPermitted {
			t.Errorf("a forbidden name: %v", err)
		}
	})
}

func TestIntermediateIsSent(t *testing.T) {
	rootKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	root := testCA(t, rootKey, nil)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	mid := sign(t, &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "Egress CA"}, NotBefore: epoch.AddDate(0, -1, 0), NotAfter: epoch.AddDate(0, 1, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true}, root.Leaf, key.Public(), rootKey)
	got, err := New(secret.NewKeyPair([]*x509.Certificate{mid, root.Leaf}, key), Options{Now: at(0)}).Leaf(Want{Names: []string{"a.test"}})
	if err != nil || len(got.Chain) != 2 || !bytes.Equal(got.Chain[1], mid.Raw) {
		t.Fatalf("chain of %d, %v", len(got.Chain), err)
	}
	inter := x509.NewCertPool()
	inter.AddCert(got.Issuers[0])
	if _, err := got.Leaf.Verify(x509.VerifyOptions{Roots: secret.NewBundle(root.Leaf).Pool(), Intermediates: inter, CurrentTime: epoch}); err != nil {
		t.Error(err)
	}
}

func TestOneSignatureForMany(t *testing.T) {
	a := New(testCA(t, nil, nil), Options{Now: at(0)})
	var wg sync.WaitGroup
	got := make([]*secret.KeyPair, 64)
	for i := range got {
		wg.Go(func() { got[i], _ = a.Leaf(Want{Names: []string{"same.test"}}) })
	}
	wg.Wait()
	for _, g := range got {
		if g == nil || g != got[0] {
			t.Fatal("those who asked at the same time got different leaves")
		}
	}
	if n := a.Stats().Minted; n != 1 {
		t.Errorf("%d signatures, want 1", n)
	}
}

func TestBoundOfMemory(t *testing.T) {
	const bound = 256 << 10
	a := New(testCA(t, nil, nil), Options{MemoryBytes: bound, Now: at(0)})
	for i := range 200 {
		if _, err := a.Leaf(Want{Names: []string{fmt.Sprintf("h%d.test", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if s := a.Stats(); s.Bytes > bound || s.Leaves == 0 || s.Leaves > 100 {
		t.Errorf("%d leaves of %d bytes, bound %d", s.Leaves, s.Bytes, bound)
	}
}

func TestRenewal(t *testing.T) {
	now := epoch
	a := New(testCA(t, nil, nil), Options{Now: func() time.Time { return now }, Validity: 4 * time.Hour})
	w := Want{Names: []string{"a.test"}}
	first, _ := a.Leaf(w)
	now = epoch.Add(3*time.Hour - time.Second)
	if same, _ := a.Leaf(w); same != first {
		t.Error("made again before it was time")
	}
	now = epoch.Add(3 * time.Hour)
	second, err := a.Leaf(w)
	if err != nil || second == first || !second.Leaf.NotAfter.Equal(now.Add(4*time.Hour)) {
		t.Errorf("not made again in time: %v", err)
	}
	now = epoch.Add(25 * time.Hour)
	third, _ := a.Leaf(w)
	if bytes.Equal(third.Leaf.SubjectKeyId, first.Leaf.SubjectKeyId) {
		t.Error("the key was not changed after its life")
	}
	if !bytes.Equal(second.Leaf.SubjectKeyId, first.Leaf.SubjectKeyId) {
		t.Error("two leaves of one day have different keys")
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	a := New(testCA(t, nil, nil), Options{Now: at(0)})
	for _, n := range []string{"", "a b.test", "a..test", "ümlaut.test", "*", "a.test/\x00", ".test"} {
		if _, err := a.Leaf(Want{Names: []string{n}}); codeOf(err) != diag.MintFailed {
			t.Errorf("%q: %v", n, err)
		}
	}
	if _, err := a.Leaf(Want{Names: []string{"a.test"}, KeyType: "dsa"}); codeOf(err) != diag.MintFailed {
		t.Errorf("key type dsa: %v", err)
	}
}

// FuzzMimic has whatever parses as a certificate mimicked: that is what a hostile destination controls.
func FuzzMimic(f *testing.F) {
	ca := testCA(f, nil, func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"secret.test"} })
	a := New(ca, Options{Now: at(0), MemoryBytes: 1 << 20})
	f.Add(original(f, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "a.test"}, DNSNames: []string{"a.test", "*.secret.test"}}).Raw)
	f.Add(original(f, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "ü"}, IPAddresses: []net.IP{{1, 2, 3, 4}}}).Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		got, err := a.Leaf(Want{Names: []string{"a.test"}, Mimic: c})
		if err != nil {
			if codeOf(err) == 0 {
				t.Errorf("an error without a code: %v", err)
			}
			return
		}
		if err := got.Leaf.CheckSignatureFrom(ca.Leaf); err != nil || got.Leaf.IsCA {
			t.Errorf("CA %v, signature %v", got.Leaf.IsCA, err)
		}
		for _, d := range got.Leaf.DNSNames {
			if a.limits.hostBy(d) != nil {
				t.Errorf("a name was signed that is excluded: %s", d)
			}
		}
	})
}

func BenchmarkCold(b *testing.B) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, key := range map[string]crypto.Signer{"ecdsa": nil, "rsa": rsaKey} {
		b.Run(name, func(b *testing.B) {
			a := New(testCA(b, key, nil), Options{Now: at(0)})
			for i := 0; b.Loop(); i++ {
				if _, err := a.Leaf(Want{Names: []string{fmt.Sprintf("h%d.test", i)}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWarm(b *testing.B) {
	a := New(testCA(b, nil, nil), Options{Now: at(0)})
	for name, w := range map[string]Want{"name": {Names: []string{"a.test"}}, "mimic": {Names: []string{"a.test"}, Mimic: original(b, nil, &x509.Certificate{DNSNames: []string{"a.test"}})}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := a.Leaf(w); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
