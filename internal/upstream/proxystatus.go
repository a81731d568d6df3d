package upstream

import (
	"maps"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// ProxyStatus tells how an UpstreamProxy is.
type ProxyStatus struct {
	Name      string               `json:"name"`
	Direct    bool                 `json:"direct,omitempty"` // connects directly without a healthy address
	Intercept bool                 `json:"intercept,omitempty"`
	Code      diag.Code            `json:"code,omitempty"` // why nothing goes through it, whatever its health
	Detail    string               `json:"detail,omitempty"`
	Addresses []ProxyAddressStatus `json:"addresses"`
}

// ProxyAddressStatus tells how one address of a proxy is.
type ProxyAddressStatus struct {
	Address  string              `json:"address"`
	TLS      bool                `json:"tls,omitempty"`
	Healthy  bool                `json:"healthy"`
	Code     diag.Code           `json:"code,omitempty"` // why it is out, or of the last failure since the last success
	Detail   string              `json:"detail,omitempty"`
	Until    *time.Time          `json:"until,omitempty"`  // it is asked again then; nil: at once, or when a probe passes
	Probed   *time.Time          `json:"probed,omitempty"` // the last probe
	Open     int32               `json:"open"`             // tunnels
	Connects int64               `json:"connects"`         // answered well
	Failures map[diag.Code]int64 `json:"failures,omitempty"`
	Took     Histogram           `json:"took"` // until the answer to CONNECT, in seconds
}

// Histogram is a distribution of times.
type Histogram struct {
	Bounds []float64 `json:"bounds"` // upper, in seconds
	Counts []int64   `json:"counts"` // cumulative, one a bound
	Count  int64     `json:"count"`
	Sum    float64   `json:"sum"`
}

// histogram counts times. It is guarded by its owner's mutex.
type histogram struct {
	counts [8]int64
	count  int64
	sum    float64
}

func connectBounds() [8]float64 { return [8]float64{0.005, 0.02, 0.05, 0.1, 0.25, 1, 2.5, 10} }

func (h *histogram) observe(d time.Duration) {
	s := d.Seconds()
	h.count++
	h.sum += s
	for i, b := range connectBounds() {
		if s <= b {
			h.counts[i]++
		}
	}
}

// Proxies tells how the upstream proxies are, ordered by name.
func (r *Registry) Proxies() []ProxyStatus {
	all := r.proxyMap()
	now := time.Now()
	out := make([]ProxyStatus, 0, len(all))
	for _, name := range r.proxyNames() {
		s := all[name].at.Load()
		st := ProxyStatus{Name: name, Direct: s.Settings.Direct, Intercept: s.Settings.Interception != "", Addresses: []ProxyAddressStatus{}}
		if e := s.refusal(); e != nil {
			st.Code, st.Detail = e.Code, e.Detail
		}
		for _, a := range s.addrs {
			st.Addresses = append(st.Addresses, a.status(now))
		}
		out = append(out, st)
	}
	return out
}

func (a *proxyAddress) status(now time.Time) ProxyAddressStatus {
	s := ProxyAddressStatus{Address: a.text, TLS: a.TLS, Healthy: a.healthy(now.UnixNano()), Open: a.open.Load(), Connects: a.connects.Load()}
	a.mu.Lock()
	s.Failures = maps.Clone(a.results)
	bounds := connectBounds()
	counts := a.took.counts
	s.Took = Histogram{Bounds: bounds[:], Counts: counts[:], Count: a.took.count, Sum: a.took.sum}
	a.mu.Unlock()
	if c := a.cause.Load(); c != nil {
		s.Code, s.Detail = c.code, c.detail
	}
	if v := a.verdict.Load(); v != nil {
		s.Probed = &v.checked
		if !v.up {
			s.Code, s.Detail = v.code, v.detail+" (probe)"
		}
	}
	if until := a.out.Load(); until > now.UnixNano() {
		t := time.Unix(0, until)
		s.Until = &t
	}
	return s
}
