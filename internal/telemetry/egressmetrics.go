package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// EgressState is how upstream proxies and the ledger of destinations are.
type EgressState struct {
	Addresses []ProxyAddressState
	Hosts     int                 // in the ledger
	Open      map[diag.Code]int   // alerts that stand
	Raised    map[diag.Code]int64 // alerts since the start
}

// ProxyAddressState is one address of an upstream proxy.
type ProxyAddressState struct {
	Proxy, Address string
	Healthy        bool
	Tunnels        int32               // that are open
	Good           int64               // CONNECTs answered well
	Failed         map[diag.Code]int64 // others
	Took           map[float64]uint64  // seconds until a good answer: upper bound → cumulative count
	TookCount      uint64
	TookSum        float64
}

// WatchEgress exposes what state tells whenever metrics are asked for. Call it at most once.
func (m *Metrics) WatchEgress(state func() EgressState) {
	m.registry.MustRegister(newEgressCollector(state))
}

type egressCollector struct {
	state                                                  func() EgressState
	connects, healthy, tunnels, took, hosts, alerts, raise *prometheus.Desc
}

func newEgressCollector(state func() EgressState) *egressCollector {
	desc := prometheus.NewDesc
	at := []string{"proxy", "address"}
	return &egressCollector{
		state:    state,
		connects: desc("hakone_proxy_connects_total", "Tries to reach a destination through an address of an upstream proxy, by reason; 0 is success.", []string{"proxy", "address", "code"}, nil),
		healthy:  desc("hakone_proxy_address_healthy", "1 while connections try the address of an upstream proxy.", at, nil),
		tunnels:  desc("hakone_proxy_tunnels", "Open connections through an address of an upstream proxy.", at, nil),
		took:     desc("hakone_proxy_connect_seconds", "Time until an upstream proxy had answered CONNECT with success: connecting to it, TLS with it and its answer.", at, nil),
		hosts:    desc("hakone_egress_hosts", "Destinations outside in the ledger.", nil, nil),
		alerts:   desc("hakone_egress_alerts", "Alerts about destinations that nobody has acknowledged, by code.", []string{"code"}, nil),
		raise:    desc("hakone_egress_alerts_total", "Alerts about destinations since the start, by code.", []string{"code"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *egressCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connects, c.healthy, c.tunnels, c.took, c.hosts, c.alerts, c.raise} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *egressCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	for _, a := range s.Addresses {
		ch <- prometheus.MustNewConstMetric(c.healthy, prometheus.GaugeValue, oneIf(a.Healthy), a.Proxy, a.Address)
		ch <- prometheus.MustNewConstMetric(c.tunnels, prometheus.GaugeValue, float64(a.Tunnels), a.Proxy, a.Address)
		ch <- prometheus.MustNewConstMetric(c.connects, prometheus.CounterValue, float64(a.Good), a.Proxy, a.Address, "0")
		for code, n := range a.Failed {
			ch <- prometheus.MustNewConstMetric(c.connects, prometheus.CounterValue, float64(n), a.Proxy, a.Address, code.String())
		}
		ch <- prometheus.MustNewConstHistogram(c.took, a.TookCount, a.TookSum, a.Took, a.Proxy, a.Address)
	}
	ch <- prometheus.MustNewConstMetric(c.hosts, prometheus.GaugeValue, float64(s.Hosts))
	for code, n := range s.Raised {
		ch <- prometheus.MustNewConstMetric(c.raise, prometheus.CounterValue, float64(n), code.String())
		ch <- prometheus.MustNewConstMetric(c.alerts, prometheus.GaugeValue, float64(s.Open[code]), code.String())
	}
}
