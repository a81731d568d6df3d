//go:build linux

// Package ordeal is what the way out has to stand: many destinations under small bounds, peers that behave badly on both
// sides, disks without room, parents that die, and changes under load, with well-behaved clients beside it all.
// "make soak" runs them long, and "make egress" short: the sizes are arguments. Bounds hold on a slow machine; what
// is measured is logged.
//
// Begin reading at setUp.
package ordeal

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/outside"
	"github.com/hakone-gateway/hakone/test/testca"
)

// port is what the forward proxy declares.
const port = 3128

// place is a gateway with a parent and the world behind it.
type place struct {
	*testing.T
	world   *outside.World
	parents []*outside.Parent
	mesh    *testca.Pair // what clients trust
	g       *gateway.Gateway
}

// setting is what differs between ordeals.
type setting struct {
	parents      int
	idle         time.Duration // after which destinations close; 0: a minute
	interception string        // more lines of it, indented by four
	args         []string
	env          []string
}

// setUp starts everything.
func setUp(t *testing.T, s setting) *place {
	t.Helper()
	p := &place{T: t, world: outside.Start(t, cmp.Or(s.idle, time.Minute)), mesh: testca.New(t, testca.Spec{CommonName: "The mesh's CA"})}
	for range max(s.parents, 1) {
		p.parents = append(p.parents, p.world.Parent())
	}
	files := p.world.Manifests(p.mesh)
	files["parents.yaml"] = p.upstreamProxy()
	files["forward.yaml"] = forwardProxy("Bump, acls: [all]", s.interception)
	p.g = gateway.Start(t, gateway.Options{Files: files, Ports: []int{port}, Args: s.args, Env: s.env})
	p.await("the first request", func() bool { return p.client(false).Get("first.test", "/") == nil })
	return p
}

// client returns a well-behaved client.
func (p *place) client(kept bool) *outside.Client {
	c := outside.NewClient(p.g.Addr(port), p.mesh.Pool(), kept)
	p.Cleanup(c.Close)
	return c
}

func (p *place) upstreamProxy() string {
	var urls []string
	for _, x := range p.parents {
		urls = append(urls, strconv.Quote(x.URL()))
	}
	return fmt.Sprintf(`apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: parents, namespace: default}
spec:
  urls: [%s]
  hosts: ["*"]
  probe: {target: "probe.test:443", interval: 1s, timeout: 5s, healthyThreshold: 1, unhealthyThreshold: 1}
`, strings.Join(urls, ", "))
}

// forwardProxy is the object, with the rule that follows the peek.
func forwardProxy(rule, interception string) string {
	return fmt.Sprintf(`apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: egress, namespace: default}
spec:
  listeners: [{name: proxy, port: %d}]
  acls:
  - {name: step1, type: at_step, values: [SslBump1]}
  - {name: spliced, type: "ssl::server_name", values: [.spliced.test]}
  - {name: here, type: dst, options: ["-n"], values: [127.0.0.0/8]}
  - {name: others, type: "ssl::server_name", values: [.others.test]}
  access: [{action: Allow, acls: [all]}]
  interception:
    caRef: {name: mesh-ca}
%s    rules:
    - {action: Peek, acls: [step1]}
    - {action: Splice, acls: [spliced]}
    - {action: %s}
    - {action: Bump, acls: [all]}
  direct: [{action: Allow, acls: [here]}]
  upstream:
    caRef: {kind: ConfigMap, name: roots, key: ca.crt}
    systemRoots: false
    allowLoopback: true
`, port, interception, rule)
}

func (p *place) await(what string, done func() bool) {
	p.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatalf("waited in vain for %s", what)
		}
	}
}

// metric adds the samples of a metric whose line holds all words.
func (p *place) metric(name string, words ...string) float64 {
	p.Helper()
	sum := 0.0
	for line := range strings.Lines(p.g.Get("/metrics")) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if f := strings.Fields(line); all {
			n, _ := strconv.ParseFloat(f[len(f)-1], 64)
			sum += n
		}
	}
	return sum
}

var memoryLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// memory returns what is resident, in MiB.
func (p *place) memory() int {
	p.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.g.PID()))
	if err != nil {
		p.Fatal(err)
	}
	m := memoryLine.FindSubmatch(text)
	if m == nil {
		p.Fatal("no VmRSS")
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return kib >> 10
}

// unharmed fails the test if somebody who behaves has noticed anything.
func (p *place) unharmed(what string, l outside.Lap) {
	p.Helper()
	p.Logf("%s: %s", what, l)
	if len(l.Failures) > 0 {
		p.Errorf("%s: of %d requests some failed: %s", what, l.Asked, strings.Join(l.Failures[:min(3, len(l.Failures))], "; "))
	}
	if l.Asked == 0 {
		p.Errorf("%s: nobody could ask anything", what)
	}
}
