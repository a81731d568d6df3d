package telemetry

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Bounds of the duration histogram, in seconds. A gateway's own share is under a millisecond; the rest
// is the upstream's.
const bounds = 12

func durationBounds() [bounds]time.Duration {
	return [bounds]time.Duration{500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
		10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, 2500 * time.Millisecond, 10 * time.Second}
}

// RouteMetrics are the counters of one route on one listener, resolved once. Counting is a few atomic
// additions; it takes no lock and allocates nothing.
type RouteMetrics struct {
	listener, host, route string
	bounds                *[bounds]time.Duration

	_       [64]byte // keeps the counters of different routes on different cache lines
	classes [6]atomic.Uint64
	buckets [bounds + 1]atomic.Uint64
	nanos   atomic.Uint64
	grpc    [grpcCodes + 1]atomic.Uint64
	_       [64]byte
}

// observe counts one answered request. A status outside 100–599 counts as class 0: nothing was sent.
func (r *RouteMetrics) observe(status int, d time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	r.classes[class].Add(1)
	i := 0
	for i < bounds && d > r.bounds[i] {
		i++
	}
	r.buckets[i].Add(1)
	r.nanos.Add(uint64(max(d, 0)))
}

// maxRoutes bounds how many routes are counted apart; the others of a listener are counted together.
const maxRoutes = 5000

// others is the host and route label of what is not counted apart, and of requests without a route.
const others = "-"

type routeKey struct{ listener, host, route string }

// routes holds the counters by label. They outlive snapshots.
type routes struct {
	bounds [bounds]time.Duration

	mu    sync.RWMutex // guards byKey; never taken for a request that has its RouteMetrics
	byKey map[routeKey]*RouteMetrics
}

func (r *routes) get(listener, host, route string) *RouteMetrics {
	key := routeKey{listener, host, route}
	r.mu.RLock()
	m := r.byKey[key]
	r.mu.RUnlock()
	if m != nil {
		return m
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byKey) >= maxRoutes {
		key.host, key.route = others, others
	}
	if m = r.byKey[key]; m == nil {
		m = &RouteMetrics{listener: key.listener, host: key.host, route: key.route, bounds: &r.bounds}
		r.byKey[key] = m
	}
	return m
}

// retain forgets the routes that cfg does not have.
func (r *routes) retain(cfg *ir.Config) {
	live := map[routeKey]bool{}
	for _, l := range cfg.Listeners {
		live[routeKey{l.Name, others, others}] = true
		for _, c := range l.Chains {
			for _, vh := range c.VirtualHosts {
				if len(vh.Hosts) == 0 {
					continue
				}
				for _, rt := range vh.Routes {
					live[routeKey{l.Name, vh.Hosts[0].String(), rt.Name}] = true
				}
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.byKey {
		if !live[k] {
			delete(r.byKey, k)
		}
	}
}

// routeCollector exports routes.
type routeCollector struct {
	routes   *routes
	requests *prometheus.Desc
	duration *prometheus.Desc
	grpc     *prometheus.Desc
}

func newRouteCollector() *routeCollector {
	labels := []string{"listener", "host", "route"} // of full capacity: what is appended is a copy
	return &routeCollector{
		routes: &routes{bounds: durationBounds(), byKey: map[routeKey]*RouteMetrics{}},
		requests: prometheus.NewDesc("hakone_http_requests_total",
			"Requests by the class of their status; class 0xx: the client got no answer.", append(labels, "code_class"), nil),
		duration: prometheus.NewDesc("hakone_http_request_duration_seconds",
			"Time from a request's first byte to its answer's last.", labels, nil),
		grpc: prometheus.NewDesc("hakone_grpc_requests_total",
			"gRPC and gRPC-Web requests by the number of their status; -: there was none.", append(labels, "grpc_status"), nil),
	}
}

// Describe implements prometheus.Collector.
func (c *routeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.requests
	ch <- c.duration
	ch <- c.grpc
}

// Collect implements prometheus.Collector.
func (c *routeCollector) Collect(ch chan<- prometheus.Metric) {
	c.routes.mu.RLock()
	all := make([]*RouteMetrics, 0, len(c.routes.byKey))
	for _, m := range c.routes.byKey {
		all = append(all, m)
	}
	c.routes.mu.RUnlock()
	classes := [6]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"}
	for _, m := range all {
		for i := range m.classes {
			if n := m.classes[i].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(n), m.listener, m.host, m.route, classes[i])
			}
		}
		for i := range m.grpc {
			if n := m.grpc[i].Load(); n > 0 {
				ch <- prometheus.MustNewConstMetric(c.grpc, prometheus.CounterValue, float64(n), m.listener, m.host, m.route, grpcLabel(i))
			}
		}
		if h := c.histogram(m); h != nil {
			ch <- h
		}
	}
}

func (c *routeCollector) histogram(m *RouteMetrics) prometheus.Metric {
	var total uint64
	cumulative := make(map[float64]uint64, bounds)
	for i := range m.buckets {
		total += m.buckets[i].Load()
		if i < bounds {
			cumulative[m.bounds[i].Seconds()] = total
		}
	}
	if total == 0 {
		return nil
	}
	sum := time.Duration(m.nanos.Load()).Seconds()
	return prometheus.MustNewConstHistogram(c.duration, total, sum, cumulative, m.listener, m.host, m.route)
}
