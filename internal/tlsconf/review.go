package tlsconf

import (
	"context"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Pace of a review: so many verifications, then a pause. With two ECDSA signatures each that is about
// a fifth of one core, and 10,000 different clients are through in 6 s.
const (
	reviewBurst = 32
	reviewPause = 20 * time.Millisecond
)

// Review judges every open connection under its listener's present Terminator (Session.Admits), at a
// pace that leaves the machine to requests: connections on which something happens judge themselves
// meanwhile. It returns, per listener, how many were found withdrawn (HK2304) since the last review,
// and ends early when ctx does. One review at a time.
func (x *Index) Review(ctx context.Context) map[string]int {
	found := map[string]int{}
	var pause *time.Timer
	burst := 0
	for _, s := range x.sessions() {
		t := s.present.Load()
		if t == nil {
			continue
		}
		code, verified := t.judgeSession(s)
		if (code == diag.ClientCertWithdrawn || code == diag.AccessWithdrawn) && s.told.CompareAndSwap(false, true) {
			found[t.listener.Name]++
		}
		if verified {
			burst++
		}
		if burst < reviewBurst {
			continue
		}
		burst = 0
		if pause == nil {
			pause = time.NewTimer(reviewPause)
			defer pause.Stop()
		} else {
			pause.Reset(reviewPause)
		}
		select {
		case <-ctx.Done():
			return found
		case <-pause.C:
		}
	}
	return found
}

// sessions returns those of the open connections.
func (x *Index) sessions() []*Session {
	var out []*Session
	for i := range x.shard {
		s := &x.shard[i]
		s.mu.Lock()
		for _, as := range s.conns {
			if as.session != nil {
				out = append(out, as.session)
			}
		}
		s.mu.Unlock()
	}
	return out
}
