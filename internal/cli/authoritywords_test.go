package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/calendar"
)

// What is to be typed next, and how a fault is mended, names the authority that was meant.
func TestCommandsNameTheAuthority(t *testing.T) {
	withAuthority(t)
	where := []string{"--ca-dir", "my authority", "--name", "partners"}
	r := ok(t, "", append([]string{"ca", "init"}, where...)...)
	for _, want := range []string{"hakone cert issue --ca-dir 'my authority' --name partners --san HOST", "hakone ca show --ca-dir 'my authority' --name partners --bundle"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("no %q in %s", want, r.err)
		}
	}
	if r := run(t, "", append([]string{"cert", "revoke", strings.Repeat("0", 32)}, where...)...); r.code == ExitOK || !strings.Contains(r.err, "hakone cert ls --ca-dir 'my authority' --name partners") {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", append([]string{"ca", "rotate", "switch"}, where...)...); !strings.Contains(r.err, "hakone ca rotate prepare --ca-dir 'my authority' --name partners") {
		t.Errorf("%+v", r)
	}
}

// The trust bundle and all lists go into one object, which names what was revoked.
func TestTrustConfigMap(t *testing.T) {
	dir := withAuthority(t)
	ok(t, "", "cert", "issue", "--san", "a.test", "--out", "a")
	if r := ok(t, "", "cert", "revoke", "a.crt"); !strings.HasSuffix(r.out, " a.test\n") || !strings.Contains(r.err, "--revocation-refresh") {
		t.Errorf("%+v", r)
	}
	show, crl := ok(t, "", "ca", "show", "--bundle", "-o", "configmap", "--config-map", "edge/partners-ca"), ok(t, "", "ca", "crl", "-o", "configmap", "--config-map", "edge/partners-ca")
	if show.out != crl.out || strings.Count(show.out, "BEGIN CERTIFICATE") != 1 || strings.Count(show.out, "BEGIN X509 CRL") != 2 || !strings.Contains(show.out, "name: partners-ca\n  namespace: edge\n") {
		t.Errorf("%+v", show)
	}
	lists := regexp.MustCompile(`(?m)^ +(-----BEGIN X509 CRL|[A-Za-z0-9+/=]+$|-----END X509 CRL)`)
	_, text, _ := strings.Cut(show.out, "ca.crl: |\n")
	if !lists.MatchString(text) {
		t.Error(text)
	}
	if err := os.WriteFile(filepath.Join(dir, "lists.pem"), []byte(strings.ReplaceAll(text, "    ", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "", "cert", "inspect", "a.crt", "lists.pem"); !strings.Contains(r.out, "the certificate of a.test was revoked") {
		t.Errorf("%+v", r)
	}
	for _, args := range [][]string{{"ca", "crl", "-o", "configmap", "--ca", "all"}, {"ca", "crl", "-o", "table"}, {"ca", "show", "-o", "configmap", "--config-map", "A B"}} {
		if r := run(t, "", args...); r.code != ExitUsage {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

// Lists that renew themselves are not due, and an unnamed certificate is listed by its first name.
func TestWhatRenewsItselfIsNotDue(t *testing.T) {
	withAuthority(t)
	ok(t, "", "ca", "init", "--name", "served", "--url", "http://ca.test")
	r := run(t, "", "cert", "calendar", "--name", "served", "-o", "json")
	var out struct {
		Entries []calendar.Entry `json:"entries"`
	}
	if err := json.Unmarshal([]byte(r.out), &out); err != nil || r.code != ExitOK || len(out.Entries) != 4 {
		t.Errorf("%v, %d entries, %+v", err, len(out.Entries), r)
	}
	if r := run(t, "", "cert", "calendar", "--name", "served", "--within", "26y"); r.code != ExitFindings || strings.Count(r.out, "(!)") != 2 || strings.Count(r.out, "(renews itself)") != 2 {
		t.Errorf("%+v", r)
	}
	ok(t, "", "cert", "issue", "--san", "b.test,c.test", "--out", "b")
	if r := ok(t, "", "cert", "ls"); strings.Contains(r.out, "(empty)") || !strings.Contains(r.out, " b.test ") {
		t.Errorf("%+v", r)
	}
}

// What keeps a root from retiring is named, with the command for what was replaced.
func TestRetireNamesWhatIsInTheWay(t *testing.T) {
	withAuthority(t)
	serial := regexp.MustCompile(`[0-9a-f]{32}`).FindString(ok(t, "", "cert", "issue", "--san", "a.test", "-o", "json").out)
	ok(t, "", "ca", "rotate", "prepare")
	ok(t, "", "ca", "rotate", "switch")
	ok(t, "", "cert", "renew", serial, "--out", "new")
	command := "hakone cert revoke --reason superseded " + serial
	if r := run(t, "", "ca", "rotate", "retire"); r.code != ExitFailed || !strings.Contains(r.err, command) {
		t.Errorf("%+v", r)
	}
	ok(t, "", strings.Fields(command)[1:]...)
	ok(t, "", "ca", "rotate", "retire")
}
