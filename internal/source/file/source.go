// Package file is the home of configuration that stands in folders of manifests: it loads them into a
// resource.Set, watches them, and writes the one file that Hakone manages itself.
//
// How a manifest is read is package manifest's business; what to do with a set that has faults is the
// control loop's. The package keeps no last good version of anything: what a Set holds is what the
// files say now, and Set.Broken names what they fail to say. Begin reading at Source.
package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
)

// Source loads and watches one or several folders. Make it with New; its methods may be called from
// any goroutine.
type Source struct {
	// Fixed after construction.
	dirs   []string
	log    *slog.Logger
	parser *manifest.Parser
	reload chan struct{} // one pending request at most
	timing timing

	mu    sync.Mutex
	cache map[digest]*manifest.Parsed // of the documents of the last load, by their text
	known map[string][]resource.Key   // by file: the objects it held when it was last free of faults
	last  fingerprint                 // of the last result that was handed out

	// Owned by Run's goroutine.
	unreadable bool // the last load failed

	asking sync.Mutex   // guards askers; never held together with mu
	askers []chan error // callers of ReloadNow
}

type digest [sha256.Size]byte

// fingerprint tells results apart: content, order and findings.
type fingerprint struct {
	set         string
	diagnostics digest
}

// New returns a Source of the given folders. A file in place of a folder is read alone.
func New(dirs []string, logger *slog.Logger) *Source {
	return &Source{dirs: slices.Clone(dirs), log: logger, parser: manifest.NewParser(), reload: make(chan struct{}, 1), timing: defaultTiming()}
}

// Load reads the folders as they are now. Faults of files and objects are diagnostics; the error is
// for a folder that cannot be read at all and for an ended context, and comes with a nil set. Objects
// of documents that have not changed are shared with the sets loaded before.
func (s *Source) Load(ctx context.Context) (*resource.Set, []diag.Diagnostic, error) {
	set, ds, _, err := s.load(ctx)
	return set, ds, err
}

// loaded is what became of one file.
type loaded struct {
	chunks  []manifest.Chunk
	parsed  []*manifest.Parsed
	sums    []digest
	ds      []diag.Diagnostic
	damaged bool // something of it could not be read
	emptied bool // it is there and has no byte: somebody is about to write it
}

func (s *Source) load(ctx context.Context) (*resource.Set, []diag.Diagnostic, fingerprint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := walk(ctx, s.dirs)
	if err != nil {
		return nil, nil, fingerprint{}, err
	}
	files, err := s.readAll(ctx, found.files)
	if err != nil {
		return nil, nil, fingerprint{}, err
	}
	b := &resource.Builder{AssumeNamespaces: true}
	ds := found.ds
	cache := make(map[digest]*manifest.Parsed, len(s.cache))
	documents := make([]int, len(s.dirs))
	for i, name := range found.files {
		f := files[i]
		ds = append(ds, f.ds...)
		document := 0
		for j, p := range f.parsed {
			cache[f.sums[j]] = p
			ds = append(ds, p.AddTo(b, name, f.chunks[j].Line, document)...)
			document += p.Documents
		}
		documents[rootOf(found.roots, i)] += document
	}
	s.cache = cache
	ds = append(ds, s.remember(b, found.files, files)...)
	for i, n := range documents {
		if n == 0 {
			d := diag.New(diag.EmptyFolder, diag.Object{}, "", fmt.Sprintf("%s holds no .yaml, .yml or .json document.", s.dirs[i]), "Check --config.")
			d.Position = diag.Position{File: s.dirs[i]}
			ds = append(ds, d)
		}
	}
	set, duplicates := b.Build()
	ds = diag.Compact(append(ds, duplicates...))
	s.last = fingerprint{set.Digest(), sha256.Sum256(fmt.Append(nil, ds))}
	return set, ds, s.last, nil
}

// rootOf returns the root that file i belongs to.
func rootOf(starts []int, i int) int {
	root := 0
	for r, start := range starts {
		if start <= i {
			root = r
		}
	}
	return root
}

// remember notes which objects stand in which file, and calls those broken that a damaged file held
// before and that nobody defines now: half a file says nothing of the other half. Nor does one without a byte,
// which is what a shell leaves that redirects a slow command into it. Caller holds mu.
func (s *Source) remember(b *resource.Builder, names []string, files []*loaded) (ds []diag.Diagnostic) {
	known := make(map[string][]resource.Key, len(names))
	for i, name := range names {
		f := files[i]
		if f == nil {
			continue
		}
		var keys []resource.Key
		for _, p := range f.parsed {
			keys = append(keys, p.Keys()...)
		}
		if f.emptied && len(s.known[name]) > 0 {
			d := diag.New(diag.YAMLSyntax, diag.Object{}, "", fmt.Sprintf("the file is empty; the %d objects that it held stay as they were", len(s.known[name])), "Write it, or delete the file to delete them.")
			d.Position = diag.Position{File: name}
			ds = append(ds, d)
		}
		if f.damaged || f.emptied {
			for _, key := range s.known[name] {
				b.Break(resource.Broken{Key: key, Position: diag.Position{File: name}, Code: diag.YAMLSyntax})
				if !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
		}
		known[name] = keys
	}
	s.known = known
	return ds
}

// readAll reads and parses files with as many goroutines as there are processors. Caller holds mu.
func (s *Source) readAll(ctx context.Context, names []string) ([]*loaded, error) {
	out := make([]*loaded, len(names))
	next := make(chan int)
	var wg sync.WaitGroup
	for range max(1, min(runtime.GOMAXPROCS(0), len(names))) {
		wg.Go(func() {
			for i := range next {
				out[i] = s.readOne(names[i])
			}
		})
	}
	for i := range names {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return out, ctx.Err()
}

// readOne reads a file. It only reads s.cache.
func (s *Source) readOne(name string) *loaded {
	f := &loaded{}
	text, err := readBounded(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f // vanished since the folder was read
	case err != nil:
		f.ds, f.damaged = append(f.ds, unreadable(name, err)), true
		return f
	}
	chunks, bad := manifest.Split(name, text)
	f.chunks, f.ds, f.damaged, f.emptied = chunks, bad, len(bad) > 0, len(text) == 0
	for _, c := range chunks {
		sum := sha256.Sum256(c.Text)
		if c.JSON {
			sum[0] ^= 1 // the same text read as YAML is another thing
		}
		p := s.cache[sum]
		if p == nil {
			p = s.parser.Parse(c)
		}
		f.damaged = f.damaged || p.Damaged()
		f.parsed, f.sums = append(f.parsed, p), append(f.sums, sum)
	}
	return f
}

// readBounded reads a file of at most manifest.MaxFileSize bytes.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if info.Size() > manifest.MaxFileSize {
		return nil, fmt.Errorf("it is larger than %d MiB", manifest.MaxFileSize>>20)
	}
	text := make([]byte, 0, info.Size()+512)
	for {
		n, err := f.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
		if len(text) > manifest.MaxFileSize {
			return nil, fmt.Errorf("it is larger than %d MiB", manifest.MaxFileSize>>20)
		}
		if len(text) == cap(text) {
			text = slices.Grow(text, len(text))
		}
	}
}

// timing holds the waits of Run.
type timing struct {
	quiet time.Duration // without further changes before a reload
	most  time.Duration // from the first change to the reload
	poll  time.Duration // between looks at the folders where they cannot be watched
	idle  time.Duration // between looks where they can: network file systems keep silent
}

func defaultTiming() timing {
	return timing{quiet: 100 * time.Millisecond, most: time.Second, poll: 2 * time.Second, idle: 30 * time.Second}
}
