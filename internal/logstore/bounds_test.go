package logstore

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFollowersAreBoundedInBytes counts what waits, not only how often it came; one batch may be any size.
func TestFollowersAreBoundedInBytes(t *testing.T) {
	f := &follower{batches: make(chan []byte, followBound), done: make(chan struct{})}
	large := make([]byte, followBytes+1)
	for range 3 { // who keeps up may get them all
		f.offer(large)
		if b, err := f.next(t.Context()); err != nil || len(b) != len(large) {
			t.Fatal(err)
		}
	}
	half := make([]byte, followBytes/2)
	for range 3 {
		f.offer(half)
	}
	for range 2 {
		if b, err := f.next(t.Context()); err != nil || len(b) != len(half) {
			t.Fatal(err)
		}
	}
	if _, err := f.next(t.Context()); !errors.Is(err, ErrLagging) {
		t.Errorf("%v", err)
	}
}

// TestMissingFiles has somebody remove files that have no index yet: the rest is still told.
func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	s, _ := running(t, Options{Dir: dir})
	s.Access(request("gone", time.Now()))
	flush(t, s)
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.parts(t.Context()); err != nil {
		t.Error(err)
	}
	d := s.keeper.(*disk)
	s.mu.Lock()
	d.segments = append(d.segments, &segment{number: 999, sum: d.active.sum, blocks: d.active.blocks})
	s.mu.Unlock()
	if got := pull(t, s, Always()); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// TestCompleteSegmentsAreSynced also where the file was synced a moment ago.
func TestCompleteSegmentsAreSynced(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d := s.keeper.(*disk)
	for range 2 {
		s.Access(request("x", time.Now()))
		s.write()
	}
	if !d.dirty {
		t.Fatal("synced within a second")
	}
	d.rotate()
	if d.dirty {
		t.Error("a file was closed that is not synced")
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
}

// deadlines is a client's side that knows how long each write may take.
type deadlines struct {
	*httptest.ResponseRecorder
	until   time.Time
	without int
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.until = t
	return nil
}

func (d *deadlines) Write(b []byte) (int, error) {
	if time.Until(d.until) <= 0 {
		d.without++
	}
	return d.ResponseRecorder.Write(b)
}

// TestAnswersHaveADeadline bounds each write, and leaves no deadline to the next request.
func TestAnswersHaveADeadline(t *testing.T) {
	s, _ := running(t, Options{})
	s.Access(request("x", time.Now()))
	for _, accept := range []string{"", "gzip"} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest(http.MethodGet, "/zones/all/logs/received?start=1h&count=1&follow=true", nil)
		r.SetPathValue("zone", "all")
		r.Header.Set("Accept-Encoding", accept)
		NewHandler(s).Received(w, r)
		if w.without != 0 || !w.until.IsZero() || w.Body.Len() < 10 {
			t.Errorf("%q: %d writes without deadline, %v at the end, %q", accept, w.without, w.until, w.Body)
		}
	}
}
