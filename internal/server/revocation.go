package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/revocation"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Revocation says how answers about revoked certificates are fetched and stapled. Policies say whether
// they are asked for.
type Revocation struct {
	Dir       string        // where answers are kept over restarts; empty: nowhere
	Wait      time.Duration // how long a handshake or request waits where a policy is hard; 0: 3 s
	Refresh   time.Duration // after which an answer in use is renewed, however long it is valid; 0: 1 h
	Addresses string        // which addresses may be asked: all (or empty), public
	Stapling  string        // on (or empty), off
}

// revoker is the revocation of a process.
type revoker struct {
	service  *revocation.Service
	stapling *revocation.Stapling // nil if it is off
}

// newRevoker makes what the settings say; nothing runs yet.
func newRevoker(cfg *Config) (*revoker, error) {
	c := cfg.Revocation
	switch c.Addresses {
	case "", "all", "public":
	default:
		return nil, &ConfigError{fmt.Sprintf("--revocation-addresses %q is no choice", c.Addresses), "", "use all or public"}
	}
	switch c.Stapling {
	case "", "on", "off":
	default:
		return nil, &ConfigError{fmt.Sprintf("--ocsp-stapling %q is no choice", c.Stapling), "", "use on or off"}
	}
	s, err := revocation.New(revocation.Options{Dir: c.Dir, Wait: c.Wait, Refresh: c.Refresh, Public: c.Addresses == "public", Logger: cfg.Logger})
	if err != nil {
		return nil, &ConfigError{"the revocation cache cannot be used", err.Error(), "correct --revocation-cache, or make it a directory that this process may write to"}
	}
	r := &revoker{service: s}
	if c.Stapling != "off" {
		r.stapling = revocation.NewStapling(s)
	}
	return r, nil
}

// start runs it until ctx ends; wg waits for the end.
func (r *revoker) start(ctx context.Context, wg *sync.WaitGroup) {
	wg.Go(func() { _ = r.service.Run(ctx) })
	if r.stapling != nil {
		wg.Go(func() { _ = r.stapling.Run(ctx) })
	}
}

// ill says what of our own certificates clients cannot rely on, "" if nothing: one is revoked, or
// demands a staple that cannot be had.
func (r *revoker) ill() string {
	if r.stapling == nil {
		return ""
	}
	detail, bad := "", 0
	for _, st := range r.stapling.State() {
		if st.Code != diag.OwnCertRevoked && st.Code != diag.StapleMissing {
			continue
		}
		if bad++; detail == "" || st.Code == diag.OwnCertRevoked {
			detail = fmt.Sprintf("%s %s: %s", st.Code, st.Subject, st.Detail)
		}
	}
	if bad > 1 {
		detail = fmt.Sprintf("%s, and %d more", detail, bad-1)
	}
	return detail
}

// state is what metrics tell.
func (r *revoker) state() telemetry.RevocationState {
	s := r.service.State()
	out := telemetry.RevocationState{Fetches: map[[2]string]uint64{}, Kinds: map[string]telemetry.RevocationKind{}, Staples: map[string]int{}}
	for k, n := range s.Fetches {
		out.Fetches[[2]string{k.Kind, k.Result}] = n
	}
	for kind, k := range s.Kinds {
		out.Kinds[kind] = telemetry.RevocationKind{Answers: k.Answers, Failing: k.Failing, Oldest: k.Oldest, Bytes: k.Bytes}
	}
	if r.stapling != nil {
		for _, name := range []string{revocation.StapleGood, revocation.StaplePending, revocation.StapleUnavailable, revocation.StapleRevoked, revocation.StapleNoResponder} {
			out.Staples[name] = 0
		}
		for _, st := range r.stapling.State() {
			out.Staples[st.State]++
			if st.Code == diag.StapleMissing {
				out.MustMissing++
			}
		}
	}
	return out
}
