package proxy

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/telemetry"
)

type nop struct{}

func (nop) Handshake(*telemetry.Handshake) {}
func (nop) Access(*telemetry.Access)       {}

func TestZZServe(t *testing.T) {
	be := os.Getenv("PB_BACKEND")
	if be == "" {
		return
	}
	g := start(t, setup{backend: be, tls: os.Getenv("PB_TLS") != ""})
	g.p.sink = nop{}
	os.WriteFile("/tmp/pb/addr", []byte(g.addr), 0o644)
	fmt.Println("addr", g.addr)
	if f := os.Getenv("PB_PROF"); f != "" {
		w, _ := os.Create(f)
		time.Sleep(2 * time.Second)
		pprof.StartCPUProfile(w)
		time.Sleep(5 * time.Second)
		pprof.StopCPUProfile()
		w.Close()
	}
	time.Sleep(60 * time.Second)
}

func TestZZIdle(t *testing.T) {
	if os.Getenv("PB_IDLE") == "" {
		return
	}
	o := steadyOrigin(t, sized("x"))
	g := start(t, setup{backend: o.addr, tls: true, limits: Limits{KeepAliveIdle: -1}})
	g.p.sink = nop{}
	os.WriteFile("/tmp/pb/addr", []byte(g.addr), 0o644)
	for i := range 12 {
		if i == 7 {
			runtime.GC()
			w, _ := os.Create("/tmp/pb/heap.prof")
			pprof.WriteHeapProfile(w)
			w.Close()
		}
		time.Sleep(time.Second)
		b, _ := os.ReadFile("/proc/self/status")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		at := strings.Index(string(b), "VmRSS")
		fmt.Println(g.p.Connections(), strings.Fields(string(b[at:]))[1], "heap", m.HeapInuse>>10, "stack", m.StackInuse>>10)
	}
}
