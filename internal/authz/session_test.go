package authz

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// office is a policy with a session, and what it is made with.
type office struct {
	t      testing.TB
	ca     *testca.Pair
	policy *ir.AccessPolicy
	lists  []*secret.CRL
	key    *secret.KeyPair
	keys   *Keyring
	set    *Set
	index  *Index
}

func newOffice(t testing.TB, s ir.Session) *office {
	o := &office{t: t, ca: testca.New(t, testca.Spec{CommonName: "Root"}), keys: NewKeyring()}
	s.Cookie, s.Audience, s.Duration, s.Alone = "HK_Authorization", "aud", 24*time.Hour, true
	o.policy = &ir.AccessPolicy{Name: "ns/p", Trust: "ca", Session: &s}
	o.make()
	return o
}

func (o *office) make() {
	c, _ := chain(o.t, o.policy.Name+" *")
	ps := []*ir.AccessPolicy{o.policy}
	bundles := &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ca": {Bundle: secret.NewBundle(o.ca.Cert), CRLs: o.lists}}}
	secrets := &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{}}
	if o.key != nil {
		secrets.ByRef["ns/key"] = &ir.Credential{Pair: o.key}
	}
	o.set, o.index = NewSet(ps, bundles, secrets, Settings{Keys: o.keys, Cache: trust.NewCache(10)}, o.set), NewIndex(c, ps)
	o.set.Serve(o.keys)
}

// cookie is what a client with the certificate, and those above it, gets that brings a cookie; "" if nothing.
func (o *office) cookie(cert *x509.Certificate, host, brings string, now time.Time, above ...*x509.Certificate) string {
	o.t.Helper()
	r := &Request{Host: []byte(host), Path: []byte("/"), TLS: true, Presented: append([]*x509.Certificate{cert}, above...), Now: now, Fields: fields(brings)}
	d := o.set.Decide(o.index, r)
	if !d.Allowed() {
		o.t.Fatalf("%s %s", d.Code, d.Detail)
	}
	line, err := d.Cookie(r)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(line)
}

// alone is what becomes of a client that has the cookie only.
func (o *office) alone(value, host string, now time.Time) diag.Code {
	r := &Request{Host: []byte(host), Path: []byte("/"), TLS: true, Now: now, Fields: fields(value)}
	d := o.set.Decide(o.index, r)
	return d.Code
}

func fields(value string) *message.Fields {
	f := &message.Fields{}
	if value != "" {
		f.AddString("Cookie", "x=y;HK_Authorization="+value+"; z=1")
	}
	return f
}

func valueOf(t testing.TB, line string) string {
	t.Helper()
	value, ok := strings.CutPrefix(line, "HK_Authorization=")
	value, _, _ = strings.Cut(value, ";")
	if !ok {
		t.Fatalf("no cookie in %q", line)
	}
	return value
}

func decode(t testing.TB, part string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	var m map[string]any
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The cookie is what RFC 7519, 7515, 7638 and 8705 say, as anybody would verify it with the published key.
func TestTokenByTheBook(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256"} {
		o := newOffice(t, ir.Session{Algorithm: algorithm})
		cert := o.ca.Issue(testca.Spec{CommonName: "localhost"}).Cert
		now := time.Now()
		line := o.cookie(cert, "mtls_lb.mtls-test.net", "", now)
		if want := "; Expires=" + now.Add(24*time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "; Path=/; Secure; HttpOnly"; !strings.HasSuffix(line, want) {
			t.Errorf("%s lacks %s", line, want)
		}
		parts := strings.Split(valueOf(t, line), ".")
		header, claims := decode(t, parts[0]), decode(t, parts[1])
		sum := sha256.Sum256(cert.Raw)
		if claims["type"] != "app" || claims["aud"] != "aud" || claims["iss"] != "https://mtls_lb.mtls-test.net" || claims["common_name"] != "localhost" || claims["sub"] != "CN=localhost" ||
			claims["exp"].(float64)-claims["iat"].(float64) != 86400 || claims["cnf"].(map[string]any)["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
			t.Errorf("claims %v", claims)
		}
		body, ok := o.set.Keys(o.index, []byte("mtls_lb.mtls-test.net"), []byte(KeysPath), now)
		var published struct{ Keys []map[string]string }
		if err := json.Unmarshal(body, &published); !ok || err != nil || len(published.Keys) != 1 {
			t.Fatalf("keys %s", body)
		}
		key := published.Keys[0]
		if header["alg"] != algorithm || header["typ"] != "JWT" || header["kid"] != key["kid"] || key["alg"] != algorithm || key["use"] != "sig" {
			t.Errorf("header %v, key %v", header, key)
		}
		number := func(name string) *big.Int {
			b, err := base64.RawURLEncoding.DecodeString(key[name])
			if err != nil {
				t.Fatal(err)
			}
			return new(big.Int).SetBytes(b)
		}
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		thumb := ""
		if algorithm == "RS256" {
			pub := &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}
			if err := rsa.VerifyPKCS1v15(pub, 5, digest[:], signature); err != nil {
				t.Error(err)
			}
			thumb = `{"e":"` + key["e"] + `","kty":"RSA","n":"` + key["n"] + `"}`
		} else {
			point := make([]byte, 65)
			point[0] = 4
			number("x").FillBytes(point[1:33])
			number("y").FillBytes(point[33:])
			pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
			if err != nil {
				t.Fatal(err)
			}
			if len(signature) != 64 || !ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
				t.Error("the signature does not verify")
			}
			thumb = `{"crv":"P-256","kty":"EC","x":"` + key["x"] + `","y":"` + key["y"] + `"}`
		}
		if want := sha256.Sum256([]byte(thumb)); key["kid"] != hex.EncodeToString(want[:]) {
			t.Errorf("kid %s is no thumbprint", key["kid"])
		}
	}
}

func TestCookieIsRenewedAtHalfTime(t *testing.T) {
	o := newOffice(t, ir.Session{Algorithm: "ES256", SameSite: "Strict"})
	now := time.Now()
	vera, otto := o.ca.Issue(testca.Spec{CommonName: "vera"}).Cert, o.ca.Issue(testca.Spec{CommonName: "otto"}).Cert
	line := o.cookie(vera, "h.test", "", now)
	value := valueOf(t, line)
	if !strings.HasSuffix(line, "; SameSite=Strict") {
		t.Error(line)
	}
	if again := valueOf(t, o.cookie(vera, "h.test", "", now.Add(30*time.Second))); again != value {
		t.Error("signed again within a minute")
	}
	if later := valueOf(t, o.cookie(vera, "h.test", "", now.Add(2*time.Minute))); later == value {
		t.Error("given out again after two minutes")
	}
	for _, k := range []struct {
		cert *x509.Certificate
		host string
		age  time.Duration
		sent bool
	}{{vera, "h.test", time.Hour, false}, {vera, "h.test", 11 * time.Hour, false}, {vera, "h.test", 13 * time.Hour, true}, {otto, "h.test", time.Hour, true}, {vera, "i.test", time.Hour, true}} {
		if got := o.cookie(k.cert, k.host, value, now.Add(k.age)) != ""; got != k.sent {
			t.Errorf("%s at %s after %v: sent %v", k.cert.Subject, k.host, k.age, got)
		}
	}
	short := o.ca.Issue(testca.Spec{CommonName: "short", NotAfter: now.Add(time.Hour)}).Cert
	claims := decode(t, strings.Split(valueOf(t, o.cookie(short, "h.test", "", now)), ".")[1])
	if int64(claims["exp"].(float64)) != short.NotAfter.Unix() {
		t.Errorf("the cookie outlives its certificate: %v", claims)
	}
}

func TestCookieAlone(t *testing.T) {
	o := newOffice(t, ir.Session{Algorithm: "ES256"})
	now := time.Now()
	cert := o.ca.Issue(testca.Spec{CommonName: "vera"}).Cert
	value := valueOf(t, o.cookie(cert, "h.test", "", now))
	parts := strings.Split(value, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	hmac := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
	other := newOffice(t, ir.Session{Algorithm: "ES256"})
	strange := valueOf(t, other.cookie(other.ca.Issue(testca.Spec{CommonName: "vera"}).Cert, "h.test", "", now))
	flipped := []byte(value)
	flipped[len(parts[0])+10] ^= 1
	for _, k := range []struct {
		name, value, host string
		at                time.Duration
		want              diag.Code
	}{
		{"good", value, "h.test", time.Hour, 0},
		{"none", "", "h.test", 0, diag.ClientCertMissing},
		{"expired", value, "h.test", 25 * time.Hour, diag.IdentityExpired},
		{"another host", value, "i.test", 0, diag.IdentityInvalid},
		{"from the future", value, "h.test", -time.Hour, diag.IdentityInvalid},
		{"alg none", none + "." + parts[1] + ".", "h.test", 0, diag.IdentityInvalid},
		{"alg HS256", hmac + "." + parts[1] + "." + parts[2], "h.test", 0, diag.IdentityInvalid},
		{"another key", strange, "h.test", 0, diag.IdentityInvalid},
		{"changed", string(flipped), "h.test", 0, diag.IdentityInvalid},
		{"without signature", parts[0] + "." + parts[1] + ".", "h.test", 0, diag.IdentityInvalid},
		{"two parts", parts[0] + "." + parts[1], "h.test", 0, diag.IdentityInvalid},
		{"empty", ".", "h.test", 0, diag.IdentityInvalid},
		{"long", strings.Repeat("a", 20000), "h.test", 0, diag.IdentityInvalid},
		{"a bad one before the good one", "nonsense; HK_Authorization=" + value, "h.test", 0, 0},
	} {
		for range 2 { // also when it is known
			if got := o.alone(k.value, k.host, now.Add(k.at)); got != k.want {
				t.Errorf("%s: %s, want %s", k.name, got, k.want)
			}
		}
	}
	// A certificate that is presented decides, whatever the cookie says.
	r := &Request{Host: []byte("h.test"), Path: []byte("/"), TLS: true, Now: now, Fields: fields(value), Presented: []*x509.Certificate{other.ca.Issue(testca.Spec{}).Cert}}
	if d := o.set.Decide(o.index, r); d.Code != diag.ClientCertUnknownCA {
		t.Errorf("with a strange certificate: %s", d.Code)
	}
	o.policy.Session.Alone = false
	o.policy = &ir.AccessPolicy{Name: o.policy.Name, Trust: o.policy.Trust, Session: o.policy.Session}
	o.make()
	if got := o.alone(value, "h.test", now); got != diag.ClientCertMissing {
		t.Errorf("a cookie that is not accepted alone: %s", got)
	}
}

func TestCookieIsRevoked(t *testing.T) {
	now := time.Now()
	for name, change := range map[string]func(*office, *x509.Certificate){
		"notBefore": func(o *office, _ *x509.Certificate) { o.policy.Session.NotBefore = now.Add(time.Minute) },
		"serial": func(o *office, c *x509.Certificate) {
			o.policy.Revocation.Serials = []string{c.SerialNumber.Text(16)}
		},
		"key": func(o *office, c *x509.Certificate) {
			sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
			o.policy.Revocation.SPKI = []string{base64.StdEncoding.EncodeToString(sum[:])}
		},
		"list": func(o *office, c *x509.Certificate) {
			lists, err := secret.ParseCRLs(o.ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{c}}))
			if err != nil {
				o.t.Fatal(err)
			}
			o.lists = lists
		},
		"denied": func(o *office, c *x509.Certificate) {
			o.policy.Deny = []ir.CertificateRule{{Fingerprints: []string{secret.Fingerprint(c)}}}
		},
		"another CA": func(o *office, _ *x509.Certificate) { o.ca = testca.New(o.t, testca.Spec{CommonName: "Root"}) },
		"of another policy, audience and key the same": func(o *office, _ *x509.Certificate) { o.policy.Name = "test/other" },
		"list, other": func(o *office, c *x509.Certificate) {}, // nothing changes: it is good
	} {
		o := newOffice(t, ir.Session{Algorithm: "ES256"})
		cert := o.ca.Issue(testca.Spec{CommonName: "vera"}).Cert
		value := valueOf(t, o.cookie(cert, "h.test", "", now))
		changed, session := *o.policy, *o.policy.Session
		changed.Session = &session
		o.policy = &changed
		change(o, cert)
		o.make()
		want := diag.IdentityRevoked
		if name == "list, other" {
			want = 0
		}
		if got := o.alone(value, "h.test", now.Add(time.Second)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A key that is replaced goes on verifying, and is published, as long as cookies signed with it last.
func TestKeyRotation(t *testing.T) {
	pair := func() *secret.KeyPair {
		p := testca.New(t, testca.Spec{}).Issue(testca.Spec{})
		k, _, err := secret.ParseKeyPair(p.CertPEM(), p.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	o := newOffice(t, ir.Session{Algorithm: "ES256"})
	o.policy.Session.Key, o.key = "ns/key", pair()
	o.set = nil
	o.make()
	now := time.Now()
	cert := o.ca.Issue(testca.Spec{}).Cert
	value := valueOf(t, o.cookie(cert, "h.test", "", now))
	o.key = pair()
	o.make()
	published := func(at time.Time) int {
		body, _ := o.set.Keys(o.index, []byte("h.test"), []byte(KeysPath), at)
		return strings.Count(string(body), `"kty"`)
	}
	if got := o.alone(value, "h.test", now.Add(time.Second)); got != 0 || published(now) < 2 {
		t.Errorf("after the rotation: %s, %d keys", got, published(now))
	}
	next := valueOf(t, o.cookie(cert, "h.test", "", now.Add(2*time.Minute)))
	if strings.Split(next, ".")[0] == strings.Split(value, ".")[0] {
		t.Error("the old key still signs")
	}
	if n := published(now.Add(25 * time.Hour)); n != 1 {
		t.Errorf("%d keys are published a day later", n)
	}
	if o.set.Policy("ns/p").Problem() != "" {
		t.Error(o.set.Policy("ns/p").Problem())
	}
	o.key = nil
	o.make()
	if why := o.set.Policy("ns/p").Problem(); !strings.Contains(why, "ns/key") {
		t.Errorf("a missing key: %q", why)
	}
	o.policy.Session.Algorithm, o.key = "RS256", pair()
	o.set = nil
	o.make()
	if why := o.set.Policy("ns/p").Problem(); !strings.Contains(why, "elliptic") {
		t.Errorf("a key of another kind: %q", why)
	}
	r := ask(cert)
	if d := o.set.Decide(o.index, r); !d.Allowed() {
		t.Errorf("without a cookie nobody is kept out: %s", d.Detail)
	} else if line, err := d.Cookie(r); line != nil || err == nil {
		t.Errorf("signed with a key of another kind: %s", line)
	}
}
