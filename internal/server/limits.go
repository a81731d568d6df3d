package server

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/logstore"
)

// leastMemory is what --max-memory must be at least: with less the process would refuse everything
// before it serves anything.
const leastMemory = 64 << 20

// longest is the longest time that a flag may give: a year.
const longest = 8760 * time.Hour

// Defaults of the process that are longer than those of package proxy.
const (
	DefaultHeaderTimeout = 15 * time.Second
	DefaultIdleTimeout   = 5 * time.Minute
)

// unit is what a bound counts.
type unit uint8

const (
	plain unit = iota
	octets
	span // nanoseconds
)

// Bound says what a flag may be: 0, or from Least to Most.
type Bound struct {
	Flag string
	Zero string // what 0 means

	value, least, most int64
	unit               unit
	none               bool // -1 is allowed too; the flags whose 0 is none hold it as -1
}

// Bounds returns what every numeric flag of "hakone run" may be.
func (c *Config) Bounds() []Bound {
	l := &c.Limits
	count := func(flag string, n, least int, zero string) Bound {
		return Bound{Flag: flag, Zero: zero, value: int64(n), least: int64(least), most: math.MaxInt32}
	}
	size := func(flag string, n, least, most int64, zero string) Bound {
		return Bound{Flag: flag, Zero: zero, value: n, least: least, most: most, unit: octets}
	}
	wait := func(flag string, d time.Duration, zero string) Bound {
		return Bound{Flag: flag, Zero: zero, value: int64(d), least: int64(time.Millisecond), most: int64(longest), unit: span}
	}
	orNone := func(b Bound) Bound { b.none = true; return b }
	const none, asDefault = "no bound", "the default"
	return []Bound{
		wait("secret-grace", c.SecretGrace, "none"),
		wait("drain-timeout", c.DrainTimeout, "cutting them at once"),
		wait("revocation-wait", c.Revocation.Wait, asDefault),
		wait("revocation-refresh", c.Revocation.Refresh, asDefault),
		count("trusted-hops", c.TrustedHops, 1, "none"),

		size("log-store-size", c.LogStore.Size, logstore.LeastSize, math.MaxInt64, "1GiB in a folder, 8MiB in memory"),
		wait("log-store-age", c.LogStore.Age, "7 days"),

		count("max-connections", l.MaxConnections, 1, asDefault),
		size("max-memory", int64(min(l.MaxMemory, math.MaxInt64)), leastMemory, math.MaxInt64, "three quarters of what the control group or the machine has"),
		count("max-total-connections", l.MaxTotal, 1, "three quarters of the file descriptors"),
		orNone(count("max-connections-per-address", l.MaxPerAddress, 1, "a quarter of the total")),
		count("max-handshakes", l.MaxHandshakes, 1, "1024 to 16384, by --max-memory"),
		size("max-request-header", int64(l.MaxRequestHeader), 256, 16<<20, asDefault),
		count("max-request-fields", l.MaxRequestFields, 1, asDefault),
		size("max-response-header", int64(l.MaxResponseHeader), 256, 16<<20, asDefault),
		size("max-request-body", l.MaxRequestBody, 1, math.MaxInt64, none),
		count("max-requests-per-connection", l.RequestsPerConn, 1, none),
		wait("handshake-timeout", l.HandshakeTimeout, asDefault),
		wait("header-timeout", l.HeaderTimeout, asDefault),
		wait("body-idle-timeout", l.BodyIdleTimeout, asDefault),
		wait("write-timeout", l.WriteTimeout, asDefault),
		wait("idle-timeout", l.IdleTimeout, asDefault),
		orNone(wait("withdrawn-grace", l.WithdrawnGrace, "cutting it at once")),
		orNone(wait("upstream-idle-timeout", l.UpstreamIdle, none)),
		wait("upgrade-idle-timeout", l.UpgradeIdle, asDefault),
		wait("tcp-idle-timeout", l.TCPIdle, asDefault),
		count("tls-idle-record-burst", l.IdleRecords.Burst, 1, asDefault),
		count("tls-idle-record-rate", l.IdleRecords.Rate, 1, asDefault),

		count("http2-max-streams", l.HTTP2.MaxStreams, 1, asDefault),
		size("http2-stream-window", int64(l.HTTP2.StreamWindow), 16<<10, http2.MaxWindow, asDefault),
		size("http2-connection-window", int64(l.HTTP2.ConnWindow), 64<<10, http2.MaxWindow, asDefault),
		orNone(count("http2-reset-burst", l.HTTP2.ResetBurst, 1, asDefault)),
		count("http2-reset-rate", l.HTTP2.ResetRate, 1, asDefault),
		orNone(count("http2-control-burst", l.HTTP2.ControlBurst, 1, asDefault)),
		count("http2-control-rate", l.HTTP2.ControlRate, 1, asDefault),
		orNone(wait("http2-ping-interval", l.HTTP2.PingInterval, "never")),
		orNone(wait("http2-ping-timeout", l.HTTP2.PingTimeout, "as long as they like")),
		orNone(wait("http2-upstream-ping-interval", l.UpstreamPing, "never")),
	}
}

// Usage says what 0 means, and the least that a size may be.
func (b Bound) Usage() string {
	if b.unit == octets && b.least > 1 {
		return "at least " + b.text(b.least) + ", or 0 for " + b.Zero
	}
	return "0 for " + b.Zero
}

// check refuses a value that cannot work.
func (b Bound) check() error {
	if b.value == 0 || b.none && b.value == -1 || b.value >= b.least && b.value <= b.most {
		return nil
	}
	allowed := "0 for " + b.Zero
	if b.none && b.unit != span {
		allowed += ", -1 for no bound"
	}
	if b.most == math.MaxInt64 {
		allowed += ", or " + b.text(b.least) + " and more"
	} else {
		allowed += ", or " + b.text(b.least) + " to " + b.text(b.most)
	}
	return &ConfigError{fmt.Sprintf("--%s %s is not possible", b.Flag, b.text(b.value)), "it takes " + allowed,
		fmt.Sprintf("give --%s one of these, or leave it out; hakone run --help has the defaults", b.Flag)}
}

// text writes a value as a flag takes it.
func (b Bound) text(n int64) string {
	switch {
	case b.unit == span && n%int64(time.Hour) == 0:
		return strconv.FormatInt(n/int64(time.Hour), 10) + "h"
	case b.unit == span:
		return time.Duration(n).String()
	case b.unit == octets && n > 0 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "MiB"
	case b.unit == octets && n > 0 && n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + "KiB"
	}
	return strconv.FormatInt(n, 10)
}
