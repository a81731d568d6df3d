package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// Wherever a secret stands in a value that somebody prints, the key must not come out.
func TestNothingPrintsAKey(t *testing.T) {
	leaf := testca.New(t, testca.Spec{}).Issue(testca.Spec{CommonName: "a", Key: testca.Ed25519})
	pair, _, err := secret.ParseKeyPair(leaf.CertPEM(), leaf.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	const word = "SQUEAMISHOSSIFRAGE"
	b := secret.NewBytes([]byte(word))
	type open struct {
		B secret.Bytes
		P *secret.KeyPair
		V secret.KeyPair
	}
	type shut struct {
		b secret.Bytes
		p *secret.KeyPair
		v secret.KeyPair
	}
	material, _, err := secret.FromData(map[string][]byte{"tls.crt": leaf.CertPEM(), "tls.key": []byte(word)})
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("%d", leaf.Key) // what a leak would look like
	key = strings.Trim(key, "[]")[:20]
	values := []any{b, &b, *pair, pair, open{b, pair, *pair}, &open{b, pair, *pair}, shut{b, pair, *pair}, &shut{b, pair, *pair},
		material, &material, map[string]any{"x": b, "y": pair}, []secret.Bytes{b}}
	for i, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%X"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		j, err := json.Marshal(v)
		if err != nil {
			t.Errorf("value %d: %v", i, err)
		}
		out.Write(j)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		text := out.String()
		for _, leak := range []string{word, fmt.Sprintf("%x", word), fmt.Sprintf("%X", word), "83 81 85 69", "QVVFQU", key} {
			if strings.Contains(text, leak) {
				at := strings.Index(text, leak)
				t.Errorf("value %d (%T) leaks %q in …%s", i, v, leak, text[max(0, at-80):at])
			}
		}
	}
	if got := fmt.Sprint(pair); got != "Ed25519 sha256:"+pair.Fingerprint {
		t.Errorf("pair prints %q", got)
	}
	if got := fmt.Sprint(b); got != "[redacted]" || string(b.Expose()) != word {
		t.Errorf("bytes print %q", got)
	}
}

func TestErrorsDoNotQuoteKeys(t *testing.T) {
	leaf := testca.New(t, testca.Spec{}).Issue(testca.Spec{})
	lines := strings.Split(string(leaf.KeyPEM()), "\n")
	lines[1] = lines[1][1:] + "!"
	_, _, err := secret.ParseKeyPair(leaf.CertPEM(), []byte(strings.Join(lines, "\n")))
	if err == nil || strings.Contains(err.Error(), lines[1][5:20]) {
		t.Errorf("error %v", err)
	}
}

func TestFromData(t *testing.T) {
	b := func(s string) []byte { return []byte(s) }
	tests := []struct {
		name   string
		data   map[string][]byte
		format secret.Format
		want   string // cert, key, CA, CRL
		info   bool
		err    string
	}{
		{name: "kubectl create secret tls", data: map[string][]byte{"tls.crt": b("c"), "tls.key": b("k")}, format: "tls", want: "c k  "},
		{name: "with CA and CRL", data: map[string][]byte{"tls.crt": b("c"), "tls.key": b("k"), "ca.crt": b("a"), "ca.crl": b("r")}, format: "tls", want: "c k a r"},
		{name: "generic", data: map[string][]byte{"cert": b("c"), "key": b("k"), "cacert": b("a"), "crl": b("r")}, format: "generic", want: "c k a r"},
		{name: "mixed names of the CA", data: map[string][]byte{"tls.crt": b("c"), "tls.key": b("k"), "cacert": b("a")}, format: "tls", want: "c k a "},
		{name: "-cacert", data: map[string][]byte{"cacert": b("a")}, format: "ca", want: "  a "},
		{name: "-cacert with ca.crt and crl", data: map[string][]byte{"ca.crt": b("a"), "crl": b("r")}, format: "ca", want: "  a r"},
		{name: "both", data: map[string][]byte{"tls.crt": b("c"), "tls.key": b("k"), "cert": b("x"), "key": b("y")}, format: "tls", want: "c k  ", info: true},
		{name: "half of the other format does not matter", data: map[string][]byte{"tls.crt": b("c"), "cert": b("x"), "key": b("y")}, format: "generic", want: "x y  "},
		{name: "no key", data: map[string][]byte{"tls.crt": b("c")}, err: "holds tls.crt but no tls.key (it has tls.crt)"},
		{name: "empty key", data: map[string][]byte{"tls.crt": b("c"), "tls.key": nil}, err: "but an empty tls.key"},
		{name: "no cert", data: map[string][]byte{"key": b("c"), "tls.cert": b("c")}, err: "holds key but no cert (it has key, tls.cert)"},
		{name: "a CA does not make up for half a pair", data: map[string][]byte{"tls.key": b("c"), "ca.crt": b("c")}, err: "but no tls.crt"},
		{name: "empty", data: nil, err: "(it is empty)"},
		{name: "something else", data: map[string][]byte{"password": b("p")}, err: "(it has password)"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m, found, err := secret.FromData(tc.data)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || code(err) != diag.SecretInvalid {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%s %s %s %s", m.Cert, m.Key.Expose(), m.CA, m.CRL)
			if got != tc.want || m.Format != tc.format {
				t.Errorf("got %q format %s, want %q", got, m.Format, tc.want)
			}
			if (len(found) == 1 && found[0].Severity == diag.Info) != tc.info {
				t.Errorf("findings %v", found)
			}
		})
	}
}

// TestAnchor: what others have to trust is the root, where the secret of a CA holds it.
func TestAnchor(t *testing.T) {
	root, stranger := testca.New(t, testca.Spec{CommonName: "root"}), testca.New(t, testca.Spec{CommonName: "stranger"})
	sub := root.Intermediate(testca.Spec{CommonName: "below"})
	both := append(stranger.CertPEM(), root.CertPEM()...)
	for _, c := range []struct {
		name   string
		pair   *testca.Pair
		chain  []byte
		ca     []byte
		anchor *testca.Pair
	}{
		{"a root", root, root.CertPEM(), nil, root},
		{"a root, with others", root, root.CertPEM(), both, root},
		{"an intermediate alone", sub, sub.CertPEM(), nil, sub},
		{"with its root", sub, sub.CertPEM(), both, root},
		{"with another root", sub, sub.CertPEM(), stranger.CertPEM(), sub},
		{"with its root in the chain", sub, append(sub.CertPEM(), root.CertPEM()...), stranger.CertPEM(), root},
		{"a server's pair, with the CA of clients", sub.Issue(testca.Spec{DNS: []string{"a.test"}}), nil, both, nil},
	} {
		if c.anchor == nil {
			c.anchor, c.chain = c.pair, c.pair.CertPEM()
		}
		m, _, err := secret.FromData(map[string][]byte{"tls.crt": c.chain, "tls.key": c.pair.KeyPEM(), "ca.crt": c.ca})
		if err != nil {
			t.Fatal(err)
		}
		k, _, err := m.KeyPair()
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Anchor(); !got.Equal(c.anchor.Cert) {
			t.Errorf("%s: %s", c.name, got.Subject)
		}
	}
}

func TestMaterialSpeaksOfItsOwnEntries(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf, other := ca.Issue(testca.Spec{}), ca.Issue(testca.Spec{})
	data := leaf.SecretData(testca.FormatGeneric, []byte("junk"), []byte("junk"))
	data["key"] = other.KeyPEM()
	m, _, err := secret.FromData(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.KeyPair(); code(err) != diag.KeyMismatch || !strings.Contains(err.Error(), "the key in key ") {
		t.Error(err)
	}
	if _, _, err := m.Bundle(); code(err) != diag.CAInvalid || !strings.HasPrefix(err.Error(), "cacert ") {
		t.Error(err)
	}
	if _, err := m.CRLs(); code(err) != diag.CRLInvalid || !strings.HasPrefix(err.Error(), "crl ") {
		t.Error(err)
	}
	only, _, err := secret.FromData(map[string][]byte{"ca.crt": ca.CertPEM()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := only.KeyPair(); code(err) != diag.SecretInvalid {
		t.Error(err)
	}
	if b, _, err := only.Bundle(); err != nil || b.Len() != 1 {
		t.Error(b, err)
	}
}

func TestStaple(t *testing.T) {
	leaf := testca.New(t, testca.Spec{}).Issue(testca.Spec{})
	data := leaf.SecretData(testca.FormatTLS, nil, nil)
	data["tls.ocsp-staple"] = []byte{0x30, 3, 10, 1, 6}
	m, _, _ := secret.FromData(data)
	with, _, err := m.KeyPair()
	if err != nil || !bytes.Equal(with.TLS().OCSPStaple, data["tls.ocsp-staple"]) {
		t.Fatal(with, err)
	}
	plain := with.WithStaple(nil)
	if plain.Digest == with.Digest || plain.Fingerprint != with.Fingerprint || plain.TLS().OCSPStaple != nil {
		t.Error("a staple changes the digest, not the fingerprint")
	}
	data["tls.ocsp-staple"] = []byte("text")
	m, _, _ = secret.FromData(data)
	k, found, err := m.KeyPair()
	if err != nil || len(found) != 1 || found[0].Severity != diag.Warning || k.Staple != nil {
		t.Error(found, err)
	}
}

func TestFindingBecomesDiagnostic(t *testing.T) {
	_, _, err := secret.ParseKeyPair(nil, nil)
	obj := diag.Object{Kind: "Secret", Namespace: "istio-system", Name: "x"}
	var e *secret.Error
	if !asError(err, &e) {
		t.Fatal(err)
	}
	d := e.Diagnostic(obj, "")
	if d.Code != diag.CertUnparsable || d.Field != "data[tls.crt]" || d.Message != "tls.crt is empty" || d.Fix == "" || d.Object != obj {
		t.Errorf("%+v", d)
	}
}
