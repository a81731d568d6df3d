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

// blocks returns the fenced blocks of a page that hold a word.
func (w *world) blocks(page, word string) []string {
	w.Helper()
	text, err := os.ReadFile("../../docs/" + page)
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], word) {
			out = append(out, m[1])
		}
	}
	return out
}

// shell runs lines on the gateway's host, with hakone in the path.
func (w *world) shell(dir, lines string) program.Result {
	w.Helper()
	bin := w.TempDir()
	if err := os.Symlink(gateway.Binary(w), filepath.Join(bin, "hakone")); err != nil {
		w.Fatal(err)
	}
	return program.Run(w, w.hakone.On(program.Command{Path: program.Find(w, "sh"), Dir: dir, Args: []string{"-euc", lines}, Env: []string{"PATH=" + bin + ":/usr/sbin:" + os.Getenv("PATH")}}))
}

// TestEgressExample is the folder of examples with the commands of docs/egress.md, behind Squid: each way gets the page.
func TestEgressExample(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	found := w.blocks("egress.md", "certificates.sh")
	if len(found) != 1 {
		t.Fatalf("%d blocks", len(found))
	}
	dir := filepath.Join(gateway.Folder(w), "egress")
	lines := strings.NewReplacer("$ ", "", "/tmp/egress", dir, "/etc/squid", w.squid.Dir, " && hakone run --config .", "").Replace(found[0])
	if r := w.shell("../..", lines); r.Code != 0 {
		t.Fatalf("%s: exit %d\n%s%s", lines, r.Code, r.Out, r.Err)
	}
	file := filepath.Join(dir, "upstream-proxy.yaml")
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), "192.168.50.3") {
		t.Fatalf("%s: %v", b, err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(b), "192.168.50.3", w.company.Address)), 0o600); err != nil {
		t.Fatal(err)
	}
	w.g = gateway.Start(w, gateway.Options{Prefix: w.hakone.Prefix(), Dir: dir, Env: w.anchors()})
	mesh := filepath.Join(dir, "mesh-ca.crt")
	proxy := "http://" + w.hakone.Address + ":3128"
	w.title(w.curl("http://example.com/"))
	w.title(w.curl("--cacert", mesh, "https://example.com/"))
	w.title(w.curl("--cacert", mesh, "--proxy", proxy, "https://example.com/"))
	w.title(w.curl("--cacert", mesh, "--proxy", w.hakone.Address+":3128", "https://example.com/")) // without a scheme
	w.squid.AwaitLog(0, `GET https://example\.com/ `)                                              // once: the example keeps answers itself
	r := w.curl("--proxy", proxy, "http://hakone.internal/")
	w.has("the trust page", r.Out, `SHA-?256`)
	w.has("dump proxies", w.hakoneRun("dump", "proxies").Out, `egress/corp`)
}

// TestCaptureBlocks runs the commands of docs/passthrough.md: each is accepted by the kernel, and with those of TPROXY
// connections to somebody else come to the gateway.
func TestCaptureBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(map[string]string{"egress.yaml": strings.Replace(w.egress(), "  interception:\n", "  - {name: taken, port: 15001, mode: TProxy}\n  interception:\n", 1)})
	fill := strings.NewReplacer("skuid hakone", "skuid 65534", "10.0.0.0/8", "192.168.0.0/16")
	found := w.blocks("passthrough.md", "nft add")
	if len(found) != 3 {
		t.Fatalf("%d blocks, want those of REDIRECT, TPROXY and the output chain", len(found))
	}
	if r := w.shell(".", fill.Replace(found[0])+"nft delete table inet hakone\n"); r.Code != 0 {
		t.Fatalf("%s: %s", found[0], r.Err)
	}
	if r := w.shell(".", fill.Replace(found[1])+"sysctl -qw net.ipv4.ip_forward=1\n"); r.Code != 0 {
		t.Fatalf("%s: %s", found[1], r.Err)
	}
	if r := program.Run(w, w.workload.On(program.Command{Path: program.Find(w, "ip"), Args: []string{"route", "add", w.dest.Address + "/32", "via", w.hakone.Address}})); r.Code != 0 {
		t.Fatal(r.Err)
	}
	get := func(args ...string) program.Result {
		return program.Run(w, w.workload.On(program.Command{Path: program.Find(w, "curl"), Dir: w.dir, Args: append([]string{"-sS", "--max-time", "20", "--resolve", "example.com:80:" + w.dest.Address, "--resolve", "example.com:443:" + w.dest.Address}, args...)}))
	}
	w.title(get("http://example.com/"))
	w.title(get("--cacert", "mesh.crt", "https://example.com/"))
	if r := w.shell(".", fill.Replace(found[2])); r.Code != 0 {
		t.Fatalf("%s: %s", found[2], r.Err)
	}
}

// TestDocumentedObjects checks the objects that pages about egress show: those that are whole are accepted as they stand,
// but for Secrets and ConfigMaps that they name.
func TestDocumentedObjects(t *testing.T) {
	t.Parallel()
	w := &world{T: t}
	for _, page := range []string{"egress.md", "egress-proxies.md", "forward-proxy.md", "passthrough.md", "cache.md"} {
		for _, text := range w.blocks(page, "apiVersion:") {
			dir := gateway.Folder(w)
			if err := os.WriteFile(filepath.Join(dir, "objects.yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := program.Run(w, program.Command{Path: gateway.Binary(w), Args: []string{"check", dir}})
			for line := range strings.Lines(r.Out + r.Err) {
				if regexp.MustCompile(`HK(50\d\d|5840|5849|5850|5851)\b`).MatchString(line) { // does not read, or means nothing
					t.Errorf("%s: %s\n%s", page, line, text)
				}
			}
		}
	}
}
