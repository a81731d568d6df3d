//go:build e2e

package egress

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestSeed2Document is the document as it stands, with its Squid: the workload must know the company's CA.
func TestSeed2Document(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.write("bump.crt", w.squid.CA.CertPEM())
	w.documentsCurl(w.company.Address+":8080", "bump.crt")
	for _, line := range []string{`NONE_NONE/200 0 CONNECT example\.com:443 - HIER_DIRECT/`, `TCP_MISS/200 \d+ GET https://example\.com/ - HIER_DIRECT/\S+ text/html`, `TCP_MEM_HIT/200 \d+ GET https://example\.com/ - HIER_NONE/- text/html`} {
		w.squid.AwaitLog(0, line)
	}
}

// documentsCurl runs the document's curl lines through a proxy: twice with the CA, once without.
func (w *world) documentsCurl(proxy, ca string) {
	w.Helper()
	direct := func(args ...string) program.Result { // not through --resolve: the proxy looks the name up
		return program.Run(w, w.workload.On(program.Command{Path: program.Find(w, "curl"), Dir: w.dir, Env: []string{"HTTPS_PROXY=" + proxy}, Args: append([]string{"-sS", "--max-time", "20", "https://example.com"}, args...)}))
	}
	w.title(direct("--cacert", ca))
	w.title(direct("--cacert", ca))
	if r := direct(); r.Code != 60 {
		w.Errorf("curl without the CA: exit %d, the document says 60\n%s", r.Code, r.Err)
	}
}

// bumped fails the test unless Squid has looked into a request of the gateway's, and had the answer to a
// second one in memory.
func (w *world) bumped(skip int) {
	w.Helper()
	w.squid.AwaitLog(skip, `(TCP_MISS|TCP_MEM_HIT|TCP_REFRESH\S*)/200 \d+ GET https://example\.com/ `)
	w.squid.AwaitLog(skip, `TCP_MEM_HIT/200 \d+ GET https://example\.com/ - HIER_NONE/- text/html`)
}

// TestSeed2 is what the document wanted: the company's CA is known to the gateway alone, and workloads get
// their pages in each of the three ways.
func TestSeed2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.start(map[string]string{"egress.yaml": w.corp() + "---\n" + w.egress()})

	w.step("A: http, TLS by the gateway", func() {
		w.title(w.curl("http://example.com/"))
		w.title(w.curl("http://example.com/"))
	})
	w.step("B: https, terminated with a certificate of the mesh's CA", func() {
		w.title(w.curl("--cacert", "mesh.crt", "https://example.com/"))
		w.title(w.curl("--cacert", "mesh.crt", "https://example.com/"))
	})
	w.step("C: HTTPS_PROXY, with and without scheme", func() {
		for _, proxy := range []string{w.hakone.Address + ":3128", "http://" + w.hakone.Address + ":3128"} {
			w.documentsCurl(proxy, "mesh.crt")
		}
		w.title(w.curlEnv([]string{"http_proxy=" + w.hakone.Address + ":3128"}, "http://example.com/"))
	})
	w.swap()
}

// step runs a way, in which Squid must see a bumped GET and a hit in memory.
func (w *world) step(name string, do func()) {
	w.Helper()
	w.Log(name)
	before := len(w.squid.Log())
	do()
	w.bumped(before)
}

// swap changes the company's CA in the gateway while it runs: what was trusted is refused, with its reason at the
// client, in the log and by explain; and back.
func (w *world) swap() {
	w.Helper()
	other := testca.New(w, testca.Spec{CommonName: "Company proxy, next"})
	w.g.Change(func() { w.g.Write("company.yaml", w.companyCA(other)) })
	w.refusedWith("HK3322", "interception_unknown_ca", "http://example.com/")
	w.refusedWith("HK3322", "interception_unknown_ca", "--cacert", "mesh.crt", "https://example.com/")
	w.g.Change(func() { w.g.Write("company.yaml", w.companyCA(w.squid.CA)) })
	w.title(w.curl("http://example.com/"))
}

// refusedWith asks, wants an answer of the gateway's own with a reason, and the same reason in its log and from
// explain.
func (w *world) refusedWith(code, reason string, args ...string) {
	w.Helper()
	r := w.curl(append([]string{"-i"}, args...)...)
	w.has("the answer", r.Out, `(?m)^HTTP/\S+ 50[234]`, code, reason)
	id := field(r.Out, "x-request-id")
	if id == "" {
		w.Fatalf("no x-request-id in\n%s\n%s", r.Out, r.Err)
	}
	var out string
	w.await("explain knows the request "+id, func() bool {
		e := w.hakoneRun("explain", id)
		out = e.Out + e.Err
		return e.Code == 0 && strings.Contains(out, code)
	})
	w.has("explain", out, reason, "corp")
	w.await("the log has "+reason, func() bool { return strings.Contains(w.g.Stderr()+w.lines(), reason) })
}

// lines returns the gateway's records as text.
func (w *world) lines() string {
	var b strings.Builder
	for _, l := range w.g.Lines() {
		fmt.Fprintln(&b, l)
	}
	return b.String()
}

// field returns the value of a header field in curl's -i output.
func field(out, name string) string {
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestSeed2Failures is every way in which the company's proxy fails, and what is said of it.
func TestSeed2Failures(t *testing.T) {
	t.Parallel()
	expired := func(t *testing.T) *testca.Pair {
		return testca.New(t, testca.Spec{CommonName: "Company proxy", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour), Key: testca.RSA2048})
	}
	for name, c := range map[string]struct {
		squid        *squid.Options // nil: it does not run
		ca           func(*testing.T) *testca.Pair
		url          string // of the proxy, instead of corp's
		code, reason string
	}{
		"down":                {code: "HK3308", reason: "proxy_unreachable"},
		"authentication":      {squid: &squid.Options{More: "auth_param basic program /usr/lib/squid/basic_ncsa_auth /etc/squid/users\nauth_param basic realm corp\nacl known proxy_auth REQUIRED\nhttp_access deny !known\n", Files: map[string]string{"users": "ada:{PLAIN}none\n"}}, code: "HK3301", reason: "proxy_auth_required"},
		"forbidden":           {squid: &squid.Options{Config: "http_port 8080\nacl bad dstdomain example.com\nhttp_access deny bad\n"}, code: "HK3302", reason: "proxy_denied"},
		"expired":             {squid: &squid.Options{}, ca: expired, code: "HK3323", reason: "interception_expired"},
		"TLS to a plain port": {squid: &squid.Options{}, url: "https://%s:8080", code: "HK3306", reason: "proxy_speaks_plaintext"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.squid != nil {
				o := *c.squid
				if c.ca != nil {
					o.CA = c.ca(t)
				}
				w.startSquid(o)
			}
			files := map[string]string{"egress.yaml": w.corp() + "---\n" + w.egress()}
			if c.squid == nil {
				files["company.yaml"] = w.companyCA(testca.New(t, testca.Spec{CommonName: "Company proxy"}))
			}
			if c.url != "" {
				files["egress.yaml"] = strings.Replace(files["egress.yaml"], fmt.Sprintf("http://%s:8080", w.company.Address), fmt.Sprintf(c.url, w.company.Address), 1)
			}
			w.start(files)
			w.refusedWith(c.code, c.reason, "http://example.com/")
		})
	}
}
