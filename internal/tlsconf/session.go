package tlsconf

import (
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Session is what a handshake left for judging its connection again when the listener's settings, its
// CAs or its revocation lists change. It is safe for concurrent use.
type Session struct {
	// Fixed after construction.
	present  *atomic.Pointer[Terminator] // the listener's
	sni      string
	chain    string
	peers    []*x509.Certificate // what the client showed, leaf first; empty if nothing
	verified bool                // and it was accepted as its identity
	since    time.Time           // end of the handshake

	admitted  atomic.Pointer[Terminator] // the last that admits it
	withdrawn atomic.Pointer[withdrawal] // by the last that does not
	told      atomic.Bool                // Index.Review has counted it

	mu    sync.Mutex // guards class
	class *class     // the last under which it was admitted
}

// withdrawal is why a Terminator does not admit a session.
type withdrawal struct {
	by     *Terminator
	code   diag.Code
	detail string
}

// Session returns what is needed to judge the connection later, and enters it into the index of open
// connections. present is where the listener's Terminator is found, also after a change; nil there means
// that the listener speaks TLS no more. Call it once, for a handshake that has completed.
func (r *Result) Session(present *atomic.Pointer[Terminator]) *Session {
	s := &Session{present: present, sni: r.Record.Hello.SNI, chain: r.Chain.Name, peers: r.peers, class: r.class, since: r.term.state.now()}
	s.verified = r.ClientCert != nil && r.ClientCert.Verified
	s.admitted.Store(r.term)
	r.term.state.index.assign(r.Raw, indexed{chain: s.chain, session: s})
	return s
}

// Admits reports whether the connection may go on under the listener's present Terminator, as
// Terminator.Admits does. As long as nothing has changed that is two atomic loads.
func (s *Session) Admits() (diag.Code, bool) {
	if t := s.present.Load(); t != nil {
		return t.Admits(s)
	}
	return diag.Draining, false
}

// Withdrawn returns the last judgement without making a new one: 0 if the connection may go on, as far
// as is known, else the code with a sentence for logs. It is for those who look at many connections;
// Index.Review and Admits are who judges.
func (s *Session) Withdrawn() (diag.Code, string) {
	if w := s.withdrawn.Load(); w != nil {
		return w.code, w.detail
	}
	return 0, ""
}

// Admits reports whether a connection may go on under t, which need not be what it was accepted by.
// Where trust or revocation lists of its host have other content than then, the client's certificates
// are verified again: at most once per session and change, in less than a millisecond, and by the
// shared cache where the same client has many connections. Raised floors, other suites and certificates
// of ours end no connection, and neither does the clock (trust.Verifier.VerifyOngoing). If it may not
// go on, the code says how it should end:
//
//   - ClientCertWithdrawn: the client would not be let in any more. Nothing new is to be served, and
//     what is in progress ends within the grace.
//   - AccessWithdrawn: a policy with CloseNow let the client in and does not any more. Nothing goes on.
//   - Draining: its chain is gone, or asks other things of clients without refusing this one. What is
//     in progress may be finished; the client comes again.
func (t *Terminator) Admits(s *Session) (diag.Code, bool) {
	code, known := t.known(s)
	if !known {
		code, _ = t.judgeSession(s)
	}
	return code, code == 0
}

// known returns t's judgement if it has made one.
func (t *Terminator) known(s *Session) (diag.Code, bool) {
	if s.admitted.Load() == t {
		return 0, true
	}
	if w := s.withdrawn.Load(); w != nil && w.by == t {
		return w.code, true
	}
	return 0, false
}

// judgeSession judges, remembers, and reports whether certificates had to be verified for it.
func (t *Terminator) judgeSession(s *Session) (code diag.Code, verified bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code, known := t.known(s); known {
		return code, false
	}
	code, detail, class, verified := t.consider(s)
	if code != 0 {
		s.withdrawn.Store(&withdrawal{t, code, detail})
		s.admitted.Store(nil)
		return code, verified
	}
	s.class = class
	s.withdrawn.Store(nil)
	s.admitted.Store(t)
	return 0, verified
}

// consider decides about a session, whose lock is held. class is what admits it.
func (t *Terminator) consider(s *Session) (code diag.Code, detail string, is *class, verified bool) {
	e := t.names.byChain[s.chain]
	if e == nil {
		return diag.Draining, "chain " + s.chain + " is gone", nil, false
	}
	settings := e.settings(s.sni)
	if settings == nil || t.policies[settings] == nil {
		return diag.Draining, "chain " + s.chain + " does not serve the name any more", nil, false
	}
	was, is := s.class, t.policies[settings].class
	if was.sameClients(is) {
		return 0, "", is, false
	}
	if was.auth.Mode == ir.ClientAuthPolicy && is.auth.Mode == ir.ClientAuthPolicy {
		code, detail := t.considerAccess(s, was, is)
		return code, detail, is, true
	}
	if is.judge != nil {
		if is.missingTrust() {
			return diag.ClientCertWithdrawn, fmt.Sprintf("the CA that judges clients of this host is gone (%s)", diag.TrustMissing), nil, false
		}
		v := is.judge.VerifyOngoing(s.peers, s.since, t.state.now())
		cause, words := v.Code, v.Detail
		if s.verified && !v.Verified() && cause == 0 {
			cause, words = v.Ignored, v.Detail
		}
		if cause != 0 {
			return diag.ClientCertWithdrawn, fmt.Sprintf("%s (%s)", words, cause), nil, true
		}
	}
	if was.auth.Mode != is.auth.Mode {
		return diag.Draining, fmt.Sprintf("the host asks its clients for a certificate otherwise than before (%s, was %s)", is.auth.Mode, was.auth.Mode), nil, is.judge != nil
	}
	return 0, "", is, is.judge != nil
}

// sameClients reports whether two classes accept the same clients at the same time.
func (c *class) sameClients(other *class) bool {
	switch {
	case c == other:
		return true
	case c.auth.Mode == ir.ClientAuthPolicy || other.auth.Mode == ir.ClientAuthPolicy:
		return c.auth.Mode == other.auth.Mode && c.auth.Reject == other.auth.Reject && slices.Equal(c.access, other.access)
	case c.judge == nil || other.judge == nil:
		return c.judge == other.judge
	}
	return c.missingTrust() == other.missingTrust() && c.judge.Revision() == other.judge.Revision()
}
