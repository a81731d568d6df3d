package revocation

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

const (
	// maxPoints and maxResponders bound how many addresses of a certificate are tried.
	maxPoints, maxResponders = 4, 2
	// briefly is how long a finding holds while something better is on its way.
	briefly = time.Second
	// leastPause is between two fetches of an answer that goes well, unless Options.Refresh is shorter.
	leastPause = 5 * time.Second
	// firstRetry and lastRetry bound the pause after failures, which doubles.
	firstRetry, lastRetry = 2 * time.Second, 5 * time.Minute
)

// kind is what is fetched.
type kind uint8

const (
	kindOCSP kind = iota
	kindCRL
)

// String returns the label of metrics.
func (k kind) String() string {
	if k == kindCRL {
		return "crl"
	}
	return "ocsp"
}

// key names a question: kind, addresses, issuer and, for OCSP, serial number.
type key [sha256.Size]byte

// question is what is asked.
type question struct {
	kind   kind
	key    key
	urls   []string
	issuer *x509.Certificate
	cert   *x509.Certificate // OCSP: its serial number alone, so that no entry holds a whole certificate
}

// askResponder makes the question to the responders that a certificate names.
func askResponder(cert, issuer *x509.Certificate) (question, error) {
	urls := usableURLs(cert.OCSPServer, maxResponders)
	if len(urls) == 0 {
		return question{}, errors.New("the certificate names no OCSP responder at an http:// address")
	}
	q := question{kind: kindOCSP, urls: urls, issuer: issuer, cert: &x509.Certificate{SerialNumber: cert.SerialNumber}}
	q.key = keyOf(q, cert.SerialNumber.Text(16))
	return q, nil
}

// askList makes the question for the list that a certificate names.
func askList(cert, issuer *x509.Certificate) (question, error) {
	urls := usableURLs(cert.CRLDistributionPoints, maxPoints)
	if len(urls) == 0 {
		return question{}, errors.New("the certificate names no CRL distribution point at an http:// address")
	}
	q := question{kind: kindCRL, urls: urls, issuer: issuer}
	q.key = keyOf(q, "")
	return q, nil
}

func keyOf(q question, serial string) key {
	return sha256.Sum256(fmt.Appendf(nil, "%d %x %q %s", q.kind, sha256.Sum256(q.issuer.Raw), q.urls, serial))
}

// usableURLs returns the first n addresses that may be asked: plain HTTP, because an answer is signed and
// because verifying the responder's own certificate would ask again; no credentials; of bounded length.
func usableURLs(in []string, n int) []string {
	var out []string
	for _, s := range in {
		u, err := url.Parse(s)
		if err != nil || !strings.EqualFold(u.Scheme, "http") || u.Host == "" || u.User != nil || len(s) > 2048 {
			continue
		}
		if out = append(out, s); len(out) == n {
			break
		}
	}
	return out
}

// answer is what was fetched and verified; it may be stale. Fixed after construction.
type answer struct {
	list *secret.CRL // of kindCRL
	ocsp trust.OCSP  // of kindOCSP
	der  []byte      // of kindOCSP

	this, next time.Time // next is zero where it never ends
	size       int64
	validator  validator
	kept       bool // from disk: to be renewed soon
}

// stale says in words why an answer is not of now, "" if it is.
func (a *answer) stale(now time.Time) string {
	if a.list == nil {
		return a.ocsp.Stale(now)
	}
	switch {
	case a.this.After(now.Add(clockSkew)):
		return fmt.Sprintf("the list of %q is valid from %s only; is a clock wrong?", a.list.Issuer, a.this.UTC().Format(time.RFC3339))
	case !a.next.IsZero() && now.After(a.next):
		return fmt.Sprintf("the list of %q was due for renewal at %s", a.list.Issuer, a.next.UTC().Format(time.RFC3339))
	}
	return ""
}

// clockSkew is how far in the future an answer may have been issued.
const clockSkew = 5 * time.Minute

// entry is a question with what is known. Its fields but question are guarded by Service.mu.
type entry struct {
	question
	place *list.Element
	hosts []string // of question.urls, once it has waited

	answer   *answer // the last that was verified, nil: none
	fault    string  // why the last fetch failed, "": it did not, or there was none
	invalid  bool    // there was an answer, which proves nothing
	failures int
	due      time.Time     // not to be fetched before
	fetched  time.Time     // end of the last fetch
	used     time.Time     // last looked at
	done     chan struct{} // closed when the fetch in progress ends; nil: none
	dated    int           // calls of Forget that no fetch has begun after
	pinned   bool          // kept and renewed although nobody asks
}

// entry returns the entry of a question, as the one that was used last.
func (s *Service) entry(q question) *entry {
	e := s.entries[q.key]
	if e == nil {
		e = &entry{question: q}
		s.entries[q.key] = e
		e.place = s.order.PushFront(e)
		s.evict()
	} else {
		s.order.MoveToFront(e.place)
	}
	e.used = time.Now()
	return e
}

// evict lets go of what was not used for the longest time, until the bounds hold.
func (s *Service) evict() {
	for el := s.order.Back(); el != nil && el != s.order.Front() && (len(s.entries) > s.opts.MaxEntries || s.bytes > s.opts.MaxBytes); {
		e, before := el.Value.(*entry), el.Prev()
		if !e.pinned && e.done == nil {
			s.order.Remove(el)
			delete(s.entries, e.key)
			if e.answer != nil {
				s.bytes -= e.answer.size
			}
		}
		el = before
	}
}

// finding says what the entry knows about a certificate.
func (e *entry) finding(cert *x509.Certificate, now time.Time) trust.Finding {
	f := trust.Finding{OCSP: e.kind == kindOCSP, Detail: e.fault, Invalid: e.invalid, Until: e.due}
	if least := now.Add(briefly); f.Until.Before(least) {
		f.Until = least
	}
	a := e.answer
	if a == nil {
		if f.Detail == "" {
			f.Detail = fmt.Sprintf("%s is being asked", e.urls[0])
		}
		return f
	}
	if a.list != nil {
		if err := a.list.Covers(cert); err != nil {
			f.Invalid, f.Detail = true, fmt.Sprintf("the list at %s does not speak for it: %v", e.urls[0], err)
			return f
		}
		if r, ok := a.list.Lookup(cert.SerialNumber); ok {
			f.Standing, f.At, f.Reason, f.Detail = trust.Revoked, r.At, r.ReasonText(), fmt.Sprintf("the list of %q at %s names it", a.list.Issuer, e.urls[0])
			return f
		}
	} else if a.ocsp.Standing == trust.Revoked {
		f.Standing, f.At, f.Reason, f.Detail = trust.Revoked, a.ocsp.At, a.ocsp.Reason, "says the responder at "+e.urls[0]
		return f
	}
	if why := a.stale(now); why != "" {
		f.Invalid = true
		if e.fault != "" && !strings.Contains(e.fault, why) {
			why += ", and " + e.fault
		}
		f.Detail = why
		return f
	}
	if a.list == nil && a.ocsp.Standing == trust.Unknown {
		f.Invalid, f.Detail = false, fmt.Sprintf("the responder at %s does not know the certificate", e.urls[0])
		return f
	}
	f.Standing, f.Invalid, f.Detail = trust.Good, false, ""
	if !a.next.IsZero() && a.next.Before(f.Until) {
		f.Until = a.next
	}
	return f
}

// schedule has an entry fetched unless that is in progress or was in vain a moment ago.
func (s *Service) schedule(e *entry) {
	if e.done != nil || time.Now().Before(e.due) {
		return
	}
	select {
	case <-s.ended:
		return
	default:
	}
	if s.turns.push(e) {
		e.done = make(chan struct{})
		s.turn.Signal()
	} else {
		e.fault, e.due = "too many other questions wait to be asked", time.Now().Add(briefly)
		s.counts.add(e.kind, resultOverload)
	}
}

// work fetches what is queued until ctx ends.
func (s *Service) work(ctx context.Context) {
	for {
		s.mu.Lock()
		e := s.take()
		if e == nil {
			s.mu.Unlock()
			return
		}
		old, dated, owned := e.answer, e.dated, s.owned(e.question)
		s.mu.Unlock()
		a, fault := s.obtain(ctx, e.question, old, !owned)
		s.settle(e, a, fault, dated)
	}
}

// take waits for the next turn, and returns nil when Run ends. The caller holds mu.
func (s *Service) take() *entry {
	for {
		select {
		case <-s.ended:
			return nil
		default:
		}
		if e := s.turns.pop(); e != nil {
			if s.turns.waiting > 0 {
				s.turn.Signal() // an end may have made room for several
			}
			return e
		}
		s.turn.Wait()
	}
}

// settle enters the outcome of a fetch; dated is what the entry's was when it began.
func (s *Service) settle(e *entry, a *answer, fault *fault, dated int) {
	now := time.Now()
	s.mu.Lock()
	s.turns.done(e)
	changed := false
	if a != nil && s.entries[e.key] == e && (e.answer == nil || !a.this.Before(e.answer.this)) {
		changed = e.answer != a
		if e.answer != nil {
			s.bytes -= e.answer.size
		}
		e.answer = a
		s.bytes += a.size
		s.evict()
	}
	before := e.fault
	if fault != nil {
		e.fault, e.invalid = fault.Error(), fault.result == resultInvalid
		e.due = now.Add(retry(e.failures))
		e.failures++
	} else {
		e.fault, e.invalid, e.failures = "", false, 0
		e.due = s.renewal(e.answer, now)
		e.dated -= dated
	}
	e.fetched = now
	done := e.done
	e.done = nil
	if e.dated > 0 && fault == nil { // Forget was called meanwhile
		e.due = time.Time{}
		s.schedule(e)
	}
	tell := s.pinned
	if !e.pinned {
		tell = nil
	}
	s.mu.Unlock()
	close(done)
	switch {
	case fault != nil && before == "":
		s.opts.Logger.Log(context.Background(), s.counts.level(e.kind, now), "asking about revocation failed, it is tried again", "kind", e.kind.String(), "url", e.urls[0], "issuer", issuerOf(e.question), "err", fault)
	case fault == nil && before != "":
		s.opts.Logger.Debug("asking about revocation works again", "kind", e.kind.String(), "url", e.urls[0], "issuer", issuerOf(e.question))
	}
	if tell != nil && (changed || fault != nil || before != "") {
		tell()
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retry is the pause after a failure that n others came before.
func retry(n int) time.Duration {
	d := min(firstRetry<<min(n, 16), lastRetry)
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// renewal is when an answer that goes well is fetched anew: at a random point from half to nine tenths of
// its life, so that many do not come at once, and not later than Options.Refresh from now.
func (s *Service) renewal(a *answer, now time.Time) time.Time {
	if a != nil && a.kept {
		return now.Add(leastPause)
	}
	latest := now.Add(s.opts.Refresh - time.Duration(rand.Int64N(int64(s.opts.Refresh)/10+1)))
	if a == nil || a.next.IsZero() {
		return latest
	}
	at := a.this.Add(time.Duration(float64(a.next.Sub(a.this)) * (0.5 + 0.4*rand.Float64())))
	if at.After(latest) {
		at = latest
	}
	if least := now.Add(min(leastPause, s.opts.Refresh)); at.Before(least) {
		at = least
	}
	return at
}

// renew fetches anew what is due, if it was used since it was fetched.
func (s *Service) renew(ctx context.Context) {
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
		timer.Reset(s.renewDue(time.Now()))
	}
}

// renewDue schedules what is due and returns how long to wait for the next.
func (s *Service) renewDue(now time.Time) time.Duration {
	wait := time.Minute
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.done != nil || !e.pinned && !e.used.After(e.fetched) {
			continue
		}
		if !now.Before(e.due) {
			s.schedule(e)
		} else {
			wait = min(wait, e.due.Sub(now))
		}
	}
	return max(wait, briefly)
}
