package telemetry

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Sources are what metrics are read from when they are asked for. Nil functions give nothing. They are
// called concurrently.
type Sources struct {
	Version     string
	Connections func() map[string]int // open downstream connections by listener
	Withdrawn   func() map[string]int // downstream connections withdrawn since the start (HK2304), by listener
	Upstreams   func() []UpstreamCounters
	Config      func() ConfigState
	Overload    func() OverloadState
	HTTP2       func() []HTTP2State
	Expiries    func() []Expiry
	Faults      func() int64 // of ours, since the start, that ended a request or a connection
}

// ConfigState is what became of the configuration that was read last, whether or not it changed what
// serves.
type ConfigState struct {
	Findings map[Finding]int // how many of each
	Kept     int             // objects and secrets that are broken and serve in their last good version
	Reloaded time.Time       // when it was read; zero before the first time
	Success  bool            // nothing of it is broken or left out, and it was applied
}

// Finding is a kind of finding about the configuration.
type Finding struct {
	Severity diag.Severity
	Code     diag.Code
}

// UpstreamCounters are one endpoint's counters.
type UpstreamCounters struct {
	Upstream, Endpoint string
	Active, Open, Idle float64 // requests in progress; connections
	Requests           float64
	Connects           float64
	ConnectErrors      float64
	Overflows          float64 // of the whole upstream, the same for each of its endpoints
	RetryOverflows     float64 // likewise
	Multiplexed        float64 // HTTP/2 connections among Open
	Streams, Slots     float64 // requests in progress on them; what they can carry at once
	Cooling            bool    // passed over after failures
}

// Metrics counts what happens and exposes it (OpenMetrics). Labels hold names of the configuration and
// of the catalogue only, never what a client chose. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	routes   *routes
	snapshot atomic.Pointer[ir.Generation]

	handshakes *prometheus.CounterVec
	failures   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	applies    *prometheus.CounterVec
	retries    *prometheus.CounterVec
	policies   *prometheus.CounterVec
	tcp        *tcpMetrics
	dropped    atomic.Pointer[func() uint64]
}

// NewMetrics returns metrics that are registered nowhere else.
func NewMetrics(s Sources) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	rc := newRouteCollector()
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		routes:   rc.routes,
		handshakes: counter("hakone_tls_handshakes_total", "TLS handshakes that succeeded. For side upstream, listener is the upstream's name.",
			"listener", "side", "version", "cipher", "group", "resumed"),
		failures: counter("hakone_tls_handshake_failures_total", "TLS handshakes and connections refused, by reason (hakone explain CODE).", "listener", "side", "code"),
		refused:  counter("hakone_http_responses_refused_total", "Requests refused or failed, by reason (hakone explain CODE).", "listener", "code"),
		applies:  counter("hakone_config_applies_total", "Generations applied, by whether every listener took it.", "result"),
		retries:  counter("hakone_upstream_retries_total", "Requests sent again after a failed attempt.", "upstream"),
		policies: counter("hakone_policy_decisions_total", "Requests decided by policies on client certificates: allow, deny, or audit (let in, would have been denied), with the reason.", "policy", "verdict", "code"),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "hakone_build_info", Help: "The running release.", ConstLabels: prometheus.Labels{"version": s.Version}})
	info.Set(1)
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "hakone_access_log_dropped_total",
		Help: "Access log lines dropped because the destination was too slow or failed."}, func() float64 {
		if f := m.dropped.Load(); f != nil {
			return float64((*f)())
		}
		return 0
	})
	m.registry.MustRegister(rc, m.handshakes, m.failures, m.refused, m.applies, m.retries, m.policies, info, dropped, newStateCollector(m, s), newOverloadCollector(s), newExpiryCollector(s),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.tcp = newTCPMetrics(m.registry)
	return m
}

// Handler answers /metrics in OpenMetrics, and in Prometheus's older text to those who ask for it.
func (m *Metrics) Handler() http.Handler {
	negotiating := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Get("Accept"); accept == "" || accept == "*/*" {
			r = r.Clone(r.Context())
			r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
		}
		negotiating.ServeHTTP(w, r)
	})
}

// Route returns the counters of a route. Equal names give the same counters, in any snapshot. It is
// meant for compiling a snapshot, not for requests.
func (m *Metrics) Route(listener, host, route string) *RouteMetrics {
	return m.routes.get(listener, host, route)
}

// Applied is told of the generation that serves now: its revision and certificates are exposed, and
// counters of routes that it has not are forgotten.
func (m *Metrics) Applied(g *ir.Generation, results []ir.ListenerResult) {
	result := "ok"
	for i := range results {
		if results[i].Code != 0 {
			result = "partial"
		}
	}
	m.applies.WithLabelValues(result).Inc()
	old := m.snapshot.Swap(g)
	if old != nil && old.Snapshot.Config == g.Snapshot.Config {
		return
	}
	m.routes.retain(g.Snapshot.Config)
	if old == nil {
		return
	}
	m.forgetPolicies(old.Snapshot.Config, g.Snapshot.Config)
	gone := map[string]bool{}
	for _, u := range old.Snapshot.Config.Upstreams {
		gone[u.Name] = true
	}
	for _, u := range g.Snapshot.Config.Upstreams {
		delete(gone, u.Name)
	}
	for name := range gone {
		m.retries.DeleteLabelValues(name)
	}
}

// forgetPolicies drops the counters of policies that the next configuration has not.
func (m *Metrics) forgetPolicies(old, next *ir.Config) {
	live := map[string]bool{}
	for _, p := range next.AccessPolicies {
		live[p.Name] = true
	}
	for _, p := range old.AccessPolicies {
		if !live[p.Name] {
			m.policies.DeletePartialMatch(prometheus.Labels{"policy": p.Name})
		}
	}
}

func (m *Metrics) handshake(h *Handshake, n *names) {
	if h.Code != 0 {
		m.failures.WithLabelValues(h.Listener, string(h.Side), h.Code.String()).Inc()
		return
	}
	m.handshakes.WithLabelValues(h.Listener, string(h.Side), n.version(h.Version), n.suite(h.Suite), n.group(h.Group), strconv.FormatBool(h.Resumed)).Inc()
}

func (m *Metrics) access(a *Access) {
	if a.Proto == ProtoTCP {
		m.tcp.count(a)
		return
	}
	r := a.Metrics
	if r == nil {
		r = m.routes.get(a.Listener, others, others)
	}
	r.observe(a.Status, a.Duration)
	if a.GRPC {
		r.grpc[grpcIndex(a.GRPCStatus)].Add(1)
	}
	if a.Attempts > 1 && a.Upstream != "" {
		m.retries.WithLabelValues(a.Upstream).Add(float64(a.Attempts - 1))
	}
	if a.Policy != "" {
		m.policies.WithLabelValues(a.Policy, a.PolicyVerdict, a.PolicyCode.String()).Inc()
	}
	if a.Code != 0 {
		m.refused.WithLabelValues(a.Listener, a.Code.String()).Inc()
	}
}
