package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/upstream"
)

// edge serves the pool "app" at a plain port: a first origin that checks find unhealthy, and a second one.
const edge = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: edge}
spec:
  hosts: ["*"]
  gateways: [gw]
  http: [{route: [{destination: {host: app.edge.originpool}}]}]
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: app, namespace: edge}
spec:
  displayName: my_app
  steering: "off"
  minimumOrigins: 2
  origins:
  - {name: bad, address: 127.0.0.1, port: %d}
  - {name: good, address: 127.0.0.1, port: %d, hostHeader: inner.test}
  affinity: {type: cookie}
  monitor: {type: http, path: /health, interval: 1s, timeout: 2s, retries: 0}
`

func TestOrigins(t *testing.T) {
	origin := func(name string, status int) uint16 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" {
				w.WriteHeader(status)
			}
			_, _ = io.WriteString(w, name+" "+r.Host)
		}))
		t.Cleanup(s.Close)
		return uint16(s.Listener.Addr().(*net.TCPAddr).Port)
	}
	port := freePort(t)
	r := serve(t, map[uint16]uint16{80: port}, fmt.Sprintf(edge, origin("bad", 500), origin("good", 200)))
	var pools []upstream.PoolStatus
	r.within("the first origin is unhealthy", func() bool {
		if err := r.client.Get(t.Context(), "/origins", &pools); err != nil {
			t.Fatal(err)
		}
		return len(pools) == 1 && len(pools[0].Origins) == 2 && pools[0].Origins[0].Health == upstream.OriginUnhealthy && pools[0].Origins[1].Checked != nil
	})
	p := pools[0]
	if p.Name != "edge/app" || p.Display != "my_app" || p.State != upstream.PoolDegraded || p.Healthy != 1 || p.Minimum != 2 || p.Code.String() != "HK3225" {
		t.Errorf("pool: %+v", p)
	}
	if o := p.Origins[0]; o.Code.String() != "HK3221" || o.Reason != "GET /health was answered 500" || o.Since == nil || o.RTT <= 0 {
		t.Errorf("origin: %+v", o)
	}
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != "good inner.test" || len(resp.Cookies()) != 1 || resp.Cookies()[0].Name != "HK_Origin" {
		t.Errorf("%d %q, cookies %v", resp.StatusCode, body, resp.Cookies())
	}
	metrics := r.page("/metrics")
	for _, want := range []string{`hakone_origin_healthy{origin="bad",pool="edge/app"} 0.0`, `hakone_origin_healthy{origin="good",pool="edge/app"} 1.0`, `hakone_pool_healthy{pool="edge/app"} 0.0`,
		`hakone_origin_checks_total{result="failed"}`, `hakone_origin_checks_total{result="passed"}`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if health := r.page("/healthz?verbose"); !strings.Contains(health, "[!]origins degraded: edge/app: HK3225 1 of at least 2 origins healthy: bad: HK3221 GET /health was answered 500, good: healthy") {
		t.Errorf("health:\n%s", health)
	}
	r.within("the log tells", func() bool {
		return strings.Contains(r.log.String(), `msg="origin is not healthy" pool=edge/app origin=bad`) && strings.Contains(r.log.String(), `msg="origin pool is below its minimum" pool=edge/app`)
	})
}

func TestGeoIPDB(t *testing.T) {
	err := Run(t.Context(), Config{GeoIPDB: t.TempDir() + "/none.mmdb", AccessLog: AccessLog{Format: "off"}})
	bad, ok := err.(*ConfigError)
	if !ok || !strings.Contains(bad.Fix, "--geoip-db") {
		t.Errorf("got %v", err)
	}
}
