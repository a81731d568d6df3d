package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func mustAddr(t testing.TB, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestExplainTellsTheWholeStory(t *testing.T) {
	r := NewRecorder(RecorderOptions{Requests: 64, Refusals: 16})
	r.Handshake(&Handshake{Conn: 7, Side: Downstream, Hello: Hello{SNI: "a.test"}, Version: 0x0304})
	a := sampleAccess()
	a.Status, a.Code, a.Detail = 404, diag.NoRoute, "nearest is route x"
	r.Access(a)
	copy(a.ID, "overwritten-by-the-next-request") // the request's buffers are reused
	a.Target[1] = '!'
	r.Handshake(sampleRefusal())

	story := func(id string) (s Story) {
		t.Helper()
		raw, ok := r.Explain(t.Context(), id)
		if !ok {
			t.Fatalf("nothing is known of %s", id)
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := story("6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de")
	if len(s.Requests) != 1 || len(s.Handshakes) != 1 || len(s.Reasons) != 1 || s.Reasons[0].Slug != "no_route" ||
		!strings.Contains(string(s.Requests[0]), `"target":"/get?q=1"`) || !strings.Contains(string(s.Handshakes[0]), `"sni":"a.test"`) {
		t.Errorf("story %s %s %+v", s.Requests, s.Handshakes, s.Reasons)
	}
	if s = story("7"); len(s.Requests) != 1 || len(s.Handshakes) != 1 {
		t.Errorf("by connection: %+v", s)
	}
	if s = story(a.Remote.String()); len(s.Requests) != 1 || len(s.Handshakes) != 1 {
		t.Errorf("by the client's address: %+v", s)
	}
	if s = story("9"); len(s.Requests) != 0 || len(s.Handshakes) != 1 || s.Reasons[0].Code != diag.ClientCertMissing {
		t.Errorf("of a refused connection: %+v", s)
	}
	for _, id := range []string{"", "unknown", "12345", "192.0.2.77:1"} {
		if _, ok := r.Explain(t.Context(), id); ok {
			t.Errorf("%q is known", id)
		}
	}
}

// oldTimes is an archive that knows one request and the handshake of its connection.
type oldTimes struct{ asked []string }

func (o *oldTimes) Find(ctx context.Context, id string) ([]*Access, []*Handshake) {
	o.asked = append(o.asked, id)
	if id != "old" {
		return nil, nil
	}
	a := sampleAccess()
	a.PolicyCode = diag.ClientCertExpired
	return []*Access{a}, o.Handshakes(ctx, a.Conn)
}

func (o *oldTimes) Handshakes(_ context.Context, conn uint64) []*Handshake {
	if conn != 7 {
		return nil
	}
	return []*Handshake{{Conn: 7, Side: Downstream, Hello: Hello{SNI: "archived.test"}, Version: 0x0304}}
}

// TestExplainAsksTheArchive has the archive tell what the ring has not, and only that.
func TestExplainAsksTheArchive(t *testing.T) {
	o := &oldTimes{}
	r := NewRecorder(RecorderOptions{Requests: 64, Refusals: 16, Archive: o})
	r.Access(sampleAccess())
	for id, want := range map[string]struct {
		requests, shakes, reasons, asked int
	}{"old": {1, 1, 1, 1}, "6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de": {1, 1, 0, 0}, "7": {1, 1, 0, 1}} {
		o.asked = nil
		raw, ok := r.Explain(t.Context(), id)
		var s Story
		if err := json.Unmarshal(raw, &s); err != nil || !ok || len(s.Requests) != want.requests || len(s.Handshakes) != want.shakes || len(s.Reasons) != want.reasons ||
			!strings.Contains(string(s.Handshakes[0]), "archived.test") || len(o.asked) != want.asked {
			t.Errorf("%s: %v, %s, asked %q", id, err, raw, o.asked)
		}
	}
	if _, ok := r.Explain(t.Context(), "unknown"); ok {
		t.Error("the archive knows nothing of that")
	}
}

func TestRingIsBoundedAndForgetsTheOldest(t *testing.T) {
	r := newRing(64, 8)
	a := sampleAccess()
	for i := range 1000 {
		a.ID = fmt.Appendf(nil, "id-%d", i)
		a.UserAgent = bytes.Repeat([]byte("x"), 5000)
		r.access(a)
		r.handshake(&Handshake{Conn: uint64(i), Code: diag.HandshakeFailed, Side: Downstream})
	}
	n := 0
	r.requests(func(a *Access) {
		if n++; len(a.UserAgent) > maxKeptField {
			t.Errorf("%d bytes are kept of a field", len(a.UserAgent))
		}
	})
	if n > 64 || len(r.refused.list) != 8 || r.byID("id-0") != nil || r.byID("id-999") == nil || len(r.shakes(999)) != 1 || len(r.shakes(900)) != 0 {
		t.Errorf("%d requests and %d handshakes are kept", n, len(r.refused.list))
	}
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	m := NewMetrics(Sources{})
	l := open(t, LogOptions{Stdout: new(buffer), Bound: 1 << 30})
	r := NewRecorder(RecorderOptions{Metrics: m, Log: l, Requests: 16})
	a := sampleAccess()
	a.Metrics = m.Route("*:443", "a.test", "r")
	for i := range l.shards {
		l.shards[i].pending = make([]byte, 0, 1<<20)
	}
	for range 200 {
		r.Access(a)
	}
	if n := testing.AllocsPerRun(100, func() { r.Access(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	m.Handler().ServeHTTP(w, req)
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text") {
		t.Fatalf("%d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := NewMetrics(Sources{Version: "1.2.3", Connections: func() map[string]int { return map[string]int{"*:443": 3} },
		Withdrawn: func() map[string]int { return map[string]int{"*:443": 2} },
		Faults:    func() int64 { return 4 },
		Upstreams: func() []UpstreamCounters {
			u := UpstreamCounters{Upstream: "u:80", Endpoint: "127.0.0.1:80", Requests: 5, Open: 2, Overflows: 1, RetryOverflows: 3, Multiplexed: 1, Streams: 7, Slots: 100}
			return []UpstreamCounters{u, u}
		}})
	l := open(t, LogOptions{Stdout: new(buffer), Bound: 1})
	r := NewRecorder(RecorderOptions{Metrics: m, Log: l})
	a := sampleAccess()
	a.Metrics = m.Route("*:443", "a.test", "ns/r/rule-0")
	r.Access(a)
	a.Status, a.Duration = 503, 3*time.Second
	r.Access(a)
	r.Access(&Access{Listener: "*:443", Status: 404, Code: diag.NoRoute})
	r.Handshake(sampleRefusal())
	r.Handshake(&Handshake{Side: Downstream, Listener: "*:443", Version: 0x0304, Suite: 0x1301, Group: 4588, Resumed: true})
	for range 2 * len(l.shards) { // each shard takes one line, the rest is dropped
		l.Access(sampleAccess())
	}
	got := scrape(t, m)
	for _, want := range []string{
		`hakone_http_requests_total{code_class="2xx",host="a.test",listener="*:443",route="ns/r/rule-0"} 1.0`,
		`hakone_http_requests_total{code_class="5xx",host="a.test",listener="*:443",route="ns/r/rule-0"} 1.0`,
		`hakone_http_requests_total{code_class="4xx",host="-",listener="*:443",route="-"} 1.0`,
		`hakone_http_request_duration_seconds_bucket{host="a.test",listener="*:443",route="ns/r/rule-0",le="0.01"} 0`,
		`hakone_http_request_duration_seconds_bucket{host="a.test",listener="*:443",route="ns/r/rule-0",le="0.025"} 1`,
		`hakone_http_request_duration_seconds_bucket{host="a.test",listener="*:443",route="ns/r/rule-0",le="+Inf"} 2`,
		`hakone_http_request_duration_seconds_sum{host="a.test",listener="*:443",route="ns/r/rule-0"} 3.012345`,
		`hakone_http_responses_refused_total{code="HK4101",listener="*:443"} 1.0`,
		`hakone_tls_handshake_failures_total{code="HK2101",listener="*:443",side="downstream"} 1.0`,
		`hakone_tls_handshakes_total{cipher="TLS_AES_128_GCM_SHA256",group="X25519MLKEM768",listener="*:443",resumed="true",side="downstream",version="1.3"} 1.0`,
		`hakone_connections{listener="*:443"} 3.0`,
		`hakone_connections_withdrawn_total{listener="*:443"} 2.0`,
		`hakone_faults_total 4.0`,
		`hakone_upstream_requests_total{endpoint="127.0.0.1:80",upstream="u:80"} 10.0`,
		`hakone_upstream_pool_overflows_total{upstream="u:80"} 1.0`,
		`hakone_upstream_retry_overflows_total{upstream="u:80"} 3.0`,
		`hakone_upstream_http2_connections{endpoint="127.0.0.1:80",upstream="u:80"} 2.0`,
		`hakone_upstream_streams{endpoint="127.0.0.1:80",upstream="u:80"} 14.0`,
		`hakone_upstream_stream_slots{endpoint="127.0.0.1:80",upstream="u:80"} 200.0`,
		`hakone_build_info{version="1.2.3"} 1.0`,
		"go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not exposed", want)
		}
	}
	if l.Dropped() == 0 || !strings.Contains(got, fmt.Sprintf("hakone_access_log_dropped_total %d.0", l.Dropped())) {
		t.Errorf("%d lines dropped, and not exposed", l.Dropped())
	}
	if strings.Contains(got, "192.0.2.1") {
		t.Error("a client's address is a label")
	}
}

func TestAppliedKeepsCountersOfRoutesThatRemain(t *testing.T) {
	p, err := hostname.Parse("a.test")
	if err != nil {
		t.Fatal(err)
	}
	snapshot := func(routes ...string) *ir.Generation {
		vh := &ir.VirtualHost{Hosts: []hostname.Pattern{p}}
		for _, n := range routes {
			vh.Routes = append(vh.Routes, &ir.Route{Name: n})
		}
		cfg := &ir.Config{Revision: "c1", Listeners: []*ir.Listener{{Name: "*:443", Chains: []*ir.Chain{{VirtualHosts: []*ir.VirtualHost{vh}}}}}}
		return &ir.Generation{Epoch: 4, Snapshot: &ir.Snapshot{Config: cfg, Endpoints: &ir.Endpoints{}, Secrets: &ir.Secrets{}, Trust: &ir.Trust{}}}
	}
	m := NewMetrics(Sources{})
	stays, goes := m.Route("*:443", "a.test", "stays"), m.Route("*:443", "a.test", "goes")
	stays.observe(200, 0)
	goes.observe(200, 0)
	m.Applied(snapshot("stays"), nil)
	if m.Route("*:443", "a.test", "stays") != stays || m.Route("*:443", "a.test", "goes") == goes {
		t.Error("counters are forgotten, or those of a route that is gone are kept")
	}
	got := scrape(t, m)
	for _, want := range []string{`hakone_config_revision{config="c1"`, "hakone_config_epoch 4.0", `hakone_config_applies_total{result="ok"} 1.0`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not exposed", want)
		}
	}
	if strings.Contains(got, `route="goes"`) {
		t.Error("a route that is gone is exposed")
	}
}

func TestRoutesAreBounded(t *testing.T) {
	m := NewMetrics(Sources{})
	for i := range maxRoutes + 10 {
		m.Route("*:443", "a.test", fmt.Sprint(i))
	}
	if n := len(m.routes.byKey); n > maxRoutes+1 {
		t.Errorf("%d routes are counted apart", n)
	}
	if a, b := m.Route("*:443", "a.test", "x"), m.Route("*:443", "b.test", "y"); a != b || a.route != others {
		t.Errorf("routes over the bound are counted as %q and %q", a.route, b.route)
	}
}

func TestLive(t *testing.T) {
	var out bytes.Buffer
	l := NewLive(&out, false)
	a := sampleAccess()
	a.PeerSubject = "CN=\x1b[2Jalice"
	l.Access(a)
	l.Handshake(sampleRefusal())
	l.Handshake(&Handshake{Code: diag.ClosedBeforeHello})
	l.Handshake(&Handshake{})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	if want := "✓ 200 GET https://a.test/get?q=1  TLS 1.3 X25519 · client CN=\ufffd[2Jalice  12.3 ms"; !strings.Contains(lines[0], want) {
		t.Errorf("%s\nwant %s", lines[0], want)
	}
	if want := `✗ handshake a.test  HK2101 client sent no certificate: the host "a.test" demands a certificate — fix: Give the client`; !strings.Contains(lines[1], want) {
		t.Errorf("%s\nwant %s", lines[1], want)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a peer reaches the terminal")
	}
}

func BenchmarkRecorder(b *testing.B) {
	m := NewMetrics(Sources{})
	l, err := OpenLog(LogOptions{Stdout: new(buffer), Bound: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	r := NewRecorder(RecorderOptions{Metrics: m, Log: l})
	a := sampleAccess()
	a.Metrics = m.Route("*:443", "a.test", "r")
	for b.Loop() {
		r.Access(a)
		s := &l.shards[a.Conn&uint64(len(l.shards)-1)]
		s.pending = s.pending[:0]
	}
}
