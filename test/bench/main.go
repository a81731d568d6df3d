//go:build linux

// Command bench measures Hakone beside Debian's nginx and HAProxy, and as a forward proxy beside Squid, on the same
// machine in the same run: CPU time per request, handshake and byte, and memory per idle connection.
//
// For one core the proxy is alone on core 0; load and upstream are on core 1. Rounds are interleaved
// in alternating order and the first is discarded, because a machine's speed drifts. Before anything is
// timed, each target is checked to do the work (check.go). Begin reading at main, then workload.go for
// what is measured and peers.go for how the peers are set up. docs/benchmarks.md tells how to read the
// table.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// host is the name that all certificates have and all clients ask for.
const host = "localhost"

type options struct {
	bin, against         string
	out, only            string
	profile, pprof       string
	quick, realTime      bool
	rounds               int
	requests, handshakes int
	bulkBytes            int64
	idle                 int
	settle               time.Duration
}

// inRealTime is set in the environment of a benchmark that has real-time priority.
const inRealTime = "HAKONE_BENCH_REALTIME"

// becomeRealTime starts this program again, above the priority of what it will measure.
func becomeRealTime() error {
	chrt, err := exec.LookPath("chrt")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(chrt, append([]string{"chrt", "-r", "2", self}, os.Args[1:]...), append(os.Environ(), inRealTime+"=1"))
}

// bench is one run.
type bench struct {
	opt      options
	self     string // this program, which is also loader and upstream
	dir      string
	pki      *pki
	egress   *egress
	upstream int // port of the plain upstream
	tls      int // port of the upstream that wants client certificates
	tlsStats int // where that one tells its counters

	current  workload
	profiles int
	fields   map[string]string // target → names of the fields that its upstream sees
	dealt    map[string]int    // target → certificates of clients that it has seen
	notes    []string
	highest  float64 // load average between rounds
}

func main() {
	var opt options
	var role, spec string
	flag.StringVar(&opt.bin, "bin", "bin/hakone", "hakone's binary")
	flag.StringVar(&opt.against, "against", "", "another hakone binary to compare with, instead of the peers")
	flag.StringVar(&opt.out, "out", "", "file for the report, beside stdout")
	flag.StringVar(&opt.only, "only", "", "workloads to run, as W1,W5 (default: all)")
	flag.StringVar(&opt.profile, "profile", "", "folder for perf profiles of hakone; needs perf and a binary with symbols")
	flag.StringVar(&opt.pprof, "pprof", "", "folder for Go's CPU profiles of hakone, as make pgo merges them")
	flag.BoolVar(&opt.quick, "quick", false, "W1, W3 and W4 on one core with fewer rounds")
	flag.BoolVar(&opt.realTime, "rr", false, "run everything with real-time priority (needs root): less disturbed by other work on the machine")
	flag.IntVar(&opt.rounds, "rounds", 0, "rounds that count (default 11, with -quick 5)")
	flag.StringVar(&role, "role", "", "internal: what this process is (load, upstream, tls-upstream)")
	flag.StringVar(&spec, "spec", "", "internal: the role's task")
	flag.Parse()
	if err := run(opt, role, spec); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(opt options, role, spec string) error {
	switch role {
	case "load":
		return loadRole(spec)
	case "upstream":
		return runUpstream()
	case "destination":
		return runDestination(spec)
	case "tls-upstream":
		f := strings.Split(spec, ",")
		if len(f) != 3 {
			return fmt.Errorf("the upstream's task %q is no CERT,KEY,CA", spec)
		}
		return runTLSUpstream(f[0], f[1], f[2])
	}
	if opt.realTime && os.Getenv(inRealTime) == "" {
		return becomeRealTime()
	}
	runtime.LockOSThread() // children end with the thread that started them
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("this needs two cores, one for the proxy and one for load and upstream")
	}
	opt.requests, opt.handshakes, opt.bulkBytes, opt.idle, opt.settle = 60_000, 1_500, 2<<30, 4000, 10*time.Second
	if opt.rounds == 0 {
		opt.rounds = 11
		if opt.quick {
			opt.rounds = 5
			if opt.only == "W9" {
				opt.rounds = 3
			}
		}
	}
	for _, bin := range []*string{&opt.bin, &opt.against} {
		if *bin == "" {
			continue
		}
		abs, err := filepath.Abs(*bin)
		if err != nil {
			return err
		}
		*bin = abs
	}
	dir, err := os.MkdirTemp("", "hakone-bench-")
	if err != nil {
		return err
	}
	b := &bench{opt: opt, dir: dir, fields: map[string]string{}, dealt: map[string]int{}}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if err := b.all(); err != nil {
		return fmt.Errorf("%w\n(configurations and logs are kept in %s)", err, dir)
	}
	return os.RemoveAll(dir)
}

// peers are what hakone is compared with in some deployments.
func (b *bench) peers(of ...deployment) []string {
	if b.opt.against != "" {
		return []string{before}
	}
	var names []string
	if slices.ContainsFunc(of, func(d deployment) bool { return !d.Egress }) {
		names = append(names, nginx, haproxy)
	}
	if slices.ContainsFunc(of, func(d deployment) bool { return d.Egress }) {
		names = append(names, squid)
	}
	return names
}

func (b *bench) note(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if !slices.Contains(b.notes, s) {
		b.notes = append(b.notes, s)
		fmt.Fprintln(os.Stderr, "note:", s)
	}
}

func (b *bench) proxyCPU() string { return "0" }

// loadCPU is where load and upstream run; with two-core targets they may run anywhere, too.
func (b *bench) loadCPU() string {
	if b.current.Deploy.Cores == 1 {
		return "1"
	}
	return ""
}

// all runs the workloads that were asked for and writes the report.
func (b *bench) all() error {
	var err error
	if b.pki, err = newPKI(b.dir, host); err != nil {
		return err
	}
	var rows []row
	var groups [][]workload // in order, those of one deployment together
	for _, w := range workloads() {
		if b.opt.quick && b.opt.only == "" && !w.Quick || b.opt.only != "" && !slices.Contains(strings.Split(b.opt.only, ","), w.ID) {
			continue
		}
		if i := slices.IndexFunc(groups, func(g []workload) bool { return g[0].Deploy == w.Deploy }); i >= 0 {
			groups[i] = append(groups[i], w)
		} else {
			groups = append(groups, []workload{w})
		}
	}
	if len(groups) == 0 {
		return fmt.Errorf("no workload is called %q", b.opt.only)
	}
	for _, g := range groups {
		done, err := b.deploy(g)
		if err != nil {
			return err
		}
		rows = append(rows, done...)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.ID, b.ID) })
	size, err := b.sizes()
	if err != nil {
		return err
	}
	text := b.report(rows, size)
	fmt.Print(text)
	if b.opt.out == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(b.opt.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(b.opt.out, []byte(text), 0o644)
}

// deploy starts upstreams and targets, checks them, and measures the workloads of one deployment.
func (b *bench) deploy(group []workload) ([]row, error) {
	b.current = group[0]
	d := group[0].Deploy
	if d.Edge && b.pki.Cards == "" {
		if err := b.pki.issueCards(certificates); err != nil {
			return nil, fmt.Errorf("certificates of clients: %w", err)
		}
	}
	fmt.Fprintf(os.Stderr, "== %s\n", d)
	stop, err := b.startUpstreams()
	if err != nil {
		return nil, err
	}
	defer stop()
	var targets []*target
	if d.Egress {
		end, err := b.startDestination()
		if err != nil {
			return nil, err
		}
		defer end()
	}
	for _, name := range append([]string{hakone}, b.peers(d)...) {
		s := setup{Egress: b.egress, Dir: b.dir, PKI: b.pki, Host: host, Plain: b.upstream, TLS: b.tls, Cores: d.Cores, AccessLog: d.Log, Bulk: d.Bulk, Edge: d.Edge, List: d.List, Stream: d.Stream, Forward: d.Egress, RealTime: b.opt.realTime, Binary: b.opt.bin}
		if name == before {
			s.Binary = b.opt.against
		}
		if d.Cores == 1 {
			s.CPU = b.proxyCPU()
		}
		t, err := startTarget(name, s)
		if err != nil {
			return nil, err
		}
		defer t.stop()
		check := b.check
		if d.Edge {
			check = b.checkEdge
		}
		if d.Stream {
			check = b.checkStream
		}
		if d.Egress {
			check = b.checkEgress
		}
		if err := check(t); err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	var rows []row
	for _, w := range group {
		b.current = w
		r, err := b.rounds(w, targets)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", w.ID, w.Name, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func (b *bench) startUpstreams() (stop func(), err error) {
	c := command{Name: "upstream", Dir: b.dir, CPU: b.loadCPU(), Real: b.opt.realTime, Args: []string{b.self, "-role", "upstream"}, Env: []string{"GOMAXPROCS=1"}}
	plain, err := start(c)
	if err != nil {
		return nil, err
	}
	c.Name, c.Env = "tls-upstream", []string{"GOMAXPROCS=1", "GOGC=400"}
	c.Args = []string{b.self, "-role", "tls-upstream", "-spec", strings.Join([]string{b.pki.Server, b.pki.ServerKey, b.pki.CA}, ",")}
	mutual, err := start(c)
	if err != nil {
		plain.stop()
		return nil, err
	}
	stop = func() { plain.stop(); mutual.stop() }
	line, err := plain.line()
	if err == nil {
		_, err = fmt.Sscan(line, &b.upstream)
	}
	if err == nil {
		line, err = mutual.line()
	}
	if err == nil {
		_, err = fmt.Sscan(line, &b.tls, &b.tlsStats)
	}
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// rounds measures each target once per round, in alternating order, and drops the first round.
func (b *bench) rounds(w workload, targets []*target) (row, error) {
	r := row{workload: w, samples: map[string][]sample{}}
	n := b.opt.rounds + 1
	if w.Once {
		n = 1
	}
	order := slices.Clone(targets)
	for i := range n {
		for _, t := range order {
			if w.only != nil && !slices.Contains(w.only, t.name) {
				continue
			}
			s, err := w.run(b, t)
			if err != nil {
				return r, err
			}
			b.highest = max(b.highest, loadAverage())
			fmt.Fprintf(os.Stderr, "%s %-45s round %d %-8s %8.2f %s busy %3.0f %% rate %.5g p99 %.0f µs\n", w.ID, w.Name, i, t.name, s.Value, w.Unit, 100*s.Busy, s.Rate, s.P99)
			if i > 0 || w.Once {
				r.samples[t.name] = append(r.samples[t.name], s)
			}
			if s.Conns > 512 {
				return r, fmt.Errorf("%s opened %d upstream connections within one measurement", t.name, s.Conns)
			}
		}
		slices.Reverse(order)
	}
	for _, t := range targets {
		if busy, ok := r.spread(t.name, func(s sample) float64 { return s.Busy }); ok && w.Pinned && busy.Median < 0.85 {
			b.note("%s, %s: %s used %.0f %% of its core: load or upstream bounded it, which makes its requests look dearer", w.ID, w.Name, t.name, 100*busy.Median)
		}
	}
	return r, nil
}
