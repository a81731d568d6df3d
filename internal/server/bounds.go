package server

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// leastMemory is what --max-memory must be at least: with less the process would refuse everything
// before it serves anything.
const leastMemory = 64 << 20

// check refuses bounds that cannot work.
func (l *Limits) check() error {
	negative := func(flag string, n int) error {
		if n >= 0 {
			return nil
		}
		return &ConfigError{fmt.Sprintf("--%s %d is negative", flag, n), "", "give a positive number, or 0 for the default"}
	}
	for _, f := range []struct {
		flag string
		n    int
	}{{"max-total-connections", l.MaxTotal}, {"max-handshakes", l.MaxHandshakes}, {"http2-max-streams", l.HTTP2.MaxStreams},
		{"tls-idle-record-burst", l.IdleRecords.Burst}, {"tls-idle-record-rate", l.IdleRecords.Rate}} {
		if err := negative(f.flag, f.n); err != nil {
			return err
		}
	}
	if l.MaxMemory > 0 && l.MaxMemory < leastMemory {
		return &ConfigError{fmt.Sprintf("--max-memory %d is too little to serve anything", l.MaxMemory), "", "give 64MiB or more"}
	}
	for _, f := range []struct {
		flag string
		n    int
	}{{"http2-stream-window", l.HTTP2.StreamWindow}, {"http2-connection-window", l.HTTP2.ConnWindow}} {
		if f.n > http2.MaxWindow {
			return &ConfigError{fmt.Sprintf("--%s %d is more than HTTP/2 allows", f.flag, f.n), "RFC 9113 section 6.9.1: a window has at most 2^31-1 bytes", "give less than 2GiB"}
		}
	}
	return nil
}

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
