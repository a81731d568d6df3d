//go:build e2e

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// visit is one request of a real client.
type visit struct {
	site  site
	port  string // of the gateway on 127.0.0.1
	path  string
	proto string // h2 or http1.1
	cert  bool   // with the client's certificate
}

// realClient is a program that makes a request. ask returns all that it printed, and whether it says
// that it got the answer, over the protocol that was asked for.
type realClient struct {
	name    string
	ask     func(t *testing.T, v visit) (text string, ok bool)
	refusal []string // what it prints when its certificate is missing, one of them
}

// TestRealClients asks with seven TLS clients over HTTP/1.1 and HTTP/2, without and with a certificate,
// where none is asked for and where one is required.
func TestRealClients(t *testing.T) {
	t.Parallel()
	s := newSite(t, "site.example.com", testca.Spec{})
	b := plainBackend(t, "http")
	open, mutual := s.start(t, b, false), s.start(t, b, true)
	clients := []realClient{
		{"curl", curl, []string{"alert certificate required"}},
		{"openssl", openssl, []string{"SSL alert number 116"}},
		{"gnutls-cli", gnutls, []string{"Certificate is required"}},
		{"Node", script("node", "client.mjs"), []string{"ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"}},
		{"Python", script("/usr/bin/python3", "client.py"), []string{"tlsv13 alert certificate required"}},
		{"Java", java(t, s), []string{"certificate_required"}},
		// The others are Chromium's when the connection ends before it has looked at the alert; with other servers too.
		{"Chromium", chromium(t, s), []string{"ERR_BAD_SSL_CLIENT_AUTH_CERT", "ERR_SOCKET_NOT_CONNECTED", "ERR_CONNECTION_CLOSED"}},
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			asked, done := 0, 0
			for _, proto := range []string{"http1.1", "h2"} {
				for _, at := range []struct {
					name string
					g    *gateway.Gateway
				}{{"open", open}, {"mutual", mutual}} {
					for _, cert := range []bool{false, true} {
						v := visit{s, fmt.Sprint(at.g.Port(443)), fmt.Sprintf("/visit/%s/%s/%s/%v", c.name, proto, at.name, cert), proto, cert}
						asked++
						if checkVisit(t, c, v, at.g.For(t), at.name == "mutual") {
							done++
						}
					}
				}
			}
			t.Logf("%s: %d of %d visits as they must be", c.name, done, asked)
			if asked != 8 || done != 8 {
				t.Errorf("%d of %d visits, want 8 of 8", done, asked)
			}
		})
	}
}

// checkVisit makes a visit and compares what the client says with the access log.
func checkVisit(t *testing.T, c realClient, v visit, g *gateway.Gateway, required bool) bool {
	t.Helper()
	mark := g.Mark()
	text, ok := c.ask(t, v)
	if required && !v.cert {
		if ok || !slices.ContainsFunc(c.refusal, func(want string) bool { return strings.Contains(text, want) }) {
			t.Errorf("%s: want a refusal that says %q, got %s", v.path, c.refusal, program.Tail(text, 1500))
			return false
		}
		line := g.AwaitLine(mark, "kind", "handshake", "code", "HK2101")
		return line.S("reason") == "client_cert_missing"
	}
	if !ok {
		t.Errorf("%s: no answer\n%s", v.path, program.Tail(text, 1500))
		return false
	}
	line := g.AwaitLine(mark, "kind", "request", "target", v.path)
	proto := map[string]string{"h2": "HTTP/2", "http1.1": "HTTP/1.1"}[v.proto]
	named := strings.Contains(line.S("client_subject"), "interop client")
	if line.N("status") != 200 || !strings.HasPrefix(line.S("proto"), proto) || named != required {
		t.Errorf("%s: want 200 over %s and a named client: %v; access log: %v", v.path, proto, required, line)
		return false
	}
	return true
}

// curl speaks with curl.
func curl(t *testing.T, v visit) (string, bool) {
	t.Helper()
	args := []string{"-sS", "-v", "--noproxy", "*", "--max-time", "15", "--resolve", v.site.host + ":" + v.port + ":127.0.0.1", "--cacert", v.site.caFile,
		map[string]string{"h2": "--http2", "http1.1": "--http1.1"}[v.proto], "-w", "\nversion %{http_version} status %{http_code}\n"}
	if v.cert {
		args = append(args, "--cert", v.site.clientCert, "--key", v.site.clientFile)
	}
	r := program.Run(t, program.Command{Path: program.Find(t, "curl"), Args: append(args, "https://"+v.site.host+":"+v.port+v.path)})
	version := map[string]string{"h2": "version 2 status 200", "http1.1": "version 1.1 status 200"}[v.proto]
	return r.Out + r.Err, r.Code == 0 && strings.Contains(r.Out, version) && strings.Contains(r.Out, v.path)
}

// alpn is a protocol's name in ALPN.
func (v visit) alpn() string {
	if v.proto == "h2" {
		return "h2"
	}
	return "http/1.1"
}

// request is what a client without an HTTP of its own sends.
func (v visit) request() string {
	if v.proto == "h2" {
		return rawRequest(v.site.host, v.path)
	}
	return "GET " + v.path + " HTTP/1.1\r\nHost: " + v.site.host + "\r\nConnection: close\r\n\r\n"
}

// openssl speaks with openssl s_client, which needs to be told every byte.
func openssl(t *testing.T, v visit) (string, bool) {
	t.Helper()
	args := []string{"s_client", "-connect", "127.0.0.1:" + v.port, "-servername", v.site.host, "-CAfile", v.site.caFile, "-verify_return_error",
		"-verify_hostname", v.site.host, "-alpn", v.alpn(), "-nocommands", "-ign_eof"}
	if v.cert {
		args = append(args, "-cert", v.site.clientCert, "-key", v.site.clientFile)
	}
	text := talk(t, program.Find(t, "openssl"), args, v.request(), answered(v.path), "alert number")
	return text, strings.Contains(text, "ALPN protocol: "+v.alpn()) && strings.Contains(text, answered(v.path))
}

// gnutls speaks with gnutls-cli.
func gnutls(t *testing.T, v visit) (string, bool) {
	t.Helper()
	args := []string{"--port", v.port, "--x509cafile", v.site.caFile, "--sni-hostname", v.site.host, "--verify-hostname", v.site.host, "--alpn", v.alpn()}
	if v.cert {
		args = append(args, "--x509certfile", v.site.clientCert, "--x509keyfile", v.site.clientFile)
	}
	text := talk(t, program.Find(t, "gnutls-cli"), append(args, "127.0.0.1"), v.request(), answered(v.path), "Fatal error")
	return text, strings.Contains(text, "Application protocol: "+v.alpn()) && strings.Contains(text, answered(v.path))
}

// answered is in the workload's answer and not in the request.
func answered(path string) string { return `"URL":"` + path + `"` }

// script speaks with a program of testdata, which says "PROTOCOL STATUS BODY".
func script(interpreter, file string) func(*testing.T, visit) (string, bool) {
	return func(t *testing.T, v visit) (string, bool) {
		t.Helper()
		args := []string{filepath.Join("testdata", file), v.proto, v.port, v.site.host, v.path, v.site.caFile}
		if v.cert {
			args = append(args, v.site.clientCert, v.site.clientFile)
		}
		return said(v, program.Run(t, program.Command{Path: program.Find(t, interpreter), Args: args}))
	}
}

func said(v visit, r program.Result) (string, bool) {
	return r.Out + r.Err, r.Code == 0 && strings.HasPrefix(r.Out, v.alpn()+" 200 ") && strings.Contains(r.Out, answered(v.path))
}

// java compiles the client of testdata and speaks with it.
func java(t *testing.T, s site) func(*testing.T, visit) (string, bool) {
	t.Helper()
	dir := gateway.Folder(t)
	if r := program.Run(t, program.Command{Path: program.Find(t, "javac"), Args: []string{"-d", dir, filepath.Join("testdata", "Client.java")}}); r.Code != 0 {
		t.Fatalf("javac: %s", r.Err)
	}
	hosts, store := filepath.Join(dir, "hosts"), pkcs12(t, s, dir)
	if err := os.WriteFile(hosts, []byte("127.0.0.1 "+s.host+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, v visit) (string, bool) {
		t.Helper()
		args := []string{"-XX:TieredStopAtLevel=1", "-Djdk.net.hosts.file=" + hosts, "-cp", dir, "Client", v.proto, v.port, s.host, v.path, s.caFile}
		if v.cert {
			args = append(args, store)
		}
		return said(v, program.Run(t, program.Command{Path: program.Find(t, "java"), Args: args}))
	}
}

// pkcs12 writes the client's certificate and key as Java and NSS take them; the password is "secret".
func pkcs12(t *testing.T, s site, dir string) string {
	t.Helper()
	store := filepath.Join(dir, "client.p12")
	r := program.Run(t, program.Command{Path: program.Find(t, "openssl"), Args: []string{"pkcs12", "-export", "-name", "client", "-in", s.clientCert, "-inkey", s.clientFile,
		"-passout", "pass:secret", "-out", store}})
	if r.Code != 0 {
		t.Fatalf("openssl pkcs12: %s", r.Err)
	}
	return store
}

// chromium makes two homes, one with the client's certificate, and speaks with Chromium. The policy that
// chooses the certificate is seen by this Chromium alone: it lies in a mount namespace of its own.
func chromium(t *testing.T, s site) func(*testing.T, visit) (string, bool) {
	t.Helper()
	dir := gateway.Folder(t)
	homes := map[bool]string{false: filepath.Join(dir, "without"), true: filepath.Join(dir, "with")}
	for cert, home := range homes {
		db := filepath.Join(home, ".pki", "nssdb")
		if err := os.MkdirAll(db, 0o700); err != nil {
			t.Fatal(err)
		}
		steps := [][]string{{"certutil", "-N", "-d", "sql:" + db, "--empty-password"}, {"certutil", "-A", "-d", "sql:" + db, "-n", "ca", "-t", "C,,", "-i", s.caFile}}
		if cert {
			steps = append(steps, []string{"pk12util", "-d", "sql:" + db, "-i", pkcs12(t, s, dir), "-W", "secret"})
		}
		for _, step := range steps {
			if r := program.Run(t, program.Command{Path: program.Find(t, step[0]), Args: step[1:]}); r.Code != 0 {
				t.Fatalf("%v: %s%s", step, r.Out, r.Err)
			}
		}
	}
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"AutoSelectCertificateForUrls":["{\"pattern\":\"https://`+s.host+`\",\"filter\":{}}"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	unshare := "-m"
	if os.Getuid() != 0 {
		unshare = "-rm"
	}
	return func(t *testing.T, v visit) (string, bool) {
		t.Helper()
		args := []string{unshare, "sh", "-c", `mount -t tmpfs none /etc/chromium && mkdir -p /etc/chromium/policies/managed && cp "$0" /etc/chromium/policies/managed/ && exec "$@"`,
			policy, program.Find(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
			"--user-data-dir=" + filepath.Join(homes[v.cert], "profile"), "--host-resolver-rules=MAP " + s.host + " 127.0.0.1, MAP * ~NOTFOUND", "--dump-dom"}
		if v.proto != "h2" {
			args = append(args, "--disable-http2")
		}
		args = append(args, "https://"+s.host+":"+v.port+v.path)
		r := program.Run(t, program.Command{Path: program.Find(t, "unshare"), Args: args, Env: []string{"HOME=" + homes[v.cert]}})
		return r.Out + r.Err, strings.Contains(r.Out, answered(v.path))
	}
}
