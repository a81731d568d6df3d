//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// squid is what W11 compares with.
const squid = "squid"

// egress is what the deployments of W11 share: the destination and its certificates.
type egress struct {
	PKI                       *egressPKI
	TLS, Plain, Stats, Hellos int // ports of the destination
}

// egressWorkloads are the way out, beside Squid: four doors of each proxy, for each kind of CA
// one that peeks at the client's hello first and one that intercepts at step 1, by the name in CONNECT.
func egressWorkloads() []workload {
	d := deployment{Cores: 1, Log: true, Egress: true}
	kept := func(host, path string, plain bool, conns int, share int) func(*bench, *target) (sample, error) {
		return func(b *bench, t *target) (sample, error) {
			return b.tunnelled(t, t.ECDSA, loadSpec{Kind: loadTunnelsKept, Conns: conns, Count: b.opt.requests / share, Path: path}, egressSpec{Host: host, Plain: plain})
		}
	}
	fresh := func(host string, door func(doors) int, path string) func(*bench, *target) (sample, error) {
		return func(b *bench, t *target) (sample, error) {
			return b.tunnelled(t, door(t.doors), loadSpec{Kind: loadTunnels, Conns: 8, Count: b.opt.handshakes, Path: path}, egressSpec{Host: host})
		}
	}
	const warm, spliced, other = "warm." + domainBump, "warm." + domainSplice, prefixNew + "%d." + domainBump
	rows := []workload{
		{ID: "W11", Name: "bumped, kept tunnels, 1 KiB", Unit: "µs/request", Target: 1, Deploy: d, run: kept(warm, pathSmall, false, 32, 4)},
	}
	for _, from := range []struct {
		what string
		door func(doors) int
	}{
		{"peeked, ECDSA CA", doorECDSA}, {"peeked, RSA CA", doorRSA}, {"at step 1, ECDSA CA", func(d doors) int { return d.MTLS }}, {"at step 1, RSA CA", func(d doors) int { return d.MTLSEnd }},
	} {
		rows = append(rows,
			workload{ID: "W11", Name: "bumped " + from.what + ", a tunnel for each request, one host", Unit: "µs/connection", Target: 1, Deploy: d, run: fresh(warm, from.door, pathSmall)},
			workload{ID: "W11", Name: "bumped " + from.what + ", each tunnel to a new host", Unit: "µs/connection", Target: 1, Deploy: d, run: fresh(other, from.door, pathSmall)})
	}
	return append(rows, []workload{
		{ID: "W11", Name: "spliced, 10 MiB bodies", Unit: "s/GiB", Target: 1, Deploy: d, run: splicedBulk},
		{ID: "W11", Name: "spliced, a tunnel for each 1 KiB", Unit: "µs/connection", Target: 1, Deploy: d, run: fresh(spliced, doorECDSA, pathSmall)},
		{ID: "W11", Name: "spliced, the same with a hello alone instead of TLS", Unit: "µs/connection", Target: 1, Deploy: d, run: func(b *bench, t *target) (sample, error) {
			return b.tunnelled(t, t.ECDSA, loadSpec{Kind: loadHellos, Conns: 16, Count: 6 * b.opt.handshakes}, egressSpec{Host: spliced})
		}},
		{ID: "W11", Name: "cache hits, plain, 1 KiB", Unit: "µs/request", Target: 1, Deploy: d, run: kept(warm, pathKept, true, 32, 2)},
		{ID: "W11", Name: "cache hits, plain, 64 KiB", Unit: "µs/request", Target: 1, Deploy: d, run: kept(warm, pathKeptLarge, true, 32, 6)},
		{ID: "W11", Name: "cache hits, bumped, 1 KiB", Unit: "µs/request", Target: 1, Deploy: d, run: kept(warm, pathKept, false, 32, 2)},
		{ID: "W11", Name: "cache hits, bumped, 64 KiB", Unit: "µs/request", Target: 1, Deploy: d, run: kept(warm, pathKeptLarge, false, 32, 6)},
		{ID: "W11", Name: "idle spliced tunnel", Unit: "KiB/tunnel", Target: 1, Deploy: deployment{Cores: 1, Log: true, Egress: true, Fresh: 1}, Once: true, run: idleTunnels(spliced)},
		{ID: "W11", Name: "idle bumped tunnel", Unit: "KiB/tunnel", Target: 1, Deploy: deployment{Cores: 1, Log: true, Egress: true, Fresh: 2}, Once: true, run: idleTunnels(warm)},
	}...)
}

// idleTunnelCount is how many tunnels are held for the memory of one.
const idleTunnelCount = 1000

// tunnelled runs a loader of tunnels.
func (b *bench) tunnelled(t *target, door int, s loadSpec, e egressSpec) (sample, error) {
	b.aim(t, door, &s, &e)
	res, _, err := b.loaded(t, s)
	return res, err
}

// aim fills in where clients go, and deals names that t has not seen.
func (b *bench) aim(t *target, door int, s *loadSpec, e *egressSpec) {
	e.Proxy, e.Port = t.address(door), b.egress.TLS
	switch {
	case e.Plain:
		e.Port = b.egress.Plain
	case s.Kind == loadHellos:
		e.Port = b.egress.Hellos
	}
	e.From = b.dealt[t.name]
	b.dealt[t.name] += s.Count + 8*s.Conns
	s.Egress = e
}

func splicedBulk(b *bench, t *target) (sample, error) {
	count := int(b.opt.bulkBytes / bulkBytes)
	s, err := b.tunnelled(t, t.ECDSA, loadSpec{Kind: loadTunnelsKept, Conns: 4, Count: count, Path: pathBulk}, egressSpec{Host: "warm." + domainSplice})
	const gib = float64(1 << 30)
	s.Value *= gib / bulkBytes / 1e6
	s.Rate *= bulkBytes / gib
	return s, err
}

// idleTunnels measures the memory that tunnels hold some seconds after their last request.
func idleTunnels(host string) func(*bench, *target) (sample, error) {
	return func(b *bench, t *target) (sample, error) {
		// Code and tables come into memory with the first tunnels.
		if _, err := b.tunnelled(t, t.ECDSA, loadSpec{Kind: loadTunnels, Conns: 8, Count: 200, Path: pathSmall}, egressSpec{Host: host}); err != nil {
			return sample{}, err
		}
		time.Sleep(b.opt.settle)
		s, e := loadSpec{Kind: loadTunnelsIdle, Conns: idleTunnelCount, Path: pathSmall}, egressSpec{Host: host}
		b.aim(t, t.ECDSA, &s, &e)
		text, err := json.Marshal(s)
		if err != nil {
			return sample{}, err
		}
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
		if n := t.established(t.ECDSA); n < idleTunnelCount {
			return sample{}, fmt.Errorf("%s keeps %d of %d idle tunnels", t.name, n, idleTunnelCount)
		}
		return sample{Value: float64(held) / 1024 / idleTunnelCount}, nil
	}
}

// startDestination starts the destination of W11.
func (b *bench) startDestination() (stop func(), err error) {
	if b.egress == nil {
		p, err := newEgressPKI(b.pki)
		if err != nil {
			return nil, err
		}
		b.egress = &egress{PKI: p}
	}
	e := b.egress.PKI
	d, err := start(command{Name: "destination", Dir: b.dir, CPU: b.loadCPU(), Real: b.opt.realTime, Env: []string{"GOMAXPROCS=1", "GOGC=400"},
		Args: []string{b.self, "-role", "destination", "-spec", strings.Join([]string{e.Wild, e.WildKey, e.Untrue, e.UntrueKey, b.pki.CA, filepath.Join(b.dir, "ca.key")}, ",")}})
	if err != nil {
		return nil, err
	}
	line, err := d.line()
	if err == nil {
		_, err = fmt.Sscan(line, &b.egress.TLS, &b.egress.Plain, &b.egress.Stats, &b.egress.Hellos)
	}
	if err != nil {
		d.stop()
		return nil, err
	}
	return d.stop, nil
}
