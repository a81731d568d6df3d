package authz

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// Claims are what an identity cookie says (RFC 7519). Host, Policy and Chain are ours: by them a cookie
// stays on its host and is void when its certificate, or a CA above it, is revoked or the rules change.
type Claims struct {
	Type       string       `json:"type"`
	Audience   string       `json:"aud"`
	Expires    int64        `json:"exp"`
	Issuer     string       `json:"iss"`
	CommonName string       `json:"common_name"`
	IssuedAt   int64        `json:"iat"`
	NotBefore  int64        `json:"nbf"`
	Subject    string       `json:"sub"`
	Confirm    confirmation `json:"cnf"`
	Host       string       `json:"host"`
	Policy     string       `json:"policy"`
	Serial     string       `json:"serial"`
	Chain      []string     `json:"chain"` // of trust.Link

	links []trust.Link // Chain
}

// confirmation binds a token to a certificate (RFC 8705 section 3.1).
type confirmation struct {
	Thumbprint string `json:"x5t#S256"`
}

const (
	tokenType = "app"
	// maxToken bounds a cookie that is looked at, in bytes.
	maxToken = 8 << 10
	// maxTokens bounds what a policy remembers of tokens.
	maxTokens = 4096
	// tokenLife is how long a token is given out again rather than a new one made.
	tokenLife = time.Minute
	// skew is by how much the clock of another gateway with the same key may run ahead.
	skew = time.Minute
)

// session makes and accepts the identity cookies of one policy. It is safe for concurrent use.
type session struct {
	// Fixed after construction.
	ir    *ir.Session
	ring  *ring
	key   *lazyKey        // that signs from when the policy serves
	rules string          // digest of the policy's name and of what lets clients in
	trust *trust.Verifier // nil: anything is trusted

	mu     sync.Mutex         // guards the maps
	known  map[string]*Claims // tokens whose signature is good
	issued map[issue]token
}

type issue struct{ hash, host string }

type token struct {
	value   string
	made    time.Time
	expires time.Time
}

func newSession(p *ir.AccessPolicy, bundle *ir.TrustBundle, cred *ir.Credential, keys *Keyring, v *trust.Verifier) *session {
	r, key := keys.ring(p.Name, p.Session, cred)
	s := &session{ir: p.Session, ring: r, key: key, trust: v, known: map[string]*Claims{}, issued: map[issue]token{}}
	rules, _ := json.Marshal([]any{p.Name, p.Allow, p.Deny, p.Trust, anchorsKey(bundle)}) // its types cannot fail to be encoded
	sum := sha256.Sum256(rules)
	s.rules = hex.EncodeToString(sum[:16])
	return s
}

// opens reports whether the cookie is enough by itself. s may be nil.
func (s *session) opens() bool { return s != nil && s.ir.Alone }

// issuer returns the claim iss for a host.
func (s *session) issuer(host string) string {
	if s.ir.Issuer != "" {
		return s.ir.Issuer
	}
	return "https://" + host
}

// accept judges the cookie of a request without a certificate. Without a cookie the certificate is what
// is missing.
func (s *session) accept(p *Policy, r *Request) (*Claims, diag.Code, string) {
	code, detail := diag.ClientCertMissing, p.missing()+"; nor did it send an identity cookie"
	var good *Claims
	s.each(r.Fields, func(value []byte) bool {
		c, why, words := s.check(value, string(r.Host), r.Now)
		if why == 0 {
			good = c
			return false
		}
		code, detail = why, words
		return true
	})
	if good != nil {
		return good, 0, ""
	}
	return nil, code, detail
}

// maxCookies bounds how many cookies of the one name are looked at: of those of parent domains a browser
// sends one each.
const maxCookies = 4

// each calls f with the values of the cookie, until it returns false.
func (s *session) each(f *message.Fields, visit func([]byte) bool) {
	if f == nil {
		return
	}
	name, seen := []byte(s.ir.Cookie), 0
	for i := range f.Len() {
		line := f.At(i)
		if line.ID != message.Cookie {
			continue
		}
		for pair := range bytes.SplitSeq(line.Value, []byte(";")) {
			key, value, ok := bytes.Cut(bytes.TrimSpace(pair), []byte("="))
			if !ok || !bytes.Equal(key, name) {
				continue
			}
			if seen++; seen > maxCookies || !visit(value) {
				return
			}
		}
	}
}

// check judges a token.
func (s *session) check(value []byte, host string, now time.Time) (*Claims, diag.Code, string) {
	c, why := s.signed(value, now)
	switch {
	case why != "":
		return nil, diag.IdentityInvalid, "the identity cookie is not valid: " + why
	case c.Type != tokenType, c.Audience != s.ir.Audience, c.Issuer != s.issuer(host), c.Host != host:
		return nil, diag.IdentityInvalid, fmt.Sprintf("the identity cookie is for %s of %q, this is %s of %q", c.Audience, c.Host, s.ir.Audience, host)
	case !now.Before(time.Unix(c.Expires, 0)):
		return nil, diag.IdentityExpired, fmt.Sprintf("the identity cookie of %q expired at %s", c.Subject, time.Unix(c.Expires, 0).UTC().Format(time.RFC3339))
	case now.Add(skew).Before(time.Unix(max(c.NotBefore, c.IssuedAt), 0)):
		return nil, diag.IdentityInvalid, "the identity cookie is not valid yet; is a clock wrong?"
	case !s.ir.NotBefore.IsZero() && time.Unix(c.IssuedAt, 0).Before(s.ir.NotBefore):
		return nil, diag.IdentityRevoked, fmt.Sprintf("the identity cookie of %q was issued before %s", c.Subject, s.ir.NotBefore.UTC().Format(time.RFC3339))
	case c.Policy != s.rules:
		return nil, diag.IdentityRevoked, fmt.Sprintf("the identity cookie of %q was issued under other rules or CAs", c.Subject)
	}
	if s.trust != nil {
		if code, by := s.trust.Recall(c.links, now); code != 0 {
			return nil, diag.IdentityRevoked, fmt.Sprintf("the certificate behind the identity cookie, %q, is not accepted any more (%s): %s", c.Subject, code, by)
		}
	}
	return c, 0, ""
}

// signed returns the claims of a token whose signature is good, else why it is not.
func (s *session) signed(value []byte, now time.Time) (*Claims, string) {
	if len(value) > maxToken {
		return nil, "it is too long"
	}
	s.mu.Lock()
	c := s.known[string(value)]
	s.mu.Unlock()
	_, keys, _ := s.ring.keys(now)
	text := string(value)
	body := strings.LastIndexByte(text, '.')
	header := strings.IndexByte(text, '.')
	if header < 0 || header == body {
		return nil, "it is no token"
	}
	// The header is constant for each key: what has another one is another's, or asks for another algorithm.
	i := slices.IndexFunc(keys, func(k *signingKey) bool { return k.header == text[:header] })
	switch {
	case i < 0:
		return nil, "it was signed with no key of this policy"
	case c != nil:
		return c, ""
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(text[body+1:])
	if err != nil || !keys[i].verify(text[:body], signature) {
		return nil, "its signature does not verify"
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(text[header+1 : body])
	if err != nil {
		return nil, "it is malformed"
	}
	c = new(Claims)
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, "it is malformed"
	}
	for _, text := range c.Chain {
		l, ok := trust.ParseLink(text)
		if !ok {
			return nil, "it is malformed"
		}
		c.links = append(c.links, l)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bound(s.known)
	s.known[text] = c
	return c, ""
}

// bound makes room for an entry.
func bound[K comparable, V any](m map[K]V) {
	for k := range m {
		if len(m) < maxTokens {
			return
		}
		delete(m, k)
	}
}

// Cookie returns the Set-Cookie line for the answer to a request that d lets in by its certificate, nil if
// there is none to send: the policy has no session, or the request brings a cookie with more than half of
// its life left. The error says that the signing key cannot be used.
func (d *Decision) Cookie(r *Request) ([]byte, error) {
	if d.Policy == nil || d.Policy.session == nil || d.Judgement == nil || d.Judgement.Code != 0 {
		return nil, nil
	}
	s, facts := d.Policy.session, d.Judgement.Facts
	fresh := false
	s.each(r.Fields, func(value []byte) bool {
		c, code, _ := s.check(value, string(r.Host), r.Now)
		fresh = code == 0 && c.Confirm.Thumbprint == thumbprint(facts) &&
			r.Now.Sub(time.Unix(c.IssuedAt, 0)) < time.Unix(c.Expires, 0).Sub(r.Now)
		return !fresh
	})
	if fresh {
		return nil, nil
	}
	t, err := s.token(d.Judgement, string(r.Host), r.Now)
	if err != nil {
		return nil, err
	}
	line := s.ir.Cookie + "=" + t.value + "; Expires=" + t.expires.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") + "; Path=/; Secure; HttpOnly"
	if s.ir.SameSite != "" {
		line += "; SameSite=" + s.ir.SameSite
	}
	return []byte(line), nil
}

// thumbprint is x5t#S256 of a certificate.
func thumbprint(f *trust.Facts) string {
	sum, _ := hex.DecodeString(f.Hash) // it is hex by construction
	return b64(sum)
}

// token returns a token for a certificate at a host, at most a minute old.
func (s *session) token(j *Judgement, host string, now time.Time) (token, error) {
	f := j.Facts
	key := issue{f.Hash, host}
	s.mu.Lock()
	t, ok := s.issued[key]
	s.mu.Unlock()
	if age := now.Sub(t.made); ok && age >= 0 && age < tokenLife {
		return t, nil
	}
	k, _, err := s.ring.keys(now)
	if err != nil {
		return token{}, err
	}
	expires := now.Add(s.ir.Duration)
	if f.NotAfter.Before(expires) {
		expires = f.NotAfter
	}
	t = token{made: now, expires: expires}
	var chain []string
	for _, l := range j.links {
		chain = append(chain, l.String())
	}
	payload, err := json.Marshal(Claims{
		Type: tokenType, Audience: s.ir.Audience, Expires: expires.Unix(), Issuer: s.issuer(host), CommonName: f.CommonName,
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Subject: f.Subject, Confirm: confirmation{thumbprint(f)},
		Host: host, Policy: s.rules, Serial: f.Serial, Chain: chain,
	})
	if err != nil {
		return token{}, fmt.Errorf("encode the claims of an identity cookie: %w", err)
	}
	text := k.header + "." + b64(payload)
	signature, err := k.sign(text)
	if err != nil {
		return token{}, fmt.Errorf("sign an identity cookie: %w", err)
	}
	t.value = text + "." + b64(signature)
	s.mu.Lock()
	defer s.mu.Unlock()
	bound(s.issued)
	s.issued[key] = t
	return t, nil
}
