package revocation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// Stapling keeps OCSP answers to staple to the certificates that are served. Create it with NewStapling;
// Run drives it. Staple is safe for concurrent use with everything, and costs a map lookup.
type Stapling struct {
	// Fixed after construction.
	service *Service
	log     *slog.Logger
	follow  chan []*secret.KeyPair // what is served now; holds one
	wake    chan struct{}          // an answer has come

	table atomic.Pointer[map[string]stapled] // by secret.KeyPair.Digest

	pairs map[string]served // by Digest; owned by Run

	mu    sync.Mutex // guards state
	state map[string]StapleState
}

// served is a pair with what is asked about it.
type served struct {
	pair   *secret.KeyPair
	issuer *x509.Certificate // nil: it is not in the chain, or nobody has to know
	asked  *question         // nil: nobody can be asked
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
	t := &Stapling{service: s, log: s.opts.Logger, follow: make(chan []*secret.KeyPair, 1), wake: make(chan struct{}, 1),
		pairs: map[string]served{}, state: map[string]StapleState{}}
	t.table.Store(&map[string]stapled{})
	s.mu.Lock()
	s.pinned = func() {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	return t
}

// Run follows what is served, and answers that come, until ctx ends.
func (t *Stapling) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case pairs := <-t.follow:
			t.serve(pairs)
		case <-t.wake:
			t.update()
		}
		// Thousands of answers may come at once after a start.
		pause.Reset(updatePause)
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// updatePause is between two changes of the table.
const updatePause = 20 * time.Millisecond

// Served returns the pairs that the listeners of a snapshot serve.
func Served(snap *ir.Snapshot) []*secret.KeyPair {
	var out []*secret.KeyPair
	seen := map[ir.SecretRef]bool{}
	take := func(settings *ir.TLS) {
		if settings == nil {
			return
		}
		for _, ref := range settings.Certificates {
			if c := snap.Secrets.ByRef[ref]; c != nil && c.Pair != nil && !seen[ref] {
				seen[ref] = true
				out = append(out, c.Pair)
			}
		}
	}
	for _, l := range snap.Config.Listeners {
		for _, c := range l.Chains {
			take(c.TLS)
			for _, h := range c.HostTLS {
				take(h.TLS)
			}
		}
	}
	return out
}

// Follow says which pairs are served now. It does not wait; only one caller at a time.
func (t *Stapling) Follow(pairs []*secret.KeyPair) {
	select {
	case <-t.follow: // not looked at yet, and outdated
	default:
	}
	t.follow <- pairs
}

// serve has the answers for pairs fetched and kept, and lets go of others.
func (t *Stapling) serve(pairs []*secret.KeyPair) {
	next := make(map[string]served, len(pairs))
	keep := map[key]bool{}
	for _, p := range pairs {
		s, known := t.pairs[p.Digest]
		if !known {
			s = newServed(p)
		}
		next[p.Digest] = s
		if s.asked != nil {
			keep[s.asked.key] = true
		}
	}
	t.pairs = next
	t.service.pin(next, keep)
	t.update()
}

// newServed prepares what is asked about a pair. The issuer must be in its chain.
func newServed(p *secret.KeyPair) served {
	s := served{pair: p}
	if len(p.Leaf.OCSPServer) == 0 && len(p.Staple) == 0 || len(p.Issuers) == 0 || p.Leaf.CheckSignatureFrom(p.Issuers[0]) != nil {
		return s
	}
	s.issuer = p.Issuers[0]
	if q, err := askResponder(p.Leaf, s.issuer); err == nil {
		s.asked = &q
	}
	return s
}

// pin asks for the answers of pairs, and lets go of those pinned before that are not kept.
func (s *Service) pin(pairs map[string]served, keep map[key]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		e.pinned = e.pinned && keep[e.key]
	}
	for _, p := range pairs {
		if p.asked != nil {
			e := s.entry(*p.asked)
			e.pinned = true
			s.schedule(e)
		}
	}
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

// update makes the table anew after an answer has come or ended, and tells what has changed.
func (t *Stapling) update() {
	now := time.Now()
	table, states := make(map[string]stapled, len(t.pairs)), make(map[string]StapleState, len(t.pairs))
	for digest, p := range t.pairs {
		staple, st := t.service.staple(p, now)
		states[digest] = st
		entry := stapled{cert: bare(p.pair)}
		if len(staple) > 0 {
			cert := *p.pair.TLS()
			cert.OCSPStaple = staple
			entry = stapled{&cert, st.Until}
		}
		table[digest] = entry
	}
	t.table.Store(&table)
	t.mu.Lock()
	was := t.state
	t.state = states
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
func (s *Service) staple(x served, now time.Time) ([]byte, StapleState) {
	p := x.pair
	st := StapleState{Subject: secret.Subject(p.Leaf), Fingerprint: p.Fingerprint, Must: trust.MustStaple(p.Leaf), State: StapleNoResponder}
	var best *answer
	unchecked := ""
	take := func(a *answer) {
		if a != nil && a.stale(now) == "" && a.ocsp.Standing != trust.Unknown && (best == nil || a.this.After(best.this)) {
			best = a
		}
	}
	switch {
	case len(p.Staple) == 0:
	case x.issuer == nil:
		o, err := trust.PeekOCSP(p.Staple, p.Leaf)
		if err != nil {
			st.Detail = "the secret's staple cannot be used: " + err.Error()
			break
		}
		if st.Detail = o.Stale(now); st.Detail == "" {
			take(&answer{ocsp: o, der: p.Staple, this: o.ThisUpdate, next: o.NextUpdate})
			unchecked = "the secret's, whose signature cannot be checked: the issuer's certificate is not in the chain"
		}
	default:
		a, err := verify(question{kind: kindOCSP, issuer: x.issuer, cert: p.Leaf}, p.Staple)
		take(a)
		if err != nil {
			st.Detail = "the secret's staple cannot be used: " + err.Error()
		}
	}
	switch {
	case x.asked != nil:
		st.State = StaplePending
		s.mu.Lock()
		if e := s.entries[x.asked.key]; e != nil {
			take(e.answer)
			if !e.fetched.IsZero() {
				st.State, st.Detail = StapleUnavailable, e.finding(p.Leaf, now).Detail
			}
		}
		s.mu.Unlock()
	case st.Detail != "":
	case len(p.Leaf.OCSPServer) > 0 && x.issuer == nil:
		st.Detail = "its issuer's certificate is not in the chain of the secret"
	default:
		st.Detail = "it names no OCSP responder at an http:// address"
	}
	if best == nil {
		if st.State == StapleUnavailable || st.State == StapleNoResponder && (st.Must || len(p.Staple) > 0) {
			st.Code = missing(st.Must)
		}
		return nil, st
	}
	st.Until = best.next
	if best.ocsp.Standing == trust.Revoked {
		st.State, st.Code, st.Detail = StapleRevoked, diag.OwnCertRevoked, fmt.Sprintf("revoked at %s (%s)", best.ocsp.At.UTC().Format(time.RFC3339), best.ocsp.Reason)
		return nil, st
	}
	st.State, st.Detail = StapleGood, unchecked
	return best.der, st
}
