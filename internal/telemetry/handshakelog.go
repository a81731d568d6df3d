package telemetry

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// HandshakeLog tells the operations log of refused handshakes without letting peers flood it: of equal
// cases (code, name, network of the peer) the first is told in full, the others are counted and summed
// up every ten seconds. Safe for concurrent use.
type HandshakeLog struct {
	log   *slog.Logger
	names *names

	mu    sync.Mutex // guards what follows
	cases map[shakeCase]*shakeCount
	rest  uint64 // refused handshakes that found the table full
}

// maxCases bounds the table; summaryEvery is also how long a case is remembered after its last time.
const (
	maxCases     = 4096
	summaryEvery = 10 * time.Second
)

// shakeCase is what makes two refusals equal.
type shakeCase struct {
	code     diag.Code
	side     Side
	listener string
	sni      string
	network  netip.Prefix // /24 or /56
}

type shakeCount struct {
	more  uint64 // since it was last told
	quiet bool   // nothing came in the last interval
}

// NewHandshakeLog returns a log that writes to l.
func NewHandshakeLog(l *slog.Logger) *HandshakeLog {
	return &HandshakeLog{log: l, names: newNames(), cases: map[shakeCase]*shakeCount{}}
}

// Handshake takes a handshake; successful ones are passed over.
func (l *HandshakeLog) Handshake(h *Handshake) {
	if h.Code == 0 {
		return
	}
	key := shakeCase{h.Code, h.Side, h.Listener, cut(h.Hello.SNI, 255), network(h.Remote.Addr())}
	l.mu.Lock()
	c, known := l.cases[key]
	switch {
	case known:
		c.more++
		c.quiet = false
	case len(l.cases) >= maxCases:
		l.rest++
		known = true
	default:
		l.cases[key] = &shakeCount{}
	}
	l.mu.Unlock()
	if !known {
		l.tell(h)
	}
}

// tell logs one refusal in full.
func (l *HandshakeLog) tell(h *Handshake) {
	args := []any{"code", h.Code.String(), "reason", h.Code.Slug(), "side", string(h.Side), "listener", h.Listener}
	add := func(key, value string) {
		if value != "" {
			args = append(args, key, cut(value, maxPeerField))
		}
	}
	add("sni", h.Hello.SNI)
	if h.Remote.IsValid() {
		add("peer", netip.AddrPortFrom(h.Remote.Addr().Unmap(), h.Remote.Port()).String())
	}
	add("detail", h.Detail)
	add("err", h.Err)
	add("origin", h.Origin)
	add("tls", l.names.version(h.Version))
	add("cert", h.Cert)
	add("offered_cert", h.PeerOffered)
	add("ja4", h.Hello.JA4)
	args = append(args, "conn", h.Conn)
	message := "tls handshake refused"
	switch {
	case h.Code == diag.ClosedAfterShake: // it succeeded; the client left all the same
		message = "client left after the tls handshake"
	case shedding(h.Code): // perhaps on a listener without TLS
		message = "connection refused for want of resources"
	}
	l.log.Log(context.Background(), level(h.Code), message, args...)
}

// level is low for what healthy networks do all day.
func level(c diag.Code) slog.Level {
	switch {
	case c == diag.ClosedBeforeHello:
		return slog.LevelDebug
	case c.Severity() == diag.Info:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// Run sums up every ten seconds until ctx ends, and once more then.
func (l *HandshakeLog) Run(ctx context.Context) error {
	t := time.NewTicker(summaryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			l.sum()
			return nil
		case <-t.C:
			l.sum()
		}
	}
}

func (l *HandshakeLog) sum() {
	type line struct {
		key  shakeCase
		more uint64
	}
	var lines []line
	l.mu.Lock()
	rest := l.rest
	l.rest = 0
	for k, c := range l.cases {
		switch {
		case c.more > 0:
			lines = append(lines, line{k, c.more})
			c.more = 0
		case c.quiet:
			delete(l.cases, k)
		default:
			c.quiet = true
		}
	}
	l.mu.Unlock()
	for _, n := range lines {
		l.log.Log(context.Background(), level(n.key.code), "tls handshakes refused again", "code", n.key.code.String(), "reason", n.key.code.Slug(),
			"side", string(n.key.side), "listener", n.key.listener, "sni", n.key.sni, "network", n.key.network.String(), "count", n.more)
	}
	if rest > 0 {
		l.log.Warn("tls handshakes refused beyond the bound of the handshake log", "count", rest)
	}
}

func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 56
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil { // no address
		return netip.Prefix{}
	}
	return p
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
