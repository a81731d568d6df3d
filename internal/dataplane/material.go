package dataplane

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// originator lets upstream, which does not know how trust is decided, originate TLS. It is compared
// with ==: equal originators are the same material.
type originator struct {
	*tlsconf.Originator
	sink telemetry.Sink
}

// Handshake implements upstream.TLS.
func (o originator) Handshake(ctx context.Context, conn net.Conn, host string) (*tls.Conn, *upstream.Error) {
	secured, record := o.Originator.Handshake(ctx, conn, host)
	o.sink.Handshake(record)
	if record.Code != 0 {
		return nil, &upstream.Error{Code: record.Code, Detail: record.Detail}
	}
	return secured, nil
}

// material gives upstreams the endpoints and TLS material of a snapshot. What is equal to what they
// have changes nothing.
func (p *Plane) material(held map[string]*upstream.Upstream, snap *ir.Snapshot) {
	next := make(map[string]*tlsconf.Originator, len(p.originators))
	for name, u := range held {
		if u.Settings.Resolve == nil {
			u.SetEndpoints(snap.Endpoints.ByUpstream[name])
		}
		if u.Settings.TLS == nil {
			continue
		}
		o := tlsconf.Originate(name, u.Settings.TLS, snap.Secrets, snap.Trust, p.tls, p.originators[name])
		next[name] = o
		u.SetTLS(originator{o, p.opts.Sink})
	}
	p.originators = next
}

// UpstreamStats returns the counters of every endpoint.
func (p *Plane) UpstreamStats() []upstream.Stats { return p.upstreams.Stats() }
