package control

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/test/golden"
)

// gateway is a TLS server for one host with a secret in its own namespace, and a route.
const gateway = `
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [httpbin.example.com], tls: {mode: SIMPLE, credentialName: cert}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: [httpbin.example.com]
  gateways: [gw]
  http: [{route: [{destination: {host: web, port: {number: 80}}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80}]}
`

// secretOf is the secret of gateway with the certificate of a name.
func secretOf(name string) string {
	return `
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
type: kubernetes.io/tls
data: {tls.crt: "${` + name + `.crt}", tls.key: "${` + name + `.key}"}
`
}

// mixed is the secret of gateway with a key that does not belong to the certificate.
const mixed = `
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
type: kubernetes.io/tls
data: {tls.crt: "${httpbin.crt}", tls.key: "${other.key}"}
`

// parse makes a set of manifests.
func parse(text string) (*resource.Set, []diag.Diagnostic) {
	return manifest.Set(map[string]string{"a.yaml": golden.Fill(text)})
}

func testSettings() Settings {
	return Settings{Context: translate.Context{Labels: map[string]string{"istio": "ingressgateway"}, Namespace: "istio-system", ClusterDomain: "cluster.local"}}
}

// rig is a loop with a source that publishes what the test says and a plane that notes what it gets.
type rig struct {
	t    *testing.T
	loop *Loop
	sets chan published
	stop context.CancelFunc
	done chan error

	mu       sync.Mutex
	log      bytes.Buffer
	gens     []*ir.Generation
	prepared int
	refuse   bool  // the next generations cannot be bound
	fail     error // Prepare's answer
}

// Write collects the log.
func (r *rig) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

// Run implements Source.
func (r *rig) Run(ctx context.Context, publish func(*resource.Set, []diag.Diagnostic)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-r.sets:
			publish(p.set, p.ds)
		}
	}
}

// Prepare implements Plane.
func (r *rig) Prepare(_ context.Context, gen *ir.Generation) (Staged, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prepared++
	if r.fail != nil {
		return nil, r.fail
	}
	return staged{r, gen}, nil
}

type staged struct {
	rig *rig
	gen *ir.Generation
}

func (s staged) Discard() {}

func (s staged) Commit() *ir.Applied {
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	s.rig.gens = append(s.rig.gens, s.gen)
	a := &ir.Applied{Epoch: s.gen.Epoch, Hash: s.gen.Hash}
	for _, l := range s.gen.Snapshot.Config.Listeners {
		result := ir.ListenerResult{Name: l.Name, Address: "127.0.0.1:443"}
		if s.rig.refuse {
			result.Code, result.Detail, result.Fix = diag.BindRefused, "taken", "free it"
		}
		a.Listeners = append(a.Listeners, result)
	}
	return a
}

// start runs a loop within the bubble of the test.
func start(t *testing.T, opts Options) *rig {
	r := &rig{t: t, sets: make(chan published), done: make(chan error, 1)}
	if opts.Settings.Labels == nil {
		opts.Settings = testSettings()
	}
	if opts.SecretGrace == 0 {
		opts.SecretGrace = 10 * time.Second
	}
	opts.Logger = slog.New(slog.NewTextHandler(r, nil))
	r.loop = New(r, r, opts)
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.done <- r.loop.Run(ctx) }()
	return r
}

// publish hands manifests over and waits until the loop is idle again.
func (r *rig) publish(texts ...string) {
	r.t.Helper()
	set, ds := parse(strings.Join(texts, ""))
	for _, d := range ds {
		if d.Code == diag.YAMLSyntax {
			r.t.Fatalf("the input is at fault: %s", d)
		}
	}
	r.sets <- published{set: set, ds: ds}
	synctest.Wait()
}

// end stops the loop, which must return nil.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run returned %v", err)
	}
}

// applied returns how many generations were committed, and the last snapshot.
func (r *rig) applied() (int, *ir.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.gens) == 0 {
		return 0, nil
	}
	return len(r.gens), r.gens[len(r.gens)-1].Snapshot
}

// served is the credential of the only TLS chain of the last snapshot.
func (r *rig) served() *ir.Credential {
	r.t.Helper()
	_, s := r.applied()
	chain := s.Config.Listeners[0].Chains[0]
	return s.Secrets.ByRef[chain.TLS.Certificates[0]]
}

// logged counts the log lines that hold all of words.
func (r *rig) logged(words ...string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for line := range strings.Lines(r.log.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

func (r *rig) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// tries is how many generations were to be prepared.
func (r *rig) tries() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.prepared
}

func (r *rig) generation(i int) *ir.Generation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gens[i]
}

// text is the whole log.
func (r *rig) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}
