package ca_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// journal makes an authority with three certificates and returns its directory and the journal's lines.
func journal(t *testing.T) (dir string, lines [][]byte, last ca.Entry) {
	t.Helper()
	dir = t.TempDir()
	a := create(t, ca.Dir(dir), ca.Setup{Key: ca.Ed25519}, ca.Options{})
	for _, n := range []string{"a.test", "b.test", "c.test"} {
		out, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{n}, Key: ca.Ed25519})
		if err != nil {
			t.Fatal(err)
		}
		last = out.Entry
	}
	b, err := os.ReadFile(filepath.Join(dir, "default", "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")), last
}

func TestChangedJournalsAreFound(t *testing.T) {
	join := func(l ...[]byte) []byte { return bytes.Join(l, nil) }
	swap := func(l []byte, from, to string) []byte {
		out := bytes.Replace(l, []byte(from), []byte(to), 1)
		if bytes.Equal(out, l) {
			t.Fatalf("no %q in %s", from, l)
		}
		return out
	}
	nl := []byte("\n")
	for name, c := range map[string]struct {
		edit func(l [][]byte) []byte
		want string // part of the error; empty: it opens
		torn bool
	}{
		"untouched":              {func(l [][]byte) []byte { return join(append(l, nl)...) }, "", false},
		"last line missing":      {func(l [][]byte) []byte { return join(l[:len(l)-1]...) }, "it ends after line", false},
		"last line torn":         {func(l [][]byte) []byte { return join(append(l[:len(l)-1], l[len(l)-1][:40])...) }, "it ends after line", false},
		"emptied":                {func([][]byte) []byte { return nil }, "it ends after line 0", false},
		"a line less in between": {func(l [][]byte) []byte { return join(append(append(l[:4:4], l[5:]...), nl)...) }, "line 5 does not continue", false},
		"lines swapped":          {func(l [][]byte) []byte { l[4], l[5] = l[5], l[4]; return join(append(l, nl)...) }, "line 5 does not continue", false},
		"a name changed":         {func(l [][]byte) []byte { l[5] = swap(l[5], "a.test", "z.test"); return join(append(l, nl)...) }, "line 7 does not continue", false},
		"last line changed": {func(l [][]byte) []byte {
			l[len(l)-1] = swap(l[len(l)-1], "c.test", "z.test")
			return join(append(l, nl)...)
		}, "it ends after line", false},
		"no JSON":          {func(l [][]byte) []byte { l[2] = []byte("hello\n"); return join(append(l, nl)...) }, "line 3 cannot be read", false},
		"zeros":            {func(l [][]byte) []byte { return join(append(l, nl, make([]byte, 4096))...) }, "", true},
		"half a line more": {func(l [][]byte) []byte { return join(append(l, nl, l[3][:100])...) }, "", true},
		"garbage behind":   {func(l [][]byte) []byte { return join(append(l, nl, []byte("{}\n"))...) }, "", true},
		"endless line":     {func(l [][]byte) []byte { return join(append(l, nl, bytes.Repeat([]byte("x"), 1<<20))...) }, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, lines, last := journal(t)
			if err := os.WriteFile(filepath.Join(dir, "default", "journal.jsonl"), c.edit(lines), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := ca.Open(t.Context(), ca.Dir(dir), "default", ca.Options{})
			if c.want != "" {
				if code(err) != diag.AuthorityJournalBroken || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			info, err := a.Info()
			if err != nil || (slugs(info.Findings) == "authority_journal_torn/warning") != c.torn {
				t.Errorf("%v %q", err, slugs(info.Findings))
			}
			// It goes on as if nothing had been there, and nothing of before is lost.
			out, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"d.test"}, Key: ca.Ed25519})
			if err != nil {
				t.Fatal(err)
			}
			b, err := ca.Open(t.Context(), ca.Dir(dir), "default", ca.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []ca.Entry{last, out.Entry} {
				if _, err := b.Find(e.Serial); err != nil {
					t.Error(err)
				}
			}
			if info, err := b.Info(); err != nil || len(info.Findings) > 0 || info.Counts.Issued != 4 {
				t.Errorf("%+v, %v", info.Findings, err)
			}
			if _, err := b.VerifyJournal(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMissingHeadIsTold(t *testing.T) {
	dir, _, _ := journal(t)
	head := filepath.Join(dir, "default", "journal.head")
	if err := os.Remove(head); err != nil {
		t.Fatal(err)
	}
	a, err := ca.Open(t.Context(), ca.Dir(dir), "default", ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := a.Info(); err != nil || slugs(info.Findings) != "authority_journal_torn/warning" {
		t.Errorf("%+v, %v", info.Findings, err)
	}
	if err := os.WriteFile(head, []byte("not JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Open(t.Context(), ca.Dir(dir), "default", ca.Options{}); code(err) != diag.AuthorityJournalBroken {
		t.Error(err)
	}
}

// The journal spreads over several Secrets, each small enough for Kubernetes, and is read as one.
func TestSecretsStayBelowTheirBound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := ca.Secrets(dir, "edge")
	create(t, s, ca.Setup{Key: ca.Ed25519}, ca.Options{})
	var all bytes.Buffer
	mark, err := s.Journal("default", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.ReadFrom(mark); err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 100_000)
	for range 30 {
		if err := s.Append("default", int64(all.Len()), line); err != nil {
			t.Fatal(err)
		}
		all.Write(line)
	}
	for _, from := range []int64{0, 5, 600_000, int64(all.Len()) - 3, int64(all.Len())} {
		r, err := s.Journal("default", from)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), all.Bytes()[from:]) {
			t.Errorf("from %d: %d bytes, %v", from, got.Len(), err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil || st.Size() > 4<<20/3+8192 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, mode %o, %v", f, st.Size(), st.Mode().Perm(), err)
		}
	}
	// Cut in an early part, as after a crash.
	if err := s.Append("default", 700_000, []byte("end")); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	r, err := s.Journal("default", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.ReadFrom(r); err != nil || got.Len() != 700_003 || !bytes.HasSuffix(got.Bytes(), []byte("xend")) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if err := s.Put("default", "large", make([]byte, 1<<20)); code(err) != diag.AuthorityStoreFull {
		t.Error(err)
	}
	if names, err := s.Authorities(); err != nil || len(names) != 1 || names[0] != "default" {
		t.Errorf("%v %v", names, err)
	}
}
