//go:build e2e

package edge

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
)

// TestREADME runs the README's section on mutual TLS at the edge: its two first blocks in one shell, in a
// folder of the test and on free ports.
func TestREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Mutual TLS at the edge")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, 3)
	if len(blocks) != 3 {
		t.Fatal("the README has no such section any more")
	}
	dir := gateway.Folder(t)
	change := strings.NewReplacer(
		"cp -r examples/edge /tmp/edge && go build -o /tmp/edge/hakone ./cmd/hakone && cd /tmp/edge", "cp -r examples/edge "+dir+"/edge && cp "+gateway.Binary(t)+" "+dir+"/edge/hakone && cd "+dir+"/edge",
		"/tmp/edge", dir+"/edge", "8443", fmt.Sprint(gateway.FreePort(t)), "8080", fmt.Sprint(gateway.FreePort(t)), "4443", fmt.Sprint(gateway.FreePort(t)),
		"REQUEST-ID", `$(grep -i '^x-request-id' 403 | tr -d '\r' | cut -d' ' -f2)`,
		"https://mtls_lb.mtls-test.net/test1       #", "https://mtls_lb.mtls-test.net/test1 | tee 403 #",
	)
	script := "trap 'kill $(jobs -p)' EXIT\n" + change.Replace(blocks[0][1]) +
		"for i in $(seq 200); do curl -sf --unix-socket admin.sock http://admin/readyz >/dev/null && break; sleep 0.1; done\n" + change.Replace(blocks[1][1])
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	r := program.Run(t, program.Command{Path: "/bin/bash", Args: []string{"-c", script}, Dir: root})
	for _, want := range []string{`HTTP/2 200`, `set-cookie: CF_Authorization=`, `HTTP/2 403`, `HK2101`, `client_cert_missing`, `"EdgeResponseStatus":200`, `"EdgeResponseStatus":403`,
		`none gets around`, `mtls_origin`} {
		if !strings.Contains(r.Out, want) {
			t.Errorf("%s is missing in:\n%s\n%s", want, program.Tail(r.Out, 6000), program.Tail(r.Err, 3000))
		}
	}
	third := strings.ReplaceAll(blocks[2][1], "./hakone origin pull upload", "exit 0; ./hakone") // pull is the walk's (TestSeed3)
	if r := program.Run(t, program.Command{Path: "/bin/bash", Args: []string{"-ec", third}, Dir: filepath.Join(dir, "edge"), Env: []string{"HAKONE_CA_DIR=" + dir + "/ca"}}); r.Code != 0 {
		t.Errorf("%s%s", r.Out, r.Err)
	}
	if st, err := os.Stat(filepath.Join(dir, "edge", "origin.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("origin.key: %v %v", st, err)
	}
}
