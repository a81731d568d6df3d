package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/server"
)

// output is written by the demo while a test reads it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func options(out, log *output) Options {
	var settings control.Settings
	settings.Namespace, settings.Labels = "istio-system", map[string]string{"istio": "ingressgateway"}
	settings.AssumeClasses, settings.ControllerName, settings.ClusterDomain = []string{"istio", "hakone"}, server.ControllerName, "cluster.local"
	return Options{Port: 20443, Out: out, Err: log, Program: "hakone", Base: server.Config{Settings: settings}}
}

// TestScript runs every line that the demo proposes, and sees that the demo leaves nothing behind.
func TestScript(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out, log output
	opts := options(&out, &log)
	opts.Script = true
	if err := Run(t.Context(), opts); err != nil {
		t.Errorf("%v\n%s%s", err, out.String(), log.String())
	}
	if strings.Contains(out.String(), "✗") || strings.Count(out.String(), "✓") < 8 {
		t.Errorf("%s", out.String())
	}
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReadyInTime starts the demo twice at once: the second takes another port. Both end when asked.
func TestReadyInTime(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var outs [2]output
	var log output
	ended := make(chan error, 2)
	begin := time.Now()
	for i := range outs {
		go func() { ended <- Run(ctx, options(&outs[i], &log)) }()
		for !strings.Contains(outs[i].String(), "https://") {
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("not ready\n%s%s", outs[i].String(), log.String())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if !strings.Contains(outs[0].String(), ":20443") || strings.Contains(outs[1].String(), ":20443") {
		t.Errorf("ports\n%s\n%s", outs[0].String(), outs[1].String())
	}
	stop()
	for range outs {
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}
}
