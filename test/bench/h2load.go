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

// h2load makes twice the round's requests and measures a window in the middle of them.
func (b *bench) h2load(t *target, rate int, args ...string) (sample, error) {
	all := append([]string{"h2load", "-t1", "-n", strconv.Itoa(2 * b.opt.requests), "--ciphers=ECDHE-ECDSA-AES128-GCM-SHA256", "--groups=X25519",
		fmt.Sprintf("--connect-to=127.0.0.1:%d", t.ECDSA)}, args...)
	p, err := start(command{Name: "h2load", Dir: b.dir, CPU: b.loadCPU(), Real: b.opt.realTime, Args: append(all, fmt.Sprintf("https://%s:%d%s", host, t.ECDSA, pathSmall))})
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	if err := b.underWay(t, uint64(b.opt.requests/3)); err != nil {
		return sample{}, err
	}
	s, err := b.window(t, false)
	if err != nil {
		return s, err
	}
	text, _ := io.ReadAll(p.out)
	if rate > 0 && s.Rate < 0.95*float64(rate) {
		return s, fmt.Errorf("%s served %.0f requests a second of %d", t.name, s.Rate, rate)
	}
	return s, h2loadReport(string(text), 2*b.opt.requests)
}

// underWay waits until n requests of the load that was just started have been served.
func (b *bench) underWay(t *target, n uint64) error {
	from, err := readCounts(b.upstream)
	if err != nil {
		return err
	}
	for range 600 {
		time.Sleep(20 * time.Millisecond)
		to, err := readCounts(b.upstream)
		if err != nil {
			return err
		}
		if to.Requests-from.Requests >= n {
			return nil
		}
	}
	return fmt.Errorf("%s serves too little to be measured:\n%s", t.name, t.tail())
}

// h2loadReport returns an error unless all n requests were answered with 2xx.
func h2loadReport(text string, n int) error {
	m := regexp.MustCompile(`status codes: (\d+) 2xx`).FindStringSubmatch(text)
	if m == nil || m[1] != strconv.Itoa(n) {
		return fmt.Errorf("h2load did not get %d good answers:\n%s", n, text)
	}
	return nil
}
