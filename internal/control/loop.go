package control

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
	"github.com/hakone-gateway/hakone/internal/translate/istio"
)

// Source publishes sets: one at once, then one for every change, until ctx ends. publish returns when
// the set has been evaluated and, if it changed the snapshot, applied.
type Source interface {
	Run(ctx context.Context, publish func(*resource.Set, []diag.Diagnostic)) error
}

// Plane is the data side: prepare may fail and is invisible, commit is quick and cannot fail.
type Plane interface {
	Prepare(ctx context.Context, gen *ir.Generation) (Staged, error)
}

// Staged is a prepared generation. Exactly one of Commit and Discard is called.
type Staged interface {
	Commit() *ir.Applied
	Discard()
}

// ErrNoListener says that the first configuration yields nothing that can serve.
var ErrNoListener = errors.New("no usable listener")

// Options configures a Loop.
type Options struct {
	Settings    Settings
	SecretGrace time.Duration
	Wait        bool // stay without a usable listener
	Logger      *slog.Logger
	// Lint adds findings that depend on the clock, such as expiring certificates. It may be nil.
	Lint func(*ir.Snapshot, time.Time) []diag.Diagnostic
	// OnApplied is called after every commit, before the next one. It may be nil.
	OnApplied func(State)
}

// State is what the loop last did. Its parts are frozen.
type State struct {
	Generation  *ir.Generation
	Applied     *ir.Applied
	Result      Result
	Diagnostics []diag.Diagnostic // of source, translation and lint
	Kept        []resource.Key    // objects that serve in their last good version
	Broken      []BrokenSecret    // secrets that are there and cannot be used; their last good certificates serve
	Time        time.Time         // of the last evaluation

	Set      *resource.Set // that was evaluated last
	Reloaded time.Time     // when the source last published; Set is of then
	Failed   error         // why the last generation could not be prepared; nil if it serves
}

// Usable reports whether at least one listener serves.
func (s *State) Usable() bool {
	return s.Applied != nil && slices.ContainsFunc(s.Applied.Listeners, func(l ir.ListenerResult) bool { return l.Code == 0 })
}

// Loop runs evaluations and applies their results. Create it with New.
type Loop struct {
	source Source
	plane  Plane
	opts   Options
	cache  *credential.Cache

	mu    sync.Mutex
	state State

	// owned by Run
	epoch    uint64
	memory   *memory
	graces   *graces
	good     *resource.Set // last set, with last good versions of broken objects
	sourced  []diag.Diagnostic
	known    map[string]bool // diagnostics that have been logged
	snapshot *ir.Snapshot
	hash     ir.Revision
	files    files         // certificate files that manifests name
	wake     time.Time     // when a grace ends, a refused port is tried again, or certificates are judged again
	retry    time.Duration // how long until then for a refused port
}

// New returns a Loop that reads source and drives plane.
func New(source Source, plane Plane, opts Options) *Loop {
	return &Loop{source: source, plane: plane, opts: opts, cache: credential.NewCache(), graces: newGraces(opts.SecretGrace), memory: newMemory(), known: map[string]bool{}}
}

// State returns what was last applied.
func (l *Loop) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

type published struct {
	set  *resource.Set
	ds   []diag.Diagnostic
	done chan struct{} // closed once it is evaluated and, if need be, applied; nil if nobody waits
}

// Run applies what the source publishes until ctx ends, and returns nil then. It returns ErrNoListener
// when the first set yields no usable listener and Options.Wait is not set.
func (l *Loop) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sets := make(chan published)
	ended := make(chan error, 1)
	go func() {
		ended <- l.source.Run(ctx, func(set *resource.Set, ds []diag.Diagnostic) {
			done := make(chan struct{})
			select {
			case sets <- published{set, ds, done}:
				select {
				case <-done:
				case <-ctx.Done():
				}
			case <-ctx.Done():
			}
		})
	}()
	defer func() { cancel(); <-ended }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- nil
			return err
		case p := <-sets:
			first := l.good == nil
			l.take(ctx, p)
			if p.done != nil {
				close(p.done)
			}
			if st := l.State(); first && !st.Usable() && !l.opts.Wait {
				return ErrNoListener
			}
		case <-timer.C:
			if l.good != nil && (!time.Now().Before(l.wake) || l.files.changed()) {
				l.apply(ctx)
			}
		}
		timer.Reset(l.untilWake())
	}
}

// How long the loop sleeps without being woken, and between looks at certificate files.
const (
	lintEvery     = time.Hour // certificates age
	filesEvery    = 3 * time.Second
	retryAtFirst  = 5 * time.Second
	retryAtLength = time.Minute
)

// untilWake is how long to sleep.
func (l *Loop) untilWake() time.Duration {
	sleep := lintEvery
	if !l.wake.IsZero() {
		sleep = max(time.Until(l.wake), time.Millisecond)
	}
	if len(l.files.seen) > 0 {
		sleep = min(sleep, filesEvery)
	}
	return sleep
}

// take keeps what broke and applies a new set.
func (l *Loop) take(ctx context.Context, p published) {
	set, kept := keepLastGood(l.memory.lastGood(l.good), p.set)
	l.memory.keep(p.set, kept)
	l.good, l.sourced = set, p.ds
	l.mu.Lock()
	l.state.Kept, l.state.Set, l.state.Reloaded = kept, set, time.Now()
	l.mu.Unlock()
	l.apply(ctx)
}

// apply evaluates the current set and, if that changes the snapshot, prepares and commits it.
func (l *Loop) apply(ctx context.Context) {
	now := time.Now()
	settings := l.opts.Settings
	settings.Files = l.files.read(istio.FilePaths(l.good))
	result := Evaluate(l.good, settings, l.cache)
	l.cache.Sweep()
	l.memory.note(l.good, result.Snapshot.Secrets)
	began, next := l.graces.apply(result.Snapshot.Secrets, func(ref ir.SecretRef) bool { return !l.exists(ref) }, now)
	more, end := l.graces.applyLogins(result.Snapshot.Secrets, func(ref ir.SecretRef) bool { return !l.exists(ref) }, now)
	began, next = append(began, more...), earliest(next, end)
	result.Snapshot.Seal()
	l.wake = earliest(next, now.Add(lintEvery))
	for _, ref := range began {
		l.opts.Logger.Warn("secret was deleted; its certificate serves new handshakes until the grace ends",
			"secret", ref, "grace", l.opts.SecretGrace, "code", diag.SecretDeleted)
	}
	ds := slices.Concat(l.sourced, result.Diagnostics)
	if l.opts.Lint != nil {
		ds = append(ds, l.good.Place(l.opts.Lint(result.Snapshot, now))...)
	}
	ds = diag.Compact(ds)
	broken := brokenSecrets(result.Snapshot, l.graces.broken)
	l.memory.tell(l.opts.Logger, l.good, l.sourced, result.Snapshot, broken, l.graces.back)
	l.logNew(ds)
	l.mu.Lock()
	l.state.Result, l.state.Diagnostics, l.state.Time, l.state.Broken = result, ds, now, broken
	l.mu.Unlock()

	hash := result.Snapshot.Hash()
	if hash == l.hash && !l.refused() {
		l.mu.Lock()
		l.state.Failed = nil
		l.mu.Unlock()
		return // equal snapshot: nothing to apply
	}
	share(l.snapshot, result.Snapshot)
	l.logSecrets(l.snapshot, result.Snapshot)
	l.epoch++
	gen := &ir.Generation{Epoch: l.epoch, Hash: hash, Objects: l.good.ObjectVersions(), Security: withdraws(l.snapshot, result.Snapshot), Snapshot: result.Snapshot}
	staged, err := l.plane.Prepare(ctx, gen)
	l.mu.Lock()
	l.state.Failed = err
	l.mu.Unlock()
	if err != nil {
		l.opts.Logger.Error("generation was not applied, the last one goes on serving", "revision", hash, "err", err)
		l.tryAgain(now)
		return
	}
	applied := staged.Commit()
	l.logApplied(gen, applied, now)
	l.snapshot, l.hash = result.Snapshot, hash
	l.mu.Lock()
	l.state.Generation, l.state.Applied = gen, applied
	state := l.state
	l.mu.Unlock()
	if l.refused() {
		l.tryAgain(now)
	} else {
		l.retry = 0
	}
	if l.opts.OnApplied != nil {
		l.opts.OnApplied(state)
	}
}

// tryAgain wakes the loop after a while that grows with every time.
func (l *Loop) tryAgain(now time.Time) {
	l.retry = min(max(2*l.retry, retryAtFirst), retryAtLength)
	l.wake = earliest(l.wake, now.Add(l.retry))
}

// logApplied says what a generation changed: once for each, and for listeners that do not serve once
// for each reason. A port that is tried again in vain is no news.
func (l *Loop) logApplied(gen *ir.Generation, applied *ir.Applied, began time.Time) {
	before := map[string]ir.ListenerResult{}
	if last := l.State().Applied; last != nil {
		for _, r := range last.Listeners {
			before[r.Name] = r
		}
	}
	news := gen.Hash != l.hash
	serving, all := map[string]string{}, map[string]bool{} // addresses by listener; hosts
	hosts := hostsOf(gen.Snapshot)
	for _, r := range applied.Listeners {
		if r.Code == 0 {
			serving[r.Name] = r.Address
		}
		if r == before[r.Name] {
			continue
		}
		news = true
		if r.Code != 0 {
			l.opts.Logger.Error("listener does not serve", "listener", r.Name, "address", r.Address, "code", r.Code, "err", r.Detail, "fix", r.Fix)
		} else if old, known := before[r.Name]; !known || old.Code != 0 || old.Address != r.Address {
			l.opts.Logger.Info("listening", "listener", r.Name, "address", r.Address, "hosts", len(hosts[r.Name]))
		}
	}
	if !news {
		return
	}
	l.logHosts(l.snapshot, gen.Snapshot)
	for name := range serving {
		for _, h := range hosts[name] {
			all[h] = true
		}
	}
	l.opts.Logger.Info("applied", "revision", gen.Hash, "epoch", gen.Epoch, "listeners", len(serving), "hosts", len(all),
		"addresses", some(slices.Sorted(maps.Values(serving))), "dur", time.Since(began).Round(time.Microsecond))
}

// exists reports whether what a reference names is still there, usable or not.
func (l *Loop) exists(ref ir.SecretRef) bool {
	if paths, isFiles := strings.CutPrefix(string(ref), "file:"); isFiles {
		return !slices.ContainsFunc(strings.Split(paths, "|"), l.files.gone)
	}
	namespace, name, _ := strings.Cut(string(ref), "/")
	name, _, _ = strings.Cut(name, "#") // an entry
	return l.good.Secret(namespace, name) != nil
}

// refused reports whether a listener of the last generation could not be bound; it is tried again.
func (l *Loop) refused() bool {
	st := l.State()
	return st.Applied != nil && slices.ContainsFunc(st.Applied.Listeners, func(r ir.ListenerResult) bool { return r.Code == diag.BindRefused })
}

// logNew logs diagnostics that were not there at the last evaluation, and forgets those that went.
func (l *Loop) logNew(ds []diag.Diagnostic) {
	now := make(map[string]bool, len(ds))
	for _, d := range ds {
		key := d.String()
		now[key] = true
		if l.known[key] || d.Severity == diag.Info {
			continue
		}
		level := slog.LevelWarn
		if d.Severity == diag.Error {
			level = slog.LevelError
		}
		l.opts.Logger.Log(context.Background(), level, d.Message, "code", d.Code, "kind", d.Object.Kind, "namespace", d.Object.Namespace,
			"name", d.Object.Name, "at", d.Position.String(), "field", d.Field, "fix", d.Fix)
	}
	l.known = now
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
