package trace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// peer is whom TLS is spoken to, and who vouches for it.
type peer struct {
	name         string // SNI and name to verify
	alpn         []string
	anchors      []*Anchors // in the order in which they are asked
	interception *Anchors   // of them the one that a proxy intercepts with
	proxy        bool
	direct       bool
}

// destination is the peer at the end.
func (t *tracer) destination(direct bool) peer {
	p := peer{name: t.o.URL.Hostname(), alpn: t.o.ALPN, direct: direct}
	if t.o.Interception != nil && !direct {
		p.interception = t.o.Interception
		p.anchors = append(p.anchors, t.o.Interception)
	}
	p.anchors = append(p.anchors, t.o.Anchors)
	return p
}

// proxyPeer is the proxy itself.
func (t *tracer) proxyPeer() peer {
	via := t.o.Proxy
	p := peer{name: via.SNI, alpn: []string{"http/1.1"}, proxy: true, direct: true, anchors: []*Anchors{via.Anchors}}
	if p.name == "" {
		p.name = via.URL.Hostname()
	}
	if via.Anchors == nil {
		p.anchors[0] = t.o.systemAnchors()
	}
	return p
}

// sessions keeps tickets and counts them.
type sessions struct {
	mu    sync.Mutex
	cache tls.ClientSessionCache
	n     map[string]int
}

// Get implements tls.ClientSessionCache.
func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil {
		return nil, false
	}
	return s.cache.Get(key)
}

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(key string, state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cache == nil {
		s.cache, s.n = tls.NewLRUClientSessionCache(4), map[string]int{}
	}
	if state != nil {
		s.n[key]++
	}
	s.cache.Put(key, state)
}

func (s *sessions) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[key]
}

// errSilent says that a server ended the connection without a byte.
var errSilent = errors.New("closed without a byte")

// secure shakes hands over conn and judges what is shown. It closes conn if it fails.
func (t *tracer) secure(ctx context.Context, conn net.Conn, h *Hop, to peer) (net.Conn, error) {
	out := &TLS{Offered: to.alpn}
	h.TLS = out
	if net.ParseIP(to.name) == nil {
		out.SNI = to.name
	}
	seen := &recorded{Conn: conn}
	config := &tls.Config{
		ServerName: to.name, NextProtos: to.alpn, MinVersion: t.o.MinVersion, MaxVersion: t.o.MaxVersion, ClientSessionCache: t.sessions,
		InsecureSkipVerify: true, // #nosec G402 -- what is shown is judged below, and told
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			out.show(raw)
			return nil
		},
		GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			out.WantsCert = true
			for _, der := range info.AcceptableCAs[:min(len(info.AcceptableCAs), 8)] {
				out.Accepts = append(out.Accepts, secret.Subject(&x509.Certificate{RawSubject: der}))
			}
			if t.o.Certificate != nil && !to.proxy {
				if leaf, err := x509.ParseCertificate(t.o.Certificate.Certificate[0]); err == nil {
					out.Ours = secret.Subject(leaf)
				}
				return t.o.Certificate, nil
			}
			return &tls.Certificate{}, nil
		},
	}
	if config.MinVersion == 0 {
		config.MinVersion = tls.VersionTLS10 // what a server still speaks is to be seen
	}
	begun := time.Now()
	shaking, cancel := context.WithTimeout(ctx, t.o.Timeout)
	defer cancel()
	c := tls.Client(seen, config)
	err := c.HandshakeContext(shaking)
	out.Took = Took(time.Since(begun))
	out.JA4 = ja4(seen.out)
	if err == nil {
		out.take(c.ConnectionState(), t.o.Now())
	}
	if len(out.certs) > 0 {
		out.Verified = t.verify(out.certs, to)
	}
	if err != nil {
		conn.Close()
		return nil, t.shakeFailed(err, seen, h, to)
	}
	return &securedConn{Conn: c, key: to.name}, nil
}

// securedConn is a TLS connection that net/http takes as one.
type securedConn struct {
	*tls.Conn
	key string
}

// show keeps what was shown.
func (s *TLS) show(raw [][]byte) {
	s.certs, s.Chain, s.leaf = nil, nil, nil
	for _, der := range raw[:min(len(raw), 16)] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		s.certs = append(s.certs, c)
		s.Chain = append(s.Chain, describe(c))
	}
	if len(s.certs) > 0 {
		s.leaf = s.certs[0]
	}
}

func describe(c *x509.Certificate) *Certificate {
	d := &Certificate{Subject: secret.Subject(c), Issuer: secret.Issuer(c), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		Key: secret.KeyType(c.PublicKey), Signature: c.SignatureAlgorithm.String(), Fingerprint: secret.Fingerprint(c), Names: c.DNSNames}
	for _, ip := range c.IPAddresses {
		d.Names = append(d.Names, ip.String())
	}
	return d
}

// take notes what was agreed.
func (s *TLS) take(cs tls.ConnectionState, now time.Time) {
	s.Version, s.Suite, s.ALPN, s.Resumed = tlsname.Version(cs.Version), tlsname.Suite(cs.CipherSuite), cs.NegotiatedProtocol, cs.DidResume
	if cs.CurveID != 0 {
		s.Group = tlsname.Group(cs.CurveID)
	}
	if s.certs == nil {
		raw := make([][]byte, 0, len(cs.PeerCertificates))
		for _, c := range cs.PeerCertificates {
			raw = append(raw, c.Raw)
		}
		s.show(raw)
	}
	s.Staple = staple(cs.OCSPResponse, s.certs, now)
}

// staple says what a stapled OCSP answer says.
func staple(der []byte, chain []*x509.Certificate, now time.Time) string {
	if len(der) == 0 || len(chain) == 0 {
		return ""
	}
	var issuer *x509.Certificate
	if len(chain) > 1 {
		issuer = chain[1]
	}
	r, err := ocsp.ParseResponseForCert(der, chain[0], issuer)
	switch {
	case err != nil:
		return "unusable: " + err.Error()
	case !r.NextUpdate.IsZero() && now.After(r.NextUpdate):
		return "out of date since " + r.NextUpdate.UTC().Format(time.RFC3339)
	case r.Status == ocsp.Good:
		return "good, until " + r.NextUpdate.UTC().Format(time.RFC3339)
	case r.Status == ocsp.Revoked:
		return "revoked at " + r.RevokedAt.UTC().Format(time.RFC3339)
	}
	return "unknown to the responder"
}

// ja4 reads our own ClientHello from what was sent first.
func ja4(sent []byte) string {
	if len(sent) < 9 || sent[0] != 22 {
		return ""
	}
	size := int(binary.BigEndian.Uint16(sent[3:]))
	if len(sent) < 5+size {
		return ""
	}
	hello, err := listen.ParseHello(sent[5 : 5+size])
	if err != nil {
		return ""
	}
	return hello.JA4
}

// settled turns a verdict into going on or not.
func (t *tracer) settled(conn net.Conn, err error, h *Hop) (net.Conn, error) {
	if err != nil {
		return nil, errEnded
	}
	v := h.TLS.Verified
	if v == nil || v.Code == 0 {
		return conn, nil
	}
	if t.o.Insecure {
		t.p.tell(diag.Warning, v.Code, v.Detail+"; went on all the same (-k)", "")
		return conn, nil
	}
	fix := ""
	if v.Code == diag.UpstreamUnknownCA {
		fix = "Name the CA that is to vouch with --cacert; hakone run takes it from the DestinationRule."
		if t.o.Proxy != nil {
			fix = "If the proxy is to intercept, name its CA with --interception-ca (hakone run takes it from the UpstreamProxy's interception.caRef); else find out who intercepts."
		}
	}
	t.p.find(v.Code, v.Detail, fix)
	conn.Close()
	return nil, errEnded
}

// shakeFailed finds the reason of a handshake that was not finished.
func (t *tracer) shakeFailed(err error, seen *recorded, h *Hop, to peer) error {
	code, words := diag.UpstreamTLSFailed, err.Error()
	var head tls.RecordHeaderError
	proto, _ := listen.Sniff(seen.in)
	alert, isAlert := alertOf(err)
	switch {
	case errors.As(err, &head) && len(seen.in) > 0:
		code = diag.UpstreamSpeaksPlaintext
		words = fmt.Sprintf("it answered the ClientHello with %q, which is no TLS", seen.in[:min(len(seen.in), 24)])
		if strings.HasPrefix(string(seen.in), "HTTP/") {
			words = "it speaks plain HTTP on this port: it answered the ClientHello with an HTTP answer"
		} else if proto != listen.ProtocolUnknown && proto != listen.ProtocolNone {
			words = "it speaks " + string(proto) + " on this port"
		}
		if to.proxy {
			code = diag.ProxySpeaksPlaintext
		}
	case isAlert && (alert == 116 || alert == 42 || alert == 40) && h.TLS.WantsCert && h.TLS.Ours == "":
		code, words = diag.UpstreamRequiresCert, fmt.Sprintf("it wants a client certificate, and sent alert %d without one", alert)
	case isAlert && h.TLS.Ours != "" && (alert >= 42 && alert <= 46 || alert == 48 || alert == 49):
		code, words = diag.UpstreamRejectedCert, fmt.Sprintf("it refused our certificate %s with alert %d", h.TLS.Ours, alert)
	case isAlert && alert == 70:
		code, words = diag.UpstreamTLSVersion, "it speaks none of the TLS versions that were offered (alert 70)"
	case isAlert && (alert == 40 || alert == 71 || alert == 120):
		code, words = diag.UpstreamTLSNoCommon, fmt.Sprintf("it has no suite, group or protocol in common with us, or no host of that name (alert %d)", alert)
	case isAlert:
		words = fmt.Sprintf("it ended the handshake with alert %d: %s", alert, strings.TrimPrefix(err.Error(), "remote error: tls: "))
	case isTimeout(err):
		words = "it did not answer the ClientHello in time; a server that waits for plain text, or for a PROXY header, does so"
	case seen.closed && len(seen.in) == 0:
		code, words = diag.UpstreamClosedEarly, "it closed the connection at the ClientHello without a byte; servers do so that have no such host, that speak another protocol, or that expect a PROXY header"
		if to.proxy {
			code = diag.ProxyClosed
		}
		h.TLS.Error = words
		t.p.find(code, fmt.Sprintf("no TLS with %s: %s", h.Target, words), "")
		return errSilent
	}
	if to.proxy && code != diag.ProxySpeaksPlaintext {
		code = diag.ProxyUntrusted
		if len(h.TLS.certs) == 0 {
			code = diag.ProxyClosed
		}
	}
	h.TLS.Error = words
	t.p.find(code, fmt.Sprintf("no TLS with %s: %s", h.Target, words), "")
	return errEnded
}

// alertOf returns the alert that the peer sent; crypto/tls has an unexported type for it.
func alertOf(err error) (uint8, bool) {
	var oe *net.OpError
	if !errors.As(err, &oe) || oe.Op != "remote error" || oe.Err == nil {
		return 0, false
	}
	v := reflect.ValueOf(oe.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}
