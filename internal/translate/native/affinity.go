package native

import (
	"cmp"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// Defaults of Affinity.
const (
	defaultAffinityCookie = "HK_Origin"
	defaultAffinityTTL    = 23 * time.Hour
)

// affinity reads what keeps a client at its origin; nil if nothing does. A type that is not given means
// cookie.
func (t *translator) affinity(p *resource.OriginPool) *ir.Affinity {
	spec := p.Spec.Affinity
	if spec == nil {
		return nil
	}
	idle := func(field, message, fix string) {
		t.report(&p.Meta, diag.OriginSettingIdle, "spec.affinity."+field, message, fix)
	}
	switch spec.Type {
	case "none":
		if *spec != (v1alpha1.Affinity{Type: "none"}) {
			t.report(&p.Meta, diag.OriginSettingIdle, "spec.affinity", "affinity has type none, so what stands beside type does nothing", "Set type to cookie or ip, or remove affinity.")
		}
		return nil
	case "ip":
		for _, f := range []setField{{"cookieName", spec.CookieName != ""}, {"ttl", spec.TTL != ""}, {"drainDuration", spec.DrainDuration != ""}, {"sameSite", spec.SameSite != ""}, {"secure", spec.Secure != ""}} {
			if f.set {
				idle(f.name, f.name+" is of the cookie, and affinity by address sets none", "Set type to cookie, or remove it.")
			}
		}
		if spec.Failover != "" {
			idle("failover", "by address clients of an unhealthy origin go to another one while it is; failover is of the cookie", "Set type to cookie, or remove it.")
		}
		if p.Spec.Steering == v1alpha1.SteeringHash {
			idle("type", "steering hash chooses by the client's address already", "Remove affinity.")
		}
		return &ir.Affinity{ByAddress: true, Failover: cmp.Or(spec.Failover, "sticky")}
	}
	out := &ir.Affinity{
		Cookie: cmp.Or(spec.CookieName, defaultAffinityCookie), Failover: cmp.Or(spec.Failover, "sticky"),
		SameSite: cmp.Or(spec.SameSite, "Auto"), Secure: cmp.Or(spec.Secure, "Auto"),
		TTL:   t.duration(&p.Meta, diag.OriginPoolInvalid, "spec.affinity.ttl", spec.TTL, time.Second, defaultAffinityTTL),
		Drain: t.duration(&p.Meta, diag.OriginPoolInvalid, "spec.affinity.drainDuration", spec.DrainDuration, 0, 0),
	}
	switch {
	case out.Secure != "Never":
	case out.SameSite == "None":
		t.report(&p.Meta, diag.OriginPoolInvalid, "spec.affinity.secure", "browsers refuse a cookie with SameSite=None that is not Secure, so nobody would stay at an origin; Auto holds instead", "Set secure to Auto or Always, or sameSite to Lax.")
		out.Secure = "Auto"
	case strings.HasPrefix(out.Cookie, "__Secure-"), strings.HasPrefix(out.Cookie, "__Host-"):
		t.report(&p.Meta, diag.OriginPoolInvalid, "spec.affinity.secure", "browsers refuse a cookie of this name that is not Secure, so nobody would stay at an origin; Auto holds instead", "Set secure to Auto or Always, or choose another name.")
		out.Secure = "Auto"
	}
	return out
}
