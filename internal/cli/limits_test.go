package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/server"
)

// TestByteSizes reads numbers and units, and writes what it would read.
func TestByteSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "65536": 65536, "64KiB": 65536, "16MiB": 16 << 20, "2GiB": 2 << 30, "3 KiB": 3072,
		"": -1, "-1": -1, "64k": -1, "1.5MiB": -1, "KiB": -1, "9223372036854775807GiB": -1, "64kib": -1} {
		var n int64 = -1
		b := bytesVar(&n, 7)
		err := b.Set(text)
		if (err != nil) != (want == -1) || err == nil && n != want || err != nil && n != 7 {
			t.Errorf("%q: %d %v", text, n, err)
		}
		var back int64
		if err := bytesVar(&back, 0).Set(b.String()); err != nil || back != n {
			t.Errorf("%q writes %q, which reads %d, %v", text, b.String(), back, err)
		}
	}
}

// TestLimitsAreDocumented compares docs/limits.md with the flags: it names all of them, and no other.
func TestLimitsAreDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "limits.md"))
	if err != nil {
		t.Fatal(err)
	}
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	registerLimits(f, &server.Limits{})
	registerLogStore(f, &server.LogStore{})
	named := map[string]bool{"trusted-proxies": false, "trusted-hops": false, "log-store": true} // elsewhere
	for _, m := range regexp.MustCompile("`--([a-z0-9-]+)`").FindAllStringSubmatch(string(b), -1) {
		if _, other := named[m[1]]; !other && f.Lookup(m[1]) == nil {
			t.Errorf("--%s is documented and does not exist", m[1])
		}
		named[m[1]] = true
	}
	f.VisitAll(func(flag *pflag.Flag) {
		if !named[flag.Name] {
			t.Errorf("--%s is not documented", flag.Name)
		}
	})
	for _, m := range regexp.MustCompile("HK[0-9]{4}").FindAllString(string(b), -1) {
		if c, err := diag.ParseCode(m); err != nil || c.Slug() == "" {
			t.Errorf("%s is no code", m)
		}
	}
}

// TestLimitFlags sets what the flags name.
func TestLimitFlags(t *testing.T) {
	var l server.Limits
	f := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	registerLimits(f, &l)
	if l.HTTP2.MaxStreams != 128 || l.HTTP2.StreamWindow != 256<<10 || l.HTTP2.ConnWindow != 1<<20 || l.MaxMemory != 0 || l.MaxRequestHeader != 64<<10 {
		t.Errorf("defaults: %+v", l)
	}
	if err := f.Parse(strings.Fields("--max-memory 512MiB --http2-stream-window 128KiB --http2-ping-interval 0 --http2-upstream-ping-interval 10m --http2-reset-burst 10 --http2-control-rate 5 " +
		"--max-connections-per-address 20 --max-handshakes 100 --max-total-connections 1000 --tls-idle-record-burst 3 --max-request-body 1GiB")); err != nil {
		t.Fatal(err)
	}
	if l.MaxMemory != 512<<20 || l.HTTP2.StreamWindow != 128<<10 || l.HTTP2.PingInterval >= 0 || l.UpstreamPing != 10*time.Minute || l.HTTP2.ResetBurst != 10 || l.HTTP2.ControlRate != 5 ||
		l.MaxPerAddress != 20 || l.MaxHandshakes != 100 || l.MaxTotal != 1000 || l.IdleRecords.Burst != 3 || l.MaxRequestBody != 1<<30 || l.HTTP2.PingTimeout != 20*time.Second {
		t.Errorf("%+v", l)
	}
	for _, bad := range []string{"--max-memory 1GB", "--http2-ping-timeout -1s", "--http2-stream-window -5"} {
		if err := f.Parse(strings.Fields(bad)); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
