package trace

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// verify asks each set of anchors in turn, as the gateway would: through a proxy with an interception CA that
// one first.
func (t *tracer) verify(shown []*x509.Certificate, to peer) *Verification {
	v := &Verification{Name: to.name}
	for _, a := range to.anchors {
		verdict := a.judge(shown, to.name, t.o.Now())
		if verdict.Code != 0 {
			v.Tried = append(v.Tried, Attempt{a.From, verdict.Code, verdict.Detail})
			continue
		}
		v.By, v.Intercepted = a.From, a == to.interception
		if n := len(verdict.Chain); n > 0 {
			v.Anchor = secret.Subject(verdict.Chain[n-1])
		}
		break
	}
	switch {
	case v.By == "" && to.direct && !to.proxy && t.o.Interception != nil && t.o.Interception.judge(shown, to.name, t.o.Now()).Code == 0:
		v.Code, v.Detail = diag.UnexpectedInterception, fmt.Sprintf("on the direct path, %s shows a certificate of the interception CA (%s), which is good through its proxy alone", to.name, t.o.Interception.From)
	case v.By == "":
		v.Code, v.Detail = refused(v, shown[0], to)
	case to.interception != nil && !v.Intercepted && t.o.Proxy.Only:
		v.Code, v.Detail = diag.InterceptionMissing, fmt.Sprintf("%s shows its own certificate (%s) through a proxy that is to intercept: its interception CA did not sign it", to.name, secret.Issuer(shown[0]))
	}
	return v
}

// refused says why nobody vouches: by the interception CA's words where there is one.
func refused(v *Verification, leaf *x509.Certificate, to peer) (diag.Code, string) {
	first := v.Tried[0]
	code := first.Code
	if to.interception != nil {
		for _, a := range v.Tried { // a cause that is more than an unknown CA tells who signed
			if a.Code != diag.UpstreamUnknownCA {
				first, code = a, a.Code
				break
			}
		}
		switch code {
		case diag.UpstreamUnknownCA:
			code = diag.InterceptionUnknownCA
		case diag.UpstreamCertExpired, diag.UpstreamCertNotYetValid:
			code = diag.InterceptionExpired
		case diag.UpstreamNameMismatch, diag.UpstreamCertNoSAN:
			code = diag.InterceptionNameMismatch
		}
	}
	if to.proxy {
		code = diag.ProxyUntrusted
	}
	return code, fmt.Sprintf("the certificate of %s, issued by %s, does not verify by %s: %s", to.name, secret.Issuer(leaf), first.Anchors, first.Detail)
}

// judge verifies a chain by these anchors alone.
func (a *Anchors) judge(shown []*x509.Certificate, name string, now time.Time) trust.Verdict {
	return trust.New(trust.Policy{Roots: a.Bundle, System: a.System}, nil).VerifyServer(shown, name, now)
}

// directly looks at the destination without the proxy.
func (t *tracer) directly(ctx context.Context) *Hop {
	h := &Hop{Name: "destination", Target: hostPort(t.o.URL)}
	quiet := &tracer{o: t.o, p: &Picture{}, sessions: &sessions{}}
	quiet.o.Timeout = min(t.o.Timeout, 3*time.Second)
	ctx, cancel := context.WithTimeout(ctx, 2*quiet.o.Timeout)
	defer cancel()
	conn, err := quiet.connect(ctx, h, quiet.p)
	if err != nil {
		return h
	}
	if secured, err := quiet.secure(ctx, conn, h, quiet.destination(true)); err == nil {
		secured.Close()
	}
	return h
}

// compare says what differs between both ways.
func (t *tracer) compare(direct *Hop) {
	c := &Comparison{}
	if direct.TCP != nil {
		c.Address = direct.TCP.Remote
	}
	via := t.p.Hops[len(t.p.Hops)-1]
	switch {
	case direct.TLS == nil || direct.TLS.leaf == nil:
		for _, text := range []string{dnsError(direct), tcpError(direct), tlsError(direct)} {
			if text != "" {
				c.Error = text
			}
		}
		if t.o.Direct == DirectAlways {
			t.p.tell(diag.Info, 0, fmt.Sprintf("the direct path to %s cannot be compared: %s", direct.Target, c.Error), "")
			t.p.Direct = c
		}
		return
	case via.Name != "destination" || via.TLS == nil || via.TLS.leaf == nil:
		return // there is nothing to compare with
	}
	c.TLS = direct.TLS
	c.Same = direct.TLS.leaf.Equal(via.TLS.leaf)
	if string(direct.TLS.leaf.RawIssuer) != string(via.TLS.leaf.RawIssuer) || string(direct.TLS.leaf.AuthorityKeyId) != string(via.TLS.leaf.AuthorityKeyId) {
		c.By = secret.Issuer(via.TLS.leaf)
	}
	c.Both = c.By == "" && via.TLS.Verified != nil && via.TLS.Verified.Intercepted
	t.p.Direct = c
	if v := direct.TLS.Verified; v != nil && v.Code == diag.UnexpectedInterception {
		t.p.tell(diag.Warning, v.Code, v.Detail, "Find out who intercepts on the direct path.")
	}
}

func dnsError(h *Hop) string {
	if h.DNS == nil {
		return ""
	}
	return h.DNS.Error
}

func tcpError(h *Hop) string {
	if h.TCP == nil {
		return ""
	}
	return h.TCP.Error
}

func tlsError(h *Hop) string {
	if h.TLS == nil {
		return ""
	}
	return h.TLS.Error
}
