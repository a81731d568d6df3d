package telemetry

import (
	"io"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Live writes one short line for people per request and per refused handshake, as "hakone demo" shows
// them. It writes at once, on the caller's goroutine: it is for a terminal, not for load.
type Live struct {
	out   io.Writer
	color bool
	names *names

	mu  sync.Mutex // guards buf and writing
	buf []byte
}

// NewLive returns a Live that writes to out, with colours if color.
func NewLive(out io.Writer, color bool) *Live {
	return &Live{out: out, color: color, names: newNames()}
}

const (
	green = "\x1b[32m"
	red   = "\x1b[31m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

// Access writes a request:
//
//	12:03:04 ✓ 200 GET https://a.localhost/get  TLS 1.3 X25519MLKEM768 · client CN=alice  1.2 ms
//	12:03:05 ✗ 404 GET https://a.localhost/nope  HK4101 no route matches: …
func (l *Live) Access(a *Access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	good := a.Code == 0 && a.Status > 0 && a.Status < 500
	if a.Proto == ProtoTCP { // a connection: it has no status
		good = a.Code == 0 || a.Code.Severity() == diag.Info
	}
	b := l.begin(a.Start, good)
	if a.Proto == ProtoTCP {
		b = append(b, "tcp"...)
	} else {
		b = strconv.AppendInt(b, int64(a.Status), 10)
	}
	b = append(b, ' ')
	b = appendVisible(b, string(a.Method))
	b = append(b, ' ')
	if len(a.Target) > 0 && a.Target[0] == '/' {
		b = append(append(b, a.Scheme...), "://"...)
		b = appendVisible(b, string(a.Authority))
	}
	b = appendVisible(b, string(a.Target))
	b = l.paint(b, dim)
	if a.TLSVersion != 0 {
		b = append(append(b, "  TLS "...), l.names.version(a.TLSVersion)...)
		if g := l.names.group(a.TLSGroup); g != "" {
			b = append(append(b, ' '), g...)
		}
		if a.Resumed {
			b = append(b, " resumed"...)
		}
		if a.PeerSubject != "" {
			b = appendVisible(append(b, " · client "...), a.PeerSubject)
		}
	}
	b = append(b, "  "...)
	b = strconv.AppendFloat(b, float64(a.Duration.Microseconds())/1000, 'f', 1, 64)
	b = append(b, " ms"...)
	b = l.paint(b, plain)
	l.end(l.reason(b, a.Code, a.Detail))
}

// Handshake writes a refused handshake; others come with their requests. A peer that sent nothing is
// passed over.
//
//	12:03:06 ✗ handshake a.localhost  HK2101 client sent no certificate: … — fix: …
func (l *Live) Handshake(h *Handshake) {
	if h.Code == 0 || h.Code == diag.ClosedBeforeHello {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.begin(h.Time, false)
	b = append(b, "handshake "...)
	if h.Side == Upstream {
		b = append(append(b, "with upstream "...), h.Listener...)
	} else if h.Hello.SNI != "" {
		b = appendVisible(b, h.Hello.SNI)
	} else {
		b = append(append(b, "without name on "...), h.Listener...)
	}
	l.end(l.reason(b, h.Code, h.Detail))
}

func (l *Live) begin(t time.Time, good bool) []byte {
	b := l.paint(l.buf[:0], dim)
	b = t.Local().AppendFormat(b, "15:04:05 ")
	b = l.paint(b, plain)
	if good {
		b = append(l.paint(b, green), "✓ "...)
	} else {
		b = append(l.paint(b, red), "✗ "...)
	}
	return l.paint(b, plain)
}

// reason appends code, title, the sentence and the fix.
func (l *Live) reason(b []byte, code diag.Code, detail string) []byte {
	e, ok := diag.Lookup(code)
	if !ok {
		return b
	}
	b = append(b, "  "...)
	b = append(l.paint(b, red), code.String()...)
	b = append(append(l.paint(b, plain), ' '), e.Title...)
	if detail != "" {
		b = appendVisible(append(b, ": "...), detail)
	}
	if e.Fix != "" {
		b = append(append(b, " — fix: "...), e.Fix...)
	}
	return b
}

// appendVisible appends text without anything that a terminal would obey.
func appendVisible(b []byte, s string) []byte {
	for _, r := range cut(s, maxPeerField) {
		if !unicode.IsPrint(r) {
			r = '\uFFFD'
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

func (l *Live) end(b []byte) {
	l.buf = append(b, '\n')
	_, _ = l.out.Write(l.buf) // a terminal that is gone has nobody to tell
}

func (l *Live) paint(b []byte, code string) []byte {
	if l.color {
		return append(b, code...)
	}
	return b
}
