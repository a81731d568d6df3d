package mint

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leafFiles returns the kept leaves below a folder.
func leafFiles(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(path)) != "keys" {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDiskOutlivesProcess(t *testing.T) {
	dir, ca := t.TempDir(), testCA(t, nil, nil)
	a := New(ca, Options{Now: at(0), DiskPath: dir})
	first, err := a.Leaf(Want{Names: []string{"a.test"}})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if info, _ := d.Info(); err == nil && path != dir && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b := New(ca, Options{Now: at(time.Hour), DiskPath: dir})
	defer b.Close()
	second, err := b.Leaf(Want{Names: []string{"a.test"}})
	if err != nil || second.Fingerprint != first.Fingerprint {
		t.Fatalf("after a restart the leaf is another one (%v)", err)
	}
	verify(t, ca, second, "a.test", epoch)
	fresh, err := b.Leaf(Want{Names: []string{"b.test"}})
	if err != nil || !bytes.Equal(fresh.Leaf.SubjectKeyId, first.Leaf.SubjectKeyId) {
		t.Errorf("after a restart the present key is another one (%v)", err)
	}
	if s := b.Stats(); s.DiskHits != 1 || s.Minted != 1 {
		t.Errorf("stats %+v", s)
	}
	other := New(testCA(t, nil, nil), Options{Now: at(time.Hour), DiskPath: dir})
	defer other.Close()
	if third, err := other.Leaf(Want{Names: []string{"a.test"}}); err != nil || third.Fingerprint == first.Fingerprint {
		t.Errorf("another CA serves the leaf of the first (%v)", err)
	}
	late := New(ca, Options{Now: at(20 * time.Hour), DiskPath: dir})
	defer late.Close()
	if third, err := late.Leaf(Want{Names: []string{"a.test"}}); err != nil || third.Fingerprint == first.Fingerprint {
		t.Errorf("a kept leaf is served when it is time for a new one (%v)", err)
	}
}

func TestDiskDamage(t *testing.T) {
	for name, harm := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":   func([]byte) []byte { return nil },
		"flipped": func(b []byte) []byte { b[len(b)-3] ^= 1; return b },
		"header":  func(b []byte) []byte { return append([]byte("NOTLEAF\n"), b[8:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, ca := t.TempDir(), testCA(t, nil, nil)
			a := New(ca, Options{Now: at(0), DiskPath: dir})
			if _, err := a.Leaf(Want{Names: []string{"a.test"}}); err != nil {
				t.Fatal(err)
			}
			a.Close()
			files := leafFiles(t, dir)
			if len(files) != 1 {
				t.Fatalf("%d files", len(files))
			}
			data, _ := os.ReadFile(files[0])
			if err := os.WriteFile(files[0], harm(data), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			b := New(ca, Options{Now: at(0), DiskPath: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			got, err := b.Leaf(Want{Names: []string{"a.test"}})
			if err != nil {
				t.Fatal(err)
			}
			verify(t, ca, got, "a.test", epoch)
			b.Close()
			if s := b.Stats(); s.DiskBroken != 1 || s.Minted != 1 || !strings.Contains(log.String(), "HK2326") || !strings.Contains(log.String(), files[0]) {
				t.Errorf("stats %+v, log %s", s, log.String())
			}
			c := New(ca, Options{Now: at(0), DiskPath: dir})
			defer c.Close()
			if again, err := c.Leaf(Want{Names: []string{"a.test"}}); err != nil || again.Fingerprint != got.Fingerprint {
				t.Errorf("the damaged entry was not replaced (%v)", err)
			}
		})
	}
}

func TestDiskBound(t *testing.T) {
	const bound = 16 * blockBytes
	dir, ca := t.TempDir(), testCA(t, nil, nil)
	a := New(ca, Options{Now: at(0), DiskPath: dir, DiskBytes: bound})
	for i := range 100 {
		if _, err := a.Leaf(Want{Names: []string{fmt.Sprintf("h%d.test", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	if n := len(leafFiles(t, dir)); n != 16 {
		t.Errorf("%d leaves are kept, want 16", n)
	}
	b := New(ca, Options{Now: at(0), DiskPath: dir, DiskBytes: 4 * blockBytes})
	b.Close()
	if n := len(leafFiles(t, dir)); n != 4 {
		t.Errorf("with a lower bound %d leaves are kept, want 4", n)
	}
	if s := b.Stats(); s.DiskBytes != 4*blockBytes || s.DiskLeaves != 4 {
		t.Errorf("stats %+v", s)
	}
}

func TestDiskUnusable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a := New(testCA(t, nil, nil), Options{Now: at(0), DiskPath: filepath.Join(file, "below"), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range 10 {
		if _, err := a.Leaf(Want{Names: []string{fmt.Sprintf("h%d.test", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	if s := a.Stats(); !s.DiskFailing || s.DiskDropped < 10 || strings.Count(log.String(), "HK2325") != 1 {
		t.Errorf("stats %+v, log %s", s, log.String())
	}
}

func TestDiskSweep(t *testing.T) {
	dir := t.TempDir()
	old, other := filepath.Join(dir, strings.Repeat("ab", 16)), filepath.Join(dir, "somebody-elses")
	for _, d := range []string{old, other} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(d, epoch.AddDate(0, -2, 0), epoch.AddDate(0, -2, 0)); err != nil {
			t.Fatal(err)
		}
	}
	New(testCA(t, nil, nil), Options{Now: at(0), DiskPath: dir}).Close()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the folder of a CA that is gone is still there (%v)", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a folder that is not ours was removed: %v", err)
	}
}
