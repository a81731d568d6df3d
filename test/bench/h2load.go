//go:build linux

package main

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"
)

// multiplexed loads pathSmall over HTTP/2: conns connections with streams requests at once on each.
func multiplexed(conns, streams int) func(*bench, *target) (sample, error) {
	return func(b *bench, t *target) (sample, error) {
		return b.h2load(t, 0, "-c", strconv.Itoa(conns), "-m", strconv.Itoa(streams), "--npn-list=h2")
	}
}

// atRate loads pathSmall over HTTP/1.1 with so many requests a second in all, which is below what any
// of the targets can serve: what counts there is the cost of waking up for little.
func atRate(conns, rate int) func(*bench, *target) (sample, error) {
	return func(b *bench, t *target) (sample, error) {
		return b.h2load(t, rate, "-c", strconv.Itoa(conns), "-m", "1", "--h1", fmt.Sprintf("--rps=%.3f", float64(rate)/float64(conns)))
	}
}

// h2load makes twice the round's requests and measures from its
// start to its end: the handshakes of its connections are a hundredth of the work, the same for all.
func (b *bench) h2load(t *target, rate int, args ...string) (sample, error) {
	n := 2 * b.opt.requests
	all := append([]string{"h2load", "-t1", "-n", strconv.Itoa(n), "--ciphers=ECDHE-ECDSA-AES128-GCM-SHA256", "--groups=X25519",
		fmt.Sprintf("--connect-to=127.0.0.1:%d", t.ECDSA)}, args...)
	from, err := readCounts(b.upstream)
	if err != nil {
		return sample{}, err
	}
	cpu, begin := t.cpu(), time.Now()
	p, err := start(command{Name: "h2load", Dir: b.dir, CPU: b.loadCPU(), Real: b.opt.realTime, Args: append(all, fmt.Sprintf("https://%s:%d%s", host, t.ECDSA, pathSmall))})
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	profile := b.profile(t)
	text, err := io.ReadAll(p.out)
	if err != nil {
		return sample{}, err
	}
	used, took := t.cpu()-cpu, time.Since(begin)
	profile()
	if err := h2loadReport(string(text), n); err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", t.name, err, t.tail())
	}
	to, err := readCounts(b.upstream)
	if err != nil {
		return sample{}, err
	}
	s := sample{Busy: used.Seconds() / took.Seconds(), Rate: float64(n) / took.Seconds(), Conns: to.Conns - from.Conns}
	s.Value = float64(used.Nanoseconds()) / 1000 / float64(n)
	if rate > 0 && s.Rate < 0.9*float64(rate) {
		b.note("%s served %.0f requests a second of %d", t.name, s.Rate, rate)
	}
	if served := to.Requests - from.Requests; served != uint64(n) {
		return s, fmt.Errorf("%s sent %d requests to the upstream for %d", t.name, served, n)
	}
	return s, nil
}

// h2loadReport returns an error unless all n requests were answered with 2xx.
func h2loadReport(text string, n int) error {
	m := regexp.MustCompile(`status codes: (\d+) 2xx`).FindStringSubmatch(text)
	if m == nil || m[1] != strconv.Itoa(n) {
		return fmt.Errorf("h2load did not get %d good answers:\n%s", n, text)
	}
	return nil
}
