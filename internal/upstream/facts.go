package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Times for which facts of a destination hold: those of one that verifies, of one that does not, and that it cannot be
// reached.
const (
	factsHold     = 10 * time.Minute
	factsHoldBad  = 30 * time.Second
	factsHoldFail = 2 * time.Second
)

// Bounds of what is remembered: server names of one destination, and bytes of all of them, as estimated. A destination
// may show a certificate of 250 KiB for each name that it is asked for.
const (
	maxFacts      = 64
	maxFactsBytes = 64 << 20
)

// Facts is what a destination shows in TLS.
type Facts struct {
	Chain  []*x509.Certificate // as it was shown, leaf first; shared, only read
	ALPN   string
	Code   diag.Code // why the chain does not verify; 0: it does
	Detail string
}

// facts are those of one destination.
type facts struct {
	bytes *atomic.Int64 // of all destinations; nil: they are not counted

	mu     sync.Mutex
	byHost map[string]*finding
}

// finding is the answer for one server name. What done guards is written before that is closed.
type finding struct {
	done  chan struct{}
	facts Facts
	err   error
	until time.Time
	size  int64 // counted in facts.bytes; guarded by facts.mu
}

// Facts tells what the destination shows for a server name, host. The first who asks makes a connection, which
// waits for the first request if the chain verifies; those who ask meanwhile wait for the same one, and what was found
// is remembered for 10 minutes, a chain that does not verify for half a minute, a failure for 2 seconds. An error is
// an *Error or ctx's: then nothing is known of the chain. The upstream is one of Destinations, with TLS.
func (u *Upstream) Facts(ctx context.Context, host string) (Facts, error) {
	if u.dest == nil || u.Settings.TLS == nil {
		return Facts{}, &Error{Code: diag.RouteInvalid, Detail: "upstream " + u.Name + " has no TLS destination"}
	}
	f, fresh := u.dest.facts.find(host)
	if fresh && !u.registry.spawn(func() { f.run(u, host) }) {
		close(f.done)
	}
	select {
	case <-f.done:
		return f.facts, f.err
	case <-ctx.Done():
		return Facts{}, ctx.Err()
	}
}

// find returns a finding that is there or being made, or a fresh one, to be made.
func (s *facts) find(host string) (f *finding, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byHost[host]; f != nil {
		select {
		case <-f.done:
			if time.Now().Before(f.until) {
				return f, false
			}
		default:
			return f, false
		}
	}
	if s.byHost == nil {
		s.byHost = make(map[string]*finding)
	}
	s.drop(host)
	if len(s.byHost) >= maxFacts {
		for other := range s.byHost {
			s.drop(other)
			break
		}
	}
	f = &finding{done: make(chan struct{}), err: &Error{Code: diag.UpstreamConnectFailed, Detail: "no connection is made while this process ends"}}
	s.byHost[host] = f
	return f, true
}

// run makes a finding.
func (f *finding) run(u *Upstream, host string) {
	defer close(f.done)
	f.facts, f.err = u.lookAt(host)
	f.until = time.Now().Add(hold(f))
	u.dest.facts.keep(host, f)
}

// keep counts what was found, and does not remember it where all that is remembered would be too much.
func (s *facts) keep(host string, f *finding) {
	size := int64(len(host) + 512)
	for _, c := range f.facts.Chain {
		size += 3*int64(len(c.Raw)) + 1024
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byHost[host] != f || s.bytes == nil {
		return // forgotten meanwhile
	}
	if s.bytes.Add(size) > maxFactsBytes {
		s.bytes.Add(-size)
		delete(s.byHost, host)
		return
	}
	f.size = size
}

// drop forgets the facts of one name; mu is held.
func (s *facts) drop(host string) {
	f := s.byHost[host]
	if f == nil {
		return
	}
	if s.bytes != nil {
		s.bytes.Add(-f.size)
	}
	delete(s.byHost, host)
}

func hold(f *finding) time.Duration {
	switch {
	case f.err != nil:
		return factsHoldFail
	case f.facts.Code != 0:
		return factsHoldBad
	}
	return factsHold
}

// forget lets everything be found out again.
func (s *facts) forget() {
	s.mu.Lock()
	for host := range s.byHost {
		s.drop(host)
	}
	s.mu.Unlock()
}

// lookAt finds out what the destination shows.
func (u *Upstream) lookAt(host string) (Facts, error) {
	q := Query{Host: host, HTTP2: true, Until: time.Now().Add(u.patience())}
	c, err := u.Get(q)
	if err == nil {
		f := factsOf(c)
		c.unused()
		return f, nil
	}
	var failure *Error
	if !errors.As(err, &failure) || !aboutCertificate(failure.Code) {
		return Facts{}, err
	}
	f := Facts{Code: failure.Code, Detail: failure.Detail}
	// The handshake that failed does not show the chain: one that verifies nothing does, over which nothing is sent.
	x := u.dest
	key := x.key
	key.pin = "*"
	lax, release := x.of.take(key, u.Settings.Via, func(f *ir.Forward, key destinationKey) *destination {
		y := x.of.make(f, key, u.Settings.Via, nil, u.placed())
		y.seen = x.seen
		return y
	})
	defer release()
	if c, err = lax.Get(q); err == nil {
		seen := factsOf(c)
		f.Chain, f.ALPN = seen.Chain, seen.ALPN
		c.abandon()
	}
	return f, nil
}

// factsOf tells what the peer of a connection has shown.
func factsOf(c *Conn) Facts {
	if c.TLS == nil {
		return Facts{}
	}
	cs := c.TLS.ConnectionState()
	return Facts{Chain: cs.PeerCertificates, ALPN: cs.NegotiatedProtocol}
}

// abandon ends a loan and its connection, if others do not use it.
func (c *Conn) abandon() {
	if t := c.trunk; t != nil {
		c.Close()
		t.retireIdle()
		return
	}
	c.Close()
}

// aboutCertificate reports whether a code says that a chain was shown and does not verify.
func aboutCertificate(code diag.Code) bool {
	switch code {
	case diag.UpstreamCredentialMissing, diag.UpstreamRequiresCert, diag.UpstreamRejectedCert, diag.UpstreamSpeaksPlaintext,
		diag.UpstreamTLSVersion, diag.UpstreamTLSFailed, diag.UpstreamTLSNoCommon:
		return false
	}
	return code >= 3101 && code < 3200
}

// pin is one certificate that is tolerated, with what is wrong with it.
type pin struct {
	pin    string // lower-case hex of SHA-256 over the leaf
	code   diag.Code
	detail string
}

func pinOf(f Facts) *pin {
	sum := sha256.Sum256(f.Chain[0].Raw)
	return &pin{hex.EncodeToString(sum[:]), f.Code, f.Detail}
}

// over returns material that takes the pinned certificate alone; inner verifies nothing. Without a pin it is inner.
func (p *pin) over(inner TLS) TLS {
	if p == nil || inner == nil {
		return inner
	}
	return pinned{inner, p}
}

// pinned is TLS material for one certificate.
type pinned struct {
	TLS
	pin *pin
}

// Handshake implements TLS.
func (p pinned) Handshake(ctx context.Context, conn net.Conn, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	return p.judge(p.TLS.Handshake(ctx, conn, host, speak))
}

// HandshakeVia implements tunnelled.
func (p pinned) HandshakeVia(ctx context.Context, conn net.Conn, proxy, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	return p.judge(handshakeVia(ctx, p.TLS, conn, proxy, host, speak))
}

// judge refuses a connection whose peer showed another certificate.
func (p pinned) judge(c *tls.Conn, rec *telemetry.Handshake) (*tls.Conn, *telemetry.Handshake) {
	if c == nil {
		return c, rec
	}
	chain := c.ConnectionState().PeerCertificates
	if len(chain) > 0 {
		if sum := sha256.Sum256(chain[0].Raw); hex.EncodeToString(sum[:]) == p.pin.pin {
			return c, rec
		}
	}
	rec.Code, rec.Detail = p.pin.code, "the destination shows another certificate than the one that was tolerated ("+p.pin.detail+")"
	return nil, rec
}
