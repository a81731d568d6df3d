package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Mint gets the certificate for a handshake whose settings name none: one made for the destination. It
// runs on the handshake's goroutine and may block for as long as its own bounds allow. What the caller of
// Handshake attached to the connection is there.
//
//   - pair alone: it is served.
//   - pair and code: it is served, and the client is meant to see that something is wrong, which detail
//     says: that it refuses is no sign that it does not trust the interception CA.
//   - no pair: the handshake is refused with code and detail.
type Mint func(hello *listen.Hello, c *listen.Conn) (pair *secret.KeyPair, code diag.Code, detail string)

// Intercepting returns the listener that a Terminator with Mint is built from: one chain by the
// ForwardProxy's name for every host, with the settings of its interception. Keep it as long as both
// stay the same, so that Build takes over what it can.
func Intercepting(l *ir.Listener, f *ir.Forward) *ir.Listener {
	settings := f.Interception.TLS
	settings.Certificates = nil
	if len(settings.ALPN) == 0 {
		settings.ALPN = []string{"h2", "http/1.1"}
	}
	chain := &ir.Chain{Name: f.Name, Origin: f.Origin, Hosts: []hostname.Pattern{hostname.Any()}, TLS: &settings}
	return &ir.Listener{Name: l.Name, Bind: l.Bind, Port: l.Port, TLS: true, Chains: []*ir.Chain{chain}}
}

// bump is what Handshake.Bump says of handshakes with made certificates.
const bump = "bump"

// minted is what a shake knows of a certificate that was made for it.
type minted struct {
	on     bool
	code   diag.Code // why the client is to refuse it; 0: it is not
	detail string
}

// mint asks for the certificate. It returns a Result only if the handshake is refused.
func (s *shake) mint() *Result {
	s.rec.Bump = bump
	pair, code, detail := s.t.opts.Mint(s.hello, s.conn)
	if pair == nil {
		if code == 0 {
			code, detail = diag.MintFailed, "no certificate was made for the destination"
		}
		return s.refuse(code, detail, nil, s.alert(alertInternalError))
	}
	s.minted = minted{on: true, code: code, detail: detail}
	s.served.pairs[0], s.served.n = pair, 1
	s.policy = &policy{tls: s.policy.tls, class: s.policy.class.signedBy(s.policy.tls, pair, s.hello.ServerName)}
	return nil
}

// maxIssuers bounds the classes for issuers: the interception CA, the authority that nobody trusts, and
// those of CAs before.
const maxIssuers = 8

// issuerClasses are the variants of a class for made certificates, by who signed them: a ticket that was
// earned with a good certificate must not resume a connection that is to show a bad one.
type issuerClasses struct {
	mu       sync.Mutex // guards byIssuer
	byIssuer map[string]*class
	once     sync.Once
	none     *class // without tickets
}

// signedBy returns the variant of a class for a certificate that was made. A connection without a server
// name has no tickets: nothing would tell destinations apart.
func (c *class) signedBy(settings *ir.TLS, pair *secret.KeyPair, name string) *class {
	v := &c.minted
	if name != "" && !selfIssued(pair.Leaf) {
		sum := sha256.Sum256(append(append([]byte(nil), pair.Leaf.AuthorityKeyId...), pair.Leaf.RawIssuer...))
		key := c.key + " " + hex.EncodeToString(sum[:])
		v.mu.Lock()
		defer v.mu.Unlock()
		if found := v.byIssuer[key]; found != nil {
			return found
		}
		if len(v.byIssuer) < maxIssuers {
			if v.byIssuer == nil {
				v.byIssuer = map[string]*class{}
			}
			v.byIssuer[key] = c.state.newClass(settings, c.bundle, c.access, key)
			return v.byIssuer[key]
		}
	}
	v.once.Do(func() {
		v.none = c.state.newClass(settings, c.bundle, c.access, c.key+" once")
		for _, config := range []*tls.Config{v.none.config, v.none.modest} {
			if config != nil {
				config.SessionTicketsDisabled = true
			}
		}
	})
	return v.none
}

// distrust says what a client's alert about a made certificate means; false if nothing more than it would
// mean otherwise.
func distrust(n uint8, pair *secret.KeyPair, m minted) (diag.Code, string, bool) {
	switch {
	case !m.on || n != 48 && n != 42 && n != 46 && n != 51:
		return 0, "", false
	case m.code != 0:
		code := diag.PeerRejectedCert
		if n == 48 {
			code = diag.PeerUnknownCA
		}
		return code, fmt.Sprintf("the client sent %s to a certificate that it is meant to refuse: %s (%s)", alertWords(n), m.detail, m.code), true
	case pair == nil:
		return 0, "", false
	}
	return diag.InterceptionDistrusted, fmt.Sprintf("the client sent %s: it does not trust %q, which signs what is made for destinations, or it pins this destination's own certificate", alertWords(n), secret.Issuer(pair.Leaf)), true
}

// tellDistrust hands a client's refusal of a made certificate on.
func (t *Terminator) tellDistrust(c *listen.Conn, rec *telemetry.Handshake) {
	if rec.Code == diag.InterceptionDistrusted && t.opts.Distrusted != nil {
		t.opts.Distrusted(c, rec)
	}
}
