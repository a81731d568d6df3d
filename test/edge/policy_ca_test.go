//go:build e2e

package edge

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/testca"
)

// bundle is a ConfigMap with CAs and revocation lists.
func bundle(name string, ca, crl []byte) string {
	text := configMap(name, string(ca))
	if crl != nil {
		text += "  ca.crl: |\n    " + strings.ReplaceAll(strings.TrimSpace(string(crl)), "\n", "\n    ") + "\n"
	}
	return text
}

// startReasons serves a.test with a path for every reason to turn clients away.
func startReasons(t *testing.T) (w *world, vera *testca.Pair) {
	t.Helper()
	w = newWorld(t, "a.test")
	day := 24 * time.Hour
	vera = w.a.Issue(testca.Spec{CommonName: "vera"})
	w.files["lists.yaml"] = documents(bundle("crl", w.a.CertPEM(), w.a.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{vera.Cert}})), bundle("other-list", w.a.CertPEM(), w.b.CRL(testca.CRLSpec{})),
		bundle("stale", w.a.CertPEM(), w.a.CRL(testca.CRLSpec{ThisUpdate: time.Now().Add(-2 * day), NextUpdate: time.Now().Add(-day)})))
	on := func(name string, spec ...string) string {
		return policy(name, append([]string{"hosts: [a.test]", "paths: [/" + name + "]"}, spec...)...)
	}
	w.files["policies.yaml"] = documents(on("a", trusts("a")), on("b", trusts("b")), on("both", trusts("a", "b")),
		on("crl", trusts("crl")), on("stale", trusts("stale"), "revocation: {mode: Hard}"), on("stale-soft", trusts("stale")), on("missing", trusts("a"), "revocation: {mode: Hard}"),
		on("allow", trusts("a"), "allow: [{commonNames: [vera]}, {subjectAltNames: {dns: ['*.staff.test']}}]"), on("deny", trusts("a"), "deny: [{commonNames: [vera]}]"),
		on("serial", trusts("a"), fmt.Sprintf("revocation: {serials: ['%x']}", vera.Cert.SerialNumber)), on("other-list", trusts("other-list"), "revocation: {mode: Hard}"), on("broken", trusts("nowhere")))
	w.start()
	return w, vera
}

// TestReasons turns clients away for every reason, and looks for it wherever it is to be told.
func TestReasons(t *testing.T) {
	t.Parallel()
	w, vera := startReasons(t)
	day := 24 * time.Hour
	narrow := w.a.Intermediate(testca.Spec{CommonName: "Narrow", PermittedDNS: []string{"staff.test"}})
	clients := map[string]*testca.Pair{
		"none": nil, "a": w.a.Issue(testca.Spec{CommonName: "alice"}), "b": w.b.Issue(testca.Spec{CommonName: "bob"}), "vera": vera,
		"below": w.a.Intermediate(testca.Spec{}).Issue(testca.Spec{CommonName: "below", DNS: []string{"x.staff.test"}}),
		"old":   w.a.Issue(testca.Spec{CommonName: "old", NotBefore: time.Now().Add(-2 * day), NotAfter: time.Now().Add(-day)}),
		"early": w.a.Issue(testca.Spec{CommonName: "early", NotBefore: time.Now().Add(day)}),
		"eku":   w.a.Issue(testca.Spec{CommonName: "eku", EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), "weak": w.a.Issue(testca.Spec{CommonName: "weak", Key: testca.RSA1024}),
		"name": narrow.Issue(testca.Spec{CommonName: "name", DNS: []string{"elsewhere.test"}}), "self": testca.SelfSigned(t, testca.Spec{CommonName: "self"}),
	}
	for _, k := range []struct{ client, path, code string }{
		{"none", "/", ""}, {"old", "/", ""}, {"none", "/a", "HK2101"}, {"a", "/a", ""}, {"a", "/b", "HK2102"}, {"b", "/a", "HK2102"}, {"b", "/b", ""}, {"a", "/both", ""}, {"b", "/both", ""},
		{"self", "/a", "HK2102"}, {"old", "/a", "HK2103"}, {"early", "/a", "HK2104"}, {"eku", "/a", "HK2105"}, {"a", "/crl", ""}, {"vera", "/crl", "HK2106"}, {"name", "/a", "HK2111"}, {"weak", "/a", "HK2112"},
		{"a", "/stale", "HK2114"}, {"a", "/stale-soft", ""}, {"a", "/missing", "HK2142"}, {"a", "/other-list", "HK2116"}, {"a", "/serial", ""}, {"vera", "/serial", "HK2140"}, {"a", "/allow", "HK2117"}, {"vera", "/allow", ""}, {"below", "/allow", ""}, {"vera", "/deny", "HK2118"}, {"a", "/deny", ""},
		{"a", "/broken", "HK2124"}, {"none", "/broken", "HK2124"},
	} {
		for _, http2 := range []bool{false, true} {
			c, url, want := w.browser(http2, "", clients[k.client]), "https://a.test"+k.path, "200"
			if k.code != "" {
				want = "403 " + k.code
			}
			a := w.get(c, url)
			if a.got() != want {
				t.Errorf("%s at %s, HTTP/2 %v: %s, want %s", k.client, k.path, http2, a.got(), want)
				continue
			}
			if k.code != "" && http2 {
				w.told(k.client+" at "+k.path, a, w.get(c, url, "Accept", "text/html,application/xhtml+xml,*/*"), k.code, "default/"+k.path[1:])
			}
		}
	}
}

// told looks for a reason in both forms of the page, the log, the metric and the story.
func (w *world) told(what string, asJSON, asHTML answer, code, policy string) {
	w.Helper()
	var page struct {
		Status                               int
		Code, Reason, Message, Host, Request string
		RequestID                            string `json:"requestId"`
	}
	id := asJSON.Header.Get("X-Request-Id")
	if err := json.Unmarshal([]byte(asJSON.Body), &page); err != nil || page.Status != 403 || page.RequestID != id || page.Host != "a.test" || len(page.Message) < 20 || page.Reason == "" ||
		asJSON.Header.Get("Content-Type") != "application/json" || asJSON.Header.Get("Cache-Control") != "no-store" {
		w.Errorf("%s: JSON %v %s %v", what, err, asJSON.Body, asJSON.Header)
	}
	for _, want := range []string{code, page.Reason, page.Message, asHTML.Header.Get("X-Request-Id")} {
		if !strings.Contains(asHTML.Body, want) || !strings.HasPrefix(asHTML.Header.Get("Content-Type"), "text/html") {
			w.Errorf("%s: no %q in HTML %s", what, want, asHTML.Body)
		}
	}
	for _, inside := range []string{"CA A", "CA B", policy, "vera", "alice", "bob", "ConfigMap", w.g.Dir} {
		if strings.Contains(asJSON.Body+asHTML.Body+fmt.Sprint(asJSON.Header), inside) {
			w.Errorf("%s: the answer tells strangers %q:\n%s\n%s", what, inside, asJSON.Body, asHTML.Body)
		}
	}
	l := w.line(asJSON)
	if l.S("code") != code || l.S("policy_code") != code || l.S("policy") != policy || l.S("policy_verdict") != "deny" || l.S("detail") == "" || l.N("status") != 403 || l.S("client_cert")+l.S("client_subject") != "" {
		w.Errorf("%s: log %v", what, l)
	}
	if (l.S("offered_cert") == "") != strings.HasPrefix(what, "none") {
		w.Errorf("%s: offered_cert %q", what, l.S("offered_cert"))
	}
	if n := w.g.Counter("hakone_policy_decisions_total", `policy="`+policy+`"`, `verdict="deny"`, `code="`+code+`"`); n < 2 {
		w.Errorf("%s: the metric counts %v", what, n)
	}
	story := w.g.Run("explain", id)
	for _, want := range []string{code, page.Reason, policy, "403"} {
		if story.Code != 0 || !strings.Contains(story.Out, want) {
			w.Errorf("%s: explain does not say %q: %s%s", what, want, story.Out, story.Err)
		}
	}
}

// TestOpenSSLVersion1 lets in whom openssl gave a certificate without extensions, and warns.
func TestOpenSSLVersion1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, line := range []string{
		"req -new -x509 -nodes -days 365 -subj /CN=old-ca -keyout ca.key -out ca.crt", "genrsa -out client.key", "req -new -subj /CN=localhost -key client.key -out client.csr",
		"x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -in client.csr -out client.crt",
	} {
		testca.OpenSSL(t, dir, strings.Fields(line)...)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "a.test")
	w.files["old.yaml"] = documents(bundle("old", ca, nil), policy("old", "hosts: [a.test]", trusts("old")))
	w.start()
	public := filepath.Join(dir, "public.crt")
	if err := os.WriteFile(public, w.public.CertPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"--tlsv1.3", "--tls-max=1.2"} {
		args := []string{"--cacert", public, "--cert", filepath.Join(dir, "client.crt"), "--key", filepath.Join(dir, "client.key")}
		args = append(args, strings.Split(version, "=")...)
		a := client.Curl(t, w.g.Addr(443), "https://a.test/", args...)
		if a.Status != 200 || !strings.Contains(a.Head, "HTTP/2 200") {
			t.Fatalf("%s: %+v", version, a)
		}
		l := w.g.AwaitLine(0, "kind", "request", "id", a.Field("X-Request-Id"))
		if d := l.S("detail"); !strings.Contains(d, "HK5506") || !strings.Contains(d, "version 1") || l.S("client_subject") != "CN=localhost" || l.S("policy_verdict") != "allow" {
			t.Errorf("%s: log %v", version, l)
		}
		if a := client.Curl(t, w.g.Addr(443), "https://a.test/", args[:2]...); a.Status != 403 || !strings.Contains(a.Body, "HK2101") {
			t.Errorf("without: %+v", a)
		}
	}
}

// TestDenyPage fills in pages of the policy's own, and lets nobody write into them.
func TestDenyPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.test")
	w.files["policies.yaml"] = documents(
		policy("page", "hosts: [a.test]", "paths: [/page]", trusts("a"), "denyPage:", "  status: 401", "  html: '<b title=\"${requestId}\">${status} ${code} ${slug} ${host} ${reason} ${other} ${</b>'", `  json: '{"e":"${slug}","r":"${requestId}","m":"${reason}","h":"${host}"}'`),
		policy("away", "hosts: [a.test]", "paths: [/away]", trusts("a"), "denyPage: {redirectURL: 'https://help.test/get?from=a'}"),
		policy("hidden", "hosts: [a.test]", "paths: [/hidden]", trusts("a"), "denyPage: {status: 404}"))
	w.start()
	c := w.browser(true, "", nil)
	const evil = `"><script>alert(1)</script>\"}`
	a := w.get(c, "https://a.test/page", "Accept", "text/html", "X-Request-Id", evil)
	id := a.Header.Get("X-Request-Id")
	if want := `<b title="` + id + `">401 HK2101 client_cert_missing a.test A client certificate is needed here, and none was sent. ${other} ${</b>`; a.StatusCode != 401 || a.Body != want || strings.ContainsAny(id, `<>"\`) {
		t.Errorf("%d %v %s\nwant %s", a.StatusCode, a.Header, a.Body, want)
	}
	a = w.get(c, "https://a.test/page", "X-Request-Id", evil)
	var page map[string]string
	if err := json.Unmarshal([]byte(a.Body), &page); err != nil || a.StatusCode != 401 || page["e"] != "client_cert_missing" || page["r"] != a.Header.Get("X-Request-Id") || page["h"] != "a.test" {
		t.Errorf("%d %v %s", a.StatusCode, err, a.Body)
	}
	if a = w.get(c, "https://a.test/away"); a.StatusCode != 302 || a.Header.Get("Location") != "https://help.test/get?from=a" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	if a = w.get(c, "https://a.test/hidden"); a.got() != "404 HK2101" {
		t.Errorf("%s", a.got())
	}
	// A host is told only where it is one.
	raw := w.raw("a.test", nil)
	raw.Send("GET /page HTTP/1.1\r\nHost: a.test<script>\r\nAccept: text/html\r\n\r\n")
	if resp, body, err := raw.TryReceive("GET"); err == nil && (resp.StatusCode != 400 || strings.Contains(body, "<script>")) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestAudit lets everybody in and says who would not have been.
func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.test")
	w.files["policies.yaml"] = policy("try", "hosts: [a.test]", trusts("a"), "mode: Audit", "allow: [{commonNames: [vera]}]", "forward: [XFCC]")
	w.start()
	for _, k := range []struct {
		who           *testca.Pair
		verdict, code string
	}{
		{nil, "audit", "HK2101"}, {w.b.Issue(testca.Spec{CommonName: "vera"}), "audit", "HK2102"}, {w.a.Issue(testca.Spec{CommonName: "otto"}), "audit", "HK2117"}, {w.a.Issue(testca.Spec{CommonName: "vera"}), "allow", ""},
	} {
		a := w.get(w.browser(true, "", k.who), "https://a.test/x")
		l := w.line(a)
		if a.StatusCode != 200 || l.S("policy_verdict") != k.verdict || l.S("policy_code") != k.code || (l.S("client_subject") != "") != (k.verdict == "allow") {
			t.Errorf("%s: %d, %v", k.code, a.StatusCode, l)
		}
		m := w.up.Messages()
		if told := m[len(m)-1].Field("X-Forwarded-Client-Cert"); (told != "") != (k.verdict == "allow") {
			t.Errorf("%s: the origin is told %q", k.code, told)
		}
	}
	if n := w.g.Counter("hakone_policy_decisions_total", `verdict="audit"`); n != 3 {
		t.Errorf("%v audits", n)
	}
}

// TestOpenAndExcept leaves parts open of what a broader policy closes.
func TestOpenAndExcept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.test", "b.test")
	w.files["policies.yaml"] = documents(policy("all", "hosts: [a.test]", "except: [/health]", trusts("a")), policy("door", "hosts: [a.test]", "paths: [/public]", "action: Open"),
		policy("inner", "hosts: [a.test]", "paths: [/public/inner]", trusts("b")))
	w.start()
	a, b := w.a.Issue(testca.Spec{CommonName: "a"}), w.b.Issue(testca.Spec{CommonName: "b"})
	for _, k := range []struct {
		who        *testca.Pair
		path, want string
	}{
		{nil, "/", "403 HK2101"}, {nil, "/health", "200"}, {nil, "/health/x", "200"}, {nil, "/healthy", "403 HK2101"}, {nil, "/public", "200"}, {nil, "/public/x", "200"}, {nil, "/publicx", "403 HK2101"},
		{nil, "/public/inner", "403 HK2101"}, {nil, "/public/../x", "403 HK2101"}, {nil, "/public/x/..%2f..%2fx", "400"}, {nil, "/public%252f..%252fx", "403 HK2101"}, {nil, "/public;/inner", "403 HK2101"}, {nil, "/PUBLIC/INNER", "403 HK2101"},
		{nil, "/health%252f..%252fx", "403 HK2101"}, {nil, "/health/..;/x", "400"}, {nil, "/health%0a", "403 HK2101"},
		{a, "/", "200"}, {b, "/", "403 HK2102"}, {a, "/public/inner", "403 HK2102"}, {b, "/public/inner", "200"}, {b, "/public", "200"},
	} {
		c := w.raw("a.test", k.who)
		c.Send("GET " + k.path + " HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\n\r\n")
		resp, body := c.Receive("GET")
		var page struct{ Code string }
		if resp.StatusCode == 403 {
			_ = json.Unmarshal([]byte(body), &page)
		}
		if got := (answer{resp, body, page.Code}).got(); got != k.want {
			t.Errorf("%s: %s, want %s", k.path, got, k.want)
		}
	}
}

// TestForwarding tells origins of the certificate in each of the formats, and takes away what clients say.
func TestForwarding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.test")
	on := func(name, forward string) string {
		return policy(name, "hosts: [a.test]", "paths: [/"+name+"]", trusts("a"), forward)
	}
	w.files["policies.yaml"] = documents(on("xfcc", "forward: [XFCC]"), on("rfc", "forward: [RFC9440]"), on("cf", "forward: [Cloudflare]"), on("none", "forward: [None]"), on("default", "displayName: default"), on("all", "forward: [RFC9440, XFCC, Cloudflare]"))
	w.start()
	leaf := w.a.Intermediate(testca.Spec{CommonName: "Between"}).Issue(testca.Spec{CommonName: "vera, \"the one\"", DNS: []string{"vera.test"}, URIs: []string{"spiffe://staff/vera"}})
	fields := []string{"X-Forwarded-Client-Cert", "Client-Cert", "Client-Cert-Chain", "Cf-Client-Cert-Der-Base64", "Cf-Client-Cert-Sha256"}
	var lies string
	for _, f := range append([]string{"X-Original-URL", "X-Rewrite-URL", "Cf-Access-Jwt-Assertion", "Cf-Access-Authenticated-User-Email"}, fields...) {
		lies += f + ": forged\r\n" + strings.ReplaceAll(f, "-", "_") + ": forged\r\n" + strings.ToLower(f) + ": forged\r\n"
	}
	hash := fmt.Sprintf("%x", sha256Of(leaf.Cert.Raw))
	der := base64.StdEncoding.EncodeToString(leaf.Cert.Raw)
	for path, want := range map[string][5]bool{
		"/xfcc": {true}, "/rfc": {1: true, 2: true}, "/cf": {3: true, 4: true}, "/none": {}, "/default": {true, true, true}, "/all": {true, true, true, true, true}, "/open": {},
	} {
		n := w.up.Count()
		c := w.raw("a.test", leaf)
		for range 2 { // on every request, not on the first only
			c.Send("GET " + path + " HTTP/1.1\r\nHost: a.test\r\n" + lies + "\r\n")
			if resp, body := c.Receive("GET"); resp.StatusCode != 200 {
				t.Fatalf("%s: %d %s", path, resp.StatusCode, body)
			}
		}
		for _, m := range w.up.Since(n) {
			if strings.Contains(m.Head, "forged") {
				t.Errorf("%s: the client's word reaches the origin:\n%s", path, m.Head)
			}
			for i, f := range fields {
				if (m.Field(f) != "") != want[i] {
					t.Errorf("%s: %s %q", path, f, m.Field(f))
				}
			}
			if v := m.Field("X-Forwarded-Client-Cert"); want[0] && (!strings.Contains(v, "Hash="+hash) || !strings.Contains(v, "URI=spiffe://staff/vera") || !strings.Contains(v, `\"the one\"`)) {
				t.Errorf("%s: XFCC %s", path, v)
			}
			if want[1] && (m.Field("Client-Cert") != ":"+der+":" || m.Field("Client-Cert-Chain") != ":"+base64.StdEncoding.EncodeToString(leaf.Issuer.Cert.Raw)+":") {
				t.Errorf("%s: RFC 9440 %s, %s", path, m.Field("Client-Cert"), m.Field("Client-Cert-Chain"))
			}
			if want[3] && (m.Field("Cf-Client-Cert-Der-Base64") != der || m.Field("Cf-Client-Cert-Sha256") != hash) {
				t.Errorf("%s: Cloudflare %s", path, m.Head)
			}
		}
	}
}
