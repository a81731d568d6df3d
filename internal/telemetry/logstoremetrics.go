package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LogStoreState is how the store of logs fares.
type LogStoreState struct {
	Bytes    float64   // kept
	Records  float64   // kept since the start
	Dropped  float64   // not kept since the start
	Oldest   time.Time // when the oldest record ended; zero: there is none
	Trouble  bool      // records cannot be kept now
	InMemory bool
}

// logStoreCollector exposes the state of the store of logs.
type logStoreCollector struct {
	state                                     func() LogStoreState
	bytes, records, dropped, oldest, troubled *prometheus.Desc
}

// WatchLogStore exposes a store of logs. It is called once, before the metrics are asked for.
func (m *Metrics) WatchLogStore(state func() LogStoreState) {
	desc := prometheus.NewDesc
	m.registry.MustRegister(&logStoreCollector{
		state:    state,
		bytes:    desc("hakone_log_store_bytes", "Bytes of records of requests and handshakes that are kept.", nil, nil),
		records:  desc("hakone_log_store_records_total", "Records that were kept.", nil, nil),
		dropped:  desc("hakone_log_store_dropped_total", "Records that could not be kept.", nil, nil),
		oldest:   desc("hakone_log_store_oldest_seconds", "Age of the oldest record.", nil, nil),
		troubled: desc("hakone_log_store_failing", "1 while records cannot be kept, for example because the disk is full.", nil, nil),
	})
}

// Describe implements prometheus.Collector.
func (c *logStoreCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.bytes, c.records, c.dropped, c.oldest, c.troubled} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *logStoreCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(c.bytes, s.Bytes)
	ch <- prometheus.MustNewConstMetric(c.records, prometheus.CounterValue, s.Records)
	ch <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, s.Dropped)
	if !s.Oldest.IsZero() {
		gauge(c.oldest, max(time.Since(s.Oldest).Seconds(), 0))
	}
	failing := 0.0
	if s.Trouble {
		failing = 1
	}
	gauge(c.troubled, failing)
}
