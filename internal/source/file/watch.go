package file

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// Reload makes Run read the folders again and publish the result even if nothing changed. It does not
// wait. Without a running Run the request is kept.
func (s *Source) Reload() {
	select {
	case s.reload <- struct{}{}:
	default: // one is pending already
	}
}

// ReloadNow is Reload that returns when publish has returned, with an error if the folders could not be
// read or ctx ended first.
func (s *Source) ReloadNow(ctx context.Context) error {
	answer := make(chan error, 1)
	s.asking.Lock()
	s.askers = append(s.askers, answer)
	s.asking.Unlock()
	s.Reload()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// asked takes those who wait for a reload that begins now; answer tells them what became of it.
func (s *Source) asked() (answer func(error)) {
	s.asking.Lock()
	askers := s.askers
	s.askers = nil
	s.asking.Unlock()
	return func(err error) {
		for _, a := range askers {
			a <- err
		}
	}
}

// Run watches the folders until ctx ends, and then returns nil. It calls publish with each result
// that differs from the one that Load or publish gave out last, once at the start if neither has
// happened; publish is called by Run's goroutine alone. While a folder is missing or unreadable
// nothing is published, because the folder may be on its way back; only if it is so from the start,
// an empty set is, with a FileUnreadable diagnostic.
//
// Changes are noticed at once where the system can tell (inotify), else by looking every 2 s. A
// reload waits for 100 ms without changes, 1 s at most.
func (s *Source) Run(ctx context.Context, publish func(*resource.Set, []diag.Diagnostic)) error {
	changes := make(chan struct{}, 1)
	n := s.newNotifier(changes)
	defer n.close()
	_ = s.refresh(ctx, n, publish, false) // it has told
	tick := time.NewTimer(n.interval())
	defer tick.Stop()
	for {
		force := false
		select {
		case <-ctx.Done():
			return nil
		case <-s.reload:
			force = true
		case <-tick.C:
			if !s.moved(ctx, n) {
				tick.Reset(n.interval())
				continue
			}
		case <-changes:
			settle(ctx, changes, s.timing.quiet, s.timing.most)
		}
		answer := func(error) {}
		if force {
			answer = s.asked()
		}
		answer(s.refresh(ctx, n, publish, force))
		tick.Reset(n.interval())
	}
}

// settle returns when no change has come for quiet, or after most, or when ctx ends.
func settle(ctx context.Context, changes <-chan struct{}, quiet, most time.Duration) {
	end := time.NewTimer(most)
	defer end.Stop()
	still := time.NewTimer(quiet)
	defer still.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-still.C:
			return
		case <-changes:
			still.Reset(quiet)
		}
	}
}

// refresh renews the watches, loads, and publishes what is new. Watches come first, so that nothing
// that happens while reading goes unnoticed. The error says why nothing could be read; it has been told.
func (s *Source) refresh(ctx context.Context, n *notifier, publish func(*resource.Set, []diag.Diagnostic), force bool) error {
	found, err := walk(ctx, s.dirs)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var dirs []string
	if err == nil {
		dirs, n.stamp = found.dirs, found.stamp
	} else {
		n.stamp = 0
	}
	n.watch(dirs, s.dirs)
	s.mu.Lock()
	before := s.last
	s.mu.Unlock()
	set, ds, now, err := s.load(ctx)
	if err == nil && s.unreadable {
		s.log.Info("configuration can be read again")
	}
	s.unreadable = err != nil
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && before == (fingerprint{}):
		s.mu.Lock()
		s.last = fingerprint{set: "none"}
		s.mu.Unlock()
		var empty resource.Builder
		set, _ := empty.Build()
		d := diag.New(diag.FileUnreadable, diag.Object{}, "", sentence(err), "Check the path and its permissions.")
		publish(set, []diag.Diagnostic{d})
	case err != nil:
		s.log.Error("configuration cannot be read; what was loaded before stays", "err", err)
	case force || now != before:
		publish(set, ds)
	}
	return err
}

// sentence makes a sentence of an error's text.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// moved reports whether the folders look different from when they were last read.
func (s *Source) moved(ctx context.Context, n *notifier) bool {
	found, err := walk(ctx, s.dirs)
	if err != nil {
		return n.stamp != 0
	}
	return found.stamp != n.stamp
}

// notifier turns file events into a signal. Its fields are owned by Run's goroutine, but for outside;
// one goroutine of its own reads events.
type notifier struct {
	source   *Source
	watcher  *fsnotify.Watcher // nil where the system cannot watch
	watched  []string
	complete bool // every folder is watched
	stamp    uint64
	done     chan struct{} // closed when listen has ended

	outside atomic.Pointer[map[string][]string] // folders above roots, with the names that matter there
}

func (s *Source) newNotifier(changes chan<- struct{}) *notifier {
	n := &notifier{source: s, done: make(chan struct{})}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		s.log.Warn("folders cannot be watched; they are looked at instead", "err", err, "every", s.timing.poll)
		close(n.done)
		return n
	}
	n.watcher, n.complete = w, true
	go n.listen(changes)
	return n
}

// listen forwards relevant events until the watcher is closed. A lost event (overflow) counts as one.
func (n *notifier) listen(changes chan<- struct{}) {
	defer close(n.done)
	signal := func() {
		select {
		case changes <- struct{}{}:
		default:
		}
	}
	for {
		select {
		case e, ok := <-n.watcher.Events:
			if !ok {
				return
			}
			if n.relevant(e.Name) {
				signal()
			}
		case _, ok := <-n.watcher.Errors:
			if !ok {
				return
			}
			signal()
		}
	}
}

// relevant reports whether a change of name may change what is loaded. Editors' and temporary files
// do not; ..data of a Kubernetes volume does. Of a folder that is watched only because a root stands
// in it, nothing else matters.
func (n *notifier) relevant(name string) bool {
	base := filepath.Base(name)
	if outside := n.outside.Load(); outside != nil {
		if names, ok := (*outside)[filepath.Dir(name)]; ok {
			return slices.Contains(names, base)
		}
	}
	if strings.HasPrefix(base, "..") {
		return !strings.HasPrefix(base, "..data_") // the kubelet renames it to ..data in the end
	}
	return !strings.HasPrefix(base, ".") && !strings.HasSuffix(base, "~")
}

// watch makes the watched folders those given, and the nearest existing ancestor of each root, so
// that a folder that is deleted and made again is noticed.
func (n *notifier) watch(dirs, roots []string) {
	if n.watcher == nil {
		return
	}
	want := slices.Clone(dirs)
	wanted := make(map[string]bool, len(want))
	for _, dir := range dirs {
		wanted[dir] = true
	}
	outside := map[string][]string{}
	for _, root := range roots {
		dir, name := ancestor(root)
		if dir == "" || wanted[dir] && outside[dir] == nil {
			continue
		}
		if !wanted[dir] {
			wanted[dir] = true
			want = append(want, dir)
		}
		outside[dir] = append(outside[dir], name)
	}
	n.outside.Store(&outside)
	for _, dir := range n.watched {
		if !wanted[dir] {
			_ = n.watcher.Remove(dir) // gone already, as a rule
		}
	}
	complete := true
	for _, dir := range want {
		if err := n.watcher.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			complete = false
			if n.complete {
				n.source.log.Warn("a folder cannot be watched; it is looked at instead", "dir", dir, "err", err, "every", n.source.timing.poll)
			}
		}
	}
	n.watched, n.complete = want, complete
}

// ancestor returns the nearest existing folder above a path, and what in it leads to the path; "" if
// there is none.
func ancestor(path string) (dir, name string) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", ""
	}
	for dir, name = filepath.Dir(abs), filepath.Base(abs); ; dir, name = filepath.Dir(dir), filepath.Base(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return real, name
		}
		if dir == filepath.Dir(dir) {
			return "", ""
		}
	}
}

// interval returns how long to wait before looking at the folders unasked.
func (n *notifier) interval() time.Duration {
	if n.watcher == nil || !n.complete {
		return n.source.timing.poll
	}
	return n.source.timing.idle
}

func (n *notifier) close() {
	if n.watcher != nil {
		_ = n.watcher.Close()
	}
	<-n.done
}
