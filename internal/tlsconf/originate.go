package tlsconf

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// maxResume bounds the sessions that are kept for resumption towards one upstream.
const maxResume = 64

// Originator originates TLS towards the endpoints of one upstream. It is immutable but for what it
// remembers of peers, and its resumption cache, which belongs to it alone, so that no session outlives the trust and the client
// certificate it was made with. It is safe for concurrent use.
type Originator struct {
	name   string
	up     *ir.UpstreamTLS
	pair   *secret.KeyPair // client certificate; nil for none
	broken *refusal        // material is missing; every handshake is refused
	judge  *trust.Verifier
	resume tls.ClientSessionCache
	fixed  [4]*tls.Config // where the server name does not follow the request; by offer
	state  *State

	fetches bool // something is fetched that may revoke the upstream's certificates
	peers   peers

	// Of destinations outside; see tunnel.go.
	behind      map[string]*Originator // by proxy; of the one for direct connections
	tunnel      *Tunnel                // nil: for direct connections
	interceptor *trust.Verifier        // of what the proxy makes; nil: it makes nothing
	ca          *secret.Bundle         // of the same
	trusted     *secret.Bundle         // that the settings name
	strangers   *secret.Bundle         // of proxies that the connection does not go through
	last        atomic.Pointer[madeBy] // issuer of the last leaf
}

// Originate prepares TLS towards the upstream called name. prev may be nil, or the Originator of the
// same upstream in the former snapshot; it is returned itself if nothing that it depends on has
// changed, so that callers can compare pointers.
func Originate(name string, up *ir.UpstreamTLS, secrets *ir.Secrets, bundles *ir.Trust, state *State, prev *Originator) *Originator {
	return OriginateVia(name, up, nil, secrets, bundles, state, prev)
}

// originate makes the Originator for direct connections, or that behind a proxy.
func originate(name string, up *ir.UpstreamTLS, tunnel *Tunnel, secrets *ir.Secrets, bundles *ir.Trust, state *State, prev *Originator) *Originator {
	o := &Originator{name: name, up: up, state: state, tunnel: tunnel}
	if up.Certificate != "" {
		o.client(secrets.ByRef[up.Certificate])
	}
	var bundle *ir.TrustBundle
	if up.Trust != "" {
		bundle = bundles.ByRef[up.Trust]
		o.trusted = anchors(bundle)
		if o.trusted.Len() == 0 && !up.System && !up.InsecureSkipVerify && !o.onlyIntercepted() {
			o.broken = &refusal{diag.UpstreamCredentialMissing, fmt.Sprintf("the trust bundle %s is missing or empty", up.Trust)}
		}
	}
	policy, err := trust.ServerPolicy(up, bundle, nil, state.online)
	if err != nil {
		o.broken = &refusal{diag.UpstreamCredentialMissing, err.Error()}
	}
	if up.Trust == "" || up.System {
		policy.System = state.system()
	}
	o.judge = trust.New(policy, state.verdicts)
	o.intercepts(bundles)
	o.fetches = policy.Online != nil && (policy.Revocation.OCSP || policy.Revocation.FetchCRL)
	if prev != nil && prev.same(o) {
		return prev
	}
	o.resume = tls.NewLRUClientSessionCache(maxResume)
	if !up.HostSNI {
		for speak := range o.fixed {
			o.fixed[speak] = o.config(up.SNI, firstOf(up.VerifyName, up.SNI), offer(speak))
		}
	}
	return o
}

// same reports whether o and p do the same, whatever pointers they hold.
func (o *Originator) same(p *Originator) bool {
	return o.name == p.name && o.state == p.state && o.judge.Revision() == p.judge.Revision() &&
		digestOf(o.pair) == digestOf(p.pair) && (o.broken == nil) == (p.broken == nil) && o.sameBehind(p) && reflect.DeepEqual(o.up, p.up)
}

func digestOf(p *secret.KeyPair) string {
	if p == nil {
		return ""
	}
	return p.Digest
}

// client takes the client certificate, or the reason why there is none.
func (o *Originator) client(cred *ir.Credential) {
	if cred != nil && cred.Pair != nil {
		o.pair = cred.Pair
		return
	}
	detail := fmt.Sprintf("the client certificate %s is missing", o.up.Certificate)
	if cred != nil && cred.Detail != "" {
		detail = cred.Detail
	}
	o.broken = &refusal{diag.UpstreamCredentialMissing, detail}
}

func firstOf(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}

// offer is a list of application protocols.
type offer int

const (
	offerHTTP1 offer = iota
	offerHTTP2
	offerBoth
	offerNone
)

func offerOf(speak ir.UpstreamProtocol) offer {
	switch speak {
	case ir.UpstreamHTTP2:
		return offerHTTP2
	case ir.UpstreamAuto:
		return offerBoth
	case ir.UpstreamRaw:
		return offerNone
	}
	return offerHTTP1
}

// names returns the list as ALPN has it (RFC 7301).
func (p offer) names() []string {
	switch p {
	case offerHTTP2:
		return []string{"h2"}
	case offerBoth:
		return []string{"h2", "http/1.1"}
	case offerNone:
		return nil
	}
	return []string{"http/1.1"}
}

// ClientConfig returns the configuration for one connection; host is the request's host (lower case,
// no port) where the settings follow it, or the name of the one origin that is meant, else "". speak says what ALPN offers: "h2" for UpstreamHTTP2, "h2" and
// "http/1.1" for UpstreamAuto, else "http/1.1". The configuration verifies chain and name by itself in
// VerifyConnection, on resumption too: InsecureSkipVerify in it only keeps crypto/tls from doing so
// before, with fewer reasons. It is shared and must not be changed.
func (o *Originator) ClientConfig(host string, speak ir.UpstreamProtocol) *tls.Config {
	protocols := offerOf(speak)
	if fixed := o.fixed[protocols]; fixed != nil && host == "" {
		return fixed
	}
	return o.config(host, host, protocols)
}

// config makes the configuration for a server name and the name to verify.
func (o *Originator) config(serverName, verify string, protocols offer) *tls.Config {
	return &tls.Config{
		ServerName:           serverName, // crypto/tls sends no IP addresses as SNI
		MinVersion:           firstVersion(o.up.MinVersion),
		MaxVersion:           o.up.MaxVersion,
		CipherSuites:         suites(o.up.CipherSuites, firstVersion(o.up.MinVersion)),
		CurvePreferences:     o.up.Groups,
		NextProtos:           protocols.names(),
		ClientSessionCache:   o.resume,
		Time:                 o.state.now,
		InsecureSkipVerify:   true,
		GetClientCertificate: o.certificate,
		VerifyConnection: func(cs tls.ConnectionState) error {
			verdict, intercepted := o.verify(&cs, verify)
			if verdict.Code != 0 {
				return &refusal{verdict.Code, verdict.Detail}
			}
			if o.fetches && !intercepted {
				o.peers.remember(&cs, verify)
			}
			return nil
		},
		DynamicRecordSizingDisabled: true,
	}
}

// firstVersion is the floor towards upstreams: 1.2 unless configured.
func firstVersion(v uint16) uint16 {
	if v == 0 {
		return tls.VersionTLS12
	}
	return v
}

// askedKey is the key of *asked in a handshake's context.
type askedKey struct{}

// asked notes that the upstream asked for a client certificate.
type asked struct{ yes bool }

// certificate implements tls.Config.GetClientCertificate. The certificate is sent whatever issuers the
// upstream names, because those lists are often incomplete.
func (o *Originator) certificate(cri *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if a, ok := cri.Context().Value(askedKey{}).(*asked); ok {
		a.yes = true
	}
	if o.pair == nil {
		return &tls.Certificate{}, nil
	}
	return o.pair.TLS(), nil
}

// Handshake runs the client side over conn until ctx ends. host is the request's host where the
// settings follow it, speak what ALPN offers as in ClientConfig. The record is never nil; the connection is nil exactly if its Code is not zero.
// Handshake does not close conn. For UpstreamHTTP2 there is a connection only if h2 was negotiated.
//
// Under TLS 1.3 an upstream that refuses our certificate, or the lack of one, says so only after the
// handshake: give the error of the first read to ReadError.
func (o *Originator) Handshake(ctx context.Context, conn net.Conn, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	config := o.ClientConfig(host, speak)
	rec := &telemetry.Handshake{Time: time.Now(), Side: telemetry.Upstream, Listener: o.name, Origin: o.up.Origin.String(),
		Remote: addrPort(conn.RemoteAddr()), Local: addrPort(conn.LocalAddr())}
	rec.Hello = telemetry.Hello{SNI: config.ServerName, ALPN: config.NextProtos}
	if o.broken != nil {
		rec.Code, rec.Detail = o.broken.code, o.broken.detail
		return nil, rec
	}
	a := &asked{}
	tc := tls.Client(conn, config)
	err := tc.HandshakeContext(context.WithValue(ctx, askedKey{}, a))
	cs := tc.ConnectionState()
	rec.Duration = time.Since(rec.Time)
	rec.Version = cs.Version
	if len(cs.PeerCertificates) > 0 {
		rec.Cert = secret.Fingerprint(cs.PeerCertificates[0])
	}
	if err != nil {
		rec.Err = err.Error()
		rec.Code, rec.Detail = o.inTunnel(o.classify(err, a.yes))
		if offerOf(speak) == offerHTTP2 && refusedProtocols(err) {
			rec.Code, rec.Detail = diag.UpstreamNoHTTP2, rec.Detail+", as it does not speak h2; "+noHTTP2Fix
		}
		if len(cs.PeerCertificates) > 0 {
			rec.PeerOffered = describeCert(cs.PeerCertificates[0])
		}
		o.showed(rec, &cs, "")
		return nil, rec
	}
	rec.Suite, rec.Group, rec.ALPN, rec.Resumed = cs.CipherSuite, uint16(cs.CurveID), cs.NegotiatedProtocol, cs.DidResume
	if offerOf(speak) == offerHTTP2 && cs.NegotiatedProtocol != "h2" {
		rec.Code, rec.Detail = diag.UpstreamNoHTTP2, "the upstream chose no application protocol where ALPN offered h2; "+noHTTP2Fix
		return nil, rec
	}
	if o.up.InsecureSkipVerify {
		rec.PeerOffered = describeCert(cs.PeerCertificates[0])
	} else {
		rec.PeerSubject, rec.PeerHash = secret.Subject(cs.PeerCertificates[0]), rec.Cert
	}
	verify := host
	if host == "" && o.fixed[0] != nil {
		verify = firstOf(o.up.VerifyName, o.up.SNI)
	}
	o.showed(rec, &cs, verify)
	return tc, rec
}

// addrPort returns the address of a TCP connection without the IPv4-in-IPv6 form.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
