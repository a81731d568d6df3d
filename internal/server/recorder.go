package server

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// recorder holds what records go to. It is made before the data side, which it counts, and ended
// after it.
type recorder struct {
	*telemetry.Recorder
	metrics *telemetry.Metrics
	log     *telemetry.AccessLog // nil if the access log is off
	logs    *logs

	stop context.CancelFunc
	done sync.WaitGroup
}

// counted is what metrics read from the data side when they are asked.
type counted interface {
	OpenConnections() map[string]int
	Withdrawn() map[string]int
	UpstreamStats() []upstream.Stats
	HTTP2() map[string]proxy.HTTP2Stats
	Faults() int64
}

// newRecorder opens the logs. plane, state and authority are called only once something asks for metrics.
func newRecorder(cfg Config, plane func() counted, state func() control.State, authority func() []calendar.Entry, bounds *overload.Bounds) (*recorder, error) {
	r := &recorder{metrics: telemetry.NewMetrics(telemetry.Sources{
		Version:     Version,
		Connections: func() map[string]int { return plane().OpenConnections() },
		Withdrawn:   func() map[string]int { return plane().Withdrawn() },
		Upstreams:   func() []telemetry.UpstreamCounters { return counters(plane().UpstreamStats()) },
		Config:      func() telemetry.ConfigState { return configState(state()) },
		HTTP2:       func() []telemetry.HTTP2State { return http2State(plane().HTTP2()) },
		Faults:      func() int64 { return plane().Faults() },
		Expiries:    func() []telemetry.Expiry { return expiries(state(), authority()) },
		Overload:    func() telemetry.OverloadState { return overloadState(bounds.State()) },
	})}
	if cfg.AccessLog.Format != "off" {
		opts := telemetry.LogOptions{Format: telemetry.Format(cfg.AccessLog.Format), Path: cfg.AccessLog.File, Stdout: cfg.AccessLog.Stdout, Logger: cfg.Logger}
		log, err := telemetry.OpenLog(opts)
		if err != nil {
			return nil, &ConfigError{"the access log cannot be opened", err.Error(), "correct --access-log and --access-log-format (" + telemetry.Formats() + ", off)"}
		}
		r.log = log
	}
	var err error
	if r.logs, err = openLogs(&cfg); err != nil {
		return nil, err
	}
	r.logs.watch(r.metrics)
	r.Recorder = telemetry.NewRecorder(telemetry.RecorderOptions{
		Metrics: r.metrics, Log: r.log, Handshakes: telemetry.NewHandshakeLog(cfg.Logger), Store: r.logs.sink(), Tap: cfg.Tap, Archive: r.logs.archive(),
	})
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.done.Go(func() {
		if err := r.Recorder.Run(ctx); err != nil {
			cfg.Logger.Error("access log ended", "err", err)
		}
	})
	return r, nil
}

// close writes what waits and ends the logs.
func (r *recorder) close() {
	r.stop()
	r.done.Wait()
	r.logs.close()
}

// reopen opens the access log's file anew, after it was rotated away.
func (r *recorder) reopen() error {
	if r.log == nil {
		return nil
	}
	return r.log.Reopen()
}

// routeMetrics returns the counters of a route; they outlive snapshots.
func (r *recorder) routeMetrics(listener string, x *route.Route) any {
	return r.metrics.Route(listener, x.Host, x.IR.Name)
}

func (r *recorder) applied(st control.State) { r.metrics.Applied(st.Generation, st.Applied.Listeners) }

func (r *recorder) explain(ctx context.Context, id string) (json.RawMessage, bool) {
	return r.Recorder.Explain(ctx, id)
}

// configState counts findings. What is broken shows although the snapshot is as it was.
func configState(st control.State) telemetry.ConfigState {
	c := telemetry.ConfigState{Findings: map[telemetry.Finding]int{}, Kept: len(st.Kept) + len(st.Broken), Reloaded: st.Reloaded}
	for _, d := range st.Diagnostics {
		c.Findings[telemetry.Finding{Severity: d.Severity, Code: d.Code}]++
	}
	if st.Applied != nil {
		for _, l := range st.Applied.Listeners {
			if l.Code != 0 {
				c.Findings[telemetry.Finding{Severity: l.Code.Severity(), Code: l.Code}]++
			}
		}
	}
	c.Success = c.Kept == 0 && st.Failed == nil
	for f := range c.Findings {
		c.Success = c.Success && f.Severity != diag.Error
	}
	return c
}

func http2State(stats map[string]proxy.HTTP2Stats) []telemetry.HTTP2State {
	out := make([]telemetry.HTTP2State, 0, len(stats))
	for name, s := range stats {
		out = append(out, telemetry.HTTP2State{Listener: name, Connections: s.Connections, Streams: s.Streams})
	}
	return out
}

func counters(stats []upstream.Stats) []telemetry.UpstreamCounters {
	out := make([]telemetry.UpstreamCounters, 0, len(stats))
	for _, s := range stats {
		out = append(out, telemetry.UpstreamCounters{
			Upstream: s.Upstream, Endpoint: s.Address.String(), Active: float64(s.Active), Open: float64(s.Open), Idle: float64(s.Idle),
			Requests: float64(s.Requests), Connects: float64(s.Connects), ConnectErrors: float64(s.ConnectErrors),
			Overflows: float64(s.Overflows), Cooling: s.Cooling,
			RetryOverflows: float64(s.RetryOverflow), Multiplexed: float64(s.Multiplexed), Streams: float64(s.Streams), Slots: float64(s.Slots),
		})
	}
	return out
}
