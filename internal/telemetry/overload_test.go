package telemetry

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestOverloadMetrics exposes what the sources tell.
func TestOverloadMetrics(t *testing.T) {
	m := NewMetrics(Sources{
		Overload: func() OverloadState {
			return OverloadState{[]ResourceState{{"memory", 2, 93, 100}}, map[diag.Code]uint64{diag.OverloadMemory: 7, diag.OverloadAddress: 0}}
		},
		HTTP2: func() []HTTP2State { return []HTTP2State{{"*:443", 3, 40}} },
	})
	got := scrapeAs(m, "")
	for _, want := range []string{`hakone_overload_level{resource="memory"} 2`, `hakone_overload_used{resource="memory"} 93`, `hakone_overload_bound{resource="memory"} 100`,
		`hakone_shed_total{code="HK4401"} 7`, `hakone_shed_total{code="HK4403"} 0`, `hakone_http2_connections{listener="*:443"} 3`, `hakone_http2_streams{listener="*:443"} 40`} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// TestGRPCAndRetryMetrics counts by status and forgets upstreams that are gone.
func TestGRPCAndRetryMetrics(t *testing.T) {
	m := NewMetrics(Sources{})
	config := func(upstreams ...string) *ir.Generation {
		c := &ir.Config{Listeners: []*ir.Listener{{Name: "*:443"}}}
		for _, u := range upstreams {
			c.Upstreams = append(c.Upstreams, &ir.Upstream{Name: u})
		}
		return &ir.Generation{Snapshot: &ir.Snapshot{Config: c, Endpoints: &ir.Endpoints{}, Secrets: &ir.Secrets{}, Trust: &ir.Trust{}}}
	}
	m.Applied(config("a", "b"), nil)
	r := NewRecorder(RecorderOptions{Metrics: m})
	for _, status := range []int{0, 0, 14, -1, 99} {
		r.Access(&Access{Listener: "*:443", Status: 200, GRPC: true, GRPCStatus: status, Upstream: "a", Attempts: 3})
	}
	r.Access(&Access{Listener: "*:443", Status: 200, Upstream: "b", Attempts: 1})
	got := scrapeAs(m, "")
	for _, want := range []string{`grpc_status="0",host="-",listener="*:443",route="-"} 2`, `grpc_status="14",host="-",listener="*:443",route="-"} 1`,
		`grpc_status="-",host="-",listener="*:443",route="-"} 2`, `hakone_upstream_retries_total{upstream="a"} 10`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, `retries_total{upstream="b"}`) {
		t.Error("a request without a retry counts as one")
	}
	m.Applied(config("b"), nil)
	if strings.Contains(scrapeAs(m, ""), `retries_total{upstream="a"}`) {
		t.Error("an upstream that is gone is still exposed")
	}
}

// TestShedLines counts every shed connection and logs some.
func TestShedLines(t *testing.T) {
	m := NewMetrics(Sources{})
	seen := &counting{}
	r := NewRecorder(RecorderOptions{Metrics: m, Tap: seen})
	for range 1000 {
		r.Handshake(&Handshake{Listener: "*:443", Side: Downstream, Code: diag.OverloadAddress})
	}
	if seen.n < sampleRate || seen.n > 5*sampleRate {
		t.Errorf("%d of 1000 were told", seen.n)
	}
	if !strings.Contains(scrapeAs(m, ""), `hakone_tls_handshake_failures_total{code="HK4403",listener="*:443",side="downstream"} 1000`) {
		t.Error("not all were counted")
	}
	seen.n = 0
	for range 1000 {
		r.Handshake(&Handshake{Listener: "*:443", Side: Downstream, Code: diag.ClientCertMissing})
	}
	if seen.n != 1000 {
		t.Errorf("%d of 1000 other refusals were told", seen.n)
	}
}

type counting struct{ n int }

func (c *counting) Handshake(*Handshake) { c.n++ }
func (c *counting) Access(*Access)       { c.n++ }
