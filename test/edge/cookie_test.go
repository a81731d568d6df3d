//go:build e2e

package edge

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// claims are those of an identity cookie that tests look at.
type claims struct {
	Type, Aud, Iss, Sub string
	CommonName          string `json:"common_name"`
	Exp, Iat, Nbf       int64
	Cnf                 map[string]string
}

// verifyWithNode verifies a token by a key set with Node's crypto, and returns its claims and algorithm. It fails
// for a key that is not in the set, or that is used with another algorithm than the set says.
const verifyWithNode = `
const crypto = require('crypto');
const [token, set] = JSON.parse(require('fs').readFileSync(0));
const [h, p, s] = token.split('.');
const header = JSON.parse(Buffer.from(h, 'base64url'));
const jwk = set.keys.find(k => k.kid === header.kid);
if (!jwk || jwk.alg !== header.alg || jwk.use !== 'sig' || jwk.d) throw new Error('key ' + JSON.stringify(jwk));
const key = crypto.createPublicKey({ key: jwk, format: 'jwk' });
const ok = crypto.verify('sha256', Buffer.from(h + '.' + p), { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(s, 'base64url'));
const thumb = jwk.kty === 'EC' ? { crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y } : { e: jwk.e, kty: jwk.kty, n: jwk.n };
if (crypto.createHash('sha256').update(JSON.stringify(thumb)).digest('hex') !== jwk.kid) throw new Error('kid is no thumbprint of RFC 7638 in hex');
console.log(JSON.stringify({ ok, alg: header.alg, typ: header.typ, claims: JSON.parse(Buffer.from(p, 'base64url')) }));
`

func (w *world) verify(token, set string) (ok bool, alg string, c claims) {
	w.Helper()
	var keys any
	if err := json.Unmarshal([]byte(set), &keys); err != nil {
		w.Fatalf("key set %s: %v", set, err)
	}
	in, err := json.Marshal([]any{token, keys})
	if err != nil {
		w.Fatal(err)
	}
	r := program.Run(w, program.Command{Path: program.Find(w, "node"), Args: []string{"-e", verifyWithNode}, Stdin: string(in)})
	var out struct {
		OK       bool
		Alg, Typ string
		Claims   claims
	}
	if err := json.Unmarshal([]byte(r.Out), &out); err != nil || out.Typ != "JWT" {
		w.Fatalf("Node: %s%s", r.Out, r.Err)
	}
	return out.OK, out.Alg, out.Claims
}

// startCookies serves a.test with /rs and /es, whose cookies are enough alone, /never, whose is not, and /cf with
// the names of Cloudflare; and other.test with /rs under the same policy.
func startCookies(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "a.test", "other.test")
	on := func(name string, lines ...string) string {
		return policy(name, append([]string{"hosts: [a.test, other.test]", "paths: [/" + name + "]", trusts("a")}, lines...)...)
	}
	w.files["policies.yaml"] = documents(w.rs(""), on("es", "session: {algorithm: ES256, cookieName: ES, accept: Alone, audience: mine, issuer: 'https://issuer.test', duration: 2h, sameSite: Strict}"),
		on("never", "session: {cookieName: NEVER}"), on("cf", "preset: CloudflareAccess", "session: {}"), policy("twin", "hosts: [a.test]", "paths: [/twin]", trusts("a"), "session: {accept: Alone, keyRef: {name: signer}}"))
	w.files["keys.yaml"] = w.signer(testca.SelfSigned(t, testca.Spec{Key: testca.RSA2048}))
	w.start()
	return w
}

// rs is the policy of /rs, with more lines.
func (w *world) rs(more string, lines ...string) string {
	return policy("rs", append([]string{"hosts: [a.test, other.test]", "paths: [/rs]", trusts("a"), "session: {accept: Alone, keyRef: {name: signer}" + more + "}"}, lines...)...)
}

func (w *world) signer(p *testca.Pair) string {
	return testca.SecretYAML("default", "signer", p.SecretData(testca.FormatTLS, nil, nil))
}

// login comes with a certificate and returns the answer's cookie.
func (w *world) login(host, path string, cert *testca.Pair) *http.Cookie {
	w.Helper()
	a := w.get(w.browser(true, "", cert), "https://"+host+path)
	if a.StatusCode != 200 || a.ProtoMajor != 2 || len(a.Cookies()) != 1 {
		w.Fatalf("%s%s: %s %v", host, path, a.got(), a.Header)
	}
	return a.Cookies()[0]
}

// TestCookie looks at cookies as clients and other tools do.
func TestCookie(t *testing.T) {
	t.Parallel()
	w := startCookies(t)
	vera := w.a.Issue(testca.Spec{CommonName: "vera", Organization: "Staff", Key: testca.P256})
	brief := w.a.Issue(testca.Spec{CommonName: "brief", NotAfter: time.Now().Add(time.Hour)})
	anybody := w.browser(true, "", nil)
	sum := sha256.Sum256(vera.Cert.Raw)
	for _, k := range []struct {
		path, name, alg, aud, iss string
		who                       *testca.Pair
		life                      time.Duration
	}{
		{"/rs", "HK_Authorization", "RS256", fmt.Sprintf("%x", sha256Of([]byte("default/rs"))), "https://a.test", vera, 24 * time.Hour},
		{"/es", "ES", "ES256", "mine", "https://issuer.test", vera, 2 * time.Hour},
		{"/never", "NEVER", "RS256", fmt.Sprintf("%x", sha256Of([]byte("default/never"))), "https://a.test", vera, 24 * time.Hour},
		{"/cf", "CF_Authorization", "RS256", fmt.Sprintf("%x", sha256Of([]byte("default/cf"))), "https://a.test", vera, 24 * time.Hour},
		{"/rs", "HK_Authorization", "RS256", fmt.Sprintf("%x", sha256Of([]byte("default/rs"))), "https://a.test", brief, time.Hour}, // not beyond the certificate
	} {
		cookie := w.login("a.test", k.path, k.who)
		if cookie.Name != k.name || cookie.Path != "/" || !cookie.Secure || !cookie.HttpOnly || cookie.Domain != "" || (cookie.SameSite == http.SameSiteStrictMode) != (k.path == "/es") || near(cookie.Expires, k.life) {
			t.Errorf("%s: %+v", k.path, cookie)
		}
		keys := []string{"/.well-known/hakone/jwks.json"}
		if k.path == "/cf" {
			keys = append(keys, "/cdn-cgi/access/certs")
		}
		for _, at := range keys {
			set := w.get(anybody, "https://a.test"+at)
			if set.StatusCode != 200 || strings.Contains(set.Body, `"d":`) {
				t.Fatalf("%s: %s %s", at, set.got(), set.Body)
			}
			ok, alg, c := w.verify(cookie.Value, set.Body)
			if !ok || alg != k.alg || c.Type != "app" || c.Aud != k.aud || c.Iss != k.iss || c.CommonName != k.who.Cert.Subject.CommonName || !strings.Contains(c.Sub, "CN="+c.CommonName) ||
				near(time.Unix(c.Exp, 0), k.life) || near(time.Unix(c.Iat, 0), 0) || c.Nbf != c.Iat {
				t.Errorf("%s: verified %v, %s, %+v", k.path, ok, alg, c)
			}
			if k.who == vera && c.Cnf["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
				t.Errorf("%s: bound to %v", k.path, c.Cnf)
			}
			if bad, _, _ := w.verify(forge(cookie.Value, func(m map[string]any) { m["common_name"] = "root" }), set.Body); bad {
				t.Error("Node verifies a forged token, so it verifies nothing")
			}
		}
	}
	if a := w.get(w.browser(true, "", vera), "https://a.test/rs", "Cookie", "HK_Authorization="+w.login("a.test", "/rs", vera).Value); len(a.Cookies()) != 0 {
		t.Errorf("a fresh cookie is replaced: %v", a.Header)
	}
	a := w.get(w.browser(true, "", vera), "https://a.test/cf")
	if a.Header.Get("Cf-Ray") == "" || a.Header.Get("Cf-Ray") != a.Header.Get("X-Request-Id") {
		t.Errorf("%v", a.Header)
	}
	a = w.get(anybody, "https://a.test/cf")
	if a.got() != "403 HK2101" || a.Header.Get("Cf-Access-Aud") != fmt.Sprintf("%x", sha256Of([]byte("default/cf"))) || a.Header.Get("Cf-Access-Domain") != "a.test" || len(a.Cookies()) != 0 {
		t.Errorf("%s %v", a.got(), a.Header)
	}
}

// near reports whether a time is not that long from now.
func near(at time.Time, from time.Duration) bool {
	d := time.Until(at) - from
	return d < -30*time.Second || d > 30*time.Second
}

// forge changes the claims of a token and leaves the rest.
func forge(token string, change func(map[string]any)) string {
	parts := strings.Split(token, ".")
	b, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var m map[string]any
	_ = json.Unmarshal(b, &m)
	change(m)
	b, _ = json.Marshal(m)
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(b) + "." + parts[2]
}

// header makes a token with another header.
func header(token, text string) string {
	_, rest, _ := strings.Cut(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + rest
}

// resign signs a token anew with Node: with a key of its own under the header as it is, or (HS256) with the
// public key as a secret.
func (w *world) resign(token, set string, hmac bool) string {
	w.Helper()
	script := `const crypto = require('crypto'); const [token, set, hmac] = JSON.parse(require('fs').readFileSync(0)); let [h, p] = token.split('.');
if (hmac) { const header = JSON.parse(Buffer.from(h, 'base64url')); const key = crypto.createPublicKey({ key: set.keys.find(k => k.kid === header.kid), format: 'jwk' }).export({ type: 'spki', format: 'pem' });
  h = Buffer.from(JSON.stringify({ ...header, alg: 'HS256' })).toString('base64url'); console.log(h + '.' + p + '.' + crypto.createHmac('sha256', key).update(h + '.' + p).digest('base64url'));
} else { const { privateKey, publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }); const header = { ...JSON.parse(Buffer.from(h, 'base64url')), jwk: publicKey.export({ format: 'jwk' }) };
  if (hmac === null) h = Buffer.from(JSON.stringify(header)).toString('base64url');
  console.log(h + '.' + p + '.' + crypto.sign('sha256', Buffer.from(h + '.' + p), privateKey).toString('base64url')); }`
	var keys any
	_ = json.Unmarshal([]byte(set), &keys)
	in, _ := json.Marshal([]any{token, keys, hmac})
	r := program.Run(w, program.Command{Path: program.Find(w, "node"), Args: []string{"-e", script}, Stdin: string(in)})
	if strings.Count(r.Out, ".") != 2 {
		w.Fatalf("Node: %s%s", r.Out, r.Err)
	}
	return strings.TrimSpace(r.Out)
}

// TestCookieAlone opens paths with cookies, good ones and others.
func TestCookieAlone(t *testing.T) {
	t.Parallel()
	w := startCookies(t)
	vera, otto := w.a.Issue(testca.Spec{CommonName: "vera"}), w.a.Issue(testca.Spec{CommonName: "otto"})
	anybody := w.browser(true, "", nil)
	rs, es, never := w.login("a.test", "/rs", vera).Value, w.login("a.test", "/es", vera).Value, w.login("a.test", "/never", vera).Value
	set := w.get(anybody, "https://a.test/.well-known/hakone/jwks.json").Body
	day := float64(24 * 60 * 60)
	later := func(m map[string]any) { m["exp"] = m["exp"].(float64) + day }
	for _, k := range []struct{ what, host, path, cookie, want string }{
		{"good", "a.test", "/rs", "HK_Authorization=" + rs, "200"}, {"among others", "a.test", "/rs/x", "a=b; HK_Authorization=" + rs + "; c=d", "200"}, {"ES256", "a.test", "/es", "ES=" + es, "200"},
		{"behind a bad one", "a.test", "/rs", "HK_Authorization=x.y.z; HK_Authorization=" + rs, "200"},
		{"none", "a.test", "/rs", "x=y", "403 HK2101"}, {"another name", "a.test", "/rs", "hk_authorization=" + rs, "403 HK2101"},
		{"not enough alone", "a.test", "/never", "NEVER=" + never, "403 HK2101"}, {"of another policy", "a.test", "/es", "ES=" + rs, "403 HK2120"},
		{"of another policy with the same key", "a.test", "/twin", "HK_Authorization=" + rs, "403 HK2120"}, {"at another host", "other.test", "/rs", "HK_Authorization=" + rs, "403 HK2120"},
		{"of a policy with a preset", "a.test", "/cf", "CF_Authorization=" + rs, "403 HK2101"}, {"forged name", "a.test", "/rs", "HK_Authorization=" + forge(rs, func(m map[string]any) { m["common_name"] = "root" }), "403 HK2120"},
		{"prolonged", "a.test", "/rs", "HK_Authorization=" + forge(rs, later), "403 HK2120"}, {"alg none", "a.test", "/rs", "HK_Authorization=" + header(rs[:strings.LastIndex(rs, ".")]+".", `{"alg":"none","typ":"JWT"}`), "403 HK2120"},
		{"alg None, signed", "a.test", "/rs", "HK_Authorization=" + header(rs, `{"alg":"None"}`), "403 HK2120"}, {"HS256 with the public key", "a.test", "/rs", "HK_Authorization=" + w.resign(rs, set, true), "403 HK2120"},
		{"another key", "a.test", "/rs", "HK_Authorization=" + w.resign(rs, set, false), "403 HK2120"}, {"no signature", "a.test", "/rs", "HK_Authorization=" + rs[:strings.LastIndex(rs, ".")+1], "403 HK2120"},
		{"cut", "a.test", "/rs", "HK_Authorization=" + rs[:len(rs)-3], "403 HK2120"}, {"no token", "a.test", "/rs", "HK_Authorization=hello", "403 HK2120"}, {"empty", "a.test", "/rs", "HK_Authorization=", "403 HK2120"},
		{"long", "a.test", "/rs", "HK_Authorization=" + strings.Repeat("x", 9000) + ".y.z", "403 HK2120"}, {"malleable", "a.test", "/es", "ES=" + twist(es), "403 HK2120"},
	} {
		a := w.get(anybody, "https://"+k.host+k.path, "Cookie", k.cookie)
		if a.got() != k.want && !(k.what == "malleable" && a.got() == "200") {
			t.Errorf("%s: %s, want %s", k.what, a.got(), k.want)
		}
		if len(a.Cookies()) != 0 {
			t.Errorf("%s: gets a cookie without a certificate", k.what)
		}
	}
	if a := w.get(w.browser(true, "", w.b.Issue(testca.Spec{})), "https://a.test/rs", "Cookie", "HK_Authorization="+rs); a.got() != "403 HK2102" {
		t.Errorf("a bad certificate beside a good cookie: %s", a.got())
	}
	l := w.line(w.get(anybody, "https://a.test/rs", "Cookie", "HK_Authorization="+rs))
	if l.S("policy_verdict") != "allow" || l.S("client_cert") != "" {
		t.Errorf("%v", l)
	}
	w.voided(rs, vera, otto)
}

// twist replaces s of an ECDSA signature by n-s, which verifies as well: the same claims in other bytes.
func twist(token string) string {
	i := strings.LastIndex(token, ".") + 1
	b, err := base64.RawURLEncoding.DecodeString(token[i:])
	if err != nil || len(b) != 64 {
		return "not ES256"
	}
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	n.Sub(n, new(big.Int).SetBytes(b[32:])).FillBytes(b[32:])
	return token[:i] + base64.RawURLEncoding.EncodeToString(b)
}

// voided makes changes that end a cookie, one after the other.
func (w *world) voided(rs string, vera, otto *testca.Pair) {
	w.Helper()
	anybody := w.browser(true, "", nil)
	rest := strings.SplitN(w.files["policies.yaml"], "---\n", 2)[1]
	change := func(policy string) {
		w.g.Change(func() { w.g.Write("policies.yaml", documents(policy, rest)) })
	}
	list := func(number int64, revoked ...*testca.Pair) {
		w.g.Change(func() {
			spec := testca.CRLSpec{Number: number}
			for _, p := range revoked {
				spec.Revoked = append(spec.Revoked, p.Cert)
			}
			w.g.Write("bundles.yaml", documents(bundle("a", w.a.CertPEM(), w.a.CRL(spec)), configMap("b", string(w.b.CertPEM()))))
		})
	}
	second := testca.SelfSigned(w, testca.Spec{Key: testca.RSA2048})
	for _, k := range []struct {
		what   string
		change func()
		want   string
	}{
		{"another client is revoked", func() { list(1, otto) }, "200"}, {"its certificate is revoked", func() { list(2, vera) }, "403 HK2122"}, {"and released", func() { list(3) }, "200"},
		{"the serial number is revoked", func() { change(w.rs("", fmt.Sprintf("revocation: {serials: ['%x']}", vera.Cert.SerialNumber))) }, "403 HK2122"}, {"no more", func() { change(w.rs("")) }, "200"},
		{"notBefore is later", func() { change(w.rs(", notBefore: '" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + "'")) }, "403 HK2122"},
		{"notBefore was earlier", func() { change(w.rs(", notBefore: '2020-01-01T00:00:00Z'")) }, "200"},
		{"others are let in", func() { change(w.rs("", "allow: [{commonNames: [vera]}]")) }, "403 HK2122"}, {"as before", func() { change(w.rs("")) }, "200"},
		{"another page", func() { change(w.rs("", "denyPage: {status: 404}")) }, "200"}, {"another audience", func() { change(w.rs(", audience: x")) }, "403 HK2120"}, {"as before", func() { change(w.rs("")) }, "200"},
		{"the key is replaced", func() { w.g.Change(func() { w.g.Write("keys.yaml", w.signer(second)) }) }, "200"}, // the former one verifies for the cookies' life
	} {
		k.change()
		if a := w.get(anybody, "https://a.test/rs", "Cookie", "HK_Authorization="+rs); a.got() != k.want {
			w.Errorf("%s: %s, want %s", k.what, a.got(), k.want)
		}
	}
	set := w.get(anybody, "https://a.test/.well-known/hakone/jwks.json").Body
	for _, token := range []string{rs, w.login("a.test", "/rs", vera).Value} {
		if ok, _, _ := w.verify(token, set); !ok {
			w.Errorf("no key verifies %s", token)
		}
	}
}
