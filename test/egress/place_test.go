//go:build e2e

package egress

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
	"github.com/hakone-gateway/hakone/test/testnet"
)

// TestInSquidsPlace imports the document's squid.conf and runs it where Squid was: the document's curl lines do
// what they did, the log has the same fields, and beside Squid 200 requests get the same answers.
func TestInSquidsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.write("bump.crt", w.squid.CA.CertPEM())

	conf := filepath.Join(w.dir, "squid.conf")
	w.write("squid.conf", []byte(w.squid.Localised(squid.Document)))
	manifests := gateway.Folder(w)
	r := program.Run(w, program.Command{Path: gateway.Binary(w), Args: []string{"import", "squid", conf, "--out", manifests}})
	if r.Code != 0 {
		t.Fatalf("hakone import squid: exit %d\n%s", r.Code, r.Err)
	}
	w.has("import", r.Err, `dangerous HK5902: sslproxy_cert_error allow all`, `dangerous HK5902: http_port 8080`, `TLS 1\.1`, `0 refused`)
	log := filepath.Join(w.dir, "access.log")
	w.start4(manifests, log)

	w.documentsCurl(w.company.Address+":8080", "bump.crt")
	w.documentsCurl(w.hakone.Address+":8080", "bump.crt")
	ours := func() []string {
		b, _ := os.ReadFile(log)
		return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
	}
	defer func() {
		if t.Failed() {
			t.Log("our log:\n" + strings.Join(ours(), "\n"))
		}
	}()
	for _, line := range []string{`^\d+\.\d{3} +\d+ 10\.203\.0\.1 NONE_NONE/200 0 CONNECT example\.com:443 - HIER_DIRECT/10\.203\.0\.4 -$`,
		`^\d+\.\d{3} +\d+ 10\.203\.0\.1 TCP_MISS/200 \d+ GET https://example\.com/ - HIER_DIRECT/10\.203\.0\.4 text/html$`,
		`^\d+\.\d{3} +\d+ 10\.203\.0\.1 TCP_MEM_HIT/200 \d+ GET https://example\.com/ - HIER_NONE/- text/html$`} {
		re := regexp.MustCompile(line)
		w.await("our log holds "+line, func() bool { return slices.ContainsFunc(ours(), re.MatchString) })
	}
	w.sideBySide(ours)
}

// start4 starts the gateway with a folder of manifests and Squid's log.
func (w *world) start4(folder, log string) {
	w.Helper()
	w.g = gateway.Start(w, gateway.Options{Prefix: w.hakone.Prefix(), Dir: folder, Args: []string{"--access-log-format", "squid", "--access-log", log},
		Env: []string{"SSL_CERT_FILE=" + filepath.Join(w.dir, "public.crt"), "SSL_CERT_DIR=/nonexistent"}})
}

// sideBySide sends the same 200 requests through both and compares statuses, and what the logs say of the cache.
func (w *world) sideBySide(ours func() []string) {
	w.Helper()
	var urls []string
	for i := range 200 {
		scheme := []string{"https", "http"}[i%2]
		path := []string{"/", "/seen", "/status?n=404", "/big?n=1000", "/page" + strconv.Itoa(i/20), "/cgi-bin/x?" + strconv.Itoa(i/40), "/redirect?unpinned", "/status?n=500", "/page" + strconv.Itoa(i%10), "/upload"}[i/2%10]
		host := []string{"example.com", "www.example.com"}[i/20%2]
		switch i % 50 {
		case 48, 49:
			host = "example.com:8081" // not among the ports that are safe for CONNECT, and nobody listens there
		case 47:
			host = "example.com:25" // not among the ports that are safe
		}
		urls = append(urls, fmt.Sprintf("%s://%s%s", scheme, host, path))
	}
	begin, beginSquid := len(ours()), len(w.squid.Log())
	run := func(h *testnet.Host) []string {
		args := []string{"-sS", "--max-time", "120", "--cacert", "bump.crt", "--proxy", "http://" + h.Address + ":8080", "-w", "%{http_code} %{http_connect}\n"}
		for _, url := range urls {
			args = append(args, "-o", "/dev/null", url)
		}
		r := program.Run(w, w.workload.On(program.Command{Path: program.Find(w, "curl"), Dir: w.dir, Args: args}))
		return strings.Split(strings.TrimSpace(r.Out), "\n")
	}
	theirs, mine := run(w.company), run(w.hakone)
	if len(theirs) != len(urls) || len(mine) != len(urls) {
		w.Fatalf("%d and %d answers of %d", len(theirs), len(mine), len(urls))
	}
	for i := range urls {
		if theirs[i] != mine[i] {
			w.Errorf("%s: Squid %s, Hakone %s", urls[i], theirs[i], mine[i])
		}
	}
	w.await("both logs are written", func() bool {
		return len(results(w.squid.Log()[beginSquid:])) >= len(urls)-8 && len(results(ours()[begin:])) >= len(urls)-8
	})
	a, b := byURL(results(w.squid.Log()[beginSquid:])), byURL(results(ours()[begin:]))
	for url, tags := range a {
		if !slices.Equal(tags, b[url]) {
			w.Errorf("%s: Squid %v, Hakone %v", url, tags, b[url])
		}
	}
}

// byURL are the tags of each URL in order: lines of connections that end at the same time may change places.
func byURL(results []string) map[string][]string {
	out := map[string][]string{}
	for _, line := range results {
		tag, url, _ := strings.Cut(line, " ")
		out[url] = append(out[url], tag)
	}
	return out
}

// results are the tags, methods and URLs of a log, CONNECT apart: clients keep connections as they like. What is said of
// connections that ended before a request is apart too: it comes when they have ended.
func results(lines []string) []string {
	var out []string
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) >= 10 && f[5] == "GET" {
			out = append(out, f[3]+" "+f[5]+" "+f[6])
		}
	}
	return out
}
