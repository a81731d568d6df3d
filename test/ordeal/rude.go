//go:build linux

package ordeal

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/outside"
)

// Rude lets each kind of bad client and of bad destination be there each times at once, through the parent and
// directly, while well-behaved clients go on.
func Rude(t *testing.T, each int, length time.Duration) {
	p := setUp(t, setting{args: []string{"--handshake-timeout", "3s", "--header-timeout", "3s", "--write-timeout", "4s", "--upstream-idle-timeout", "4s"}})
	traffic := outside.Run(p.g.Addr(port), p.mesh.Pool(), 2, 10*time.Millisecond)
	defer traffic.Stop()
	time.Sleep(length / 4)
	calm := traffic.Lap()
	p.unharmed("alone", calm)
	goroutines, memory := p.metric("go_goroutines"), p.memory()

	pause := time.Duration(each) * 80 * time.Millisecond // bad, and no load: a hundred a second of each side, however many they are
	stop := make(chan struct{})
	until := time.Now().Add(length)
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	var wg sync.WaitGroup
	for _, r := range outside.Rudeness {
		for i := range each {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					if err := outside.Annoy(p.g.Addr(port), fmt.Sprintf("rude-%d.test", i), r, stop); err != nil && ctx.Err() == nil {
						t.Errorf("%s: %v", r, err)
						return
					}
					time.Sleep(pause)
				}
			})
		}
	}
	seen := map[outside.Misdeed]map[int]int{}
	var mu sync.Mutex
	for _, m := range outside.Misdeeds {
		seen[m] = map[int]int{}
		_, direct, _ := net.SplitHostPort(p.world.Address(string(m) + "-1.test"))
		for i := range each {
			wg.Go(func() {
				c := outside.NewClient(p.g.Addr(port), p.mesh.Pool(), false)
				for n := 0; ctx.Err() == nil; n++ {
					host := fmt.Sprintf("%s-%d-%d.test", m, i, n)
					if i%2 == 1 {
						host = "127.0.0.1:" + direct
					}
					status, _ := c.Status(ctx, host)
					if ctx.Err() != nil {
						return
					}
					mu.Lock()
					seen[m][status]++
					mu.Unlock()
					time.Sleep(pause)
				}
			})
		}
	}
	time.Sleep(time.Until(until))
	peak, most := p.memory(), p.metric("go_goroutines")
	rough := traffic.Lap()
	close(stop)
	wg.Wait()
	p.unharmed("beside bad peers", rough)
	for _, m := range outside.Misdeeds {
		p.Logf("%s destinations: answers by status %v", m, seen[m])
		if m == outside.Trickle || m == outside.Cut { // whose heads are good
			continue
		}
		if n := seen[m][200]; n > 0 {
			p.Errorf("%s: %d good answers of a bad destination", m, n)
		}
		if len(seen[m]) == 0 && m != outside.Silent && m != outside.Drips && m != outside.Mute {
			p.Errorf("%s: nobody was told anything", m)
		}
	}
	if rough.Median > 4*calm.Median+25*time.Millisecond || rough.P90 > 4*calm.P90+100*time.Millisecond {
		p.Errorf("well-behaved clients wait %v (p90 %v), before it were %v (%v)", rough.Median, rough.P90, calm.Median, calm.P90)
	}
	p.Logf("resident %d MiB, before %d; goroutines %.0f, before %.0f", peak, memory, most, goroutines)
	if peak > memory+128 {
		p.Errorf("%d MiB are resident, before it were %d", peak, memory)
	}
	p.await("the end of what bad peers began", func() bool { return p.metric("go_goroutines") <= goroutines+40 })
	p.unharmed("afterwards", traffic.Stop())
}
