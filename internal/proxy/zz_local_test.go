package proxy

import (
	"fmt"
	"os"
	"runtime/pprof"
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
