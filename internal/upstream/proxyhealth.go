package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Health of one address of a proxy. It is out while probes say so, and for a while after it failed a
// connection: the first time for proxyOutMin, each further one twice as long.
const (
	proxyOutMin = time.Second
	proxyOutMax = 30 * time.Second

	// softRow is how many answers in a row may be late or missing: one slow destination must not take the proxy
	// from all others.
	softRow = 3

	// proxyTrial is for how long others pass an address over that one connection is trying again.
	proxyTrial = 3 * time.Second

	// refusalLag is how long nothing more is logged of a proxy that refuses everything.
	refusalLag = time.Minute

	// nameFresh is how long the addresses of a proxy's name are used without asking again.
	nameFresh = 30 * time.Second
)

// proxyAddress is one address of a proxy with its health.
type proxyAddress struct {
	// Fixed after construction.
	ir.ProxyAddress
	proxy *forwardProxy
	text  string // host:port

	open     atomic.Int32
	connects atomic.Int64 // that CONNECT was answered well
	out      atomic.Int64 // passed over until then, Unix nanoseconds; 0: it is not
	verdict  atomic.Pointer[verdict]
	cause    atomic.Pointer[proxyCause] // of the last failure; nil after a success

	mu      sync.Mutex
	row     int       // failures in a row that took it out
	struck  time.Time // when the last of them did
	soft    int       // of the others
	results map[diag.Code]int64
	took    histogram
	probe   *proxyProbe // nil: none runs
	refused time.Time   // when it was logged that it refuses all

	naming sync.Mutex // one lookup at a time
	names  atomic.Pointer[naming]
}

type proxyCause struct {
	code   diag.Code
	detail string
	at     time.Time
}

// naming is an answer of DNS.
type naming struct {
	addrs []netip.Addr
	at    time.Time
}

func newProxyAddress(p *forwardProxy, s ir.ProxyAddress) *proxyAddress {
	return &proxyAddress{ProxyAddress: s, proxy: p, text: hostname.WithPort(s.Host, s.Port), results: make(map[diag.Code]int64)}
}

// admit reports whether a connection may try the address at now, in Unix nanoseconds. Of those that ask when
// its time out is over, one may.
func (a *proxyAddress) admit(now int64) bool {
	if v := a.verdict.Load(); v != nil && !v.up {
		return false
	}
	until := a.out.Load()
	return until == 0 || now >= until && a.out.CompareAndSwap(until, now+int64(proxyTrial))
}

// healthy is admit for those who only look.
func (a *proxyAddress) healthy(now int64) bool {
	if v := a.verdict.Load(); v != nil && !v.up {
		return false
	}
	return now >= a.out.Load()
}

// why says why the address is out and for how long at most; 0 while a probe has to pass first.
func (a *proxyAddress) why(now int64) (diag.Code, string, time.Duration) {
	if v := a.verdict.Load(); v != nil && !v.up {
		return v.code, v.detail + " (probe)", 0
	}
	wait := max(time.Duration(a.out.Load()-now), 0)
	if c := a.cause.Load(); c != nil {
		return c.code, c.detail, wait
	}
	return diag.ProxyUnavailable, "another connection is trying " + a.text + " again", wait
}

// forgive ends a time out: the settings that may have been the cause are others now.
func (a *proxyAddress) forgive() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.row, a.soft = 0, 0
	a.out.Store(0)
	a.cause.Store(nil)
	a.names.Store(nil)
}

// hard reports whether a failure shows that the address is of no use to any connection.
func hard(c diag.Code) bool {
	switch c {
	case diag.ProxyUnreachable, diag.ProxyNotHTTP, diag.ProxySpeaksPlaintext, diag.ProxySpeaksTLS, diag.ProxyUntrusted:
		return true
	}
	return false
}

// refusesAll reports whether an answer is hardly about one destination: somebody has to mend the settings.
func refusesAll(c diag.Code) bool {
	return c == diag.ProxyAuthRequired || c == diag.ProxyRejectedRequest || c == diag.ProxyOtherAnswer
}

// otherAddress reports whether another address of the proxy may do better: its answers about a destination or a
// login are the same everywhere.
func otherAddress(c diag.Code) bool {
	return hard(c) || c == diag.ProxyTimeout || c == diag.ProxyClosed
}

// failed takes what came of a connection that the address was tried for.
func (a *proxyAddress) failed(e *Error, established bool) {
	now := time.Now()
	a.mu.Lock()
	a.results[e.Code]++
	var out time.Duration
	switch {
	case !otherAddress(e.Code): // it answered: it is alive
		a.back()
	case hard(e.Code) || !established:
		out = a.strike(now)
	default:
		if a.soft++; a.soft >= softRow {
			out = a.strike(now)
		} else if a.out.Load() != 0 && a.row > 0 { // the trial came to nothing
			out = a.strike(now)
		}
	}
	a.cause.Store(&proxyCause{code: e.Code, detail: e.Detail, at: now})
	row := a.row
	tell := refusesAll(e.Code) && now.Sub(a.refused) >= refusalLag
	if tell {
		a.refused = now
	}
	a.mu.Unlock()
	if tell {
		a.proxy.registry.opt.Logger.Warn("upstream proxy refuses connections", "proxy", a.proxy.name, "address", a.text, "code", e.Code, "reason", e.Code.Slug(), "err", e.Error())
	}
	if out > 0 {
		a.retryAfter(out)
	}
	if out > 0 && row == 1 {
		a.proxy.registry.opt.Logger.Warn("address of an upstream proxy is out", "proxy", a.proxy.name, "address", a.text, "code", e.Code, "reason", e.Code.Slug(), "err", e.Error(), "dur", out)
	}
}

// strike takes the address out; mu is held. Connections that fail together are one failure. It returns 0 for those after
// the first.
func (a *proxyAddress) strike(now time.Time) time.Duration {
	if a.row > 0 && now.Sub(a.struck) < proxyOutMin {
		return 0
	}
	a.struck = now
	out := min(proxyOutMin<<min(a.row, 10), proxyOutMax)
	a.row++
	a.out.Store(now.Add(out).UnixNano())
	return out
}

// back brings the address in again and says whether it had been out; mu is held.
func (a *proxyAddress) back() bool {
	was := a.row > 0
	a.row, a.soft = 0, 0
	a.out.Store(0)
	return was
}

// worked takes a connection that came about.
func (a *proxyAddress) worked(took time.Duration) {
	a.mu.Lock()
	was := a.back()
	a.took.observe(took)
	a.mu.Unlock()
	a.connects.Add(1)
	if a.cause.Load() != nil {
		a.cause.Store(nil)
	}
	if was {
		a.told()
	}
}

// told says that an address is in again. Connections that stood in for those through it, direct ones or through another
// address, are not used any more.
func (a *proxyAddress) told() {
	a.proxy.registry.opt.Logger.Info("address of an upstream proxy is back", "proxy", a.proxy.name, "address", a.text)
	if s := a.proxy.at.Load(); s.Settings.Direct || len(s.addrs) > 1 {
		a.proxy.renew()
	}
}

func (p *forwardProxy) renew() {
	p.registry.renewVia(func(name string) bool { return name == p.name })
}

// retryAfter lets a request try the address when its time out is over. Where nothing probes it, direct connections that
// are kept alive would stand in for it for as long as they are used: they are not used any more then.
func (a *proxyAddress) retryAfter(out time.Duration) {
	s := a.proxy.at.Load()
	if !s.Settings.Direct || s.Settings.Probe != nil {
		return
	}
	a.proxy.registry.spawn(func() {
		t := time.NewTimer(out)
		defer t.Stop()
		select {
		case <-a.proxy.registry.ctx.Done():
		case <-t.C:
			if a.out.Load() != 0 {
				a.proxy.renew()
			}
		}
	})
}

// resolve returns the IP addresses behind the address. An answer that is older is used while there is no other.
func (a *proxyAddress) resolve(ctx context.Context) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(a.Host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	last := a.names.Load()
	if last != nil && time.Since(last.at) < nameFresh {
		return last.addrs, nil
	}
	if !a.naming.TryLock() {
		if last != nil {
			return last.addrs, nil
		}
		return a.proxy.registry.resolve(ctx, a.Host)
	}
	defer a.naming.Unlock()
	addrs, err := a.proxy.registry.resolve(ctx, a.Host)
	switch {
	case err == nil:
		a.names.Store(&naming{addrs: addrs, at: time.Now()})
		return addrs, nil
	case last != nil:
		a.names.Store(&naming{addrs: last.addrs, at: time.Now()})
		return last.addrs, nil
	}
	return nil, err
}

// proxyProbe asks one address how it is.
type proxyProbe struct {
	addr   *proxyAddress
	at     atomic.Pointer[proxyState]
	cancel context.CancelFunc
	row    int // results in a row that speak against the verdict
}

// plan begins, changes or ends the probing of an address.
func (a *proxyAddress) plan(s *proxyState) {
	want := s.Settings.Probe
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.probe; p != nil {
		if want != nil && reflect.DeepEqual(p.at.Load().Settings.Probe, want) {
			p.at.Store(s)
			return
		}
		p.cancel()
		a.probe = nil
		a.verdict.Store(nil)
	}
	if want == nil {
		return
	}
	p := &proxyProbe{addr: a}
	p.at.Store(s)
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(a.proxy.registry.ctx)
	if !a.proxy.registry.spawn(func() { p.run(ctx) }) {
		p.cancel()
		return
	}
	a.probe = p
}

func (a *proxyAddress) stopProbing() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.probe != nil {
		a.probe.cancel()
		a.probe = nil
	}
}

// run probes at once and then at the interval, give or take a tenth, until ctx ends.
func (p *proxyProbe) run(ctx context.Context) {
	r := p.addr.proxy.registry
	for {
		s := p.at.Load()
		r.guarded(func() {
			bounded, cancel := context.WithTimeout(ctx, first(s.Settings.Probe.Timeout, checkTimeout))
			defer cancel()
			began := time.Now()
			err := r.probe(bounded, s, p.addr)
			if ctx.Err() == nil {
				p.judge(s, err, time.Since(began))
			}
		})
		every := max(first(s.Settings.Probe.Interval, refreshEvery), time.Second)
		t := time.NewTimer(every - every/10 + rand.N(every/5))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// judge takes the result of a probe. The first success is believed at once.
func (p *proxyProbe) judge(s *proxyState, err *Error, took time.Duration) {
	a, now := p.addr, time.Now()
	old := a.verdict.Load()
	next := verdict{up: true, since: now}
	if old != nil {
		next = *old
	}
	next.checked, next.rtt, next.last, next.words = now, took, 0, ""
	if err != nil {
		next.last, next.words = err.Code, err.Error()
	}
	turned := false
	if up := err == nil; up == next.up {
		p.row = 0
		next.code, next.detail = next.last, next.words
	} else {
		need := s.Settings.Probe.Down
		if need == 0 {
			need = 2
		}
		if up {
			need = s.Settings.Probe.Up
		}
		if p.row++; p.row >= max(need, 1) {
			turned, p.row = true, 0
			next.up, next.since, next.code, next.detail = up, now, next.last, next.words
		}
	}
	a.verdict.Store(&next)
	switch {
	case turned && next.up:
		a.forgive()
		a.told()
	case err == nil && next.up: // out only because connections failed, and no request may ever try it again
		a.mu.Lock()
		was := a.back()
		a.mu.Unlock()
		if was {
			a.cause.Store(nil)
			a.told()
		}
	case turned:
		a.proxy.registry.opt.Logger.Warn("address of an upstream proxy is out", "proxy", a.proxy.name, "address", a.text, "code", err.Code, "reason", err.Code.Slug(), "err", "probe: "+err.Error())
	}
}

// probe asks an address for the probe's target and, where there is material for it, for TLS with that.
func (r *Registry) probe(ctx context.Context, s *proxyState, a *proxyAddress) *Error {
	to := s.Settings.Probe
	l, _, err := r.tunnel(ctx, candidate{s, a}, asked{host: to.Host, port: to.Port}, false)
	if err != nil {
		return err
	}
	defer l.close()
	if s.Probe == nil {
		return nil
	}
	secured, rec := handshakeVia(ctx, s.Probe, l.conn, s.Settings.Name, to.Host, ir.UpstreamHTTP1)
	rec.Proxy = s.Settings.Name
	if r.opt.Sink != nil {
		r.opt.Sink.Handshake(rec)
	}
	if secured == nil {
		return &Error{Code: rec.Code, Detail: fmt.Sprintf("%s, through %s: %s", hostname.WithPort(to.Host, to.Port), a.text, rec.Detail)}
	}
	return nil
}
