package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/dataplane"
	"github.com/hakone-gateway/hakone/internal/egress"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/source/file"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// process is a running server.
type process struct {
	cfg       Config
	started   time.Time
	source    *file.Source
	plane     *dataplane.Plane
	loop      *control.Loop
	record    *recorder
	bounds    *overload.Bounds
	locator   *upstream.Locator // nil: no --geoip-db
	revoker   *revoker
	authority *authority // nil: no --ca-dir
	ledger    *egress.Ledger

	mu       sync.Mutex
	draining bool
	writing  sync.Mutex // one change of the managed file at a time
}

// Run serves until ctx ends, then drains and returns nil. It returns control.ErrNoListener if the
// folder yields nothing that can serve, and a *ConfigError for what cannot work.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	access, err := cfg.adminAccess()
	if err != nil {
		return err
	}
	p := &process{cfg: cfg, started: time.Now(), source: file.New(cfg.Folders, cfg.Logger), ledger: egress.New(egress.Options{Logger: cfg.Logger})}
	trusted, err := parsePrefixes(cfg.TrustedNets)
	if err != nil {
		return err
	}
	trust := filter.Trust{Nets: trusted, Hops: cfg.TrustedHops}
	p.bounds = newBounds(cfg.Limits, trust, cfg.Logger)
	if p.record, err = newRecorder(cfg, func() counted { return p.plane }, func() control.State { return p.loop.State() }, func() []calendar.Entry { return p.authority.expiries(time.Now()) }, p.bounds); err != nil {
		return err
	}
	defer p.record.close()
	if p.revoker, err = newRevoker(&cfg); err != nil {
		return err
	}
	p.record.metrics.WatchRevocation(p.revoker.state)
	if p.locator, err = cfg.locator(); err != nil {
		return err
	}
	p.record.metrics.WatchOrigins(p.originState)
	p.record.metrics.WatchEgress(p.egressState)
	p.record.metrics.WatchMint(func() telemetry.MintState { return p.plane.Mint() })
	p.record.metrics.WatchForward(func() telemetry.ForwardState { return p.plane.Forwards().Figures() })
	p.plane = dataplane.New(dataplane.Options{
		Address: cfg.Address, PortMap: cfg.PortMap, MaxConnections: cfg.Limits.MaxConnections, HandshakeTimeout: cfg.Limits.HandshakeTimeout,
		Limits: cfg.Limits.proxy(), TCP: cfg.Limits.tcp(), ProxyProtocol: cfg.proxyHeader(), UpstreamHTTP2: cfg.Limits.upstreamHTTP2(), Trust: trust, Forward: ir.ForwardMode(cfg.ForwardCert), Sink: p.record.Recorder, Egress: p.ledger, Metrics: p.record.routeMetrics, Logger: cfg.Logger,
		Locate: locate(p.locator),
		Bounds: p.bounds, IdleRecords: cfg.Limits.IdleRecords, Revocation: p.revoker.service, Stapling: p.revoker.stapling,
	})
	p.loop = control.New(p.source, planeAdapter{p.plane}, control.Options{
		Settings: cfg.Settings, SecretGrace: cfg.SecretGrace, Wait: cfg.Wait, Logger: cfg.Logger, Lint: Lint, OnApplied: p.applied,
	})
	if p.authority, err = openAuthority(ctx, cfg); err != nil {
		return err
	}
	return p.run(ctx, access)
}

// planeAdapter lets the loop, which does not know the data side, drive it.
type planeAdapter struct{ *dataplane.Plane }

func (a planeAdapter) Prepare(ctx context.Context, gen *ir.Generation) (control.Staged, error) {
	return a.Plane.Prepare(ctx, gen)
}

// run starts everything and stops it in order: loop, drain, admin, data side, logs.
func (p *process) run(ctx context.Context, access admin.Access) error {
	adminCtx, stopAdmin := context.WithCancel(context.Background())
	defer stopAdmin()
	var admins, planes sync.WaitGroup
	if err := p.startAdmin(adminCtx, &admins, access); err != nil {
		return err
	}
	planeCtx, stopPlane := context.WithCancel(context.Background())
	planes.Go(func() { _ = p.plane.Run(planeCtx) })
	planes.Go(func() { tuneMemory(planeCtx, p.bounds.MaxMemory()) })
	planes.Go(func() { _ = p.bounds.Run(planeCtx) })
	if p.locator != nil {
		planes.Go(func() { _ = p.locator.Run(planeCtx) })
	}
	p.revoker.start(planeCtx, &planes)
	p.authority.start(planeCtx, &planes, p.revoker.service.Forget)

	loopCtx, stopLoop := context.WithCancel(ctx)
	defer stopLoop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(hup)
	go p.onSignals(loopCtx, hup)

	err := p.loop.Run(loopCtx)
	stopLoop()
	if err == nil {
		p.drain()
	}
	stopPlane()
	planes.Wait()
	stopAdmin()
	admins.Wait()
	if errors.Is(err, control.ErrNoListener) {
		return p.whyNoListener(err)
	}
	return err
}

// onSignals reloads on HUP and reopens logs on HUP and USR1.
func (p *process) onSignals(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			if err := p.record.reopen(); err != nil {
				p.cfg.Logger.Error("reopening the access log failed, the old file goes on", "err", err)
			}
			if s == syscall.SIGHUP {
				p.cfg.Logger.Info("reload asked for", "signal", "HUP")
				p.reload(ctx)
			}
		}
	}
}

// reload reads the folders again and says what came of it.
func (p *process) reload(ctx context.Context) {
	before := p.loop.State()
	if err := p.source.ReloadNow(ctx); err != nil {
		return // the source has said why
	}
	now := p.loop.State()
	bad := []any{"kept", len(now.Kept) + len(now.Broken), "errors", len(control.Failed(now.Diagnostics))}
	changed := changes(before.Generation, now.Generation)
	switch {
	case now.Failed != nil:
		p.cfg.Logger.Error("reloaded, but not applied", "err", now.Failed)
	case changed == nil:
		p.cfg.Logger.Info("reloaded, nothing changed", bad...)
	default:
		p.cfg.Logger.Info("reloaded", append([]any{"changed", changed, "revision", now.Generation.Hash}, bad...)...)
	}
}

// changes names the families in which two generations differ.
func changes(before, now *ir.Generation) []string {
	if before == now || now == nil {
		return nil
	}
	old := &ir.Snapshot{Config: &ir.Config{}, Endpoints: &ir.Endpoints{}, Secrets: &ir.Secrets{}, Trust: &ir.Trust{}}
	if before != nil {
		old = before.Snapshot
	}
	var out []string
	for _, f := range []struct {
		name        string
		before, now ir.Revision
	}{{"config", old.Config.Revision, now.Snapshot.Config.Revision}, {"endpoints", old.Endpoints.Revision, now.Snapshot.Endpoints.Revision},
		{"secrets", old.Secrets.Revision, now.Snapshot.Secrets.Revision}, {"trust", old.Trust.Revision, now.Snapshot.Trust.Revision}} {
		if f.before != f.now {
			out = append(out, f.name)
		}
	}
	return out
}

// drain ends politely within the drain timeout.
func (p *process) drain() {
	p.mu.Lock()
	p.draining = true
	p.mu.Unlock()
	p.cfg.Logger.Info("draining", "timeout", p.cfg.DrainTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.DrainTimeout)
	defer cancel()
	if err := p.plane.Drain(ctx); err != nil {
		p.cfg.Logger.Warn("drain timeout is over, open connections were cut", "timeout", p.cfg.DrainTimeout)
	} else {
		p.cfg.Logger.Info("drained")
	}
}

// startAdmin listens on the admin address; with AdminFallback a taken socket is replaced by one of
// this process's own.
func (p *process) startAdmin(ctx context.Context, wg *sync.WaitGroup, access admin.Access) error {
	address := p.cfg.Admin
	if address == "" || address == "off" {
		return nil
	}
	ln, err := admin.Listen(address)
	if err != nil && p.cfg.AdminFallback {
		own := filepath.Join(os.TempDir(), fmt.Sprintf("hakone-%d-%d", os.Geteuid(), os.Getpid()), "admin.sock")
		p.cfg.Logger.Warn("the default admin socket cannot be used, this process has one of its own", "admin", "unix:"+own, "err", err)
		address = "unix:" + own
		ln, err = admin.Listen(address)
	}
	if err != nil {
		return &ConfigError{"the admin address cannot be used", err.Error(), "give another one with --admin, or end the process that has it"}
	}
	srv := admin.NewServer(p, access, p.cfg.Logger, p.endpoints()...)
	wg.Go(func() {
		if err := srv.Serve(ctx, ln); err != nil {
			p.cfg.Logger.Error("admin stopped", "err", err)
		}
		if path, ok := strings.CutPrefix(address, "unix:"); ok && address != p.cfg.Admin {
			os.Remove(filepath.Dir(path))
		}
	})
	p.cfg.Logger.Info("admin", "address", address)
	return nil
}

// applied runs after every commit.
func (p *process) applied(st control.State) {
	p.record.applied(st)
	if st.Generation.Epoch == 1 && p.cfg.Ready != nil {
		p.cfg.Ready(p.Status())
	}
}

// whyNoListener adds what was tried to the error that ends a start.
func (p *process) whyNoListener(err error) error {
	st := p.loop.State()
	if st.Applied != nil {
		for _, l := range st.Applied.Listeners {
			if l.Code != 0 {
				return fmt.Errorf("%w: listener %s: %s; %s", err, l.Name, l.Detail, l.Fix)
			}
		}
	}
	if failed := control.Failed(st.Diagnostics); len(failed) > 0 {
		return fmt.Errorf("%w: %s", err, failed[0])
	}
	return fmt.Errorf("%w: no Gateway of ours is in %s", err, strings.Join(p.cfg.Folders, ", "))
}

// proxy returns the limits as the request path takes them.
func (l Limits) proxy() proxy.Limits {
	return proxy.Limits{
		Request:       http1.Limits{HeadBytes: l.MaxRequestHeader, Fields: l.MaxRequestFields},
		Response:      http1.Limits{HeadBytes: l.MaxResponseHeader, Fields: 0},
		HeaderTimeout: cmp.Or(l.HeaderTimeout, DefaultHeaderTimeout), BodyIdle: l.BodyIdleTimeout, WriteTimeout: l.WriteTimeout, KeepAliveIdle: cmp.Or(l.IdleTimeout, DefaultIdleTimeout),
		UpgradeIdle: l.UpgradeIdle, UpstreamIdle: l.UpstreamIdle, MaxRequests: l.RequestsPerConn, MaxRequestBody: l.MaxRequestBody,
		WithdrawnGrace: l.WithdrawnGrace, HTTP2: l.HTTP2,
	}
}

// upstreamHTTP2 returns the limits of HTTP/2 connections to upstreams: those of clients' connections as far
// as they are about memory and frames. Streams and resets are for the one that opens streams, and servers
// do not like to be asked for life as often as we ask clients.
func (l Limits) upstreamHTTP2() mux.Limits {
	return mux.Limits{
		StreamWindow: l.HTTP2.StreamWindow, ConnWindow: l.HTTP2.ConnWindow, ControlBurst: l.HTTP2.ControlBurst, ControlRate: l.HTTP2.ControlRate,
		PingInterval: l.UpstreamPing, PingTimeout: l.HTTP2.PingTimeout, Head: http2.Limits{HeadBytes: l.MaxResponseHeader},
	}
}
