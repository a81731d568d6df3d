//go:build e2e

package egress

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
	"github.com/hakone-gateway/hakone/test/testca"
	"github.com/hakone-gateway/hakone/test/testnet"
)

// world is a network with a workload, the gateway, the company's proxy and a destination.
type world struct {
	*testing.T
	dir                             string // the workload's
	net                             *testnet.Net
	workload, hakone, company, dest *testnet.Host
	public                          *testca.Pair // signs destinations
	mesh                            *testca.Pair // the CA that workloads trust
	squid                           *squid.Squid
	g                               *gateway.Gateway
}

// names are the destinations.
var names = []string{"example.com", "www.example.com", "other.test", "pinned.test"}

// newWorld makes the network with the destination. No proxy runs, and no gateway.
func newWorld(t *testing.T) *world {
	t.Helper()
	n := testnet.New(t)
	w := &world{T: t, dir: t.TempDir(), net: n, workload: n.Host(), hakone: n.Host(), company: n.Host(), dest: n.Host()}
	w.public = testca.New(t, testca.Spec{CommonName: "A public CA"})
	w.mesh = testca.New(t, testca.Spec{CommonName: "The mesh's CA"})
	w.write("public.crt", w.public.CertPEM())
	w.write("mesh.crt", w.mesh.CertPEM())
	w.origin(w.dest, w.public.Issue(testca.Spec{DNS: names}))
	table := ""
	for _, name := range names {
		table += w.dest.Address + " " + name + "\n"
	}
	w.company.Names(table)
	w.hakone.Names(table)
	return w
}

// testcaSpec is a server's certificate.
func testcaSpec(name string) testca.Spec { return testca.Spec{DNS: []string{name}} }

// origin runs a destination on a host.
func (w *world) origin(h *testnet.Host, cert *testca.Pair) {
	w.Helper()
	dir := w.TempDir()
	cert.Write(dir, "origin")
	program.Start(w, h.On(program.Command{Path: os.Args[0], Env: []string{"EGRESS_TEST_ORIGIN=" + dir}}))
	w.await("the destination answers", func() bool {
		return program.Run(w, h.On(program.Command{Path: program.Find(w, "curl"), Args: []string{"-sk", "--max-time", "2", "https://127.0.0.1/"}})).Code == 0
	})
}

// startSquid starts the document's proxy on the company's host.
func (w *world) startSquid(o squid.Options) {
	w.Helper()
	o.On, o.Roots = w.company.On, w.public.CertPEM()
	for _, name := range names {
		o.Hosts += w.dest.Address + " " + name + "\n"
	}
	w.squid = squid.Start(w, o)
}

// start starts the gateway on its host, with the mesh's CA as Secret default/mesh-ca and the company's as
// ConfigMap default/company-ca, if there is one.
func (w *world) start(files map[string]string, args ...string) {
	w.Helper()
	all := map[string]string{"mesh.yaml": testca.SecretYAML("default", "mesh-ca", w.mesh.SecretData(testca.FormatTLS, nil, nil))}
	if w.squid != nil {
		all["company.yaml"] = w.companyCA(w.squid.CA)
	}
	for name, text := range files {
		all[name] = text
	}
	w.g = gateway.Start(w, gateway.Options{Prefix: w.hakone.Prefix(), Files: all, Args: args, Env: []string{"SSL_CERT_FILE=" + filepath.Join(w.dir, "public.crt"), "SSL_CERT_DIR=/nonexistent"}})
}

// companyCA is the ConfigMap with the CA of a proxy, under a key of the document's own.
func (w *world) companyCA(ca *testca.Pair) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: company-ca, namespace: default}\ndata:\n  bump.pem: |\n%s", indent(string(ca.CertPEM()), 4))
}

// corp is the UpstreamProxy for the company's proxy.
func (w *world) corp(more ...string) string {
	return fmt.Sprintf(`apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: corp, namespace: default}
spec:
  urls: ["http://%s:8080"]
  interception:
    caRef: {kind: ConfigMap, name: company-ca, key: bump.pem}
  hosts: ["*"]
%s`, w.company.Address, strings.Join(more, ""))
}

// egress is the ForwardProxy for all three ways.
func (w *world) egress(more ...string) string {
	return fmt.Sprintf(`apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: egress, namespace: default}
spec:
  listeners:
  - {name: way-a, port: 80, mode: Gateway}
  - {name: way-b, port: 443, mode: Gateway}
  - {name: way-c, port: 3128, mode: Proxy}
  interception:
    caRef: {name: mesh-ca}
%s`, strings.Join(more, ""))
}

// curl runs curl on the workload's host, with names of destinations leading to the gateway.
func (w *world) curl(args ...string) program.Result { return w.curlEnv(nil, args...) }

func (w *world) curlEnv(env []string, args ...string) program.Result {
	w.Helper()
	all := []string{"-sS", "--max-time", "20"}
	for _, name := range names {
		all = append(all, "--resolve", name+":80:"+w.hakone.Address, "--resolve", name+":443:"+w.hakone.Address)
	}
	return program.Run(w, w.workload.On(program.Command{Path: program.Find(w, "curl"), Args: append(all, args...), Dir: w.dir, Env: env}))
}

// title fails the test unless curl got the page of example.com.
func (w *world) title(r program.Result) {
	w.Helper()
	if r.Code != 0 || !strings.Contains(r.Out, "<title>Example Domain</title>") {
		log := ""
		if w.g != nil {
			log = program.Tail(w.g.Stderr(), 3000)
		}
		if w.squid != nil {
			log += "\nsquid:\n" + strings.Join(w.squid.Log(), "\n")
		}
		w.Fatalf("curl: exit %d, no page\n%s\n%s\n%s", r.Code, r.Out, r.Err, log)
	}
}

// has fails the test for each expression that text does not match.
func (w *world) has(what, text string, expressions ...string) {
	w.Helper()
	for _, e := range expressions {
		if !regexp.MustCompile(e).MatchString(text) {
			w.Errorf("%s does not match %s:\n%s", what, e, text)
		}
	}
}

// hakoneRun runs a command of hakone on the gateway's host.
func (w *world) hakoneRun(args ...string) program.Result {
	w.Helper()
	env := []string{}
	if w.g != nil {
		env = append(env, "HAKONE_ADMIN="+w.g.Admin)
	}
	return program.Run(w, w.hakone.On(program.Command{Path: gateway.Binary(w), Args: args, Dir: w.dir, Env: env}))
}

func (w *world) write(name string, b []byte) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), b, 0o644); err != nil {
		w.Fatal(err)
	}
}

func (w *world) await(what string, done func() bool) {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

func indent(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+pad) + "\n"
}

// acceptKey answers Sec-WebSocket-Key (RFC 6455 section 1.3).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
