package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// files are the certificate files that manifests name, as they were when last read. It is owned by the
// loop. Changes are found by looking, because such files lie anywhere: a look costs one stat a file.
type files struct {
	seen map[string]fs.FileInfo // nil for one that is not there
	lost map[string]bool        // not there, rather than unreadable
}

// read returns the content of the files that can be read; of others the translator says so at the
// field that names them. Each is looked at before it is read, so that a later write is noticed.
func (f *files) read(paths []string) map[string][]byte {
	f.seen, f.lost = make(map[string]fs.FileInfo, len(paths)), map[string]bool{}
	content := make(map[string][]byte, len(paths))
	for _, p := range paths {
		f.seen[p] = look(p)
		b, err := readRegular(p, f.seen[p])
		if err == nil {
			content[p] = b
		}
		f.lost[p] = errors.Is(err, fs.ErrNotExist)
	}
	return content
}

// maxFile bounds a certificate file, in bytes; a bundle of all public CAs has a fifth of it.
const maxFile = 1 << 20

// readRegular reads a file that a manifest names. Others than regular ones, a pipe or /dev/zero, would
// hold the loop up or never end.
func readRegular(path string, seen fs.FileInfo) ([]byte, error) {
	if seen != nil && !seen.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return b, err
}

// changed reports whether a file is not the one that was read.
func (f *files) changed() bool {
	for p, before := range f.seen {
		now := look(p)
		if (now == nil) != (before == nil) {
			return true
		}
		if now != nil && (!os.SameFile(now, before) || now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime())) {
			return true
		}
	}
	return false
}

// gone reports whether a file was not there when it was to be read.
func (f *files) gone(path string) bool { return f.lost[path] }

// look returns what the system tells of a file behind all symbolic links, or nil.
func look(path string) fs.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}
