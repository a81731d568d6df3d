package revocation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// Stapling keeps OCSP answers to staple to the certificates that are served. Create it with NewStapling.
// Staple is safe for concurrent use with everything, and costs a map lookup.
type Stapling struct {
	service *Service
	log     *slog.Logger

	table atomic.Pointer[map[string]stapled] // by secret.KeyPair.Digest

	mu     sync.Mutex // guards what follows
	pairs  map[string]*secret.KeyPair
	state  map[string]StapleState // by Digest
	turn   int                    // of the update that began last
	stored int                    // of the one that state is of
}

// stapled is a pair as it is served until a moment.
type stapled struct {
	cert  *tls.Certificate
	until time.Time // zero: for ever
}

// Staple states.
const (
	StapleGood        = "good"         // an answer is stapled
	StaplePending     = "pending"      // the first answer has not come yet
	StapleUnavailable = "unavailable"  // none can be had
	StapleRevoked     = "revoked"      // the answer says revoked: nothing is stapled
	StapleNoResponder = "no_responder" // the certificate names none, or its issuer is not in the chain
)

// StapleState is what is known for one certificate that is served.
type StapleState struct {
	Subject     string
	Fingerprint string
	State       string
	Must        bool      // the certificate demands a staple (RFC 7633)
	Code        diag.Code // what is wrong; 0: nothing
	Detail      string
	Until       time.Time // the end of the answer; zero without one
}

// NewStapling returns a Stapling that asks through a Service. A Service serves one.
func NewStapling(s *Service) *Stapling {
	t := &Stapling{service: s, log: s.opts.Logger, pairs: map[string]*secret.KeyPair{}, state: map[string]StapleState{}}
	t.table.Store(&map[string]stapled{})
	s.mu.Lock()
	s.pinned = t.update
	s.mu.Unlock()
	return t
}

// Serve says which pairs are served now, instead of those of the last call. It does not wait.
func (t *Stapling) Serve(pairs []*secret.KeyPair) {
	next := make(map[string]*secret.KeyPair, len(pairs))
	keep := map[key]bool{}
	for _, p := range pairs {
		if next[p.Digest] != nil {
			continue
		}
		next[p.Digest] = p
		if q, ok := stapleQuestion(p); ok {
			keep[q.key] = true
		}
	}
	t.service.pin(next, keep)
	t.mu.Lock()
	t.pairs = next
	t.mu.Unlock()
	t.update()
}

// pin asks for the answers of pairs, and lets go of those pinned before that are not kept.
func (s *Service) pin(pairs map[string]*secret.KeyPair, keep map[key]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		e.pinned = e.pinned && keep[e.key]
	}
	for _, p := range pairs {
		if q, ok := stapleQuestion(p); ok {
			e := s.entry(q)
			e.pinned = true
			s.schedule(e)
		}
	}
}

// stapleQuestion makes the question about a pair's own certificate. The issuer must be in its chain.
func stapleQuestion(p *secret.KeyPair) (question, bool) {
	issuer := issuerIn(p)
	if issuer == nil {
		return question{}, false
	}
	q, err := askResponder(p.Leaf, issuer)
	return q, err == nil
}

func issuerIn(p *secret.KeyPair) *x509.Certificate {
	if len(p.Issuers) == 0 || p.Leaf.CheckSignatureFrom(p.Issuers[0]) != nil {
		return nil
	}
	return p.Issuers[0]
}

// Staple returns the pair as it is to be served now.
func (t *Stapling) Staple(p *secret.KeyPair) *tls.Certificate {
	s, ok := (*t.table.Load())[p.Digest]
	switch {
	case !ok: // not told of yet
		return p.TLS()
	case !s.until.IsZero() && !time.Now().Before(s.until):
		return bare(p)
	}
	return s.cert
}

// bare returns the pair without a staple: one that has ended is worse than none.
func bare(p *secret.KeyPair) *tls.Certificate {
	if len(p.Staple) == 0 {
		return p.TLS()
	}
	cert := *p.TLS()
	cert.OCSPStaple = nil
	return &cert
}

// update makes the table anew after an answer has come or ended, and tells what has changed. Of several
// at once the one that began last counts: it has seen what the others have.
func (t *Stapling) update() {
	t.mu.Lock()
	t.turn++
	turn, pairs := t.turn, t.pairs
	t.mu.Unlock()
	now := time.Now()
	table, states := make(map[string]stapled, len(pairs)), make(map[string]StapleState, len(pairs))
	for digest, p := range pairs {
		staple, st := t.service.staple(p, now)
		states[digest] = st
		entry := stapled{cert: bare(p)}
		if len(staple) > 0 {
			cert := *p.TLS()
			cert.OCSPStaple = staple
			entry = stapled{&cert, st.Until}
		}
		table[digest] = entry
	}
	t.mu.Lock()
	if turn < t.stored {
		t.mu.Unlock()
		return
	}
	was := t.state
	t.state, t.stored = states, turn
	t.table.Store(&table)
	t.mu.Unlock()
	for digest, st := range states {
		t.tell(was[digest], st)
	}
}

// tell logs a change.
func (t *Stapling) tell(was, is StapleState) {
	if was.State == is.State && was.Code == is.Code {
		return
	}
	attrs := []any{"certificate", is.Subject, "fingerprint", is.Fingerprint, "state", is.State}
	switch is.Code {
	case 0:
		if was.Code != 0 {
			t.log.Info("ocsp stapling works again", attrs...)
		}
	case diag.OwnCertRevoked:
		t.log.Error("a certificate that is served is revoked, it is served without a staple", append(attrs, "code", is.Code.String(), "detail", is.Detail)...)
	default:
		t.log.Log(context.Background(), slog.LevelWarn, "a certificate is served without a staple", append(attrs, "code", is.Code.String(), "detail", is.Detail)...)
	}
}

// State returns what is known for every certificate that is served.
func (t *Stapling) State() []StapleState {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]StapleState, 0, len(t.state))
	for _, st := range t.state {
		if st.State == StapleGood && !st.Until.IsZero() && !now.Before(st.Until) {
			st.State, st.Code, st.Detail = StapleUnavailable, missing(st.Must), "the answer has ended and no newer one could be had"
		}
		out = append(out, st)
	}
	return out
}

func missing(must bool) diag.Code {
	if must {
		return diag.StapleMissing
	}
	return diag.StapleFailed
}

// staple returns the best answer for a pair: what was fetched or what its secret holds, whichever is newer
// among those that are of now.
func (s *Service) staple(p *secret.KeyPair, now time.Time) ([]byte, StapleState) {
	st := StapleState{Subject: secret.Subject(p.Leaf), Fingerprint: p.Fingerprint, Must: trust.MustStaple(p.Leaf), State: StapleNoResponder}
	issuer := issuerIn(p)
	var best *answer
	take := func(a *answer) {
		if a != nil && a.stale(now) == "" && a.ocsp.Standing != trust.Unknown && (best == nil || a.this.After(best.this)) {
			best = a
		}
	}
	if issuer == nil && len(p.Staple) > 0 {
		st.State, st.Detail = StapleGood, "the secret's, which cannot be checked: the issuer's certificate is not in the chain"
		return p.Staple, st
	}
	if len(p.Staple) > 0 {
		a, err := verify(question{kind: kindOCSP, issuer: issuer, cert: p.Leaf}, p.Staple)
		take(a)
		if err != nil {
			st.Detail = "the secret's staple cannot be used: " + err.Error()
		}
	}
	if q, ok := stapleQuestion(p); ok {
		st.State = StaplePending
		s.mu.Lock()
		if e := s.entries[q.key]; e != nil {
			take(e.answer)
			if !e.fetched.IsZero() {
				st.State = StapleUnavailable
				st.Detail = e.finding(p.Leaf, now).Detail
			}
		}
		s.mu.Unlock()
	} else if issuer == nil && len(p.Leaf.OCSPServer) > 0 {
		st.Detail = "its issuer's certificate is not in the chain of the secret"
	} else if st.Detail == "" {
		st.Detail = "it names no OCSP responder at an http:// address"
	}
	if best != nil {
		st.Until = best.next
		if best.ocsp.Standing == trust.Revoked {
			st.State, st.Code, st.Detail = StapleRevoked, diag.OwnCertRevoked, "revoked at "+best.ocsp.At.UTC().Format(time.RFC3339)+" ("+best.ocsp.Reason+")"
			return nil, st
		}
		st.State, st.Detail = StapleGood, ""
		return best.der, st
	}
	switch {
	case st.State == StapleUnavailable, st.State == StapleNoResponder && (st.Must || len(p.Staple) > 0):
		st.Code = missing(st.Must)
	}
	return nil, st
}
