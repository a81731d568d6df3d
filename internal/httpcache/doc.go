// Package httpcache keeps answers and says when they may be used again (RFC 9111), as a shared or a private
// cache: what may be stored, how long it is fresh, whom it is for (Vary), how it is validated, what
// invalidates it, and what waits for what while an answer is on its way (collapsed forwarding).
//
// It holds heads and bodies in memory within a bound, knows no socket and no goroutine, and is asked by
// package proxy:
//
//	set := httpcache.NewSet(httpcache.Options{})
//	c := set.Open(cfg)             // of one name there is one store, whoever opens it
//	out := c.Lookup(&query, now)   // Hit, Wait, Fetch, Pass or Unsatisfied
//	out.Fill.Received(...)         // the answer's head: stored, fresh again, or to be passed on alone
//
// A hit takes one lock shared by 1/16 of the URLs, and copies neither head nor body. Begin reading at
// Cache.Lookup (lookup.go), then fill.go, freshness.go and store.go.
package httpcache
