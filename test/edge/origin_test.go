//go:build e2e

package edge

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
)

// TestPoolOfEveryAPI reaches one pool through an EdgeHost, an HTTPRoute and a VirtualService.
func TestPoolOfEveryAPI(t *testing.T) {
	t.Parallel()
	a := startOrigin(t, "a", nil)
	w := originWorld(t, originPool("main", []string{a.entry()}), "edge.test")
	w.files["secret.yaml"] = w.secret("edge", "edge.test", "gateway.test", "istio.test")
	w.files["gateway.yaml"] = documents(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: hakone
  listeners: [{name: https, hostname: gateway.test, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: edge}]}}]
`, `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{group: hakone.dev, kind: OriginPool, name: main}]}]
`)
	w.files["istio.yaml"] = documents(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: igw}
spec:
  selector: {istio: ingressgateway}
  servers: [{name: s, hosts: [istio.test], port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: edge}}]
`, `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: [istio.test]
  gateways: [igw]
  http: [{route: [{destination: {host: main.default.originpool}}]}]
`)
	w.start()
	for _, host := range []string{"edge.test", "gateway.test", "istio.test"} {
		ans := w.get(w.browser(true, "", nil), "https://"+host+"/x")
		if says := saidBy(t, ans.Body); ans.StatusCode != 200 || says.Origin != "a" || says.Host != host {
			t.Errorf("%s: %d %+v", host, ans.StatusCode, says)
		}
		if l := w.line(ans); l.S("pool") != "default/main" || l.S("server") != "a" {
			t.Errorf("%s: pool %q and server %q in the log", host, l.S("pool"), l.S("server"))
		}
	}
	if rows, state := w.originLs("default/main"); state != "healthy" || len(rows) != 1 || rows["a"].Requests != 3 {
		t.Errorf("%s %+v", state, rows)
	}
}

// TestMonitor takes an origin out by its checks and brings it back, ends and restarts it, while clients
// browse: none of their requests fails.
func TestMonitor(t *testing.T) {
	t.Parallel()
	a, b := startOrigin(t, "a", nil), startOrigin(t, "b", nil)
	w := originWorld(t, originPool("main", []string{a.entry(), b.entry()}, `steering: "off"`,
		"monitor: {type: http, path: /health, interval: 1s, timeout: 1s, retries: 0}"), "a.test")
	w.start()
	w.awaitOrigin("a", "healthy")
	load := w.startTraffic("https://a.test/x", 4)
	await(t, "traffic at a", func() bool { return a.served.Load() > 20 })
	if n := b.served.Load(); n != 0 {
		t.Errorf("the spare served %d requests", n)
	}
	a.check.Store(500)
	if row := w.awaitOrigin("a", "unhealthy"); row.Code != "HK3221" || !strings.Contains(row.Reason, "500") {
		t.Errorf("%+v", row)
	}
	if out := w.g.Run("origin", "ls").Out; !strings.Contains(out, "HK3221") || !strings.Contains(out, "unhealthy") {
		t.Errorf("origin ls says no reason:\n%s", out)
	}
	time.Sleep(300 * time.Millisecond) // what was on its way
	before := a.served.Load()
	await(t, "traffic at b", func() bool { return b.served.Load() > 20 })
	if n := a.served.Load() - before; n != 0 {
		t.Errorf("an unhealthy origin served %d requests", n)
	}
	if w.g.Counter("hakone_origin_healthy", `origin="a"`) != 0 || w.g.Counter("hakone_origin_healthy", `origin="b"`) != 1 {
		t.Error("the metric differs")
	}
	a.check.Store(200)
	w.awaitOrigin("a", "healthy")
	before = a.served.Load()
	await(t, "traffic at a again", func() bool { return a.served.Load() > before+20 })
	// Its process dies in the middle of requests, which GET may repeat.
	a.down()
	if row := w.awaitOrigin("a", "unhealthy"); row.Code != "HK3202" && !strings.Contains(row.Reason, "refused") {
		t.Errorf("%+v", row)
	}
	a.up()
	w.awaitOrigin("a", "healthy")
	before = a.served.Load()
	await(t, "traffic at the restarted a", func() bool { return a.served.Load() > before+20 })
	w.flawless(load)
}

// TestEjection takes an origin out that answers 503, and lets it in again.
func TestEjection(t *testing.T) {
	t.Parallel()
	a, b := startOrigin(t, "a", nil), startOrigin(t, "b", nil)
	w := originWorld(t, originPool("main", []string{a.entry(), b.entry()}, `steering: "off"`, "passive: {consecutiveFailures: 3, ejectionTime: 2s}"), "a.test")
	w.start()
	c := w.browser(true, "", nil)
	post := func() int { // is not repeated elsewhere
		resp, err := c.Post("https://a.test/x", "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	a.answer.Store(503)
	for n := range 3 {
		if s := post(); s != 503 {
			t.Fatalf("request %d: %d", n, s)
		}
	}
	row := w.awaitOrigin("a", "ejected")
	if row.Code != "HK3224" || row.Failures != 3 {
		t.Errorf("%+v", row)
	}
	for range 5 {
		if s := post(); s != 200 {
			t.Errorf("with a out: %d", s)
		}
	}
	if n := a.served.Load(); n != 3 {
		t.Errorf("the ejected origin served %d requests", n)
	}
	if w.g.Counter("hakone_origin_ejections_total", `origin="a"`) != 1 {
		t.Error("the ejection is not counted")
	}
	a.answer.Store(200)
	w.awaitOrigin("a", "healthy")
	if s := w.asked(c, "https://a.test/x"); s.Origin != "a" {
		t.Errorf("after the ejection %s answers", s.Origin)
	}
}

// TestFallback sends everything to the fallback below the minimum, and where the pool is disabled; and to
// somebody, if everybody is unhealthy.
func TestFallback(t *testing.T) {
	t.Parallel()
	a, b, spare := startOrigin(t, "a", nil), startOrigin(t, "b", nil), startOrigin(t, "spare", nil)
	const monitor = "monitor: {type: http, path: /health, interval: 1s, retries: 0}"
	pool := func(more ...string) string {
		return documents(originPool("main", []string{a.entry(), b.entry()}, append([]string{"minimumOrigins: 2", "fallbackRef: {name: other}", monitor}, more...)...),
			originPool("other", []string{spare.entry()}, monitor))
	}
	w := originWorld(t, pool(), "a.test")
	w.start()
	c := w.browser(true, "", nil)
	w.awaitOrigin("a", "healthy")
	w.awaitOrigin("b", "healthy")
	if s := w.asked(c, "https://a.test/x"); s.Origin == "spare" {
		t.Error("the fallback serves a healthy pool's clients")
	}
	a.check.Store(404)
	w.awaitOrigin("a", "unhealthy")
	for range 5 {
		if s := w.asked(c, "https://a.test/x"); s.Origin != "spare" {
			t.Errorf("below the minimum %s serves", s.Origin)
		}
	}
	if _, state := w.originLs("default/main"); state != "below minimum" {
		t.Errorf("state %q", state)
	}
	if h := w.g.Get("/healthz?verbose"); !strings.Contains(h, "HK3225") && !strings.Contains(h, "default/main") {
		t.Errorf("health says nothing:\n%s", h)
	}
	if w.g.Counter("hakone_pool_healthy", `pool="default/main"`) != 0 {
		t.Error("the metric says healthy")
	}
	// All are unhealthy: the first pool of the chain with a healthy origin, which is b's, then the last one's.
	spare.check.Store(500)
	await(t, "b serving alone", func() bool { return w.asked(c, "https://a.test/x").Origin == "b" })
	b.check.Store(500)
	await(t, "the unhealthy spare serving", func() bool { return w.asked(c, "https://a.test/x").Origin == "spare" })
	a.check.Store(200)
	b.check.Store(200)
	await(t, "the pool serving again", func() bool { return w.asked(c, "https://a.test/x").Origin != "spare" })
	w.changePool(pool("enabled: false"))
	if s := w.asked(c, "https://a.test/x"); s.Origin != "spare" {
		t.Errorf("%s serves for a disabled pool", s.Origin)
	}
	// Nobody can be tried at all.
	w.changePool(documents(originPool("main", []string{a.entry("enabled: false")}), originPool("other", []string{spare.entry()})))
	if ans := w.get(c, "https://a.test/x"); ans.got() != "503 HK3219" {
		t.Errorf("all disabled: %s", ans.got())
	}
	// A chain that leads back is told of.
	w.g.Write("pool.yaml", documents(originPool("main", []string{a.entry()}, "fallbackRef: {name: other}"), originPool("other", []string{spare.entry()}, "fallbackRef: {name: main}")))
	if r := gateway.Command(t, nil, "", "check", w.g.Dir); !strings.Contains(r.Out+r.Err, "HK5823") {
		t.Errorf("check says nothing of the circle:\n%s", r.Out)
	}
}

// TestShares steers by weights: 1 to 3 within what chance allows, and nothing to weight 0.
func TestShares(t *testing.T) {
	t.Parallel()
	a, b, c := startOrigin(t, "a", nil), startOrigin(t, "b", nil), startOrigin(t, "c", nil)
	w := originWorld(t, originPool("main", []string{a.entry("weight: 0.25"), b.entry("weight: 0.75"), c.entry("weight: 0")}), "a.test")
	w.start()
	client := w.browser(true, "", nil)
	const n = 800
	for range n {
		w.asked(client, "https://a.test/x")
	}
	// Five standard deviations: once in two million runs.
	if got, bound := float64(a.served.Load())-n*0.25, 5*math.Sqrt(n*0.25*0.75); math.Abs(got) > bound {
		t.Errorf("a served %d of %d", a.served.Load(), n)
	}
	if a.served.Load()+b.served.Load() != n || c.served.Load() != 0 {
		t.Errorf("%d, %d and %d", a.served.Load(), b.served.Load(), c.served.Load())
	}
}

// TestHash keeps each address at its origin, and moves nobody but the clients of one that is lost.
func TestHash(t *testing.T) {
	t.Parallel()
	a, b, c := startOrigin(t, "a", nil), startOrigin(t, "b", nil), startOrigin(t, "c", nil)
	pool := func(ofA ...string) string {
		return originPool("main", []string{a.entry(ofA...), b.entry(), c.entry()}, "steering: hash")
	}
	w := originWorld(t, pool(), "a.test")
	w.start()
	places := func() []string {
		var out []string
		for i := range 30 {
			out = append(out, w.asked(w.fromAddress(fmt.Sprintf("127.0.1.%d", i+1)), "https://a.test/x").Origin)
		}
		return out
	}
	first := places()
	if again := places(); !slices.Equal(first, again) {
		t.Errorf("addresses moved:\n%v\n%v", first, again)
	}
	for _, o := range []string{"a", "b", "c"} {
		if !slices.Contains(first, o) {
			t.Errorf("nobody of 30 is at %s: %v", o, first)
		}
	}
	w.changePool(pool("enabled: false"))
	for i, now := range places() {
		if now == "a" || first[i] != "a" && now != first[i] {
			t.Errorf("client %d moved from %s to %s when a was lost", i, first[i], now)
		}
	}
}

// TestGeo steers by country and continent, with a database made here.
func TestGeo(t *testing.T) {
	t.Parallel()
	tokyo, berlin, rest := startOrigin(t, "tokyo", nil), startOrigin(t, "berlin", nil), startOrigin(t, "rest", nil)
	w := originWorld(t, originPool("main", []string{tokyo.entry("regions: [JP]"), berlin.entry("regions: [EU]"), rest.entry()}, "steering: geo"), "a.test")
	db := filepath.Join(gateway.Folder(t), "country.mmdb")
	writeCountries(t, db, [2]string{"JP", "AS"}, [2]string{"FR", "EU"})
	w.start("--geoip-db", db, "--trusted-proxies", "127.0.0.0/8")
	c := w.browser(true, "", nil)
	for _, v := range []struct{ client, want string }{
		{"1.2.3.4", "tokyo"}, {"200.1.2.3", "berlin"}, {"2001:db8::1", "rest"},
	} {
		if s := w.asked(c, "https://a.test/x", "X-Forwarded-For", v.client); s.Origin != v.want {
			t.Errorf("%s is served by %s, want %s", v.client, s.Origin, v.want)
		}
	}
}

// writeCountries writes a database in MaxMind's format that places IPv4 addresses below 128.0.0.0 and those
// from there on in a country and continent each.
func writeCountries(t *testing.T, path string, low, high [2]string) {
	t.Helper()
	text := func(s string) string { return string(rune(2<<5|len(s))) + s }
	object := func(pairs ...string) string {
		return string([]byte{7<<5 | byte(len(pairs)/2)}) + strings.Join(pairs, "")
	}
	place := func(p [2]string) string {
		return object(text("country"), object(text("iso_code"), text(p[0])), text("continent"), object(text("code"), text(p[1])))
	}
	lower := place(low)
	// One node of two records of 24 bits: 1 (the nodes) + 16 (the separator) + the offset of the data.
	record := func(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(17+n))[1:]) }
	out := record(0) + record(len(lower)) + strings.Repeat("\x00", 16) + lower + place(high) + "\xab\xcd\xefMaxMind.com" +
		object(text("node_count"), "\xc1\x01", text("record_size"), "\xa1\x18", text("ip_version"), "\xa1\x04", text("database_type"), text("Test"),
			text("languages"), "\x00\x04", text("binary_format_major_version"), "\xa1\x02", text("binary_format_minor_version"), "\xa0",
			text("build_epoch"), "\x04\x02\x65\x53\xf1\x00", text("description"), "\xe0")
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAffinity keeps a browser by its cookie: it stays, believes in no forged cookie, drains an origin that
// is switched off, and fails over as the pool says.
func TestAffinity(t *testing.T) {
	t.Parallel()
	a, b := startOrigin(t, "a", nil), startOrigin(t, "b", nil)
	origins := map[string]*originServer{"a": a, "b": b}
	pool := func(affinity, ofA, ofB string) string {
		return originPool("main", []string{a.entry("enabled: " + ofA), b.entry("enabled: " + ofB)}, "affinity: {type: cookie, ttl: 1h, drainDuration: 4s"+affinity+"}",
			"monitor: {type: http, path: /health, interval: 1s, retries: 0}")
	}
	w := originWorld(t, pool("", "true", "true"), "a.test")
	w.start()
	c := w.browser(true, "", nil)
	first := w.get(c, "https://a.test/x")
	home := saidBy(t, first.Body).Origin
	cookies := first.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "HK_Origin" || !cookies[0].HttpOnly || !cookies[0].Secure || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].MaxAge != 3600 {
		t.Fatalf("%v", first.Header["Set-Cookie"])
	}
	session := "HK_Origin=" + cookies[0].Value
	for range 30 {
		if s := w.asked(c, "https://a.test/x", "Cookie", "x=y; "+session); s.Origin != home {
			t.Fatalf("the client of %s is served by %s", home, s.Origin)
		}
	}
	// A cookie that somebody made up, or changed, is none: such clients are spread, and get a true one.
	for _, forged := range []string{"a", home, strings.Repeat("A", len(cookies[0].Value)), cookies[0].Value[:len(cookies[0].Value)-2] + "zz"} {
		seen := map[string]bool{}
		for range 40 {
			ans := w.get(c, "https://a.test/x", "Cookie", "HK_Origin="+forged)
			seen[saidBy(t, ans.Body).Origin] = true
			if len(ans.Cookies()) != 1 {
				t.Fatalf("no new cookie for the forged %q", forged)
			}
		}
		if !seen["a"] || !seen["b"] {
			t.Errorf("the forged cookie %q keeps its client at %v", forged, seen)
		}
	}
	// Unhealthy: another takes the session over, or answers for it, or nobody does.
	other := map[string]string{"a": "b", "b": "a"}[home]
	origins[home].check.Store(500)
	w.awaitOrigin(home, "unhealthy")
	moved := w.get(c, "https://a.test/x", "Cookie", session)
	if saidBy(t, moved.Body).Origin != other || len(moved.Cookies()) != 1 {
		t.Fatalf("sticky: %s %v", moved.Body, moved.Header["Set-Cookie"])
	}
	w.changePool(pool(", failover: temporary", "true", "true"))
	w.awaitOrigin(home, "unhealthy")
	if lent := w.get(c, "https://a.test/x", "Cookie", session); saidBy(t, lent.Body).Origin != other || len(lent.Cookies()) != 0 {
		t.Errorf("temporary: %s %v", lent.Body, lent.Header["Set-Cookie"])
	}
	w.changePool(pool(", failover: none", "true", "true"))
	w.awaitOrigin(home, "unhealthy")
	if none := w.get(c, "https://a.test/x", "Cookie", session); none.got() != "503 HK3220" {
		t.Errorf("none: %s", none.got())
	}
	origins[home].check.Store(200)
	w.awaitOrigin(home, "healthy")
	if s := w.asked(c, "https://a.test/x", "Cookie", session); s.Origin != home {
		t.Errorf("back from its illness, the origin's client is at %s", s.Origin)
	}
	// Switched off: its clients stay for a while, and nobody new comes.
	if home == "a" {
		w.changePool(pool("", "false", "true"))
	} else {
		w.changePool(pool("", "true", "false"))
	}
	off := time.Now()
	if s := w.asked(c, "https://a.test/x", "Cookie", session); s.Origin != home {
		t.Errorf("while it drains, the client of %s is at %s", home, s.Origin)
	}
	if row := w.awaitOrigin(home, "draining"); row.Reason == "" {
		t.Error("draining without a reason")
	}
	for range 20 {
		if s := w.asked(c, "https://a.test/x"); s.Origin != other {
			t.Error("a new client came to the draining origin")
		}
	}
	w.awaitOrigin(home, "disabled")
	if d := time.Since(off); d < 3*time.Second {
		t.Errorf("drained for %s only", d)
	}
	if s := w.asked(c, "https://a.test/x", "Cookie", session); s.Origin != other {
		t.Errorf("after the drain %s serves", s.Origin)
	}
}
