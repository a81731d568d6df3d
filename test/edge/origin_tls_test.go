//go:build e2e

package edge

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// originTLS is an origin's configuration; clients are the CAs of client certificates that it demands.
func originTLS(cert *testca.Pair, clients ...*testca.Pair) *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{cert.TLS()}}
	if len(clients) > 0 {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		for _, p := range clients {
			c.ClientCAs.AddCert(p.Cert)
		}
	}
	return c
}

// originPull makes an OriginPull; secret "" names none.
func originPull(name, host, secret string, more ...string) string {
	text := fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: OriginPull\nmetadata: {name: %s}\nspec:\n  hosts: [\"%s\"]\n", name, host)
	if secret != "" {
		text += "  certificateRef: {name: " + secret + "}\n"
	}
	for _, line := range more {
		text += "  " + line + "\n"
	}
	return text
}

// pairSecret is the Secret of a certificate with its key.
func pairSecret(name string, p *testca.Pair) string {
	return testca.SecretYAML("default", name, p.SecretData(testca.FormatTLS, nil, nil))
}

// TestOriginNames gives each origin of a pool its own Host and its own name to verify.
func TestOriginNames(t *testing.T) {
	t.Parallel()
	ca := testca.New(t, testca.Spec{CommonName: "Origin CA"})
	of := func(name string) *originServer {
		return startOrigin(t, name, originTLS(ca.Issue(testca.Spec{DNS: []string{name + ".origin.test", name + "_x.origin.test"}})))
	}
	a, b, c, d := of("a"), of("b"), of("c"), of("d")
	w := originWorld(t, originPool("main", []string{a.entry("hostHeader: shop.internal", "verifyName: a_x.origin.test"), b.entry("hostHeader: b.origin.test"), c.entry()},
		"tls: {verifyName: c.origin.test, caRef: {kind: ConfigMap, name: origin-ca}}"), "a.test")
	w.files["ca.yaml"] = configMap("origin-ca", string(ca.CertPEM()))
	w.files["other.yaml"] = documents(originHost("other", "other", "other.test"), originPool("other", []string{d.entry("hostHeader: d.origin.test")}, "tls: {caRef: {kind: ConfigMap, name: origin-ca}}"))
	w.files["secret.yaml"] = w.secret("edge", "a.test", "other.test")
	w.start()
	browser, seen := w.browser(true, "", nil), map[string]originSays{}
	for range 60 {
		if ans := w.get(browser, "https://a.test/x"); ans.StatusCode == 200 { // else none could be believed
			s := saidBy(t, ans.Body)
			seen[s.Origin] = s
		}
	}
	for name, want := range map[string]originSays{
		"a": {Origin: "a", Host: "shop.internal", SNI: "a_x.origin.test"},
		"c": {Origin: "c", Host: "a.test", SNI: "c.origin.test"},
	} {
		if seen[name] != want {
			t.Errorf("%+v, want %+v", seen[name], want)
		}
	}
	// The pool's name goes above the Host of an origin: b's certificate does not carry it.
	if s, ok := seen["b"]; ok {
		t.Errorf("an origin with another name than the pool's was believed: %+v", s)
	}
	if rows, _ := w.originLs("default/main"); rows["b"].Code != "HK3104" && rows["b"].Failures == 0 {
		t.Errorf("%+v", rows["b"])
	}
	if s := w.asked(browser, "https://other.test/x"); s != (originSays{Origin: "d", Host: "d.origin.test", SNI: "d.origin.test"}) {
		t.Errorf("%+v", s)
	}
}

// TestOriginPull shows the zone's certificate, a host's own before it, and none to the host that has it
// switched off; the zone's is rotated under load.
func TestOriginPull(t *testing.T) {
	t.Parallel()
	ca, pulls := testca.New(t, testca.Spec{CommonName: "Origin CA"}), testca.New(t, testca.Spec{CommonName: "Pull CA"})
	config := originTLS(ca.Issue(testca.Spec{DNS: []string{"o.test"}}), pulls)
	config.ClientAuth = tls.VerifyClientCertIfGiven
	o := startOrigin(t, "o", config)
	w := originWorld(t, originPool("main", []string{o.entry()}, "tls: {verifyName: o.test, caRef: {kind: ConfigMap, name: origin-ca}, certificateRef: {name: pools}}"), "*.zone.test", "zone.test", "elsewhere.test")
	of := func(name string) *testca.Pair { return pulls.Issue(testca.Spec{CommonName: name}) }
	w.files["ca.yaml"] = configMap("origin-ca", string(ca.CertPEM()))
	w.files["pulls.yaml"] = documents(originPull("zone", "*.zone.test", "zone"), originPull("host", "own.zone.test", "host"), originPull("switched-off", "off.zone.test", "", "enabled: false"),
		originPull("deep", "*.deep.zone.test", "deep"))
	for _, name := range []string{"zone", "host", "deep", "pools"} {
		w.files[name+".yaml"] = pairSecret(name, of(name))
	}
	w.files["secret.yaml"] = w.secret("edge", "*.zone.test", "*.deep.zone.test", "zone.test", "elsewhere.test")
	w.start("--secret-grace", "1s")
	table := []struct{ host, want string }{
		{"www.zone.test", "zone"}, {"zone.test", "zone"}, {"own.zone.test", "host"}, {"off.zone.test", ""}, {"x.deep.zone.test", "deep"}, {"elsewhere.test", "pools"},
	}
	for range 3 { // also over connections that are there already
		for _, v := range table {
			for _, http2 := range []bool{true, false} {
				if s := w.asked(w.browser(http2, "", nil), "https://"+v.host+"/x"); s.Client != v.want {
					t.Errorf("%s shows %q, want %q", v.host, s.Client, v.want)
				}
			}
		}
	}
	// A name that the client only says within a connection decides too, not that of the connection.
	if s := w.asked(w.browser(true, "own.zone.test", nil), "https://www.zone.test/x"); s.Client != "zone" {
		t.Errorf("within another host's connection: %q", s.Client)
	}
	load := w.startTraffic("https://www.zone.test/x", 4)
	for i := range 5 {
		name := fmt.Sprintf("zone-%d", i)
		w.g.Change(func() { w.g.Write("zone.yaml", pairSecret("zone", of(name))) })
		await(t, "certificate "+name, func() bool { return w.asked(w.browser(true, "", nil), "https://www.zone.test/y").Client == name })
		if s := w.asked(w.browser(true, "", nil), "https://own.zone.test/y"); s.Client != "host" {
			t.Errorf("after a rotation of the zone's, own.zone.test shows %q", s.Client)
		}
	}
	w.flawless(load)
	// Without its Secret nothing is sent, rather than something without a certificate.
	w.g.Change(func() { w.g.Write("host.yaml", pairSecret("unused", of("x"))) })
	await(t, "503 HK3114 without the Secret", func() bool { return w.get(w.browser(true, "", nil), "https://own.zone.test/x").got() == "503 HK3114" })
	if s := w.asked(w.browser(true, "", nil), "https://www.zone.test/x"); s.Client != "zone-4" {
		t.Errorf("beside a host without its Secret: %q", s.Client)
	}
}

// TestPullCommands uploads a certificate as Cloudflare's and IBM's API take it, for a zone and a host, and
// switches it on and off, with the gateway running.
func TestPullCommands(t *testing.T) {
	t.Parallel()
	ca, pulls := testca.New(t, testca.Spec{CommonName: "Origin CA"}), testca.New(t, testca.Spec{CommonName: "Pull CA"})
	config := originTLS(ca.Issue(testca.Spec{DNS: []string{"o.test"}}), pulls)
	config.ClientAuth = tls.VerifyClientCertIfGiven
	o := startOrigin(t, "o", config)
	w := originWorld(t, originPool("main", []string{o.entry()}, "tls: {verifyName: o.test, caRef: {kind: ConfigMap, name: origin-ca}}"), "a.zone.test", "b.zone.test")
	w.files["ca.yaml"] = configMap("origin-ca", string(ca.CertPEM()))
	w.start()
	run := func(args ...string) string {
		t.Helper()
		r := w.g.Run(append([]string{"origin", "pull"}, args...)...)
		if r.Code != 0 {
			t.Fatalf("origin pull %s: %d %s%s", args, r.Code, r.Out, r.Err)
		}
		return r.Out + r.Err
	}
	body := func(name string) string {
		p := pulls.Issue(testca.Spec{CommonName: name})
		b, err := json.Marshal(map[string]string{"certificate": string(p.CertPEM()), "private_key": string(p.KeyPEM())})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "reqbody.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + path
	}
	shown := func(host, want string) {
		t.Helper()
		var got string
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if got = w.asked(w.browser(true, "", nil), "https://"+host+"/x").Client; got == want {
				return
			}
		}
		t.Errorf("%s shows %q, want %q", host, got, want)
	}
	if out := run("upload", "--json", body("zone"), "--zone", "zone.test"); !strings.Contains(out, "not shown") {
		t.Errorf("says nothing of enable:\n%s", out)
	}
	shown("a.zone.test", "")
	run("enable", "--zone", "zone.test")
	shown("a.zone.test", "zone")
	run("upload", "--json", body("host"), "--host", "b.zone.test", "--enable")
	shown("b.zone.test", "host")
	shown("a.zone.test", "zone")
	run("disable", "--host", "b.zone.test")
	shown("b.zone.test", "")
	run("upload", "--json", body("zone-2"), "--zone", "zone.test")
	shown("a.zone.test", "zone-2")
	if out := run("ls"); !strings.Contains(out, "zone.test") || !strings.Contains(out, "b.zone.test") || strings.Contains(out, "PRIVATE KEY") {
		t.Errorf("ls:\n%s", out)
	}
	// A key of another certificate is refused, and what serves goes on.
	one, two := pulls.Issue(testca.Spec{CommonName: "one"}), pulls.Issue(testca.Spec{CommonName: "two"})
	mixed, _ := json.Marshal(map[string]string{"certificate": string(one.CertPEM()), "private_key": string(two.KeyPEM())})
	if r := w.g.RunInput(string(mixed), "origin", "pull", "upload", "--json", "@-", "--zone", "zone.test"); r.Code == 0 || strings.Contains(r.Out+r.Err, "PRIVATE KEY") {
		t.Errorf("a key of another certificate: %d %s", r.Code, r.Err)
	}
	shown("a.zone.test", "zone-2")
}

// TestOriginRefused says in page, log and story why nothing came of a connection to an origin.
func TestOriginRefused(t *testing.T) {
	t.Parallel()
	ca, pulls, stranger := testca.New(t, testca.Spec{CommonName: "Origin CA"}), testca.New(t, testca.Spec{CommonName: "Pull CA"}), testca.New(t, testca.Spec{CommonName: "Strangers"})
	good := testca.Spec{DNS: []string{"o.test"}}
	past := good
	past.NotBefore, past.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	future := good
	future.NotBefore = time.Now().Add(24 * time.Hour)
	other := testca.Spec{DNS: []string{"other.test"}}
	tls13 := originTLS(ca.Issue(good), pulls)
	tls12 := originTLS(ca.Issue(good), pulls)
	tls12.MaxVersion = tls.VersionTLS12
	cases := []struct {
		name   string
		config *tls.Config
		pull   *testca.Pair
		code   string
	}{
		{"commonname", originTLS(ca.Version1("o.test")), nil, "HK3105"},
		{"unknown", originTLS(stranger.Issue(good)), nil, "HK3101"},
		{"selfsigned", originTLS(testca.SelfSigned(t, good)), nil, "HK3101"},
		{"expired", originTLS(ca.Issue(past)), nil, "HK3102"},
		{"future", originTLS(ca.Issue(future)), nil, "HK3103"},
		{"name", originTLS(ca.Issue(other)), nil, "HK3104"},
		{"plain", nil, nil, "HK3108"},
		{"without", tls13, nil, "HK3106"},
		{"without12", tls12, nil, "HK3106"},
		{"wrong", tls13, stranger.Issue(testca.Spec{CommonName: "wrong"}), "HK3107"},
		{"wrong12", tls12, stranger.Issue(testca.Spec{CommonName: "wrong"}), "HK3107"},
	}
	hosts := []string{"good.refuse.test"}
	w := newWorld(t, "unused.test")
	w.files = map[string]string{"ca.yaml": configMap("origin-ca", string(ca.CertPEM()))}
	add := func(name string, config *tls.Config, pull *testca.Pair) {
		o := startOrigin(t, name, config)
		w.files[name+".yaml"] = documents(originHost(name, name, name+".refuse.test"), originPool(name, []string{o.entry()}, "tls: {verifyName: o.test, caRef: {kind: ConfigMap, name: origin-ca}}"))
		if pull != nil {
			w.files[name+"-pull.yaml"] = documents(originPull(name, name+".refuse.test", name+"-pull"), pairSecret(name+"-pull", pull))
		}
	}
	add("good", tls13, pulls.Issue(testca.Spec{CommonName: "edge"}))
	for _, c := range cases {
		add(c.name, c.config, c.pull)
		hosts = append(hosts, c.name+".refuse.test")
	}
	w.files["secret.yaml"] = w.secret("edge", hosts...)
	w.start()
	for _, c := range cases {
		ans := w.get(w.browser(true, "", nil), "https://"+c.name+".refuse.test/x")
		if ans.StatusCode != 502 && ans.StatusCode != 503 || ans.Code != c.code {
			t.Errorf("%s: %s, want %s", c.name, ans.got(), c.code)
		}
		if l := w.line(ans); l.S("code") != c.code || l.S("detail") == "" {
			t.Errorf("%s: code %q and detail %q in the log", c.name, l.S("code"), l.S("detail"))
		}
		r := w.g.Run("explain", ans.Header.Get("X-Request-Id"))
		if r.Code != 0 || !strings.Contains(r.Out, c.code) {
			t.Errorf("%s: explain: %d\n%s%s", c.name, r.Code, r.Out, r.Err)
		}
	}
	// Neighbours of all these are served.
	if s := w.asked(w.browser(true, "", nil), "https://good.refuse.test/x"); s.Client != "edge" {
		t.Errorf("%+v", s)
	}
}

// TestMonitorSpeaksAsRequestsDo: an origin that refuses the edge's certificate, or has a bad one itself, fails
// its checks with the same reason that requests have.
func TestMonitorSpeaksAsRequestsDo(t *testing.T) {
	t.Parallel()
	ca, pulls, stranger := testca.New(t, testca.Spec{CommonName: "Origin CA"}), testca.New(t, testca.Spec{CommonName: "Pull CA"}), testca.New(t, testca.Spec{CommonName: "Strangers"})
	good := ca.Issue(testca.Spec{DNS: []string{"o.test"}})
	a, b, c := startOrigin(t, "a", originTLS(good, pulls)), startOrigin(t, "b", originTLS(good, stranger)), startOrigin(t, "c", originTLS(ca.Version1("o.test")))
	w := originWorld(t, originPool("main", []string{a.entry(), b.entry(), c.entry()}, "tls: {verifyName: o.test, caRef: {kind: ConfigMap, name: origin-ca}}",
		"monitor: {type: https, path: /health, interval: 1s, retries: 0, headers: [{name: Host, value: a.test}]}"), "a.test")
	w.files["ca.yaml"] = configMap("origin-ca", string(ca.CertPEM()))
	w.files["pull.yaml"] = documents(originPull("edge", "a.test", "pull"), pairSecret("pull", pulls.Issue(testca.Spec{CommonName: "edge"})))
	w.start()
	w.awaitOrigin("a", "healthy")
	if row := w.awaitOrigin("b", "unhealthy"); row.Code != "HK3107" {
		t.Errorf("%+v", row)
	}
	if row := w.awaitOrigin("c", "unhealthy"); row.Code != "HK3105" {
		t.Errorf("%+v", row)
	}
	browser := w.browser(true, "", nil)
	for range 20 {
		if s := w.asked(browser, "https://a.test/x"); s.Origin != "a" || s.Client != "edge" {
			t.Errorf("%+v", s)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.certs[""] != 0 {
		t.Error("a was asked without a certificate")
	}
}

// TestEnroll lets an authority prepare origin and edge: nginx and Node, with the configuration that was written
// for them, take this edge and nobody else, not even what the same authority has issued.
func TestEnroll(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"nginx", "node"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			dir := gateway.Folder(t)
			caDir, out := filepath.Join(dir, "ca"), filepath.Join(dir, "shop")
			run := func(args ...string) {
				t.Helper()
				if r := gateway.Command(t, nil, "", args...); r.Code != 0 {
					t.Fatalf("%s: %d %s%s", args, r.Code, r.Out, r.Err)
				}
			}
			port := gateway.FreePort(t)
			run("ca", "init", "--ca-dir", caDir)
			w := newWorld(t, "a.test")
			w.files["hosts.yaml"] = originHost("edge", "shop", "a.test")
			w.start()
			run("origin", "enroll", "shop", "--ca-dir", caDir, "--host", "shop-origin.test", "--address", fmt.Sprintf("127.0.0.1:%d", port), "--out", out, "--config", w.g.Dir)
			if info, err := os.Stat(filepath.Join(out, "shop.key")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("shop.key: %v %v", info, err)
			}
			startEnrolled(t, server, out, port)
			browser := w.browser(true, "", nil)
			await(t, "an answer of the origin", func() bool { return w.get(browser, "https://a.test/").StatusCode == 200 })
			// A direct client: without a certificate, with one of the same authority, and as the edge.
			run("cert", "issue", "--ca-dir", caDir, "--profile", "client", "--cn", "intruder", "--out", filepath.Join(dir, "intruder"))
			run("cert", "issue", "--ca-dir", caDir, "--san", "shop-origin.test", "--out", filepath.Join(dir, "server"))
			roots := filepath.Join(dir, "root.crt")
			if err := os.WriteFile(roots, []byte(gateway.Command(t, nil, "", "ca", "show", "--ca-dir", caDir, "--bundle").Out), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, cert := range []string{"", "intruder", "server"} {
				args := []string{"--cacert", roots}
				if cert != "" {
					args = append(args, "--cert", filepath.Join(dir, cert+".crt"), "--key", filepath.Join(dir, cert+".key"))
				}
				a := client.Curl(t, fmt.Sprintf("127.0.0.1:%d", port), "https://shop-origin.test/", args...)
				if a.Status != 0 && a.Status != 400 { // nginx says 400 after the handshake
					t.Errorf("a direct client with the certificate %q: %d %s", cert, a.Status, a.Body)
				}
			}
		})
	}
}

// startEnrolled starts an origin from what hakone origin enroll wrote into a folder, but for the port.
func startEnrolled(t *testing.T, server, dir string, port int) {
	t.Helper()
	var c program.Command
	switch server {
	case "node":
		c = program.Command{Path: program.Find(t, "node"), Args: []string{"index.js"}, Dir: dir, Env: []string{"NODE_PATH=" + program.NodeModules(t), fmt.Sprintf("PORT=%d", port)}}
	case "nginx":
		snippet, err := os.ReadFile(filepath.Join(dir, "nginx.conf"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(snippet), "listen 443 ssl;", fmt.Sprintf("listen 127.0.0.1:%d ssl;", port), 1)
		text = strings.Replace(text, "root /var/www/html;", "return 200 hello;", 1)
		conf := filepath.Join(dir, "whole.conf")
		whole := fmt.Sprintf("daemon off; error_log stderr; pid %[1]s/pid; worker_processes 1;\nevents {}\nhttp {\naccess_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; "+
			"fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;\n%[2]s\n}\n", dir, text)
		if err := os.WriteFile(conf, []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		c = program.Command{Path: program.Find(t, "nginx"), Args: []string{"-c", conf}}
	}
	log := program.Start(t, c)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s: %s", server, log())
		}
	})
}
