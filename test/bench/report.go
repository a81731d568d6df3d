//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is a workload with what was measured.
type row struct {
	workload
	samples map[string][]sample
}

// spread is the median and range of some values.
type spread struct{ Median, Min, Max float64 }

func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return spread{}
	}
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + m) / 2
	}
	return spread{m, v[0], v[len(v)-1]}
}

func (r row) spread(target string, of func(sample) float64) (spread, bool) {
	var v []float64
	for _, s := range r.samples[target] {
		v = append(v, of(s))
	}
	return spreadOf(v), len(v) > 0
}

func value(s sample) float64 { return s.Value }

// best returns the peer with the lower median.
func (r row) best(peers []string) (string, bool) {
	name, lowest, found := "", spread{}, false
	for _, peer := range peers {
		if s, ok := r.spread(peer, value); ok && (!found || s.Median < lowest.Median) {
			name, lowest, found = peer, s, true
		}
	}
	return name, found
}

// ratios returns ours by the peer's, round by round: the machine's speed drifts between rounds more than
// within one.
func (r row) ratios(peer string) spread {
	var v []float64
	for i, s := range r.samples[hakone] {
		if i < len(r.samples[peer]) {
			v = append(v, s.Value/r.samples[peer][i].Value)
		}
	}
	return spreadOf(v)
}

// verdict compares the ratio with the target. It is met, or missed, for certain only if it is in every
// round.
func verdict(ratio spread, target float64) string {
	switch {
	case target == 0:
		return "–"
	case ratio.Max <= target:
		return "met"
	case ratio.Median <= target:
		return "met, not in every round"
	case ratio.Min > target:
		return fmt.Sprintf("missed by %.0f %%", 100*(ratio.Median/target-1))
	}
	return fmt.Sprintf("missed by %.0f %%, not in every round", 100*(ratio.Median/target-1))
}

// change compares with another version of ours.
func change(ratio spread) string {
	switch {
	case ratio.Min > 1:
		return "dearer"
	case ratio.Max < 1:
		return "cheaper"
	}
	return "no difference in every round"
}

// report is the result as Markdown.
func (b *bench) report(rows []row, sizes string) string {
	var w strings.Builder
	fmt.Fprintf(&w, "Run on %s. %s\n\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), machine())
	fmt.Fprintf(&w, "%s\n\n", strings.Join(b.versions(), " · "))
	rounds := fmt.Sprintf("%d interleaved rounds after a discarded one; median (min–max)", b.opt.rounds)
	fmt.Fprintf(&w, "%s. Highest load average between measurements: %.1f.\n\n", rounds, b.highest)
	if b.highest > 3.5 {
		fmt.Fprintf(&w, "**The machine did other work meanwhile; read ratios, and those with care.**\n\n")
	}
	var deployments []deployment
	for _, r := range rows {
		deployments = append(deployments, r.Deploy)
	}
	names := append([]string{hakone}, b.peers(deployments...)...)
	fmt.Fprintf(&w, "| | workload | unit | %s | ratio to the better | target | verdict |\n|---|---|---|---|---|---%s|\n",
		strings.Join(names, " | "), strings.Repeat("|---", len(names)))
	for _, r := range rows {
		fmt.Fprintf(&w, "| %s | %s | %s |", r.ID, r.Name, r.Unit)
		for _, t := range names {
			s, ok := r.spread(t, value)
			switch {
			case !ok:
				fmt.Fprint(&w, " – |")
			case len(r.samples[t]) == 1:
				fmt.Fprintf(&w, " %.3g |", s.Median)
			default:
				fmt.Fprintf(&w, " %.3g (%.3g–%.3g) |", s.Median, s.Min, s.Max)
			}
		}
		peer, ok := r.best(names[1:])
		if !ok {
			fmt.Fprintln(&w, " – | – | – |")
			continue
		}
		ratio := r.ratios(peer)
		target, judged := "–", verdict(ratio, r.Target)
		switch {
		case peer == before:
			judged = change(ratio)
		case r.Target > 0:
			target = fmt.Sprintf("%.2f", r.Target)
		}
		shown := fmt.Sprintf("%.2f", ratio.Median)
		if ratio.Min < ratio.Max {
			shown += fmt.Sprintf(" (%.2f–%.2f)", ratio.Min, ratio.Max)
		}
		fmt.Fprintf(&w, " %s | %s | %s |\n", shown, target, judged)
	}
	fmt.Fprintf(&w, "\n%s\n", sizes)
	b.details(&w, rows, names)
	return w.String()
}

// details are what is reported and not judged.
func (b *bench) details(w *strings.Builder, rows []row, names []string) {
	fmt.Fprintln(w, "\nMedians that are not judged: use of the proxy's core(s), rate, 99th percentile.")
	fmt.Fprintln(w)
	fmt.Fprintf(w, "| | workload | %s |\n|---|---%s|\n", strings.Join(names, " | "), strings.Repeat("|---", len(names)))
	for _, r := range rows {
		if r.Once {
			continue
		}
		fmt.Fprintf(w, "| %s | %s |", r.ID, r.Name)
		for _, t := range names {
			busy, ok := r.spread(t, func(s sample) float64 { return s.Busy })
			rate, _ := r.spread(t, func(s sample) float64 { return s.Rate })
			p99, _ := r.spread(t, func(s sample) float64 { return s.P99 })
			if !ok {
				fmt.Fprint(w, " – |")
				continue
			}
			fmt.Fprintf(w, " %.0f %% · %s/s · %s ms", 100*busy.Median, number(rate.Median), number(p99.Median/1000))
			if share, _ := r.spread(t, func(s sample) float64 { return s.Share }); share.Max > 0 {
				fmt.Fprintf(w, " · %.4g %% resumed", 100*share.Median)
			}
			fmt.Fprint(w, " |")
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "\nField names that the upstream sees, from a client that sends Host and User-Agent:")
	fmt.Fprintln(w)
	for _, t := range slices.Sorted(maps.Keys(b.fields)) {
		fmt.Fprintf(w, "- %s: %s\n", t, b.fields[t])
	}
	if len(b.notes) > 0 {
		fmt.Fprintln(w, "\nNotes:")
		fmt.Fprintln(w)
		for _, n := range b.notes {
			fmt.Fprintf(w, "- %s\n", n)
		}
	}
}

// number prints three digits that count, without an exponent.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// sizes measures the stripped binary and the memory of an idle process with one host.
func (b *bench) sizes() (string, error) {
	st, err := os.Stat(b.opt.bin)
	if err != nil {
		return "", err
	}
	out := fmt.Sprintf("Binary: %.1f MB (at most 65).", float64(st.Size())/1e6)
	if sections, err := exec.Command("readelf", "-S", b.opt.bin).Output(); err == nil && bytes.Contains(sections, []byte(".debug_info")) {
		out = fmt.Sprintf("Binary: %.1f MB, not stripped.", float64(st.Size())/1e6)
	}
	b.current = workload{Deploy: deployment{Cores: 2}}
	stop, err := b.startUpstreams()
	if err != nil {
		return "", err
	}
	defer stop()
	t, err := startTarget(hakone, setup{Dir: b.dir, PKI: b.pki, Host: host, Plain: b.upstream, TLS: b.tls, Cores: 2, AccessLog: true, Binary: b.opt.bin})
	if err != nil {
		return "", err
	}
	defer t.stop()
	if _, _, err := b.get(b.spec(t.ECDSA), pathSmall); err != nil {
		return "", err
	}
	time.Sleep(3 * time.Second)
	return out + fmt.Sprintf(" Idle resident memory with one host on four ports, after a request: %.1f MB (at most 45).", float64(t.smaps("Rss:"))/1e6), nil
}

func machine() string {
	model := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	kernel, _, _ := strings.Cut(string(bytes.TrimSpace(release)), "-")
	return fmt.Sprintf("%s, %d cores, Linux %s.", model, runtime.NumCPU(), kernel)
}

// versions names the programs and the TLS library that each uses.
func (b *bench) versions() []string {
	first := func(match string, args ...string) string {
		out, _ := exec.Command(args[0], args[1:]...).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, match) {
				return strings.TrimSpace(line)
			}
		}
		return filepath.Base(args[0]) + ": unknown version"
	}
	v := []string{first("", b.opt.bin, "version")}
	v = append(v, first("nginx version", program(nginx), "-V")+" ("+first("OpenSSL", program(nginx), "-V")+")")
	v = append(v, first("version", program(haproxy), "-vv")+" ("+first("Running on OpenSSL", program(haproxy), "-vv")+")")
	v = append(v, first("Squid Cache", program(squid), "-v"))
	return append(v, first("wrk", "wrk", "-v"), first("h2load", "h2load", "--version"))
}
