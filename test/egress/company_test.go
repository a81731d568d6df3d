//go:build e2e

package egress

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestCompanyOverTLS is a company's proxy that is spoken to in TLS: its own certificate is verified against the CA that
// is named for it, under its own name.
func TestCompanyOverTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, other := testca.New(t, testca.Spec{CommonName: "Company servers"}), testca.New(t, testca.Spec{CommonName: "Somebody else"})
	leaf := own.Issue(testca.Spec{DNS: []string{"proxy.corp.example"}})
	w.startSquid(squid.Options{Config: "http_access allow all\nhttps_port 8443 tls-cert=/etc/squid/proxy.crt tls-key=/etc/squid/proxy.key\n",
		Files: map[string]string{"proxy.crt": string(leaf.ChainPEM()), "proxy.key": string(leaf.KeyPEM())}})
	proxy := func(ca *testca.Pair, name string) string {
		return fmt.Sprintf(`apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: corp, namespace: default}
spec:
  urls: ["https://%s:8443"]
  tls:
    caRef: {kind: ConfigMap, name: servers, key: ca.crt}
    serverName: %s
  hosts: ["*"]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: servers, namespace: default}
data:
  ca.crt: |
%s---
%s`, w.company.Address, name, indent(string(ca.CertPEM()), 4), w.egress())
	}
	w.start(map[string]string{"egress.yaml": proxy(own, "proxy.corp.example")})
	w.title(w.curl("http://example.com/"))
	w.title(w.curl("--cacert", "mesh.crt", "https://example.com/"))
	w.g.AwaitLine(0, "kind", "request", "proxy", "default/corp", "host", "example.com")
	w.g.Change(func() { w.g.Write("egress.yaml", proxy(other, "proxy.corp.example")) })
	w.refusedWith("HK3312", "proxy_untrusted", "http://example.com/")
	w.g.Change(func() { w.g.Write("egress.yaml", proxy(own, "proxy.elsewhere.example")) })
	w.refusedWith("HK3312", "proxy_untrusted", "http://example.com/")
	w.g.Change(func() { w.g.Write("egress.yaml", proxy(own, "proxy.corp.example")) })
	w.await("the page comes again", func() bool { return w.curl("-f", "http://example.com/").Code == 0 })
}

// TestCompanyLogin is a proxy that asks for a password: the right one, a wrong one, which changes while it runs.
func TestCompanyLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hash := program.Run(t, program.Command{Path: program.Find(t, "openssl"), Args: []string{"passwd", "-apr1", "right"}})
	w.startSquid(squid.Options{More: "auth_param basic program /usr/lib/squid/basic_ncsa_auth /etc/squid/users\nauth_param basic realm corp\nacl known proxy_auth REQUIRED\nhttp_access deny !known\n",
		Files: map[string]string{"users": "ada:" + hash.Out}})
	login := func(password string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/basic-auth\nmetadata: {name: corp-login, namespace: default}\ndata:\n  username: %s\n  password: %s\n",
			base64.StdEncoding.EncodeToString([]byte("ada")), base64.StdEncoding.EncodeToString([]byte(password)))
	}
	w.start(map[string]string{"egress.yaml": w.corp("  credentialsRef: {name: corp-login}\n") + "---\n" + w.egress(), "login.yaml": login("right")})
	w.title(w.curl("http://example.com/"))
	w.squid.AwaitLog(0, `GET https://example\.com/ ada `)
	w.g.Change(func() { w.g.Write("login.yaml", login("wrong")) })
	w.refusedWith("HK3301", "proxy_auth_required", "http://example.com/")
	if text := w.g.Stderr() + w.lines(); strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("ada:"))[:5]) {
		t.Error("the log holds the login")
	}
	w.g.Change(func() { w.g.Write("login.yaml", login("right")) })
	w.await("the page comes again", func() bool { return w.curl("-f", "http://example.com/").Code == 0 })
}

// TestCompanyReasons are faults of an intercepting proxy, each with its reason at the client, in the log and by explain.
func TestCompanyReasons(t *testing.T) {
	t.Parallel()
	later := func(t *testing.T) *testca.Pair {
		return testca.New(t, testca.Spec{CommonName: "Company proxy", NotBefore: time.Now().Add(24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), Key: testca.RSA2048})
	}
	for name, c := range map[string]struct {
		squid        squid.Options
		ca           func(*testing.T) *testca.Pair
		url, more    string
		code, reason string
	}{
		"not yet valid": {ca: later, code: "HK3323", reason: "interception_expired"},
		"another name":  {url: "http://mismatch.test/", code: "HK3324", reason: "interception_name_mismatch"},
		"slow to answer": {squid: squid.Options{More: "external_acl_type slow ttl=0 children-max=2 %DST /bin/sh /etc/squid/slow.sh\nacl slow external slow\nhttp_access deny !slow\n",
			Files: map[string]string{"slow.sh": "while read line; do sleep 30; echo OK; done\n"}}, more: "  connectTimeout: 1s\n", code: "HK3309", reason: "proxy_timeout"},
		"TLS on the port": {squid: squid.Options{Config: "http_access allow all\nhttps_port 8080 tls-cert=/etc/squid/bump.crt tls-key=/etc/squid/bump.key\n"}, code: "HK3310", reason: "proxy_closed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.ca != nil {
				c.squid.CA = c.ca(t)
			}
			elsewhere := w.net.Host() // shows a certificate for another name
			w.origin(elsewhere, w.public.Issue(testcaSpec("elsewhere.test")))
			c.squid.Hosts = elsewhere.Address + " mismatch.test\n"
			w.startSquid(c.squid)
			w.start(map[string]string{"egress.yaml": w.corp(c.more) + "---\n" + w.egress()})
			if c.url == "" {
				c.url = "http://example.com/"
			}
			w.refusedWith(c.code, c.reason, "--resolve", "mismatch.test:80:"+w.hakone.Address, c.url)
		})
	}
}

// TestCompanyFallback is a proxy that is down: with fallback direct the destination is reached without it, and believed
// by the ordinary CAs alone; when it is back, it is used again. hosts and except say who goes through it.
func TestCompanyFallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	corp := func(more string) string {
		return strings.Replace(w.corp(more), `hosts: ["*"]`, `hosts: ["*.example.com", example.com]`, 1) + "---\n" + w.egress()
	}
	w.start(map[string]string{"egress.yaml": corp("  except: [www.example.com]\n  fallback: direct\n")})
	w.title(w.curl("http://example.com/"))
	w.title(w.curl("http://www.example.com/"))
	w.title(w.curl("http://other.test/"))
	for _, line := range w.squid.Log() {
		if strings.Contains(line, "www.example.com") || strings.Contains(line, "other.test") {
			t.Errorf("not through the proxy: %s", line)
		}
	}
	w.squid.Stop()
	mark := w.g.Mark()
	w.await("directly", func() bool { return w.curl("-f", "http://example.com/").Code == 0 })
	w.await("its record says so", func() bool {
		return slices.ContainsFunc(w.g.Lines()[mark:], func(l gateway.Line) bool { return l.N("status") == 200 && l.S("proxy") == "" })
	})
	w.has("egress ls", w.hakoneRun("egress", "ls").Out, `default/corp +http://\S+:8080 +out .*HK33\d\d`)
	w.squid.Restart()
	before := len(w.squid.Log())
	w.await("through the proxy again", func() bool {
		return w.curl("-f", "http://example.com/seen").Code == 0 && len(w.squid.Log()) > before
	})
	w.g.Change(func() { w.g.Write("egress.yaml", corp("")) })
	w.squid.Stop()
	w.await("refused without a fallback", func() bool { return strings.Contains(w.curl("-i", "http://example.com/seen").Out, "HK33") })
}
