package revocation

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxFiles and maxDisk bound what is kept on disk; the oldest files go first.
	maxFiles, maxDisk = 20_000, 1 << 30
	// pruneEvery is how many files may be written before the bounds are looked at.
	pruneEvery = 256
	// oldestFile is how long a file is kept that nothing renews.
	oldestFile = 90 * 24 * time.Hour
)

// disk keeps answers as they came, one a file. What it returns has to be verified: others may write
// there. It is safe for concurrent use.
type disk struct {
	dir string // fixed

	mu      sync.Mutex // guards written
	written int
}

func openDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(dir, ".tmp-")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, err
	}
	d := &disk{dir: dir}
	d.prune(time.Now())
	return d, nil
}

func (d *disk) path(q question) string {
	return filepath.Join(d.dir, hex.EncodeToString(q.key[:])+"."+q.kind.String())
}

// read returns the file of a question, nil if there is none.
func (d *disk) read(q question, most int64) []byte {
	st, err := os.Stat(d.path(q))
	if err != nil || !st.Mode().IsRegular() || st.Size() > most {
		return nil
	}
	b, err := os.ReadFile(d.path(q))
	if err != nil {
		return nil
	}
	return b
}

// write replaces the file of a question as a whole, mode 0600.
func (d *disk) write(q question, data []byte) error {
	f, err := os.CreateTemp(d.dir, ".tmp-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), d.path(q))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", d.path(q), err), os.Remove(f.Name()))
	}
	d.mu.Lock()
	d.written++
	prune := d.written%pruneEvery == 0
	d.mu.Unlock()
	if prune {
		d.prune(time.Now())
	}
	return nil
}

// prune removes what is left of broken writes, what is old, and the oldest of what is too much.
func (d *disk) prune(now time.Time) {
	list, err := os.ReadDir(d.dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	var total int64
	for _, x := range list {
		info, err := x.Info()
		ours := strings.HasSuffix(x.Name(), ".crl") || strings.HasSuffix(x.Name(), ".ocsp")
		switch {
		case err != nil || !info.Mode().IsRegular():
		case strings.HasPrefix(x.Name(), ".tmp-") && now.Sub(info.ModTime()) > time.Hour, ours && now.Sub(info.ModTime()) > oldestFile:
			_ = os.Remove(filepath.Join(d.dir, x.Name()))
		case ours:
			files, total = append(files, info), total+info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for len(files) > maxFiles || total > maxDisk {
		_ = os.Remove(filepath.Join(d.dir, files[0].Name()))
		total -= files[0].Size()
		files = files[1:]
	}
}

// fromDisk returns what is kept of a question, verified as if it had just come.
func (s *Service) fromDisk(q question) *answer {
	if s.disk == nil {
		return nil
	}
	data := s.disk.read(q, s.opts.MaxList)
	if data == nil {
		return nil
	}
	a, err := verify(q, data)
	if err != nil {
		s.opts.Logger.Warn("a file with an answer about revocation cannot be used and is fetched anew", "file", s.disk.path(q), "err", err)
		return nil
	}
	return a
}
