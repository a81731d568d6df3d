package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/test/testca"
)

// gate is a TLS listener on loopback that says "ok" after each handshake and then waits for the end.
type gate struct {
	t     *testing.T
	addr  string
	state *State
	term  atomic.Pointer[Terminator]
	set   *listen.Set
	done  chan *Result
	after func(*Result)
	wg    sync.WaitGroup
}

// world is what a gate is built from; tests change it before or between handshakes.
type world struct {
	listener *ir.Listener
	secrets  *ir.Secrets
	trust    *ir.Trust
	opts     Options
	after    func(*Result) // takes completed handshakes; nil: the gate greets and reads to the end
}

// newWorld has a listener without chains.
func newWorld() *world {
	return &world{
		listener: &ir.Listener{Name: "*:443", Port: 443, TLS: true},
		secrets:  &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{}},
		trust:    &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{}},
	}
}

// host adds a chain that serves pattern with pairs, and returns its settings for the test to change.
func (w *world) host(t *testing.T, pattern string, pairs ...*testca.Pair) *ir.TLS {
	t.Helper()
	p, err := hostname.Parse(pattern)
	if err != nil {
		t.Fatal(err)
	}
	settings := &ir.TLS{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ALPN: []string{"http/1.1"},
		ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone}, Origin: ir.Origin{Object: diag.Object{Kind: "Gateway", Namespace: "test", Name: pattern}}}
	for i, pair := range pairs {
		ref := ir.SecretRef("test/" + pattern + strings.Repeat("-2", i))
		w.secrets.ByRef[ref] = &ir.Credential{Pair: keyPair(t, pair)}
		settings.Certificates = append(settings.Certificates, ref)
	}
	w.listener.Chains = append(w.listener.Chains, &ir.Chain{Name: "test/gw/" + pattern, Hosts: []hostname.Pattern{p}, TLS: settings})
	return settings
}

// clients makes settings ask for certificates of ca.
func (w *world) clients(settings *ir.TLS, mode ir.ClientAuthMode, ca *testca.Pair, crls ...*secret.CRL) {
	ref := ir.TrustRef("test/ca of " + settings.Origin.Object.Name)
	w.trust.ByRef[ref] = &ir.TrustBundle{Bundle: secret.NewBundle(ca.Cert), CRLs: crls}
	settings.ClientAuth.Mode, settings.ClientAuth.Trust = mode, ref
}

func keyPair(t *testing.T, p *testca.Pair) *secret.KeyPair {
	t.Helper()
	pair, _, err := secret.ParseKeyPair(p.ChainPEM(), p.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// serve opens the gate.
func (w *world) serve(t *testing.T) *gate {
	t.Helper()
	g := &gate{t: t, state: NewState(nil), done: make(chan *Result, 64), after: w.after}
	g.set = listen.NewSet(listen.Options{Handle: g.handle})
	g.wg.Add(1) // released by the clean-up, so that handlers can add
	plan := g.set.Prepare(context.Background(), []listen.Spec{{Name: "*:443", Address: "127.0.0.1:0", Port: 443}})
	if err := plan.Results[0].Err; err != nil {
		t.Fatal(err)
	}
	g.addr = plan.Results[0].Addr.String()
	g.apply(w)
	plan.Commit()
	t.Cleanup(func() {
		g.set.Close()
		g.state.Index().CloseAll()
		g.wg.Done()
		g.wg.Wait()
	})
	return g
}

// apply makes new handshakes follow w.
func (g *gate) apply(w *world) {
	g.term.Store(Build(w.listener, w.secrets, w.trust, g.state, g.term.Load(), w.opts))
}

func (g *gate) handle(c *listen.Conn) {
	g.wg.Add(1)
	defer g.wg.Done()
	res := g.term.Load().Handshake(c)
	g.done <- res
	if res.Record.Code != 0 {
		return
	}
	defer res.Conn.Close()
	if g.after != nil {
		g.after(res)
		return
	}
	if _, err := io.WriteString(res.Conn, "ok"); err == nil {
		_, _ = io.Copy(io.Discard, res.Conn)
	}
}

// result waits for the next handshake's outcome.
func (g *gate) result() *Result {
	g.t.Helper()
	select {
	case res := <-g.done:
		return res
	case <-time.After(10 * time.Second):
		g.t.Fatal("no record after 10 s")
		return nil
	}
}

func (g *gate) record() *telemetry.Handshake { g.t.Helper(); return g.result().Record }

// outcome is what a Go client saw.
type outcome struct {
	state tls.ConnectionState
	alert uint8 // received; 0 if none
	err   error
}

// dial makes a handshake and reads the greeting, so that TLS 1.3 refusals show.
func (g *gate) dial(config *tls.Config) outcome {
	g.t.Helper()
	raw, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.over(raw, config)
}

func (g *gate) over(raw net.Conn, config *tls.Config) outcome {
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(raw, config)
	err := c.Handshake()
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 2))
	}
	out := outcome{state: c.ConnectionState(), err: err}
	out.alert, _ = receivedAlert(err)
	if err == nil {
		_ = c.Close()
	}
	return out
}

// client returns a client's configuration that trusts ca.
func client(ca *testca.Pair, name string) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: name}
}

// with adds a client certificate that is sent whatever the server accepts.
func with(config *tls.Config, cert tls.Certificate) *tls.Config {
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return config
}

// isClosed reports whether err is a plain end without alert and without reset.
func isClosed(err error) bool { return errors.Is(err, io.EOF) }
