package upstream

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestOriginsAreApart holds that origins at one address have connections of their own, as their names differ.
func TestOriginsAreApart(t *testing.T) {
	f := newFarm(t, Options{})
	defer f.close()
	s := listenOn(t)
	f.add("p", ir.FirstHealthy, ir.OriginPool{}, ir.Server{Name: "a", HostHeader: "a.test"}, ir.Server{Name: "b"})
	for i := range f.eps["p"] {
		f.eps["p"][i].Host, f.eps["p"][i].Port = s.endpoint().Host, s.endpoint().Port
	}
	f.apply()
	u := f.held["p"]
	a := mustGet(t, u, Query{})
	if a.Endpoint.Server() != "a" || string(a.Endpoint.HostHeader()) != "a.test" || !a.Endpoint.Watched() {
		t.Errorf("got %s with %q", a.Endpoint.Server(), a.Endpoint.HostHeader())
	}
	a.Release()
	f.verdict("p", "a", 3201)
	b := mustGet(t, u, Query{})
	if b.Endpoint.Server() != "b" || b.Reused || b.Endpoint.HostHeader() != nil {
		t.Errorf("got %s, reused %v", b.Endpoint.Server(), b.Reused)
	}
	b.Release()
	// Another Host makes another endpoint; what was kept for the old one is closed.
	changed := *f.eps["p"][1].Server
	changed.HostHeader = "b.test"
	f.eps["p"] = []ir.Endpoint{f.eps["p"][0], f.eps["p"][1]}
	f.eps["p"][1].Server = &changed
	f.apply()
	f.verdict("p", "a", 3201)
	if c := mustGet(t, u, Query{}); c.Reused || string(c.Endpoint.HostHeader()) != "b.test" {
		t.Errorf("reused %v with %q", c.Reused, c.Endpoint.HostHeader())
	} else {
		c.Close()
	}
	if o := f.member("p", "b").origin; o.requests.Load() != 2 || o.active.Load() != 0 {
		t.Errorf("%d requests, %d active: counters did not outlive the change", o.requests.Load(), o.active.Load())
	}
}

// TestBoundKeepsToOrigin holds that at the bound of connections no request is given one to another origin than
// the one that was chosen for it, in either protocol.
func TestBoundKeepsToOrigin(t *testing.T) {
	for _, protocol := range []ir.UpstreamProtocol{ir.UpstreamHTTP1, ir.UpstreamHTTP2} {
		t.Run(string(protocol), func(t *testing.T) {
			f := newFarm(t, Options{})
			defer f.close()
			settings := f.add("p", ir.HashAddress, ir.OriginPool{}, servers("a", "b", "c")...)
			settings.Protocol, settings.Pool = protocol, ir.Pool{MaxConnections: 2, MaxStreams: 1}
			for i := range f.eps["p"] {
				if protocol == ir.UpstreamHTTP2 {
					f.eps["p"][i] = ir.Endpoint{Host: "127.0.0.1", Port: play(t, &script{}).endpoint().Port, Server: f.eps["p"][i].Server}
				} else {
					f.eps["p"][i] = ir.Endpoint{Host: "127.0.0.1", Port: listenOn(t).endpoint().Port, Server: f.eps["p"][i].Server}
				}
			}
			f.apply()
			want := map[netip.Addr]string{}
			for i := range 8 {
				want[client(i).Address] = f.pick("p", client(i))
			}
			var wg sync.WaitGroup
			fault := make(chan string, 1000)
			for i := range 8 {
				wg.Go(func() {
					for range 40 {
						choice := client(i)
						c, err := f.held["p"].Get(Query{Choice: choice, HTTP2: true})
						if err != nil {
							fault <- err.Error()
							continue
						}
						if c.Endpoint.Server() != want[choice.Address] {
							fault <- fmt.Sprintf("client %d is at %s, not at %s", i, c.Endpoint.Server(), want[choice.Address])
						}
						c.Release()
					}
				})
			}
			wg.Wait()
			close(fault)
			for s := range fault {
				t.Fatal(s)
			}
		})
	}
}

func BenchmarkSteer(b *testing.B) {
	for _, how := range []ir.Balancing{ir.FirstHealthy, ir.Random, ir.LeastRequest, ir.HashAddress} {
		b.Run(string(how), func(b *testing.B) {
			r := NewRegistry(Options{})
			defer r.Close()
			u := r.Acquire(&ir.Upstream{Name: "p", Balancing: how, Origins: &ir.OriginPool{Name: "ns/p"}})
			defer r.Release(u)
			var eps []ir.Endpoint
			for i := range 8 {
				eps = append(eps, ir.Endpoint{Host: fmt.Sprintf("127.0.0.%d", i+1), Port: 80, Server: &ir.Server{Name: fmt.Sprint(i), Share: 1}})
			}
			u.SetEndpoints(eps)
			choice := &Choice{Address: netip.MustParseAddr("10.0.0.1")}
			b.ReportAllocs()
			for b.Loop() {
				q := Query{Choice: choice}
				if u.choose(&q, nil) == nil {
					b.Fatal("none")
				}
			}
		})
	}
}
