package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// File is a file to write. A private one has mode 0600 and is not written over.
type File struct {
	Path    string
	Data    []byte
	Private bool
}

// CheckFiles refuses what WriteFiles would refuse, before something is issued that could not be put
// anywhere. The error is an *Error.
func CheckFiles(force bool, files ...File) error {
	seen := map[string]bool{}
	for _, f := range files {
		if seen[filepath.Clean(f.Path)] {
			return fail(diag.EnrolmentInvalid, "Give each its own path.", "%s is to hold two things", f.Path)
		}
		seen[filepath.Clean(f.Path)] = true
		st, err := os.Lstat(f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			dir := filepath.Dir(f.Path)
			if d, err := os.Stat(dir); err != nil || !d.IsDir() {
				return fail(diag.EnrolmentInvalid, "Make it: mkdir -p "+dir+".", "the folder of %s does not exist", f.Path)
			}
		case err != nil:
			return failWith(err, diag.EnrolmentInvalid, "Correct the path.", "%s cannot be written", f.Path)
		case st.IsDir():
			return fail(diag.EnrolmentInvalid, "Name a file.", "%s is a folder", f.Path)
		case f.Private && !force:
			return fail(diag.KeyFileExists, "Write elsewhere, or say --force: what the old key belongs to is then lost.", "%s is there already, and a private key is not overwritten", f.Path)
		}
	}
	return nil
}

// WriteFiles writes files one by one, private ones first, each replaced in one step and on the disk
// before the next. A private file that exists is refused unless force is set; others are replaced. The
// error is an *Error.
func WriteFiles(force bool, files ...File) error {
	if err := CheckFiles(force, files...); err != nil {
		return err
	}
	for _, private := range []bool{true, false} {
		for _, f := range files {
			if f.Private != private {
				continue
			}
			if err := write(f, force); err != nil {
				if errors.Is(err, fs.ErrExist) {
					return fail(diag.KeyFileExists, "Write elsewhere, or say --force.", "%s has appeared, and a private key is not overwritten", f.Path)
				}
				return failWith(err, diag.EnrolmentInvalid, "Correct the path or the disk.", "%s cannot be written", f.Path)
			}
		}
	}
	return nil
}

// write puts the content under a name of its own and moves it: by a link where nothing may be replaced,
// which fails if somebody was faster.
func write(f File, force bool) (err error) {
	mode := fs.FileMode(0o644)
	if f.Private {
		mode = 0o600
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(f.Data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	switch {
	case err != nil:
		return err
	case f.Private && !force:
		err = os.Link(tmp.Name(), f.Path)
	default:
		err = os.Rename(tmp.Name(), f.Path)
	}
	if err != nil {
		return fmt.Errorf("put in place: %w", err)
	}
	return syncFolder(filepath.Dir(f.Path))
}

// syncFolder makes the names in a folder outlive the machine's end.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
