//go:build e2e

package edge

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
)

// ownCA is an authority in a folder of its own; openssl judges what it does.
type ownCA struct {
	*testing.T
	dir     string   // of files
	store   string   // --ca-dir
	admin   []string // instead: flags that reach a running process
	openssl string
}

// newOwnCA makes an authority; more are further flags of ca init.
func newOwnCA(t *testing.T, more ...string) *ownCA {
	t.Helper()
	dir := gateway.Folder(t)
	c := &ownCA{T: t, dir: dir, store: filepath.Join(dir, "ca"), openssl: program.Find(t, "openssl")}
	c.must(append([]string{"ca", "init"}, more...)...)
	return c
}

// run runs a command on the authority, with the files' folder as prefix of what begins with "@".
func (c *ownCA) run(args ...string) gateway.Result {
	c.Helper()
	for i, a := range args {
		if rest, ok := strings.CutPrefix(a, "@"); ok {
			args[i] = c.path(rest)
		}
	}
	where := []string{"--ca-dir", c.store}
	if c.admin != nil {
		where = c.admin
	}
	return gateway.Command(c, nil, "", append(slices.Clone(args), where...)...)
}

// must is run for what has to work.
func (c *ownCA) must(args ...string) string {
	c.Helper()
	r := c.run(args...)
	if r.Code != 0 {
		c.Fatalf("hakone %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r.Out
}

func (c *ownCA) path(name string) string { return filepath.Join(c.dir, name) }

// issue issues a certificate into NAME.crt and NAME.key and returns the first of its chain.
func (c *ownCA) issue(name string, args ...string) *x509.Certificate {
	c.Helper()
	c.must(append([]string{"cert", "issue", "--out", "@" + name}, args...)...)
	return c.chain(name + ".crt")[0]
}

// chain reads a file of certificates.
func (c *ownCA) chain(name string) []*x509.Certificate {
	c.Helper()
	var out []*x509.Certificate
	for rest := c.read(name); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			c.Fatal(err)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		c.Fatalf("no certificate in %s", name)
	}
	return out
}

func (c *ownCA) read(name string) []byte {
	c.Helper()
	b, err := os.ReadFile(c.path(name))
	if err != nil {
		c.Fatal(err)
	}
	return b
}

func (c *ownCA) write(name string, data []byte) string {
	c.Helper()
	if err := os.WriteFile(c.path(name), data, 0o600); err != nil {
		c.Fatal(err)
	}
	return c.path(name)
}

// bundle writes the authority's trust bundle into a file.
func (c *ownCA) bundle(name string) string {
	c.Helper()
	return c.write(name, []byte(c.must("ca", "show", "--bundle")))
}

// issuer writes the certificate of a CA, as issuer-1, into a file.
func (c *ownCA) issuer(id string) string {
	c.Helper()
	b, err := os.ReadFile(filepath.Join(c.store, "default", id+".crt"))
	if err != nil {
		c.Fatal(err)
	}
	return c.write(id+".crt", b)
}

// asks runs openssl in the folder of files and returns what it printed and its exit code.
func (c *ownCA) asks(args ...string) (string, int) {
	c.Helper()
	r := program.Run(c, program.Command{Path: c.openssl, Args: args, Dir: c.dir})
	return r.Out + r.Err, r.Code
}

// TestAuthorityByOpenSSL makes certificates of every kind of key, and lets openssl verify chain, purpose and
// revocation, and read requests and containers.
func TestAuthorityByOpenSSL(t *testing.T) {
	t.Parallel()
	purposes := map[string]string{"server": "sslserver", "origin": "sslserver", "client": "sslclient"}
	for _, key := range []string{"ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			c := newOwnCA(t, "--key-type", key, "--subject", "CN=Example CA,O=Example", "--url", "http://127.0.0.1:1")
			c.bundle("root.crt")
			for profile, purpose := range purposes {
				args := []string{"--profile", profile, "--key-type", key, "--san", profile + "_x.test"}
				if profile == "client" {
					args = []string{"--profile", profile, "--key-type", key, "--cn", "alice"}
				}
				c.issue(profile, args...)
				c.must("ca", "crl", "--ca", "all", "--out", "@all.crl")
				for _, p := range []string{"sslserver", "sslclient"} {
					out, code := c.asks("verify", "-CAfile", "root.crt", "-untrusted", profile+".crt", "-purpose", p, "-x509_strict", "-CRLfile", "all.crl", "-crl_check_all", profile+".crt")
					if (code == 0) != (p == purpose) {
						t.Errorf("a certificate of the profile %s as %s: %d %s", profile, p, code, out)
					}
				}
				if out, code := c.asks("pkey", "-in", profile+".key", "-check", "-noout"); code != 0 {
					t.Errorf("%s.key: %s", profile, out)
				}
			}
			c.must("cert", "revoke", "@client.crt", "--reason", "keyCompromise")
			c.must("ca", "crl", "--ca", "all", "--out", "@all.crl")
			if out, code := c.asks("verify", "-CAfile", "root.crt", "-untrusted", "client.crt", "-CRLfile", "all.crl", "-crl_check_all", "client.crt"); code == 0 || !strings.Contains(out, "certificate revoked") {
				t.Errorf("the revoked one: %d %s", code, out)
			}
			if out, code := c.asks("verify", "-CAfile", "root.crt", "-untrusted", "server.crt", "-CRLfile", "all.crl", "-crl_check_all", "server.crt"); code != 0 {
				t.Errorf("its neighbour: %d %s", code, out)
			}
		})
	}
}

// TestSignedRequests certifies keys that openssl made, refuses requests that it refuses too, and renews.
func TestSignedRequests(t *testing.T) {
	t.Parallel()
	c := newOwnCA(t)
	c.bundle("root.crt")
	if out, code := c.asks("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "r.key", "-out", "r.csr", "-subj", "/CN=www.test/O=Some", "-addext", "subjectAltName=DNS:www.test,IP:192.0.2.1"); code != 0 {
		t.Fatal(out)
	}
	if out, code := c.asks("req", "-in", "r.csr", "-verify", "-noout"); code != 0 {
		t.Fatal(out)
	}
	c.must("cert", "sign", "@r.csr", "--cert", "@r.crt")
	if out, code := c.asks("verify", "-CAfile", "root.crt", "-untrusted", "r.crt", "-purpose", "sslserver", "-verify_hostname", "www.test", "r.crt"); code != 0 {
		t.Errorf("%s", out)
	}
	if key, _ := c.asks("pkey", "-in", "r.key", "-pubout"); key == "" {
		t.Error("no key")
	} else if cert, _ := c.asks("x509", "-in", "r.crt", "-pubkey", "-noout"); cert != key {
		t.Error("another key was certified")
	}
	// A request that somebody changed: its signature is wrong, for openssl as for the authority.
	block, _ := pem.Decode(c.read("r.csr"))
	der := slices.Clone(block.Bytes)
	i := strings.Index(string(der), "www.test")
	der[i] = 'x'
	c.write("forged.csr", pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}))
	// openssl says so and still ends with 0 in some versions, so its words count.
	if out, _ := c.asks("req", "-in", "forged.csr", "-verify", "-noout"); !strings.Contains(strings.ToLower(out), "verif") || strings.Contains(out, "verify OK") {
		t.Errorf("openssl takes the forged request: %s", out)
	}
	if r := c.run("cert", "sign", "@forged.csr"); r.Code == 0 || !strings.Contains(r.Err, "HK7013") {
		t.Errorf("the forged request: %d %s%s", r.Code, r.Out, r.Err)
	}
	// Renewed: the same names, another serial and key; with --same-key the same.
	old := c.issue("web", "--san", "web.test")
	c.must("cert", "renew", "@web.crt", "--out", "@web2")
	again := c.chain("web2.crt")[0]
	if again.SerialNumber.Cmp(old.SerialNumber) == 0 || !slices.Equal(again.DNSNames, old.DNSNames) || again.NotAfter.Sub(again.NotBefore) != old.NotAfter.Sub(old.NotBefore) || string(again.RawSubjectPublicKeyInfo) == string(old.RawSubjectPublicKeyInfo) {
		t.Errorf("renewed: %v %v", again.SerialNumber, again.DNSNames)
	}
	c.must("cert", "renew", "@web.crt", "--same-key", "--cert", "@web3.crt")
	if same := c.chain("web3.crt")[0]; string(same.RawSubjectPublicKeyInfo) != string(old.RawSubjectPublicKeyInfo) {
		t.Error("--same-key certified another key")
	}
	// Containers.
	c.write("pw", []byte("secret word\n"))
	for _, legacy := range []bool{false, true} {
		name, args := "modern", []string{"cert", "export", "--from-cert", "@web.crt", "--from-key", "@web.key", "-o", "pkcs12", "--password-file", "@pw"}
		if legacy {
			name, args = "legacy", append(args, "--legacy")
		}
		c.must(append(args, "--out", "@"+name)...)
		out, code := c.asks("pkcs12", "-in", name+".p12", "-passin", "file:pw", "-nodes")
		if code != 0 || strings.Count(out, "BEGIN CERTIFICATE") != 2 || !strings.Contains(out, "BEGIN PRIVATE KEY") {
			t.Errorf("%s container: %d %.300s", name, code, out)
		}
		if _, code := c.asks("pkcs12", "-in", name+".p12", "-passin", "pass:wrong", "-nodes"); code == 0 {
			t.Errorf("%s container opens with a wrong password", name)
		}
	}
}

// TestNothingIsOverwritten: key files are for their owner alone, and neither they nor an authority are written over.
func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	c := newOwnCA(t)
	c.issue("a", "--san", "a.test")
	keys := 0
	for _, root := range []string{c.store, c.dir} {
		if err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err == nil && strings.HasSuffix(path, ".key") {
				if keys++; info.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v", path, info.Mode())
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if keys < 3 {
		t.Errorf("only %d keys found", keys)
	}
	cert, key := c.read("a.crt"), c.read("a.key")
	if r := c.run("cert", "issue", "--san", "b.test", "--out", "@a"); r.Code == 0 || !strings.Contains(r.Err, "--force") {
		t.Errorf("a key was written over: %d %s", r.Code, r.Err)
	}
	if string(c.read("a.crt")) != string(cert) || string(c.read("a.key")) != string(key) {
		t.Error("the files changed")
	}
	if out := c.must("cert", "ls"); strings.Contains(out, "b.test") {
		t.Errorf("what could not be written was issued:\n%s", out)
	}
	root := c.bundle("root.crt")
	before, _ := os.ReadFile(root)
	if r := c.run("ca", "init"); r.Code == 0 {
		t.Error("an authority was made over another")
	}
	if c.bundle("root.crt"); string(c.read("root.crt")) != string(before) {
		t.Error("the root changed")
	}
	// What could be used by nobody is refused before anything is signed.
	for _, args := range [][]string{
		{"--san", "bad name.test"}, {"--san", "*.*.test"}, {"--san", "a.test", "--for", "100y"}, {"--profile", "client"}, {"--san", "a.test", "--key-type", "rsa-1024"},
	} {
		if r := c.run(append([]string{"cert", "issue", "--out", "@never"}, args...)...); r.Code == 0 || r.Err == "" {
			t.Errorf("%v was issued: %s", args, r.Out)
		}
	}
	if _, err := os.Stat(c.path("never.key")); err == nil {
		t.Error("a key was left of what was refused")
	}
}

// TestResponder lets openssl ask about good, revoked and unknown certificates, over POST and GET, the
// responder of "hakone ca ocsp" and that of "hakone run".
func TestResponder(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"ca ocsp", "run"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			addr := fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(t))
			c := newOwnCA(t, "--url", "http://"+addr)
			if by == "run" {
				g := gateway.Start(t, gateway.Options{Unready: true, Args: []string{"--ca-dir", c.store, "--ca-listen", addr, "--wait"}})
				c.admin = []string{"--admin", g.Admin}
			} else {
				program.Start(t, program.Command{Path: gateway.Binary(t), Args: []string{"ca", "ocsp", "--ca-dir", c.store, "--listen", addr}})
			}
			await(t, "the responder", func() bool {
				resp, err := http.Get("http://" + addr + "/ca/default-issuer-1.crt")
				if err == nil {
					resp.Body.Close()
				}
				return err == nil && resp.StatusCode == 200
			})
			c.bundle("root.crt")
			issuer := c.issuer("issuer-1")
			c.issue("good", "--san", "good.test")
			gone := c.issue("gone", "--profile", "client", "--cn", "gone")
			if out, _ := c.asks("ocsp", "-issuer", issuer, "-cert", "gone.crt", "-url", "http://"+addr+"/ocsp", "-CAfile", "root.crt"); !strings.Contains(out, "gone.crt: good") {
				t.Errorf("before the revocation: %s", out)
			}
			c.must("cert", "revoke", gone.SerialNumber.Text(16), "--reason", "keyCompromise")
			ask := []string{"-issuer", issuer, "-cert", "good.crt", "-cert", "gone.crt", "-serial", "0x123456"}
			says := func(way, out string, code int) {
				t.Helper()
				for _, want := range []string{"Response verify OK", "good.crt: good", "gone.crt: revoked", "Reason: keyCompromise", "0x123456: unknown"} {
					if !strings.Contains(out, want) {
						t.Errorf("%s: not %q in (exit %d):\n%s", way, want, code, out)
					}
				}
			}
			out, code := c.asks(append([]string{"ocsp", "-url", "http://" + addr + "/ocsp", "-CAfile", "root.crt"}, ask...)...)
			says("POST", out, code)
			if strings.Contains(out, "nonces") {
				t.Errorf("the nonce of the request was not given back: %s", out)
			}
			if out, code := c.asks(append([]string{"ocsp", "-no_nonce", "-reqout", "ask.der"}, ask...)...); code != 0 {
				t.Fatal(out)
			}
			resp, err := http.Get("http://" + addr + "/ocsp/" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(base64.StdEncoding.EncodeToString(c.read("ask.der"))))
			if err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/ocsp-response" {
				t.Errorf("GET: %s %v", resp.Status, resp.Header)
			}
			c.write("answer.der", answer)
			out, code = c.asks(append([]string{"ocsp", "-respin", "answer.der", "-CAfile", "root.crt"}, ask...)...)
			says("GET", out, code)
			// The list that certificates name agrees, and is what openssl fetches.
			if resp, err = http.Get(gone.CRLDistributionPoints[0]); err != nil {
				t.Fatal(err)
			}
			list, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if l, err := x509.ParseRevocationList(list); err != nil || len(l.RevokedCertificateEntries) != 1 || l.RevokedCertificateEntries[0].SerialNumber.Cmp(gone.SerialNumber) != 0 {
				t.Errorf("the served list: %v", err)
			}
			if out, code := c.asks("verify", "-CAfile", "root.crt", "-untrusted", "gone.crt", "-crl_check", "-crl_download", "gone.crt"); code == 0 || !strings.Contains(out, "certificate revoked") {
				t.Errorf("openssl with the list that the certificate names: %s", out)
			}
			if out, code := c.asks("verify", "-CAfile", "root.crt", "-untrusted", "good.crt", "-crl_check", "-crl_download", "good.crt"); code != 0 {
				t.Errorf("openssl with the list that the certificate names: %s", out)
			}
		})
	}
}

// TestFiftyAgree: of fifty certificates openssl says the same by the list, by the responder and by the authority's own list.
func TestFiftyAgree(t *testing.T) {
	t.Parallel()
	addr := fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(t))
	c := newOwnCA(t, "--url", "http://"+addr)
	g := gateway.Start(t, gateway.Options{Unready: true, Args: []string{"--ca-dir", c.store, "--ca-listen", addr, "--wait"}})
	await(t, "the process", func() bool { _, err := os.Stat(strings.TrimPrefix(g.Admin, "unix:")); return err == nil })
	c.admin = []string{"--admin", g.Admin}
	c.bundle("root.crt")
	issuer := c.issuer("issuer-1")
	revoked := map[string]bool{}
	var files, revoke, ask []string
	for i := range 50 {
		name := fmt.Sprintf("c%02d", i)
		c.issue(name, "--profile", "client", "--cn", name)
		files, ask = append(files, name+".crt"), append(ask, "-cert", name+".crt")
		if i%3 == 1 {
			revoked[name+".crt"], revoke = true, append(revoke, "@"+name+".crt")
		}
	}
	c.must(append([]string{"cert", "revoke"}, revoke...)...)
	c.must("ca", "crl", "--out", "@list.crl")
	verified, _ := c.asks(append([]string{"verify", "-CAfile", "root.crt", "-untrusted", issuer, "-CRLfile", "list.crl", "-crl_check"}, files...)...)
	answered := ""
	for some := range slices.Chunk(ask, 20) { // ten certificates a request; a responder may have a bound
		out, _ := c.asks(append([]string{"ocsp", "-url", "http://" + addr + "/ocsp", "-CAfile", "root.crt", "-issuer", issuer}, some...)...)
		answered += out
	}
	for _, f := range files {
		if ok := strings.Contains(verified, f+": OK"); ok == revoked[f] {
			t.Errorf("by the list openssl takes %s: %v", f, ok)
		}
		word := map[bool]string{true: "revoked", false: "good"}[revoked[f]]
		if !strings.Contains(answered, f+": "+word) {
			t.Errorf("the responder does not call %s %s", f, word)
		}
	}
	var rows []struct {
		Subject string
		Revoked json.RawMessage `json:"revokedAt"`
	}
	if err := json.Unmarshal([]byte(c.must("cert", "ls", "--revoked", "-o", "json")), &rows); err != nil || len(rows) != len(revoke) {
		t.Errorf("cert ls --revoked has %d rows, want %d: %v", len(rows), len(revoke), err)
	}
}

// TestKilledIssuing kills hakone cert issue at any moment: what was handed out is known, keys belong to their
// certificates, and the authority goes on.
func TestKilledIssuing(t *testing.T) {
	t.Parallel()
	c := newOwnCA(t)
	c.bundle("root.crt")
	written, killed := 0, 0
	for i := range 40 {
		name := fmt.Sprintf("k%02d", i)
		cmd := exec.Command(gateway.Binary(t), "cert", "issue", "--ca-dir", c.store, "--san", name+".test", "--out", c.path(name))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case <-done:
		case <-time.After(time.Duration(5+rand.IntN(60)) * time.Millisecond):
			_ = cmd.Process.Kill()
			<-done
			killed++
		}
		if _, err := os.Stat(c.path(name + ".crt")); err != nil {
			continue
		}
		written++
		cert := c.chain(name + ".crt")[0]
		if out := c.must("cert", "ls", cert.SerialNumber.Text(16)); !strings.Contains(out, name+".test") {
			t.Errorf("%s was handed out, and the authority does not know it:\n%s", name, out)
		}
		if _, err := os.Stat(c.path(name + ".key")); err != nil {
			t.Errorf("%s has a certificate and no key: %v", name, err)
		}
	}
	t.Logf("%d of 40 killed, %d certificates written", killed, written)
	if killed == 0 {
		t.Error("nothing was killed")
	}
	after := c.issue("after", "--san", "after.test")
	c.must("cert", "revoke", after.SerialNumber.Text(16))
	c.must("ca", "crl", "--out", "@list.crl")
	if out, code := c.asks("crl", "-in", "list.crl", "-CAfile", c.issuer("issuer-1"), "-noout"); code != 0 || !strings.Contains(out, "verify OK") {
		t.Errorf("the list after all this: %s", out)
	}
}
