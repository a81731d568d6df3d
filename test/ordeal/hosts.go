//go:build linux

package ordeal

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/outside"
)

// Bounds of the certificate caches in Hosts.
const (
	leafMemory = 512 << 10
	leafDisk   = 2 << 20
)

// Hosts intercepts n destinations, each with a name and certificate of its own, with caches for a fraction of them.
func Hosts(t *testing.T, n, memory int) {
	dir := filepath.Join(t.TempDir(), "leaves")
	p := setUp(t, setting{idle: time.Second / 2, interception: fmt.Sprintf("    memoryBytes: %d\n    diskPath: %s\n    diskBytes: %d\n", leafMemory, dir, leafDisk)})
	visit := func(from, to int) {
		var next atomic.Int64
		next.Store(int64(from))
		var failed sync.Map
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				c := outside.NewClient(p.g.Addr(port), p.mesh.Pool(), false)
				for i := next.Add(1) - 1; i < int64(to); i = next.Add(1) - 1 {
					if err := c.Get(fmt.Sprintf("host-%05d.test", i), "/"); err != nil {
						failed.Store(i, err)
					}
				}
			})
		}
		wg.Wait()
		failed.Range(func(i, err any) bool {
			p.Errorf("host %d: %v", i, err)
			return false
		})
	}
	begin := time.Now()
	visit(0, n/2)
	half := p.memory()
	visit(n/2, n)
	whole := p.memory()
	kept, bytes := p.metric("hakone_mint_kept", `where="memory"`), p.metric("hakone_mint_kept_bytes", `where="memory"`)
	onDisk, diskBytes := p.metric("hakone_mint_kept", `where="disk"`), p.metric("hakone_mint_kept_bytes", `where="disk"`)
	minted := p.metric("hakone_mint_leaves_total", `result="minted"`)
	p.Logf("%d hosts in %v (%.0f a second with clients and destinations on the same cores): %.0f leaves made; %.0f kept in %.0f KiB of memory, %.0f in %.1f MiB of disk (du %.1f MiB); resident %d MiB after the half, %d after all",
		n, time.Since(begin).Round(time.Second), float64(n)/time.Since(begin).Seconds(), minted, kept, bytes/1024, onDisk, diskBytes/(1<<20), float64(used(t, dir))/(1<<20), half, whole)
	if minted < float64(n) {
		p.Errorf("%.0f leaves were made for %d hosts", minted, n)
	}
	if bytes > leafMemory || kept == 0 || kept > float64(n)/2 {
		p.Errorf("%.0f leaves with %.0f bytes are kept in memory, bound %d", kept, bytes, leafMemory)
	}
	if diskBytes > leafDisk || onDisk == 0 || float64(used(t, dir)) > 1.25*leafDisk {
		p.Errorf("%.0f leaves with %.0f bytes are kept on disk, where %d are in use; bound %d", onDisk, diskBytes, used(t, dir), leafDisk)
	}
	if whole > memory || whole > half*3/2+16 {
		p.Errorf("%d MiB are resident after %d hosts and %d after half of them; bound %d", whole, n, half, memory)
	}
	p.await("connections to destinations that have closed them to be let go of", func() bool {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.g.PID()))
		return err == nil && len(open) < 100
	})
	visit(0, min(n, 200)) // forgotten meanwhile, and made again
}

// used returns the bytes of files below dir, in blocks.
func used(t *testing.T, dir string) (sum int64) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += (info.Size() + 4095) &^ 4095
			}
		}
		return nil // files may go while they are counted
	})
	return sum
}
