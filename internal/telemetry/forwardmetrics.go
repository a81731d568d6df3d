package telemetry

import "github.com/prometheus/client_golang/prometheus"

// ForwardState is what forward proxies hold now, of all of them together.
type ForwardState struct {
	Spliced, Bumped int64 // open tunnels
	Kept, Used      int   // destinations that are known, and those of them that requests and tunnels use
	Pinned          int   // hosts that are spliced because their clients refused our certificates
	Logins          int   // verified logins that are remembered
	Guessers        int   // addresses that have sent wrong passwords within a minute
}

// WatchForward exposes what state returns whenever metrics are asked for. Call it at most once.
func (m *Metrics) WatchForward(state func() ForwardState) {
	m.registry.MustRegister(newForwardCollector(state))
}

type forwardCollector struct {
	state                                           func() ForwardState
	tunnels, destinations, pinned, logins, guessers *prometheus.Desc
}

func newForwardCollector(state func() ForwardState) *forwardCollector {
	desc := prometheus.NewDesc
	return &forwardCollector{
		state:        state,
		tunnels:      desc("hakone_forward_tunnels", "Open tunnels of forward proxies: spliced, or looked into (bumped).", []string{"kind"}, nil),
		destinations: desc("hakone_forward_destinations", "Destinations of forward proxies: kept for the next request, of those in use.", []string{"state"}, nil),
		pinned:       desc("hakone_forward_pinned_hosts", "Hosts that are spliced because their clients refused our certificates (HK4541).", nil, nil),
		logins:       desc("hakone_forward_logins", "Verified logins that are remembered.", nil, nil),
		guessers:     desc("hakone_forward_guessers", "Addresses that have sent wrong passwords within a minute.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *forwardCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.tunnels, c.destinations, c.pinned, c.logins, c.guessers} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *forwardCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	put(c.tunnels, float64(s.Spliced), "spliced")
	put(c.tunnels, float64(s.Bumped), "bumped")
	put(c.destinations, float64(s.Kept), "kept")
	put(c.destinations, float64(s.Used), "used")
	put(c.pinned, float64(s.Pinned))
	put(c.logins, float64(s.Logins))
	put(c.guessers, float64(s.Guessers))
}
