//go:build e2e

package e2e

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// legacy are the arguments that make OpenSSL 3 speak TLS 1.1.
var legacy = []string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}

// node is the one gateway of seed 0: floor 1.1 from the environment, two hosts.
func node(t *testing.T, s site, o gateway.Options) *gateway.Gateway {
	t.Helper()
	o.Files = map[string]string{
		"gateway.yaml": istioGateway(istioServer{name: "a", host: "a.test", secret: "site"}, istioServer{name: "b", host: "b.test", secret: "site"}),
		"route.yaml":   routeAll("all", "*", "backend"), "secret.yaml": secretTLS("site", s.leaf),
	}
	o.Endpoints = []string{"backend.default:8000=" + httpbin.Start(t)}
	o.Env = append(o.Env, "TLS_MIN_VERSION=1.1")
	return gateway.Start(t, o)
}

// versions says which TLS versions a host serves, as openssl sees it.
func versions(t *testing.T, g *gateway.Gateway, host string) string {
	t.Helper()
	var served []string
	for _, v := range []struct{ flag, name string }{{"-tls1", "TLSv1"}, {"-tls1_1", "TLSv1.1"}, {"-tls1_2", "TLSv1.2"}, {"-tls1_3", "TLSv1.3"}} {
		s := client.SClient(t, g.Addr(443), "", "-servername", host, v.flag, "-cipher", "ALL:@SECLEVEL=0")
		switch {
		case s.Protocol == v.name && strings.Contains(s.Text, "BEGIN CERTIFICATE"):
			served = append(served, v.name)
		case s.Alert != 70 || s.Protocol != "":
			t.Errorf("%s %s: neither served nor refused with alert 70: protocol %q, alert %d\n%s", host, v.flag, s.Protocol, s.Alert, s.Text)
		}
	}
	return strings.Join(served, " ")
}

// TestSeed0 raises the floor of a running node from 1.1 to 1.2.
func TestSeed0(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test")
	g := node(t, s, gateway.Options{})
	if r := g.Run("tls-version", "show"); r.Out != "TLS minimum version is 1.1\n" || r.Code != 0 {
		t.Errorf("show: %+v", r)
	}
	if r := g.Run("service", "tls_version", "--tls-min-version", "show"); r.Out != "TLS minimum version is 1.1\n" || r.Code != 0 {
		t.Errorf("service tls_version: %+v", r)
	}
	shake := client.SClient(t, g.Addr(443), "", append([]string{"-servername", "a.test", "-CAfile", s.caFile(t)}, legacy...)...)
	if shake.Protocol != "TLSv1.1" || !strings.Contains(shake.Text, "BEGIN CERTIFICATE") {
		t.Fatalf("TLS 1.1 is not served before the change:\n%s", shake.Text)
	}
	old := s.config("a.test")
	old.MaxVersion = tls.VersionTLS11
	before := client.DialTLS(t, g.Addr(443), old)
	if v := before.TLS().Version; v != tls.VersionTLS11 {
		t.Fatalf("version %x", v)
	}

	if r := g.RunInput("n\n", "tls-version", "set", "1.2"); r.Code != 1 || strings.Contains(r.Out, "patched") {
		t.Errorf("after No: %+v", r)
	}
	if got := versions(t, g, "a.test"); got != "TLSv1.1 TLSv1.2 TLSv1.3" {
		t.Errorf("before the change: %s", got)
	}
	load := startLoad(t, g.Addr(443), "a.test", "/status/200", 200, s.config("a.test"))
	r := g.RunInput("y\n", "tls-version", "set", "1.2")
	load.more(20)
	changed := g.Mark()
	begin := "Enabling TLSv1.2 will disable TLSv1.1 and below\nDo you want to continue? [y/N]: WARNING: Enabling TLSv1.2 for all listeners\ntlspolicy.hakone.dev patched in " + g.Dir
	if r.Code != 0 || !strings.HasPrefix(r.Out, begin) || !strings.Contains(r.Out, "undo: hakone tls-version unset") {
		t.Errorf("set: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if resp, _ := before.Get("a.test", "/status/200"); resp.StatusCode != 200 {
		t.Errorf("the TLS 1.1 connection opened before got %d", resp.StatusCode)
	}
	for _, host := range []string{"a.test", "b.test"} {
		if got := versions(t, g, host); got != "TLSv1.2 TLSv1.3" {
			t.Errorf("%s after the change: %s", host, got)
		}
	}
	load.stop()
	if r := g.Run("tls-version", "show"); r.Out != "TLS minimum version is 1.2\n" {
		t.Errorf("show after: %+v", r)
	}
	g.AwaitLine(changed, "kind", "handshake", "code", "HK1001", "detail", "client offered TLS 1.1, host requires 1.2")

	undo := strings.Fields(r.Out[strings.Index(r.Out, "undo: hakone ")+len("undo: hakone "):])
	if r := g.RunInput("y\n", undo...); r.Code != 0 || !strings.Contains(r.Out, "Removing the minimum set for all listeners") {
		t.Errorf("undo: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if got := versions(t, g, "a.test"); got != "TLSv1.1 TLSv1.2 TLSv1.3" {
		t.Errorf("after undo: %s", got)
	}
	if r := g.Run("service", "tls_version", "--tls-min-version", "1.3", "--yes"); r.Code != 0 {
		t.Errorf("service tls_version --tls-min-version 1.3: %+v", r)
	}
	if got := versions(t, g, "b.test"); got != "TLSv1.3" {
		t.Errorf("after 1.3: %s", got)
	}
}

// TestSeed0Scopes sets floors for one host and one listener.
func TestSeed0Scopes(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test")
	g := node(t, s, gateway.Options{})
	set := func(args ...string) gateway.Result {
		r := g.Run(append([]string{"tls-version", "set", "--yes"}, args...)...)
		if r.Code != 0 {
			t.Errorf("set %v: exit %d\n%s%s", args, r.Code, r.Out, r.Err)
		}
		return r
	}
	set("1.3", "--host", "a.test")
	if a, b := versions(t, g, "a.test"), versions(t, g, "b.test"); a != "TLSv1.3" || b != "TLSv1.1 TLSv1.2 TLSv1.3" {
		t.Errorf("after --host a.test 1.3: a %q, b %q", a, b)
	}
	show := g.Run("tls-version", "show")
	if !strings.HasPrefix(show.Out, "TLS minimum versions differ between listeners; the lowest is 1.1\n") || !strings.Contains(show.Out, "a.test") || !strings.Contains(show.Out, "b.test") {
		t.Errorf("show: %s", show.Out)
	}
	r := set("1.2", "--listener", "default/gw")
	if !strings.Contains(r.Out, "undo: hakone tls-version unset --listener default/gw") {
		t.Errorf("undo line: %s", r.Out)
	}
	if a, b := versions(t, g, "a.test"), versions(t, g, "b.test"); a != "TLSv1.3" || b != "TLSv1.2 TLSv1.3" {
		t.Errorf("after --listener 1.2: a %q, b %q; the host's own must win", a, b)
	}
	rows := g.Run("tls-version", "show", "--per-listener", "-o", "json")
	if !strings.Contains(rows.Out, `"host": "a.test"`) || !strings.Contains(rows.Out, `"minVersion": "1.3"`) || !strings.Contains(rows.Out, `"minVersion": "1.2"`) {
		t.Errorf("per listener: %s", rows.Out)
	}
	set("1.1", "--listener", "default/gw/a")
	if b := versions(t, g, "b.test"); b != "TLSv1.2 TLSv1.3" {
		t.Errorf("another listener's floor changed b to %q", b)
	}
	if r := g.Run("tls-version", "set", "1.2", "--yes", "--host", "nobody.test"); r.Code != 2 {
		t.Errorf("a host that nobody serves: %+v", r)
	}
	if r := g.Run("tls-version", "set", "1.4", "--yes"); r.Code != 2 {
		t.Errorf("version 1.4: %+v", r)
	}
	managed, err := os.ReadFile(filepath.Join(g.Dir, "hakone-managed.yaml"))
	if err != nil || strings.Count(string(managed), "kind: TLSPolicy") != 3 {
		t.Errorf("the managed file: %v\n%s", err, managed)
	}
}

// TestSeed0ReadOnly changes nothing in a folder that is not for writing, and prints what to apply.
func TestSeed0ReadOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test")
	forms := map[string]func(t *testing.T) *gateway.Gateway{
		"a volume of Kubernetes": func(t *testing.T) *gateway.Gateway {
			dir := gateway.Folder(t)
			g := gateway.Options{Dir: dir}
			if err := os.Symlink(t.TempDir(), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
			return node(t, s, g)
		},
		"no permission": func(t *testing.T) *gateway.Gateway {
			o := gateway.Options{}
			if os.Geteuid() == 0 {
				o.User = 65534 // root may write anywhere
			}
			g := node(t, s, o)
			if err := os.Chmod(g.Dir, 0o555); err != nil {
				t.Fatal(err)
			}
			return g
		},
	}
	for name, start := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			r := g.Run("tls-version", "set", "1.2", "--yes")
			if r.Code != 1 || !strings.Contains(r.Err, "kind: TLSPolicy") || !strings.Contains(r.Err, "minVersion: \"1.2\"") || !strings.Contains(r.Err, "fix:") {
				t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
			}
			if got := versions(t, g, "a.test"); got != "TLSv1.1 TLSv1.2 TLSv1.3" {
				t.Errorf("after a refused change: %s", got)
			}
		})
	}
}

// TestFreshDefault shows the floor without any setting.
func TestFreshDefault(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := startSite(t, s, httpbin.Start(t), "a.test")
	if r := g.Run("tls-version", "show"); r.Out != "TLS minimum version is 1.2\n" {
		t.Errorf("show: %+v", r)
	}
	if got := versions(t, g, "a.test"); got != "TLSv1.2 TLSv1.3" {
		t.Errorf("served: %s", got)
	}
	if s := client.SClient(t, g.Addr(443), "", "-servername", "a.test", "-tls1_3"); !strings.Contains(s.Text, "BEGIN CERTIFICATE") {
		t.Error(s.Text)
	}
	rsa := s.ca.Issue(testca.Spec{DNS: []string{"a.test"}, Key: testca.RSA2048})
	g.Change(func() { g.Write("secret.yaml", secretTLS("site", rsa)) })
	if got := versions(t, g, "a.test"); got != "TLSv1.2 TLSv1.3" {
		t.Errorf("served with an RSA certificate: %s", got)
	}
}
