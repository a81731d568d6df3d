package ca

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func newInt(s serial) *big.Int { return new(big.Int).SetBytes(s[:]) }

// What both parsers of OCSP requests take, they read alike; nothing makes ours panic, and what it takes can
// be answered.
func FuzzOCSPRequest(f *testing.F) {
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		der, err := (&ocsp.Request{HashAlgorithm: h, IssuerNameHash: make([]byte, h.Size()), IssuerKeyHash: make([]byte, h.Size()), SerialNumber: big.NewInt(4711)}).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	for _, s := range []string{ // openssl ocsp with a nonce, and about two certificates
		"MIG3MIG0MIGMMD0wOzAJBgUrDgMCGgUABBRCTvM2bYsX5PmGXqeEn+ECutGoLgQU6gzrtK6jXKQkxkuCZNe5IsRY5nECAhJnMEswSTAJBgUrDgMCGgUABBRCTvM2bYsX5PmGXqeEn+ECutGoLgQU6gzrtK6jXKQkxkuCZNe5IsRY5nECEAECAwQFBgcICQoLDA0ODxCiIzAhMB8GCSsGAQUFBzABAgQSBBD6XQ6FiG8UmDsw70uBxSIj",
	} {
		der, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		if q, err := parseOCSPRequest(der); err != nil || len(q.nonce) != 18 || len(q.certs) != 2 {
			f.Fatal(q, err)
		}
		f.Add(der)
	}
	key, err := newKey(ECDSAP256)
	if err != nil {
		f.Fatal(err)
	}
	t := testCertificate(f, key)
	f.Fuzz(func(tt *testing.T, der []byte) {
		q, err := parseOCSPRequest(der)
		theirs, theirErr := ocsp.ParseRequest(der)
		if err != nil {
			return
		}
		if theirErr == nil && (theirs.HashAlgorithm != q.certs[0].hash || !bytes.Equal(theirs.IssuerKeyHash, q.certs[0].keyHash) || theirs.SerialNumber.Cmp(q.certs[0].serial) != 0) {
			tt.Errorf("%+v, golang.org/x/crypto reads %+v", q.certs[0], theirs)
		}
		a := answer{nonce: q.nonce, this: time.Unix(1e9, 0).UTC(), next: time.Unix(2e9, 0).UTC(), signer: key, delegate: t, keyHash: make([]byte, 20)}
		for i, c := range q.certs {
			s := standing{cert: c, known: i%3 > 0}
			if i%3 == 2 {
				s.revoked, s.reason = time.Unix(1e9, 0).UTC(), i%2
			}
			a.certs = append(a.certs, s)
		}
		if _, err := a.build(); err != nil {
			tt.Errorf("what was taken cannot be answered: %v", err)
		}
	})
}

// No journal makes the reader panic or take a line that does not continue the one before.
func FuzzJournal(f *testing.F) {
	zero := strings.Repeat("0", 64)
	f.Add([]byte(`{"n":1,"prev":"` + zero + `","at":"2026-01-01T00:00:00Z","event":"ready"}` + "\n"))
	f.Add([]byte(`{"n":1,"prev":"` + zero + `","at":"2026-01-01T00:00:00Z","event":"certificate","id":"root-1","serial":"` + strings.Repeat("0a", 16) + `","issuer":"root-1","fingerprint":"` + zero + `","certificate":"MAA="}` + "\n"))
	f.Add([]byte(`{"n":1,"prev":"` + zero + `","event":"crl","issuer":"issuer-1","number":3}` + "\n{\"n\":2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x := newIndex()
		end, err := replay(bytes.NewReader(data), tip{}, x.take)
		if end.size > int64(len(data)) || err == nil && end.size != int64(len(data)) {
			t.Errorf("read %d of %d bytes: %v", end.size, len(data), err)
		}
		if bytes.Count(data[:end.size], []byte("\n")) != int(end.n) {
			t.Errorf("%d lines in %q", end.n, data[:end.size])
		}
	})
}

// Signing requests come from strangers.
func FuzzCSR(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"))
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := parseCSR(data)
		if err != nil {
			return
		}
		p := &plan{profile: Server}
		p.rules, _ = Server.rules()
		p.dropped(req)
	})
}

// Names are written by users and taken from requests.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a.test", "*.a.test", "192.0.2.1", "2001:db8::1%eth0", "a@b.test", "spiffe://x/y", "::", "a_b.test", "-", "*", "a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, found := parseNames([]string{name, name})
		if s.len() > 1 || s.len()+min(len(found), 1) == 0 {
			t.Errorf("%q: %v %v", name, s.all(), found)
		}
		s.lint(true)
		for _, n := range s.all() {
			if again, found := parseNames([]string{n}); len(found) > 0 || again.all()[0] != n {
				t.Errorf("%q is %q, which is %q, %v", name, n, again.all(), found)
			}
		}
	})
}

// Key files may be damaged in any way.
func FuzzEncryptedKey(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) > 4096 || bytes.Contains(der, []byte{0x02, 0x03}) || bytes.Contains(der, []byte{0x02, 0x04}) {
			return // as many iterations as it asks for
		}
		_, _ = decryptPKCS8(der, []byte("x")) // an error or not; no panic
	})
}

func testCertificate(tb testing.TB, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
