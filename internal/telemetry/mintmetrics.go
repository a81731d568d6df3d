package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// MintState is what became of certificates made while clients wait, of all interception CAs together.
type MintState struct {
	Minted, Hits, DiskHits, Refused uint64 // since the start
	DiskBroken, DiskDropped         uint64
	Leaves, DiskLeaves              int
	Bytes, DiskBytes                int64
	DiskFailing                     int                  // caches whose last write failed
	Expires                         map[string]time.Time // of CAs, by subject
}

// WatchMint exposes what state returns whenever metrics are asked for. Call it at most once.
func (m *Metrics) WatchMint(state func() MintState) { m.registry.MustRegister(newMintCollector(state)) }

type mintCollector struct {
	state                                                    func() MintState
	leaves, kept, bytes, failing, broken, dropped, expiresAt *prometheus.Desc
}

func newMintCollector(state func() MintState) *mintCollector {
	desc := prometheus.NewDesc
	where := []string{"where"}
	return &mintCollector{
		state:     state,
		leaves:    desc("hakone_mint_leaves_total", "Certificates asked for by interceptions, by what came of it: minted, memory, disk, refused.", []string{"result"}, nil),
		kept:      desc("hakone_mint_kept", "Made certificates that are kept.", where, nil),
		bytes:     desc("hakone_mint_kept_bytes", "What they take: in memory by estimate, on disk in blocks.", where, nil),
		failing:   desc("hakone_mint_disk_failing", "Certificate caches whose last write to the disk failed (HK2325).", nil, nil),
		broken:    desc("hakone_mint_disk_broken_total", "Kept certificates that were damaged and were made again (HK2326).", nil, nil),
		dropped:   desc("hakone_mint_disk_dropped_total", "Made certificates that were not kept on disk, because it failed or did not keep up.", nil, nil),
		expiresAt: desc("hakone_mint_ca_expiry_timestamp_seconds", "When an interception CA expires.", []string{"ca"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *mintCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.leaves, c.kept, c.bytes, c.failing, c.broken, c.dropped, c.expiresAt} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *mintCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for result, n := range map[string]uint64{"minted": s.Minted, "memory": s.Hits, "disk": s.DiskHits, "refused": s.Refused} {
		put(c.leaves, prometheus.CounterValue, float64(n), result)
	}
	put(c.kept, prometheus.GaugeValue, float64(s.Leaves), "memory")
	put(c.kept, prometheus.GaugeValue, float64(s.DiskLeaves), "disk")
	put(c.bytes, prometheus.GaugeValue, float64(s.Bytes), "memory")
	put(c.bytes, prometheus.GaugeValue, float64(s.DiskBytes), "disk")
	put(c.failing, prometheus.GaugeValue, float64(s.DiskFailing))
	put(c.broken, prometheus.CounterValue, float64(s.DiskBroken))
	put(c.dropped, prometheus.CounterValue, float64(s.DiskDropped))
	for ca, at := range s.Expires {
		put(c.expiresAt, prometheus.GaugeValue, float64(at.Unix()), ca)
	}
}
