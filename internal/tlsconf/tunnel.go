package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// Tunnel is how destinations are verified behind one proxy.
type Tunnel struct {
	Proxy        string      // "namespace/name" of the UpstreamProxy
	Interception ir.TrustRef // the CA that the proxy signs with; "": it only tunnels
	Either       bool        // destinations may show their own certificates too
}

// OriginateVia is Originate for an upstream that is reached through proxies: each has material of its own, so that
// a CA that intercepts is believed behind its proxy alone, and no session made there is resumed elsewhere. The
// result itself is for direct connections; HandshakeVia takes the material of a proxy.
func OriginateVia(name string, up *ir.UpstreamTLS, tunnels []Tunnel, secrets *ir.Secrets, bundles *ir.Trust, state *State, prev *Originator) *Originator {
	o := originate(name, up, nil, secrets, bundles, state, prev)
	same := o == prev && len(prev.behind) == len(tunnels)
	behind := make(map[string]*Originator, len(tunnels))
	for _, t := range tunnels {
		var before *Originator
		if prev != nil {
			before = prev.behind[t.Proxy]
		}
		b := originate(name, up, &t, secrets, bundles, state, before)
		same = same && b == before
		behind[t.Proxy] = b
	}
	if same {
		return prev
	}
	if o == prev { // its proxies have changed: a copy, as others hold it
		o = originate(name, up, nil, secrets, bundles, state, nil)
	}
	o.behind = behind
	return o
}

// HandshakeVia is Handshake with a destination behind the proxy of that name. Behind one that the Originator was
// not told of nothing is believed but what direct connections believe.
func (o *Originator) HandshakeVia(ctx context.Context, conn net.Conn, proxy, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	if b := o.behind[proxy]; b != nil {
		o = b
	}
	tc, rec := o.Handshake(ctx, conn, host, speak)
	rec.Proxy = proxy
	return tc, rec
}

// intercepts prepares the verification of what a proxy made, or of what none may have made.
func (o *Originator) intercepts(bundles *ir.Trust) {
	for _, ref := range o.up.Interceptors {
		if o.tunnel == nil || ref != o.tunnel.Interception {
			o.strangers = secret.Merge(o.strangers, anchors(bundles.ByRef[ref]))
		}
	}
	if o.tunnel == nil || o.tunnel.Interception == "" {
		return
	}
	// The leaf is the proxy's: pins and answers about the revocation of the destination's own do not hold for it.
	settings := *o.up
	settings.Trust, settings.System, settings.SPKI, settings.Revocation = o.tunnel.Interception, false, nil, nil
	bundle := bundles.ByRef[o.tunnel.Interception]
	if anchors(bundle).Len() == 0 && !o.up.InsecureSkipVerify {
		o.broken = &refusal{diag.UpstreamCredentialMissing, fmt.Sprintf("the interception CA %s of the proxy %s is missing or empty", o.tunnel.Interception, o.tunnel.Proxy)}
	}
	policy, err := trust.ServerPolicy(&settings, bundle, nil, nil)
	if err != nil {
		o.broken = &refusal{diag.UpstreamCredentialMissing, err.Error()}
	}
	o.interceptor, o.ca = trust.New(policy, o.state.verdicts), anchors(bundle)
}

// sameBehind reports whether o and p judge what proxies make alike.
func (o *Originator) sameBehind(p *Originator) bool {
	if (o.tunnel == nil) != (p.tunnel == nil) || o.tunnel != nil && *o.tunnel != *p.tunnel || (o.interceptor == nil) != (p.interceptor == nil) {
		return false
	}
	if o.interceptor != nil && o.interceptor.Revision() != p.interceptor.Revision() {
		return false
	}
	return digestOfBundle(o.strangers) == digestOfBundle(p.strangers)
}

func digestOfBundle(b *secret.Bundle) string {
	if b == nil {
		return ""
	}
	return b.Digest
}

// verify judges what a destination showed. intercepted says that the proxy's interception CA vouches for it.
func (o *Originator) verify(cs *tls.ConnectionState, name string) (v trust.Verdict, intercepted bool) {
	now := o.state.now()
	if o.interceptor == nil {
		v = o.judge.VerifyStapled(cs.PeerCertificates, cs.OCSPResponse, name, now)
		return o.unexpected(v, cs.PeerCertificates), false
	}
	v = o.interceptor.VerifyServer(cs.PeerCertificates, name, now)
	if v.Verified() {
		return v, true
	}
	own := o.judge.VerifyStapled(cs.PeerCertificates, cs.OCSPResponse, name, now)
	switch {
	case v.Code == 0: // nothing is verified
		return own, false
	case own.Verified() && o.tunnel.Either:
		return own, false
	case own.Verified():
		leaf := cs.PeerCertificates[0]
		return trust.Verdict{Code: diag.InterceptionMissing, Leaf: own.Leaf, Detail: fmt.Sprintf("through the proxy %s, %s showed the certificate %q of %q, which is good by the ordinary anchors but not signed by the interception CA %s",
			o.tunnel.Proxy, name, secret.Subject(leaf), secret.Issuer(leaf), o.tunnel.Interception)}, false
	}
	made := trust.SignedBy(cs.PeerCertificates, o.ca)
	if o.tunnel.Either && !made && own.Code != diag.UpstreamUnknownCA {
		return own, false // it is the destination's own, and not good
	}
	v.Code = interceptionCode(v.Code, made)
	v.Detail = fmt.Sprintf("behind the proxy %s: %s", o.tunnel.Proxy, v.Detail)
	if v.Code == diag.InterceptionUnknownCA {
		leaf := cs.PeerCertificates[0]
		v.Detail = fmt.Sprintf("behind the proxy %s, the certificate %q shown for %s is issued by %q and not signed by the interception CA %s",
			o.tunnel.Proxy, secret.Subject(leaf), name, secret.Issuer(leaf), o.tunnel.Interception)
	}
	return v, false
}

// interceptionCode is the reason of what a proxy made for one of what an upstream showed. made says that the
// interception CA signed it.
func interceptionCode(c diag.Code, made bool) diag.Code {
	switch {
	case !made:
		return diag.InterceptionUnknownCA
	case c == diag.UpstreamCertExpired, c == diag.UpstreamCertNotYetValid:
		return diag.InterceptionExpired
	case c == diag.UpstreamNameMismatch, c == diag.UpstreamCertNoSAN:
		return diag.InterceptionNameMismatch
	case c == diag.UpstreamUnknownCA:
		return diag.InterceptionUnknownCA
	}
	return c
}

// unexpected finds out whether a proxy that the connection does not go through made what was shown. The system's
// roots do not make up for it: a company's CA is often among them. A bundle that names the CA does.
func (o *Originator) unexpected(v trust.Verdict, presented []*x509.Certificate) trust.Verdict {
	if o.strangers.Len() == 0 || len(presented) == 0 || o.up.InsecureSkipVerify {
		return v
	}
	switch {
	case v.Code == 0 && !trust.AnchoredIn(v.Chain, o.strangers), v.Code == 0 && o.named(v.Chain):
		return v
	case v.Code != 0 && !trust.SignedBy(presented, o.strangers):
		return v
	}
	leaf, where := presented[0], "on a direct connection"
	if o.tunnel != nil {
		where = "behind the proxy " + o.tunnel.Proxy + ", which does not intercept"
	}
	return trust.Verdict{Code: diag.UnexpectedInterception, Leaf: v.Leaf, Detail: fmt.Sprintf("%s, the certificate %q was shown, which %q signed: the interception CA of a proxy that the connection does not go through",
		where, secret.Subject(leaf), secret.Issuer(leaf))}
}

// inTunnel adds to the detail of a failed handshake that it was made inside a proxy's tunnel: the certificate's own
// reasons say so themselves. A proxy that intercepts connects to the destination after it has answered CONNECT, and
// then there is nobody to say why it does not get there.
func (o *Originator) inTunnel(code diag.Code, detail string) (diag.Code, string) {
	if o.tunnel == nil {
		return code, detail
	}
	switch code {
	case diag.UpstreamConnectTimeout:
		detail += ", though the proxy had taken CONNECT; one that intercepts connects to the destination only then, and its log says why it does not get there"
	case diag.UpstreamTLSFailed, diag.UpstreamSpeaksPlaintext, diag.UpstreamTLSNoCommon, diag.UpstreamTLSVersion:
	default:
		return code, detail
	}
	return code, "behind the proxy " + o.tunnel.Proxy + ": " + detail
}

// named reports whether the settings' own bundle holds the anchor of a chain.
func (o *Originator) named(chain []*x509.Certificate) bool { return trust.AnchoredIn(chain, o.trusted) }

// showed records whose certificate the peer's is.
func (o *Originator) showed(rec *telemetry.Handshake, cs *tls.ConnectionState, verify string) {
	if len(cs.PeerCertificates) == 0 {
		return
	}
	rec.Issuer = secret.Issuer(cs.PeerCertificates[0])
	if rec.Code == 0 && o.interceptor != nil {
		_, rec.Intercepted = o.verify(cs, verify) // from the cache that the handshake has filled
	}
	if last := o.last.Load(); last != nil && last.cert == rec.Cert {
		rec.IssuerKey = last.key
		return
	}
	rec.IssuerKey, _ = trust.IssuerKey(cs.PeerCertificates, o.ca, o.trusted, o.strangers)
	o.last.Store(&madeBy{rec.Cert, rec.IssuerKey})
}

// madeBy is the issuer's key of a leaf.
type madeBy struct{ cert, key string }

// onlyIntercepted reports whether destinations show nothing but what the proxy made.
func (o *Originator) onlyIntercepted() bool {
	return o.tunnel != nil && o.tunnel.Interception != "" && !o.tunnel.Either
}
