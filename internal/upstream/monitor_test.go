package upstream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// pipes is a network in memory: what answers at an address, and when it was asked.
type pipes struct {
	mu     sync.Mutex
	answer map[string]func(net.Conn, *http.Request) // by address; none: refused
	asked  map[string][]time.Time
}

func newPipes() *pipes {
	return &pipes{answer: map[string]func(net.Conn, *http.Request){}, asked: map[string][]time.Time{}}
}

func (p *pipes) dial(_ context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[address] = append(p.asked[address], time.Now())
	answer := p.answer[address]
	if answer == nil {
		return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("no such pipe")}
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		if req, err := http.ReadRequest(bufio.NewReader(there)); err == nil {
			answer(there, req)
		}
	}()
	return here, nil
}

func (p *pipes) times(address string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked[address])
}

// status is an answer that says this.
func status(code int) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) {
		fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok", code)
	}
}

// silent takes a request and does not answer it for a while.
func silent(d time.Duration) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) {
		time.Sleep(d)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

func (p *pipes) set(address string, f func(net.Conn, *http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer[address] = f
}

func monitored(m ir.Monitor) ir.OriginPool { return ir.OriginPool{Monitor: &m} }

func TestMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		f := newFarm(t, Options{Dial: net.dial})
		defer f.close()
		const a, b = "127.0.1.1:80", "127.0.1.2:80"
		net.set(a, status(200))
		f.add("p", ir.FirstHealthy, monitored(ir.Monitor{Type: "http", Path: "/health", Interval: 10 * time.Second, Timeout: time.Second, Retries: 1, Up: 2, Down: 3}), servers("a", "b", "c")...)
		f.eps["p"][2].Server.Disabled = true
		net.mu.Lock() // no check gets on before the first look
		f.apply()
		if s := f.r.Pools()[0].Origins; s[0].Health != OriginUnchecked || s[2].Health != OriginDisabled || f.r.Pools()[0].State != PoolHealthy {
			t.Errorf("at first: %+v", s)
		}
		net.mu.Unlock()
		synctest.Wait()
		if net.times(a) != 1 || net.times(b) != 2 || net.times("127.0.1.3:80") != 0 {
			t.Fatalf("asked at once: %v", net.asked)
		}
		if s := f.r.Pools()[0].Origins; s[0].Health != OriginHealthy || s[0].Checked == nil || s[1].Health != OriginHealthy || !strings.Contains(s[1].Reason, "the last check failed: HK3203") {
			t.Errorf("after one check: %+v", s)
		}
		time.Sleep(25 * time.Second)
		s := f.r.Pools()[0].Origins
		if s[1].Health != OriginUnhealthy || s[1].Code != diag.UpstreamConnectFailed || net.times(b) != 6 || net.times(a) != 3 {
			t.Errorf("after three checks: %+v", s)
		}
		if !strings.Contains(f.log.String(), `msg="origin is not healthy" pool=ns/p origin=b endpoint=127.0.1.2:80 code=HK3203`) {
			t.Errorf("log: %s", f.log)
		}
		net.set(b, status(204))
		net.set(a, silent(2*time.Second))
		time.Sleep(10 * time.Second)
		if s := f.r.Pools()[0].Origins; s[1].Health != OriginUnhealthy || s[0].Health != OriginHealthy {
			t.Errorf("after one success and one failure: %+v", s)
		}
		time.Sleep(10 * time.Second)
		if s := f.r.Pools()[0].Origins; s[1].Health != OriginHealthy || s[1].Code != 0 || s[1].Since.After(time.Now()) {
			t.Errorf("after two successes: %+v", s[1])
		}
		time.Sleep(15 * time.Second)
		if s := f.r.Pools()[0].Origins; s[0].Code != diag.UpstreamTimeout || s[0].Reason != "127.0.1.1:80 did not answer in 1s" {
			t.Errorf("after three without an answer: %+v", s[0])
		}
		if f.pick("p", nil) != "b" {
			t.Error("who is not healthy is still chosen")
		}
		passed, failed := f.r.Checks()
		if passed < 5 || failed < 5 {
			t.Errorf("%d checks passed, %d failed", passed, failed)
		}
		// An equal snapshot goes on, another monitor begins anew, and none ends.
		before := net.times(b)
		f.apply()
		synctest.Wait()
		if net.times(b) != before {
			t.Error("an equal snapshot asked anew")
		}
		change := func(m *ir.Monitor) {
			u := *f.list[0]
			o := *u.Origins
			o.Monitor = m
			u.Origins = &o
			f.list = []*ir.Upstream{&u}
			f.apply()
			synctest.Wait()
		}
		change(&ir.Monitor{Type: "tcp", Interval: 10 * time.Second, Timeout: time.Second, Up: 1, Down: 1})
		if net.times(b) != before+1 {
			t.Error("another monitor did not ask at once")
		}
		if s := f.r.Pools()[0].Origins; s[0].Health != OriginHealthy {
			t.Errorf("a connection was not enough for tcp: %+v", s[0])
		}
		change(nil)
		before = net.times(b)
		time.Sleep(time.Minute)
		if net.times(b) != before {
			t.Error("asked without a monitor")
		}
		if s := f.r.Pools()[0].Origins; s[0].Health != OriginHealthy || s[0].Checked != nil || s[0].Reason != "no monitor" {
			t.Errorf("without a monitor: %+v", s[0])
		}
	})
}

// TestMonitorsEnd holds that checks end with the pool, also those in progress, and are bounded before.
func TestMonitorsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipes()
		f := newFarm(t, Options{Dial: net.dial})
		defer f.close()
		var many []ir.Server
		for i := range 200 {
			many = append(many, ir.Server{Name: fmt.Sprint(i)})
			net.set(fmt.Sprintf("127.0.1.%d:80", i+1), silent(500*time.Millisecond))
		}
		f.add("p", ir.Random, monitored(ir.Monitor{Type: "http", Path: "/", Interval: time.Minute, Timeout: time.Second}), many...)
		f.apply()
		synctest.Wait()
		if n := len(net.asked); n != maxPoolChecks { // each takes half a second
			t.Errorf("%d checks at once, want %d", n, maxPoolChecks)
		}
		time.Sleep(5 * time.Second)
		if passed, _ := f.r.Checks(); passed != 200 {
			t.Errorf("%d passed", passed)
		}
		time.Sleep(55 * time.Second) // some are in progress
		f.list, f.eps = nil, map[string][]ir.Endpoint{}
		f.apply()
		synctest.Wait()
		_, failed := f.r.Checks()
		n := len(f.log.String())
		time.Sleep(10 * time.Minute)
		passed, after := f.r.Checks()
		if after != failed || failed != 0 || passed > 400 || len(f.log.String()) != n {
			t.Errorf("checks went on, or ended ones count: %d passed, %d failed: %s", passed, after, f.log)
		}
	})
}

// TestDeadOriginsKeepNobodyWaiting has a pool of many origins that never answer: other pools are checked at
// once, the healthy origin among them at its interval, and the log says once that checks are late.
func TestDeadOriginsKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipes()
		f := newFarm(t, Options{Dial: pipes.dial})
		defer f.close()
		var many []ir.Server
		for i := range 250 {
			many = append(many, ir.Server{Name: fmt.Sprint(i)})
			pipes.set(fmt.Sprintf("127.0.1.%d:80", i+1), func(c net.Conn, _ *http.Request) { _, _ = io.Copy(io.Discard, c) })
		}
		const alive, other = "127.0.1.250:80", "127.0.2.1:80"
		pipes.set(alive, status(200))
		pipes.set(other, status(200))
		m := ir.Monitor{Type: "http", Path: "/", Interval: 30 * time.Second, Timeout: 5 * time.Second, Retries: 2}
		f.add("dead", ir.Random, monitored(m), many...)
		f.apply()
		synctest.Wait()
		f.add("other", ir.Random, monitored(m), servers("a")...)
		f.apply()
		synctest.Wait()
		if pipes.times(other) != 1 {
			t.Errorf("%d checks of another pool", pipes.times(other))
		}
		time.Sleep(2 * time.Minute) // all have been checked once
		before := pipes.times(alive)
		time.Sleep(5 * time.Minute)
		if n := pipes.times(alive) - before; n < 8 {
			t.Errorf("%d checks of a healthy origin in 10 intervals", n)
		}
		if n := strings.Count(f.log.String(), "health checks of a pool are late"); n != 1 {
			t.Errorf("told %d times: %s", n, f.log)
		}
	})
}
