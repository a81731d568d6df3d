// Package egress keeps a bounded ledger of the destinations outside: what forward proxies here decided about each,
// who issued the certificates that were shown, through which proxies, and what failed. A change of issuer, or of
// whether a proxy intercepts, is an alert that stands until it is acknowledged or its time is over.
//
// It is fed by telemetry.EgressEvent and refuses to know connections, configuration and how a reason was found.
// Begin reading at Ledger.Egress.
package egress

import (
	"cmp"
	"container/list"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Bounds: of hosts, of what is kept for each, and of alerts; of the bytes of a sentence that is kept.
const (
	maxHosts     = 8192
	maxDecisions = 16
	maxIssuers   = 16
	maxFailures  = 8
	maxAlerts    = 512
	maxText      = 600
	maxName      = 255
)

// DefaultKeep is how long an alert stands that nobody acknowledges.
const DefaultKeep = 7 * 24 * time.Hour

// Options are a Ledger's settings. The zero value works.
type Options struct {
	Logger *slog.Logger  // nil: discarded
	Keep   time.Duration // of alerts; 0: DefaultKeep
	Hosts  int           // most hosts kept; 0: 8192
}

// Ledger is what is known of the destinations outside. It implements telemetry.EgressSink and is safe for
// concurrent use.
type Ledger struct {
	opt Options

	mu     sync.Mutex
	hosts  map[string]*list.Element // of order, whose values are *Host
	order  *list.List               // the last seen first
	alerts []*Alert                 // the oldest first
	raised map[diag.Code]int64      // alerts ever
	lost   int64                    // hosts that had to make room
}

// Host is what is known of one destination.
type Host struct {
	Name      string     `json:"host"`
	Port      uint16     `json:"port"`
	First     time.Time  `json:"first"`
	Last      time.Time  `json:"last"`
	Decisions []Decision `json:"decisions,omitempty"` // here, the last first
	Issuers   []Issuer   `json:"issuers,omitempty"`   // seen, the last first
	Ways      []WaySeen  `json:"ways,omitempty"`      // the last first
	Failures  []Failure  `json:"failures,omitempty"`  // by code, the last first
	Alerts    int        `json:"alerts,omitempty"`    // that stand
}

// Decision is what forward proxies here did with clients' TLS.
type Decision struct {
	Decision string    `json:"decision"` // bump, splice, terminate
	Rule     string    `json:"rule,omitempty"`
	Count    int64     `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// Issuer is who signed a certificate that was shown for a host.
type Issuer struct {
	Issuer      string    `json:"issuer"`
	Key         string    `json:"key"` // EgressEvent.IssuerKey
	Subject     string    `json:"subject"`
	Proxy       string    `json:"proxy,omitempty"` // "": on direct connections
	Intercepted bool      `json:"intercepted,omitempty"`
	Verified    bool      `json:"verified"` // it was accepted the last time
	Count       int64     `json:"count"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
}

// WaySeen is a proxy, or "" for direct connections, by which a host was connected to.
type WaySeen struct {
	Proxy       string    `json:"proxy,omitempty"`
	Good        int64     `json:"good"`
	Failed      int64     `json:"failed"`
	Intercepted *bool     `json:"intercepted,omitempty"` // at the last verified TLS; nil: there was none
	Last        time.Time `json:"last"`
}

// Failure is why a host could not be had.
type Failure struct {
	Code   diag.Code `json:"code"`
	Slug   string    `json:"slug"`
	Proxy  string    `json:"proxy,omitempty"`
	Detail string    `json:"detail"`
	Fix    string    `json:"fix,omitempty"`
	Count  int64     `json:"count"`
	Last   time.Time `json:"last"`
}

// Alert is a change that somebody should look at.
type Alert struct {
	Code   diag.Code `json:"code"`
	Slug   string    `json:"slug"`
	Host   string    `json:"host"`
	Proxy  string    `json:"proxy,omitempty"`
	Detail string    `json:"detail"`
	Fix    string    `json:"fix,omitempty"`
	Count  int64     `json:"count"` // connections since
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`

	key string // issuer's; what makes alerts of one host and code equal
}

// New returns an empty ledger.
func New(opt Options) *Ledger {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Keep <= 0 {
		opt.Keep = DefaultKeep
	}
	if opt.Hosts <= 0 {
		opt.Hosts = maxHosts
	}
	return &Ledger{opt: opt, hosts: make(map[string]*list.Element), order: list.New(), raised: make(map[diag.Code]int64)}
}

// Egress takes what was learnt about a destination.
func (l *Ledger) Egress(e *telemetry.EgressEvent) {
	if e.Host == "" {
		return
	}
	var fresh []*Alert
	l.mu.Lock()
	h := l.host(e)
	if e.Decision != "" {
		h.decided(e)
	} else {
		fresh = l.met(h, e)
	}
	l.mu.Unlock()
	for _, a := range fresh {
		l.opt.Logger.Warn("egress alert", "code", a.Code, "reason", a.Slug, "host", a.Host, "proxy", a.Proxy, "err", a.Detail)
	}
}

// host returns the entry of an event's host, making it; mu is held.
func (l *Ledger) host(e *telemetry.EgressEvent) *Host {
	name := clip(strings.ToLower(e.Host), maxName)
	key := name + ":" + portText(e.Port)
	if at := l.hosts[key]; at != nil {
		h := at.Value.(*Host)
		h.Last = e.Time
		l.order.MoveToFront(at)
		return h
	}
	for l.order.Len() >= l.opt.Hosts {
		last := l.order.Back()
		old := l.order.Remove(last).(*Host)
		delete(l.hosts, old.Name+":"+portText(old.Port))
		l.lost++
	}
	h := &Host{Name: name, Port: e.Port, First: e.Time, Last: e.Time}
	l.hosts[key] = l.order.PushFront(h)
	return h
}

// decided takes a decision of a forward proxy here.
func (h *Host) decided(e *telemetry.EgressEvent) {
	rule := clip(e.Rule, maxText)
	d := front(&h.Decisions, maxDecisions, func(d *Decision) bool { return d.Decision == e.Decision && d.Rule == rule })
	if d.Count == 0 {
		*d = Decision{Decision: e.Decision, Rule: rule, First: e.Time}
	}
	d.Count, d.Last = d.Count+1, e.Time
	if e.Code != 0 {
		h.failed(e)
	}
}

// met takes what a connection met and returns the alerts that are new; mu is held.
func (l *Ledger) met(h *Host, e *telemetry.EgressEvent) (fresh []*Alert) {
	raise := func(a *Alert) {
		if a = l.raise(h, e, a); a != nil {
			fresh = append(fresh, a)
		}
	}
	way := front(&h.Ways, maxIssuers, func(w *WaySeen) bool { return w.Proxy == e.Proxy })
	way.Proxy, way.Last = e.Proxy, e.Time
	if e.Code != 0 {
		way.Failed++
		h.failed(e)
	} else {
		way.Good++
	}
	switch e.Code {
	case diag.InterceptionMissing:
		raise(&Alert{Code: diag.EgressNotIntercepted, Detail: e.Detail})
	case diag.UnexpectedInterception:
		raise(&Alert{Code: diag.EgressIntercepted, Detail: e.Detail})
	}
	if e.Issuer == "" {
		return fresh
	}
	if was := l.changed(h, e); was != nil {
		raise(&Alert{Code: diag.EgressIssuerChanged, key: e.IssuerKey, Detail: changeWords(was, e)})
	}
	if e.Code == 0 {
		if was := way.Intercepted; was != nil && *was != e.Intercepted {
			if e.Intercepted {
				raise(&Alert{Code: diag.EgressIntercepted, key: "now", Detail: "the proxy intercepts the host now; until now the host showed its own certificate"})
			} else {
				raise(&Alert{Code: diag.EgressNotIntercepted, key: "now", Detail: "the proxy does not intercept the host any more: it shows the certificate of " + quote(e.Issuer)})
			}
		}
		now := e.Intercepted
		way.Intercepted = &now
	}
	i := front(&h.Issuers, maxIssuers, func(i *Issuer) bool { return i.Key == e.IssuerKey && i.Proxy == e.Proxy })
	if i.Count == 0 {
		*i = Issuer{Issuer: clip(e.Issuer, maxText), Key: e.IssuerKey, Proxy: e.Proxy, First: e.Time}
	}
	i.Subject, i.Intercepted, i.Verified = clip(e.Subject, maxText), e.Intercepted, e.Code == 0
	i.Count, i.Last = i.Count+1, e.Time
	return fresh
}

// changed returns the issuer that was seen by the same way until now if that of an event is another one and was
// not seen before; else nil. Where nothing verifies, an issuer whose certificate was not found has only its name.
func (l *Ledger) changed(h *Host, e *telemetry.EgressEvent) *Issuer {
	var last *Issuer
	for n := range h.Issuers {
		i := &h.Issuers[n]
		if i.Proxy != e.Proxy {
			continue
		}
		if i.Key == e.IssuerKey || i.Issuer == clip(e.Issuer, maxText) && (e.Code != 0 || !i.Verified) {
			return nil
		}
		if last == nil {
			last = i
		}
	}
	return last
}

func changeWords(was *Issuer, e *telemetry.EgressEvent) string {
	s := "the certificate is issued by " + quote(e.Issuer) + " (key " + clip(e.IssuerKey, 16) + "), until now by " + quote(was.Issuer) + " (key " + clip(was.Key, 16) + ")"
	if e.Code != 0 {
		s += "; it was refused: " + e.Code.String() + " " + e.Code.Slug()
	}
	return s
}

// raise counts an alert and returns it if it is new; mu is held.
func (l *Ledger) raise(h *Host, e *telemetry.EgressEvent, a *Alert) *Alert {
	for _, old := range l.alerts {
		if old.Code == a.Code && old.Host == h.Name && old.Proxy == e.Proxy && old.key == a.key {
			old.Count, old.Last = old.Count+1, e.Time
			return nil
		}
	}
	if len(l.alerts) >= maxAlerts {
		l.alerts = slices.Delete(l.alerts, 0, 1)
	}
	a.Host, a.Proxy, a.Slug, a.Detail = h.Name, e.Proxy, a.Code.Slug(), clip(a.Detail, maxText)
	a.Count, a.First, a.Last = 1, e.Time, e.Time
	if entry, ok := diag.Lookup(a.Code); ok {
		a.Fix = entry.Fix
	}
	l.alerts = append(l.alerts, a)
	l.raised[a.Code]++
	return a
}

// failed counts a failure by its code and proxy.
func (h *Host) failed(e *telemetry.EgressEvent) {
	f := front(&h.Failures, maxFailures, func(f *Failure) bool { return f.Code == e.Code && f.Proxy == e.Proxy })
	f.Code, f.Slug, f.Proxy, f.Detail = e.Code, e.Code.Slug(), e.Proxy, clip(e.Detail, maxText)
	if entry, ok := diag.Lookup(e.Code); ok {
		f.Fix = entry.Fix
	}
	f.Count, f.Last = f.Count+1, e.Time
}

// front moves the item that is sought to the front of a bounded list, or puts a new one there.
func front[T any](items *[]T, most int, is func(*T) bool) *T {
	s := *items
	at := -1
	for i := range s {
		if is(&s[i]) {
			at = i
			break
		}
	}
	var item T
	switch {
	case at >= 0:
		item = s[at]
	case len(s) < most:
		s = append(s, item)
		at = len(s) - 1
	default:
		at = len(s) - 1 // the last seen longest ago makes room
	}
	copy(s[1:at+1], s[:at])
	s[0] = item
	*items = s
	return &s[0]
}

// Report is what the ledger tells.
type Report struct {
	Time   time.Time `json:"time"`
	Hosts  []Host    `json:"hosts"`  // ordered by name
	Alerts []Alert   `json:"alerts"` // the last first
	Lost   int64     `json:"lost"`   // hosts that had to make room
}

// Report tells everything, or of one host if name is not "".
func (l *Ledger) Report(name string, now time.Time) Report {
	name = strings.ToLower(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	r := Report{Time: now, Hosts: []Host{}, Alerts: []Alert{}, Lost: l.lost}
	open := make(map[string]int)
	for _, a := range slices.Backward(l.alerts) {
		open[a.Host]++
		if name == "" || a.Host == name {
			r.Alerts = append(r.Alerts, *a)
		}
	}
	for at := l.order.Front(); at != nil; at = at.Next() {
		h := *at.Value.(*Host)
		if name != "" && h.Name != name {
			continue
		}
		h.Decisions, h.Issuers, h.Ways, h.Failures = slices.Clone(h.Decisions), slices.Clone(h.Issuers), slices.Clone(h.Ways), slices.Clone(h.Failures)
		h.Alerts = open[h.Name]
		r.Hosts = append(r.Hosts, h)
	}
	slices.SortFunc(r.Hosts, func(a, b Host) int { return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port)) })
	return r
}

// Acknowledge ends the alerts of a host, or all if name is "", and returns how many there were. What was seen is
// what is expected from then on.
func (l *Ledger) Acknowledge(name string) int {
	name = strings.ToLower(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.alerts)
	l.alerts = slices.DeleteFunc(l.alerts, func(a *Alert) bool { return name == "" || a.Host == name })
	return before - len(l.alerts)
}

// expire ends alerts that are as old as they are kept; mu is held.
func (l *Ledger) expire(now time.Time) {
	l.alerts = slices.DeleteFunc(l.alerts, func(a *Alert) bool { return now.Sub(a.First) > l.opt.Keep })
}

// Counts are what metrics show.
type Counts struct {
	Hosts  int
	Open   map[diag.Code]int   // alerts that stand
	Raised map[diag.Code]int64 // alerts ever
}

// Counts returns what metrics show.
func (l *Ledger) Counts(now time.Time) Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now)
	c := Counts{Hosts: l.order.Len(), Open: make(map[diag.Code]int), Raised: make(map[diag.Code]int64)}
	for code, n := range l.raised {
		c.Raised[code], c.Open[code] = n, 0
	}
	for _, a := range l.alerts {
		c.Open[a.Code]++
	}
	return c
}
