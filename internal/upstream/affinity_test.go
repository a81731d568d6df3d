package upstream

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// visit makes a request to a pool with the cookie that a browser has, and returns the origin that served it, and
// the cookie that was set, nil for none.
func (f *farm) visit(pool string, jar *string) (string, *http.Cookie) {
	f.t.Helper()
	c := &Choice{Secure: true}
	if *jar != "" {
		c.Cookie = []byte(*jar)
	}
	e, err := f.choose(pool, c, nil)
	if err != nil {
		return err.Code.String(), nil
	}
	lease := &Conn{Endpoint: e, up: f.held[pool].Serving()}
	v := lease.SetCookie(c)
	if v == "" {
		return e.Server(), nil
	}
	set, perr := http.ParseSetCookie(v)
	if perr != nil {
		f.t.Fatalf("%q: %v", v, perr)
	}
	*jar = set.Value
	return e.Server(), set
}

func affine(a ir.Affinity) ir.OriginPool {
	a.Cookie = "HK_Origin"
	return ir.OriginPool{Affinity: &a}
}

func TestAffinitySticks(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.Random, affine(ir.Affinity{TTL: time.Hour}), servers("a", "b", "c", "d")...)
	f.add("q", ir.Random, affine(ir.Affinity{TTL: time.Hour}), servers("e", "f", "g", "h")...)
	f.apply()
	for range 20 {
		jar := ""
		p, set := f.visit("p", &jar)
		if set == nil || set.Name != "HK_Origin" || set.MaxAge != 3600 || !set.Secure || !set.HttpOnly || set.SameSite != http.SameSiteLaxMode || set.Path != "/" {
			t.Fatalf("cookie %+v", set)
		}
		q, set := f.visit("q", &jar) // the same host has another path that leads to another pool
		if set == nil {
			t.Fatal("no cookie of the second pool")
		}
		for range 10 {
			if got, again := f.visit("p", &jar); got != p || again != nil {
				t.Fatalf("was at %s, is at %s, cookie %v", p, got, again)
			}
			if got, again := f.visit("q", &jar); got != q || again != nil {
				t.Fatalf("was at %s, is at %s, cookie %v", q, got, again)
			}
		}
	}
}

// TestAffinityIsOpaque holds that a client can neither read nor choose its origin, nor bring one that another
// process has sealed.
func TestAffinityIsOpaque(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.FirstHealthy, affine(ir.Affinity{}), servers("a", "b")...)
	f.apply()
	one, two := "", ""
	f.visit("p", &one)
	f.visit("p", &two)
	if one == two {
		t.Error("two clients of one origin can tell that they share it")
	}
	b := f.member("p", "b").origin.tag
	good := f.r.sealer.seal(f.held["p"].origins.tag, b, time.Now())
	if got, _ := f.visit("p", &good); got != "b" {
		t.Fatalf("our own session leads to %s", got)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(good)
	raw[len(raw)/2] ^= 1
	for _, forged := range []string{base64.RawURLEncoding.EncodeToString(raw), newSealer().seal(f.held["p"].origins.tag, b, time.Now()),
		"b", good[:len(good)-1], good + "x", strings.Repeat(".", 100), strings.Repeat("x.", 10) + good, "\"" + good + "\""} {
		jar := forged
		if got, set := f.visit("p", &jar); got != "a" || set == nil {
			t.Errorf("%.20q led to %s", forged, got)
		}
	}
}

func TestAffinityAttributes(t *testing.T) {
	for _, c := range []struct {
		name   string
		a      ir.Affinity
		secure bool
		want   string
	}{
		{"HTTP", ir.Affinity{SameSite: "Auto", Secure: "Auto"}, false, "; Path=/; HttpOnly"},
		{"HTTPS", ir.Affinity{}, true, "; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"always", ir.Affinity{Secure: "Always", SameSite: "None"}, false, "; Path=/; HttpOnly; Secure; SameSite=None"},
		{"never", ir.Affinity{Secure: "Never", SameSite: "Strict", TTL: 90 * time.Second}, true, "; Path=/; HttpOnly; Max-Age=90; SameSite=Strict"},
	} {
		f := newFarm(t, Options{})
		f.add("p", ir.Random, affine(c.a), servers("a")...)
		f.apply()
		choice := &Choice{Secure: c.secure}
		e, _ := f.choose("p", choice, nil)
		v := (&Conn{Endpoint: e, up: f.held["p"]}).SetCookie(choice)
		if _, attributes, _ := strings.Cut(v, ";"); ";"+attributes != c.want {
			t.Errorf("%s: %q, want %q", c.name, v, c.want)
		}
		f.close()
	}
}

func TestAffinityFailover(t *testing.T) {
	for _, c := range []struct {
		failover     string
		away, back   string // where the client is while its origin is not healthy, and afterwards
		cookie       bool   // a new one while away
		otherHealthy bool
	}{
		{"sticky", "b", "b", true, true},
		{"", "b", "b", true, true},
		{"temporary", "b", "a", false, true},
		{"none", "HK3220", "a", false, true},
		{"sticky", "a", "a", false, false}, // nobody is healthy: then rather where it was
		{"temporary", "a", "a", false, false},
		{"none", "HK3220", "a", false, false},
	} {
		f := newFarm(t, Options{})
		f.add("p", ir.Random, affine(ir.Affinity{Failover: c.failover}), servers("a", "b")...)
		f.apply()
		jar := f.r.sealer.seal(f.held["p"].origins.tag, f.member("p", "a").origin.tag, time.Now())
		f.verdict("p", "a", diag.UpstreamReset)
		if !c.otherHealthy {
			f.verdict("p", "b", diag.UpstreamReset)
		}
		got, set := f.visit("p", &jar)
		if got != c.away || (set != nil) != c.cookie {
			t.Errorf("%s: %s with cookie %v, want %s, %v", c.failover, got, set, c.away, c.cookie)
		}
		f.verdict("p", "a", 0)
		f.verdict("p", "b", 0)
		if got, _ := f.visit("p", &jar); got != c.back {
			t.Errorf("%s: back at %s, want %s", c.failover, got, c.back)
		}
		f.close()
	}
}

// TestAffinityAcrossFallback holds that a client comes back to its origin when its pool is back.
func TestAffinityAcrossFallback(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	p := affine(ir.Affinity{Failover: "sticky"})
	p.Fallback, p.Minimum = "q", 2
	f.add("p", ir.FirstHealthy, p, servers("a", "b")...)
	f.add("q", ir.FirstHealthy, affine(ir.Affinity{}), servers("c")...)
	f.apply()
	jar := ""
	f.visit("p", &jar)
	f.verdict("p", "b", diag.UpstreamReset)
	if got, set := f.visit("p", &jar); got != "c" || set == nil {
		t.Fatalf("below the minimum: %s", got)
	}
	f.verdict("p", "b", 0)
	f.verdict("p", "a", 0)
	if got, set := f.visit("p", &jar); got != "a" || set != nil {
		t.Errorf("back: %s with cookie %v", got, set)
	}
}

func TestAffinityDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFarm(t, Options{})
		defer f.close()
		f.add("p", ir.FirstHealthy, affine(ir.Affinity{Drain: time.Minute, TTL: time.Hour}), servers("a", "b")...)
		f.apply()
		jar := ""
		f.visit("p", &jar)
		early := jar
		off := *f.eps["p"][0].Server
		off.Disabled = true
		f.eps["p"] = []ir.Endpoint{{Host: f.eps["p"][0].Host, Port: 80, Server: &off}, f.eps["p"][1]}
		f.apply()
		if s := f.r.Pools()[0].Origins[0]; s.Health != OriginDraining || s.Enabled {
			t.Errorf("%+v", s)
		}
		time.Sleep(59 * time.Second)
		f.apply()
		fresh := ""
		if got, _ := f.visit("p", &fresh); got != "b" {
			t.Errorf("a new client at %s", got)
		}
		if got, set := f.visit("p", &jar); got != "a" || set != nil {
			t.Errorf("the old client at %s within the drain", got)
		}
		time.Sleep(time.Second)
		if got, set := f.visit("p", &jar); got != "b" || set == nil {
			t.Errorf("the old client at %s after the drain", got)
		}
		f.eps["p"][0].Server = &ir.Server{Name: "a", Share: 1}
		f.apply()
		if got, _ := f.visit("p", &early); got != "a" {
			t.Errorf("enabled again: %s", got)
		}
		time.Sleep(time.Hour)
		if _, set := f.visit("p", &early); set == nil {
			t.Error("a session outlived its time")
		}
	})
}

// TestAffinityByAddress is a hash, whatever the steering.
func TestAffinityByAddress(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	f.add("p", ir.Random, ir.OriginPool{Affinity: &ir.Affinity{ByAddress: true, Cookie: "HK_Origin"}}, servers("a", "b", "c")...)
	f.apply()
	if f.held["p"].AffinityCookie() != "" {
		t.Error("a cookie is looked for")
	}
	all := map[string]bool{}
	for i := range 100 {
		first := f.pick("p", client(i))
		all[first] = true
		if got := f.pick("p", client(i)); got != first {
			t.Fatalf("client %d at %s, then at %s", i, first, got)
		}
	}
	if len(all) != 3 {
		t.Errorf("only %v are used", all)
	}
}

func FuzzCookie(f *testing.F) {
	r := NewRegistry(Options{})
	u := r.Acquire(&ir.Upstream{Name: "p", Origins: &ir.OriginPool{Name: "ns/p"}})
	f.Cleanup(func() { r.Release(u); r.Close() })
	good := r.sealer.seal(u.origins.tag, 1, time.Now())
	f.Add([]byte(good), false)
	f.Add([]byte("."+good+"..x"), false)
	f.Add([]byte("..."), true)
	f.Fuzz(func(t *testing.T, cookie []byte, with bool) {
		if with {
			cookie = append(append(cookie, '.'), good...)
		}
		u.sessions(cookie, func(text []byte, pool, origin uint64, _ time.Time) {
			if string(text) != good || pool != u.origins.tag || origin != 1 {
				t.Fatalf("%q was taken for a session", text)
			}
		})
	})
}
