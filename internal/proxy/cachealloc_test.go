//go:build !race

package proxy

import "testing"

// TestCacheHitAllocatesNothing counts what the whole process allocates for a hit. Under the race detector pools
// forget at random.
func TestCacheHitAllocatesNothing(t *testing.T) {
	ask := hitter(t, false, 1<<10, setup{})
	for range 20 {
		ask()
	}
	if n := testing.AllocsPerRun(500, ask); n >= 1 {
		t.Errorf("%v allocations for a hit", n)
	}
}
