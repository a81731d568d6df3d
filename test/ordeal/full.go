//go:build linux

package ordeal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/outside"
)

// smallDisk mounts a file system of some bytes and removes it when the test ends.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatalf("mount a small file system, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill leaves no room in dir, and returns how it is made again.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for len(block) > 0 {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() { _ = os.Remove(path) }
}

// retryLeaves is how long made certificates are not written after a failure.
const retryLeaves = 30 * time.Second

// Full takes the room away from the access log, the records and the made certificates, and gives it back.
func Full(t *testing.T, length time.Duration) {
	disk := smallDisk(t, 32<<20)
	p := setUp(t, setting{interception: fmt.Sprintf("    diskPath: %s\n    diskBytes: 4194304\n", filepath.Join(disk, "leaves")),
		args: []string{"--access-log", filepath.Join(disk, "access.log"), "--log-store", filepath.Join(disk, "records"), "--log-store-size", "16MiB"}})
	traffic := outside.Run(p.g.Addr(port), p.mesh.Pool(), 2, 2*time.Millisecond)
	defer traffic.Stop()
	newHosts, n := p.client(false), 0
	visit := func() {
		for range 20 {
			n++
			if err := newHosts.Get(fmt.Sprintf("new-%d.test", n), "/"); err != nil {
				p.Errorf("a new host: %v", err)
			}
		}
	}
	visit()
	time.Sleep(length)
	calm := traffic.Lap()
	p.unharmed("with room", calm)
	if n := p.metric("hakone_access_log_dropped_total"); n > 0 {
		p.Errorf("%.0f lines of the access log are lost while there is room", n)
	}
	empty := fill(t, disk)
	visit()
	time.Sleep(length)
	full := traffic.Lap()
	p.unharmed("without room", full)
	if full.Median > 4*calm.Median+25*time.Millisecond {
		p.Errorf("without room requests take %v, before it were %v", full.Median, calm.Median)
	}
	for _, words := range [][]string{{"access log cannot be written", "no space left"}, {"HK2325", "no space left"}} {
		p.g.AwaitStderr(words...)
	}
	p.await("metrics to tell", func() bool {
		return p.metric("hakone_access_log_dropped_total") > 0 && p.metric("hakone_mint_disk_failing") == 1
	})
	p.await("the store of records to tell", func() bool { visit(); return p.metric("hakone_log_store_failing") == 1 })
	p.Logf("without room: %.0f lines of the access log lost, %.0f leaves not kept, %.0f records lost; health: %s", p.metric("hakone_access_log_dropped_total"),
		p.metric("hakone_mint_disk_dropped_total"), p.metric("hakone_log_store_dropped_total"), strings.TrimSpace(p.g.Get("/readyz")))
	empty()
	size := func() int64 {
		info, err := os.Stat(filepath.Join(disk, "access.log"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	p.await("the access log to go on", func() bool { return size() > before })
	p.await("records to be kept again", func() bool { return p.metric("hakone_log_store_failing") == 0 })
	if length >= retryLeaves/4 { // tried again that late
		for end := time.Now().Add(2 * retryLeaves); p.metric("hakone_mint_disk_failing") != 0; time.Sleep(time.Second) {
			if visit(); time.Now().After(end) {
				p.Fatal("made certificates are not kept on disk again")
			}
		}
	}
	p.unharmed("with room again", traffic.Stop())
}
