package native

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/tlsname"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Defaults of an OriginPool.
const (
	defaultConnectTimeout = 5 * time.Second
	defaultEjectionTime   = 30 * time.Second
	defaultFailures       = 5
	defaultEjected        = 50 // percent
)

// pools makes an upstream of every OriginPool, whoever uses it: compile drops what nothing refers to.
func (t *translator) pools() {
	fallbacks := t.fallbacks()
	for _, p := range t.set.OriginPools() {
		t.pool(p, fallbacks)
	}
}

// pool makes the upstream of a pool, and a second one for GRPCRoutes where HTTP/2 is not what the pool
// itself speaks.
func (t *translator) pool(p *resource.OriginPool, fallbacks map[resource.Key]*resource.OriginPool) {
	spec, obj, fallback := p.Spec, p.Object(), fallbacks[p.Key]
	up := &ir.Upstream{
		Name: translate.PoolUpstream(p.Namespace, p.Name, false), Origin: ir.Origin{Object: obj},
		Protocol: t.protocol(p), Balancing: t.balancing(p),
		Pool: ir.Pool{ConnectTimeout: t.duration(&p.Meta, diag.OriginPoolInvalid, "spec.connectTimeout", spec.ConnectTimeout, time.Millisecond, defaultConnectTimeout)},
		Origins: &ir.OriginPool{Name: p.Namespace + "/" + p.Name, Display: spec.DisplayName, Disabled: spec.Enabled != nil && !*spec.Enabled,
			Affinity: t.affinity(p), Monitor: t.monitor(p), Passive: t.passive(p)},
	}
	t.originTLS(p, up)
	servers := t.servers(p)
	up.Origins.Minimum = t.minimum(p, servers)
	t.judgePool(p, up, servers, fallback)
	if fallback != nil {
		up.Origins.Fallback = translate.PoolUpstream(fallback.Namespace, fallback.Name, false)
	}
	t.add(up, servers)
	if up.Protocol == ir.UpstreamHTTP2 || spec.Protocol == "http1" {
		return
	}
	grpc, origins := *up, *up.Origins
	grpc.Name, grpc.Protocol, grpc.Origins = translate.PoolUpstream(p.Namespace, p.Name, true), ir.UpstreamHTTP2, &origins
	for fallback != nil && fallback.Spec.Protocol == "http1" { // which cannot carry gRPC
		fallback = fallbacks[fallback.Key]
	}
	if origins.Fallback = ""; fallback != nil {
		origins.Fallback = translate.PoolUpstream(fallback.Namespace, fallback.Name, fallback.Spec.Protocol != "http2")
	}
	t.add(&grpc, servers)
}

func (t *translator) add(up *ir.Upstream, servers []ir.Endpoint) {
	for _, e := range servers { // addresses are inside, unless somebody names a proxy for them
		if _, err := netip.ParseAddr(e.Host); err != nil && up.Destination == "" {
			up.Destination = e.Host
		}
	}
	t.out.Upstreams[up.Name], t.out.Endpoints[up.Name] = up, servers
}

// fallbacks resolves every fallbackRef. A pool that would fall back to itself, over however many
// others, has none.
func (t *translator) fallbacks() map[resource.Key]*resource.OriginPool {
	next := map[resource.Key]*resource.OriginPool{}
	for _, p := range t.set.OriginPools() {
		ref := p.Spec.FallbackRef
		if ref == nil {
			continue
		}
		if q := t.set.OriginPool(p.Namespace, ref.Name); q != nil {
			next[p.Key] = q
			continue
		}
		message, fix := translate.AbsentPool(t.set, p.Namespace, ref.Name)
		t.report(&p.Meta, diag.OriginFallbackInvalid, "spec.fallbackRef.name", message+"; the pool has no fallback", fix)
	}
	var looped []resource.Key
	for _, p := range t.set.OriginPools() {
		way := []string{p.Name}
		for q := next[p.Key]; q != nil && len(way) <= len(next); q = next[q.Key] {
			way = append(way, q.Name)
			if q.Key == p.Key {
				looped = append(looped, p.Key)
				t.report(&p.Meta, diag.OriginFallbackInvalid, "spec.fallbackRef", fmt.Sprintf("the pool falls back to itself: %s; it has no fallback", strings.Join(way, " → ")), "Let the last pool of the chain have no fallbackRef.")
				break
			}
		}
	}
	for _, k := range looped {
		delete(next, k)
	}
	return next
}

func (t *translator) protocol(p *resource.OriginPool) ir.UpstreamProtocol {
	switch p.Spec.Protocol {
	case "http2":
		return ir.UpstreamHTTP2
	case "auto":
		if p.Spec.TLS == nil {
			t.report(&p.Meta, diag.OriginSettingIdle, "spec.protocol", "protocol auto asks in TLS (ALPN) what the origins speak, and the pool has no tls: HTTP/1.1 is spoken", "Add tls, or write http1 or http2.")
		}
		return ir.UpstreamAuto
	}
	return ir.UpstreamHTTP1
}

func (t *translator) balancing(p *resource.OriginPool) ir.Balancing {
	switch p.Spec.Steering {
	case v1alpha1.SteeringOff:
		return ir.FirstHealthy
	case v1alpha1.SteeringLeastRequest:
		return ir.LeastRequest
	case v1alpha1.SteeringHash:
		return ir.HashAddress
	case v1alpha1.SteeringGeo:
		if !t.ctx.GeoDB {
			t.report(&p.Meta, diag.GeoWithoutDatabase, "spec.steering", "steering geo needs a database of addresses, and none is given: every client counts as from nowhere", "Start with --geoip-db FILE.mmdb.")
		}
		return ir.Geo
	}
	return ir.Random
}

// minimum returns how many healthy origins make a healthy pool.
func (t *translator) minimum(p *resource.OriginPool, servers []ir.Endpoint) int {
	least := max(int(p.Spec.MinimumOrigins), 1)
	if all := len(servers); least > all && all > 0 {
		t.report(&p.Meta, diag.OriginPoolInvalid, "spec.minimumOrigins", fmt.Sprintf("%d healthy origins can never be: the pool has %d; that number holds instead", least, all), "Lower minimumOrigins, or add origins.")
		least = all
	}
	return least
}

// judgePool reports a pool that cannot serve, or not as its settings promise.
func (t *translator) judgePool(p *resource.OriginPool, up *ir.Upstream, servers []ir.Endpoint, fallback *resource.OriginPool) {
	enabled, takes := 0, 0
	for _, s := range servers {
		if !s.Server.Disabled {
			enabled++
			if s.Server.Share > 0 {
				takes++
			}
		}
	}
	instead := "requests to it are refused"
	if fallback != nil {
		instead = "all goes to its fallback " + fallback.Name
	}
	severity := diag.Warning
	if fallback != nil {
		severity = diag.Info
	}
	switch {
	case up.Origins.Disabled:
		t.reportAs(severity, &p.Meta, diag.OriginPoolEmpty, "spec.enabled", "the pool is switched off; "+instead, "Set enabled: true.")
	case enabled == 0:
		t.reportAs(severity, &p.Meta, diag.OriginPoolEmpty, "spec.origins", "the pool has no origin that is enabled and can be used; "+instead, "Enable or correct an origin.")
	case takes == 0:
		t.reportAs(severity, &p.Meta, diag.OriginPoolEmpty, "spec.origins", "all origins that are enabled have weight 0, so none takes new clients; "+instead, "Give an origin a weight.")
	case enabled < up.Origins.Minimum:
		t.reportAs(severity, &p.Meta, diag.OriginPoolEmpty, "spec.minimumOrigins", fmt.Sprintf("%d of the %d origins that the pool needs to be healthy are enabled, so it never is", enabled, up.Origins.Minimum), "Enable more origins, or lower minimumOrigins.")
	}
	if up.Origins.Minimum > 1 && up.Origins.Monitor == nil && up.Origins.Passive == nil {
		t.report(&p.Meta, diag.OriginSettingIdle, "spec.minimumOrigins", "nothing finds out which origins are healthy, so only those that are switched off count against minimumOrigins", "Add a monitor, or remove passive.disabled.")
	}
}

func (t *translator) passive(p *resource.OriginPool) *ir.PassiveHealth {
	out := &ir.PassiveHealth{Failures: defaultFailures, Ejection: defaultEjectionTime, MaxPercent: defaultEjected}
	spec := p.Spec.Passive
	if spec == nil {
		return out
	}
	if spec.Disabled {
		if *spec != (v1alpha1.PassiveHealth{Disabled: true}) {
			t.report(&p.Meta, diag.OriginSettingIdle, "spec.passive", "passive health is disabled, so what stands beside disabled does nothing", "Remove it, or disabled.")
		}
		return nil
	}
	out.Failures = cmp.Or(int(spec.ConsecutiveFailures), out.Failures)
	out.MaxPercent = cmp.Or(int(spec.MaxEjectionPercent), out.MaxPercent)
	out.Ejection = t.duration(&p.Meta, diag.OriginPoolInvalid, "spec.passive.ejectionTime", spec.EjectionTime, time.Second, out.Ejection)
	return out
}

// originTLS reads how TLS is spoken to the origins. What cannot be verified as written makes the pool
// refuse: nothing is sent unverified instead. The name to verify is each origin's own (ir.Server).
func (t *translator) originTLS(p *resource.OriginPool, up *ir.Upstream) {
	spec := p.Spec.TLS
	if spec == nil {
		return
	}
	const field = "spec.tls"
	up.TLS = &ir.UpstreamTLS{Origin: ir.Origin{Object: p.Object(), Field: field}, HostSNI: true, InsecureSkipVerify: spec.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if v := spec.MinVersion; v != "" {
		n, ok := tlsname.ParseVersion(string(v))
		switch {
		case !ok:
			t.report(&p.Meta, diag.TLSFloorInvalid, field+".minVersion", fmt.Sprintf("%q is no TLS version; 1.2 holds instead", v), "Use 1.0, 1.1, 1.2 or 1.3.")
		case n < tls.VersionTLS12:
			t.report(&p.Meta, diag.TLSLegacy, field+".minVersion", fmt.Sprintf("TLS %s towards origins is enabled, which RFC 8996 deprecates", tlsname.Version(n)), "Raise minVersion to \"1.2\".")
			up.TLS.MinVersion = n
		default:
			up.TLS.MinVersion = n
		}
	}
	if spec.CertificateRef != nil {
		up.TLS.Certificate = t.certificate(&p.Meta, spec.CertificateRef, field+".certificateRef")
	}
	for i, pin := range spec.SPKI {
		if b, err := base64.StdEncoding.DecodeString(pin); err != nil || len(b) != 32 {
			t.report(&p.Meta, diag.PinInvalid, fmt.Sprintf("%s.spki[%d]", field, i), fmt.Sprintf("%q is no SHA-256 in base64; no origin can match it", pin), "Write base64 of SHA-256 over the public key.")
		}
		up.TLS.SPKI = append(up.TLS.SPKI, pin) // a broken one stays: without it the rest would mean less
	}
	slices.Sort(up.TLS.SPKI)
	up.TLS.SPKI = slices.Compact(up.TLS.SPKI)
	if spec.InsecureSkipVerify {
		t.unverified(p)
		return
	}
	up.TLS.Revocation = t.revocation(&p.Meta, field+".revocation", spec.Revocation)
	if spec.CARef != nil {
		up.TLS.Trust, _ = t.authorities(&p.Meta, []v1alpha1.ObjectReference{*spec.CARef}, []string{field + ".caRef"})
	}
}

// unverified reports insecureSkipVerify, and what stands beside it in vain.
func (t *translator) unverified(p *resource.OriginPool) {
	const field = "spec.tls"
	t.report(&p.Meta, diag.VerificationOff, field+".insecureSkipVerify", "any certificate of the pool's origins is accepted, even an attacker's", "Remove insecureSkipVerify and name the origins' CA in caRef.")
	if p.Spec.TLS.CARef != nil {
		t.report(&p.Meta, diag.OriginSettingIdle, field+".caRef", "insecureSkipVerify accepts any certificate, so nothing is verified against the CA", "Remove insecureSkipVerify.")
	}
	if len(p.Spec.TLS.SPKI) > 0 {
		t.report(&p.Meta, diag.OriginSettingIdle, field+".spki", "insecureSkipVerify accepts any certificate, whatever its key", "Remove insecureSkipVerify.")
	}
	if p.Spec.TLS.Revocation != nil {
		t.report(&p.Meta, diag.OriginSettingIdle, field+".revocation", "insecureSkipVerify accepts any certificate, revoked ones too", "Remove insecureSkipVerify.")
	}
}
