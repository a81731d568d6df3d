package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n"
}

func load(t *testing.T, s *Source) (*resource.Set, []diag.Diagnostic) {
	t.Helper()
	set, ds, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set, ds
}

func names(set *resource.Set) string {
	var out []string
	for _, r := range set.All() {
		out = append(out, r.Info().Name)
	}
	return strings.Join(out, " ")
}

func TestLoadReadsFoldersFilesAndLinks(t *testing.T) {
	dir := t.TempDir()
	elsewhere := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), configMap("b1")+"---\n"+configMap("b2"))
	write(t, filepath.Join(dir, "a", "deep", "x.YML"), configMap("a"))
	write(t, filepath.Join(dir, "c.json"), `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`)
	write(t, filepath.Join(dir, "notes.txt"), "not: yaml: at all")
	write(t, filepath.Join(dir, ".hidden.yaml"), configMap("hidden"))
	write(t, filepath.Join(dir, ".git", "x.yaml"), configMap("git"))
	write(t, filepath.Join(elsewhere, "linked.yaml"), configMap("linked"))
	write(t, filepath.Join(elsewhere, "sub", "far.yaml"), configMap("far"))
	for link, target := range map[string]string{
		"l.yaml": filepath.Join(elsewhere, "linked.yaml"), "z": filepath.Join(elsewhere, "sub"),
		"loop": ".", "m.yaml": "b.yaml", "dangling.yaml": "nowhere.yaml", "dangling.txt": "nowhere",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	set, ds := load(t, New([]string{dir}, quiet()))
	if got := names(set); got != "a b1 b2 c linked far" {
		t.Errorf("objects %q", got)
	}
	var bad []string
	for _, d := range ds {
		if d.Code != diag.DuplicateObject {
			bad = append(bad, filepath.Base(d.Position.File))
		}
	}
	slices.Sort(bad)
	if got := strings.Join(bad, " "); got != "dangling.yaml pipe.yaml" {
		t.Errorf("diagnostics %v", ds)
	}
	if p := set.ConfigMap("default", "b2").Position(); p.File != filepath.Join(dir, "b.yaml") || p.Line != 6 {
		t.Errorf("b2 at %v", p)
	}
}

func TestLoadOfSeveralFoldersAndOfNone(t *testing.T) {
	one, two, empty := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(one, "a.yaml"), configMap("a"))
	write(t, filepath.Join(two, "b.yaml"), configMap("b"))
	set, ds := load(t, New([]string{one, filepath.Join(two, "b.yaml"), empty}, quiet()))
	if names(set) != "a b" {
		t.Errorf("objects %q", names(set))
	}
	if len(ds) != 1 || ds[0].Code != diag.EmptyFolder || ds[0].Position.File != empty {
		t.Errorf("diagnostics %v", ds)
	}
	if _, _, err := New([]string{filepath.Join(one, "missing")}, quiet()).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing folder: %v", err)
	}
}

func TestLoadBounds(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	write(t, big, "")
	if err := os.Truncate(big, manifest.MaxFileSize+1); err != nil {
		t.Fatal(err)
	}
	_, ds := load(t, New([]string{dir}, quiet()))
	if len(ds) == 0 || ds[0].Code != diag.FileUnreadable || !strings.Contains(ds[0].Message, "larger than 16 MiB") {
		t.Errorf("diagnostics %v", ds)
	}
}

func TestOrderDoesNotDependOnFileNamesWhereObjectsHaveAges(t *testing.T) {
	var want, digest string
	for round := range 5 {
		docs := make([]string, 30)
		for i := range docs {
			docs[i] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: n%02d\n  creationTimestamp: 2026-01-%02dT00:00:00Z\n", i, 1+i%7)
		}
		rand.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		dir := t.TempDir()
		for i := 0; i < len(docs); i += 3 {
			write(t, filepath.Join(dir, fmt.Sprintf("%d.yaml", rand.Int())), strings.Join(docs[i:i+3], "---\n"))
		}
		set, ds := load(t, New([]string{dir}, quiet()))
		if len(ds) != 0 || set.Len() != 30 {
			t.Fatal(set.Len(), ds)
		}
		if round > 0 && (names(set) != want || set.Digest() != digest) {
			t.Fatalf("order %s\nbefore %s", names(set), want)
		}
		want, digest = names(set), set.Digest()
	}
	if !strings.HasPrefix(want, "n00 n07 n14 n21 n28 n01") {
		t.Errorf("order %s", want)
	}
}

func TestBrokenNamesWhatADamagedFileHeldBefore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	whole := configMap("first") + "---\n" + configMap("second") + "data:\n  k: v\n---\n" + configMap("third")
	write(t, file, whole)
	s := New([]string{dir}, quiet())
	if set, ds := load(t, s); len(ds) != 0 || len(set.Broken()) != 0 {
		t.Fatal(ds, set.Broken())
	}
	for range 2 { // it must not be forgotten by the next load
		write(t, file, whole[:strings.Index(whole, "k: v")]+"k: 'v")
		set, ds := load(t, s)
		var broken []string
		for _, b := range set.Broken() {
			broken = append(broken, b.Name)
		}
		if names(set) != "first" || strings.Join(broken, " ") != "second third" || ds[0].Code != diag.YAMLSyntax {
			t.Fatalf("objects %s, broken %v, %v", names(set), broken, ds)
		}
	}
	for range 2 { // a shell that redirects into it
		write(t, file, "")
		if set, ds := load(t, s); names(set) != "" || len(set.Broken()) != 3 || len(ds) != 2 || ds[0].Code != diag.YAMLSyntax {
			t.Fatalf("empty: objects %s, broken %v, %v", names(set), set.Broken(), ds)
		}
	}
	write(t, file, "# nothing\n")
	if set, ds := load(t, s); len(set.Broken()) != 0 {
		t.Errorf("nothing but a comment is no damage: %v %v", set.Broken(), ds)
	}
	write(t, file, whole)
	load(t, s)
	write(t, file, configMap("first"))
	if set, _ := load(t, s); len(set.Broken()) != 0 {
		t.Errorf("deleting in a sound file is no damage: %v", set.Broken())
	}
}

// volume makes a Kubernetes volume's layout and returns a function that swaps its content.
func volume(t *testing.T) (dir string, swap func(generation, text string)) {
	dir = t.TempDir()
	swap = func(generation, text string) {
		write(t, filepath.Join(dir, "..2026_"+generation, "gw.yaml"), text)
		write(t, filepath.Join(dir, "..2026_"+generation, "sub", "more.yaml"), configMap("sub-"+generation))
		old, _ := os.Readlink(filepath.Join(dir, "..data"))
		if err := os.Symlink("..2026_"+generation, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"gw.yaml", "sub"} {
			if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
		}
		if old != "" {
			if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, swap
}

// watcher runs a Source and hands out what it publishes.
func watcher(t *testing.T, s *Source) <-chan *resource.Set {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	sets := make(chan *resource.Set, 16)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(set *resource.Set, _ []diag.Diagnostic) { sets <- set }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run does not end with its context")
		}
	})
	return sets
}

// await waits for a set with these names.
func await(t *testing.T, sets <-chan *resource.Set, want string) {
	t.Helper()
	end := time.After(10 * time.Second)
	got := "nothing"
	for {
		select {
		case set := <-sets:
			if got = names(set); got == want {
				return
			}
		case <-end:
			t.Fatalf("published %q last, want %q", got, want)
		}
	}
}

func TestRunFollowsWhatPeopleDoToFolders(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "conf")
	file := filepath.Join(dir, "a.yaml")
	write(t, file, configMap("one"))
	sets := watcher(t, New([]string{dir}, quiet()))
	await(t, sets, "one")

	write(t, file, configMap("written"))
	await(t, sets, "written")

	write(t, filepath.Join(dir, ".a.yaml.swp"), configMap("swap"))
	write(t, filepath.Join(dir, ".new"), configMap("renamed"))
	if err := os.Rename(filepath.Join(dir, ".new"), file); err != nil {
		t.Fatal(err)
	}
	await(t, sets, "renamed")

	write(t, filepath.Join(dir, "sub", "deeper", "b.yaml"), configMap("b"))
	await(t, sets, "renamed b")
	write(t, filepath.Join(dir, "sub", "deeper", "b.yaml"), configMap("c"))
	await(t, sets, "renamed c")

	if err := os.RemoveAll(filepath.Join(dir, "sub")); err != nil {
		t.Fatal(err)
	}
	await(t, sets, "renamed")

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(t, file, configMap("back"))
	await(t, sets, "back")
}

func TestRunOfAMissingFolderSaysSoAndWaits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	sets := watcher(t, New([]string{dir}, quiet()))
	await(t, sets, "")
	write(t, filepath.Join(dir, "a.yaml"), configMap("late"))
	await(t, sets, "late")
}

func TestRunFollowsAKubernetesVolume(t *testing.T) {
	dir, swap := volume(t)
	swap("1", configMap("first"))
	sets := watcher(t, New([]string{dir}, quiet()))
	await(t, sets, "first sub-1")
	swap("2", configMap("second"))
	await(t, sets, "second sub-2")
	swap("3", configMap("third"))
	await(t, sets, "third sub-3")
}

func TestRunPublishesOnlyWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, configMap("one"))
	s := New([]string{dir}, quiet())
	load(t, s)
	sets := watcher(t, s)
	write(t, filepath.Join(dir, ".new"), "# a comment is no change\n"+configMap("one"))
	if err := os.Rename(filepath.Join(dir, ".new"), file); err != nil { // in one step, so that no half of it is read
		t.Fatal(err)
	}
	select {
	case <-sets:
		t.Error("published what Load gave out already")
	case <-time.After(400 * time.Millisecond):
	}
	s.Reload()
	await(t, sets, "one") // a reload publishes in any case
}

func TestRunLooksWhereItCannotWatch(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, configMap("one"))
	s := New([]string{dir}, quiet())
	s.timing.idle = 20 * time.Millisecond
	changes := make(chan struct{})
	n := s.newNotifier(changes)
	n.close() // an inotify that is silent
	if s.moved(t.Context(), n) != true {
		t.Error("a folder never looked at has moved")
	}
	found, err := walk(t.Context(), s.dirs)
	if err != nil {
		t.Fatal(err)
	}
	n.stamp = found.stamp
	if s.moved(t.Context(), n) {
		t.Error("nothing moved")
	}
	write(t, file, configMap("another"))
	if !s.moved(t.Context(), n) {
		t.Error("a written file was not noticed")
	}
	n.watcher = nil
	if n.interval() != s.timing.poll {
		t.Error("without a watcher the folders are polled")
	}
}

func TestSettleWaitsForQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := make(chan struct{}, 1)
		took := func(every time.Duration, count int) time.Duration {
			start := time.Now()
			go func() {
				for range count {
					time.Sleep(every)
					select {
					case changes <- struct{}{}:
					default:
					}
				}
			}()
			settle(t.Context(), changes, 100*time.Millisecond, time.Second)
			d := time.Since(start)
			time.Sleep(10 * time.Second)
			for len(changes) > 0 {
				<-changes
			}
			return d
		}
		for _, c := range []struct {
			every time.Duration
			count int
			want  time.Duration
		}{{0, 0, 100 * time.Millisecond}, {50 * time.Millisecond, 4, 300 * time.Millisecond}, {50 * time.Millisecond, 100, time.Second}} {
			if got := took(c.every, c.count); got != c.want {
				t.Errorf("%d changes every %v: settled after %v, want %v", c.count, c.every, got, c.want)
			}
		}
	})
}

func policy(name string, floor v1alpha1.TLSVersion) *v1alpha1.TLSPolicy {
	return &v1alpha1.TLSPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: v1alpha1.TLSPolicySpec{MinVersion: floor}}
}

func TestManagedFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, ManagedFile)
	if err := WriteManaged(dir, policy("floor", "1.1"), policy("other", "1.3")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mine := string(text) + "---\n# my own words\n" + configMap("mine") + "---\n" + "broken: [\n"
	write(t, file, mine)
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := WriteManaged(dir, policy("floor", "1.2")); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Written by hakone", "# my own words\n" + configMap("mine"), "broken: [\n", `minVersion: "1.3"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is lost from\n%s", want, text)
		}
	}
	if strings.Count(string(text), "# Written by hakone") != 1 || strings.Contains(string(text), "creationTimestamp") || strings.Contains(string(text), "status") {
		t.Errorf("file\n%s", text)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	set, _ := load(t, New([]string{dir}, quiet()))
	if len(set.TLSPolicies()) != 2 || set.TLSPolicies()[1].Spec.MinVersion != "1.2" || set.TLSPolicies()[1].Name != "floor" {
		t.Errorf("policies %s", names(set))
	}
	if err := RemoveManaged(dir, set.TLSPolicies()[1].Key); err != nil {
		t.Fatal(err)
	}
	if set, _ := load(t, New([]string{dir}, quiet())); names(set) != "other mine" {
		t.Errorf("objects %q after removal", names(set))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestManagedFileIsNeverWrittenThroughALink(t *testing.T) {
	dir, target := t.TempDir(), filepath.Join(t.TempDir(), "target.yaml")
	write(t, target, "")
	if err := os.Symlink(target, filepath.Join(dir, ManagedFile)); err != nil {
		t.Fatal(err)
	}
	err := WriteManaged(dir, policy("floor", "1.2"))
	if err == nil || errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("error %v", err)
	}
	if text, _ := os.ReadFile(target); len(text) != 0 {
		t.Errorf("the link's target was written: %s", text)
	}
}

func TestReadOnlyFoldersAreRefused(t *testing.T) {
	dir, swap := volume(t)
	swap("1", configMap("x"))
	if err := WriteManaged(dir, policy("floor", "1.2")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a Kubernetes volume: %v", err)
	}
	for err, want := range map[error]bool{
		&fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS}:  true,
		&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}: true,
		&fs.PathError{Op: "open", Path: "x", Err: syscall.EPERM}:  true,
		&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOSPC}: false,
	} {
		if readOnly(err) != want {
			t.Errorf("readOnly(%v) = %v", err, !want)
		}
	}
	if err := WriteManaged(filepath.Join(dir, "missing"), policy("floor", "1.2")); err == nil || errors.Is(err, ErrReadOnly) {
		t.Errorf("a missing folder: %v", err)
	}
	if err := WriteManaged("/proc/self", policy("floor", "1.2")); err == nil {
		t.Error("a file system without files to write")
	}
}

func TestReloadNowReturnsWhenTheSetIsPublished(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	write(t, filepath.Join(dir, "a.yaml"), configMap("a"))
	s := New([]string{dir}, quiet())
	var published atomic.Pointer[string]
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(set *resource.Set, _ []diag.Diagnostic) {
			text := names(set)
			published.Store(&text)
		})
	}()
	for i := range 5 {
		name := fmt.Sprintf("n%d", i/2) // every other time nothing changes
		write(t, filepath.Join(dir, "a.yaml"), configMap(name))
		if err := s.ReloadNow(t.Context()); err != nil || *published.Load() != name {
			t.Fatalf("%v, published %q, want %q", err, *published.Load(), name)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.ReloadNow(t.Context()); err == nil {
		t.Error("a folder that is gone was read")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.ReloadNow(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("without Run: %v", err)
	}
}

func TestFolderThatComesBackIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "conf")
	write(t, filepath.Join(dir, "a.yaml"), configMap("a"))
	log := &lines{}
	s := New([]string{dir}, slog.New(slog.NewTextHandler(log, nil)))
	sets := watcher(t, s)
	await(t, sets, "a")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.ReloadNow(t.Context()); err == nil {
		t.Error("read")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := s.ReloadNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Count(log.String(), "configuration can be read again") != 1 || !strings.Contains(log.String(), "what was loaded before stays") {
		t.Errorf("log:\n%s", log)
	}
}

// lines is a log that a test reads while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestManagedFindsExactlyOneScope(t *testing.T) {
	dir := t.TempDir()
	key := PolicyKey(policy("floor", ""))
	if p, err := Managed(dir, key); p != nil || err != nil {
		t.Errorf("no file: %v, %v", p, err)
	}
	if err := WriteManaged(dir, policy("floor", "1.2"), policy("other", "1.3")); err != nil {
		t.Fatal(err)
	}
	if p, err := Managed(dir, key); err != nil || p == nil || p.Spec.MinVersion != "1.2" {
		t.Errorf("%v, %v", p, err)
	}
	if err := RemoveManaged(dir, key); err != nil {
		t.Fatal(err)
	}
	if p, err := Managed(dir, key); p != nil || err != nil {
		t.Errorf("removed: %v, %v", p, err)
	}
	if _, err := Managed(filepath.Join(dir, "none"), key); err == nil {
		t.Error("no folder")
	}
}
