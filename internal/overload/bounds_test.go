package overload

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// TestLevels follows memory up and down: up at once, down five points later.
func TestLevels(t *testing.T) {
	m := meter{enter: [3]float64{0.85, 0.92, 0.98}}
	for i, step := range []struct {
		used uint64
		want Level
	}{
		{0, Calm}, {84, Calm}, {85, Thrifty}, {81, Thrifty}, {79, Calm}, {84, Calm}, {92, Refusing}, {88, Refusing}, {86, Thrifty},
		{98, Cutting}, {94, Cutting}, {92, Refusing}, {88, Refusing}, {80, Thrifty}, {120, Cutting}, {10, Calm},
	} {
		if m.set(step.used, 100); m.level != step.want {
			t.Errorf("step %d: %d %% gives %s, want %s", i, step.used, m.level, step.want)
		}
	}
	if m.set(1<<60, 0); m.level != Calm {
		t.Errorf("without a bound the level is %s", m.level)
	}
}

// TestMemory runs the bounds with a memory that the test fills and empties.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Uint64
		var collected atomic.Int64
		var log bytes.Buffer
		b := New(Options{MaxMemory: 1000 << 20, MaxConnections: 100, Memory: used.Load, Collect: func() { collected.Add(1) },
			Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = b.Run(ctx); close(done) }()
		set := func(mib uint64) {
			used.Store(mib << 20)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		peer := netip.MustParseAddr("192.0.2.1")

		set(500)
		if code, ok := b.Admit(); !ok || code != 0 || b.Level() != Calm {
			t.Errorf("calm: %v %v %v", code, ok, b.Level())
		}
		set(860)
		if _, ok := b.Admit(); !ok || b.Level() != Thrifty || b.Accept(peer) != 0 {
			t.Errorf("at 86 %% the level is %s", b.Level())
		}
		b.Release(peer)
		set(930)
		if code, ok := b.Admit(); ok || code != diag.OverloadMemory || b.Level() != Refusing {
			t.Errorf("at 93 %%: %v %v %v", code, ok, b.Level())
		}
		if code := b.Accept(peer); code != diag.OverloadMemory {
			t.Errorf("a connection at 93 %%: %v", code)
		}
		if n := collected.Load(); n < 2 || n > 4 {
			t.Errorf("collected %d times in two or three seconds", n)
		}
		set(990)
		if b.Level() != Cutting {
			t.Errorf("at 99 %% the level is %s", b.Level())
		}
		set(100)
		if code, ok := b.Admit(); !ok || b.Level() != Calm {
			t.Errorf("after: %v %v", code, b.Level())
		}
		if n := b.State().Shed[diag.OverloadMemory]; n != 2 {
			t.Errorf("%d shed, want 2", n)
		}
		if n := strings.Count(log.String(), "msg=overload "); n != 3 || strings.Count(log.String(), "overload is over") != 1 {
			t.Errorf("log:\n%s", log.String())
		}
		stop()
		<-done
	})
}

// TestReserve notices a burst before the next look, and forgets promises once they show.
func TestReserve(t *testing.T) {
	var used atomic.Uint64
	used.Store(800)
	b := New(Options{MaxMemory: 1000, MaxConnections: 10, Memory: used.Load})
	b.look()
	b.Reserve(100)
	if b.Level() != Calm {
		t.Errorf("90 %%: %s before the next look", b.Level())
	}
	b.Reserve(30)
	if b.Level() != Refusing {
		t.Errorf("93 %%: %s", b.Level())
	}
	b.look()
	b.look()
	if b.Level() != Thrifty {
		t.Errorf("nothing was used after all: %s", b.Level())
	}
}

// TestConnections bounds the total and each address; exempt addresses only count for the total.
func TestConnections(t *testing.T) {
	proxy := netip.MustParsePrefix("10.0.0.0/8")
	b := New(Options{MaxMemory: 1 << 40, MaxConnections: 6, MaxPerAddress: 2, Exempt: proxy.Contains})
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	for i, step := range []struct {
		from string
		want diag.Code
	}{
		{"192.0.2.1", 0}, {"::ffff:192.0.2.1", 0}, {"192.0.2.1", diag.OverloadAddress}, {"192.0.2.2", 0},
		{"2001:db8::1", 0}, {"2001:db8::2", 0}, {"2001:db8::3", diag.OverloadAddress},
		{"10.1.1.1", 0}, {"10.1.1.1", diag.OverloadConnections},
	} {
		if got := b.Accept(a(step.from)); got != step.want {
			t.Errorf("step %d, %s: %v, want %v", i, step.from, got, step.want)
		}
	}
	if s := b.State(); s.Resources[connections].Level != Refusing || b.Level() != Thrifty {
		t.Errorf("full: %+v, level %s", s.Resources, b.Level())
	}
	for _, from := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::ffff", "2001:db8::ffff", "10.1.1.1"} {
		b.Release(a(from))
	}
	for i := range b.addresses.shards {
		if n := len(b.addresses.shards[i].open); n > 0 {
			t.Errorf("%d addresses are remembered although none has a connection", n)
		}
	}
	s := b.State()
	if s.Resources[connections].Used != 0 || b.Level() != Calm || s.Shed[diag.OverloadAddress] != 2 || s.Shed[diag.OverloadConnections] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestHandshakesGiveWay lets the one that waits longest for its client go, not those that compute.
func TestHandshakesGiveWay(t *testing.T) {
	b := New(Options{MaxMemory: 1 << 40, MaxConnections: 100, MaxPerAddress: 50, MaxHandshakes: 4})
	woken := map[string]int{}
	begin := func(from string) (*Handshake, diag.Code) {
		return b.BeginHandshake(netip.MustParseAddr(from), func() { woken[from]++ })
	}
	first, _ := begin("192.0.2.1")
	second, _ := begin("192.0.2.2")
	third, _ := begin("192.0.2.3")
	fourth, _ := begin("192.0.2.4")
	if first.Turn(time.Now()) != 0 {
		t.Fatal("no turn although nobody computes")
	}
	fifth, code := begin("192.0.2.5")
	if code != 0 || woken["192.0.2.2"] != 1 || len(woken) != 1 || !second.Gone() || !second.End() {
		t.Errorf("%v; gave way: %v", code, woken)
	}
	first.Yield()
	if _, code = begin("192.0.2.6"); code != 0 || !third.Gone() {
		t.Errorf("%v; gave way: %v", code, woken)
	}
	if third.Turn(time.Now().Add(time.Hour)) != diag.OverloadHandshakes {
		t.Error("a handshake that gave way got a turn")
	}
	for _, h := range []*Handshake{first, fourth, fifth} {
		if h.End() {
			t.Error("a handshake gave way without need")
		}
		h.End() // does nothing
	}
	if n := b.shakes.count(); n != 1 || len(b.shakes.addresses) != 1 {
		t.Errorf("%d in progress, want 1; by address %v", n, b.shakes.addresses)
	}
	// One address: at most half of the bound once half of it is in use, and no other gives way for it.
	gave := len(woken)
	for range 10 {
		_, code = begin("192.0.2.9")
	}
	if code != diag.OverloadHandshakes || len(woken) != gave || b.shakes.count() > 3 {
		t.Errorf("one address: %v, gave way: %v, %d in progress", code, woken, b.shakes.count())
	}
}

// TestTurns lets only so many compute, and gives up at the deadline.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{MaxMemory: 1 << 40, MaxConnections: 1000, MaxHandshakes: 1000})
		var all []*Handshake
		for range cap(b.turns) + 1 {
			h, code := b.BeginHandshake(netip.AddrFrom4([4]byte{192, 0, 2, byte(len(all))}), func() {})
			if code != 0 {
				t.Fatal(code)
			}
			all = append(all, h)
		}
		for _, h := range all[1:] {
			if h.Turn(time.Now()) != 0 {
				t.Fatal("no turn")
			}
		}
		begun := time.Now()
		if code := all[0].Turn(begun.Add(3 * time.Second)); code != diag.OverloadHandshakes || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %v", code, time.Since(begun))
		}
		go func() { time.Sleep(time.Second); all[1].Yield() }()
		if code := all[0].Turn(time.Now().Add(3 * time.Second)); code != 0 {
			t.Errorf("%v although another yielded", code)
		}
		for _, h := range all {
			h.End()
		}
		if len(b.turns) != 0 || b.shakes.count() != 0 || b.shakes.oldest != nil || b.shakes.newest != nil {
			t.Errorf("%d turns and %d handshakes are left", len(b.turns), b.shakes.count())
		}
	})
}

// TestAllowed reads limits as Linux shows them.
func TestAllowed(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	const info = "MemTotal:       16000000 kB\nMemFree: 1 kB\n"
	for name, c := range map[string]struct {
		root fstest.MapFS
		want uint64
	}{
		"nothing known": {fstest.MapFS{}, 0},
		"machine":       {fstest.MapFS{"proc/meminfo": file(info)}, 16000000 << 10},
		"v2, a parent's limit": {fstest.MapFS{"proc/meminfo": file(info), "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/memory.max": file("536870912\n")}, 512 << 20},
		"v2 in a container": {fstest.MapFS{"proc/meminfo": file(info), "proc/self/cgroup": file("0::/kubepods/x\n"),
			"sys/fs/cgroup/memory.max": file("268435456\n")}, 256 << 20},
		"v1": {fstest.MapFS{"proc/meminfo": file(info), "proc/self/cgroup": file("4:cpu,cpuacct:/\n3:memory:/docker/x\n"),
			"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": file("134217728\n")}, 128 << 20},
		"v1 without limit": {fstest.MapFS{"proc/meminfo": file(info), "proc/self/cgroup": file("3:memory:/\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, 16000000 << 10},
	} {
		if got := allowed(c.root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if n := DefaultMemory(); n < 64<<20 {
		t.Errorf("the default here is %d bytes", n)
	}
	if b := New(Options{}); b.opts.MaxHandshakes < 1024 || b.opts.MaxConnections < 1 || b.opts.MaxPerAddress < 1 || b.opts.Memory() < 100<<10 {
		t.Errorf("defaults: %+v", b.opts)
	}
}

// TestNone bounds nothing without Bounds.
func TestNone(t *testing.T) {
	var b *Bounds
	h, code := b.BeginHandshake(netip.Addr{}, nil)
	if h != nil || code != 0 || h.Turn(time.Time{}) != 0 || h.Gone() || h.End() || b.Accept(netip.Addr{}) != 0 || b.Level() != Calm {
		t.Error("a nil *Bounds bounds something")
	}
	h.Yield()
	b.Release(netip.Addr{})
	b.Reserve(1)
	b.Shed(diag.OverloadMemory)
}

func BenchmarkAdmit(b *testing.B) {
	bounds := New(Options{})
	for b.Loop() {
		bounds.Admit()
	}
}
