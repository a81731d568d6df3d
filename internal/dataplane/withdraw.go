package dataplane

import (
	"context"
	"maps"
	"runtime/debug"
	"sync"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// withdrawals is what is known of connections that a change of trust has withdrawn.
type withdrawals struct {
	asked chan struct{} // holds one: something was committed since the last review began

	mu    sync.Mutex // guards total
	total map[string]int
}

func (w *withdrawals) init() {
	w.asked, w.total = make(chan struct{}, 1), map[string]int{}
}

// ask makes a review follow.
func (w *withdrawals) ask() {
	select {
	case w.asked <- struct{}{}:
	default:
	}
}

// runReviews judges the open connections after every commit, until ctx ends. The proxy ends those that
// are not admitted any more; requests on them do not wait for the review.
func (p *Plane) runReviews(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.review.asked:
			p.reviewOnce(ctx)
		}
	}
}

// reviewOnce is one review. A fault in it ends it and not the process: requests are judged without it.
func (p *Plane) reviewOnce(ctx context.Context) {
	defer func() {
		if fault := recover(); fault != nil {
			p.opts.Logger.Error("reviewing open connections failed", "err", fault, "stack", string(debug.Stack()))
		}
	}()
	for listener, n := range p.tls.Index().Review(ctx) {
		p.review.mu.Lock()
		p.review.total[listener] += n
		p.review.mu.Unlock()
		p.opts.Logger.Warn("open connections withdrawn, their clients would not be let in any more", "listener", listener,
			"connections", n, "code", diag.ClientCertWithdrawn.String())
	}
}

// Withdrawn returns, by listener, how many connections have been withdrawn since the start because their
// clients would not be let in any more (HK2304).
func (p *Plane) Withdrawn() map[string]int {
	p.review.mu.Lock()
	defer p.review.mu.Unlock()
	return maps.Clone(p.review.total)
}
