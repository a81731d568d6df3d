package telemetry

import "github.com/prometheus/client_golang/prometheus"

// OriginState is how the origin pools of the snapshot that serves are.
type OriginState struct {
	Pools          []PoolState
	Passed, Missed int64 // health checks since the start
}

// PoolState is one pool. Origins are by name; two of one name count as healthy if one is.
type PoolState struct {
	Name    string
	Healthy bool
	Origins map[string]bool // healthy
	Ejected map[string]int64
}

// WatchOrigins exposes what state tells whenever metrics are asked for.
func (m *Metrics) WatchOrigins(state func() OriginState) {
	m.registry.MustRegister(newOriginCollector(state))
}

type originCollector struct {
	state                             func() OriginState
	origins, ejections, checks, pools *prometheus.Desc
}

func newOriginCollector(state func() OriginState) *originCollector {
	desc := prometheus.NewDesc
	return &originCollector{
		state:     state,
		origins:   desc("hakone_origin_healthy", "1 while the origin takes requests: enabled, not found unhealthy by checks, and not ejected.", []string{"pool", "origin"}, nil),
		ejections: desc("hakone_origin_ejections_total", "How often the origin was taken out because requests failed.", []string{"pool", "origin"}, nil),
		checks:    desc("hakone_origin_checks_total", "Health checks of origins, by outcome.", []string{"result"}, nil),
		pools:     desc("hakone_pool_healthy", "1 while the pool has at least its minimum of healthy origins.", []string{"pool"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *originCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.origins, c.ejections, c.checks, c.pools} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *originCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	for _, p := range s.Pools {
		ch <- prometheus.MustNewConstMetric(c.pools, prometheus.GaugeValue, oneIf(p.Healthy), p.Name)
		for name, healthy := range p.Origins {
			ch <- prometheus.MustNewConstMetric(c.origins, prometheus.GaugeValue, oneIf(healthy), p.Name, name)
		}
		for name, n := range p.Ejected {
			ch <- prometheus.MustNewConstMetric(c.ejections, prometheus.CounterValue, float64(n), p.Name, name)
		}
	}
	ch <- prometheus.MustNewConstMetric(c.checks, prometheus.CounterValue, float64(s.Passed), "passed")
	ch <- prometheus.MustNewConstMetric(c.checks, prometheus.CounterValue, float64(s.Missed), "failed")
}
