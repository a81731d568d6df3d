package telemetry

import "github.com/prometheus/client_golang/prometheus"

// ProtoTCP is Access.Proto of connections that are not HTTP: one record each, when they end.
const ProtoTCP = "TCP"

// tcpMetrics count connections that are not HTTP.
type tcpMetrics struct {
	ended   *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	seconds *prometheus.CounterVec
}

func newTCPMetrics(r *prometheus.Registry) *tcpMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &tcpMetrics{
		ended: counter("hakone_tcp_connections_total", "Connections passed on by TCP and TLS routes that have ended, by reason (hakone explain CODE); empty: in order.",
			"listener", "chain", "code"),
		bytes:   counter("hakone_tcp_bytes_total", "Bytes of connections passed on by TCP and TLS routes that have ended.", "listener", "chain", "direction"),
		seconds: counter("hakone_tcp_connection_seconds_total", "How long connections passed on by TCP and TLS routes lasted, all together.", "listener", "chain"),
	}
	r.MustRegister(m.ended, m.bytes, m.seconds)
	return m
}

// count counts a connection that has ended.
func (m *tcpMetrics) count(a *Access) {
	m.ended.WithLabelValues(a.Listener, a.Chain, a.Code.String()).Inc()
	m.bytes.WithLabelValues(a.Listener, a.Chain, "received").Add(float64(a.BytesReceived))
	m.bytes.WithLabelValues(a.Listener, a.Chain, "sent").Add(float64(a.BytesSent))
	m.seconds.WithLabelValues(a.Listener, a.Chain).Add(a.Duration.Seconds())
}
