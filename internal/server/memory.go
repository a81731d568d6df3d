package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/hakone-gateway/hakone/internal/overload"
)

// Bounds between which the collector is made thriftier. A small heap is collected so rarely that
// headroom costs nothing; a large one is mostly idle connections and configuration, which live long, and
// each of their bytes would cost a second one of headroom.
const (
	smallHeap = 12 << 20
	largeHeap = 24 << 20

	smallPercent = 100 // Go's default
	largePercent = 50
)

// tuneMemory keeps the collector's headroom fit for the size of the heap, and its limit for the bound
// on memory, until ctx ends. Where the user has set GOGC or GOMEMLIMIT it leaves that alone.
func tuneMemory(ctx context.Context, bound uint64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(overload.Limit(bound)))
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := smallPercent
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		metrics.Read(live)
		if want := percent(live[0].Value.Uint64()); want != set {
			set = want
			debug.SetGCPercent(want)
		}
	}
}

// percent returns the headroom for a heap of so many live bytes, in steps of ten.
func percent(live uint64) int {
	switch {
	case live <= smallHeap:
		return smallPercent
	case live >= largeHeap:
		return largePercent
	}
	part := int((live - smallHeap) * (smallPercent - largePercent) / (largeHeap - smallHeap))
	return smallPercent - part/10*10
}
