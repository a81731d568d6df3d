package ca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

const (
	fileJournal = "journal.jsonl"
	fileLock    = ".lock"
	lockRetry   = 20 * time.Millisecond
)

// DirStore is a directory with one sub-directory for each authority. Directories have mode 0700, files
// 0600. Create it with Dir.
type DirStore struct{ root string }

// Dir returns the store of a directory, which need not exist yet.
func Dir(path string) *DirStore { return &DirStore{path} }

// String returns the path.
func (d *DirStore) String() string { return d.root }

func (d *DirStore) path(authority string, entry ...string) string {
	return filepath.Join(append([]string{d.root, authority}, entry...)...)
}

// Authorities implements Store.
func (d *DirStore) Authorities() ([]string, error) {
	list, err := os.ReadDir(d.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, broken(err, "the directory %s cannot be read", d.root)
	}
	var out []string
	for _, e := range list {
		if _, err := os.Stat(d.path(e.Name(), entryConfig)); err == nil && checkName(e.Name()) == nil {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// List implements Store.
func (d *DirStore) List(authority string) ([]string, error) {
	list, err := os.ReadDir(d.path(authority))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, broken(err, "the directory %s cannot be read", d.path(authority))
	}
	var out []string
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), ".") && e.Name() != fileJournal && !e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Get implements Store.
func (d *DirStore) Get(authority, entry string) ([]byte, error) {
	b, err := os.ReadFile(d.path(authority, entry))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, broken(err, "the file %s cannot be read", d.path(authority, entry))
	}
	return b, err
}

// Put implements Store.
func (d *DirStore) Put(authority, entry string, data []byte) error {
	if err := replaceFile(d.path(authority, entry), data); err != nil {
		return broken(err, "the file %s cannot be written", d.path(authority, entry))
	}
	return nil
}

// replaceFile writes beside the file, syncs, renames, and syncs the directory, so that after a crash
// either the old or the new content is there.
func replaceFile(path string, data []byte) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	// A file that was left by a crash may have another mode.
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Journal implements Store.
func (d *DirStore) Journal(authority string, from int64) (io.ReadCloser, error) {
	f, err := os.Open(d.path(authority, fileJournal))
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if err == nil {
		_, err = f.Seek(from, io.SeekStart)
	}
	if err != nil {
		return nil, broken(err, "the journal %s cannot be read", d.path(authority, fileJournal))
	}
	return f, nil
}

// Append implements Store.
func (d *DirStore) Append(authority string, at int64, data []byte) error {
	path := d.path(authority, fileJournal)
	_, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return broken(err, "the journal %s cannot be written", path)
	}
	err = f.Truncate(at)
	if err == nil {
		_, err = f.WriteAt(data, at)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil && fresh {
		err = syncFolder(d.path(authority))
	}
	if err != nil {
		return broken(err, "the journal %s cannot be written", path)
	}
	return nil
}

// Mark implements Store.
func (d *DirStore) Mark(authority string) (Mark, error) {
	st, err := os.Stat(d.path(authority, fileJournal))
	if errors.Is(err, fs.ErrNotExist) {
		return Mark{}, nil
	}
	if err != nil {
		return Mark{}, broken(err, "the journal of %s cannot be looked at", d.path(authority))
	}
	return Mark{st.Size(), st.ModTime().UnixNano()}, nil
}

// Exposed implements Store.
func (d *DirStore) Exposed(authority string) []string {
	var out []string
	look := func(path string, bad fs.FileMode) {
		if st, err := os.Stat(path); err == nil && st.Mode().Perm()&bad != 0 {
			out = append(out, fmt.Sprintf("%s (mode %04o)", path, st.Mode().Perm()))
		}
	}
	// Who can write into the directory can replace keys, whatever their mode.
	look(d.path(authority), 0o022)
	names, err := d.List(authority)
	if err != nil {
		return out
	}
	for _, n := range names {
		if strings.HasSuffix(n, suffixKey) {
			look(d.path(authority, n), 0o077)
		}
	}
	return slices.Clip(out)
}

// Lock implements Store.
func (d *DirStore) Lock(ctx context.Context, authority string) (func(), error) {
	if err := os.MkdirAll(d.path(authority), 0o700); err != nil {
		return nil, broken(err, "the directory %s cannot be made", d.path(authority))
	}
	return lockFile(ctx, d.path(authority, fileLock))
}

// lockFile waits for the lock of a file that exists for nothing else.
func lockFile(ctx context.Context, path string) (func(), error) {
	for {
		release, held, err := tryLock(path)
		if err != nil {
			return nil, broken(err, "the lock %s cannot be taken", path)
		}
		if !held {
			return release, nil
		}
		select {
		case <-ctx.Done():
			return nil, failWith(context.Cause(ctx), diag.AuthorityLocked, "Try again; if no other process works on it, look for one that hangs.", "another process holds the lock %s", path)
		case <-time.After(lockRetry):
		}
	}
}
