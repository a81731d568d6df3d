package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/test/golden"
)

// result is what a command left.
type result struct {
	code     int
	out, err string
}

// run executes a command line in this process.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	code := Execute(t.Context(), args, Streams{In: strings.NewReader(stdin), Out: &out, Err: &err})
	return result{code, out.String(), err.String()}
}

// alone keeps the environment of the machine out of a test.
func alone(t *testing.T) {
	t.Helper()
	t.Setenv("HAKONE_ADMIN", "unix:"+filepath.Join(t.TempDir(), "nobody.sock"))
	for _, name := range []string{"TLS_MIN_VERSION", "HAKONE_TOKEN", "HAKONE_TOKEN_FILE", "HAKONE_CACERT", "HAKONE_CLIENT_CERT", "HAKONE_CLIENT_KEY"} {
		t.Setenv(name, "")
	}
}

// folder writes manifests and returns their folder.
func folder(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(golden.Fill(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const good = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [httpbin.example.com], tls: {mode: SIMPLE, credentialName: cert}}
  - {port: {number: 8443, name: second, protocol: HTTPS}, hosts: [edwards.example.com], tls: {mode: SIMPLE, credentialName: cert}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: ["*.example.com"]
  gateways: [gw]
  http: [{directResponse: {status: 418}}]
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
type: kubernetes.io/tls
data: {tls.crt: "${httpbin.crt}", tls.key: "${httpbin.key}"}
`

func TestWrongUsage(t *testing.T) {
	alone(t)
	dir := folder(t, good)
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		args string
		want string // in the first line of the error
	}{
		{"nonsense", `unknown command "nonsense"`},
		{"sttus", `unknown command "sttus" for "hakone"` + "\n  fix:   did you mean status?"},
		{"run --config . --max-request-fields abc", `--max-request-fields wants a number, not "abc"` + "\n  fix:   see hakone run --help"},
		{"--nonsense", "unknown flag: --nonsense"},
		{"run --nonsense", "unknown flag: --nonsense"},
		{"run", "hakone run needs a folder: --config DIR"},
		{"run extra --config " + dir, "extra"},
		{"run --config " + missing, "the configuration folder cannot be read"},
		{"run --config " + dir + "/a.yaml", "is no folder"},
		{"run --config " + dir + " --endpoint httpbin", `--endpoint "httpbin" is no NAME.NAMESPACE:PORT=HOST:PORT`},
		{"run --config " + dir + " --endpoint httpbin.default=1.2.3.4:80", "names no port of the service"},
		{"run --config " + dir + " --endpoint httpbin.default:80=1.2.3.4", `"1.2.3.4" is no HOST:PORT`},
		{"run --config " + dir + " --endpoint httpbin.default:80=1.2.3.4:0", `"1.2.3.4:0" is no HOST:PORT`},
		{"run --config " + dir + " --port-map 443", `--port-map "443" is no PORT=PORT`},
		{"run --config " + dir + " --port-map 443=0", "is no PORT=PORT"},
		{"run --config " + dir + " --port-map 443=65536", "is no PORT=PORT"},
		{"run --config " + dir + " --labels istio", `--labels "istio" is no NAME=VALUE`},
		{"run --config " + dir + " --labels =x", "is no NAME=VALUE"},
		{"run --config " + dir + " --address localhost", `--address "localhost" is no IP address`},
		{"run --config " + dir + " --trusted-proxies 10.0.0.0/33", `"10.0.0.0/33" is no CIDR`},
		{"run --config " + dir + " --log-level loud", `--log-level "loud"`},
		{"run --config " + dir + " --log-format xml", `--log-format "xml"`},
		{"run --config " + dir + " --access-log-format csv --admin off", "access log cannot be opened"},
		{"run --config " + dir + " --secret-grace soon", "secret-grace"},
		{"run --config " + dir + " --admin-client-ca " + missing, "admin client CA cannot be read"},
		{"run --config " + dir + " --admin-cert " + missing, "admin certificate cannot be used"},
		{"run --config " + dir + " --admin-token-file " + dir + "/a.yaml", "is no ROLE:TOKEN"},
		{"check", "arg"},
		{"check " + dir + " -o xml", "-o xml is not an output format here"},
		{"check " + dir + " --fail-on info", `--fail-on "info" is neither error nor warning`},
		{"check " + missing, "the folder cannot be read"},
		{"explain", "takes one code or request ID"},
		{"explain HK9999", `no code "HK9999"`},
		{"explain HK1005 -o csv", "not an output format"},
		{"version -o csv", "not an output format"},
		{"status extra", "extra"},
		{"status -o csv", "not an output format"},
		{"status --admin-token-file " + missing, "admin token cannot be read"},
		{"dump everything", `"everything"`},
		{"tls-version shw", `has no command "shw"`},
		{"tls-version set", "arg"},
		{"tls-version set 1.4", `"1.4" is no TLS version`},
		{"service tls", `has no command "tls"`},
		{"service tls_version --tls-min-version 2", `"2" is no TLS version`},
	} {
		r := run(t, "", strings.Fields(c.args)...)
		lines := strings.Split(strings.TrimSuffix(r.err, "\n"), "\n")
		if r.code != ExitUsage || !strings.HasPrefix(lines[0], "error: ") || !strings.Contains(r.err, c.want) || r.out != "" {
			t.Errorf("hakone %s: exit %d, stdout %q, stderr %q; want %q", c.args, r.code, r.out, r.err, c.want)
		}
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "  fix:   ") || len(lines) > 3 {
			t.Errorf("hakone %s: an error is what, cause and fix, not %q", c.args, r.err)
		}
	}
}

func TestTLSMinVersionOfTheEnvironment(t *testing.T) {
	alone(t)
	dir := folder(t, good)
	t.Setenv("TLS_MIN_VERSION", "9")
	for _, args := range [][]string{{"run", "--config", dir}, {"check", dir}} {
		if r := run(t, "", args...); r.code != ExitUsage || !strings.Contains(r.err, `error: TLS_MIN_VERSION "9" is no TLS version (HK5401)`) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	t.Setenv("TLS_MIN_VERSION", "1.3")
	if r := run(t, "", "check", dir); r.code != ExitOK {
		t.Errorf("%+v", r)
	}
}

// The three lines of an error, word for word.
func TestErrorIsThreeLines(t *testing.T) {
	alone(t)
	socket := filepath.Join(t.TempDir(), "s")
	r := run(t, "", "status", "--admin", "unix:"+socket)
	lines := strings.Split(strings.TrimSuffix(r.err, "\n"), "\n")
	if r.code != ExitUnreachable || len(lines) != 3 || lines[0] != "error: no running hakone answers ("+diag.AdminUnreachable.String()+")" ||
		!strings.HasPrefix(lines[1], "  cause: ") || !strings.Contains(lines[1], socket) || !strings.HasPrefix(lines[2], "  fix:   start hakone run") {
		t.Errorf("%d %q", r.code, r.err)
	}
}

func TestCheck(t *testing.T) {
	alone(t)
	bad := strings.Replace(good, "credentialName: cert}}\n  - {port: {number: 8443", "credentialName: crt}}\n  - {port: {number: 8443", 1)
	for _, c := range []struct {
		name, text string
		args       []string
		code       int
	}{
		{"good", good, nil, ExitOK},
		{"good, warnings count", good, []string{"--fail-on", "warning"}, ExitFindings}, // the certificate does not name the second host
		{"error", bad, nil, ExitFindings},
		{"other labels", good, []string{"--labels", "istio=other"}, ExitFindings},
		{"empty", "", nil, ExitOK},
	} {
		r := run(t, "", append([]string{"check", folder(t, c.text)}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.err, " objects\n") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	dir := folder(t, bad)
	if r := run(t, "", "check", dir); !strings.Contains(r.out, "error   HK5104 Gateway default/gw  "+dir+"/a.yaml:8  spec.servers[0].tls.credentialName\n") || !strings.Contains(r.out, "\n        fix: ") {
		t.Errorf("%s", r.out)
	}
	for _, format := range []string{"json", "yaml"} {
		r := run(t, "", "check", dir, "-o", format)
		if r.code != ExitFindings || r.err != "" || !strings.Contains(r.out, "HK5104") {
			t.Errorf("%s: %+v", format, r)
		}
	}
	var report struct {
		Diagnostics []struct {
			Code     string
			Severity string
			Message  string
			Fix      string
		}
		Summary map[string]int
	}
	if err := json.Unmarshal([]byte(run(t, "", "check", dir, "-o", "json").out), &report); err != nil {
		t.Fatal(err)
	}
	if report.Summary["objects"] != 3 || report.Summary["error"] == 0 || report.Diagnostics[0].Code != "HK5104" || report.Diagnostics[0].Severity != "error" || report.Diagnostics[0].Fix == "" {
		t.Errorf("%+v", report)
	}
	if r := run(t, "", "check", folder(t, ""), "-o", "json"); !strings.Contains(r.out, `"diagnostics": [`) {
		t.Errorf("no findings are an empty list: %s", r.out)
	}
}

func TestExplainKnowsEveryCode(t *testing.T) {
	alone(t)
	for _, e := range diag.Catalogue() {
		for _, name := range []string{e.Code.String(), strings.ToLower(e.Code.String()), e.Slug} {
			r := run(t, "", "explain", name)
			if r.code != ExitOK || !strings.HasPrefix(r.out, e.Code.String()+" "+e.Slug+": "+e.Title+"\n") || !strings.Contains(r.out, e.Cause) || !strings.Contains(r.out, "fix: "+e.Fix) {
				t.Fatalf("explain %s: %+v", name, r)
			}
		}
	}
	var all []map[string]any
	if err := json.Unmarshal([]byte(run(t, "", "explain", "--all", "-o", "json").out), &all); err != nil || len(all) != len(diag.Catalogue()) {
		t.Errorf("%d entries, %v", len(all), err)
	}
	if r := run(t, "", "explain", "--all"); strings.Count(r.out, "\n") != len(diag.Catalogue())+1 {
		t.Error("explain --all lists one code a line")
	}
	if r := run(t, "", "explain", "0f8fad5b-d9cb-469f-a165-70867728950e"); r.code != ExitUnreachable {
		t.Errorf("a request ID asks the running process: %+v", r)
	}
}

func TestVersion(t *testing.T) {
	alone(t)
	if r := run(t, "", "version"); r.code != ExitOK || !strings.HasPrefix(r.out, "hakone ") {
		t.Errorf("%+v", r)
	}
	var bom struct {
		BOMFormat, SpecVersion string
		Metadata               struct{ Component map[string]string }
		Components             []struct{ Name, Version, PURL string }
	}
	r := run(t, "", "version", "--sbom")
	if err := json.Unmarshal([]byte(r.out), &bom); err != nil || bom.BOMFormat != "CycloneDX" || bom.Metadata.Component["name"] != "hakone" || len(bom.Components) == 0 {
		t.Errorf("%v, %s", err, r.out)
	}
	for _, c := range bom.Components {
		if c.Name == "" || c.Version == "" || !strings.HasPrefix(c.PURL, "pkg:golang/"+c.Name+"@") {
			t.Errorf("%+v", c)
		}
	}
}

func TestCompletion(t *testing.T) {
	alone(t)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := run(t, "", "completion", shell); r.code != ExitOK || !strings.Contains(r.out, "hakone") || len(r.out) < 1000 {
			t.Errorf("%s: exit %d, %d bytes", shell, r.code, len(r.out))
		}
	}
	if r := run(t, "", "__complete", "explain", "HK10"); !strings.Contains(r.out, "HK1001\t") {
		t.Errorf("codes are completed: %s", r.out)
	}
}

func TestHelp(t *testing.T) {
	alone(t)
	for _, args := range [][]string{{}, {"--help"}, {"help", "run"}, {"run", "-h"}, {"tls-version"}, {"service"}} {
		if r := run(t, "", args...); r.code != ExitOK || !strings.Contains(r.out, "Usage:") || r.err != "" {
			t.Errorf("%v: exit %d, stderr %q", args, r.code, r.err)
		}
	}
}

// Every flag that stands for a bound names the code of its refusal, and that code exists.
func TestLimitsNameTheirCodes(t *testing.T) {
	alone(t)
	for line := range strings.Lines(run(t, "", "run", "--help").out) {
		_, rest, found := strings.Cut(line, "(HK")
		if !found {
			continue
		}
		number, _, _ := strings.Cut(rest, ")")
		if _, err := diag.ParseCode(number); err != nil {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
	}
}

func TestRunWithoutListener(t *testing.T) {
	alone(t)
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "no Gateway of ours is in"},
		{"nothing usable", strings.ReplaceAll(good, "credentialName: cert", "credentialName: ''"), "HK5208"},
	} {
		r := run(t, "", "run", "--config", folder(t, c.text), "--admin", "off", "--address", "127.0.0.1")
		if r.code != ExitUsage || !strings.Contains(r.err, "error: no listener can serve ("+diag.NoUsableListener.String()+")\n  cause: ") || !strings.Contains(r.err, c.want) || !strings.Contains(r.err, "--wait") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// Whoever ends the process during a command gets its exit code all the same.
func TestExecuteEndsWithItsContext(t *testing.T) {
	alone(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code := Execute(ctx, []string{"run", "--config", folder(t, ""), "--wait", "--admin", "off", "--address", "127.0.0.1"},
		Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	if code != ExitOK {
		t.Errorf("exit %d", code)
	}
}
