//go:build e2e

package edge

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
	"github.com/hakone-gateway/hakone/test/testnet"
)

const lb = "mtls_lb.mtls-test.net"

// walk is the document's world: a client, the edge and an origin on one network.
type walk struct {
	*testing.T
	dir                  string // the client's, with the files of chapter 4
	client, edge, origin *testnet.Host
	g                    *gateway.Gateway
	accessLog            string // the origin's
}

// TestSeed3 is the document from its fourth chapter to its tenth.
func TestSeed3(t *testing.T) {
	t.Parallel()
	n := testnet.New(t)
	w := &walk{T: t, dir: t.TempDir(), client: n.Host(), edge: n.Host(), origin: n.Host()}
	w.certificates()
	w.startEdge()
	w.uploadPullCertificate()
	w.startOrigin()
	begin := time.Now().Add(-time.Second)
	with := w.withCertificate()
	without := w.withoutCertificate()
	w.direct()
	w.originsLog()
	w.pull(begin, with, without)
	w.explain(without)
	w.enrolled(n.Host())
}

// certificates runs chapter 4: the clients' CA and certificate.
func (w *walk) certificates() {
	for _, line := range []string{
		"req -new -x509 -nodes -days 365 -subj /CN=hyama-ca -keyout ca.key -out ca.crt",
		"genrsa -out client.key",
		"req -new -subj /CN=localhost -key client.key -out client.csr",
		"x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -in client.csr -out client.crt",
	} {
		testca.OpenSSL(w, w.dir, strings.Fields(line)...)
	}
	text := testca.OpenSSL(w, w.dir, "x509", "-in", "client.crt", "-text", "-noout")
	if !strings.Contains(string(text), "Version: 1 (0x0)") {
		w.Fatalf("the document's commands make a version 1 certificate, this openssl another:\n%s", text)
	}
}

// hakone runs a command in the client's folder, with the walk's authority.
func (w *walk) hakone(args ...string) string {
	w.Helper()
	r := program.Run(w, program.Command{Path: gateway.Binary(w), Args: args, Dir: w.dir, Env: []string{"HAKONE_CA_DIR=" + filepath.Join(w.dir, "authority"), "HAKONE_ADMIN=" + w.admin()}})
	if r.Code != 0 {
		w.Fatalf("hakone %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r.Out
}

func (w *walk) admin() string {
	if w.g == nil {
		return "unix:/nonexistent"
	}
	return w.g.Admin
}

func (w *walk) read(name string) string {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.Fatal(err)
	}
	return string(b)
}

// startEdge orders the origin's certificate (chapter 6) and serves chapter 5.
func (w *walk) startEdge() {
	w.hakone("ca", "init")
	w.hakone("cert", "issue", "--profile", "origin", "--key-type", "rsa2048", "--san", "mtls_bkend.mtls-test.net", "--for", "15y", "--cert", "mtls_bkend.crt", "--key", "mtls_bkend.key")
	bundle := w.hakone("ca", "show", "--bundle")
	public := testca.New(w, testca.Spec{CommonName: "A public CA"})
	if err := os.WriteFile(filepath.Join(w.dir, "public.crt"), public.CertPEM(), 0o644); err != nil {
		w.Fatal(err)
	}
	leaf := public.Issue(testca.Spec{DNS: []string{"*.mtls-test.net"}})
	manifests, err := os.ReadFile("testdata/edge.yaml")
	if err != nil {
		w.Fatal(err)
	}
	w.g = gateway.Start(w, gateway.Options{Prefix: w.edge.Prefix(), Files: map[string]string{
		"edge.yaml":   strings.ReplaceAll(string(manifests), "ORIGIN", w.origin.Address),
		"secret.yaml": testca.SecretYAML("default", "edge-certificate", leaf.SecretData(testca.FormatTLS, nil, nil)),
		"ca.yaml":     configMap("mtls-ca", w.read("ca.crt")) + "---\n" + configMap("origin-ca", bundle),
	}})
}

func configMap(name, pem string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\ndata:\n  ca.crt: |\n    %s\n", name,
		strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n    "))
}

// uploadPullCertificate runs chapter 7 with the document's own perl and sed.
func (w *walk) uploadPullCertificate() {
	script := `MYCERT="$(cat client.crt|perl -pe 's/\r?\n/\\n/'|sed -e 's/..$//')"
MYKEY="$(cat client.key|perl -pe 's/\r?\n/\\n/'|sed -e's/..$//')"
cat <<EOF > reqbody.json
{ "certificate": "$MYCERT\n","private_key": "$MYKEY\n"}
EOF
`
	if r := program.Run(w, program.Command{Path: "/bin/bash", Args: []string{"-c", script}, Dir: w.dir}); r.Code != 0 {
		w.Fatal(r.Err)
	}
	w.hakone("origin", "pull", "upload", "--zone", "mtls-test.net", "--json", "@reqbody.json")
	if list := w.hakone("origin", "pull", "ls"); !strings.Contains(list, "mtls-test.net") || !strings.Contains(list, "CN=localhost") {
		w.Errorf("origin pull ls:\n%s", list)
	}
	w.hakone("origin", "pull", "enable", "--zone", "mtls-test.net")
}

// startOrigin runs chapter 8 as it is written: index.js on port 443.
func (w *walk) startOrigin() {
	dir := w.TempDir()
	for _, name := range []string{"ca.crt", "mtls_bkend.crt", "mtls_bkend.key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(w.read(name)), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	script, err := os.ReadFile("testdata/index.js")
	if err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.js"), script, 0o644); err != nil {
		w.Fatal(err)
	}
	log := program.Start(w, w.origin.On(program.Command{Path: program.Find(w, "node"), Args: []string{"index.js"}, Dir: dir, Env: []string{"NODE_PATH=" + program.NodeModules(w)}}))
	await(w, "the origin listens", func() bool { return strings.Contains(log(), "HTTPS listening on 443") })
	w.accessLog = filepath.Join(dir, "access.log")
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 20 s until %s", what)
		}
	}
}

// curl runs the document's curl on the client.
func (w *walk) curl(args ...string) program.Result {
	w.Helper()
	args = append([]string{"-sv", "--max-time", "20", "--cacert", "./public.crt", "--resolve", lb + ":443:" + w.edge.Address}, args...)
	return program.Run(w, w.client.On(program.Command{Path: program.Find(w, "curl"), Args: args, Dir: w.dir}))
}

// ray returns the answer's cf-ray.
func (w *walk) ray(r program.Result) string {
	w.Helper()
	m := regexp.MustCompile(`(?m)^< cf-ray: (\S+)\r?$`).FindStringSubmatch(r.Err)
	if m == nil {
		w.Fatalf("no cf-ray in the answer:\n%s", r.Err)
	}
	return m[1]
}

func (w *walk) wants(r program.Result, text string, wants ...string) {
	w.Helper()
	for _, want := range wants {
		if !regexp.MustCompile(want).MatchString(text) {
			w.Errorf("%s is missing in:\n%s\n%s", want, r.Err, r.Out)
		}
	}
}

func (w *walk) withCertificate() (ray string) {
	r := w.curl("--key", "./client.key", "--cert", "./client.crt", "https://"+lb+":443/test1")
	w.wants(r, r.Err, `(?m)^< HTTP/2 200`, `(?m)^< content-type: application/json; charset=utf-8`, `(?m)^< content-length: 24`, `Request CERT \(13\)`,
		`(?m)^< set-cookie: CF_Authorization=[\w-]+\.[\w-]+\.[\w-]+; Expires=\w{3}, [^;]+ GMT; Path=/; Secure; HttpOnly`, `(?m)^< x-powered-by: Express`)
	if r.Out != `{"message":"Hello mtls"}` {
		w.Errorf("body %q", r.Out)
	}
	return w.ray(r)
}

func (w *walk) withoutCertificate() (ray string) {
	r := w.curl("https://" + lb + ":443/test1")
	ray = w.ray(r)
	w.wants(r, r.Err, `(?m)^< HTTP/2 403`, `(?m)^< content-type: text/html`, `(?m)^< cf-access-aud: [0-9a-f]{64}`, `(?m)^< cf-access-domain: mtls_lb\.mtls-test\.net`)
	w.wants(r, r.Out, `(?i)<!doctype html>`, "HK2101", regexp.QuoteMeta(ray))
	return ray
}

// direct asks the origin without the edge: it wants a certificate of the clients' CA.
func (w *walk) direct() {
	r := program.Run(w, w.client.On(program.Command{Path: program.Find(w, "curl"), Args: []string{"-sv", "-k", "--max-time", "20", "https://" + w.origin.Address + "/test1"}, Dir: w.dir}))
	if r.Code == 0 || r.Out != "" {
		w.Errorf("the origin serves who has no certificate: exit %d\n%s\n%s", r.Code, r.Out, r.Err)
	}
}

func (w *walk) originsLog() {
	want := regexp.MustCompile(`\[INFO\] access - \S+ - - "GET /test1 HTTP/1\.1" 200 24 "" "curl/`)
	await(w, "the origin's access.log holds the request", func() bool {
		b, _ := os.ReadFile(w.accessLog)
		return want.Match(b)
	})
}

// pull runs chapter 10 with times in the document's own zone.
func (w *walk) pull(begin time.Time, with, without string) {
	japan := time.FixedZone("", 9*60*60)
	var lines []map[string]any
	await(w, "both requests are in the log", func() bool {
		out := w.hakone("logs", "pull", "--start", begin.In(japan).Format(time.RFC3339), "--end", time.Now().Add(2*time.Second).In(japan).Format(time.RFC3339))
		lines = nil
		for line := range strings.Lines(out) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				w.Fatalf("%q: %v", line, err)
			}
			lines = append(lines, m)
		}
		return len(lines) >= 2
	})
	status := map[string]float64{}
	for _, m := range lines {
		if len(m) != 9 || m["ClientRequestHost"] != lb || m["ClientRequestMethod"] != "GET" || m["ClientRequestURI"] != "/test1" || m["ClientIP"] != w.client.Address {
			w.Errorf("a line with other than the document's nine fields: %v", m)
		}
		if n, _ := m["EdgeResponseBytes"].(float64); n < 100 {
			w.Errorf("EdgeResponseBytes %v: fields count too", m["EdgeResponseBytes"])
		}
		status[fmt.Sprint(m["RayID"])], _ = m["EdgeResponseStatus"].(float64)
	}
	if status[with] != 200 || status[without] != 403 {
		w.Errorf("statuses by RayID: %v, want 200 for %s and 403 for %s", status, with, without)
	}
	verdicts := w.hakone("logs", "pull", "--start", begin.Format(time.RFC3339), "--fields", "RayID,MTLSVerdict,MTLSReason")
	for _, want := range []string{`"MTLSVerdict":"deny"`, `"MTLSReason":"client_cert_missing"`, `"MTLSVerdict":"allow"`} {
		if !strings.Contains(verdicts, want) {
			w.Errorf("%s is missing in\n%s", want, verdicts)
		}
	}
}

func (w *walk) explain(ray string) {
	story := w.hakone("explain", ray)
	for _, want := range []string{"HK2101", "client_cert_missing", "mtls-app"} {
		if !strings.Contains(story, want) {
			w.Errorf("explain %s does not say %s:\n%s", ray, want, story)
		}
	}
}

// enrolled does chapters 6 to 8 again for another host, with one command and an nginx, which runs what the
// command wrote for it. It lets in the edge only, not even the client that the document gives the edge's part.
func (w *walk) enrolled(origin *testnet.Host) {
	const name, second = "mtls_second.mtls-test.net", "mtls_two.mtls-test.net"
	before := w.g.Status().Epoch
	w.hakone("origin", "enroll", "second", "--host", name, "--address", origin.Address, "--key-type", "rsa2048", "--edge-host", second, "--config", w.g.Dir, "--path", w.dir+"/second")
	w.g.Write("second.yaml", fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: EdgeHost\nmetadata: {name: second}\nspec:\n  hosts: [%s]\n  certificateRefs: [{name: edge-certificate}]\n  poolRef: {name: second}\n", second))
	w.g.AwaitEpoch(before)
	dir := gateway.Folder(w)
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("daemon off; error_log stderr; pid %[1]s/pid;\nevents {}\nhttp {\naccess_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;\n%[2]s\n}\n",
		dir, strings.Replace(w.read("second/nginx.conf"), "root /var/www/html;", "return 200 'Hello nginx';", 1))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	log := program.Start(w, origin.On(program.Command{Path: program.Find(w, "nginx"), Args: []string{"-c", conf}}))
	get := func(to, host string, args ...string) program.Result {
		return program.Run(w, w.client.On(program.Command{Path: program.Find(w, "curl"), Dir: w.dir,
			Args: append([]string{"-sv", "--max-time", "20", "--resolve", host + ":443:" + to, "https://" + host + "/"}, args...)}))
	}
	var r program.Result
	await(w, "nginx answers through the edge", func() bool {
		r = get(w.edge.Address, second, "--cacert", "public.crt")
		return r.Out == "Hello nginx"
	})
	w.wants(r, r.Err, `(?m)^< HTTP/2 200`)
	for _, args := range [][]string{nil, {"--cert", "client.crt", "--key", "client.key"}} {
		if r := get(origin.Address, name, append(args, "-k")...); strings.Contains(r.Out, "Hello") || r.Code == 0 && !strings.Contains(r.Err, "400") {
			w.Errorf("nginx serves %v: exit %d\n%s\n%s\n%s", args, r.Code, r.Out, r.Err, log())
		}
	}
}
