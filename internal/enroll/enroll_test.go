package enroll_test

import (
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

type pkixName = pkix.Name

func asError(err error, e **enroll.Error) bool { return errors.As(err, e) }

func TestParseUpload(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf, other := ca.Version1("localhost"), ca.Issue(testca.Spec{})
	cert, key := string(leaf.CertPEM()), string(leaf.KeyPEM())
	body := func(cert, key string) string {
		b, _ := json.Marshal(map[string]string{"certificate": cert, "private_key": key})
		return string(b)
	}
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	// The document's perl and sed leave no line end at the end, and its here-document puts one back.
	seed := `{ "certificate": "` + strings.ReplaceAll(strings.TrimSpace(cert), "\n", `\n`) + `\n","private_key": "` + strings.ReplaceAll(strings.TrimSpace(key), "\n", `\n`) + `\n"}` + "\n"
	for _, tc := range []struct {
		name, in string
		code     diag.Code
		words    string
	}{
		{"seed", seed, 0, ""},
		{"without last line end", body(strings.TrimSpace(cert), strings.TrimSpace(key)), 0, ""},
		{"CRLF", body(crlf(cert), crlf(key)), 0, ""},
		{"CRLF around", crlf(seed), 0, ""},
		{"byte order mark", "\xef\xbb\xbf" + seed, 0, ""},
		{"escaped twice", body(strings.ReplaceAll(cert, "\n", `\n`), strings.ReplaceAll(key, "\n", `\r\n`)), 0, ""},
		{"with chain", body(cert+string(ca.CertPEM()), key), 0, ""},
		{"empty", "", diag.PullBodyInvalid, "it is empty"},
		{"no object", `[]`, diag.PullBodyInvalid, "it is a array"},
		{"cut off", seed[:200], diag.PullBodyInvalid, "breaks off"},
		{"raw line ends", `{"certificate": "` + cert + `"}`, diag.PullBodyInvalid, `must be written \n`},
		{"two objects", seed + seed, diag.PullBodyInvalid, "follows after"},
		{"no key", `{"certificate": "x"}`, diag.PullBodyInvalid, "no private_key"},
		{"other name", `{"cert": "x", "private_key": "y"}`, diag.PullBodyInvalid, `no certificate (it has "cert")`},
		{"no string", `{"certificate": 1, "private_key": "y"}`, diag.PullBodyInvalid, "certificate is no string"},
		{"empty certificate, as of a missing file", `{"certificate": "\n", "private_key": "y"}`, diag.PullBodyInvalid, "certificate is empty"},
		{"more fields", `{"certificate": "x", "private_key": "y", "zone": "z"}`, diag.PullBodyInvalid, `"zone"`},
		{"swapped", body(key, cert), diag.SecretInvalid, "swapped"},
		{"another's key", body(cert, string(other.KeyPEM())), diag.KeyMismatch, "the key in private_key"},
		{"no PEM", body("x", key), diag.CertUnparsable, "certificate "},
		{"too large", body(strings.Repeat("x", enroll.MaxUpload), key), diag.PullBodyInvalid, "larger than 64 KiB"},
	} {
		pair, _, err := enroll.ParseUpload([]byte(tc.in))
		if tc.code == 0 {
			if err != nil || pair.Leaf.Subject.CommonName != "localhost" {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		var e *enroll.Error
		if !asError(err, &e) || e.Code != tc.code || !strings.Contains(e.Error(), tc.words) || e.Fix == "" {
			t.Errorf("%s: %v, want %s with %q", tc.name, err, tc.code, tc.words)
			continue
		}
		for line := range strings.Lines(key) {
			if line = strings.TrimSpace(line); len(line) > 30 && !strings.Contains(line, "PRIVATE") && strings.Contains(e.Error()+e.Fix, line) {
				t.Errorf("%s: the error quotes the key", tc.name)
			}
		}
	}
}

func FuzzParseUpload(f *testing.F) {
	leaf := testca.New(f, testca.Spec{}).Issue(testca.Spec{Key: testca.Ed25519})
	b, _ := json.Marshal(map[string]string{"certificate": string(leaf.CertPEM()), "private_key": string(leaf.KeyPEM())})
	f.Add(b)
	f.Add([]byte(`{"certificate": "\n", "private_key": ""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pair, _, err := enroll.ParseUpload(data)
		var e *enroll.Error
		if (pair == nil) == (err == nil) || err != nil && !asError(err, &e) {
			t.Errorf("%v, %v", pair, err)
		}
	})
}

func TestScope(t *testing.T) {
	for _, tc := range []struct {
		in   enroll.Scope
		want string // "" is an error
	}{
		{enroll.Scope{Zone: "mtls-test.net"}, "*.mtls-test.net origin-pull-zone-mtls-test.net"},
		{enroll.Scope{Zone: "*.mtls-test.net"}, "*.mtls-test.net origin-pull-zone-mtls-test.net"},
		{enroll.Scope{Host: "a.test"}, "a.test origin-pull-host-a.test"},
		{enroll.Scope{Host: "MTLS_lb.test"}, "mtls_lb.test origin-pull-host-mtls-lb.test-5b0d"},
		{enroll.Scope{Host: "*.a.test"}, ""},
		{enroll.Scope{}, ""},
		{enroll.Scope{Zone: "a.test", Host: "b.test"}, ""},
		{enroll.Scope{Zone: "a b"}, ""},
	} {
		p, err := tc.in.Pattern()
		if tc.want == "" {
			if err == nil {
				t.Errorf("%+v: %s", tc.in, p)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", tc.in, err)
			continue
		}
		got := p.String() + " " + enroll.PullName(p)
		if got != tc.want && !(strings.Contains(tc.want, "mtls-lb") && strings.HasPrefix(got, strings.TrimSuffix(tc.want, "5b0d")) && len(got) == len(tc.want)+4) {
			t.Errorf("%+v: %s", tc.in, got)
		}
	}
}

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	pair := func(data string) []enroll.File {
		return []enroll.File{{Path: at("a.crt"), Data: []byte(data)}, {Path: at("a.key"), Data: []byte(data), Private: true}}
	}
	if err := enroll.WriteFiles(false, pair("1")...); err != nil {
		t.Fatal(err)
	}
	err := enroll.WriteFiles(false, pair("2")...)
	var e *enroll.Error
	if !asError(err, &e) || e.Code != diag.KeyFileExists {
		t.Error(err)
	}
	for name, mode := range map[string]os.FileMode{"a.crt": 0o644, "a.key": 0o600} {
		b, err := os.ReadFile(at(name))
		st, _ := os.Stat(at(name))
		if err != nil || string(b) != "1" || st.Mode().Perm() != mode {
			t.Errorf("%s: %q %v %v", name, b, st.Mode(), err)
		}
	}
	if err := enroll.WriteFiles(true, pair("3")...); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(at("a.key")); string(b) != "3" {
		t.Errorf("%q", b)
	}
	for name, files := range map[string][]enroll.File{
		"no folder":   {{Path: at("x/y")}},
		"a folder":    {{Path: dir}},
		"twice":       {{Path: at("z")}, {Path: at("./z")}},
		"a key above": {{Path: at("a.key"), Private: true}},
	} {
		if err := enroll.WriteFiles(false, files...); !asError(err, &e) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(at(".*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// What is exported, openssl reads.
func TestPKCS12(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	inter := ca.Intermediate(testca.Spec{CommonName: "Inter"})
	for _, key := range []testca.Key{testca.RSA2048, testca.P256, testca.Ed25519} {
		leaf := inter.Issue(testca.Spec{DNS: []string{"a.test"}, Key: key})
		pair, _, err := secret.ParseKeyPair(append(leaf.CertPEM(), inter.CertPEM()...), leaf.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		for _, legacy := range []bool{false, true} {
			der, err := enroll.PKCS12(pair, secret.NewBytes([]byte("päss")), legacy)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a.p12"), der, 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"pkcs12", "-in", "a.p12", "-passin", "pass:päss", "-nodes"}
			if legacy {
				args = append(args, "-legacy")
			}
			if n := strings.Count(string(testca.OpenSSL(t, dir, args...)), "-----BEGIN"); n != 3 {
				t.Errorf("openssl finds %d things", n)
			}
		}
		if _, err := enroll.PKCS12(pair, secret.Bytes{}, false); err == nil {
			t.Error("no password is taken")
		}
	}
}

func TestPullFindings(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	parse := func(p *testca.Pair) *secret.KeyPair {
		k, _, err := secret.ParseKeyPair(p.CertPEM(), p.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	now := time.Now()
	for _, f := range enroll.PullFindings(parse(ca.Version1("localhost")), now) {
		if f.Severity != diag.Info {
			t.Errorf("%+v", f)
		}
	}
	found := enroll.PullFindings(parse(ca.Issue(testca.Spec{NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour)})), now)
	if len(found) != 1 || found[0].Code != diag.CertExpired {
		t.Errorf("%+v", found)
	}
}

func TestSecretYAML(t *testing.T) {
	name, err := enroll.ParseObjectName("istio-system/a.b", "x")
	if err != nil {
		t.Fatal(err)
	}
	got := string(enroll.SecretYAML(name, []byte("c"), secret.NewBytes([]byte("k")), []byte("a")))
	want := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: a.b\n  namespace: istio-system\ntype: kubernetes.io/tls\ndata:\n  ca.crt: YQ==\n  tls.crt: Yw==\n  tls.key: aw==\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
	for _, bad := range []string{"", "A", "a/b/c", "a_b", "x.y/a", "a\nb"} {
		if n, err := enroll.ParseObjectName(bad, "default"); err == nil {
			t.Errorf("%q: %s", bad, n)
		}
	}
}
