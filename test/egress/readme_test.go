//go:build e2e

package egress

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
)

// TestREADME runs the README's section on the company's proxy: the gateway's block on its host, the workload's on
// the workload's, where example.com is the gateway.
func TestREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Out through the company's proxy")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, 3)
	if len(blocks) != 3 {
		t.Fatal("the README has no such section any more")
	}
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.write("bump.crt", w.squid.CA.CertPEM())
	w.workload.Names(w.hakone.Address + " example.com\n")
	dir := gateway.Folder(w)
	at := filepath.Join(dir, "egress")
	change := strings.NewReplacer(
		"cp -r examples/egress /tmp/egress && go build -o /tmp/egress/hakone ./cmd/hakone && cd /tmp/egress", "cp -r examples/egress "+at+" && cp "+gateway.Binary(t)+" "+at+"/hakone && cd "+at,
		"/tmp/egress", at,
		"sed -i \"s/", "sed -i \"/- 10.0.0.0\\/8/d; s/", // this network is none that the proxy is not for
	)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PROXY=" + w.company.Address + ":8080", "BUMP=" + filepath.Join(w.dir, "bump.crt"), "GATEWAY=" + w.hakone.Address, "HAKONE_ADMIN=unix:" + at + "/admin.sock",
		"SSL_CERT_FILE=" + filepath.Join(w.dir, "public.crt"), "no_proxy="}
	log := program.Start(w, w.hakone.On(program.Command{Path: "/bin/bash", Args: []string{"-ec", change.Replace(blocks[0][1]) + "wait\n"}, Dir: root, Env: env}))
	w.await("the gateway is ready", func() bool {
		return program.Run(w, program.Command{Path: program.Find(w, "curl"), Args: []string{"-sf", "--unix-socket", at + "/admin.sock", "http://admin/readyz"}}).Code == 0
	})
	run := func(block string) program.Result {
		return program.Run(w, w.workload.On(program.Command{Path: "/bin/bash", Args: []string{"-c", change.Replace(block)}, Dir: at, Env: env}))
	}
	r := run(blocks[1][1])
	if n := strings.Count(r.Out, "<title>Example Domain</title>"); n != 3 {
		t.Fatalf("%d pages of three ways\n%s\n%s\n%s", n, r.Out, program.Tail(r.Err, 2000), program.Tail(log(), 3000))
	}
	r = run(blocks[2][1])
	w.has("the third block", r.Out, `example\.com:443 .*egress/corp.*Company proxy`, `interception_unknown_ca`, `(?i)CN=Company proxy`, `TLS 1\.3`)
}
