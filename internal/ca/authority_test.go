package ca_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

const day = 24 * time.Hour

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func create(t *testing.T, s ca.Store, setup ca.Setup, o ca.Options) *ca.Authority {
	t.Helper()
	if setup.Subject.CommonName == "" {
		setup.Subject = pkix.Name{CommonName: "Test Root", Organization: []string{"Example"}}
	}
	a, _, err := ca.Create(t.Context(), s, "default", setup, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func code(err error) diag.Code {
	var e *ca.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func slugs(found []ca.Finding) string {
	var out []string
	for _, f := range found {
		out = append(out, f.Code.Slug()+"/"+f.Severity.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func pool(t *testing.T, bundle []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(bundle) {
		t.Fatal("no certificate in the bundle")
	}
	return p
}

func verifies(i *ca.Issued, roots *x509.CertPool, at time.Time) error {
	between := x509.NewCertPool()
	for _, c := range i.Chain[1:] {
		between.AddCert(c)
	}
	_, err := i.Certificate.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

// Every kind of key, both stores, with and without an issuer: what comes out verifies, is found again by
// serial, fingerprint and file, and is there when the authority is opened again.
func TestIssueAndFindAgain(t *testing.T) {
	stores := map[string]func(dir string) ca.Store{
		"directory": func(dir string) ca.Store { return ca.Dir(dir) },
		"secrets":   func(dir string) ca.Store { return ca.Secrets(dir, "edge") },
	}
	kinds := []ca.KeyKind{ca.ECDSAP256, ca.ECDSAP384, ca.Ed25519, ca.RSA2048}
	for name, store := range stores {
		for i, kind := range kinds {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				s := store(filepath.Join(t.TempDir(), "ca"))
				a := create(t, s, ca.Setup{Key: kind, RootOnly: i%2 == 1, URL: "http://ca.test:8080"}, ca.Options{By: "test"})
				out, found, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Subject: pkix.Name{CommonName: "a.test"}, Names: []string{"A.test.", "*.b.test", "192.0.2.1", "2001:db8::1", "a.test"}})
				if err != nil {
					t.Fatal(err, found)
				}
				if _, _, err := secret.ParseKeyPair(out.ChainPEM(), out.Key.Expose()); err != nil {
					t.Error("chain and key do not fit:", err)
				}
				bundle, err := a.BundlePEM()
				if err != nil {
					t.Fatal(err)
				}
				if err := verifies(out, pool(t, bundle), time.Now()); err != nil {
					t.Error(err)
				}
				if got := strings.Join(out.Entry.Names, " "); got != "a.test *.b.test 192.0.2.1 2001:db8::1" {
					t.Errorf("names %q", got)
				}
				if c := out.Certificate; len(c.SerialNumber.Bytes()) > 16 || len(c.CRLDistributionPoints) != 1 || len(c.OCSPServer) != 1 || len(c.IssuingCertificateURL) != 1 || c.NotAfter.Sub(c.NotBefore) != 90*day {
					t.Errorf("serial %x, places %v %v %v, life %s", c.SerialNumber, c.CRLDistributionPoints, c.OCSPServer, c.IssuingCertificateURL, c.NotAfter.Sub(c.NotBefore))
				}

				again, err := ca.Open(t.Context(), s, "default", ca.Options{})
				if err != nil {
					t.Fatal(err)
				}
				colons := strings.ToUpper(out.Entry.Serial[:2] + ":" + out.Entry.Serial[2:])
				for _, ref := range []string{out.Entry.Serial, colons, out.Entry.Fingerprint, "SHA256:" + out.Entry.Fingerprint, string(out.CertificatePEM())} {
					back, err := again.Get(ref)
					if err != nil || !back.Certificate.Equal(out.Certificate) || back.Entry.By != "test" || len(back.Chain) != len(out.Chain) {
						t.Errorf("Get(%.20q): %v", ref, err)
					}
				}
				if _, err := again.VerifyJournal(); err != nil {
					t.Error(err)
				}
				info, err := again.Info()
				if err != nil || info.Counts.Issued != 1 || info.Counts.Valid != 1 || len(info.Findings) > 0 {
					t.Errorf("%+v, %v", info, err)
				}
			})
		}
	}
}

func TestProfilesAndRefusals(t *testing.T) {
	t.Parallel()
	a := create(t, ca.Dir(t.TempDir()), ca.Setup{IssuerValidity: 6000 * day, Constraints: ca.Constraints{ExcludedDNS: []string{"*.secret.test"}, PermittedIP: []string{"192.0.2.0/24"}}}, ca.Options{})
	hundred := make([]string, 101)
	for i := range hundred {
		hundred[i] = "h" + strings.Repeat("x", i%9) + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".test"
	}
	cn := func(s string) pkix.Name { return pkix.Name{CommonName: s} }
	for _, c := range []struct {
		name string
		req  ca.Request
		code diag.Code // of the error
		want string    // findings
	}{
		{"server", ca.Request{Profile: ca.Server, Names: []string{"a.test"}}, 0, ""},
		{"common name only", ca.Request{Profile: ca.Server, Subject: cn("a.test")}, diag.CertRefused, "certificate_unnamed/error"},
		{"client by common name", ca.Request{Profile: ca.Client, Subject: cn("alice")}, 0, ""},
		{"client by URI", ca.Request{Profile: ca.Client, Names: []string{"spiffe://test/alice"}}, 0, ""},
		{"client without any name", ca.Request{Profile: ca.Client}, diag.CertRefused, "certificate_unnamed/error"},
		{"client wildcard", ca.Request{Profile: ca.Client, Names: []string{"*.a.test"}}, diag.CertRefused, "certificate_name_wildcard/error"},
		{"origin of 15 years", ca.Request{Profile: ca.Origin, Names: []string{"a.test"}}, 0, ""},
		{"origin of 16 years", ca.Request{Profile: ca.Origin, Names: []string{"a.test"}, Validity: 5840 * day}, diag.CertRefused, "certificate_validity_too_long/error"},
		{"100 names", ca.Request{Profile: ca.Origin, Names: hundred[:100]}, 0, ""},
		{"101 names", ca.Request{Profile: ca.Origin, Names: hundred}, diag.CertRefused, "certificate_name_invalid/error"},
		{"node", ca.Request{Profile: ca.Node, Names: []string{"n1.test"}, Key: ca.Ed25519}, 0, ""},
		{"underscore", ca.Request{Profile: ca.Server, Names: []string{"mtls_lb.mtls-test.net"}}, 0, "certificate_name_underscore/warning"},
		{"star alone", ca.Request{Profile: ca.Server, Names: []string{"*"}}, diag.CertRefused, "certificate_name_wildcard/error"},
		{"star above the top", ca.Request{Profile: ca.Server, Names: []string{"*.test"}}, diag.CertRefused, "certificate_name_wildcard/error"},
		{"star inside", ca.Request{Profile: ca.Server, Names: []string{"a.*.test"}}, diag.CertRefused, "certificate_name_invalid/error certificate_unnamed/error"},
		{"excluded", ca.Request{Profile: ca.Server, Names: []string{"x.secret.test"}}, diag.CertRefused, "certificate_name_outside_constraints/error"},
		{"wildcard over excluded", ca.Request{Profile: ca.Server, Names: []string{"*.secret.test"}}, diag.CertRefused, "certificate_name_outside_constraints/error"},
		{"address outside", ca.Request{Profile: ca.Server, Names: []string{"198.51.100.1"}}, diag.CertRefused, "certificate_name_outside_constraints/error"},
		{"longer than the profile", ca.Request{Profile: ca.Server, Names: []string{"a.test"}, Validity: 900 * day}, diag.CertRefused, "cert_long_lived/info certificate_validity_too_long/error"},
		{"long", ca.Request{Profile: ca.Server, Names: []string{"a.test"}, Validity: 825 * day}, 0, ""},
		{"too short", ca.Request{Profile: ca.Server, Names: []string{"a.test"}, Validity: time.Second}, diag.IssueInvalid, ""},
		{"unknown profile", ca.Request{Profile: "root", Names: []string{"a.test"}}, diag.IssueInvalid, ""},
		{"intermediate", ca.Request{Profile: ca.Intermediate, Subject: cn("Team CA"), Constraints: ca.Constraints{PermittedDNS: []string{"team.test"}}}, 0, ""},
		{"constraints of a leaf", ca.Request{Profile: ca.Server, Names: []string{"a.test"}, Constraints: ca.Constraints{PermittedDNS: []string{"team.test"}}}, diag.IssueInvalid, ""},
		{"long common name", ca.Request{Profile: ca.Client, Subject: cn(strings.Repeat("x", 65))}, diag.NameInvalid, ""},
		{"control characters", ca.Request{Profile: ca.Client, Subject: cn("a\nb")}, diag.NameInvalid, ""},
	} {
		out, found, err := a.Issue(t.Context(), c.req)
		if code(err) != c.code || slugs(found) != c.want {
			t.Errorf("%s: %v, findings %q, want %s, %q", c.name, err, slugs(found), c.code, c.want)
		}
		if (err == nil) != (out != nil) {
			t.Errorf("%s: %v and %v", c.name, out, err)
		}
	}
	// What was refused is not in the journal.
	all, err := a.List(ca.Filter{})
	if err != nil || slices.ContainsFunc(all, func(e ca.Entry) bool { return strings.Contains(strings.Join(e.Names, " "), "secret") }) {
		t.Errorf("%d entries, %v", len(all), err)
	}
}

func TestValidityOfTheIssuer(t *testing.T) {
	now := newClock()
	a := create(t, ca.Dir(t.TempDir()), ca.Setup{RootValidity: 100 * day}, ca.Options{Now: now.now})
	out, found, err := a.Issue(t.Context(), ca.Request{Profile: ca.Origin, Names: []string{"a.test"}})
	if err != nil || slugs(found) != "certificate_validity_shortened/warning" || out.Certificate.NotAfter.After(now.t.Add(100*day)) {
		t.Errorf("%v %q", err, slugs(found))
	}
	if _, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}, Validity: 200 * day}); code(err) != diag.CertRefused {
		t.Error(err)
	}
	now.t = now.t.Add(101 * day)
	if _, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}}); code(err) != diag.IssuerExpired {
		t.Error(err)
	}
}

func TestCreateIsCareful(t *testing.T) {
	dir := t.TempDir()
	s := ca.Dir(dir)
	for want, setup := range map[string]ca.Setup{
		"common name":     {},
		"PathLength":      {Subject: pkix.Name{CommonName: "x"}, PathLength: 9},
		"URL":             {Subject: pkix.Name{CommonName: "x"}, URL: "ftp://x"},
		"issuer > root":   {Subject: pkix.Name{CommonName: "x"}, RootValidity: day, IssuerValidity: 2 * day},
		"constraint":      {Subject: pkix.Name{CommonName: "x"}, Constraints: ca.Constraints{PermittedIP: []string{"300.0.0.0/8"}}},
		"list's lifetime": {Subject: pkix.Name{CommonName: "x"}, CRLLifetime: time.Second},
	} {
		if _, _, err := ca.Create(t.Context(), s, "default", setup, ca.Options{}); code(err) != diag.AuthoritySetup {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := ca.Open(t.Context(), s, "default", ca.Options{}); code(err) != diag.AuthorityNotFound {
		t.Error(err)
	}
	for _, bad := range []string{"", "..", "a/b", "A", strings.Repeat("x", 41)} {
		if _, _, err := ca.Create(t.Context(), s, bad, ca.Setup{Subject: pkix.Name{CommonName: "x"}}, ca.Options{}); code(err) != diag.AuthoritySetup {
			t.Errorf("name %q: %v", bad, err)
		}
	}
	create(t, s, ca.Setup{}, ca.Options{})
	if _, _, err := ca.Create(t.Context(), s, "default", ca.Setup{Subject: pkix.Name{CommonName: "x"}}, ca.Options{}); code(err) != diag.AuthorityExists {
		t.Error(err)
	}
	// Nor is one replaced whose configuration was lost.
	if err := os.Remove(filepath.Join(dir, "default", "authority.json")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ca.Create(t.Context(), s, "default", ca.Setup{Subject: pkix.Name{CommonName: "x"}}, ca.Options{}); code(err) != diag.AuthorityExists {
		t.Error(err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		st, statErr := os.Stat(path)
		if err != nil || statErr != nil {
			return errors.Join(err, statErr)
		}
		if bad := st.Mode().Perm() & 0o077; bad != 0 && path != dir {
			t.Errorf("%s has mode %o", path, st.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestExposedKeysAreTold(t *testing.T) {
	dir := t.TempDir()
	a := create(t, ca.Dir(dir), ca.Setup{}, ca.Options{})
	if err := os.Chmod(filepath.Join(dir, "default", "root-1.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	info, err := a.Info()
	if err != nil || slugs(info.Findings) != "authority_key_exposed/warning" {
		t.Errorf("%v %q", err, slugs(info.Findings))
	}
}

func TestPassphrase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pass := secret.NewBytes([]byte("correct horse"))
	create(t, ca.Dir(dir), ca.Setup{RootOnly: true}, ca.Options{Passphrase: pass})
	file := filepath.Join(dir, "default", "root-1.key")
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), "BEGIN ENCRYPTED PRIVATE KEY") {
		t.Fatalf("%s, %v", b, err)
	}
	openssl(t, dir, "pkey", "-in", file, "-passin", "pass:correct horse", "-noout")
	issue := func(p secret.Bytes) error {
		a, err := ca.Open(t.Context(), ca.Dir(dir), "default", ca.Options{Passphrase: p})
		if err != nil {
			t.Fatal(err) // reading needs no key
		}
		_, _, err = a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}})
		return err
	}
	if err := issue(pass); err != nil {
		t.Error(err)
	}
	for _, p := range []secret.Bytes{{}, secret.NewBytes([]byte("wrong"))} {
		if err := issue(p); code(err) != diag.AuthorityKey {
			t.Error(err)
		}
	}
	// What openssl encrypts is read too.
	openssl(t, dir, "pkcs8", "-topk8", "-in", file, "-passin", "pass:correct horse", "-out", "other.key", "-passout", "pass:new", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256", "-iter", "20000")
	if err := os.Rename(filepath.Join(dir, "other.key"), file); err != nil {
		t.Fatal(err)
	}
	if err := issue(secret.NewBytes([]byte("new"))); err != nil {
		t.Error(err)
	}
}

func TestSign(t *testing.T) {
	t.Parallel()
	a := create(t, ca.Dir(t.TempDir()), ca.Setup{}, ca.Options{})
	dir := t.TempDir()
	csr := func(args ...string) []byte {
		openssl(t, dir, append([]string{"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k.pem", "-out", "r.pem"}, args...)...)
		b, err := os.ReadFile(filepath.Join(dir, "r.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	plain := csr("-subj", "/C=JP/O=Example/CN=a.test", "-addext", "subjectAltName=DNS:a.test,IP:192.0.2.7")
	out, found, err := a.Sign(t.Context(), plain, ca.Request{Profile: ca.Server})
	if err != nil || len(found) > 0 || out.Key.Len() > 0 || strings.Join(out.Entry.Names, " ") != "a.test 192.0.2.7" || out.Entry.Subject != "CN=a.test,O=Example,C=JP" {
		t.Errorf("%+v %v %v", out, found, err)
	}
	block, _ := pem.Decode(plain)
	if _, _, err := a.Sign(t.Context(), block.Bytes, ca.Request{Profile: ca.Server}); err != nil {
		t.Error("DER:", err)
	}

	out, found, err = a.Sign(t.Context(), plain, ca.Request{Profile: ca.Server, Names: []string{"b.test"}, Subject: pkix.Name{CommonName: "b.test"}})
	if err != nil || slugs(found) != "csr_changed/info csr_changed/info" || strings.Join(out.Entry.Names, " ") != "b.test" || out.Entry.Subject != "CN=b.test" {
		t.Errorf("overridden: %+v %v %v", out, found, err)
	}
	greedy := csr("-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test,dirName:d", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "extendedKeyUsage=clientAuth,codeSigning,serverAuth", "-addext", "1.2.3.4=ASN1:NULL", "-config", dirNameConfig(t))
	out, found, err = a.Sign(t.Context(), greedy, ca.Request{Profile: ca.Server})
	if err != nil || out.Certificate.IsCA || slugs(found) != "csr_changed/info csr_changed/info csr_changed/info csr_changed/warning" {
		t.Errorf("greedy: %v %v", found, err)
	}

	broken := slices.Clone(block.Bytes)
	broken[len(broken)-1] ^= 1
	openssl(t, dir, "req", "-new", "-newkey", "rsa:1024", "-nodes", "-keyout", "k.pem", "-out", "weak.pem", "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test")
	weak, err := os.ReadFile(filepath.Join(dir, "weak.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		csr  []byte
		want diag.Code
	}{
		"possession not proved": {broken, diag.CSRInvalid}, "weak key": {weak, diag.CertRefused}, "certificate": {out.CertificatePEM(), diag.CSRInvalid},
		"empty": {nil, diag.CSRInvalid}, "text": {[]byte("hello"), diag.CSRInvalid}, "large": {make([]byte, 1<<20), diag.CSRInvalid},
	} {
		if _, _, err := a.Sign(t.Context(), c.csr, ca.Request{Profile: ca.Server}); code(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func dirNameConfig(t *testing.T) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(f, []byte("[req]\ndistinguished_name=d\n[d]\nCN=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRenew(t *testing.T) {
	t.Parallel()
	now := newClock()
	a := create(t, ca.Dir(t.TempDir()), ca.Setup{}, ca.Options{Now: now.now})
	first, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Node, Subject: pkix.Name{CommonName: "n"}, Names: []string{"n.test", "192.0.2.1"}, Validity: 30 * day, Key: ca.RSA2048})
	if err != nil {
		t.Fatal(err)
	}
	now.t = now.t.Add(25 * day)
	again, _, err := a.Renew(t.Context(), first.Entry.Serial, ca.Renewal{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(again.Entry.Names, " ") != "n.test 192.0.2.1" || again.Entry.Profile != ca.Node || again.Certificate.NotAfter.Sub(again.Certificate.NotBefore) != 30*day ||
		again.Key.Len() == 0 || secret.KeyType(again.Certificate.PublicKey) != "RSA-2048" || again.Entry.Serial == first.Entry.Serial {
		t.Errorf("%+v", again.Entry)
	}
	same, _, err := a.Renew(t.Context(), first.Entry.Serial, ca.Renewal{SameKey: true, Validity: 10 * day})
	if err != nil || same.Key.Len() != 0 || string(same.Certificate.RawSubjectPublicKeyInfo) != string(first.Certificate.RawSubjectPublicKeyInfo) {
		t.Error("same key:", err)
	}
	if _, err := a.Revoke(t.Context(), "keyCompromise", first.Entry.Serial); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Renew(t.Context(), first.Entry.Serial, ca.Renewal{}); code(err) != diag.CertAlreadyRevoked {
		t.Error(err)
	}
	// The compromised key comes back under another certificate.
	if _, found, err := a.Renew(t.Context(), same.Entry.Serial, ca.Renewal{SameKey: true}); code(err) != diag.CertRefused || slugs(found) != "certificate_key_refused/error" {
		t.Error(err)
	}
	if _, _, err := a.Renew(t.Context(), "issuer-1", ca.Renewal{}); code(err) != diag.IssueInvalid {
		t.Error(err)
	}
}

func TestTwoOpenAuthoritiesSeeEachOther(t *testing.T) {
	for name, s := range map[string]ca.Store{"directory": ca.Dir(t.TempDir()), "secrets": ca.Secrets(t.TempDir(), "x")} {
		a := create(t, s, ca.Setup{Key: ca.Ed25519}, ca.Options{})
		b, err := ca.Open(t.Context(), s, "default", ca.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			from, to := a, b
			if i%2 == 1 {
				from, to = b, a
			}
			out, _, err := from.Issue(t.Context(), ca.Request{Profile: ca.Client, Names: []string{"x.test"}, Key: ca.Ed25519})
			if err != nil {
				t.Fatal(name, err)
			}
			if _, err := to.Find(out.Entry.Serial); err != nil {
				t.Error(name, err)
			}
		}
	}
}

func TestLockIsBounded(t *testing.T) {
	s := ca.Dir(t.TempDir())
	a := create(t, s, ca.Setup{}, ca.Options{LockWait: 30 * time.Millisecond})
	release, err := s.Lock(context.Background(), "default")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Client, Names: []string{"x.test"}})
		done <- err
	}()
	// Meanwhile reading goes on.
	if _, err := a.Find("issuer-1"); err != nil {
		t.Error(err)
	}
	if err := <-done; code(err) != diag.AuthorityLocked {
		t.Error(err)
	}
	release()
	if _, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Client, Names: []string{"x.test"}}); err != nil {
		t.Error(err)
	}
}

func must2(subject string) pkix.Name {
	n, err := ca.ParseSubject(subject)
	if err != nil {
		panic(err)
	}
	return n
}

func TestParseSubject(t *testing.T) {
	for in, want := range map[string]string{
		"CN=a,O=b": "CN=a,O=b", "/C=JP/O=x, y/CN=a": "CN=a,O=x\\, y,C=JP", `CN=a\,b`: `CN=a\,b`, "": "", "cn = a , ou=x,OU=y": "CN=a,OU=x+OU=y",
	} {
		if n, err := ca.ParseSubject(in); err != nil || n.String() != want {
			t.Errorf("%q: %s, %v", in, n, err)
		}
	}
	for _, in := range []string{"a", "CN=", "X=1", "CN=a,,=b"} {
		if n, err := ca.ParseSubject(in); code(err) != diag.IssueInvalid {
			t.Errorf("%q: %s, %v", in, n, err)
		}
	}
}

// The root's key may be kept elsewhere: leaves, their list and revocation do not need it.
func TestRootKeyKeptElsewhere(t *testing.T) {
	dir, now := t.TempDir(), newClock()
	create(t, ca.Dir(dir), ca.Setup{}, ca.Options{Now: now.now})
	if err := os.Remove(filepath.Join(dir, "default", "root-1.key")); err != nil {
		t.Fatal(err)
	}
	a, err := ca.Open(t.Context(), ca.Dir(dir), "default", ca.Options{Now: now.now})
	if err != nil {
		t.Fatal(err)
	}
	now.t = now.t.Add(5 * day)
	out, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Revoke(t.Context(), "", out.Entry.Serial); err != nil {
		t.Error(err)
	}
	if l, err := a.CRL(t.Context(), ""); err != nil || l.Entries != 1 {
		t.Errorf("%+v %v", l, err)
	}
	if _, err := a.CRL(t.Context(), "root-1"); code(err) != diag.AuthorityKey {
		t.Error(err)
	}
	if l, err := a.LastCRL("root-1"); err != nil || l == nil || l.Number != 1 {
		t.Errorf("%+v %v", l, err)
	}
	if _, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Intermediate, Subject: pkix.Name{CommonName: "x"}}); code(err) != diag.AuthorityKey {
		t.Error(err)
	}
	if _, _, err := a.Rotate(t.Context(), ca.Prepare, ca.RotateOptions{}); code(err) != diag.AuthorityKey {
		t.Error(err)
	}
	// Nothing is half done by what could not be done.
	if info, err := a.Info(); err != nil || info.Rotation.Stage != "steady" || info.Counts.Issued != 1 || len(info.CAs) != 2 {
		t.Errorf("%+v %v", info.Rotation, err)
	}
}
