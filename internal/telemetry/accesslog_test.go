package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	fail error
}

func (w *buffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return 0, w.fail
	}
	return w.b.Write(p)
}

func (w *buffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func open(t *testing.T, opt LogOptions) *AccessLog {
	t.Helper()
	l, err := OpenLog(opt)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// during runs f beside the log and returns when the log has ended.
func during(t *testing.T, l *AccessLog, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	f()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLinesArriveWithinTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := new(buffer)
		l := open(t, LogOptions{Stdout: out})
		during(t, l, func() {
			synctest.Wait()
			l.Access(sampleAccess())
			synctest.Wait()
			if out.String() != "" {
				t.Error("a line is written at once: nothing is gathered")
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if n := strings.Count(out.String(), "\n"); n != 1 {
				t.Errorf("%d lines after the interval", n)
			}
			l.Handshake(sampleRefusal())
			l.Handshake(&Handshake{Listener: "*:443"})
		})
		if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "HK2101") {
			t.Errorf("at the end: %s", out)
		}
	})
}

func TestNoLineIsLostOrTorn(t *testing.T) {
	out := new(buffer)
	l := open(t, LogOptions{Stdout: out, Every: time.Millisecond})
	const connections, each = 8, 200
	during(t, l, func() {
		var wg sync.WaitGroup
		for c := range connections {
			wg.Go(func() {
				a := sampleAccess()
				a.Conn = uint64(c)
				for i := range each {
					a.BytesSent = int64(i)
					l.Access(a)
				}
			})
		}
		wg.Wait()
	})
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	seen := map[string]bool{}
	for _, line := range lines {
		if !strings.HasPrefix(line, `{"ts"`) || !strings.HasSuffix(line, "}") || strings.Count(line, `{"ts"`) != 1 {
			t.Fatalf("torn line %q", line)
		}
		seen[line] = true
	}
	if len(lines) != connections*each || len(seen) != connections*each || l.Dropped() != 0 {
		t.Errorf("%d lines, %d different, %d dropped", len(lines), len(seen), l.Dropped())
	}
}

func TestSlowDestinationDropsAndCounts(t *testing.T) {
	out := new(buffer)
	l := open(t, LogOptions{Stdout: out, Bound: 16 << 10})
	const sent = 5000
	for range sent { // nobody writes yet
		l.Access(sampleAccess())
	}
	waiting := 0
	for i := range l.shards {
		waiting += len(l.shards[i].pending)
	}
	if l.Dropped() == 0 || waiting > 16<<10+1024*len(l.shards) {
		t.Errorf("%d dropped, %d bytes wait", l.Dropped(), waiting)
	}
	during(t, l, func() {})
	if n := strings.Count(out.String(), "\n"); uint64(n)+l.Dropped() != sent {
		t.Errorf("%d written and %d dropped of %d", n, l.Dropped(), sent)
	}
}

func TestFailingDestinationIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		l := open(t, LogOptions{Stdout: &buffer{fail: errors.New("disk full")}, Logger: slog.New(slog.NewTextHandler(&told, nil))})
		during(t, l, func() {
			for range 3 {
				l.Access(sampleAccess())
				time.Sleep(time.Second)
			}
		})
		if l.Dropped() != 3 || strings.Count(told.String(), "disk full") != 1 {
			t.Errorf("%d dropped, told %q", l.Dropped(), told.String())
		}
	})
}

func TestReopenFollowsRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := open(t, LogOptions{Path: path, Every: time.Millisecond})
	read := func(p string) string { b, _ := os.ReadFile(p); return string(b) }
	during(t, l, func() {
		l.Access(sampleAccess())
		for deadline := time.Now().Add(5 * time.Second); read(path) == "" && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		l.Handshake(sampleRefusal())
	})
	if !strings.Contains(read(path+".1"), "request") || !strings.Contains(read(path), "handshake") {
		t.Errorf("old %q, new %q", read(path+".1"), read(path))
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, opt := range []LogOptions{{Format: "xml"}, {Path: "/nonexistent/dir/log"}} {
		if _, err := OpenLog(opt); err == nil {
			t.Errorf("%+v is accepted", opt)
		}
	}
}

func TestHandshakeLogSumsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := new(buffer)
		l := NewHandshakeLog(slog.New(slog.NewTextHandler(out, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for i := range 100 {
			h := sampleRefusal()
			h.Remote = mustAddr(t, fmt.Sprintf("192.0.2.%d:1", i))
			l.Handshake(h)
		}
		far := sampleRefusal()
		far.Remote = mustAddr(t, "198.51.100.1:1")
		l.Handshake(far)
		l.Handshake(&Handshake{Side: Downstream})
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines at first: %s", n, out)
		}
		time.Sleep(11 * time.Second)
		if !strings.Contains(out.String(), "count=99") || strings.Count(out.String(), "again") != 1 {
			t.Errorf("no sum: %s", out)
		}
		time.Sleep(30 * time.Second) // forgotten by then
		l.Handshake(far)
		if n := strings.Count(out.String(), "198.51.100.1"); n != 2 {
			t.Errorf("a case long ago is not told again: %s", out)
		}
		cancel()
		<-done
	})
}

func TestHandshakeLogIsBounded(t *testing.T) {
	out := new(buffer)
	l := NewHandshakeLog(slog.New(slog.NewTextHandler(out, nil)))
	for i := range maxCases + 50 {
		h := sampleRefusal()
		h.Hello.SNI = fmt.Sprintf("%d.test", i)
		l.Handshake(h)
	}
	l.sum()
	if len(l.cases) != maxCases || !strings.Contains(out.String(), "count=50") {
		t.Errorf("%d cases", len(l.cases))
	}
}

func TestHealthChecksAreQuiet(t *testing.T) {
	out := new(buffer)
	l := NewHandshakeLog(slog.New(slog.NewTextHandler(out, nil)))
	l.Handshake(&Handshake{Code: diag.ClosedBeforeHello})
	if out.String() != "" {
		t.Errorf("logged %s", out)
	}
}
