package ca_test

import (
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ca"
)

// openssl runs the command in dir and returns what it printed.
func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := opensslFails(dir, args...)
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return out
}

func opensslFails(dir string, args ...string) (string, error) {
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// openssl ocsp and openssl verify -crl_check_all agree with us about good, revoked, held, released and
// unknown certificates, of authorities with every kind of key, with and without an issuer.
func TestOpenSSLAgrees(t *testing.T) {
	for i, kind := range []ca.KeyKind{ca.ECDSAP256, ca.ECDSAP384, ca.Ed25519, ca.RSA2048} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			store := ca.Dir(t.TempDir())
			a := create(t, store, ca.Setup{Key: kind, RootOnly: i == 1}, ca.Options{})
			service, err := ca.NewService(t.Context(), store, ca.Options{})
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewServer(service)
			defer srv.Close()
			dir := t.TempDir()
			put := func(name string, b []byte) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			names := []string{"good", "revoked", "held", "released"}
			serials := map[string]string{}
			for _, n := range names {
				out, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{n + ".test"}})
				if err != nil {
					t.Fatal(err)
				}
				serials[n] = out.Entry.Serial
				put(n, out.CertificatePEM())
				issuers := out.ChainPEM()[len(out.CertificatePEM()):]
				if len(issuers) == 0 {
					issuers = mustBundle(t, a)
				}
				put("chain", issuers)
				put("issuer", issuers)
			}
			put("roots", mustBundle(t, a))
			revoke := func(reason string, n ...string) {
				t.Helper()
				if _, err := a.Revoke(t.Context(), reason, n...); err != nil {
					t.Fatal(err)
				}
			}
			revoke("key-compromise", serials["revoked"])
			revoke("certificateHold", serials["held"], serials["released"])
			if _, err := a.Release(t.Context(), serials["released"]); err != nil {
				t.Fatal(err)
			}
			lists, err := a.CRLBundlePEM(t.Context())
			want := 2 // root and issuer
			if i == 1 {
				want = 1
			}
			if err != nil || bytes.Count(lists, []byte("BEGIN X509 CRL")) != want {
				t.Fatalf("%v\n%s", err, lists)
			}
			put("lists", lists)
			for n, want := range map[string]string{"good": "good", "released": "good", "revoked": "revoked", "held": "revoked"} {
				out, err := opensslFails(dir, "verify", "-crl_check_all", "-CRLfile", "lists", "-CAfile", "roots", "-untrusted", "chain", n)
				if (err == nil) != (want == "good") || want == "revoked" && !strings.Contains(out, "certificate revoked") {
					t.Errorf("verify %s: %s", n, out)
				}
				for _, how := range [][]string{{"-no_nonce"}, {"-nonce"}, {"-sha256"}, {"-no_nonce"}} {
					args := append([]string{"ocsp", "-issuer", "issuer"}, how...)
					out := openssl(t, dir, append(args, "-cert", n, "-url", srv.URL+"/ocsp", "-CAfile", "roots", "-verify_other", "chain")...)
					if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, n+": "+want) || strings.Contains(out, "WARNING") && how[0] == "-nonce" {
						t.Errorf("ocsp %v %s: %s", how, n, out)
					}
					if n == "revoked" && !strings.Contains(out, "keyCompromise") {
						t.Errorf("no reason: %s", out)
					}
				}
			}
			several := openssl(t, dir, "ocsp", "-issuer", "issuer", "-cert", "good", "-cert", "revoked", "-serial", "0x1234", "-url", srv.URL+"/ocsp", "-CAfile", "roots")
			for _, want := range []string{"good: good", "revoked: revoked", "0x1234: unknown"} {
				if !strings.Contains(several, want) {
					t.Errorf("several: %s", several)
				}
			}
			text := openssl(t, dir, "ocsp", "-issuer", "issuer", "-cert", "good", "-url", srv.URL+"/ocsp", "-CAfile", "roots", "-resp_text", "-no_nonce")
			for _, want := range []string{"OCSP Signing", "OCSP No Check", "ecdsa-with-SHA256"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
			// Another CA's certificate is none of our business.
			put("stranger", mustBundle(t, create(t, ca.Dir(t.TempDir()), ca.Setup{}, ca.Options{})))
			if out, _ := opensslFails(dir, "ocsp", "-issuer", "stranger", "-cert", "good", "-url", srv.URL+"/ocsp", "-CAfile", "roots"); !strings.Contains(out, "unauthorized") {
				t.Errorf("stranger: %s", out)
			}
			// The list as it is served is the one that openssl reads.
			crl := get(t, srv.URL+"/crl/default.crl").body
			put("served.crl", crl)
			if out := openssl(t, dir, "crl", "-inform", "DER", "-in", "served.crl", "-noout", "-crlnumber", "-text"); !strings.Contains(out, "Key Compromise") || !strings.Contains(out, "X509v3 Authority Key Identifier") {
				t.Errorf("served list: %s", out)
			}
		})
	}
}
