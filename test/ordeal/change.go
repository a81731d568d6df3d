//go:build linux

package ordeal

import (
	"fmt"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/outside"
	"github.com/hakone-gateway/hakone/test/testca"
)

// Parents kills one of two parents and lets it come back, rounds times, and then both, under load.
func Parents(t *testing.T, rounds int, pause time.Duration) {
	p := setUp(t, setting{parents: 2})
	traffic := outside.Run(p.g.Addr(port), p.mesh.Pool(), 3, 5*time.Millisecond)
	defer traffic.Stop()
	time.Sleep(pause)
	p.unharmed("both alive", traffic.Lap())
	for i := range rounds {
		x := p.parents[i%2]
		other := p.parents[(i+1)%2]
		before := other.Connects.Load()
		x.Die()
		time.Sleep(pause)
		if other.Connects.Load() == before {
			p.Errorf("round %d: parent %d is dead, and the other was not asked", i, i%2)
		}
		x.Return()
		time.Sleep(pause)
		p.unharmed(fmt.Sprintf("parent %d died and came back", i%2), traffic.Lap())
	}
	for _, x := range p.parents {
		x.Die()
	}
	time.Sleep(pause)
	gone := traffic.Lap()
	if len(gone.Failures) == 0 {
		p.Errorf("both parents are dead, and nobody noticed")
	}
	p.g.AwaitStderr("HK33")
	for _, x := range p.parents {
		x.Return()
	}
	begin := time.Now()
	c := p.client(false)
	p.await("requests to be served again", func() bool { return c.Get("again.test", "/") == nil })
	p.Logf("both dead: %s; served again %v after they came back", gone, time.Since(begin).Round(time.Millisecond))
	time.Sleep(pause)
	traffic.Lap() // those that were on their way
	time.Sleep(pause)
	p.unharmed("both back", traffic.Stop())
}

// Reloads changes rules, rounds times, and then the CA, under load.
func Reloads(t *testing.T, rounds int) {
	p := setUp(t, setting{})
	next := testca.New(t, testca.Spec{CommonName: "The mesh's next CA"})
	both := p.mesh.Pool()
	both.AddCert(next.Cert)
	traffic := outside.Run(p.g.Addr(port), both, 3, 5*time.Millisecond)
	defer traffic.Stop()
	conns := p.connects()
	for i := range rounds {
		rule := "Bump, acls: [others]"
		if i%2 == 1 {
			rule = "Splice, acls: [others]"
		}
		p.g.Change(func() { p.g.Write("forward.yaml", forwardProxy(rule, "")) })
		time.Sleep(100 * time.Millisecond)
	}
	lap := traffic.Lap()
	p.unharmed(fmt.Sprintf("%d changes of rules", rounds), lap)
	p.Logf("the parent saw %d connections meanwhile", p.connects()-conns)
	for i := range max(rounds/4, 2) {
		ca := next
		if i%2 == 1 {
			ca = p.mesh
		}
		p.g.Change(func() {
			p.g.Write("mesh.yaml", testca.SecretYAML("default", "mesh-ca", ca.SecretData(testca.FormatTLS, nil, nil)))
		})
		time.Sleep(300 * time.Millisecond)
		only := outside.NewClient(p.g.Addr(port), ca.Pool(), false)
		if err := only.Get("changed.test", "/"); err != nil {
			p.Errorf("after change %d of the CA, one who trusts it alone: %v", i, err)
		}
	}
	p.unharmed("changes of the CA", traffic.Stop())
}

func (p *place) connects() (n int64) {
	for _, x := range p.parents {
		n += x.Connects.Load()
	}
	return n
}
