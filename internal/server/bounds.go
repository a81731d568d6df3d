package server

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// newBounds returns the bounds of the process. Proxies in front stand for many clients and may hold any
// number of connections; where they are only counted and not named, anybody may be one.
func newBounds(l Limits, trust filter.Trust, logger *slog.Logger) *overload.Bounds {
	exempt := func(a netip.Addr) bool {
		return slices.ContainsFunc(trust.Nets, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if trust.Hops > 0 && len(trust.Nets) == 0 {
		exempt = func(netip.Addr) bool { return true }
	}
	return overload.New(overload.Options{MaxMemory: l.MaxMemory, MaxConnections: l.MaxTotal, MaxPerAddress: l.MaxPerAddress,
		MaxHandshakes: l.MaxHandshakes, Exempt: exempt, Logger: logger})
}

// overloadState is what metrics show of the bounds.
func overloadState(s overload.State) telemetry.OverloadState {
	out := telemetry.OverloadState{Shed: s.Shed}
	for _, r := range s.Resources {
		out.Resources = append(out.Resources, telemetry.ResourceState{Name: r.Name, Level: int(r.Level), Used: float64(r.Used), Bound: float64(r.Bound)})
	}
	return out
}

// overloadStatus is what "hakone status" shows of them.
func overloadStatus(s overload.State) []admin.ResourceStatus {
	var out []admin.ResourceStatus
	for _, r := range s.Resources {
		out = append(out, admin.ResourceStatus{Resource: r.Name, Level: r.Level.String(), Used: r.Used, Bound: r.Bound})
	}
	return out
}

// shedding names the resources for whose want new work is refused, "" if there is none.
func shedding(s overload.State) string {
	for _, r := range s.Resources {
		if r.Level >= overload.Refusing {
			return fmt.Sprintf("%s at its bound: %d of %d in use, new work is refused", r.Name, r.Used, r.Bound)
		}
	}
	return ""
}
