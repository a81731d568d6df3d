package inspect_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"golang.org/x/crypto/ocsp"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/inspect"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// brief writes a report as "kinds | codes".
func brief(r *inspect.Report) string {
	var kinds, codes []string
	for _, i := range r.Items {
		kinds = append(kinds, string(i.Kind))
	}
	for _, f := range r.Findings {
		codes = append(codes, f.Code.Slug())
	}
	return strings.Join(kinds, ", ") + " | " + strings.Join(codes, " ")
}

func read(data []byte) *inspect.Report { return readAll(inspect.Input{Name: "in", Data: data}) }

func readAll(in ...inspect.Input) *inspect.Report {
	return inspect.Read(in, inspect.Options{Now: time.Now()})
}

func utf16le(s string, bom bool) []byte {
	var b []byte
	if bom {
		b = []byte{0xff, 0xfe}
	}
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

func fold(s string, n int) string {
	var out []string
	for len(s) > n {
		out = append(out, s[:n])
		s = s[n:]
	}
	return strings.Join(append(out, s), "\n")
}

// Every way in which people wrap, break and mix up certificates.
func TestRead(t *testing.T) {
	root := testca.New(t, testca.Spec{CommonName: "Root"})
	inter := root.Intermediate(testca.Spec{CommonName: "Inter"})
	leaf := inter.Issue(testca.Spec{CommonName: "a", DNS: []string{"a.test"}})
	other := root.Issue(testca.Spec{DNS: []string{"b.test"}})
	cert, key := string(leaf.CertPEM()), string(leaf.KeyPEM())
	der := leaf.Cert.Raw
	b64 := base64.StdEncoding.EncodeToString
	escape := func(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }
	body, _ := json.Marshal(map[string]string{"certificate": cert, "private_key": key})
	pkcs7, err := os.ReadFile(p7b(t, leaf, inter))
	if err != nil {
		t.Fatal(err)
	}
	request, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}, DNSNames: []string{"a.test"}}, leaf.Key)
	bare, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, leaf.Key)
	public, _ := x509.MarshalPKIXPublicKey(leaf.Cert.PublicKey)
	forged := bytes.Clone(request)
	forged[len(forged)-1] ^= 1
	asPEM := func(label string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
	}
	const cr = "certificate | "
	tests := []struct {
		name string
		in   string
		want string
	}{
		{"PEM", cert, cr},
		{"DER", string(der), cr},
		{"DER twice", string(der) + string(inter.Cert.Raw), "certificate, certificate | "},
		{"CRLF", strings.ReplaceAll(cert, "\n", "\r\n"), cr},
		{"text before", "subject=CN = a\nissuer=CN = Inter\n" + cert, cr},
		{"byte order mark", "\xef\xbb\xbf" + cert, cr + "input_repaired"},
		{"UTF-16", string(utf16le(cert, true)), cr + "input_repaired"},
		{"UTF-16 without mark", string(utf16le(cert, false)), cr + "input_repaired"},
		{"literal line ends", escape(cert), cr + "input_repaired"},
		{"literal CRLF", strings.ReplaceAll(cert, "\n", `\r\n`), cr + "input_repaired"},
		{"JSON string", `"` + escape(cert) + `"`, cr},
		{"one line", strings.ReplaceAll(cert, "\n", " "), cr + "input_repaired"},
		{"indented", "    " + strings.ReplaceAll(cert, "\n", "\n    "), cr + "input_repaired"},
		{"quoted mail", "> " + strings.ReplaceAll(strings.TrimSpace(cert), "\n", "\n> ") + "\n", cr + "input_repaired"},
		{"dashes of a word processor", strings.ReplaceAll(cert, "-----", "—–"), cr + "input_repaired"},
		{"four dashes", strings.ReplaceAll(cert, "-----", "----"), cr + "input_repaired"},
		{"no END", cert[:strings.Index(cert, "-----END")], cr + "input_repaired"},
		{"other END", strings.Replace(cert, "END CERTIFICATE", "END PRIVATE KEY", 1), cr + "input_repaired"},
		{"URL alphabet", strings.NewReplacer("+", "-", "/", "_").Replace(cert[27 : len(cert)-26]), cr + "input_repaired"},
		{"base64 of DER", fold(b64(der), 64), cr + "input_repaired"},
		{"base64 of PEM", b64([]byte(cert)), cr + "input_repaired"},
		{"base64 of base64", b64([]byte(b64([]byte(cert)))), cr + "input_repaired input_repaired"},
		{"hexadecimal", hex.EncodeToString(der), cr + "input_repaired"},
		{"wrong label", strings.ReplaceAll(cert, "CERTIFICATE", "PRIVATE KEY"), cr + "pem_label_wrong"},
		{"wrong label of a key", strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE"), "private key | pem_label_wrong"},
		{"truncated PEM", cert[:400], "broken | input_truncated"},
		{"truncated DER", string(der[:200]), "broken | input_truncated"},
		{"empty block", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "broken | input_truncated"},
		{"bad character", strings.Replace(cert, "M", "§", 1), "broken | cert_unparsable"},
		{"bad character in a key", strings.Replace(key, "M", "!", 1), "broken | key_unparsable"},
		{"garbage in a block", asPEM("CERTIFICATE", []byte("hello hello hello")), "broken | cert_unparsable"},
		{"trailing bytes", string(der) + "xxxx", cr + "trailing_bytes"},
		{"trailing bytes in a block", asPEM("CERTIFICATE", append(bytes.Clone(der), 1, 2, 3)), cr + "trailing_bytes"},
		{"key", key, "private key | "},
		{"encrypted key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n", "private key | key_encrypted"},
		{"old encrypted key", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIE\n-----END RSA PRIVATE KEY-----\n", "private key | key_encrypted"},
		{"OpenSSH key", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n", "broken | key_unparsable"},
		{"public key", asPEM("PUBLIC KEY", public), "public key | "},
		{"request", asPEM("CERTIFICATE REQUEST", request), "certificate request | "},
		{"request in DER", string(request), "certificate request | "},
		{"request without names", asPEM("NEW CERTIFICATE REQUEST", bare), "certificate request | cert_no_san"},
		{"forged request", asPEM("CERTIFICATE REQUEST", forged), "certificate request | csr_invalid"},
		{"list", string(root.CRL(testca.CRLSpec{})), "revocation list | "},
		{"stale list", string(root.CRL(testca.CRLSpec{ThisUpdate: time.Now().Add(-9 * time.Hour), NextUpdate: time.Now().Add(-time.Hour)})), "revocation list | crl_invalid"},
		{"chain", cert + string(inter.CertPEM()), "certificate, certificate | "},
		{"chain out of order", string(inter.CertPEM()) + cert, "certificate, certificate | cert_chain_order"},
		{"bundle", string(root.CertPEM()) + string(inter.CertPEM()), "certificate, certificate | "},
		{"PKCS #7", string(pkcs7), "certificate, certificate | "},
		{"pair", cert + string(inter.CertPEM()) + key, "certificate, certificate, private key | "},
		{"pair that is none", string(other.CertPEM()) + key, "certificate, private key | key_mismatch"},
		{"API body", string(body), "certificate, private key | "},
		{"API body, swapped", `{"certificate": ` + fmt.Sprintf("%q", key) + `, "private_key": ` + fmt.Sprintf("%q", cert) + `}`, "private key, certificate | secret_invalid secret_invalid"},
		{"Secret", testca.SecretYAML("a", "b", leaf.SecretData(testca.FormatTLS, root.CertPEM(), nil)), "certificate, certificate, private key, certificate | "},
		{"Secret, encoded twice", testca.SecretYAML("a", "b", map[string][]byte{"tls.crt": []byte(b64([]byte(cert))), "tls.key": []byte(key)}), "certificate, private key | input_repaired"},
		{"Secret with other things", testca.SecretYAML("a", "b", map[string][]byte{"password": []byte("hello"), "tls.crt": []byte("nothing")}), " | input_unrecognised"},
		{"version 1", string(root.Version1("a.test").CertPEM()), "certificate | cert_version_1 cert_no_san"},
		{"expired", string(root.Issue(testca.Spec{DNS: []string{"a.test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}).CertPEM()), "certificate | cert_expired"},
		{"empty", "", " | input_unrecognised"},
		{"blank", " \n ", " | input_unrecognised"},
		{"text", "hello", " | input_unrecognised"},
		{"zero", "0", " | input_unrecognised"},
		{"HTML", "<!DOCTYPE html><html>", " | input_unrecognised"},
		{"BER", "\x30\x80\x02\x01\x03\x00\x00", " | input_unrecognised"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			rep := read([]byte(tc.in))
			if got := brief(rep); got != tc.want {
				t.Errorf("got  %q\nwant %q\n%v", got, tc.want, rep.Findings)
			}
			for _, f := range rep.Findings {
				if f.Message == "" || strings.HasSuffix(f.Message, ".") {
					t.Errorf("%+v", f)
				}
				for line := range strings.Lines(key) {
					if line = strings.TrimSpace(line); len(line) > 30 && !strings.Contains(line, "PRIVATE KEY") && strings.Contains(f.Message, line) {
						t.Error("a finding quotes the key")
					}
				}
			}
		})
	}
}

func p7b(t *testing.T, pairs ...*testca.Pair) string {
	dir := t.TempDir()
	args := []string{"crl2pkcs7", "-nocrl", "-out", "x.p7b"}
	for i, p := range pairs {
		name := fmt.Sprintf("c%d.crt", i)
		if err := os.WriteFile(filepath.Join(dir, name), p.CertPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-certfile", name)
	}
	testca.OpenSSL(t, dir, args...)
	return filepath.Join(dir, "x.p7b")
}

func TestRepairPrintsPlainPEM(t *testing.T) {
	leaf := testca.New(t, testca.Spec{}).Issue(testca.Spec{DNS: []string{"a.test"}})
	wrapped := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(string(leaf.CertPEM())+string(leaf.KeyPEM()), "\n", `\n`)))
	got := read([]byte(wrapped)).PEM()
	if _, err := tls.X509KeyPair(got, got); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if again := brief(read(got)); again != "certificate, private key | " {
		t.Error(again)
	}
}

func TestFilesAreReadTogether(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf, other := ca.Issue(testca.Spec{CommonName: "a", DNS: []string{"a.test"}}), ca.Issue(testca.Spec{DNS: []string{"b.test"}})
	crl := ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{leaf.Cert}})
	in := func(name string, data []byte) inspect.Input { return inspect.Input{Name: name, Data: data} }
	for _, tc := range []struct {
		name string
		in   []inspect.Input
		want string
	}{
		{"pair", []inspect.Input{in("a.crt", leaf.CertPEM()), in("a.key", leaf.KeyPEM())}, "certificate, private key | "},
		{"not a pair", []inspect.Input{in("a.crt", other.CertPEM()), in("a.key", leaf.KeyPEM())}, "certificate, private key | key_mismatch"},
		{"swapped", []inspect.Input{in("a.crt", leaf.KeyPEM()), in("a.key", leaf.CertPEM())}, "private key, certificate | secret_invalid secret_invalid"},
		{"revoked", []inspect.Input{in("a.crt", leaf.CertPEM()), in("ca.crl", crl), in("ca.crt", ca.CertPEM())}, "certificate, revocation list, certificate | certificate_revoked"},
		{"list of a namesake", []inspect.Input{in("ca.crl", testca.New(t, testca.Spec{}).CRL(testca.CRLSpec{})), in("ca.crt", ca.CertPEM())}, "revocation list, certificate | crl_invalid"},
	} {
		if got := brief(readAll(tc.in...)); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	rep := readAll(in("a.key", leaf.KeyPEM()), in("a.crt", leaf.CertPEM()))
	if rep.Items[0].BelongsTo != rep.Items[1].Subject {
		t.Errorf("the key belongs to %q", rep.Items[0].BelongsTo)
	}
	if s := fmt.Sprintf("%+v %#v", rep.Items[0], rep.Items[0]); strings.Contains(s, "PRIVATE") && strings.Contains(s, "BEGIN") {
		t.Error("an item prints its key")
	}
}

func TestPKCS12(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{DNS: []string{"a.test"}})
	encode := func(e *pkcs12.Encoder, password string) []byte {
		p, err := e.Encode(leaf.Key, leaf.Cert, []*x509.Certificate{ca.Cert}, password)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	password := secret.NewBytes([]byte("secret"))
	wrong := secret.NewBytes([]byte("wrong"))
	const whole = "certificate, certificate, private key | "
	for _, tc := range []struct {
		name     string
		data     []byte
		password *secret.Bytes
		want     string
	}{
		{"modern", encode(pkcs12.Modern, "secret"), &password, whole},
		{"legacy", encode(pkcs12.LegacyRC2, "secret"), &password, whole},
		{"without password", encode(pkcs12.Passwordless, ""), nil, whole},
		{"password needed", encode(pkcs12.Modern, "secret"), nil, "broken | pkcs12_password"},
		{"password wrong", encode(pkcs12.Modern, "secret"), &wrong, "broken | pkcs12_password"},
		{"too many rounds", encode(pkcs12.Modern.WithIterations(5_000_001), "")[:], nil, "broken | pkcs12_unusable"},
	} {
		rep := inspect.Read([]inspect.Input{{Name: "a.p12", Data: tc.data}}, inspect.Options{Now: time.Now(), Password: tc.password})
		if got := brief(rep); got != tc.want {
			t.Errorf("%s: got %q, want %q (%v)", tc.name, got, tc.want, rep.Findings)
		}
	}
}

func TestOCSP(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{DNS: []string{"a.test"}})
	answer := func(by *testca.Pair, change func(*ocsp.Response)) []byte {
		r := ocsp.Response{Status: ocsp.Good, SerialNumber: leaf.Cert.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
		change(&r)
		der, err := ocsp.CreateResponse(by.Cert, by.Cert, r, by.Key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"good", answer(ca, func(*ocsp.Response) {}), ""},
		{"revoked", answer(ca, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now().Add(-time.Hour) }), "certificate_revoked"},
		{"unknown", answer(ca, func(r *ocsp.Response) { r.Status = ocsp.Unknown }), "certificate_revoked"},
		{"stale", answer(ca, func(r *ocsp.Response) { r.NextUpdate = time.Now().Add(-time.Minute) }), "ocsp_response_stale"},
		{"another's", answer(testca.New(t, testca.Spec{}), func(*ocsp.Response) {}), "ocsp_response_invalid"},
		{"error", []byte{0x30, 0x03, 0x0a, 0x01, 0x03}, "ocsp_response_invalid"},
	} {
		rep := readAll(inspect.Input{Name: "r.der", Data: tc.data}, inspect.Input{Name: "c", Data: leaf.CertPEM()}, inspect.Input{Name: "ca", Data: ca.CertPEM()})
		if got := brief(rep); got != "OCSP response, certificate, certificate | "+tc.want {
			t.Errorf("%s: got %q", tc.name, got)
		}
	}
}

func TestInputIsBounded(t *testing.T) {
	if got := brief(read(make([]byte, inspect.MaxInput+1))); got != " | input_too_large" {
		t.Error(got)
	}
	start := time.Now()
	read(bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), inspect.MaxInput/30))
	read(bytes.Repeat([]byte{0x30, 0x84}, inspect.MaxInput/2))
	read(bytes.Repeat([]byte("MA"), inspect.MaxInput/2))
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.test":                   "a.test:443 a.test",
		"https://a.test:8443/x?sni=b.test": "a.test:8443 b.test",
		"https://10.0.0.1":                 "10.0.0.1:443 ",
		"https://[::1]:1?sni=":             "[::1]:1 ",
		"smtp://a.test":                    "error",
		"https://":                         "error",
	} {
		e, err := inspect.ParseEndpoint(in)
		got := e.Address + " " + e.SNI
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

func TestRemote(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{DNS: []string{"a.test"}})
	serve := func(config *tls.Config) string {
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = config
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Cert.Raw}, PrivateKey: leaf.Key}}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv.Listener.Addr().String()
	}
	plain := serve(&tls.Config{})
	mutual := serve(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MaxVersion: tls.VersionTLS12})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := silent.Addr().String()
	silent.Close()
	for _, tc := range []struct{ address, sni, want string }{
		{plain, "a.test", "certificate | "},
		{plain, "b.test", "certificate | cert_host_mismatch"},
		{mutual, "a.test", "certificate | server_wants_certificate"},
		{closed, "a.test", " | endpoint_unreachable"},
	} {
		rep, s := inspect.Remote(context.Background(), "u", inspect.Endpoint{Address: tc.address, SNI: tc.sni}, inspect.Options{Now: time.Now(), CAs: secret.NewBundle(ca.Cert)})
		if got := brief(rep); got != tc.want {
			t.Errorf("%+v: got %q, session %+v, %v", tc, got, s, rep.Findings)
		}
	}
	rep, s := inspect.Remote(context.Background(), "u", inspect.Endpoint{Address: plain, SNI: "a.test"}, inspect.Options{Now: time.Now()})
	if got := brief(rep); got != "certificate | " || s.Version != "1.3" {
		// Without the machine's roots nothing can be said about trust.
		t.Errorf("%q %+v", got, s)
	}
	rep, _ = inspect.Remote(context.Background(), "u", inspect.Endpoint{Address: plain, SNI: "a.test"}, inspect.Options{Now: time.Now(), System: x509.NewCertPool()})
	if got := brief(rep); !strings.Contains(got, "untrusted_here") {
		t.Error(got)
	}
}

func TestHosts(t *testing.T) {
	leaf := testca.New(t, testca.Spec{}).Issue(testca.Spec{DNS: []string{"*.example.test"}})
	for host, want := range map[string]string{"a.example.test": "", "a_b.example.test": "", "example.test": "cert_host_mismatch"} {
		p, err := hostname.Parse(host)
		if err != nil {
			t.Fatal(err)
		}
		rep := inspect.Read([]inspect.Input{{Data: leaf.CertPEM()}}, inspect.Options{Now: time.Now(), Hosts: []hostname.Pattern{p}})
		if got := brief(rep); got != "certificate | "+want {
			t.Errorf("%s: %s", host, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	ca := testca.New(f, testca.Spec{})
	leaf := ca.Issue(testca.Spec{DNS: []string{"a.test"}, Key: testca.Ed25519})
	f.Add(leaf.CertPEM())
	f.Add(leaf.KeyPEM())
	f.Add(leaf.Cert.Raw)
	f.Add(ca.CRL(testca.CRLSpec{}))
	f.Add([]byte(base64.StdEncoding.EncodeToString(leaf.CertPEM())))
	f.Add([]byte(strings.ReplaceAll(string(leaf.CertPEM()), "\n", `\n`)))
	f.Add(utf16le(string(leaf.CertPEM()), true))
	f.Add([]byte(testca.SecretYAML("a", "b", leaf.SecretData(testca.FormatTLS, ca.CertPEM(), nil))))
	f.Add([]byte{0x30, 0x03, 0x0a, 0x01, 0x03})
	if p, err := pkcs12.Passwordless.Encode(leaf.Key, leaf.Cert, nil, ""); err == nil {
		f.Add(p)
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, data []byte) {
		rep := inspect.Read([]inspect.Input{{Name: "x.crt", Data: data}}, inspect.Options{Now: now})
		if len(rep.Items)+len(rep.Findings) == 0 {
			t.Error("nothing was said")
		}
		if _, err := json.Marshal(rep); err != nil {
			t.Error(err)
		}
		// What is printed as mended needs no mending.
		for _, f := range inspect.Read([]inspect.Input{{Name: "y", Data: rep.PEM()}}, inspect.Options{Now: now}).Findings {
			if s := f.Code.Slug(); (s == "input_repaired" || s == "pem_label_wrong" || s == "input_truncated") && len(rep.PEM()) > 0 {
				t.Errorf("%v in\n%s", f, rep.PEM())
			}
		}
	})
}
