package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// maxCertificates bounds how many certificate and host pairs are exposed.
const maxCertificates = 20000

// stateCollector exposes what is rather than what happened: revisions, certificates, connections,
// upstreams.
type stateCollector struct {
	metrics *Metrics
	sources Sources

	info, epoch, notAfter, connections           *prometheus.Desc
	withdrawn, faults                            *prometheus.Desc
	active, open, idle, cooling                  *prometheus.Desc
	requests, connects, connectErrors, overflows *prometheus.Desc
	retryOverflows, multiplexed, streams, slots  *prometheus.Desc
	diagnostics, kept, reloaded, success         *prometheus.Desc
}

func newStateCollector(m *Metrics, s Sources) *stateCollector {
	desc := prometheus.NewDesc
	endpoint := []string{"upstream", "endpoint"}
	return &stateCollector{
		metrics: m, sources: s,
		info:        desc("hakone_config_revision", "Always 1; the labels are the revisions that serve.", []string{"config", "endpoints", "secrets", "trust"}, nil),
		epoch:       desc("hakone_config_epoch", "Number of the generation that serves.", nil, nil),
		notAfter:    desc("hakone_certificate_not_after_timestamp_seconds", "When the certificate that a host serves expires.", []string{"secret", "host"}, nil),
		connections: desc("hakone_connections", "Open downstream connections.", []string{"listener"}, nil),
		withdrawn:   desc("hakone_connections_withdrawn_total", "Downstream connections whose client a change of CAs, revocation lists or settings would not let in any more (HK2304).", []string{"listener"}, nil),
		faults:      desc("hakone_faults_total", "Requests, connections and checks ended by a fault of Hakone itself; the log has each with its stack.", nil, nil),

		diagnostics: desc("hakone_config_diagnostics", "Findings about the configuration that was read last, by severity and code (hakone explain CODE).", []string{"severity", "code"}, nil),
		kept:        desc("hakone_config_objects_kept", "Objects and secrets that are broken and serve in their last good version; a restart would not serve them.", nil, nil),
		reloaded:    desc("hakone_config_last_reload_timestamp_seconds", "When the configuration was read last, whether or not it changed what serves.", nil, nil),
		success:     desc("hakone_config_last_reload_success", "1 if nothing of the configuration that was read last is broken or left out, and it was applied.", nil, nil),

		active:        desc("hakone_upstream_active_requests", "Requests in progress.", endpoint, nil),
		open:          desc("hakone_upstream_connections", "Open connections.", endpoint, nil),
		idle:          desc("hakone_upstream_idle_connections", "Connections kept for reuse.", endpoint, nil),
		cooling:       desc("hakone_upstream_cooling", "1 while the endpoint is passed over after failures.", endpoint, nil),
		requests:      desc("hakone_upstream_requests_total", "Requests sent.", endpoint, nil),
		connects:      desc("hakone_upstream_connects_total", "Connections made.", endpoint, nil),
		connectErrors: desc("hakone_upstream_connect_errors_total", "Connections that could not be made.", endpoint, nil),
		overflows:     desc("hakone_upstream_pool_overflows_total", "Requests refused because the pool was at its bound.", []string{"upstream"}, nil),

		retryOverflows: desc("hakone_upstream_retry_overflows_total", "Requests not sent again because maxRetries of the DestinationRule were in progress.", []string{"upstream"}, nil),
		multiplexed:    desc("hakone_upstream_http2_connections", "Open connections that speak HTTP/2.", endpoint, nil),
		streams:        desc("hakone_upstream_streams", "Streams in progress on them.", endpoint, nil),
		slots:          desc("hakone_upstream_stream_slots", "Streams that they can carry at once, as the endpoint and the settings allow.", endpoint, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.info, c.epoch, c.notAfter, c.connections, c.withdrawn, c.faults, c.active, c.open, c.idle, c.cooling,
		c.requests, c.connects, c.connectErrors, c.overflows, c.retryOverflows, c.multiplexed, c.streams, c.slots, c.diagnostics, c.kept, c.reloaded, c.success} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if g := c.metrics.snapshot.Load(); g != nil {
		s := g.Snapshot
		gauge(c.info, 1, string(s.Config.Revision), string(s.Endpoints.Revision), string(s.Secrets.Revision), string(s.Trust.Revision))
		gauge(c.epoch, float64(g.Epoch))
		for k, at := range expiries(s) {
			gauge(c.notAfter, at, k.secret, k.host)
		}
	}
	if c.sources.Config != nil {
		if s := c.sources.Config(); !s.Reloaded.IsZero() {
			for f, n := range s.Findings {
				gauge(c.diagnostics, float64(n), f.Severity.String(), f.Code.String())
			}
			gauge(c.kept, float64(s.Kept))
			gauge(c.reloaded, float64(s.Reloaded.UnixMilli())/1000)
			gauge(c.success, oneIf(s.Success))
		}
	}
	if c.sources.Connections != nil {
		for listener, n := range c.sources.Connections() {
			gauge(c.connections, float64(n), listener)
		}
	}
	if c.sources.Withdrawn != nil {
		for listener, n := range c.sources.Withdrawn() {
			ch <- prometheus.MustNewConstMetric(c.withdrawn, prometheus.CounterValue, float64(n), listener)
		}
	}
	if c.sources.Faults != nil {
		ch <- prometheus.MustNewConstMetric(c.faults, prometheus.CounterValue, float64(c.sources.Faults()))
	}
	if c.sources.Upstreams != nil {
		c.upstreams(ch, gauge)
	}
}

func (c *stateCollector) upstreams(ch chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string)) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	// Two generations of one upstream may hold the same endpoint for a while: their numbers add up.
	type key struct{ upstream, endpoint string }
	sum := map[key]*UpstreamCounters{}
	over, again := map[string]float64{}, map[string]float64{}
	for _, u := range c.sources.Upstreams() {
		over[u.Upstream] = max(over[u.Upstream], u.Overflows)
		again[u.Upstream] = max(again[u.Upstream], u.RetryOverflows)
		t := sum[key{u.Upstream, u.Endpoint}]
		if t == nil {
			sum[key{u.Upstream, u.Endpoint}] = &u
			continue
		}
		t.Active, t.Open, t.Idle = t.Active+u.Active, t.Open+u.Open, t.Idle+u.Idle
		t.Requests, t.Connects, t.ConnectErrors = t.Requests+u.Requests, t.Connects+u.Connects, t.ConnectErrors+u.ConnectErrors
		t.Multiplexed, t.Streams, t.Slots = t.Multiplexed+u.Multiplexed, t.Streams+u.Streams, t.Slots+u.Slots
		t.Cooling = t.Cooling && u.Cooling
	}
	for _, u := range sum {
		gauge(c.active, u.Active, u.Upstream, u.Endpoint)
		gauge(c.open, u.Open, u.Upstream, u.Endpoint)
		gauge(c.idle, u.Idle, u.Upstream, u.Endpoint)
		gauge(c.multiplexed, u.Multiplexed, u.Upstream, u.Endpoint)
		gauge(c.streams, u.Streams, u.Upstream, u.Endpoint)
		gauge(c.slots, u.Slots, u.Upstream, u.Endpoint)
		gauge(c.cooling, oneIf(u.Cooling), u.Upstream, u.Endpoint)
		counter(c.requests, u.Requests, u.Upstream, u.Endpoint)
		counter(c.connects, u.Connects, u.Upstream, u.Endpoint)
		counter(c.connectErrors, u.ConnectErrors, u.Upstream, u.Endpoint)
	}
	for name, n := range over {
		counter(c.overflows, n, name)
	}
	for name, n := range again {
		counter(c.retryOverflows, n, name)
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

type certificateKey struct{ secret, host string }

// expiries maps each served certificate and host to the end of its life, in Unix seconds.
func expiries(s *ir.Snapshot) map[certificateKey]float64 {
	out := map[certificateKey]float64{}
	for _, l := range s.Config.Listeners {
		for _, chain := range l.Chains {
			if chain.TLS == nil {
				continue
			}
			for _, ref := range chain.TLS.Certificates {
				at, ok := s.Secrets.ByRef[ref].NotAfter()
				if !ok {
					continue
				}
				for _, h := range chain.Hosts {
					if len(out) >= maxCertificates {
						return out
					}
					out[certificateKey{string(ref), h.String()}] = float64(at.Unix())
				}
			}
		}
	}
	return out
}
