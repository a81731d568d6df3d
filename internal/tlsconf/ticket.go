package tlsconf

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Life of ticket keys: a new one every ticketRotate, and each opens tickets for ticketLife. Forward
// secrecy of TLS 1.2 sessions, and of TLS 1.3 ones only as far as they are resumed without a key
// share, reaches no further back than that.
const (
	ticketRotate = 12 * time.Hour
	ticketLife   = 36 * time.Hour
	ticketIDLen  = 8
)

// ticketKey seals tickets. It is immutable.
type ticketKey struct {
	id   [ticketIDLen]byte
	aead cipher.AEAD
	made time.Time
}

// ticketKeys is the one epoch key set of the process. Tickets of all hosts are sealed with it; what
// keeps them apart is the binding inside.
type ticketKeys struct {
	current atomic.Pointer[[]*ticketKey] // newest first
	mu      sync.Mutex                   // serialises rotation
}

// keys returns the usable keys, newest first, rotating when the newest is old.
func (t *ticketKeys) keys(now time.Time) []*ticketKey {
	if ks := t.current.Load(); ks != nil && now.Sub((*ks)[0].made) < ticketRotate {
		return *ks
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var old []*ticketKey
	if ks := t.current.Load(); ks != nil {
		if now.Sub((*ks)[0].made) < ticketRotate {
			return *ks
		}
		old = *ks
	}
	fresh := []*ticketKey{newTicketKey(now)}
	for _, k := range old {
		if now.Sub(k.made) < ticketLife {
			fresh = append(fresh, k)
		}
	}
	t.current.Store(&fresh)
	return fresh
}

// newTicketKey makes a random AES-256-GCM key. Its random nonces are safe for 2³² tickets, which is
// 99,000 a second until rotation.
func newTicketKey(now time.Time) *ticketKey {
	k := &ticketKey{made: now}
	secret := make([]byte, 32)
	rand.Read(secret)
	rand.Read(k.id[:])
	block, err := aes.NewCipher(secret)
	if err == nil {
		k.aead, err = cipher.NewGCMWithRandomNonce(block)
	}
	if err != nil {
		panic("AES-256-GCM is not available: " + err.Error()) // the key length is right by construction
	}
	return k
}

// seal encrypts a session.
func (t *ticketKeys) seal(now time.Time, state []byte) []byte {
	k := t.keys(now)[0]
	out := make([]byte, ticketIDLen, ticketIDLen+len(state)+k.aead.Overhead())
	copy(out, k.id[:])
	return k.aead.Seal(out, nil, state, k.id[:])
}

// open decrypts a ticket of ours; nil for any other bytes.
func (t *ticketKeys) open(now time.Time, ticket []byte) []byte {
	if len(ticket) < ticketIDLen {
		return nil
	}
	for _, k := range t.keys(now) {
		if !bytes.Equal(ticket[:ticketIDLen], k.id[:]) || now.Sub(k.made) >= ticketLife {
			continue
		}
		state, err := k.aead.Open(nil, nil, ticket[ticketIDLen:], k.id[:])
		if err != nil {
			return nil
		}
		return state
	}
	return nil
}

// bindingPrefix marks our entry among SessionState.Extra.
const bindingPrefix = "hakone ticket 1 "

// binding is what a ticket may be resumed under: the content of the policy with trust and revocation
// lists, and the server name.
func (c *class) binding(serverName string) []byte {
	h := sha256.New()
	h.Write([]byte(c.key))
	h.Write([]byte{0})
	h.Write([]byte(serverName))
	return h.Sum([]byte(bindingPrefix))
}

// wrapSession makes a ticket that holds the binding. It implements tls.Config.WrapSession. Where policies
// judge, a client without a certificate gets a ticket that opens nothing: it is asked again whenever it
// comes, for by then it may have one. So does a client with a chain too long for a ticket.
func (c *class) wrapSession(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	if c.auth.Mode == ir.ClientAuthPolicy && len(cs.PeerCertificates) == 0 {
		return c.state.tickets.seal(c.state.now(), nil), nil
	}
	ss.Extra = append(ss.Extra, c.binding(cs.ServerName))
	state, err := ss.Bytes()
	if err != nil || len(state) > maxTicket {
		state = nil // a client with such a chain makes full handshakes
	}
	return c.state.tickets.seal(c.state.now(), state), nil
}

// maxTicket bounds what a ticket holds, in bytes. It comes back in a ClientHello, and TLS itself has no room
// for 64 KiB (RFC 8446 section 4.6.1).
const maxTicket = 32 << 10

// unwrapSession opens a ticket if it was earned under the same policy, trust and name; otherwise it
// returns nil, and the handshake is a full one. It never returns an error, because crypto/tls would
// drop the connection for it. It implements tls.Config.UnwrapSession.
func (c *class) unwrapSession(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	plain := c.state.tickets.open(c.state.now(), ticket)
	if plain == nil {
		return nil, nil
	}
	ss, err := tls.ParseSessionState(plain)
	if err != nil {
		return nil, nil
	}
	want := c.binding(cs.ServerName)
	if !slices.ContainsFunc(ss.Extra, func(e []byte) bool { return bytes.Equal(e, want) }) {
		return nil, nil
	}
	return ss, nil
}
