//go:build e2e

package edge

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestRootRotation changes the root of an authority under a gateway that serves its certificates and lets in
// its clients. In each phase, clients that trust the old root, both, or the new one, and gateways that do, agree
// with what the phases promise: until the old root retires nobody who followed is locked out.
func TestRootRotation(t *testing.T) {
	t.Parallel()
	c := newOwnCA(t)
	oldRoot := c.bundle("old.pem")
	c.issue("old-client", "--profile", "client", "--cn", "old")
	c.issue("server", "--san", "a.test")
	w := newWorld(t, "a.test")
	publish := func(cert string) string {
		return testca.SecretYAML("default", "edge", map[string][]byte{"tls.crt": c.read(cert + ".crt"), "tls.key": c.read(cert + ".key")})
	}
	w.files["secret.yaml"] = publish("server")
	w.files["bundles.yaml"] = configMap("ca", string(c.read("old.pem")))
	w.files["policy.yaml"] = policy("p", "hosts: [a.test]", trusts("ca"))
	w.start()
	put := func(file, text string) {
		if w.files[file] != text {
			w.files[file] = text
			w.g.Change(func() { w.g.Write(file, text) })
		}
	}
	serve := func(cert string) { put("secret.yaml", publish(cert)) }
	believe := func(pems ...string) {
		text := ""
		for _, p := range pems {
			text += string(c.read(p))
		}
		put("bundles.yaml", configMap("ca", text))
	}
	// visits asks as a client with a certificate and a bundle, by curl and by Go, and wants "200", a code, or
	// "server" where it does not believe the server.
	visits := func(phase, cert, bundle, want string) {
		t.Helper()
		a := client.Curl(t, w.g.Addr(443), "https://a.test/x", "--cacert", c.path(bundle), "--cert", c.path(cert+".crt"), "--key", c.path(cert+".key"), "-H", "Accept: application/json")
		got := fmt.Sprint(a.Status)
		switch {
		case a.Exit == 60:
			got = "server"
		case a.Exit != 0:
			got = a.Err
		case a.Status == 403:
			_, rest, _ := strings.Cut(a.Body, `"code":"`)
			got = rest[:min(6, len(rest))]
		}
		if got != want {
			t.Errorf("%s: the client %s that trusts %s: %s, want %s", phase, cert, bundle, got, want)
		}
	}
	visits("before", "old-client", "old.pem", "200")

	// The next root is trusted beside the old one; what is issued still comes from the old one.
	load := w.startTrafficOf("https://a.test/x", 2, c.pair("old-client"), c.pool("old.pem"))
	c.must("ca", "rotate", "prepare")
	c.bundle("both.pem")
	c.issue("between", "--profile", "client", "--cn", "between")
	believe("both.pem")
	for _, cert := range []string{"old-client", "between"} {
		for _, bundle := range []string{"old.pem", "both.pem"} {
			visits("prepared", cert, bundle, "200")
		}
	}

	// What is issued comes from the new root, and with the cross-signed one those follow who know only the old.
	c.must("ca", "rotate", "switch")
	c.issue("new-client", "--profile", "client", "--cn", "new")
	c.must("cert", "renew", "@server.crt", "--out", "@server2")
	c.write("new.pem", c.newRoot())
	for _, server := range []string{"server", "server2"} {
		serve(server)
		for _, trust := range [][]string{{"old.pem"}, {"both.pem"}} {
			believe(trust...)
			for _, cert := range []string{"old-client", "between", "new-client"} {
				for _, bundle := range []string{"old.pem", "both.pem"} {
					visits("switched, "+server+", gateway with "+trust[0], cert, bundle, "200")
				}
			}
		}
	}
	w.flawless(load)
	visits("switched", "new-client", "new.pem", "200")
	// A gateway with the new root alone refuses old clients, unless it has what lets the new root vouch for the old.
	believe("new.pem")
	visits("new root alone", "new-client", "both.pem", "200")
	visits("new root alone", "old-client", "both.pem", "HK2102")
	c.issuer("cross-1-by-2")
	believe("new.pem", "cross-1-by-2.crt")
	visits("new root and the old one's cross certificate", "old-client", "both.pem", "200")
	if out, code := c.asks("verify", "-CAfile", "new.pem", "-untrusted", "cross-1-by-2.crt", "-untrusted", "old-client.crt", "old-client.crt"); code != 0 {
		t.Errorf("openssl: %s", out)
	}
	if out, code := c.asks("verify", "-CAfile", oldRoot, "-untrusted", "new-client.crt", "new-client.crt"); code != 0 {
		t.Errorf("openssl: %s", out)
	}

	// The old root does not retire while what it issued is in use; renewed, it does.
	if r := c.run("ca", "rotate", "retire"); r.Code == 0 || !strings.Contains(r.Err, "HK7026") {
		t.Errorf("retired while in use: %d %s", r.Code, r.Err)
	}
	c.must("cert", "renew", "@old-client.crt", "--out", "@old-client2")
	c.must("cert", "renew", "@between.crt", "--out", "@between2")
	c.must("cert", "revoke", "@old-client.crt", "@between.crt", "@server.crt", "--reason", "superseded")
	c.must("ca", "rotate", "retire")
	c.bundle("after.pem")
	if after := c.chain("after.pem"); len(after) != 1 || !slices.Equal(after[0].Raw, c.chain("new.pem")[0].Raw) {
		t.Errorf("the bundle after the rotation has %d certificates", len(after))
	}
	believe("after.pem")
	for _, cert := range []string{"old-client2", "between2", "new-client"} {
		visits("retired", cert, "after.pem", "200")
	}
	visits("retired", "old-client", "after.pem", "HK2102")
}

// newRoot is the newest root of the trust bundle.
func (c *ownCA) newRoot() []byte {
	c.Helper()
	c.bundle("both.pem")
	return testca.PEM(slices.DeleteFunc(c.chain("both.pem"), func(x *x509.Certificate) bool { return !strings.Contains(x.Subject.CommonName, "G2") })...)
}

// pair reads what was issued into NAME.crt and NAME.key.
func (c *ownCA) pair(name string) *testca.Pair {
	c.Helper()
	p := testca.ParsePair(c, c.read(name+".crt"), c.read(name+".key"))
	for at, chain := p, c.chain(name + ".crt")[1:]; len(chain) > 0; at, chain = at.Issuer, chain[1:] {
		at.Issuer = &testca.Pair{Cert: chain[0], Issuer: &testca.Pair{}}
	}
	return p
}

// pool reads a bundle.
func (c *ownCA) pool(name string) *x509.CertPool {
	c.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.read(name))
	return pool
}
