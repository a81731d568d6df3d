package certlint_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/certlint"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

func pair(t *testing.T, p *testca.Pair, chain ...*testca.Pair) *secret.KeyPair {
	t.Helper()
	pem := p.CertPEM()
	for _, c := range chain {
		pem = append(pem, c.CertPEM()...)
	}
	k, _, err := secret.ParseKeyPair(pem, p.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func hosts(t *testing.T, names ...string) []hostname.Pattern {
	t.Helper()
	var out []hostname.Pattern
	for _, n := range names {
		p, err := hostname.Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func bundle(ps ...*testca.Pair) *secret.Bundle {
	var certs []*x509.Certificate
	for _, p := range ps {
		certs = append(certs, p.Cert)
	}
	return secret.NewBundle(certs...)
}

func codes(found []secret.Finding) string {
	var out []string
	for _, f := range found {
		s := f.Code.Slug()
		if f.Severity != f.Code.Severity() {
			s += "/" + f.Severity.String()
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestLeaf(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	root := testca.New(t, testca.Spec{CommonName: "Root"})
	rsaRoot := testca.New(t, testca.Spec{CommonName: "RSA root", Key: testca.RSA2048})
	inter := root.Intermediate(testca.Spec{CommonName: "Inter"})
	oldInter := root.Intermediate(testca.Spec{CommonName: "Old inter", NotBefore: now.Add(-9 * day), NotAfter: now.Add(-3 * day)})
	good := testca.Spec{CommonName: "a", DNS: []string{"a.test"}, NotBefore: now.Add(-10 * day), NotAfter: now.Add(80 * day)}
	leaf := func(edit func(*testca.Spec)) *testca.Pair {
		s := good
		edit(&s)
		return root.Issue(s)
	}
	life := func(before, after time.Duration) *testca.Pair {
		return leaf(func(s *testca.Spec) { s.NotBefore, s.NotAfter = now.Add(-before), now.Add(after) })
	}
	plain := leaf(func(*testca.Spec) {})
	rsa := leaf(func(s *testca.Spec) { s.Key = testca.RSA2048 })
	tests := []struct {
		name  string
		in    certlint.Input
		want  string
		words string
	}{
		{"good", certlint.Input{Pair: pair(t, plain), Hosts: hosts(t, "a.test")}, "", ""},
		{"expired", certlint.Input{Pair: pair(t, life(9*day, -3*day))}, "cert_expired", "3 days ago"},
		{"not yet", certlint.Input{Pair: pair(t, life(-time.Hour, 9*day))}, "cert_not_yet_valid", "59 minutes from now"},
		{"a third left", certlint.Input{Pair: pair(t, life(61*day, 29*day))}, "cert_expires_soon", "less than a third"},
		{"more than a third left", certlint.Input{Pair: pair(t, life(59*day, 31*day))}, "", ""},
		{"a tenth left", certlint.Input{Pair: pair(t, life(82*day, 8*day))}, "cert_expires_soon", "whatever renews it has failed"},
		{"short-lived", certlint.Input{Pair: pair(t, life(time.Hour, 11*time.Hour))}, "", ""},
		{"long-lived", certlint.Input{Pair: pair(t, life(day, 3650*day))}, "cert_long_lived", "3651 days"},
		{"825 days", certlint.Input{Pair: pair(t, life(day, 824*day))}, "", ""},
		{"no SAN", certlint.Input{Pair: pair(t, leaf(func(s *testca.Spec) { s.DNS = nil })), Hosts: hosts(t, "a")}, "cert_no_san", `only the common name "a"`},
		{"no name at all", certlint.Input{Pair: pair(t, leaf(func(s *testca.Spec) { s.DNS, s.CommonName = nil, "" }))}, "cert_no_san", "no common name either"},
		{"RSA", certlint.Input{Pair: pair(t, rsa)}, "cert_rsa", "RSA-2048"},
		{"RSA beside ECDSA", certlint.Input{Pair: pair(t, rsa), Beside: []*secret.KeyPair{pair(t, plain)}}, "", ""},
		{"weak RSA", certlint.Input{Pair: pair(t, leaf(func(s *testca.Spec) { s.Key = testca.RSA1024 }))}, "cert_rsa cert_weak_key", "RSA-1024"},
		{"P-224", certlint.Input{Pair: pair(t, leaf(func(s *testca.Spec) { s.Key = testca.P224 }))}, "cert_weak_key", "ECDSA-P224"},
		{"SHA-1", certlint.Input{Pair: pair(t, leaf(func(s *testca.Spec) { s.SHA1 = true }))}, "cert_weak_signature", "ECDSA-SHA1"},
		{"SHA-1 by a known CA", certlint.Input{Pair: pair(t, rsaRoot.Issue(testca.Spec{DNS: []string{"a.test"}, SHA1: true})), Known: certlint.NewKnown([]*secret.Bundle{bundle(rsaRoot)}, nil)}, "cert_weak_signature", "SHA1-RSA"},
		{"client only", certlint.Input{Pair: pair(t, leaf(func(s *testca.Spec) { s.EKU = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))}, "cert_eku", "lacks serverAuth"},
		{"client only, as client", certlint.Input{Client: true, Pair: pair(t, leaf(func(s *testca.Spec) { s.EKU = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))}, "", ""},
		{"no name, as client", certlint.Input{Client: true, Pair: pair(t, leaf(func(s *testca.Spec) { s.DNS = nil }))}, "", ""},
		{"server only, as client", certlint.Input{Client: true, Pair: pair(t, leaf(func(s *testca.Spec) { s.EKU = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))}, "cert_eku", "lacks clientAuth"},
		{"a CA", certlint.Input{Pair: pair(t, testca.New(t, testca.Spec{DNS: []string{"a.test"}}))}, "cert_is_ca", "CA certificate"},
		{"expired intermediate", certlint.Input{Pair: pair(t, oldInter.Issue(good), oldInter)}, "cert_expired", `the intermediate "CN=Old inter"`},
		{"whole chain", certlint.Input{Pair: pair(t, inter.Issue(good), inter)}, "", ""},
		{"whole chain with root", certlint.Input{Pair: pair(t, inter.Issue(good), inter, root)}, "", ""},
		{"version 1", certlint.Input{Pair: pair(t, root.Version1("a.test")), Hosts: hosts(t, "b.test")}, "cert_no_san cert_version_1", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { check(t, certlint.Leaf(tc.in, now), tc.want, tc.words) })
	}
}

func check(t *testing.T, found []secret.Finding, want, words string) {
	t.Helper()
	if got := codes(found); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var text []string
	for _, f := range found {
		text = append(text, f.Message)
		if f.Message == "" || f.Fix == "" || strings.HasSuffix(f.Message, ".") {
			t.Errorf("%+v", f)
		}
	}
	if !strings.Contains(strings.Join(text, "\n"), words) {
		t.Errorf("%q is not in %q", words, text)
	}
}

func TestHosts(t *testing.T) {
	root := testca.New(t, testca.Spec{})
	named := pair(t, root.Issue(testca.Spec{DNS: []string{"a.test", "*.w.test", "x.y.z.test"}, IPs: []string{"10.0.0.1", "::1"}}))
	tests := []struct {
		hosts []string
		words string // "" when nothing is to be told
	}{
		{[]string{"a.test", "b.w.test", "*.w.test", "*", "10.0.0.1", "A.TEST"}, ""},
		{[]string{"*.z.test"}, ""}, // a name below it
		{[]string{"::1"}, ""},
		{[]string{"b.test"}, "does not name b.test; it names a.test, *.w.test, x.y.z.test, 10.0.0.1, ::1"},
		{[]string{"b.c.w.test", "b.c.w.test", "w.test", "a.test"}, "does not name b.c.w.test, w.test;"},
		{[]string{"*.other.test"}, "does not name *.other.test"},
		{[]string{"10.0.0.2"}, "10.0.0.2"},
		{nil, ""},
	}
	for _, tc := range tests {
		found := certlint.Leaf(certlint.Input{Pair: named, Hosts: hosts(t, tc.hosts...)}, time.Now())
		want := "cert_host_mismatch"
		if tc.words == "" {
			want = ""
		}
		check(t, found, want, tc.words)
	}
}

func TestChainIsSuspectedOnEvidenceOnly(t *testing.T) {
	root := testca.New(t, testca.Spec{CommonName: "Root"})
	inter := root.Intermediate(testca.Spec{CommonName: "Inter"})
	spec := testca.Spec{DNS: []string{"a.test"}}
	direct, deep := root.Issue(spec), inter.Issue(spec)
	sct := spec
	sct.Extra = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: []byte{4, 0}}}
	known := func(ps ...*testca.Pair) *certlint.Known {
		return certlint.NewKnown([]*secret.Bundle{bundle(ps...)}, nil)
	}
	twin := testca.New(t, testca.Spec{CommonName: "Inter"})
	tests := []struct {
		name string
		in   certlint.Input
		want string
	}{
		{"private root left out", certlint.Input{Pair: pair(t, direct)}, ""},
		{"private root known", certlint.Input{Pair: pair(t, direct), Known: known(root)}, ""},
		{"nothing known of the issuer", certlint.Input{Pair: pair(t, deep)}, ""},
		{"intermediate known, not served", certlint.Input{Pair: pair(t, deep), Known: known(root, inter)}, "chain_incomplete"},
		{"intermediate served elsewhere", certlint.Input{Pair: pair(t, deep), Known: certlint.NewKnown(nil, []*secret.KeyPair{pair(t, inter.Issue(spec), inter)})}, "chain_incomplete"},
		{"intermediate served", certlint.Input{Pair: pair(t, deep, inter), Known: known(root, inter)}, ""},
		{"a CA of that name", certlint.Input{Pair: pair(t, deep), Known: known(twin)}, ""},
		{"public", certlint.Input{Pair: pair(t, inter.Issue(sct))}, "chain_incomplete"},
		{"public, with intermediate", certlint.Input{Pair: pair(t, inter.Issue(sct), inter)}, ""},
		{"issued by a system root", certlint.Input{Pair: pair(t, root.Issue(sct)), System: root.Pool()}, ""},
		{"not issued by a system root", certlint.Input{Pair: pair(t, inter.Issue(sct)), System: root.Pool()}, "chain_incomplete"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { check(t, certlint.Leaf(tc.in, time.Now()), tc.want, "") })
	}
}

// What openssl writes into the authority key identifier with issuer:always tells an intermediate.
func TestChainEvidenceOfOpenSSL(t *testing.T) {
	dir := t.TempDir()
	root := testca.New(t, testca.Spec{CommonName: "Root"})
	root.Write(dir, "root")
	inter := root.Intermediate(testca.Spec{CommonName: "Inter"})
	inter.Write(dir, "inter")
	for name, tc := range map[string]struct{ ca, ext, want string }{
		"below an intermediate": {"inter", "authorityKeyIdentifier=keyid,issuer:always", "chain_incomplete"},
		"below a root":          {"root", "authorityKeyIdentifier=keyid,issuer:always", ""},
		"key identifier only":   {"inter", "authorityKeyIdentifier=keyid", ""},
		"where to fetch":        {"inter", "authorityInfoAccess=caIssuers;URI:http://ca.test/ca.der", "chain_incomplete/info"},
	} {
		t.Run(name, func(t *testing.T) {
			ext := "subjectAltName=DNS:a.test\n" + tc.ext + "\n"
			if err := os.WriteFile(filepath.Join(dir, "ext"), []byte(ext), 0o600); err != nil {
				t.Fatal(err)
			}
			testca.OpenSSL(t, dir, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k", "-subj", "/CN=a", "-out", "r")
			cert := testca.OpenSSL(t, dir, "x509", "-req", "-days", "90", "-CA", tc.ca+".crt", "-CAkey", tc.ca+".key", "-in", "r", "-extfile", "ext")
			key, err := os.ReadFile(filepath.Join(dir, "k"))
			if err != nil {
				t.Fatal(err)
			}
			k, _, err := secret.ParseKeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			check(t, certlint.Leaf(certlint.Input{Pair: k}, time.Now()), tc.want, "")
		})
	}
}

func TestSeedCertificatesMakeNoNoise(t *testing.T) {
	seed := testca.SeedCerts(t, t.TempDir())
	k, _, err := secret.ParseKeyPair(seed.Read(testca.Set1, "httpbin.example.com.crt"), seed.Read(testca.Set1, "httpbin.example.com.key"))
	if err != nil {
		t.Fatal(err)
	}
	want := "cert_no_san cert_rsa cert_version_1"
	ca := bundle(seed.Pair(testca.Set1, "example.com"))
	for name, in := range map[string]certlint.Input{
		"alone":       {Pair: k, Hosts: hosts(t, "httpbin.example.com")},
		"with its CA": {Pair: k, Hosts: hosts(t, "httpbin.example.com"), Known: certlint.NewKnown([]*secret.Bundle{ca}, nil)},
	} {
		t.Run(name, func(t *testing.T) { check(t, certlint.Leaf(in, time.Now()), want, "httpbin.example.com") })
	}
	check(t, certlint.Bundle(ca, time.Now()), "", "")
}

func TestBundle(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	good := testca.New(t, testca.Spec{CommonName: "Good"})
	old := testca.New(t, testca.Spec{CommonName: "Old", NotBefore: now.Add(-9 * day), NotAfter: now.Add(-3 * day)})
	soon := testca.New(t, testca.Spec{CommonName: "Soon", NotBefore: now.Add(-95 * day), NotAfter: now.Add(5 * day)})
	future := testca.New(t, testca.Spec{CommonName: "Future", NotBefore: now.Add(day)})
	tests := []struct {
		name string
		b    *secret.Bundle
		want string
	}{
		{"good", bundle(good), ""},
		{"none", nil, ""},
		{"expired", bundle(old), "ca_expired"},
		{"expired beside a good one", bundle(old, good), "ca_expired/warning"},
		{"soon", bundle(soon), "cert_expires_soon"},
		{"future", bundle(future), "cert_not_yet_valid/warning"},
		{"a leaf", bundle(good.Issue(testca.Spec{})), "ca_not_ca"},
		{"a version 1 leaf", bundle(good.Version1("x")), "ca_not_ca"},
		{"a version 1 root", bundle(testca.SelfSignedVersion1(t, "x")), ""},
		{"may not sign", bundle(testca.New(t, testca.Spec{KeyUsage: x509.KeyUsageDigitalSignature})), "ca_not_ca"},
		{"weak", bundle(testca.New(t, testca.Spec{Key: testca.RSA1024})), "cert_weak_key"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) { check(t, certlint.Bundle(tc.b, now), tc.want, "") })
	}
}

func TestCRLs(t *testing.T) {
	now := time.Now()
	a, b := testca.New(t, testca.Spec{CommonName: "A"}), testca.New(t, testca.Spec{CommonName: "B"})
	list := func(ca *testca.Pair, s testca.CRLSpec) *secret.CRL {
		crls, err := secret.ParseCRLs(ca.CRL(s))
		if err != nil {
			t.Fatal(err)
		}
		return crls[0]
	}
	stale := testca.CRLSpec{ThisUpdate: now.Add(-9 * time.Hour), NextUpdate: now.Add(-time.Hour)}
	for name, tc := range map[string]struct {
		lists []*secret.CRL
		want  string
	}{
		"none":   {nil, ""},
		"both":   {[]*secret.CRL{list(a, testca.CRLSpec{}), list(b, testca.CRLSpec{})}, ""},
		"stale":  {[]*secret.CRL{list(a, stale), list(b, testca.CRLSpec{})}, "crl_invalid"},
		"future": {[]*secret.CRL{list(a, testca.CRLSpec{ThisUpdate: now.Add(time.Hour)}), list(b, testca.CRLSpec{})}, "crl_invalid"},
		"one":    {[]*secret.CRL{list(a, testca.CRLSpec{})}, "crl_invalid/warning"},
	} {
		t.Run(name, func(t *testing.T) { check(t, certlint.CRLs(tc.lists, bundle(a, b), now), tc.want, "") })
	}
}
