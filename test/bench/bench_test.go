//go:build linux

package main

import (
	"bytes"
	"testing"
)

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		ratio  spread
		target float64
		want   string
	}{
		{spread{0.7, 0.6, 0.8}, 0.9, "met"},
		{spread{0.7, 0.6, 0.95}, 0.9, "met, not in every round"},
		{spread{0.99, 0.95, 1.1}, 0.9, "missed by 10 %"},
		{spread{0.99, 0.85, 1.1}, 0.9, "missed by 10 %, not in every round"},
		{spread{2, 2, 2}, 0, "–"},
	} {
		if got := verdict(c.ratio, c.target); got != c.want {
			t.Errorf("verdict(%v, %v) = %q, want %q", c.ratio, c.target, got, c.want)
		}
	}
}

func TestRowComparesWithTheBetterPeerRoundByRound(t *testing.T) {
	of := func(values ...float64) (s []sample) {
		for _, v := range values {
			s = append(s, sample{Value: v})
		}
		return s
	}
	r := row{samples: map[string][]sample{hakone: of(1, 3, 8), nginx: of(2, 6, 8), haproxy: of(9, 9, 1)}}
	peer, ok := r.best([]string{nginx, haproxy})
	if !ok || peer != nginx {
		t.Fatalf("the better peer is %q", peer)
	}
	if got, want := r.ratios(peer), (spread{0.5, 0.5, 1}); got != want {
		t.Errorf("ratios are %v, want %v", got, want)
	}
}

func TestWrkReport(t *testing.T) {
	const good = "  Latency Distribution\n     50%  591.00us\n     99%    1.57ms\n  197582 requests in 2.00s, 228.22MB read\n"
	if v, err := wrkReport(good); err != nil || v != 1570 {
		t.Errorf("99th percentile is %v, %v", v, err)
	}
	for _, bad := range []string{
		good + "  Socket errors: connect 0, read 7, write 0, timeout 0\n", good + "  Non-2xx or 3xx responses: 12\n", "nothing",
	} {
		if _, err := wrkReport(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestH2loadReport(t *testing.T) {
	const good = "requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 10 2xx, 0 3xx, 0 4xx, 0 5xx\n"
	if err := h2loadReport(good, 10); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "status codes: 9 2xx, 0 3xx, 1 4xx, 0 5xx\n"} {
		if h2loadReport(bad, 10) == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestSpread(t *testing.T) {
	if got, want := spreadOf([]float64{4, 1, 3, 2}), (spread{2.5, 1, 4}); got != want {
		t.Errorf("spread is %v, want %v", got, want)
	}
}

func TestUpstreamKeepsIncompleteHeads(t *testing.T) {
	u := &epollUpstream{in: make([]byte, 1024), conns: map[int32]*epollConn{}}
	c := &epollConn{}
	if !u.take(-1, c, []byte("GET /1k HTTP/1.1\r\nHos")) || !bytes.Equal(c.held, []byte("GET /1k HTTP/1.1\r\nHos")) {
		t.Errorf("held %q", c.held)
	}
	if n := contentLength([]byte("POST / HTTP/1.1\r\ncontent-length: 12\r\n\r\n")); n != 12 {
		t.Errorf("Content-Length is %d", n)
	}
}
