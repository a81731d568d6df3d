package enroll_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/secret"
)

const originName = "shop-origin.example.test"

// enrolled makes an authority and enrols origins below it.
func enrolled(t *testing.T, store ca.Store, names ...string) []*enroll.Enrolment {
	t.Helper()
	ctx := context.Background()
	if _, _, err := ca.Create(ctx, store, ca.DefaultName, ca.Setup{Subject: subject(t, "CN=Test")}, ca.Options{}); err != nil {
		t.Fatal(err)
	}
	var out []*enroll.Enrolment
	for _, n := range names {
		e, err := enroll.Origin(ctx, store, ca.DefaultName, enroll.Plan{Name: n, Namespace: "default", Hosts: []string{originName}, EdgeHosts: []string{"a_b.example.test"}}, ca.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func subject(t *testing.T, s string) (n pkixName) {
	t.Helper()
	n, err := ca.ParseSubject(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func certificate(t *testing.T, i *ca.Issued) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(i.ChainPEM(), i.Key.Expose())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An origin lets in the edge, and neither another origin's client nor one of the authority.
func TestOnlyThisEdgeGetsIn(t *testing.T) {
	store := ca.Dir(t.TempDir())
	es := enrolled(t, store, "shop", "blog")
	now := time.Now()
	if err := es[0].Accepts(es[0].Client.Chain, now); err != nil {
		t.Error(err)
	}
	if es[0].Accepts(es[1].Client.Chain, now) == nil {
		t.Error("the shop lets the blog's client in")
	}
	main, err := ca.Open(context.Background(), store, ca.DefaultName, ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i, _, err := main.Issue(context.Background(), ca.Request{Profile: ca.Client, Subject: subject(t, "CN=edge of shop")})
	if err != nil {
		t.Fatal(err)
	}
	if es[0].Accepts(i.Chain, now) == nil {
		t.Error("the shop lets a client of the common authority in")
	}
	again, err := enroll.Origin(context.Background(), store, ca.DefaultName, enroll.Plan{Name: "shop", Namespace: "default", Hosts: []string{originName}}, ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := es[0].Accepts(again.Client.Chain, now); err != nil {
		t.Errorf("enrolled again, the edge's new certificate is refused: %v", err)
	}
}

func TestPlan(t *testing.T) {
	good := enroll.Plan{Name: "shop", Namespace: "default", Hosts: []string{"a.test"}}
	for name, change := range map[string]func(*enroll.Plan){
		"no name":        func(p *enroll.Plan) { p.Name = "" },
		"upper case":     func(p *enroll.Plan) { p.Name = "Shop" },
		"underscore":     func(p *enroll.Plan) { p.Name = "my_shop" },
		"namespace":      func(p *enroll.Plan) { p.Namespace = "a/b" },
		"no host":        func(p *enroll.Plan) { p.Hosts = nil },
		"bad host":       func(p *enroll.Plan) { p.Hosts = []string{"a b"} },
		"wildcard first": func(p *enroll.Plan) { p.Hosts = []string{"*.a.test"} },
		"bad address":    func(p *enroll.Plan) { p.Addresses = []string{"a.test:http"} },
		"bad port":       func(p *enroll.Plan) { p.Addresses = []string{"a.test:70000"} },
		"edge host":      func(p *enroll.Plan) { p.EdgeHosts = []string{"*"} },
	} {
		p := good
		change(&p)
		var e *enroll.Error
		if err := p.Check(); !asError(err, &e) || e.Code != diag.EnrolmentInvalid || e.Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.Addresses = []string{"192.0.2.1", "::1", "[::1]:8443", "b.test:1"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

// install writes what the origin gets.
func install(t *testing.T, e *enroll.Enrolment) string {
	t.Helper()
	dir := t.TempDir()
	e.Plan.Dir = dir
	if err := enroll.WriteFiles(false, e.OriginFiles(dir)...); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "shop.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	return dir
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// letsIn asks an origin as the edge does, with a certificate or without.
func letsIn(e *enroll.Enrolment, address string, with ...tls.Certificate) (int, error) {
	bundle, _, err := secret.ParseBundle(e.OriginCA)
	if err != nil {
		return 0, err
	}
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: bundle.Pool(), ServerName: originName, Certificates: with}}}
	resp, err := c.Get("https://" + address + "/")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// start runs an origin until the test ends, and waits until it listens.
func start(t *testing.T, address string, cmd *exec.Cmd) {
	t.Helper()
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			c.Close()
			return
		}
		select {
		case <-done:
			t.Fatalf("it has ended:\n%s", log.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatal("it never listened")
		}
	}
}

// serves checks that an origin lets in this edge and nobody else.
func serves(t *testing.T, es []*enroll.Enrolment, address string) {
	t.Helper()
	if code, err := letsIn(es[0], address, certificate(t, es[0].Client)); err != nil || code >= 400 && code != 403 && code != 404 {
		t.Errorf("the edge: %d, %v", code, err)
	}
	if code, err := letsIn(es[0], address); err == nil && code < 400 {
		t.Errorf("somebody without a certificate: %d", code)
	}
	if code, err := letsIn(es[0], address, certificate(t, es[1].Client)); err == nil && code < 400 {
		t.Errorf("another origin's client: %d", code)
	}
}

func TestNginxSnippet(t *testing.T) {
	es := enrolled(t, ca.Dir(t.TempDir()), "shop", "blog")
	dir := install(t, es[0])
	address := freeAddress(t)
	server, err := os.ReadFile(filepath.Join(dir, "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	// Port and document root are the machine's; everything else is as it is written.
	body := strings.NewReplacer("listen 443 ssl", "listen "+address+" ssl", "/var/www/html", dir).Replace(string(server))
	conf := fmt.Sprintf("daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path %s/b;\nproxy_temp_path %s/p;\nfastcgi_temp_path %s/f;\nuwsgi_temp_path %s/u;\nscgi_temp_path %s/s;\n%s}\n", dir, dir, dir, dir, dir, dir, body)
	path := filepath.Join(dir, "whole.conf")
	for name, data := range map[string]string{path: conf, filepath.Join(dir, "index.html"): "hello"} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start(t, address, exec.Command("nginx", "-c", path, "-p", dir))
	serves(t, es, address)
	if code, err := letsIn(es[0], address, certificate(t, es[0].Client)); err != nil || code != 200 {
		t.Errorf("the edge gets %d, %v", code, err)
	}
}

func TestGoSnippet(t *testing.T) {
	es := enrolled(t, ca.Dir(t.TempDir()), "shop", "blog")
	dir := install(t, es[0])
	build := exec.Command("go", "build", "-o", "origin", "main.go")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address := freeAddress(t)
	cmd := exec.Command(filepath.Join(dir, "origin"))
	cmd.Env = append(os.Environ(), "ADDRESS="+address)
	start(t, address, cmd)
	serves(t, es, address)
}

// The script runs as it is, with a stand-in for Express, which is none of ours to test.
func TestNodeSnippet(t *testing.T) {
	es := enrolled(t, ca.Dir(t.TempDir()), "shop", "blog")
	dir := install(t, es[0])
	stub := filepath.Join(dir, "node_modules", "express")
	if err := os.MkdirAll(stub, 0o755); err != nil {
		t.Fatal(err)
	}
	const express = `module.exports = () => { const routes = {}; const app = (req, res) => {
  res.status = (n) => { res.statusCode = n; return res; };
  res.json = (v) => res.end(JSON.stringify(v));
  routes[req.url](req, res);
}; app.get = (path, f) => { routes[path] = f; }; return app; };`
	if err := os.WriteFile(filepath.Join(stub, "index.js"), []byte(express), 0o644); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("node", "index.js")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PORT="+port)
	start(t, address, cmd)
	serves(t, es, address)
}

func TestSnippetsQuotePaths(t *testing.T) {
	p := enroll.Plan{Name: "shop", Hosts: []string{"a.test", "b.test"}, Dir: `/srv/it's "here"`}
	for _, s := range p.Snippets() {
		if strings.Contains(s.Text, "%") && strings.Contains(s.Text, "%NAME%") || !strings.Contains(s.Text, `/srv/it\'s \"here\"/edge-ca.crt`) {
			t.Errorf("%s:\n%s", s.Server, s.Text)
		}
	}
}

func TestEdgeObjects(t *testing.T) {
	e := enrolled(t, ca.Dir(t.TempDir()), "shop")[0]
	objects, err := e.EdgeObjects(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.Kind+" "+o.Name.String())
	}
	if got := strings.Join(names, ", "); !strings.HasPrefix(got, "Secret default/shop-pull, ConfigMap default/shop-origin-ca, OriginPool default/shop, OriginPull default/origin-pull-host-a-b.example.test-") {
		t.Error(got)
	}
	pool := string(objects[2].YAML)
	for _, want := range []string{`verifyName: "` + originName, "name: shop-pull", "name: shop-origin-ca", "port: 443"} {
		if !strings.Contains(pool, want) {
			t.Errorf("%q is missing in\n%s", want, pool)
		}
	}
	leaf := certificate(t, e.Client).Leaf
	if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Error(leaf.ExtKeyUsage)
	}
}
