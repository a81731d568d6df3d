package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// withAuthority makes an authority and enters a folder of its own.
func withAuthority(t *testing.T) string {
	t.Helper()
	alone(t)
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HAKONE_CA_DIR", filepath.Join(dir, "authority"))
	t.Setenv("HAKONE_CA_PASSPHRASE_FILE", "")
	ok(t, "", "ca", "init")
	return dir
}

// ok runs a command that must succeed, and returns what it printed.
func ok(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	r := run(t, stdin, args...)
	if r.code != ExitOK {
		t.Fatalf("hakone %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r
}

func TestSeedOrdersItsOriginCertificate(t *testing.T) {
	dir := withAuthority(t)
	ok(t, "", "cert", "issue", "--profile", "origin", "--key-type", "rsa2048", "--san", "mtls_bkend.mtls-test.net", "--for", "15y", "--cert", "mtls_bkend.crt", "--key", "mtls_bkend.key")
	if st, err := os.Stat("mtls_bkend.key"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := os.WriteFile("ca.crt", []byte(ok(t, "", "ca", "show", "--bundle").out), 0o600); err != nil {
		t.Fatal(err)
	}
	testca.OpenSSL(t, dir, "verify", "-CAfile", "ca.crt", "-untrusted", "mtls_bkend.crt", "-verify_hostname", "mtls_bkend.mtls-test.net", "mtls_bkend.crt")
	text := string(testca.OpenSSL(t, dir, "x509", "-in", "mtls_bkend.crt", "-noout", "-text"))
	if !strings.Contains(text, "Public-Key: (2048 bit)") || !strings.Contains(text, "DNS:mtls_bkend.mtls-test.net") {
		t.Error(text)
	}
	r := run(t, "", "cert", "inspect", "mtls_bkend.crt", "mtls_bkend.key", "--ca", "ca.crt", "--host", "mtls_bkend.mtls-test.net")
	if r.code != ExitOK {
		t.Errorf("our own certificate does not please inspect: %+v", r)
	}
	again := run(t, "", "cert", "issue", "--profile", "origin", "--san", "a.test", "--cert", "mtls_bkend.crt", "--key", "mtls_bkend.key")
	if again.code != ExitUsage || !strings.HasPrefix(again.err, "error: the certificate cannot be written (HK7064)\n  cause: mtls_bkend.key is there already, and a private key is not overwritten\n  fix:   ") {
		t.Errorf("%+v", again)
	}
	ok(t, "", "cert", "issue", "--profile", "origin", "--san", "a.test", "--cert", "mtls_bkend.crt", "--key", "mtls_bkend.key", "--force")
}

func TestCertCommands(t *testing.T) {
	dir := withAuthority(t)
	ok(t, "", "cert", "issue", "--profile", "client", "--cn", "alice", "--out", "alice")
	ok(t, "", "cert", "issue", "--san", "*.example.test,10.0.0.1")
	if _, err := os.Stat("any.example.test.key"); err != nil {
		t.Error(err)
	}

	t.Run("secret", func(t *testing.T) {
		r := ok(t, "", "cert", "issue", "--san", "a.test", "-o", "secret", "--secret-name", "istio-system/a")
		if !strings.Contains(r.out, "name: a\n  namespace: istio-system\ntype: kubernetes.io/tls\n") || !strings.Contains(r.out, "  ca.crt: ") || strings.Contains(r.err, "wrote") {
			t.Errorf("%+v", r)
		}
		if again := run(t, r.out, "cert", "inspect", "-"); again.code != ExitOK || strings.Count(again.out, "certificate  -[") != 3 {
			t.Errorf("%+v", again)
		}
	})
	t.Run("pkcs12", func(t *testing.T) {
		ok(t, "geheim\n", "cert", "issue", "--profile", "client", "--cn", "bob", "-o", "pkcs12", "--out", "bob", "--password-file", "-")
		ok(t, "geheim\n", "cert", "export", "--from-cert", "alice.crt", "--from-key", "alice.key", "-o", "pkcs12", "--legacy", "--out", "alice", "--password-file", "-")
		for name, args := range map[string][]string{"bob.p12": nil, "alice.p12": {"-legacy"}} {
			out := testca.OpenSSL(t, dir, append([]string{"pkcs12", "-in", name, "-passin", "pass:geheim", "-nodes"}, args...)...)
			if n := strings.Count(string(out), "-----BEGIN"); n != 3 {
				t.Errorf("%s holds %d things", name, n)
			}
		}
		if r := run(t, "geheim\n", "cert", "inspect", "bob.p12", "--password-file", "-"); !strings.Contains(r.out, "(PKCS #12)") || !strings.Contains(r.out, "belongs to   CN=bob") {
			t.Errorf("%+v", r)
		}
		if r := run(t, "", "cert", "inspect", "bob.p12"); r.code != ExitFindings || !strings.Contains(r.out, "HK7056") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("sign", func(t *testing.T) {
		testca.OpenSSL(t, dir, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "k.key", "-subj", "/CN=carol", "-out", "c.csr")
		r := ok(t, "", "cert", "sign", "--profile", "client", "c.csr")
		if strings.Count(r.out, "BEGIN CERTIFICATE") != 2 || strings.Contains(r.out, "PRIVATE") {
			t.Errorf("%+v", r)
		}
		csr, err := os.ReadFile("c.csr")
		if err != nil {
			t.Fatal(err)
		}
		if r := ok(t, string(csr), "cert", "sign", "--san", "c.test", "-o", "json", "-"); !strings.Contains(r.out, `"c.test"`) {
			t.Errorf("%+v", r)
		}
	})
	t.Run("renew", func(t *testing.T) {
		ok(t, "", "cert", "renew", "alice.crt", "--out", "alice2")
		ok(t, "", "cert", "renew", "alice.crt", "--same-key", "--cert", "alice3.crt")
		pair := func(cert, key string) error {
			c, _ := os.ReadFile(cert)
			k, _ := os.ReadFile(key)
			_, _, err := secret.ParseKeyPair(c, k)
			return err
		}
		if err := pair("alice2.crt", "alice2.key"); err != nil {
			t.Error(err)
		}
		if err := pair("alice3.crt", "alice.key"); err != nil {
			t.Error(err)
		}
	})
	t.Run("revoke and list", func(t *testing.T) {
		if r := ok(t, "", "cert", "revoke", "alice.crt", "--reason", "keyCompromise"); !strings.HasPrefix(r.out, "revoked ") {
			t.Errorf("%+v", r)
		}
		var entries []ca.Entry
		if err := json.Unmarshal([]byte(ok(t, "", "cert", "ls", "--revoked", "-o", "json").out), &entries); err != nil || len(entries) != 1 || entries[0].Reason != "keyCompromise" {
			t.Errorf("%v, %v", entries, err)
		}
		if r := run(t, "", "cert", "revoke", "alice.crt"); r.code != ExitFailed || !strings.Contains(r.err, "HK7023") {
			t.Errorf("%+v", r)
		}
		if err := os.WriteFile("list.pem", []byte(ok(t, "", "ca", "crl").out), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := run(t, "", "cert", "inspect", "alice.crt", "list.pem"); r.code != ExitFindings || !strings.Contains(r.out, "HK7059") {
			t.Errorf("%+v", r)
		}
		if r := ok(t, "", "ca", "crl", "--lifetime", "30d"); !strings.Contains(r.err, "next update "+time.Now().Add(30*24*time.Hour).UTC().Format(time.DateOnly)) {
			t.Errorf("%+v", r)
		}
		ok(t, "", "cert", "revoke", "alice2.crt", "--reason", "certificateHold")
		ok(t, "", "cert", "release", "alice2.crt")
		if r := ok(t, "", "cert", "ls", "--profile", "client", "--expiring", "2y"); !strings.Contains(r.out, "CN=bob") || strings.Contains(r.out, "revoked") || strings.Contains(r.out, "a.test") {
			t.Errorf("%+v", r)
		}
		if r := ok(t, "", "cert", "export", entries[0].Serial); strings.Count(r.out, "BEGIN CERTIFICATE") != 2 || strings.Contains(r.out, "PRIVATE") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("calendar", func(t *testing.T) {
		r := ok(t, "", "cert", "calendar")
		if !strings.Contains(r.out, "authority") || !strings.Contains(r.err, "only the authority is listed") {
			t.Errorf("%+v", r)
		}
		if r := run(t, "", "cert", "calendar", "--within", "30y"); r.code != ExitFindings {
			t.Errorf("%+v", r)
		}
	})
}

func TestRotation(t *testing.T) {
	withAuthority(t)
	ok(t, "", "cert", "issue", "--san", "a.test", "--out", "old")
	if r := run(t, "", "ca", "rotate", "switch"); r.code != ExitFailed || !strings.Contains(r.err, "HK7025") {
		t.Errorf("%+v", r)
	}
	for _, step := range []struct{ step, want string }{
		{"status", "steady: generation 1 issues"}, {"prepare", "prepared: generation 1 issues, generation 2 stands ready"},
		{"switch", "switched: generation 2 issues, generation 1 is to retire; 1 certificate of the old one still valid"},
	} {
		if r := ok(t, "", "ca", "rotate", step.step); !strings.HasPrefix(r.out, step.want) || !strings.HasPrefix(strings.Split(r.err, "next: ")[0], "") {
			t.Errorf("%s: %+v", step.step, r)
		}
	}
	if n := strings.Count(ok(t, "", "ca", "show", "--bundle").out, "BEGIN"); n != 2 {
		t.Errorf("%d roots in the bundle", n)
	}
	if r := run(t, "", "ca", "rotate", "retire"); r.code != ExitFailed || !strings.Contains(r.err, "HK7026") {
		t.Errorf("%+v", r)
	}
	if r := ok(t, "", "cert", "ls", "--issuer", "issuer-1"); !strings.Contains(r.out, "a.test") {
		t.Errorf("%+v", r)
	}
	ok(t, "", "ca", "rotate", "retire", "--force")
}

func TestAuthorityInSecrets(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HAKONE_CA_DIR", filepath.Join(dir, "none"))
	if err := os.Mkdir("manifests", 0o755); err != nil {
		t.Fatal(err)
	}
	where := []string{"--secret", "istio-system/clients", "--config", "manifests"}
	ok(t, "", append([]string{"ca", "init", "--root-only", "--permit", "example.test", "--for", "10y"}, where...)...)
	ok(t, "", append([]string{"cert", "issue", "--san", "a.example.test", "-o", "pem"}, where...)...)
	r := run(t, "", append([]string{"cert", "issue", "--san", "a.other.test", "-o", "pem"}, where...)...)
	if r.code != ExitFindings || !strings.Contains(r.err, "HK7016") || !strings.Contains(r.err, "error: nothing was issued (HK7011)\n  cause: ") || r.out != "" {
		t.Errorf("%+v", r)
	}
	if r := ok(t, "", append([]string{"ca", "show"}, where...)...); !strings.Contains(r.out, "only example.test") {
		t.Errorf("%+v", r)
	}
}

// A passphrase closes the keys, and nothing prints it.
func TestPassphrase(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	t.Setenv("HAKONE_CA_DIR", filepath.Join(dir, "authority"))
	ok(t, "sesam öffne dich\n", "ca", "init", "--passphrase-file", "-")
	if r := run(t, "", "cert", "issue", "--san", "a.test", "-o", "pem"); r.code != ExitFailed || !strings.Contains(r.err, "HK7008") {
		t.Errorf("%+v", r)
	}
	if r := ok(t, "sesam öffne dich\n", "cert", "issue", "--san", "a.test", "-o", "pem", "--passphrase-file", "-"); !strings.Contains(r.out, "BEGIN PRIVATE KEY") || strings.Contains(r.err, "sesam") {
		t.Errorf("%+v", r)
	}
}

func TestOCSPIsServed(t *testing.T) {
	dir := withAuthority(t)
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	ok(t, "", "cert", "issue", "--profile", "client", "--cn", "alice", "--out", "alice")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var log stream
	go func() {
		done <- Execute(ctx, []string{"ca", "ocsp", "--listen", address}, Streams{In: strings.NewReader(""), Out: &log, Err: &log})
	}()
	within(t, "the responder listens", func() bool { return strings.Contains(log.String(), "serving default") })
	chain := ok(t, "", "cert", "export", "--from-cert", "alice.crt", "--from-key", "alice.key", "-o", "json").out
	var x struct {
		Certificate string `json:"certificate"`
	}
	if err := json.Unmarshal([]byte(chain), &x); err != nil {
		t.Fatal(err)
	}
	blocks := strings.SplitAfter(x.Certificate, "-----END CERTIFICATE-----\n")
	if err := os.WriteFile("issuer.crt", []byte(blocks[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("ca.crt", []byte(ok(t, "", "ca", "show", "--bundle").out), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		return string(testca.OpenSSL(t, dir, "ocsp", "-issuer", "issuer.crt", "-cert", "alice.crt", "-url", "http://"+address+"/ocsp/default", "-CAfile", "ca.crt", "-respout", "answer.der"))
	}
	if got := ask(); !strings.Contains(got, "alice.crt: good") {
		t.Error(got)
	}
	if r := run(t, "", "cert", "inspect", "answer.der", "alice.crt"); r.code != ExitOK || !strings.Contains(r.out, "status       good") {
		t.Errorf("%+v", r)
	}
	ok(t, "", "cert", "revoke", "alice.crt")
	within(t, "the responder says revoked", func() bool { return strings.Contains(ask(), "alice.crt: revoked") })
	if resp, err := http.Get("http://" + address + "/crl/"); err == nil {
		resp.Body.Close()
	}
	stop()
	select {
	case code := <-done:
		if code != ExitOK {
			t.Errorf("exit %d: %s", code, log.String())
		}
	case <-time.After(5 * time.Second):
		t.Error("it does not end")
	}
}

func TestWrongUsageOfAuthority(t *testing.T) {
	dir := withAuthority(t)
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct{ args, want string }{
		{"ca nonsense", `error: hakone ca has no command "nonsense"; use init, show, rotate, crl or ocsp` + "\n  fix:   see hakone ca --help"},
		{"ca init", "error: the authority cannot be made (HK7002)\n  cause: "},
		{"ca init --name x --key-type dsa", `error: --key-type "dsa" cannot be used (HK7012)` + "\n  cause: \"dsa\" is no kind of key\n  fix:   Use one of"},
		{"ca init --name x --subject =", "error: --subject cannot be used (HK7012)"},
		{"ca init --name x --for never", `error: --for "never" is no time such as 15y, 30d or 12h`},
		{"ca init --secret a/b", "error: --secret needs the folder of the manifests: --config DIR"},
		{"ca show --ca-dir " + missing, "error: the authority cannot be opened (HK7001)\n  cause: there is no authority \"default\" in " + missing + "\n  fix:   Make it with hakone ca init"},
		{"ca show -o csv", "-o csv is not an output format here"},
		{"ca show --admin unix:" + missing, "error: no running hakone answers (HK6002)"},
		{"ca rotate nonsense", `hakone ca rotate has no command "nonsense"`},
		{"ca crl --form txt", `--form "txt" is neither pem nor der`},
		{"ca crl --lifetime soon", `--lifetime "soon" is no time such as 30d or 12h`},
		{"ca crl --lifetime 2y", "error: the list cannot be made (HK7012)\n  cause: a revocation list cannot live"},
		{"ca crl --ca nobody", "error: the list cannot be made (HK"},
		{"ca ocsp --listen nowhere", "error: nowhere cannot be served"},
		{"ca ocsp --ca-dir " + missing, "error: there is no authority in " + missing},
		{"cert nonsense", `hakone cert has no command "nonsense"; use issue, sign,`},
		{"cert issue", "error: the certificate would have no name\n  fix:   give --san HOST, or --cn NAME for a client"},
		{"cert issue --san a.test --profile x", `error: --profile cannot be used (HK7012)` + "\n  cause: \"x\" is no profile"},
		{"cert issue --san a.test --for 1d --days 1", "--for and --days exclude each other"},
		{"cert issue --san a.test --days -1", "--days -1 is out of range"},
		{"cert issue --san a.test --cn a --subject CN=b", "--cn and --subject exclude each other"},
		{"cert issue --san a.test -o p12", "-o p12 is not an output format here"},
		{"cert issue --san a.test -o pkcs12", "error: a PKCS #12 container needs a password (HK7056)"},
		{"cert issue --san a.test -o secret --secret-name A/b", "error: --secret-name cannot be used (HK7069)"},
		{"cert issue --san a.test -o secret --cert x", "--cert and --key go with -o pem"},
		{"cert issue --san a.test --out " + missing + "/x", "error: the certificate cannot be written (HK7069)\n  cause: the folder of "},
		{"cert issue --san a.test --out x --for 20y", "error: nothing was issued (HK7011)\n  cause: "},
		{"cert sign", "accepts 1 arg"},
		{"cert sign " + missing, "error: the request cannot be read"},
		{"cert renew nobody", "error: nothing was renewed (HK70"},
		{"cert revoke nobody", "error: nothing was revoked (HK70"},
		{"cert revoke ab --reason boredom", "error: nothing was revoked (HK70"},
		{"cert ls --state gone", `--state "gone" is none of valid, expired, revoked, pending`},
		{"cert ls --revoked --state valid", "--revoked and --state valid exclude each other"},
		{"cert ls --expiring soon", `--expiring "soon" is no time such as 30d or 12h`},
		{"cert export", "takes either a serial number or fingerprint, or --from-cert"},
		{"cert export --from-cert a.crt", "--from-cert needs --from-key"},
		{"cert export --from-cert a.crt --from-key a.key", "error: the file of --from-cert cannot be read"},
		{"cert inspect " + missing, "error: " + missing + " cannot be read\n  cause: "},
		{"cert inspect a/b --config " + dir, "error: there is no file a/b, and no Secret or ConfigMap of that name"},
		{"cert inspect smtp://a.test", "smtp:// is not inspected"},
		{"cert inspect --fail-on never -", `--fail-on "never" is none of error, warning, info`},
		{"cert inspect --host a..b -", "error: --host: "},
		{"cert inspect --ca " + missing + " -", "error: the file of --ca cannot be read"},
		{"cert calendar --within soon", `--within "soon" is no time such as 30d, 12h or 1y`},
		{"cert calendar --config " + missing, "error: the folder cannot be read (HK5001)"},
		{"cert calendar --admin unix:" + missing, "error: no running hakone answers (HK6002)"},
		{"origin pull upload --zone a.test", "error: hakone origin pull upload needs the body: --json @FILE"},
		{"origin pull upload --json {}", "error: give one of --zone and --host"},
		{"origin pull upload --json @" + missing + " --zone a.test", "error: the body cannot be read"},
		{"origin pull upload --json {} --zone a.test --config " + dir, "error: nothing was changed (HK7067)\n  cause: the body has no certificate\n  fix:   Send {"},
		{"origin pull enable --zone a.test --config " + dir, "error: nothing was changed (HK7068)\n  cause: nothing was uploaded for zone a.test\n  fix:   "},
		{"origin pull ls --config " + missing, "error: the folder cannot be read (HK5001)"},
		{"origin enroll", "accepts 1 arg"},
		{"origin enroll Shop --host a.test", "error: the origin cannot be enrolled (HK7069)\n  cause: \"Shop\" in namespace \"default\" cannot be the name of an origin"},
		{"origin enroll shop", "error: the origin cannot be enrolled (HK7069)\n  cause: the origin has no host name"},
		{"origin enroll shop --host a.test --print apache", `--print "apache" is none of nginx, node, go, caddy`},
		{"origin enroll shop --host a.test --config " + missing, "is no folder"},
		{"origin enroll shop --host a.test --name nobody", "error: the origin cannot be enrolled (HK7001)"},
	} {
		r := run(t, "", strings.Fields(c.args)...)
		if r.code == ExitOK || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: exit %d\n%s\nwant %q", c.args, r.code, r.err, c.want)
		}
		if lines := strings.Split(strings.TrimSpace(r.err), "\n"); !strings.Contains(r.err, "\n  fix:   ") || len(lines) > 8 {
			t.Errorf("%s: no fix, or too many words:\n%s", c.args, r.err)
		}
	}
	left, err := filepath.Glob("*")
	if err != nil || len(left) != 1 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestParseSpan(t *testing.T) {
	day := 24 * time.Hour
	for in, want := range map[string]time.Duration{"15y": 5475 * day, "30d": 30 * day, "2w": 14 * day, "12h": 12 * time.Hour, "1y30d12h30m": 395*day + 12*time.Hour + 30*time.Minute,
		"": 0, "0d": 0, "-1d": 0, "15": 0, "y": 0, "201y": 0, "99999999999999999999y": 0, "1d1": 0, "1x": 0} {
		got, err := parseSpan(in)
		if got != want && want != 0 || (err == nil) != (want != 0) {
			t.Errorf("%q: %s, %v", in, got, err)
		}
	}
}

// Completions know the new commands and their words.
func TestCompletions(t *testing.T) {
	alone(t)
	for args, want := range map[string]string{
		"__complete c":                       "cert\t",
		"__complete ca ":                     "rotate\t",
		"__complete cert ":                   "calendar\t",
		"__complete origin pull ":            "upload\t",
		"__complete cert issue --profile ":   "origin",
		"__complete cert issue --key-type ":  "rsa-2048",
		"__complete cert revoke x --reason ": "keyCompromise",
		"__complete cert ls --state ":        "pending",
		"__complete ca show -o ":             "configmap",
		"__complete cert issue -o ":          "pkcs12",
		"__complete status -o ":              "yaml",
		"__complete logs pull --kind ":       "handshake",
		"__complete logs pull --timestamps ": "unixnano",
		"__complete logs pull --fields Ray":  "RayID\t",
	} {
		list := strings.Split(args, " ")
		if r := run(t, "", list...); !strings.Contains(r.out, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
}
