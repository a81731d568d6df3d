package file

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// maxFiles bounds how many files are read, lest somebody gives "/".
const maxFiles = 200_000

// tree is what a walk finds.
type tree struct {
	files []string // manifests, as given roots joined with names; ordered within each root
	roots []int    // for each root, how many of files came before it
	dirs  []string // real paths of folders whose changes matter
	stamp uint64   // changes when a file's name, size, time or target does
	ds    []diag.Diagnostic
}

// walk finds the manifests under the roots: *.yaml, *.yml and *.json, in folders of any depth. Names
// that begin with a dot are passed over; so ..data and the dated folders of a Kubernetes volume are
// read once only, through the visible symbolic links. A folder or file reached twice is read once. A
// root that cannot be read is an error; anything below it is a diagnostic.
func walk(ctx context.Context, roots []string) (*tree, error) {
	w := &walker{seen: map[string]bool{}}
	sum := fnv.New64a()
	w.stamp = sum
	for _, root := range roots {
		w.out.roots = append(w.out.roots, len(w.out.files))
		info, err := os.Stat(root)
		if err != nil {
			return nil, fmt.Errorf("read configuration %q: %w", root, cause(err))
		}
		if !info.IsDir() {
			w.file(filepath.Clean(root), info, fs.ModeSymlink)
			continue
		}
		if err := w.dir(ctx, filepath.Clean(root)); err != nil {
			return nil, fmt.Errorf("read configuration folder %q: %w", root, cause(err))
		}
	}
	w.out.stamp = sum.Sum64()
	return &w.out, ctx.Err()
}

type walker struct {
	seen  map[string]bool // real paths
	out   tree
	stamp io.Writer
}

func (w *walker) dir(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if w.seen[real] {
		return nil
	}
	w.seen[real] = true
	w.out.dirs = append(w.out.dirs, real)
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := filepath.Join(path, e.Name())
		info, err := os.Stat(name) // follows links
		switch {
		case errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink == 0:
			continue // vanished since the folder was read
		case err != nil && !manifestName(e.Name()):
			continue
		case err != nil:
			w.unreadable(name, err)
		case info.IsDir():
			if err := w.dir(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				if ctx.Err() != nil {
					return err
				}
				w.unreadable(name, err)
			}
		case manifestName(e.Name()):
			w.file(name, info, e.Type())
		}
	}
	return nil
}

// file notes a manifest. kind is the type of the name itself, which may be a link.
func (w *walker) file(name string, info fs.FileInfo, kind fs.FileMode) {
	if !info.Mode().IsRegular() {
		w.unreadable(name, errors.New("it is no regular file"))
		return
	}
	real := name
	if kind&fs.ModeSymlink != 0 {
		var err error
		if real, err = filepath.EvalSymlinks(name); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				w.unreadable(name, err)
			}
			return
		}
		if dir := filepath.Dir(real); !w.seen[dir] {
			w.out.dirs = append(w.out.dirs, dir) // watched, not read
		}
		if w.seen[real] {
			return
		}
		w.seen[real] = true
	}
	if len(w.out.files) >= maxFiles {
		if len(w.out.files) == maxFiles {
			w.unreadable(name, fmt.Errorf("the folder holds more than %d manifests", maxFiles))
		}
		return
	}
	fmt.Fprintf(w.stamp, "%s\x00%s\x00%d\x00%d\x00", name, real, info.Size(), info.ModTime().UnixNano())
	w.out.files = append(w.out.files, name)
}

func (w *walker) unreadable(name string, err error) {
	fmt.Fprintf(w.stamp, "%s\x00unreadable\x00", name)
	w.out.ds = append(w.out.ds, unreadable(name, err))
}

// unreadable says that a file or folder cannot be read.
func unreadable(name string, err error) diag.Diagnostic {
	d := diag.New(diag.FileUnreadable, diag.Object{}, "", fmt.Sprintf("%s cannot be read: %v.", name, cause(err)), "Check the path and its permissions.")
	d.Position = diag.Position{File: name}
	return d
}

// cause strips operation and path off an error of package os.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// manifestName reports whether a file's name says that it holds manifests.
func manifestName(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}
