package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// ErrNoSegments says that a folder holds no kept logs.
var ErrNoSegments = errors.New("there are no log segments")

// Folder reads the files of a store, also while a process writes them. It changes nothing.
type Folder struct{ dir string }

// OpenFolder returns the store in a folder. Errors wrap ErrNoSegments where nothing has been kept, or
// say why the folder cannot be read.
func OpenFolder(dir string) (*Folder, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("log store: %w", err)
	}
	_, err := os.Stat(filepath.Join(dir, "lock"))
	numbers, listed := segmentNumbers(dir)
	switch {
	case listed != nil:
		return nil, listed
	case len(numbers) == 0 && err != nil:
		return nil, fmt.Errorf("log store %s: %w", dir, ErrNoSegments)
	}
	return &Folder{dir}, nil
}

func (f *Folder) parts(context.Context) ([]part, error) {
	numbers, err := segmentNumbers(f.dir)
	if err != nil {
		return nil, err
	}
	var parts []part
	for _, n := range numbers {
		path := filepath.Join(f.dir, segmentName(n))
		p := part{summary: summary{min: math.MinInt64, max: math.MaxInt64}, open: func() (*segmentFile, error) { return openSegment(path) }}
		s, err := summaryIn(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil:
			p.summary = s
		}
		parts = append(parts, p)
	}
	return parts, nil
}

var errNoTail = errors.New("the segment is not complete")

// summaryIn reads what the tail of a file says.
func summaryIn(path string) (summary, error) {
	f, err := os.Open(path)
	if err != nil {
		return summary{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return summary{}, err
	}
	t, ok := readTail(f, st.Size())
	if !ok {
		return summary{}, errNoTail
	}
	return t.summary, nil
}
