package tlsconf

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// run runs a client program against the gate and returns everything it printed.
func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	return runReading(t, strings.NewReader(stdin), name, args...)
}

// runReading is run with an input that may come slowly.
func runReading(t *testing.T, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = stdin
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // clients that are refused fail; what they print is judged
	return out.String()
}

// write puts PEM into a file for a client program.
func write(t *testing.T, name string, pem []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (g *gate) port() string {
	_, port, err := net.SplitHostPort(g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	return port
}

// curl fetches https://NAME:PORT/ from the gate.
func (g *gate) curl(name string, args ...string) string {
	g.t.Helper()
	return run(g.t, "", "curl", append([]string{"-sS", "--http1.1", "--max-time", "10", "--connect-to", name + ":" + g.port() + ":127.0.0.1:" + g.port(),
		"https://" + name + ":" + g.port() + "/"}, args...)...)
}

func (g *gate) openssl(args ...string) string {
	g.t.Helper()
	return run(g.t, "", "openssl", append([]string{"s_client", "-connect", g.addr}, args...)...)
}

// TestOldVersions makes TLS 1.0 and 1.1 work where they are asked for, with elliptic and with RSA key
// exchange, and nowhere else.
func TestOldVersions(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	for name, key := range map[string]testca.Key{"rsa.test": testca.RSA2048, "ecdsa.test": testca.P256} {
		w.host(t, name, ca.Issue(testca.Spec{DNS: []string{name}, Key: key})).MinVersion = tls.VersionTLS10
		w.host(t, "new-"+name, ca.Issue(testca.Spec{DNS: []string{"new-" + name}, Key: key}))
	}
	g := w.serve(t)
	for _, c := range []struct {
		name, flag, cipher string
		version            uint16
	}{
		{"rsa.test", "-tls1", "ECDHE-RSA-AES128-SHA:@SECLEVEL=0", tls.VersionTLS10},
		{"rsa.test", "-tls1_1", "ECDHE-RSA-AES128-SHA:@SECLEVEL=0", tls.VersionTLS11},
		{"rsa.test", "-tls1_1", "AES128-SHA:@SECLEVEL=0", tls.VersionTLS11},
		{"rsa.test", "-tls1_1", "ALL:@SECLEVEL=0", tls.VersionTLS11},
		{"rsa.test", "-tls1_2", "AES128-GCM-SHA256", tls.VersionTLS12},
		{"rsa.test", "-tls1_3", "", tls.VersionTLS13},
		{"ecdsa.test", "-tls1_1", "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0", tls.VersionTLS11},
		{"new-rsa.test", "-tls1_1", "ALL:@SECLEVEL=0", 0},
		{"new-ecdsa.test", "-tls1", "ALL:@SECLEVEL=0", 0},
		{"new-rsa.test", "-tls1_2", "ALL", tls.VersionTLS12},
	} {
		args := []string{"-servername", c.name, c.flag}
		if c.cipher != "" {
			args = append(args, "-cipher", c.cipher)
		}
		out := g.openssl(args...)
		rec := g.record()
		if c.version == 0 {
			if rec.Code != diag.TLSVersionTooLow || !strings.Contains(out, "alert number 70") {
				t.Errorf("%v: %s %q, openssl said %s", c, rec.Code, rec.Detail, lines(out))
			}
			continue
		}
		if rec.Code != 0 || rec.Version != c.version {
			t.Errorf("%v: %s %q %q, openssl said %s", c, rec.Code, rec.Detail, rec.Err, lines(out))
		}
	}
}

// lines keeps what matters of openssl's output.
func lines(out string) string {
	var keep []string
	for l := range strings.SplitSeq(out, "\n") {
		if strings.Contains(l, "error") || strings.Contains(l, "alert") || strings.Contains(l, "Cipher is") {
			keep = append(keep, l)
		}
	}
	return strings.Join(keep, " / ")
}

// TestClientsRefuseUs reads the alerts of OpenSSL clients, which under TLS 1.3 come unencrypted.
func TestClientsRefuseUs(t *testing.T) {
	ca, other := testca.New(t, testca.Spec{CommonName: "Ours"}), testca.New(t, testca.Spec{CommonName: "Theirs"})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	w.host(t, "old.test", ca.Issue(testca.Spec{DNS: []string{"old.test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}))
	w.host(t, "chain.test", ca.Intermediate(testca.Spec{}).Issue(testca.Spec{DNS: []string{"chain.test"}}))
	w.host(t, "plain.test", ca.Version1("plain.test")) // names no key of its issuer, so clients find one by its name
	g := w.serve(t)
	ours, theirs := write(t, "ours.pem", ca.CertPEM()), write(t, "theirs.pem", other.CertPEM())
	namesake := write(t, "namesake.pem", testca.New(t, testca.Spec{CommonName: "Ours"}).CertPEM())
	for _, c := range []struct {
		name, cafile string
		code         diag.Code
		detail       string
	}{
		{"a.test", theirs, diag.PeerUnknownCA, `alert 48 (unknown_ca); only the leaf is sent; the client does not know its issuer "CN=Ours"`},
		{"chain.test", theirs, diag.PeerUnknownCA, `the chain that is sent ends below "CN=Ours"`},
		{"old.test", ours, diag.PeerCertExpired, "alert 45 (certificate_expired); most likely: it expired at "},
		{"plain.test", namesake, diag.PeerUnknownCA, `alert 51 (decrypt_error); it could not verify a signature: most likely the CA it trusts is another one of the same name, "CN=Ours"`},
		{"chain.test", ours, 0, ""},
	} {
		for _, version := range []string{"1.3", "1.2"} {
			out := g.curl(c.name, "--cacert", c.cafile, "--tlsv"+version, "--tls-max", version)
			rec := g.record()
			if rec.Code != c.code || !strings.Contains(rec.Detail, c.detail) {
				t.Errorf("%s with TLS %s: %s %q %q; curl said %s", c.name, version, rec.Code, rec.Detail, rec.Err, out)
			}
		}
	}
	// A wrong name is refused by curl only after the handshake.
	w2 := newWorld()
	w2.host(t, "*", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	g.apply(w2)
	out := g.curl("b.test", "--cacert", ours)
	if res := g.result(); res.Record.Code != 0 || !strings.Contains(out, "curl: (60)") {
		t.Errorf("%s %s; curl said %s", res.Record.Code, res.Record.Detail, out)
	}
}

// TestClientsSeeAlerts shows that our alerts reach real clients, also where they have already sent a
// request under TLS 1.3.
func TestClientsSeeAlerts(t *testing.T) {
	server, ca := testca.New(t, testca.Spec{CommonName: "Server CA"}), testca.New(t, testca.Spec{CommonName: "Client CA"})
	w := newWorld()
	w.clients(w.host(t, "m.test", server.Issue(testca.Spec{DNS: []string{"m.test"}})), ir.ClientAuthRequire, ca)
	w.host(t, "gone.test").Certificates = []ir.SecretRef{"test/gone"}
	g := w.serve(t)
	cafile := write(t, "ca.pem", server.CertPEM())
	foreign := testca.New(t, testca.Spec{CommonName: "Client CA"}).Issue(testca.Spec{CommonName: "eve"})
	cert, key := write(t, "eve.crt", foreign.CertPEM()), write(t, "eve.key", foreign.KeyPEM())
	alice := ca.Issue(testca.Spec{CommonName: "alice"})
	acert, akey := write(t, "alice.crt", alice.CertPEM()), write(t, "alice.key", alice.KeyPEM())
	for _, c := range []struct {
		name string
		args []string
		code diag.Code
		says string
	}{
		{"m.test", nil, diag.ClientCertMissing, "certificate required"},
		{"m.test", []string{"--tls-max", "1.2"}, diag.ClientCertMissing, "handshake failure"},
		{"m.test", []string{"--cert", cert, "--key", key}, diag.ClientCertUnknownCA, "unknown ca"},
		{"m.test", []string{"--cert", acert, "--key", akey}, 0, ""},
		{"gone.test", nil, diag.CredentialMissing, "internal error"},
		{"nobody.test", nil, diag.SNIUnknown, "SSL_ERROR_SYSCALL"},
	} {
		out := g.curl(c.name, append(c.args, "--cacert", cafile)...)
		rec := g.record()
		if rec.Code != c.code || !strings.Contains(out, c.says) || c.says == "" && !strings.Contains(out, "HTTP/0.9") {
			t.Errorf("%s %v: %s %q; curl said %s", c.name, c.args, rec.Code, rec.Detail, out)
		}
	}
}

// TestStaple shows the OCSP response of the pair, and that the default group is a post-quantum one.
func TestStaple(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	settings := w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	ref := settings.Certificates[0]
	staple := []byte("an OCSP response")
	w.secrets.ByRef[ref] = &ir.Credential{Pair: w.secrets.ByRef[ref].Pair.WithStaple(staple)}
	g := w.serve(t)
	out := g.dial(client(ca, "a.test"))
	rec := g.record()
	if !bytes.Equal(out.state.OCSPResponse, staple) || tls.CurveID(rec.Group) != tls.X25519MLKEM768 {
		t.Errorf("staple %q, group %v, %v", out.state.OCSPResponse, tls.CurveID(rec.Group), out.err)
	}
}
