package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxExpiries bounds how many expiries are exposed.
const maxExpiries = 5000

// Expiry is when something ends: kind, object and name as in the calendar.
type Expiry struct {
	Kind, Object, Name string
	At                 time.Time
}

// expiryCollector exposes how long everything that expires has left.
type expiryCollector struct {
	sources Sources
	left    *prometheus.Desc
}

func newExpiryCollector(s Sources) *expiryCollector {
	return &expiryCollector{s, prometheus.NewDesc("hakone_certificate_expiry_seconds",
		"Seconds until a certificate, CA, revocation list or key expires; negative once it has.", []string{"kind", "object", "name"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *expiryCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.left }

// Collect implements prometheus.Collector. Of several that share all labels the first to end counts.
func (c *expiryCollector) Collect(ch chan<- prometheus.Metric) {
	if c.sources.Expiries == nil {
		return
	}
	now := time.Now()
	type key struct{ kind, object, name string }
	first := map[key]time.Time{}
	for _, e := range c.sources.Expiries() {
		k := key{e.Kind, e.Object, e.Name}
		if at, seen := first[k]; !seen && len(first) < maxExpiries || seen && e.At.Before(at) {
			first[k] = e.At
		}
	}
	for k, at := range first {
		ch <- prometheus.MustNewConstMetric(c.left, prometheus.GaugeValue, at.Sub(now).Seconds(), k.kind, k.object, k.name)
	}
}
