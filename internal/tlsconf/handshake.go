package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Alerts that are sent before crypto/tls runs (RFC 8446 section 6).
const (
	alertHandshakeFailure = 40
	alertDecodeError      = 50
	alertProtocolVersion  = 70
	alertInternalError    = 80
)

// Bounds of reading on after a refusal, so that the alert or answer arrives before the connection ends.
const (
	lingerBytes = 64 << 10
	lingerTime  = 500 * time.Millisecond
)

// shake is one handshake in progress. It belongs to the goroutine that runs it.
type shake struct {
	t      *Terminator
	conn   *listen.Conn
	rec    *telemetry.Handshake
	hello  *listen.Hello
	chain  *ir.Chain
	policy *policy
	served servedPair
	minted minted
	tls    *tls.Conn
	slot   *overload.Handshake
}

// pick is called by crypto/tls when it needs the certificate.
func (s *shake) pick(chi *tls.ClientHelloInfo) *secret.KeyPair { return s.served.pick(chi) }

// attachedShake finds the handshake of a connection.
func attachedShake(c net.Conn) (*shake, bool) {
	conn, ok := c.(*listen.Conn)
	if !ok {
		return nil, false
	}
	s, ok := conn.Attached().(*shake)
	return s, ok
}

// Handshake runs the server side of a handshake over an accepted connection, from its first byte. It
// blocks at most for the timeout, plus half a second if it refuses. A refused connection is closed
// when it returns; of a completed one the caller is the owner, and does well to go on in a new
// goroutine, because the stack of this one has grown by some 20 KiB. The connection is in the state's
// index until it is closed.
func (t *Terminator) Handshake(c *listen.Conn) *Result {
	s := &shake{t: t, conn: c, rec: &telemetry.Handshake{
		Time: c.Accepted(), Conn: c.ID(), Side: telemetry.Downstream, Listener: t.listener.Name,
		Remote: c.Remote(), Local: c.Local(),
	}}
	t.state.index.Add(c)
	deadline := c.Accepted().Add(t.opts.timeout() + c.Excused())
	if err := c.SetDeadline(deadline); err != nil {
		return s.refuse(diag.ClosedBeforeHello, "the connection ended before it was read", err, s.close)
	}
	var code diag.Code
	if s.slot, code = t.opts.Bounds.BeginHandshake(c.Remote().Addr(), s.wake); code != 0 {
		return s.refuse(code, "too many handshakes are in progress, of this address or of all together, and none that could give way", nil, s.close)
	}
	defer s.slot.End()
	if res := s.decide(); res != nil {
		return res
	}
	if code = s.slot.Turn(deadline); code != 0 {
		return s.refuse(code, "the handshake's turn to compute did not come within the handshake timeout", nil, s.close)
	}
	c.OnWait(s.slot.Yield)
	above := c.Attached()
	c.Attach(s)
	s.tls = tls.Server(c, s.policy.class.configFor(s.hello, &s.served))
	err := s.tls.Handshake()
	c.Attach(above)
	if err != nil {
		return s.fail(err)
	}
	return s.complete()
}

// decide reads the hello and chooses chain, policy and credential. It returns a Result only if it
// refuses.
func (s *shake) decide() *Result {
	hello, err := s.conn.PeekHello()
	if err != nil {
		return s.noHello(err)
	}
	s.hello = hello
	s.rec.Hello = telemetry.Hello{SNI: bounded(hello.ServerName, maxKeptName), Versions: few(hello.Versions), Suites: few(hello.Suites),
		Groups: few(hello.Groups), ALPN: few(hello.ALPN), JA4: hello.JA4, Ticket: hello.Ticket, Records: hello.Records}
	if len(hello.ServerName) > maxKeptName {
		return s.refuse(diag.SNIUnknown, fmt.Sprintf("the client asked for a name of %d bytes; host names have at most 253", len(hello.ServerName)), nil, s.linger)
	}
	entry, ok := s.t.names.find(hello.ServerName)
	if !ok {
		if hello.ServerName == "" {
			return s.refuse(diag.SNIMissing, "the client sent no server name, and listener "+s.t.listener.Name+" has no host \"*\"", nil, s.linger)
		}
		return s.refuse(diag.SNIUnknown, fmt.Sprintf("the client asked for %q, which no host of listener %s covers", hello.ServerName, s.t.listener.Name), nil, s.linger)
	}
	s.chain = entry.chain
	s.rec.Chain, s.rec.Origin = s.chain.Name, s.chain.Origin.String()
	settings := entry.settings(hello.ServerName)
	if settings == nil && s.chain.TCP != nil {
		return s.passThrough()
	}
	if settings == nil || s.t.policies[settings] == nil {
		return s.refuse(diag.CredentialMissing, "chain "+s.chain.Name+" has no TLS settings", nil, s.alert(alertInternalError))
	}
	s.policy = s.t.policies[settings]
	s.rec.Class, s.rec.Origin = string(settings.Class), settings.Origin.String()
	if s.policy.class.missingTrust() {
		return s.noTrust()
	}
	if len(settings.Certificates) == 0 && s.t.opts.Mint != nil {
		return s.mint()
	}
	var broken *ir.Credential
	if s.served, broken = credentials(settings, s.t.secrets); s.served.n == 0 {
		return s.noCredential(broken)
	}
	return nil
}

// passThrough leaves the connection to who relays it: what was read of it remains to be read.
func (s *shake) passThrough() *Result {
	s.conn.HandshakeDone()
	s.rec.Duration = time.Since(s.rec.Time)
	res := &Result{Record: s.rec, Raw: s.conn, Chain: s.chain, PassedThrough: true}
	if err := s.conn.SetDeadline(time.Time{}); err != nil {
		return s.refuse(diag.ClosedBeforeHello, "the connection ended right after its ClientHello", err, s.close)
	}
	return res
}

// Records outlive their connections by thousands, and everything in them is the peer's choice: a hello
// holds 20,000 protocols. Names longer than any host's are refused.
const (
	maxKeptName = 255  // bytes
	maxKeptText = 1000 // bytes
	maxKeptList = 64
)

// few returns a copy of the first items of a list.
func few[T any](list []T) []T { return slices.Clone(list[:min(len(list), maxKeptList)]) }

// bounded returns a copy of s, cut to about n bytes.
func bounded(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// noHello refuses what is no ClientHello, and answers it in its own words where it has some.
func (s *shake) noHello(err error) *Result {
	var peek *listen.PeekError
	if !errors.As(err, &peek) {
		return s.refuse(diag.HandshakeFailed, "reading the ClientHello failed", err, s.close)
	}
	end := s.close
	switch peek.Code {
	case diag.PlaintextOnTLSPort:
		end = s.send(listen.PlaintextOnTLSAnswer(peek.Head))
	case diag.TLSVersionTooLow:
		end = s.alert(alertProtocolVersion)
	case diag.HelloMalformed, diag.HelloTooLarge:
		end = s.alert(alertDecodeError)
	case diag.ProxyHeaderUnwanted: // what comes after it is TLS, if anything
		end = s.alert(alertHandshakeFailure)
	case diag.NotTLS:
		if _, answer := listen.OtherProtocolAnswer(peek.Head, "TLS"); answer != nil {
			end = s.send(answer)
		}
	}
	return s.refuse(peek.Code, peek.Detail, peek.Err, end)
}

// noTrust refuses because the CA that judges clients is missing: there is no grace for a CA.
func (s *shake) noTrust() *Result {
	auth := s.policy.class.auth
	s.rec.Origin = auth.Origin.String()
	detail := fmt.Sprintf("clients of this host are verified by %s, which holds no CA", auth.Trust)
	if err := s.policy.class.broken; err != nil {
		detail = "the settings for clients of this host are unusable: " + err.Error()
	} else if b := s.t.trust.ByRef[auth.Trust]; b != nil && b.Detail != "" {
		detail = b.Detail
	}
	return s.refuse(diag.TrustMissing, detail, nil, s.alert(alertInternalError))
}

// noCredential refuses because there is no certificate to serve.
func (s *shake) noCredential(broken *ir.Credential) *Result {
	code, detail := diag.CredentialMissing, "no certificate is known for this host"
	if broken != nil {
		if broken.Code != 0 {
			code = broken.Code
		}
		if broken.Detail != "" {
			detail = broken.Detail
		}
		s.rec.Origin = broken.Origin.String()
	}
	return s.refuse(code, detail, nil, s.alert(alertInternalError))
}

// wake ends every wait for the client, so that the handshake gives way.
func (s *shake) wake() { _ = s.conn.SetDeadline(time.Unix(1, 0)) }

// refuse completes the record and ends the connection.
func (s *shake) refuse(code diag.Code, detail string, err error, end func()) *Result {
	if s.slot.Gone() {
		code, detail, end = diag.OverloadHandshakes, "too many handshakes were in progress, and this one had waited longest for its client", s.close
	}
	s.slot.Yield() // to end politely takes time
	s.rec.Code, s.rec.Detail = code, bounded(detail, maxKeptText)
	if err != nil {
		s.rec.Err = bounded(err.Error(), maxKeptText)
	}
	s.rec.PeerOffered = bounded(s.rec.PeerOffered, maxKeptText)
	s.rec.Duration = time.Since(s.rec.Time)
	s.t.tellDistrust(s.conn, s.rec)
	end()
	return &Result{Record: s.rec}
}

// Ways to end a refused connection. Errors of closing are of no interest: the peer is gone then.
func (s *shake) close()  { _ = s.conn.Close() }
func (s *shake) linger() { _ = s.conn.CloseLinger(lingerBytes, lingerTime) }

func (s *shake) send(answer []byte) func() {
	return func() {
		if _, err := s.conn.Write(answer); err != nil {
			s.close()
			return
		}
		s.linger()
	}
}

func (s *shake) alert(description uint8) func() { return s.send(listen.Alert(description)) }

// fail makes the Result of a handshake that crypto/tls ended. It has sent its alert by then.
func (s *shake) fail(err error) *Result {
	cs := s.tls.ConnectionState()
	code, detail := s.classify(err, cs)
	s.rec.Version, s.rec.PeerOffered = cs.Version, s.offered(err, cs)
	if s.served.chosen != nil {
		s.rec.Cert = s.served.chosen.Fingerprint
	}
	if origin := s.policy.class.auth.Origin.String(); origin != "" && code >= 2100 && code < 2200 {
		s.rec.Origin = origin
	}
	return s.refuse(code, detail, err, s.linger)
}

// complete makes the Result of a good handshake. Only now has the client proved that it holds its
// certificate's key, so only now its identity is recorded.
func (s *shake) complete() *Result {
	s.conn.HandshakeDone()
	if s.slot.End() {
		return s.refuse(diag.OverloadHandshakes, "", nil, s.close)
	}
	cs := s.tls.ConnectionState()
	rec := s.rec
	rec.Version, rec.Suite, rec.Group = cs.Version, cs.CipherSuite, uint16(cs.CurveID)
	rec.ALPN, rec.Resumed = cs.NegotiatedProtocol, cs.DidResume
	if s.served.chosen != nil {
		rec.Cert = s.served.chosen.Fingerprint
	}
	res := &Result{Record: rec, Conn: s.tls, Raw: s.conn, Chain: s.chain, TLS: s.policy.tls,
		chosen: s.served.chosen, minted: s.minted, term: s.t, class: s.policy.class, peers: cs.PeerCertificates}
	switch {
	case len(cs.PeerCertificates) == 0:
	case s.policy.class.judge == nil:
		rec.PeerOffered = bounded(describeCert(cs.PeerCertificates[0]), maxKeptText)
	default:
		res.ClientCert = s.policy.class.clientCert(cs)
		if res.ClientCert.Verified {
			rec.PeerSubject, rec.PeerHash = res.ClientCert.Subject, res.ClientCert.Hash
		} else {
			rec.PeerOffered = bounded(describeCert(cs.PeerCertificates[0]), maxKeptText)
			rec.Detail = "the client's certificate does not verify (" + res.ClientCert.Code.Slug() + "), which this host does not enforce"
		}
	}
	s.t.state.index.assign(s.conn, indexed{chain: s.chain.Name})
	rec.Duration = time.Since(rec.Time)
	if err := s.conn.SetDeadline(time.Time{}); err != nil {
		return s.refuse(diag.ClosedAfterShake, "the connection ended right after the handshake", err, s.close)
	}
	return res
}
