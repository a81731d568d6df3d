//go:build e2e

package edge

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestInspectBroken gives hakone cert inspect everything that people have in files, whole and broken in every
// way. It judges each: no panic, no silence, and no private key in what it prints.
func TestInspectBroken(t *testing.T) {
	t.Parallel()
	dir := gateway.Folder(t)
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	leaf := ca.Issue(testca.Spec{DNS: []string{"a.test"}, Key: testca.RSA2048})
	crt, key := leaf.Write(dir, "leaf")
	openssl := func(args ...string) []byte {
		t.Helper()
		r := program.Run(t, program.Command{Path: program.Find(t, "openssl"), Args: args, Dir: dir})
		if r.Code != 0 {
			t.Fatal(r.Err)
		}
		return []byte(r.Out)
	}
	openssl("pkcs12", "-export", "-in", crt, "-inkey", key, "-out", "leaf.p12", "-passout", "pass:")
	p12, err := os.ReadFile(filepath.Join(dir, "leaf.p12"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(map[string]string{"certificate": string(leaf.CertPEM()), "private_key": string(leaf.KeyPEM())})
	good := map[string][]byte{
		"certificate": leaf.CertPEM(), "chain": append(leaf.CertPEM(), ca.CertPEM()...), "key": leaf.KeyPEM(), "oldkey": leaf.OldKeyPEM(), "der": leaf.Cert.Raw,
		"version1": ca.Version1("x.test").CertPEM(), "request": openssl("req", "-new", "-key", key, "-subj", "/CN=r"), "pkcs12": p12, "list": ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{leaf.Cert}}),
		"pkcs7": openssl("crl2pkcs7", "-nocrl", "-certfile", crt), "answer": ca.OCSP(leaf.Cert, testca.OCSPSpec{}), "encrypted": openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x"),
		"secret": []byte(testca.SecretYAML("default", "s", leaf.SecretData(testca.FormatTLS, ca.CertPEM(), nil))), "body": body,
	}
	ways := map[string]func([]byte) []byte{
		"whole":     func(b []byte) []byte { return b },
		"half":      func(b []byte) []byte { return b[:len(b)/2] },
		"beginning": func(b []byte) []byte { return b[:min(len(b), 40)] },
		"tail":      func(b []byte) []byte { return b[len(b)/3:] },
		"flipped": func(b []byte) []byte {
			out := []byte(string(b))
			for i := 97; i < len(out); i += 211 {
				out[i] ^= 0x15
			}
			return out
		},
		"literal": func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), "\n", `\n`)) },
		"base64":  func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) },
		"utf16": func(b []byte) []byte {
			out := []byte{0xff, 0xfe}
			for _, u := range utf16.Encode([]rune(string(b))) {
				out = append(out, byte(u), byte(u>>8))
			}
			return out
		},
		"label": func(b []byte) []byte {
			return []byte(strings.ReplaceAll(strings.ReplaceAll(string(b), "CERTIFICATE", "PRIVATE KEY"), "RSA", "EC"))
		},
		"trailing": func(b []byte) []byte { return append(append([]byte{}, b...), 0, 1, 2, 3) },
		"quoted":   func(b []byte) []byte { return []byte(fmt.Sprintf("%q", b)) },
		"twice":    func(b []byte) []byte { return append(append([]byte{}, b...), b...) },
	}
	secretOf := strings.Split(string(leaf.KeyPEM()), "\n")[5]
	for what, content := range good {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for how, breaks := range ways {
				path := filepath.Join(dir, what+"-"+how)
				if err := os.WriteFile(path, breaks(content), 0o600); err != nil {
					t.Fatal(err)
				}
				r := gateway.Command(t, nil, "", "cert", "inspect", path)
				all := r.Out + r.Err
				if r.Code != 0 && r.Code != 3 || strings.TrimSpace(all) == "" || strings.Contains(all, "panic") || strings.Contains(all, "goroutine ") || strings.Contains(all, "runtime error") {
					t.Errorf("%s, %s: exit %d\n%s", what, how, r.Code, all)
				}
				if strings.Contains(all, secretOf) {
					t.Errorf("%s, %s: the private key is printed", what, how)
				}
				if r.Code == 3 && !strings.Contains(all, "fix:") {
					t.Errorf("%s, %s: nothing says what to do:\n%s", what, how, all)
				}
			}
		})
	}
}

// TestInspectFindings: particular faults have their codes, and --repair mends what can be.
func TestInspectFindings(t *testing.T) {
	t.Parallel()
	dir := gateway.Folder(t)
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	leaf, other := ca.Issue(testca.Spec{DNS: []string{"a.test"}}), ca.Issue(testca.Spec{DNS: []string{"b.test"}})
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	literal := strings.ReplaceAll(string(leaf.CertPEM()), "\n", `\n`)
	cut := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Cert.Raw[:len(leaf.Cert.Raw)-50]})
	for _, v := range []struct {
		name, want string
		args       []string
	}{
		{"literal line ends", "HK7051", []string{file("literal", literal)}},
		{"another label", "HK7052", []string{file("label", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: leaf.Cert.Raw})))}},
		{"too short", "HK7053", []string{file("cut", string(cut))}},
		{"bytes behind the end", "HK7061", []string{file("behind", string(leaf.Cert.Raw)+"xyz")}},
		{"version 1", "HK5506", []string{file("v1", string(ca.Version1("x").CertPEM()))}},
		{"another's key", "HK5501", []string{file("a.crt", string(leaf.CertPEM())), file("b.key", string(other.KeyPEM()))}},
		{"expired", "HK5503", []string{file("old", string(ca.Issue(testca.Spec{DNS: []string{"a.test"}, NotAfter: time.Now().Add(-time.Minute)}).CertPEM()))}},
		{"revoked by the list beside it", "HK7059", []string{file("gone", string(leaf.CertPEM())), file("crl", string(ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{leaf.Cert}})))}},
		{"another host", "HK5511", []string{"--host", "c.test", file("c", string(leaf.CertPEM()))}},
	} {
		if r := gateway.Command(t, nil, "", append([]string{"cert", "inspect"}, v.args...)...); r.Code != 3 || !strings.Contains(r.Out, v.want) {
			t.Errorf("%s: exit %d, want %s\n%s%s", v.name, r.Code, v.want, r.Out, r.Err)
		}
	}
	repaired := gateway.Command(t, nil, literal, "cert", "inspect", "--repair", "-")
	if repaired.Out != string(leaf.CertPEM()) {
		t.Errorf("repaired: %q", repaired.Out)
	}
	caFile := file("ca.crt", string(ca.CertPEM()))
	if r := gateway.Command(t, nil, "", "cert", "inspect", "--ca", caFile, "--host", "a.test", filepath.Join(dir, "c")); r.Code != 0 {
		t.Errorf("a good one: exit %d\n%s", r.Code, r.Out)
	}
	// A server, as it shows itself.
	w := newWorld(t, "mtls_lb.test")
	w.start()
	public := file("public.crt", string(w.public.CertPEM()))
	if r := gateway.Command(t, nil, "", "cert", "inspect", "https://"+w.g.Addr(443)+"?sni=mtls_lb.test", "--ca", public); r.Code != 0 || !strings.Contains(r.Out, "mtls_lb.test") {
		t.Errorf("a server: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
}

// TestCalendar lists everything of a configuration that expires, from the folder and from a process, exits with
// 3 when something is due, and tells of what is on disk and not served.
func TestCalendar(t *testing.T) {
	t.Parallel()
	c := newOwnCA(t)
	w := newWorld(t, "a.test")
	day := 24 * time.Hour
	soon := testca.New(t, testca.Spec{CommonName: "Clients", NotAfter: time.Now().Add(400 * day)})
	web := func(life time.Duration) *testca.Pair {
		return w.public.Issue(testca.Spec{DNS: []string{"a.test"}, CommonName: "web", NotBefore: time.Now().Add(-300 * day), NotAfter: time.Now().Add(life)})
	}
	w.files["secret.yaml"] = pairSecret("edge", web(5*day))
	w.files["pulls.yaml"] = documents(originPull("pull", "a.test", "pull"), pairSecret("pull", w.public.Issue(testca.Spec{CommonName: "puller", NotAfter: time.Now().Add(100 * day)})))
	w.files["hosts.yaml"] = strings.Replace(w.files["hosts.yaml"], "spec:\n  origins:", "spec:\n  tls: {verifyName: o.test, caRef: {kind: ConfigMap, name: origin-ca}}\n  origins:", 1)
	w.files["ca.yaml"] = configMap("origin-ca", string(testca.New(t, testca.Spec{CommonName: "Origin CA", NotAfter: time.Now().Add(200 * day)}).CertPEM()))
	w.files["clients.yaml"] = testca.SecretYAML("default", "clients", map[string][]byte{"ca.crt": soon.CertPEM(), "ca.crl": soon.CRL(testca.CRLSpec{NextUpdate: time.Now().Add(50 * day)})})
	w.files["policy.yaml"] = policy("p", "hosts: [a.test]", "trust: {caRefs: [{kind: Secret, name: clients}]}")
	w.start("--ca-dir", c.store)
	type entry struct {
		Kind, Name, State, Source string
		DaysLeft                  int
	}
	calendar := func(code int, args ...string) (map[string][]entry, string) {
		t.Helper()
		r := w.g.Run(append([]string{"cert", "calendar", "-o", "json"}, args...)...)
		if r.Code != code {
			t.Errorf("cert calendar %s: exit %d, want %d\n%s", args, r.Code, code, r.Err)
		}
		var cal struct{ Entries []entry }
		if err := json.Unmarshal([]byte(r.Out), &cal); err != nil {
			t.Fatalf("%v: %s%s", err, r.Out, r.Err)
		}
		kinds := map[string][]entry{}
		for i, e := range cal.Entries {
			if kinds[e.Kind] = append(kinds[e.Kind], e); i > 0 && e.DaysLeft < cal.Entries[i-1].DaysLeft {
				t.Errorf("%v stands behind %v", e, cal.Entries[i-1])
			}
		}
		return kinds, r.Out
	}
	own := []string{"--ca-dir", c.store}
	for _, from := range [][]string{own, append([]string{"--config", w.g.Dir}, own...)} {
		kinds, out := calendar(3, from...)
		for kind, name := range map[string]string{"listener": "web", "origin-pull": "puller", "trust-anchor": "Clients", "crl": "Clients", "authority": "Hakone CA"} {
			if !strings.Contains(fmt.Sprint(kinds[kind]), name) {
				t.Errorf("%v: no %s %s in %v", from, kind, name, kinds[kind])
			}
		}
		if !strings.Contains(fmt.Sprint(kinds["trust-anchor"]), "Origin CA") {
			t.Errorf("%v: no CA of origins in %v", from, kinds["trust-anchor"])
		}
		if len(kinds["listener"]) != 1 || kinds["listener"][0].State != "due" || kinds["listener"][0].DaysLeft != 4 {
			t.Errorf("%v: %v", from, kinds["listener"])
		}
		if !strings.Contains(out, "HK7066") {
			t.Errorf("%v: nothing says that something is due", from)
		}
		calendar(0, append([]string{"--within", "2d"}, from...)...)
	}
	if h := w.g.Get("/healthz?verbose"); !strings.Contains(h, "web") || !strings.Contains(h, "degraded") {
		t.Errorf("health says nothing of what is due:\n%s", h)
	}
	if w.g.Counter("hakone_certificate_expiry_seconds", `kind="listener"`) == 0 {
		t.Error("no metric of the listener's certificate")
	}
	// A new certificate that cannot be served: its key is another's. The old one serves on, and the calendar says so.
	next, key := web(90*day), web(90*day)
	next.Key = key.Key
	w.g.Write("secret.yaml", pairSecret("edge", next))
	await(t, "the file that is not served", func() bool {
		r := w.g.Run("cert", "calendar", "--within", "2d")
		return r.Code == 3 && strings.Contains(r.Out, "HK7065")
	})
	if a := w.get(w.browser(true, "", soon.Issue(testca.Spec{})), "https://a.test/x"); a.StatusCode == 0 {
		t.Error("nothing is served")
	}
	w.g.Change(func() { w.g.Write("secret.yaml", pairSecret("edge", web(90*day))) })
	await(t, "a calendar without anything due", func() bool { return w.g.Run("cert", "calendar", "--within", "2d").Code == 0 })
}
