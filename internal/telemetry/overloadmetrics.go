package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// OverloadState is how short the process is of what bounds it.
type OverloadState struct {
	Resources []ResourceState
	Shed      map[diag.Code]uint64 // what was refused, closed or cut so far, by reason
}

// ResourceState is one bounded resource.
type ResourceState struct {
	Name        string
	Level       int // 0 calm, 1 thrifty, 2 refusing, 3 cutting
	Used, Bound float64
}

// HTTP2State is one listener's HTTP/2 now.
type HTTP2State struct {
	Listener             string
	Connections, Streams int
}

// overloadCollector exposes bounds and what they shed, and how many HTTP/2 connections and streams
// there are.
type overloadCollector struct {
	sources                        Sources
	level, used, bound, shed       *prometheus.Desc
	http2Connections, http2Streams *prometheus.Desc
}

func newOverloadCollector(s Sources) *overloadCollector {
	desc := prometheus.NewDesc
	return &overloadCollector{
		sources: s,
		level:   desc("hakone_overload_level", "How short the process is of a resource: 0 calm, 1 thrifty, 2 refusing, 3 cutting.", []string{"resource"}, nil),
		used:    desc("hakone_overload_used", "What is in use: bytes, connections, handshakes.", []string{"resource"}, nil),
		bound:   desc("hakone_overload_bound", "What may be in use.", []string{"resource"}, nil),
		shed:    desc("hakone_shed_total", "Connections, handshakes and requests refused, closed or cut for want of resources, by reason (hakone explain CODE).", []string{"code"}, nil),

		http2Connections: desc("hakone_http2_connections", "Open downstream connections that speak HTTP/2.", []string{"listener"}, nil),
		http2Streams:     desc("hakone_http2_streams", "Streams in progress on them.", []string{"listener"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *overloadCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.level, c.used, c.bound, c.shed, c.http2Connections, c.http2Streams} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *overloadCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	if c.sources.Overload != nil {
		s := c.sources.Overload()
		for _, r := range s.Resources {
			gauge(c.level, float64(r.Level), r.Name)
			gauge(c.used, r.Used, r.Name)
			gauge(c.bound, r.Bound, r.Name)
		}
		for code, n := range s.Shed {
			ch <- prometheus.MustNewConstMetric(c.shed, prometheus.CounterValue, float64(n), code.String())
		}
	}
	if c.sources.HTTP2 != nil {
		for _, s := range c.sources.HTTP2() {
			gauge(c.http2Connections, float64(s.Connections), s.Listener)
			gauge(c.http2Streams, float64(s.Streams), s.Listener)
		}
	}
}
