//go:build unix

package logstore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// helperFor names what this test binary does instead of its tests.
const helperFor = "HAKONE_LOGSTORE_HELPER"

func TestMain(m *testing.M) {
	switch mode, dir, _ := strings.Cut(os.Getenv(helperFor), ":"); mode {
	case "write":
		writeForever(dir)
	case "full":
		fillUp(dir)
	}
	os.Exit(m.Run())
}

// writeForever writes records and says after each flush how many are safe. It ends only by being killed.
func writeForever(dir string) {
	s, err := Open(Options{Dir: dir, Size: 8 << 20, Every: 20 * time.Millisecond})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	go func() { _ = s.Run(context.Background()) }()
	from := os.Getpid()
	for n := 0; ; n++ {
		s.Access(request(fmt.Sprintf("%d-%d", from, n), time.Now()))
		if n%97 == 96 {
			if s.Flush(context.Background()) == nil {
				fmt.Println("safe", from, n)
			}
		}
	}
}

// TestKill kills a writer at random moments, thirty times in one folder. Whatever it had said to be safe
// is there, and all that is pulled is whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 30 {
		begun := time.Now()
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), helperFor+"=write:"+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		safe := make(chan int, 1)
		go func() {
			last := -1
			for lines := bufio.NewScanner(out); lines.Scan(); {
				words := strings.Fields(lines.Text())
				if len(words) == 3 && words[0] == "safe" {
					last, _ = strconv.Atoi(words[2])
				}
			}
			safe <- last
		}()
		time.Sleep(time.Duration(10+rand.IntN(40)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		last := <-safe
		_ = cmd.Wait()
		folder, err := OpenFolder(dir)
		if err != nil {
			if last < 0 {
				continue // killed before it began
			}
			t.Fatal(err)
		}
		ids := map[string]int{}
		for line := range strings.Lines(pullJSON(t, folder, begun)) {
			var m struct{ RayID string }
			if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &m) != nil || m.RayID == "" {
				t.Fatalf("round %d: a torn line: %q", round, line)
			}
			ids[m.RayID]++
		}
		for n := range last + 1 {
			if c := ids[fmt.Sprintf("%d-%d", cmd.Process.Pid, n)]; c != 1 {
				t.Fatalf("round %d: record %d of %d is there %d times", round, n, last, c)
			}
		}
	}
	s, _ := running(t, Options{Dir: dir, Size: 8 << 20})
	s.Access(request("after", time.Now()))
	ids := pull(t, s, Always())
	if ids[len(ids)-1] != "after" || len(ids) < 100 {
		t.Errorf("after all that: %d records", len(ids))
	}
}

func pullJSON(t *testing.T, src Source, since time.Time) string {
	t.Helper()
	q, err := ParseQuery(map[string][]string{"start": {strconv.FormatInt(since.UnixNano(), 10)}, "fields": {"RayID"}}, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := q.Write(t.Context(), src, &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fillUp writes to a folder whose files may not grow as it likes, then to one that has room again.
func fillUp(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := Open(Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	put := func(name string, n int) {
		for i := range n {
			a := request(fmt.Sprintf("%s-%d", name, i), time.Now())
			a.UserAgent = randomBytes(uint64(i), 400)
			s.Access(a)
		}
		_ = s.Flush(ctx)
	}
	put("before", 100)
	limit := unix.Rlimit{Cur: 16 << 10, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	put("during", 1000)
	st := s.State()
	if st.Trouble == nil || st.Trouble.Code != diag.LogStoreFull || st.Dropped == 0 {
		fmt.Printf("during: %+v\n", st)
		os.Exit(1)
	}
	limit.Cur = unix.RLIM_INFINITY
	_ = unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	put("after", 100)
	if st = s.State(); st.Trouble != nil || st.Records+st.Dropped != 1200 {
		fmt.Printf("after: %+v\n", st)
		os.Exit(1)
	}
	cancel()
	if err := <-done; err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestFullDisk has a process that finds no room: it says so, counts, and goes on when there is room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperFor+"=full:"+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	folder, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, id := range pull(t, folder, Always()) {
		kind, _, _ := strings.Cut(id, "-")
		count[kind]++
	}
	if count["before"] != 100 || count["after"] != 100 || count["during"] == 1000 {
		t.Errorf("%v", count)
	}
}

// TestFolderGone takes the folder away under the store.
func TestFolderGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	s, stop := running(t, Options{Dir: dir, Size: LeastSize})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.Access(request("x", time.Now()))
	flush(t, s)
	if st := s.State(); st.Trouble == nil || st.Trouble.Code != diag.LogStoreWrite || st.Dropped != 1 {
		t.Errorf("%+v", st)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Access(request("y", time.Now()))
	flush(t, s)
	if st := s.State(); st.Trouble != nil || st.Records != 1 {
		t.Errorf("%+v", st)
	}
	stop()
}
