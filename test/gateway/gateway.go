// Package gateway runs the built binary for tests: a folder of manifests of its own, free ports on
// loopback, an admin socket, and everything that the process writes.
//
// The binary is $HAKONE_BIN; a test without it fails. Begin reading at Start.
package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. Machines that run tests are slow at times.
const patience = 20 * time.Second

// Options say how to start a gateway. The zero value serves an empty folder and does not become ready.
type Options struct {
	Files     map[string]string // manifests by name, written before the start
	Dir       string            // instead of a new folder; Files are written into it
	Ports     []int             // declared ports that get a free one; 443 and 80 if nil
	Endpoints []string          // values of --endpoint
	Args      []string          // further arguments of "hakone run"
	Env       []string          // further environment, as NAME=VALUE
	Unready   bool              // do not wait until it is ready
	Admin     string            // instead of a unix socket
	User      uint32            // run as this user, if not 0; needs root
	Prefix    []string          // of the command line, as testnet.Host.Prefix gives it; the ports are then as declared
}

// Gateway is a running process, seen by one test. Safe for concurrent use.
type Gateway struct {
	Dir   string // the folder of manifests
	Admin string // admin address
	tb    testing.TB
	*process
}

// process is what all tests share that see a gateway.
type process struct {
	ports map[int]int
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone
	sock  string

	mu     sync.Mutex // guards what follows
	out    []Line
	broken []string // lines of stdout that are no JSON
	err    bytes.Buffer
	state  error
	news   chan struct{} // closed and replaced when a line comes
}

// Binary returns the path of the program under test.
func Binary(tb testing.TB) string {
	tb.Helper()
	bin := os.Getenv("HAKONE_BIN")
	if bin == "" {
		tb.Fatal("HAKONE_BIN is not set: build the program and set it to its path, or run make e2e")
	}
	if _, err := os.Stat(bin); err != nil {
		tb.Fatalf("HAKONE_BIN: %v", err)
	}
	return bin
}

// Start starts a gateway and, unless told otherwise, waits until it is ready. It is killed, if it
// still runs, when the test ends; a failed test shows what it wrote to stderr.
func Start(tb testing.TB, o Options) *Gateway {
	tb.Helper()
	g := &Gateway{o.Dir, o.Admin, tb, &process{ports: map[int]int{}, ended: make(chan struct{}), news: make(chan struct{})}}
	if g.Dir == "" {
		g.Dir = Folder(tb)
	}
	for name, text := range o.Files {
		g.Write(name, text)
	}
	if g.Admin == "" {
		g.sock = filepath.Join(Folder(tb), "admin.sock")
		g.Admin = "unix:" + g.sock
	}
	if o.Ports == nil {
		o.Ports = []int{443, 80}
	}
	args := []string{"run", "--config", g.Dir, "--admin", g.Admin}
	if o.Prefix == nil {
		args = append(args, "--address", "127.0.0.1")
	} else {
		o.Ports = nil
	}
	for _, p := range o.Ports {
		g.ports[p] = FreePort(tb)
		args = append(args, "--port-map", fmt.Sprintf("%d=%d", p, g.ports[p]))
	}
	for _, e := range o.Endpoints {
		args = append(args, "--endpoint", e)
	}
	line := append(append(slices.Clone(o.Prefix), Binary(tb)), append(args, o.Args...)...)
	g.cmd = exec.Command(line[0], line[1:]...)
	g.cmd.Env = append(environment(), o.Env...)
	g.cmd.Stdout, g.cmd.Stderr = &lines{add: g.addOut}, writer(g.addErr)
	if o.User != 0 {
		g.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.User, Gid: o.User}}
		for _, dir := range []string{g.Dir, filepath.Dir(g.sock)} {
			if err := os.Chown(dir, int(o.User), int(o.User)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := g.cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", g.cmd.Path, err)
	}
	go func() {
		err := g.cmd.Wait()
		g.mu.Lock()
		g.state = err
		g.mu.Unlock()
		close(g.ended)
	}()
	tb.Cleanup(g.cleanup)
	if !o.Unready {
		g.awaitReady()
	}
	return g
}

// For returns the gateway as a subtest sees it, which then fails by itself.
func (g *Gateway) For(tb testing.TB) *Gateway { return &Gateway{g.Dir, g.Admin, tb, g.process} }

// Folder returns a new folder with a short path, as unix sockets need it, removed when the test ends.
func Folder(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "hk-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// environment is the caller's without what would change the program's defaults.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "HAKONE_") && !strings.HasPrefix(e, "TLS_MIN_VERSION=") {
			env = append(env, e)
		}
	}
	return env
}

// FreePort returns a port of 127.0.0.1 that nothing listens on, below those that the kernel gives to
// outgoing connections.
func FreePort(tb testing.TB) int {
	tb.Helper()
	for range 200 {
		port := 10000 + rand.IntN(22000)
		if ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			ln.Close()
			return port
		}
	}
	tb.Fatal("no free port")
	return 0
}

func (g *Gateway) cleanup() {
	select {
	case <-g.ended:
	default:
		_ = g.cmd.Process.Kill()
		<-g.ended
	}
	if g.tb.Failed() {
		g.tb.Logf("stderr of %s:\n%s", strings.Join(g.cmd.Args, " "), tail(g.Stderr(), 4000))
		var b strings.Builder
		lines := g.Lines()
		for _, l := range lines[max(0, len(lines)-6):] {
			text, _ := json.Marshal(l)
			fmt.Fprintf(&b, "%.600s\n", text)
		}
		g.tb.Logf("last lines of its access log:\n%s", b.String())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.broken) > 0 {
		g.tb.Errorf("lines on stdout that are no JSON object: %q", g.broken)
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// awaitReady waits until the admin socket says that it is ready.
func (g *Gateway) awaitReady() {
	g.tb.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-g.ended:
			g.tb.Fatalf("the gateway ended before it was ready: %v\n%s", g.state, g.Stderr())
		default:
		}
		if status, _, err := g.get("/readyz"); err == nil && status == 200 {
			return
		}
	}
	g.tb.Fatalf("the gateway was not ready after %s\n%s", patience, g.Stderr())
}

// Port returns the port that is bound for a declared one.
func (g *Gateway) Port(declared int) int {
	g.tb.Helper()
	p, ok := g.ports[declared]
	if !ok {
		g.tb.Fatalf("port %d is not mapped; name it in Options.Ports", declared)
	}
	return p
}

// Addr returns 127.0.0.1 and the bound port.
func (g *Gateway) Addr(declared int) string {
	g.tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(g.Port(declared)))
}

// PID returns the process's number.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// Signal sends a signal.
func (g *Gateway) Signal(s syscall.Signal) {
	g.tb.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.tb.Fatalf("signal %v: %v", s, err)
	}
}

// Wait waits until the process has ended and returns its exit code.
func (g *Gateway) Wait() int {
	g.tb.Helper()
	select {
	case <-g.ended:
	case <-time.After(patience):
		g.tb.Fatalf("the gateway did not end in %s\n%s", patience, g.Stderr())
	}
	var exit *exec.ExitError
	switch {
	case g.state == nil:
		return 0
	case errors.As(g.state, &exit):
		return exit.ExitCode()
	}
	g.tb.Fatal(g.state)
	return 0
}

// Ended reports whether the process is gone.
func (g *Gateway) Ended() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// Write writes a manifest in one step, as editors do. Sub-folders of the name are made.
func (g *Gateway) Write(name, text string) {
	g.tb.Helper()
	path := filepath.Join(g.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		g.tb.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		g.tb.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		g.tb.Fatal(err)
	}
}

// Remove removes a manifest.
func (g *Gateway) Remove(name string) {
	g.tb.Helper()
	if err := os.Remove(filepath.Join(g.Dir, name)); err != nil {
		g.tb.Fatal(err)
	}
}
