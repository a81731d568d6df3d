package upstream

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// logged is a log that a test reads while others write.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// farm is pools of origins, one for each name, whose settings a test changes and applies.
type farm struct {
	t    *testing.T
	r    *Registry
	log  *logged
	list []*ir.Upstream
	eps  map[string][]ir.Endpoint
	held map[string]*Upstream
}

func newFarm(t *testing.T, opt Options) *farm {
	t.Helper()
	f := &farm{t: t, log: &logged{}, eps: map[string][]ir.Endpoint{}, held: map[string]*Upstream{}}
	opt.Logger = slog.New(slog.NewTextHandler(f.log, nil))
	f.r = NewRegistry(opt)
	return f
}

// add declares a pool "ns/NAME" and its only upstream NAME.
func (f *farm) add(name string, how ir.Balancing, pool ir.OriginPool, servers ...ir.Server) *ir.Upstream {
	pool.Name = "ns/" + name
	u := &ir.Upstream{Name: name, Balancing: how, Protocol: ir.UpstreamHTTP1, Origins: &pool}
	f.list = append(f.list, u)
	for i := range servers {
		s := servers[i]
		if s.Share == 0 {
			s.Share = 1
		}
		if s.Share < 0 {
			s.Share = 0
		}
		f.eps[name] = append(f.eps[name], ir.Endpoint{Host: fmt.Sprintf("127.0.%d.%d", len(f.list), i+1), Port: 80, Server: &s})
	}
	return u
}

// apply makes what is declared serve, as a commit does.
func (f *farm) apply() {
	next := map[string]*Upstream{}
	for _, s := range f.list {
		next[s.Name] = f.r.Acquire(s)
		next[s.Name].SetEndpoints(f.eps[s.Name])
	}
	f.r.Settle(f.list, next)
	for _, u := range f.held {
		f.r.Release(u)
	}
	f.held = next
}

func (f *farm) close() {
	for _, u := range f.held {
		f.r.Release(u)
	}
	f.r.Close()
}

// pick chooses an origin for a request to a pool and returns its name, or the reason why there is none.
func (f *farm) pick(name string, c *Choice) string {
	e, err := f.choose(name, c, nil)
	if err != nil {
		return err.Code.String()
	}
	return e.Server()
}

func (f *farm) choose(name string, c *Choice, not *Endpoint) (*Endpoint, *Error) {
	u := f.held[name].Serving()
	q := &Query{Choice: c}
	e := u.choose(q, not)
	switch {
	case q.refused != nil:
		return nil, q.refused
	case e == nil:
		return nil, u.unavailable()
	}
	return e, nil
}

// verdict sets what checks have found out about an origin.
func (f *farm) verdict(pool, server string, code diag.Code) {
	f.t.Helper()
	for _, m := range f.held[pool].set.Load().lineup.members {
		if m.server.Name == server {
			m.origin.verdict.Store(&verdict{up: code == 0, code: code, detail: "by a test", since: time.Now(), checked: time.Now()})
			return
		}
	}
	f.t.Fatalf("no origin %s in %s", server, pool)
}

func (f *farm) member(pool, server string) *member {
	l := f.held[pool].set.Load().lineup
	for i := range l.members {
		if l.members[i].server.Name == server {
			return &l.members[i]
		}
	}
	f.t.Fatalf("no origin %s in %s", server, pool)
	return nil
}

func servers(names ...string) (out []ir.Server) {
	for _, n := range names {
		out = append(out, ir.Server{Name: n})
	}
	return out
}

func (f *farm) count(pool string, n int, c func(i int) *Choice) map[string]int {
	got := map[string]int{}
	for i := range n {
		got[f.pick(pool, c(i))]++
	}
	return got
}

func nobody(int) *Choice { return &Choice{} }

func client(i int) *Choice {
	return &Choice{Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
}

func TestSteeringOff(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.FirstHealthy, ir.OriginPool{}, ir.Server{Name: "none", Share: -1}, ir.Server{Name: "off", Disabled: true}, ir.Server{Name: "a"}, ir.Server{Name: "b"})
	f.apply()
	if got := f.count("p", 50, nobody); got["a"] != 50 {
		t.Errorf("got %v, want the first", got)
	}
	f.verdict("p", "a", diag.UpstreamConnectRefused)
	if got := f.pick("p", nil); got != "b" {
		t.Errorf("got %s, want the next", got)
	}
	f.verdict("p", "b", diag.UpstreamConnectRefused)
	if got := f.pick("p", nil); got != "a" {
		t.Errorf("got %s, want the first again where none is healthy", got)
	}
	f.member("p", "a").endpoints[0].failed()
	f.verdict("p", "a", 0)
	f.verdict("p", "b", 0)
	if got := f.pick("p", nil); got != "b" {
		t.Errorf("got %s, want the one to which connecting has not just failed", got)
	}
}

func TestSteeringRandom(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.Random, ir.OriginPool{}, ir.Server{Name: "a", Share: 0.75}, ir.Server{Name: "b", Share: 0.25}, ir.Server{Name: "c", Share: -1})
	f.apply()
	got := f.count("p", 4000, nobody)
	if got["c"] != 0 || got["a"] < 2800 || got["a"] > 3200 || got["a"]+got["b"] != 4000 {
		t.Errorf("got %v, want about 3000 to 1000", got)
	}
}

func TestSteeringLeastRequest(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.LeastRequest, ir.OriginPool{}, servers("a", "b")...)
	f.apply()
	f.member("p", "a").endpoints[0].begun()
	if got := f.count("p", 400, nobody); got["b"] < 250 {
		t.Errorf("got %v, want b preferred", got)
	}
	f.member("p", "a").endpoints[0].ended()
	if got := f.count("p", 400, nobody); got["a"] < 120 || got["b"] < 120 {
		t.Errorf("got %v, want both", got)
	}
}

// TestSteeringHash holds that a lost origin moves its own clients only, and that shares are kept.
func TestSteeringHash(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.HashAddress, ir.OriginPool{}, ir.Server{Name: "a", Share: 0.5}, ir.Server{Name: "b"}, ir.Server{Name: "c"})
	f.apply()
	before := map[int]string{}
	count := map[string]int{}
	for i := range 5000 {
		before[i] = f.pick("p", client(i))
		count[before[i]]++
		if again := f.pick("p", client(i)); again != before[i] {
			t.Fatalf("client %d at %s, then at %s", i, before[i], again)
		}
	}
	if count["a"] < 850 || count["a"] > 1150 || count["b"] < 1800 || count["c"] < 1800 {
		t.Errorf("got %v, want about 1000, 2000, 2000", count)
	}
	f.verdict("p", "b", diag.UpstreamReset)
	for i, was := range before {
		now := f.pick("p", client(i))
		if was != "b" && now != was || now == "b" {
			t.Fatalf("client %d of %s is at %s", i, was, now)
		}
	}
	if got := f.pick("p", &Choice{Address: netip.MustParseAddr("::ffff:10.0.0.7")}); got != f.pick("p", client(7)) {
		t.Errorf("an address in IPv6 form is at %s", got)
	}
}

func TestSteeringGeo(t *testing.T) {
	at := map[string]Place{"10.0.0.1": {Country: "JP", Continent: "AS"}, "10.0.0.2": {Country: "KR", Continent: "AS"}, "10.0.0.3": {Country: "DE", Continent: "EU"}}
	f := newFarm(t, Options{Locate: func(a netip.Addr) Place { return at[a.String()] }})
	defer f.close()
	f.add("p", ir.Geo, ir.OriginPool{}, ir.Server{Name: "japan", Regions: []string{"JP"}}, ir.Server{Name: "asia", Regions: []string{"AS"}}, ir.Server{Name: "world"},
		ir.Server{Name: "africa", Regions: []string{"AF"}})
	f.apply()
	for i, want := range []string{1: "japan", 2: "asia", 3: "world", 4: "world"} {
		if want == "" {
			continue
		}
		if got := f.count("p", 20, func(int) *Choice { return client(i) }); got[want] != 20 {
			t.Errorf("client %d: %v, want %s", i, got, want)
		}
	}
	f.verdict("p", "japan", diag.UpstreamReset)
	f.verdict("p", "world", diag.UpstreamReset)
	if got := f.pick("p", client(1)); got != "asia" {
		t.Errorf("without its country's origin: %s", got)
	}
	if got := f.count("p", 100, func(int) *Choice { return client(3) }); got["asia"] == 0 || got["africa"] == 0 {
		t.Errorf("without an origin for it: %v, want any that is healthy", got)
	}
	if s := f.r.Pools(); s[0].Code != 0 {
		t.Errorf("%+v", s[0])
	}
}

func TestGeoWithoutDatabase(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.Geo, ir.OriginPool{}, ir.Server{Name: "japan", Regions: []string{"JP"}}, ir.Server{Name: "world"})
	f.apply()
	if got := f.count("p", 20, client); got["world"] != 20 {
		t.Errorf("got %v", got)
	}
	if s := f.r.Pools(); s[0].Code != diag.GeoWithoutDatabase || s[0].State != PoolHealthy {
		t.Errorf("%+v", s[0])
	}
}

// TestAnotherOrigin holds that what is sent again goes to another origin where there is one.
func TestAnotherOrigin(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.HashAddress, ir.OriginPool{}, servers("a", "b")...)
	f.add("one", ir.Random, ir.OriginPool{}, servers("a")...)
	f.apply()
	for i := range 50 {
		first, _ := f.choose("p", client(i), nil)
		second, _ := f.choose("p", client(i), first)
		if first.origin == second.origin {
			t.Fatalf("client %d is at %s both times", i, first.Server())
		}
	}
	only, _ := f.choose("one", nil, nil)
	if e, err := f.choose("one", nil, only); e != only {
		t.Errorf("the only origin was not tried again: %v", err)
	}
	if e := f.held["one"].pick(&Query{}, only); e != nil {
		t.Error("the endpoint to avoid was chosen")
	}
}

func TestFallback(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("a", ir.FirstHealthy, ir.OriginPool{Minimum: 2, Fallback: "b"}, servers("a1", "a2")...)
	f.add("b", ir.FirstHealthy, ir.OriginPool{Fallback: "c"}, servers("b1")...)
	last := f.add("c", ir.FirstHealthy, ir.OriginPool{Fallback: "a"}, servers("c1")...) // a circle
	f.apply()
	want := func(what, origin string) {
		t.Helper()
		if got := f.pick("a", nil); got != origin {
			t.Errorf("%s: %s, want %s", what, got, origin)
		}
	}
	want("all healthy", "a1")
	f.verdict("a", "a1", diag.UpstreamReset)
	want("below the minimum", "b1")
	f.verdict("b", "b1", diag.UpstreamReset)
	want("the fallback is down too", "c1")
	f.verdict("c", "c1", diag.UpstreamReset)
	want("only the first has a healthy one", "a2")
	f.verdict("a", "a2", diag.UpstreamReset)
	want("none is healthy", "c1")
	changed := *last.Origins
	changed.Disabled = true
	f.list[2] = &ir.Upstream{Name: "c", Balancing: ir.FirstHealthy, Protocol: ir.UpstreamHTTP1, Origins: &changed}
	before := f.held["c"]
	f.apply()
	if f.held["c"] != before {
		t.Error("a changed setting of the pool made a new upstream")
	}
	for pool, server := range map[string]string{"a": "a1", "b": "b1"} { // nobody has asked since
		f.verdict(pool, server, diag.UpstreamReset)
	}
	f.verdict("a", "a2", diag.UpstreamReset)
	want("and the last is disabled", "b1")
}

func TestUnavailable(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("off", ir.Random, ir.OriginPool{Disabled: true}, servers("a")...)
	f.add("empty", ir.Random, ir.OriginPool{}, ir.Server{Name: "x", Disabled: true}, ir.Server{Name: "y", Share: -1})
	f.add("saved", ir.Random, ir.OriginPool{Disabled: true, Fallback: "on"}, servers("a")...)
	f.add("on", ir.Random, ir.OriginPool{}, servers("b")...)
	f.apply()
	for name, words := range map[string]string{"off": "disabled", "empty": "x: disabled, y: weight 0"} {
		_, err := f.choose(name, nil, nil)
		if err == nil || err.Code != diag.PoolUnavailable || !strings.Contains(err.Detail, words) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := f.held[name].Get(Query{}); codeOf(err) != diag.PoolUnavailable {
			t.Errorf("%s: Get: %v", name, err)
		}
	}
	if got := f.pick("saved", nil); got != "b" {
		t.Errorf("the fallback of a disabled pool was not taken: %s", got)
	}
}

// TestDespite holds that a failure keeps the code of its cause, and tells that no origin was healthy.
func TestDespite(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.Random, ir.OriginPool{}, ir.Server{Name: "a"})
	f.eps["p"][0].Host, f.eps["p"][0].Port = "127.0.0.1", 1
	f.apply()
	_, err := f.held["p"].Get(Query{})
	if codeOf(err) != diag.UpstreamConnectRefused || strings.Contains(err.Error(), "healthy") {
		t.Errorf("while healthy: %v", err)
	}
	f.verdict("p", "a", diag.UpstreamRejectedCert)
	_, err = f.held["p"].Get(Query{})
	if codeOf(err) != diag.UpstreamConnectRefused || !strings.Contains(err.Error(), "no origin of pool ns/p is healthy: a: HK3107 by a test") {
		t.Errorf("got %v", err)
	}
}

func TestPassiveHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, Options{})
		defer f.close()
		f.add("p", ir.FirstHealthy, ir.OriginPool{Passive: &ir.PassiveHealth{Failures: 3, Ejection: 10 * time.Second, MaxPercent: 50}}, servers("a", "b", "c")...)
		f.apply()
		at := func(name string) *Endpoint { return f.member("p", name).endpoints[0] }
		fail := func(name string, n int) {
			for range n {
				at(name).Answered(503)
			}
		}
		fail("a", 2)
		at("a").Answered(404)
		fail("a", 2)
		if f.pick("p", nil) != "a" {
			t.Fatal("an answer between failures did not reset them")
		}
		at("a").Failed(&Error{Code: diag.UpstreamReset, Detail: "reset"})
		if f.pick("p", nil) != "b" {
			t.Fatal("the third in a row did not eject")
		}
		s := f.r.Pools()[0].Origins[0]
		if s.Health != OriginEjected || s.Code != diag.UpstreamReset || s.Failures != 5 || s.EjectedUntil == nil || time.Until(*s.EjectedUntil) != 10*time.Second || !strings.Contains(s.Reason, "3 requests in a row") {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(f.log.String(), `msg="origin ejected" pool=ns/p origin=a endpoint=127.0.1.1:80 code=HK3204`) {
			t.Errorf("log: %s", f.log)
		}
		fail("b", 3)
		if f.pick("p", nil) != "b" {
			t.Error("more than half of the pool was ejected")
		}
		time.Sleep(10 * time.Second)
		if f.pick("p", nil) != "a" {
			t.Error("not back after its time")
		}
		fail("a", 3)
		time.Sleep(19 * time.Second)
		if f.pick("p", nil) == "a" {
			t.Error("the second in a row does not last twice as long")
		}
		time.Sleep(time.Second)
		at("a").Answered(200)
		fail("a", 3)
		time.Sleep(10 * time.Second)
		if f.pick("p", nil) != "a" {
			t.Error("a success did not end the row of ejections")
		}
		for range 20 {
			fail("a", 3)
			time.Sleep(time.Duration(f.member("p", "a").origin.out.Load() - time.Now().UnixNano()))
		}
		fail("a", 3)
		time.Sleep(100*time.Second - time.Nanosecond)
		if f.pick("p", nil) == "a" {
			t.Error("ten times did not last ten times as long")
		}
		time.Sleep(time.Nanosecond)
		if f.pick("p", nil) != "a" {
			t.Error("more than tenfold")
		}
	})
}

// TestForgiven holds that what one host's certificate meets, or the name that a client chose, takes no origin
// from the hosts that share the pool.
func TestForgiven(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.FirstHealthy, ir.OriginPool{Passive: &ir.PassiveHealth{Failures: 1, Ejection: time.Minute, MaxPercent: 100}}, ir.Server{Name: "a"}, ir.Server{Name: "b", VerifyName: "b.test"})
	f.apply()
	e := f.member("p", "a").endpoints[0]
	for _, code := range []diag.Code{diag.UpstreamRequiresCert, diag.UpstreamRejectedCert, diag.UpstreamCredentialMissing, diag.UpstreamNoHTTP2, diag.UpstreamPoolOverflow, diag.UpstreamNameMismatch} {
		e.Failed(&Error{Code: code})
		if f.pick("p", nil) != "a" {
			t.Fatalf("%s ejected", code)
		}
	}
	named := f.member("p", "b").endpoints[0]
	named.Failed(&Error{Code: diag.UpstreamNameMismatch})
	if !named.origin.ejected(time.Now().UnixNano()) {
		t.Error("a name of the origin's own that does not fit did not eject")
	}
}

// TestShared holds that upstreams of one pool share health, and that it outlives snapshots.
func TestShared(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	base := f.add("p", ir.FirstHealthy, ir.OriginPool{}, servers("a", "b")...)
	variant := *base
	variant.Name = "p|host"
	f.list = append(f.list, &variant)
	f.eps["p|host"] = f.eps["p"]
	f.apply()
	f.verdict("p", "a", diag.UpstreamReset)
	if f.pick("p|host", nil) != "b" {
		t.Error("the variant does not know")
	}
	old := f.held["p"].origins
	f.eps["p"] = append(f.eps["p"][:2:2], ir.Endpoint{Host: "127.0.0.9", Port: 80, Server: &ir.Server{Name: "c", Share: 1}})
	f.eps["p|host"] = f.eps["p"]
	f.apply()
	if f.held["p"].origins != old || len(f.r.pools) != 1 || old.users != 2 {
		t.Errorf("%d pools, %d users", len(f.r.pools), old.users)
	}
	if got := f.r.Pools(); len(got) != 1 || len(got[0].Origins) != 3 {
		t.Errorf("%+v", got)
	}
	f.list, f.eps = nil, map[string][]ir.Endpoint{}
	f.apply()
	if len(f.r.pools) != 0 || len(f.r.Pools()) != 0 {
		t.Error("a pool outlived its upstreams")
	}
}

// TestChecker holds that origins are asked with a client certificate where any of the pool's upstreams has one,
// and not in HTTP/2 because gRPC is.
func TestChecker(t *testing.T) {
	with := func(p ir.UpstreamProtocol, cert ir.SecretRef) *Upstream {
		return &Upstream{Settings: &ir.Upstream{Protocol: p, TLS: &ir.UpstreamTLS{Certificate: cert}}}
	}
	grpc, plain, pullGRPC, pull := with(ir.UpstreamHTTP2, ""), with(ir.UpstreamAuto, ""), with(ir.UpstreamHTTP2, "c"), with(ir.UpstreamHTTP1, "c")
	for i, c := range []struct {
		of   []*Upstream
		want *Upstream
	}{{[]*Upstream{grpc}, grpc}, {[]*Upstream{grpc, plain}, plain}, {[]*Upstream{plain, pullGRPC}, pullGRPC}, {[]*Upstream{grpc, plain, pullGRPC, pull}, pull}} {
		if checker(c.of) != c.want {
			t.Errorf("case %d: another one", i)
		}
	}
}

func TestTellPools(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.FirstHealthy, ir.OriginPool{Minimum: 2}, servers("a", "b")...)
	f.apply()
	f.r.tellPools()
	f.verdict("p", "a", diag.UpstreamConnectRefused)
	f.r.tellPools()
	f.r.tellPools()
	if got := f.log.String(); strings.Count(got, "below its minimum") != 1 || !strings.Contains(got, "code=HK3225") || !strings.Contains(got, "1 of at least 2 origins healthy: a: HK3201 by a test, b: healthy") {
		t.Errorf("log: %s", got)
	}
	if s := f.r.Pools()[0]; s.State != PoolDegraded || s.Healthy != 1 || s.Origins[0].Health != OriginUnhealthy || s.Origins[1].Health != OriginHealthy {
		t.Errorf("%+v", s)
	}
	f.verdict("p", "a", 0)
	f.r.tellPools()
	if !strings.Contains(f.log.String(), `msg="origin pool is healthy" pool=ns/p`) {
		t.Errorf("log: %s", f.log)
	}
}
