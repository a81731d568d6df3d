package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// RevocationState is what was fetched about revoked certificates, and what is stapled.
type RevocationState struct {
	Fetches     map[[2]string]uint64 // since the start, by kind and result
	Kinds       map[string]RevocationKind
	Staples     map[string]int // certificates that are served, by state
	MustMissing int            // of those, the ones that demand a staple and have none
}

// RevocationKind is what is held of one kind: "crl" or "ocsp".
type RevocationKind struct {
	Answers int
	Failing int // whose last fetch failed
	Oldest  time.Duration
	Bytes   int64
}

// WatchRevocation exposes what state returns whenever metrics are asked for. Call it at most once.
func (m *Metrics) WatchRevocation(state func() RevocationState) {
	m.registry.MustRegister(newRevocationCollector(state))
}

type revocationCollector struct {
	state                                                   func() RevocationState
	fetches, answers, failing, age, bytes, staples, missing *prometheus.Desc
}

func newRevocationCollector(state func() RevocationState) *revocationCollector {
	desc := prometheus.NewDesc
	kind := []string{"kind"}
	return &revocationCollector{
		state:   state,
		fetches: desc("hakone_revocation_fetches_total", "Revocation lists and OCSP answers asked for, by outcome.", []string{"kind", "result"}, nil),
		answers: desc("hakone_revocation_answers", "Revocation lists and OCSP answers held.", kind, nil),
		failing: desc("hakone_revocation_failing", "Questions whose last fetch failed.", kind, nil),
		age:     desc("hakone_revocation_age_seconds", "Time since the oldest answer that was used within an hour was made (thisUpdate).", kind, nil),
		bytes:   desc("hakone_revocation_bytes", "DER of the revocation lists held.", kind, nil),
		staples: desc("hakone_ocsp_staples", "Certificates that listeners serve, by what is stapled to them.", []string{"state"}, nil),
		missing: desc("hakone_ocsp_must_staple_missing", "Certificates that are served without the staple that they demand (HK2306).", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *revocationCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.fetches, c.answers, c.failing, c.age, c.bytes, c.staples, c.missing} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *revocationCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.state()
	for k, n := range s.Fetches {
		ch <- prometheus.MustNewConstMetric(c.fetches, prometheus.CounterValue, float64(n), k[0], k[1])
	}
	for kind, k := range s.Kinds {
		gauge(c.answers, float64(k.Answers), kind)
		gauge(c.failing, float64(k.Failing), kind)
		gauge(c.age, k.Oldest.Seconds(), kind)
		if kind == "crl" {
			gauge(c.bytes, float64(k.Bytes), kind)
		}
	}
	for state, n := range s.Staples {
		gauge(c.staples, float64(n), state)
	}
	gauge(c.missing, float64(s.MustMissing))
}
