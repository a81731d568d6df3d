package tlsconf

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// row is a line of the table of client certificates in docs/handshakes.md.
type row struct {
	cause   string
	alert13 uint8
	alert12 uint8
	code    diag.Code
	cert    func(*testing.T, *testca.Pair) tls.Certificate // of the client; nil: none
	change  func(*testing.T, *testca.Pair, *world, *ir.TLS)
}

func issued(s testca.Spec) func(*testing.T, *testca.Pair) tls.Certificate {
	return func(_ *testing.T, ca *testca.Pair) tls.Certificate { return ca.Issue(s).TLS() }
}

func rows() []row {
	good := issued(testca.Spec{CommonName: "alice", DNS: []string{"alice.test"}})
	return []row{
		{cause: "sends none", alert13: 116, alert12: 40, code: diag.ClientCertMissing},
		{cause: "of an unknown CA", alert13: 48, alert12: 48, code: diag.ClientCertUnknownCA,
			cert: func(t *testing.T, _ *testca.Pair) tls.Certificate {
				return testca.New(t, testca.Spec{CommonName: "Elsewhere"}).Issue(testca.Spec{CommonName: "alice"}).TLS()
			}},
		{cause: "of another CA with the same name", alert13: 48, alert12: 48, code: diag.ClientCertUnknownCA,
			cert: func(t *testing.T, ca *testca.Pair) tls.Certificate {
				return testca.New(t, testca.Spec{CommonName: ca.Cert.Subject.CommonName}).Issue(testca.Spec{CommonName: "alice"}).TLS()
			}},
		{cause: "expired", alert13: 45, alert12: 45, code: diag.ClientCertExpired,
			cert: issued(testca.Spec{CommonName: "alice", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})},
		{cause: "not valid yet", alert13: 45, alert12: 45, code: diag.ClientCertNotYetValid,
			cert: issued(testca.Spec{CommonName: "alice", NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(24 * time.Hour)})},
		{cause: "not for client authentication", alert13: 42, alert12: 42, code: diag.ClientCertWrongEKU,
			cert: issued(testca.Spec{CommonName: "alice", EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})},
		{cause: "revoked", alert13: 42, alert12: 42, code: diag.ClientCertRevoked,
			cert: func(_ *testing.T, ca *testca.Pair) tls.Certificate { return revoked(ca).TLS() },
			change: func(t *testing.T, ca *testca.Pair, w *world, settings *ir.TLS) {
				w.clients(settings, ir.ClientAuthRequire, ca, crls(t, ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{revoked(ca).Cert}}))...)
			}},
		{cause: "without a wanted name", alert13: 42, alert12: 42, code: diag.ClientCertSANMismatch, cert: good,
			change: func(_ *testing.T, _ *testca.Pair, _ *world, settings *ir.TLS) {
				settings.ClientAuth.SANs = []string{"bob.test"}
			}},
		{cause: "not pinned", alert13: 42, alert12: 42, code: diag.ClientCertPinMismatch, cert: good,
			change: func(_ *testing.T, _ *testca.Pair, _ *world, settings *ir.TLS) {
				settings.ClientAuth.Hashes = []string{hex.EncodeToString(make([]byte, 32))}
			}},
		{cause: "not DER", alert13: 50, alert12: 50, code: diag.ClientCertMalformed,
			cert: func(t *testing.T, _ *testca.Pair) tls.Certificate {
				return tls.Certificate{Certificate: [][]byte{{0x30, 0x03, 1, 2, 3}}, PrivateKey: testca.NewKey(t, testca.P256)}
			}},
		{cause: "chain longer than a CA allows", alert13: 42, alert12: 42, code: diag.ClientCertChainTooLong,
			cert: func(_ *testing.T, ca *testca.Pair) tls.Certificate {
				return ca.Intermediate(testca.Spec{CommonName: "I1", PathLen: -1}).Intermediate(testca.Spec{CommonName: "I2"}).Issue(testca.Spec{CommonName: "alice"}).TLS()
			}},
		{cause: "outside a CA's name constraints", alert13: 42, alert12: 42, code: diag.ClientCertNameConstraint,
			cert: func(_ *testing.T, ca *testca.Pair) tls.Certificate {
				return ca.Intermediate(testca.Spec{CommonName: "I", PermittedDNS: []string{"inside.test"}}).Issue(testca.Spec{CommonName: "alice", DNS: []string{"outside.test"}}).TLS()
			}},
		{cause: "weak key (RSA 1024)", alert13: 42, alert12: 42, code: diag.ClientCertWeakKey,
			cert: issued(testca.Spec{CommonName: "alice", Key: testca.RSA1024})},
		{cause: "presented without its key", alert13: 51, alert12: 51, code: diag.ClientCertNoPossession,
			cert: func(t *testing.T, ca *testca.Pair) tls.Certificate {
				stolen := ca.Issue(testca.Spec{CommonName: "alice"}).TLS()
				stolen.PrivateKey, stolen.Leaf = testca.NewKey(t, testca.P256), nil
				return stolen
			}},
		{cause: "presented with a key of another type", alert13: 47, alert12: 51, code: diag.ClientCertNoPossession,
			cert: func(t *testing.T, ca *testca.Pair) tls.Certificate {
				stolen := ca.Issue(testca.Spec{CommonName: "alice"}).TLS()
				stolen.PrivateKey, stolen.Leaf = testca.NewKey(t, testca.RSA2048), nil
				return stolen
			}},
		{cause: "revocation list past its nextUpdate", alert13: 42, alert12: 42, code: diag.CRLStale, cert: good,
			change: func(t *testing.T, ca *testca.Pair, w *world, settings *ir.TLS) {
				stale := ca.CRL(testca.CRLSpec{ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(-time.Hour)})
				w.clients(settings, ir.ClientAuthRequire, ca, crls(t, stale)...)
			}},
		{cause: "lists are configured, but none of its CA", alert13: 42, alert12: 42, code: diag.CRLMissing, cert: good,
			change: func(t *testing.T, ca *testca.Pair, w *world, settings *ir.TLS) {
				foreign := testca.New(t, testca.Spec{CommonName: "Elsewhere"}).CRL(testca.CRLSpec{})
				w.clients(settings, ir.ClientAuthRequire, ca, crls(t, foreign)...)
			}},
	}
}

// revoked issues a certificate with the one serial number that the test's list names.
func revoked(ca *testca.Pair) *testca.Pair {
	return ca.Issue(testca.Spec{CommonName: "mallory", Serial: big.NewInt(666)})
}

func crls(t *testing.T, pem []byte) []*secret.CRL {
	t.Helper()
	out, err := secret.ParseCRLs(pem)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMutual proves the table of client certificates: alert, code, and that no refused client is
// named as authenticated, with both versions.
func TestMutual(t *testing.T) {
	doc, err := os.ReadFile("../../docs/handshakes.md")
	if err != nil {
		t.Fatal(err)
	}
	server := testca.New(t, testca.Spec{CommonName: "Server CA"})
	for _, r := range rows() {
		t.Run(r.cause, func(t *testing.T) {
			line := fmt.Sprintf("| %s | %s | %s | %s %s |", r.cause, alertCell(r.alert13), alertCell(r.alert12), r.code, r.code.Slug())
			if !strings.Contains(string(doc), line+"\n") {
				t.Errorf("docs/handshakes.md lacks the line\n%s", line)
			}
			ca := testca.New(t, testca.Spec{CommonName: "Client CA"})
			for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
				w := newWorld()
				settings := w.host(t, "a.test", server.Issue(testca.Spec{DNS: []string{"a.test"}}))
				w.clients(settings, ir.ClientAuthRequire, ca)
				if r.change != nil {
					r.change(t, ca, w, settings)
				}
				g := w.serve(t)
				config := client(server, "a.test")
				config.MaxVersion = version
				if r.cert != nil {
					config = with(config, r.cert(t, ca))
				}
				out := g.dial(config)
				rec := g.record()
				want := r.alert13
				if version == tls.VersionTLS12 {
					want = r.alert12
				}
				if out.alert != want || rec.Code != r.code {
					t.Errorf("%s: client got alert %d (%v), want %d; record %s %q, want %s", tls.VersionName(version), out.alert, out.err, want, rec.Code, rec.Err, r.code)
				}
				if rec.PeerSubject != "" || rec.PeerHash != "" {
					t.Errorf("%s: the refused client is named as authenticated: %q", tls.VersionName(version), rec.PeerSubject)
				}
				if rec.Detail == "" || rec.Err == "" {
					t.Errorf("%s: record lacks detail %q or err %q", tls.VersionName(version), rec.Detail, rec.Err)
				}
				if offers := r.cert != nil && r.code != diag.ClientCertMalformed; offers != (rec.PeerOffered != "") {
					t.Errorf("%s: PeerOffered is %q", tls.VersionName(version), rec.PeerOffered)
				}
			}
		})
	}
}

func alertCell(n uint8) string { return fmt.Sprintf("%d %s", n, alertName(n)) }

// TestModes shows who gets in under each mode, and as whom.
func TestModes(t *testing.T) {
	server, ca := testca.New(t, testca.Spec{CommonName: "Server CA"}), testca.New(t, testca.Spec{CommonName: "Client CA"})
	good, bad := ca.Issue(testca.Spec{CommonName: "alice"}), testca.SelfSigned(t, testca.Spec{CommonName: "mallory"})
	version1 := ca.Version1("vera")
	for _, c := range []struct {
		mode     ir.ClientAuthMode
		cert     *testca.Pair
		in       bool
		verified bool
		code     diag.Code // of the certificate, or of the refusal
	}{
		{ir.ClientAuthNone, nil, true, false, 0},
		{ir.ClientAuthNone, good, true, false, 0}, // not asked, so not sent
		{ir.ClientAuthRequest, nil, true, false, 0},
		{ir.ClientAuthRequest, good, true, true, 0},
		{ir.ClientAuthRequest, bad, true, false, diag.ClientCertUnknownCA},
		{ir.ClientAuthOptional, nil, true, false, 0},
		{ir.ClientAuthOptional, good, true, true, 0},
		{ir.ClientAuthOptional, bad, false, false, diag.ClientCertUnknownCA},
		{ir.ClientAuthRequire, good, true, true, 0},
		{ir.ClientAuthRequire, version1, true, true, 0},
		{"of the future", nil, false, false, diag.ClientCertMissing},
	} {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			w := newWorld()
			settings := w.host(t, "a.test", server.Issue(testca.Spec{DNS: []string{"a.test"}}))
			if c.mode != ir.ClientAuthNone {
				w.clients(settings, c.mode, ca)
			}
			g := w.serve(t)
			config := client(server, "a.test")
			config.MaxVersion = version
			if c.cert != nil {
				config = with(config, c.cert.TLS())
			}
			out := g.dial(config)
			res := g.result()
			if (out.err == nil) != c.in || (res.Record.Code == 0) != c.in {
				t.Errorf("%+v: client %v, record %s %s", c, out.err, res.Record.Code, res.Record.Err)
				continue
			}
			got := res.Record.Code
			if res.ClientCert != nil {
				got = res.ClientCert.Code
			}
			verified := res.ClientCert != nil && res.ClientCert.Verified
			if verified != c.verified || got != c.code || (res.Record.PeerHash != "") != c.verified {
				t.Errorf("%+v: verified %v, code %s, peer %q", c, verified, got, res.Record.PeerSubject)
			}
		}
	}
}

// publicOnly is somebody's public key with somebody else's signer.
type publicOnly struct {
	crypto.Signer
	public crypto.PublicKey
}

func (p publicOnly) Public() crypto.PublicKey { return p.public }

// TestPublicCertificate is the attack in full: a client presents alice's real certificate and signs
// with a key of the right type that is not alice's.
func TestPublicCertificate(t *testing.T) {
	server, ca := testca.New(t, testca.Spec{CommonName: "Server CA"}), testca.New(t, testca.Spec{CommonName: "Client CA"})
	for _, mode := range []ir.ClientAuthMode{ir.ClientAuthRequire, ir.ClientAuthOptional, ir.ClientAuthRequest} {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			w := newWorld()
			w.clients(w.host(t, "a.test", server.Issue(testca.Spec{DNS: []string{"a.test"}})), mode, ca)
			g := w.serve(t)
			alice := ca.Issue(testca.Spec{CommonName: "alice"})
			stolen := alice.TLS()
			stolen.PrivateKey = publicOnly{testca.NewKey(t, testca.P256), alice.Key.Public()}
			config := with(client(server, "a.test"), stolen)
			config.MaxVersion = version
			out := g.dial(config)
			res := g.result()
			if out.alert != 51 || res.Record.Code != diag.ClientCertNoPossession || res.ClientCert != nil ||
				res.Record.PeerSubject != "" || res.Record.PeerHash != "" || !strings.Contains(res.Record.PeerOffered, "alice") {
				t.Errorf("%s %s: alert %d, %+v", mode, tls.VersionName(version), out.alert, res.Record)
			}
		}
	}
}

// certs returns the certificates of pairs.
func certs(pairs ...*testca.Pair) []*x509.Certificate {
	var out []*x509.Certificate
	for _, p := range pairs {
		out = append(out, p.Cert)
	}
	return out
}
