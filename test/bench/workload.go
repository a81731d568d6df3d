//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// workload is one row of the table.
type workload struct {
	ID     string // W1 …, as -only names it
	Name   string
	Unit   string
	Target float64 // ratio to the better peer that is asked for; 0: reported only
	Quick  bool
	Deploy deployment
	Once   bool // one measurement of each target instead of rounds
	Pinned bool // the proxy's core should be busy throughout
	run    func(*bench, *target) (sample, error)
	only   []string // targets; nil: all
}

// deployment is how targets are started; workloads of the same one share the processes.
type deployment struct {
	Cores int
	Log   bool
	Bulk  bool
	Fresh int  // tells apart deployments that must not share processes
	Edge  bool // with the doors of edge.go
	List  bool // with the revocation list

	Stream bool // the one door of stream.go
	Egress bool // the two doors of egress.go
}

func (d deployment) String() string {
	if d.Egress {
		return fmt.Sprintf("%d core(s), access log %t, forward proxy", d.Cores, d.Log)
	}
	if d.Stream {
		return fmt.Sprintf("%d core(s), access log %t, TCP", d.Cores, d.Log)
	}
	return fmt.Sprintf("%d core(s), access log %t, tuned for bulk %t, policies %t, revocation list %t", d.Cores, d.Log, d.Bulk, d.Edge, d.List)
}

// sample is one measurement.
type sample struct {
	Value float64 // in the workload's unit, less is better
	Busy  float64 // share of its cores that the proxy used
	Rate  float64 // requests, handshakes or GiB per second
	P99   float64 // µs; 0: unknown
	Conns uint64  // upstream connections opened meanwhile
	Share float64 // of the handshakes that resumed a session; 0: not asked for
}

func workloads() []workload {
	one := deployment{Cores: 1, Log: true}
	keepAlive := func(b *bench, t *target) (sample, error) { return b.wrk(t, pathSmall, 64) }
	return slices.Concat([]workload{
		{ID: "W1", Name: "HTTPS/1.1 keep-alive, 1 KiB, one core", Unit: "µs/request", Target: 0.92, Quick: true, Deploy: one, Pinned: true, run: keepAlive},
		{ID: "W1", Name: "the same without access log", Unit: "µs/request", Deploy: deployment{Cores: 1}, Pinned: true, run: keepAlive},
		{ID: "W1", Name: "the same, two cores, not pinned", Unit: "µs/request", Target: 1.0, Deploy: deployment{Cores: 2, Log: true}, run: keepAlive},
		{ID: "W2", Name: "HTTPS/1.1 keep-alive, 1 KiB, mTLS both sides", Unit: "µs/request", Target: 0.88, Deploy: one, Pinned: true, run: mutualKeepAlive},
		{ID: "W3", Name: "HTTP/2, 10 connections of 32 streams, 1 KiB", Unit: "µs/request", Target: 1.2, Quick: true, Deploy: one, Pinned: true, run: multiplexed(10, 32)},
		{ID: "W3", Name: "HTTP/2, 64 connections of 1 stream, 1 KiB", Unit: "µs/request", Target: 1.0, Quick: true, Deploy: one, Pinned: true, run: multiplexed(64, 1)},
		{ID: "W3", Name: "10 × 32 without access log", Unit: "µs/request", Deploy: deployment{Cores: 1}, Pinned: true, run: multiplexed(10, 32)},
		{ID: "W3", Name: "64 × 1 without access log", Unit: "µs/request", Deploy: deployment{Cores: 1}, Pinned: true, run: multiplexed(64, 1)},
		{ID: "W4", Name: "full TLS 1.3 handshake, ECDSA P-256", Unit: "µs/connection", Target: 0.90, Quick: true, Deploy: one, run: handshakes(loadSpec{}, doorECDSA)},
		{ID: "W4", Name: "resumed TLS 1.3 handshake", Unit: "µs/connection", Target: 0.90, Quick: true, Deploy: one, run: handshakes(loadSpec{Resume: true}, doorECDSA)},
		{ID: "W4", Name: "full handshake with client certificate", Unit: "µs/connection", Target: 0.55, Quick: true, Deploy: one, run: mutualHandshakes},
		{ID: "W4", Name: "full handshake, RSA-2048", Unit: "µs/connection", Target: 2.2, Quick: true, Deploy: one, run: handshakes(loadSpec{}, doorRSA)},
		{ID: "W4", Name: "full handshake, X25519MLKEM768 (Hakone only)", Unit: "µs/connection", Deploy: one, run: handshakes(loadSpec{Hybrid: true}, doorECDSA), only: []string{hakone}},
		{ID: "W5", Name: "10 MiB bodies", Unit: "s/GiB", Target: 0.92, Deploy: deployment{Cores: 1, Log: true, Bulk: true}, Pinned: true, run: bulk},
		{ID: "W8", Name: "HTTPS/1.1 keep-alive, 1 KiB, 30,000 requests a second", Unit: "µs/request", Target: 1.0, Deploy: one, run: atRate(64, 30_000)},
		{ID: "W7", Name: "idle connection after a small request", Unit: "KiB/connection", Target: 1.3, Deploy: deployment{Cores: 1, Log: true, Fresh: 1}, Once: true, run: idle(0)},
		{ID: "W7", Name: "idle connection after a 64 KiB upload", Unit: "KiB/connection", Target: 2.2, Deploy: deployment{Cores: 1, Log: true, Fresh: 2}, Once: true, run: idle(64 << 10)},
	}, streamWorkloads(), edgeWorkloads(), egressWorkloads())
}

func doorECDSA(d doors) int { return d.ECDSA }
func doorRSA(d doors) int   { return d.RSA }

// readCounts asks the upstream what it has served.
func readCounts(port int) (counts, error) {
	var c counts
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, pathStats))
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return c, err
	}
	_, err = fmt.Sscan(string(b), &c.Conns, &c.Requests, &c.Bytes)
	return c, err
}

// wrk loads one path over keep-alive connections and measures a window in the middle of it: from the
// first request after the warm-up to the one that makes the count full.
func (b *bench) wrk(t *target, path string, conns int) (sample, error) {
	return b.wrkURL(t, fmt.Sprintf("https://%s:%d%s", host, t.ECDSA, path), path == pathBulk, conns)
}

// wrkURL is wrk for any URL; bytes says that bytes are counted and not requests.
func (b *bench) wrkURL(t *target, url string, bytes bool, conns int) (sample, error) {
	w, err := start(command{Name: "wrk", Dir: b.dir, CPU: b.loadCPU(), Real: b.opt.realTime, Args: []string{"wrk", "-t1", "-c", strconv.Itoa(conns), "-d", "60s", "--latency", url}})
	if err != nil {
		return sample{}, err
	}
	defer w.stop()
	if err := b.warm(t); err != nil {
		return sample{}, err
	}
	s, err := b.window(t, bytes)
	if err != nil {
		return s, err
	}
	_ = w.cmd.Process.Signal(syscall.SIGINT)
	text, _ := io.ReadAll(w.out)
	if s.P99, err = wrkReport(string(text)); err != nil {
		return s, fmt.Errorf("%w\n%s", err, text)
	}
	return s, nil
}

// warm waits until the load that was just started is under way.
func (b *bench) warm(t *target) error {
	from, err := readCounts(b.upstream)
	if err != nil {
		return err
	}
	for range 200 {
		time.Sleep(50 * time.Millisecond)
		to, err := readCounts(b.upstream)
		if err != nil {
			return err
		}
		if to.Requests-from.Requests > 8 {
			time.Sleep(600 * time.Millisecond)
			return nil
		}
	}
	return fmt.Errorf("%s serves nothing:\n%s", t.name, t.tail())
}

// reading is what the upstream has served and what t has used, at one moment: if the benchmark itself
// had to wait in between, it reads again.
func (b *bench) reading(t *target) (c counts, used time.Duration, err error) {
	for range 100 {
		begin := time.Now()
		before := t.cpu()
		if c, err = readCounts(b.upstream); err != nil {
			return c, 0, err
		}
		used = before + (t.cpu()-before)/2
		if time.Since(begin) < 8*time.Millisecond {
			return c, used, nil
		}
		time.Sleep(3 * time.Millisecond)
	}
	b.note("the machine was too busy to read counters at one moment")
	return c, used, nil
}

// window measures until the upstream has served the round's requests, or bytes, for 20 seconds at most.
func (b *bench) window(t *target, bytes bool) (sample, error) {
	from, cpu, err := b.reading(t)
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	profile := b.profile(t)
	for {
		time.Sleep(100 * time.Millisecond)
		to, end, err := b.reading(t)
		if err != nil {
			return sample{}, err
		}
		done := to.Requests-from.Requests >= uint64(b.opt.requests)
		if bytes {
			done = to.Bytes-from.Bytes >= uint64(b.opt.bulkBytes)
		}
		if !done && time.Since(begin) < 20*time.Second {
			continue
		}
		used, took := end-cpu, time.Since(begin)
		profile()
		if to.Requests == from.Requests {
			return sample{}, fmt.Errorf("%s served nothing in %v:\n%s", t.name, took, t.tail())
		}
		s := sample{Busy: used.Seconds() / took.Seconds(), Conns: to.Conns - from.Conns}
		s.Value = float64(used.Nanoseconds()) / 1000 / float64(to.Requests-from.Requests)
		s.Rate = float64(to.Requests-from.Requests) / took.Seconds()
		if gib := float64(to.Bytes-from.Bytes) / (1 << 30); bytes {
			s.Value, s.Rate = used.Seconds()/gib, gib/took.Seconds()
		}
		return s, nil
	}
}

// wrkReport returns the 99th percentile in µs, 0 if wrk knows none, and an error if wrk saw failures.
func wrkReport(text string) (float64, error) {
	if m := regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors: .*`).FindString(text); m != "" {
		if !regexp.MustCompile(`^Socket errors: connect 0, read 0, write 0, timeout \d+$`).MatchString(m) {
			return 0, fmt.Errorf("wrk: %s", m)
		}
	}
	if !strings.Contains(text, "requests in") {
		return 0, fmt.Errorf("wrk printed no result")
	}
	m := regexp.MustCompile(`99%\s+([0-9.]+)(us|ms|s)`).FindStringSubmatch(text)
	if m == nil {
		return 0, nil // it was ended while it calibrated its clock
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, err
	}
	return v * map[string]float64{"us": 1, "ms": 1000, "s": 1e6}[m[2]], nil
}

func bulk(b *bench, t *target) (sample, error) { return b.wrk(t, pathBulk, 8) }

// loaded runs a Go loader against t and measures from its start to its end.
func (b *bench) loaded(t *target, spec loadSpec) (sample, loadResult, error) {
	var res loadResult
	text, err := json.Marshal(spec)
	if err != nil {
		return sample{}, res, err
	}
	p, err := start(command{Name: "loader", Dir: b.dir, CPU: b.loadCPU(), Real: b.opt.realTime, Args: []string{b.self, "-role", "load", "-spec", string(text)},
		Env: []string{"GOMAXPROCS=1", "GOGC=400"}})
	if err != nil {
		return sample{}, res, err
	}
	defer p.stop()
	if _, err := p.line(); err != nil {
		return sample{}, res, err
	}
	time.Sleep(100 * time.Millisecond)
	cpu := t.cpu()
	profile := b.profile(t)
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		return sample{}, res, err
	}
	line, err := p.line()
	if err != nil {
		return sample{}, res, err
	}
	if err := json.Unmarshal([]byte(line), &res); err != nil {
		return sample{}, res, err
	}
	time.Sleep(50 * time.Millisecond) // what is left of the last connections
	used := t.cpu() - cpu
	profile()
	if res.Failed > 0 {
		return sample{}, res, fmt.Errorf("%s: %d of %d failed: %s\n%s", t.name, res.Failed, res.Count, res.Error, t.tail())
	}
	return sample{
		Value: float64(used.Nanoseconds()) / 1000 / float64(res.Count), Busy: used.Seconds() / res.Seconds,
		Rate: float64(res.Count) / res.Seconds, P99: res.P99,
	}, res, nil
}

func mutualKeepAlive(b *bench, t *target) (sample, error) {
	from, err := readCounts(b.tlsStats)
	if err != nil {
		return sample{}, err
	}
	s, _, err := b.loaded(t, loadSpec{Kind: loadKeepAlive, Port: t.MTLSEnd, Conns: 64, Count: b.opt.requests / 2, Path: pathSmall, Cert: b.pki.Client, Key: b.pki.ClientKey})
	if err != nil {
		return s, err
	}
	to, err := readCounts(b.tlsStats)
	s.Conns = to.Conns - from.Conns
	return s, err
}

func handshakes(spec loadSpec, door func(doors) int) func(*bench, *target) (sample, error) {
	return func(b *bench, t *target) (sample, error) {
		spec := spec
		spec.Kind, spec.Port, spec.Conns, spec.Count, spec.Path = loadHandshakes, door(t.doors), 8, b.opt.handshakes, pathSmall
		s, res, err := b.loaded(t, spec)
		if err == nil && spec.Resume && res.Resumed*100 < res.Count*99 {
			err = fmt.Errorf("%s resumed %d of %d sessions only", t.name, res.Resumed, res.Count)
		}
		if err == nil && !spec.Resume && res.Resumed > 0 {
			err = fmt.Errorf("%s resumed %d sessions unasked", t.name, res.Resumed)
		}
		return s, err
	}
}

func mutualHandshakes(b *bench, t *target) (sample, error) {
	return handshakes(loadSpec{Cert: b.pki.Client, Key: b.pki.ClientKey}, func(d doors) int { return d.MTLS })(b, t)
}

// idle measures the memory that connections hold some seconds after their last request.
func idle(upload int) func(*bench, *target) (sample, error) {
	return func(b *bench, t *target) (sample, error) {
		text, err := json.Marshal(loadSpec{Kind: loadIdle, Port: t.ECDSA, Conns: b.opt.idle, Path: pathSmall, Upload: upload})
		if err != nil {
			return sample{}, err
		}
		// Code and tables come into memory with the first connections.
		if _, _, err := b.loaded(t, loadSpec{Kind: loadHandshakes, Port: t.ECDSA, Conns: 8, Count: 200, Path: pathSmall}); err != nil {
			return sample{}, err
		}
		time.Sleep(b.opt.settle)
		before := t.memory()
		p, err := start(command{Name: "loader", Dir: b.dir, CPU: b.loadCPU(), Args: []string{b.self, "-role", "load", "-spec", string(text)}, Env: []string{"GOMAXPROCS=1"}})
		if err != nil {
			return sample{}, err
		}
		defer p.stop()
		if _, err := p.line(); err != nil {
			return sample{}, err
		}
		time.Sleep(b.opt.settle)
		held := t.memory() - before
		if n := t.established(t.ECDSA); n < b.opt.idle {
			return sample{}, fmt.Errorf("%s keeps %d of %d idle connections", t.name, n, b.opt.idle)
		}
		return sample{Value: float64(held) / 1024 / float64(b.opt.idle)}, nil
	}
}
