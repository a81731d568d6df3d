// Package revocation finds out at run time whether certificates of peers are revoked, from what they
// name: it fetches revocation lists from distribution points (RFC 5280 section 4.2.1.13) and asks OCSP
// responders (RFC 6960). It keeps the same answers for stapling to the certificates that listeners serve.
//
// Answers are verified when they come, from the network as from disk, kept in bounded memory, and renewed
// in the background before they end. Who asks softly never waits; who asks hard waits for a bounded time.
// However many ask, one question is fetched once at a time, by a fixed number of workers, and failures are
// remembered.
//
// The package refuses to know who is let in: that is package trust's, which asks it through
// trust.Online, and only about certificates whose chain verifies. Begin reading at Service.Check, then
// entry.go for the life of an answer and fetch.go for what may be asked for. DESIGN.md has the reasons.
package revocation

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// Defaults of Options.
const (
	DefaultWait    = 3 * time.Second
	DefaultRefresh = time.Hour
)

// Options are a Service's settings. Zero values mean the defaults named here.
type Options struct {
	Dir     string        // where answers are kept over restarts; "": nowhere. It is created with mode 0700.
	Wait    time.Duration // how long Check waits where asked hard; 3 s
	Refresh time.Duration // after which an answer that is in use is renewed, however long it is valid; 1 h
	Public  bool          // only public addresses are asked

	Workers    int   // fetches at once, less than half of them from one host; 16
	MaxEntries int   // answers in memory; 20,000
	MaxBytes   int64 // of all lists in memory, as DER; 256 MiB
	MaxList    int64 // of one list; 32 MiB

	Transport http.RoundTripper // instead of one over TCP, for tests
	Logger    *slog.Logger
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&o.Wait, DefaultWait)
	set(&o.Refresh, DefaultRefresh)
	if o.Workers <= 0 {
		o.Workers = 16
	}
	if o.MaxEntries <= 0 {
		o.MaxEntries = 20_000
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 256 << 20
	}
	if o.MaxList <= 0 {
		o.MaxList = 32 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

const (
	// maxWaiting bounds the questions that wait for a worker.
	maxWaiting = 1024
	// maxPerHost bounds the fetches from one host in progress, and the connections to it.
	maxPerHost = 4
)

// Service answers trust.Online. Create it with New; Run drives it. It is safe for concurrent use.
type Service struct {
	// Fixed after construction.
	opts   Options
	client *http.Client
	disk   *disk         // nil without a directory
	ended  chan struct{} // closed when Run ends, with mu held
	wake   chan struct{} // the renewal looks again
	counts counts

	mu      sync.Mutex // guards what follows, and the entries
	entries map[key]*entry
	order   *list.List                 // of *entry, the one used last first
	bytes   int64                      // of lists held
	own     map[[sha256.Size]byte]bool // SHA-256 of the public keys of issuers that Forget was told of
	turns   turns                      // what waits for a worker
	turn    *sync.Cond                 // of mu: a worker may find something in turns, or Run ends
	pinned  func()                     // an answer to a pinned question has changed; may be nil
}

// New returns a Service. The error is about Options.Dir.
func New(opts Options) (*Service, error) {
	s := &Service{opts: opts.withDefaults(), ended: make(chan struct{}), wake: make(chan struct{}, 1),
		entries: map[key]*entry{}, order: list.New(), own: map[[sha256.Size]byte]bool{}}
	s.turns, s.turn = newTurns(s.opts.Workers), sync.NewCond(&s.mu)
	s.client = newClient(s.opts)
	if opts.Dir != "" {
		d, err := openDisk(opts.Dir)
		if err != nil {
			return nil, fmt.Errorf("use %s for answers about revocation: %w", opts.Dir, err)
		}
		s.disk = d
	}
	return s, nil
}

// Run fetches and renews until ctx ends; it returns when nothing is in progress any more. Call it once.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range s.opts.Workers {
		wg.Go(func() { s.work(ctx) })
	}
	wg.Go(func() { s.renew(ctx) })
	<-ctx.Done()
	s.mu.Lock()
	close(s.ended)
	s.turn.Broadcast()
	s.mu.Unlock()
	wg.Wait()
	s.client.CloseIdleConnections()
	return nil
}

// Check implements trust.Online.
func (s *Service) Check(cert, issuer *x509.Certificate, how ir.Revocation, now time.Time) trust.Finding {
	var asked []question
	var why []string
	if how.OCSP {
		if q, err := askResponder(cert, issuer); err == nil {
			asked = append(asked, q)
		} else {
			why = append(why, err.Error())
		}
	}
	if how.FetchCRL {
		if q, err := askList(cert, issuer); err == nil {
			asked = append(asked, q)
		} else {
			why = append(why, err.Error())
		}
	}
	if len(asked) == 0 {
		return trust.Finding{Detail: strings.Join(why, ", and "), Until: now.Add(s.opts.Refresh)}
	}
	f, pending := s.look(asked, cert, how.Hard, now)
	if !how.Hard || f.Standing != trust.Unknown || pending[0] == nil && pending[1] == nil {
		return f
	}
	timer := time.NewTimer(s.opts.Wait)
	defer timer.Stop()
	for f.Standing == trust.Unknown && (pending[0] != nil || pending[1] != nil) {
		select {
		case <-pending[0]:
		case <-pending[1]:
		case <-s.ended:
			return f
		case <-timer.C:
			f.Detail = fmt.Sprintf("%s (waited %v)", f.Detail, s.opts.Wait)
			return f
		}
		f, pending = s.look(asked, cert, true, now)
	}
	return f
}

// look answers from what is there, the first question that is decided first, and has fetched what is
// missing. The channels are closed when fetches end that are in progress. Unless eager, a question is
// put only if those before it have come to nothing.
func (s *Service) look(asked []question, cert *x509.Certificate, eager bool, now time.Time) (trust.Finding, [2]chan struct{}) {
	var pending [2]chan struct{}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all trust.Finding
	for i, q := range asked {
		e := s.entry(q)
		f := e.finding(cert, now)
		if f.Standing == trust.Unknown || !now.Before(e.due) {
			s.schedule(e)
		}
		if f.Standing == trust.Unknown && e.done == nil {
			f = e.finding(cert, now) // it may have been refused just now
		}
		s.bound(e, &f, eager, now)
		if f.Standing != trust.Unknown {
			return f, pending
		}
		if pending[i] = e.done; e.done != nil {
			f.Until = now.Add(briefly)
		}
		all = joined(all, f, i == 0)
		if e.done != nil && !eager {
			break
		}
	}
	return all, pending
}

// joined makes one of two findings that know nothing.
func joined(a, b trust.Finding, first bool) trust.Finding {
	if first {
		return b
	}
	if !a.Invalid && b.Invalid {
		a.Invalid, a.OCSP = true, b.OCSP
	}
	a.Detail += ", and " + b.Detail
	if b.Until.Before(a.Until) {
		a.Until = b.Until
	}
	return a
}

// issuerOf names an issuer for people.
func issuerOf(q question) string { return secret.Subject(q.issuer) }
