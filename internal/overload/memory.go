package overload

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
)

// heapReader returns a function that asks the runtime for the bytes that heap and stacks take. What is
// garbage but not yet collected counts; keep the collector's limit below the bound (see Limit).
func heapReader() func() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"}}
	return func() uint64 {
		metrics.Read(samples)
		var sum uint64
		for _, s := range samples {
			sum += s.Value.Uint64()
		}
		return sum
	}
}

// collector returns a function that runs the garbage collector unless it has run by itself since the
// last call. Where everything is refused nothing is allocated, and what was let go would count as held
// until the collector happens to run.
func collector() func() {
	cycles := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	var last uint64
	return func() {
		metrics.Read(cycles)
		if n := cycles[0].Value.Uint64(); n == last {
			runtime.GC()
		}
		metrics.Read(cycles)
		last = cycles[0].Value.Uint64()
	}
}

// Limit returns the limit for Go's collector that belongs to a bound: from three quarters of it on the
// collector works harder, so that the levels show what is held and not what waits to be collected.
// Zero bound, no limit.
func Limit(bound uint64) int64 {
	if bound == 0 || bound > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(bound / 4 * 3)
}

// DefaultMemory returns the default bound: what belongs to the collector's limit if the user has set
// one (GOMEMLIMIT), else three quarters of what the control group allows or of the machine's memory.
// Zero if neither is known.
func DefaultMemory() uint64 {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		return uint64(limit) / 3 * 4
	}
	return allowed(os.DirFS("/")) / 4 * 3
}

// allowed returns the bytes that the process may use: the least of its control groups' limits (v2 and
// v1) and the machine's memory; 0 if nothing is known.
func allowed(root fs.FS) uint64 {
	least := memTotal(root)
	take := func(file string) {
		b, err := fs.ReadFile(root, file)
		if err != nil {
			return
		}
		// "max" is no number; v1 writes an absurdly large one.
		if n, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64); err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return least
	}
	for line := range strings.Lines(string(groups)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		base, name := "", ""
		switch {
		case part[0] == "0" && part[1] == "":
			base, name = "sys/fs/cgroup", "memory.max"
		case part[1] == "memory":
			base, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// Inside a container the path may be that of the host, which does not exist here; the root is
		// then the container's own group.
		for dir := path.Clean("/" + part[2]); ; dir = path.Dir(dir) {
			take(path.Join(base, dir, name))
			if dir == "/" {
				break
			}
		}
	}
	return least
}

// memTotal returns the machine's memory, 0 if it is unknown.
func memTotal(root fs.FS) uint64 {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) >= 2 && f[0] == "MemTotal:" {
			n, err := strconv.ParseUint(f[1], 10, 53)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// defaultConnections leaves a quarter of the process's file descriptors to upstreams, files and the
// admin address: else clients that do nothing but connect could keep us from all of them.
func defaultConnections() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur > 1<<31-1 {
		return 1<<31 - 1
	}
	return max(int(l.Cur/4*3), 1)
}
