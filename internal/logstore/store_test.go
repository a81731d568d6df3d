package logstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// running opens a store and runs it until the test or stop ends.
func running(t testing.TB, opt Options) (s *Store, stop func()) {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// request returns a record with an ID that ended at a time.
func request(id string, at time.Time) *telemetry.Access {
	a := sampleAccess()
	a.ID, a.Start, a.Duration = []byte(id), at.Add(-time.Millisecond), time.Millisecond
	return a
}

// pull returns the IDs of a span.
func pull(t testing.TB, src Source, span Span) []string {
	t.Helper()
	parts, err := src.parts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWalker(parts, span)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var ids []string
	last := int64(0)
	for {
		r, _ := w.next()
		if r == nil {
			break
		}
		if endOf(r) < last {
			t.Errorf("%s comes too late", keyOf(r))
		}
		last = endOf(r)
		ids = append(ids, string(keyOf(r)))
	}
	if w.damaged != 0 {
		t.Errorf("%d places are damaged", w.damaged)
	}
	return ids
}

func flush(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestPullsATime keeps records of an hour and asks for a minute, in memory, in files, and in the files
// from outside.
func TestPullsATime(t *testing.T) {
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "logs")} {
		s, stop := running(t, Options{Dir: dir, Size: 64 << 20})
		for i := range 3600 {
			a := request(fmt.Sprintf("id-%d", i), begin.Add(time.Duration(i)*time.Second))
			a.Conn = uint64(i % 7) // different shards
			s.Access(a)
			if i%500 == 0 {
				flush(t, s)
			}
		}
		minute := Span{begin.Add(10 * time.Minute).UnixNano(), begin.Add(11 * time.Minute).UnixNano()}
		check := func(src Source) {
			t.Helper()
			if ids := pull(t, src, Always()); len(ids) != 3600 || ids[0] != "id-0" || ids[3599] != "id-3599" {
				t.Errorf("all: %d records", len(ids))
			}
			if ids := pull(t, src, minute); len(ids) != 60 || ids[0] != "id-600" || ids[59] != "id-659" {
				t.Errorf("a minute: %v", ids)
			}
			found, err := Find(t.Context(), src, "id-1234")
			if err != nil || len(found.Requests) != 1 || string(found.Requests[0].ID) != "id-1234" || found.Requests[0].Pool != "ns/pool" {
				t.Errorf("by RayID: %v, %+v", err, found)
			}
			if found, err := Find(t.Context(), src, "id-"); err != nil || len(found.Requests) != 0 {
				t.Errorf("an unknown RayID: %v, %+v", err, found)
			}
		}
		check(s)
		if st := s.State(); st.Records != 3600 || st.Dropped != 0 || st.Bytes == 0 || st.Oldest.Before(begin) || st.Trouble != nil {
			t.Errorf("state: %+v", st)
		}
		if dir == "" {
			continue
		}
		folder, err := OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		check(folder) // while the process writes
		stop()
		check(folder)
		s, _ = running(t, Options{Dir: dir, Size: 64 << 20})
		check(s)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if st, err := e.Info(); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", e.Name(), st.Mode(), err)
			}
		}
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("the folder: %v, %v", st.Mode(), err)
		}
	}
}

// TestHandshakesAreFound finds the handshakes of a connection, of the right run.
func TestHandshakesAreFound(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, Options{Dir: dir})
	h := sampleRefusal()
	h.Time = time.Now()
	s.Handshake(h)
	good := *h
	good.Conn, good.Code = 10, 0
	s.Handshake(&good)
	up := good
	up.Side = telemetry.Upstream
	s.Handshake(&up)
	a := request("ray", time.Now())
	a.Conn = 10
	s.Access(a)
	found, err := Find(t.Context(), s, "ray")
	if err != nil || len(found.Runs) != 1 {
		t.Fatalf("%v, %+v", err, found)
	}
	run := found.Runs[0]
	stop()
	again, _ := running(t, Options{Dir: dir})
	for conn, want := range map[uint64]int{9: 1, 10: 1, 11: 0} {
		f, err := FindConn(t.Context(), again, run, conn)
		if err != nil || len(f.Handshakes) != want {
			t.Errorf("connection %d: %v, %d handshakes", conn, err, len(f.Handshakes))
		}
	}
	if f, _ := FindConn(t.Context(), again, run+1, 9); len(f.Handshakes) != 0 {
		t.Error("a handshake of another run")
	}
}

// TestBounds keeps less than it may in memory and in files, and drops the oldest.
func TestBounds(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s, _ := running(t, Options{Dir: dir, Size: 4 << 20})
		begin := time.Now().Add(-time.Hour)
		n := 0
		for batch := range 60 {
			for range 500 {
				a := request(fmt.Sprintf("id-%d", n), begin.Add(time.Duration(n)*time.Millisecond))
				a.UserAgent = randomBytes(uint64(n), 400)
				s.Access(a)
				n++
			}
			flush(t, s)
			if st := s.State(); st.Bytes > 4<<20 || st.Dropped != 0 {
				t.Fatalf("batch %d: %+v", batch, st)
			}
		}
		ids := pull(t, s, Always())
		if len(ids) < 3000 || len(ids) > 25000 || ids[len(ids)-1] != fmt.Sprintf("id-%d", n-1) {
			t.Errorf("dir %q: %d records, last %s", dir, len(ids), ids[len(ids)-1])
		}
		var onDisk int64
		if dir != "" {
			files, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
			for _, f := range files {
				st, _ := os.Stat(f)
				onDisk += st.Size()
			}
			if onDisk > 4<<20 {
				t.Errorf("%d bytes on the disk", onDisk)
			}
		}
	}
}

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = mix(seed + 1)
		b[i] = byte(seed)
	}
	return b
}

// TestAge removes segments whose records are all too old.
func TestAge(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, Options{Dir: dir})
	for i := range 10 {
		s.Access(request(fmt.Sprint("old-", i), time.Now().Add(-48*time.Hour)))
	}
	stop()
	s, stop = running(t, Options{Dir: dir, Age: 24 * time.Hour})
	s.Access(request("new", time.Now()))
	if ids := pull(t, s, Always()); len(ids) != 1 || ids[0] != "new" {
		t.Errorf("before removal: %v", ids)
	}
	s.keeper.(*disk).sweep(time.Now())
	stop()
	if numbers, _ := segmentNumbers(dir); len(numbers) != 1 {
		t.Errorf("%d segments are left", len(numbers))
	}
}

// TestQuietHoursAreCompacted makes a block for each record, as quiet hours do, and looks at the file.
func TestQuietHoursAreCompacted(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, Options{Dir: dir})
	for i := range 300 {
		s.Access(request(fmt.Sprintf("id-%d", i), time.Now().Add(time.Duration(i)*time.Millisecond)))
		flush(t, s)
	}
	before := s.State().Bytes
	stop()
	sf, err := openSegment(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	defer sf.close()
	if len(sf.blocks) > 2 || !sf.sealed {
		t.Errorf("%d blocks, sealed %v", len(sf.blocks), sf.sealed)
	}
	if st, _ := os.Stat(filepath.Join(dir, segmentName(1))); st.Size() > before/3 {
		t.Errorf("%d of %d bytes are left", st.Size(), before)
	}
	folder, _ := OpenFolder(dir)
	if ids := pull(t, folder, Always()); len(ids) != 300 {
		t.Errorf("%d records", len(ids))
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	running(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), ErrLocked.Error()) {
		t.Errorf("%v", err)
	}
	if _, err := OpenFolder(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there")
	}
	if _, err := OpenFolder(t.TempDir()); err == nil {
		t.Error("a folder without segments")
	}
}

// TestDoesNotWait hands over more than may wait, while nobody writes.
func TestDoesNotWait(t *testing.T) {
	s, err := Open(Options{Bound: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	a := request("x", time.Now())
	for range 10_000 {
		a.Conn++
		s.Access(a)
	}
	if d := s.State().Dropped; d == 0 || d == 10_000 {
		t.Errorf("%d dropped", d)
	}
}

// TestQueryOverStore runs the seed's scenario: a request that is let in, one that is refused, and a
// handshake that is refused.
func TestQueryOverStore(t *testing.T) {
	s, _ := running(t, Options{})
	at := time.Date(2026, 1, 2, 15, 4, 5, 67_000_000, time.UTC)
	in := request("ray-1", at)
	in.Target = []byte("/test1")
	out := request("ray-2", at.Add(10*time.Second))
	out.Target, out.Status, out.Code, out.PolicyCode, out.PolicyVerdict, out.PeerOffered = []byte("/test1"), 403, diag.ClientCertMissing, diag.ClientCertMissing, "deny", ""
	shake := sampleRefusal()
	shake.Time = at.Add(20 * time.Second)
	s.Access(in)
	s.Access(out)
	s.Handshake(shake)
	get := func(pairs ...string) string {
		t.Helper()
		v := map[string][]string{"start": {"2026-01-03T00:00:00+09:00"}, "end": {"2026-01-03T01:00:00+09:00"}, "timestamps": {"rfc3339"}}
		for i := 0; i < len(pairs); i += 2 {
			v[pairs[i]] = []string{pairs[i+1]}
		}
		q, err := ParseQuery(v, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := q.Write(t.Context(), s, &b, nil); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const nine = `{"ClientIP":"192.0.2.1","ClientRequestHost":"a.test","ClientRequestMethod":"GET","ClientRequestURI":"/test1","EdgeEndTimestamp":"2026-01-02T15:04:05Z","EdgeResponseBytes":1345,"EdgeResponseStatus":200,"EdgeStartTimestamp":"2026-01-02T15:04:05Z","RayID":"ray-1"}
{"ClientIP":"192.0.2.1","ClientRequestHost":"a.test","ClientRequestMethod":"GET","ClientRequestURI":"/test1","EdgeEndTimestamp":"2026-01-02T15:04:15Z","EdgeResponseBytes":1345,"EdgeResponseStatus":403,"EdgeStartTimestamp":"2026-01-02T15:04:15Z","RayID":"ray-2"}
{"ClientIP":"192.0.2.1","ClientRequestHost":"a.test","ClientRequestMethod":"","ClientRequestURI":"","EdgeEndTimestamp":"2026-01-02T15:04:25Z","EdgeResponseBytes":0,"EdgeResponseStatus":0,"EdgeStartTimestamp":"2026-01-02T15:04:25Z","RayID":""}
`
	if got := get(); got != nine {
		t.Errorf("the nine fields:\n%swant\n%s", got, nine)
	}
	for _, c := range []struct {
		want  string
		pairs []string
	}{
		{`{"RayID":"ray-2","MTLSVerdict":"deny","MTLSReason":"client_cert_missing","MTLSCode":"HK2101","ClientMTLSAuthStatus":"absent"}` + "\n",
			[]string{"status", "4xx", "fields", "RayID,MTLSVerdict,MTLSReason,MTLSCode,ClientMTLSAuthStatus"}},
		{`{"ReasonCode":"HK2101","Kind":"request"}` + "\n" + `{"ReasonCode":"HK2101","Kind":"handshake"}` + "\n", []string{"code", "client_cert_missing", "fields", "ReasonCode,Kind"}},
		{`{"Kind":"handshake","ClientSNI":"a.test","ClientTLSVersion":"1.3","MTLSReason":"client_cert_missing","MTLSVerdict":"deny"}` + "\n",
			[]string{"kind", "handshake", "fields", "kind,ClientSNI,ClientTLSVersion,MTLSReason,MTLSVerdict"}},
		{`{"RayID":"ray-1"}` + "\n", []string{"count", "1", "fields", "RayID"}},
		{"", []string{"count", "0"}},
		{`{"EdgeEndTimestamp":1767366245067000000}` + "\n", []string{"count", "1", "fields", "EdgeEndTimestamp", "timestamps", "unixnano"}},
		{`{"EdgeEndTimestamp":1767366245}` + "\n", []string{"count", "1", "fields", "EdgeEndTimestamp", "timestamps", "unix"}},
		{"", []string{"host", "b.test"}},
		{"", []string{"start", "2026-01-02T15:04:05.068Z", "end", "2026-01-02T15:04:15.067Z"}}, // the end is not in it
		{`{"RayID":"ray-1"}` + "\n", []string{"start", "2026-01-02T15:04:05.067Z", "end", "2026-01-02T15:04:15.067Z", "fields", "RayID"}},
		{`{"ClientSSLProtocol":"TLSv1.3","ClientSSLCipher":"TLS_AES_128_GCM_SHA256","OriginSSLProtocol":"TLSv1.3","OriginIP":"127.0.0.1","EdgeTimeToFirstByteMs":4,"OriginPool":"ns/pool","OriginName":"origin-1","ClientTLSGroup":"X25519"}` + "\n",
			[]string{"count", "1", "fields", "ClientSSLProtocol,ClientSSLCipher,OriginSSLProtocol,OriginIP,EdgeTimeToFirstByteMs,OriginPool,OriginName,ClientTLSGroup"}},
	} {
		if got := get(c.pairs...); got != c.want {
			t.Errorf("%v:\n%swant\n%s", c.pairs, got, c.want)
		}
	}
	all := get("fields", allNames(), "kind", "all")
	for line := range strings.Lines(all) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || len(m) != len(Fields()) {
			t.Errorf("%v: %s", err, line)
		}
	}
}

func allNames() string {
	var names []string
	for _, f := range Fields() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ",")
}

// TestOrder sorts what is nearly in order, and what is not at all.
func TestOrder(t *testing.T) {
	for _, far := range []int{0, 3, 100, 5000} {
		e := make([]entry, 3000)
		for i := range e {
			e[i].end = int64(i)
			if far > 0 {
				e[i].end -= int64(mix(uint64(i)) % uint64(far))
			}
		}
		order(e)
		for i := 1; i < len(e); i++ {
			if e[i].end < e[i-1].end {
				t.Fatalf("up to %d out of place: entry %d is before its time", far, i)
			}
		}
	}
}
