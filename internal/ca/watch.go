package ca

import (
	"context"
	"crypto/x509"
	"time"
)

// watchEvery is how often Watch looks for what other processes have written.
const watchEvery = 500 * time.Millisecond

// Watch calls changed with all CAs of an authority at once when it is first seen, and whenever one of its
// certificates has been revoked or released or a CA was added since, by this process or another. It
// returns when ctx ends.
func (s *Service) Watch(ctx context.Context, changed func(cas []*x509.Certificate)) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	seen := map[string]int{}
	for {
		for _, a := range s.all() {
			state, cas := a.watched()
			if old, ok := seen[a.name]; !ok || old != state {
				seen[a.name] = state
				changed(cas)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watched returns a number that rises with what Watch tells, and the CAs. What cannot be read is as it was.
func (a *Authority) watched() (int, []*x509.Certificate) {
	_ = a.refresh() // Run tells of it
	a.mu.RLock()
	defer a.mu.RUnlock()
	cas := make([]*x509.Certificate, 0, len(a.idx.order))
	for _, id := range a.idx.order {
		cas = append(cas, a.idx.cas[id].cert)
	}
	return a.idx.standings + len(cas), cas
}
