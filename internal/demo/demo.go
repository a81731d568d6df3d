// Package demo is "hakone demo": a CA, certificates, a backend and a gateway in one process, from
// manifests that it writes into a temporary folder. It needs no root and writes nowhere else.
//
// The gateway is the real one, started as "hakone run" starts it. Begin reading at Run.
package demo

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/server"
)

// Options are what the command line can tell the demo.
type Options struct {
	Scene    Scene // Ingress if nil
	Port     int   // bound for the manifests' port 443; if it is taken, the next free one
	Script   bool
	Out, Err io.Writer
	Color    bool          // colours on Out
	Base     server.Config // limits, settings and formats as hakone run's defaults
	Program  string        // how the user calls this program, for the lines to try

	// Command runs one of hakone's own commands against the running demo and returns its exit code. If
	// nil, the script leaves such lines out.
	Command func(ctx context.Context, args []string, out, errOut io.Writer) int
}

// Scene is what a demo shows.
type Scene interface {
	// prepare makes what is needed, manifests in folder(s.dir) among it, and starts backends, which end
	// with the context.
	prepare(ctx context.Context, s *stage) error
	made(s *stage) []string // lines "WHAT  details" of what was made
	steps(s *stage) []step
}

// ErrFailed says that a line of the script did not do what it should.
var ErrFailed = errors.New("not every line did what it should")

// stage is a running demo.
type stage struct {
	opts  Options
	began time.Time
	dir   string
	port  int
	ca    string // path of the CA that clients trust
	tap   *tap
	ports map[uint16]uint16 // of the scene's manifests, besides 443
}

// Run runs the demo until ctx ends or nobody reads its output any more, or the script to its end. It
// returns a *server.ConfigError for a port that is none.
func Run(ctx context.Context, opts Options) error {
	if opts.Port < 1 || opts.Port > 65535 {
		return &server.ConfigError{What: fmt.Sprintf("--port %d is no port", opts.Port), Fix: "give a number from 1 to 65535"}
	}
	defer catchBrokenPipe()()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	opts.Out, opts.Err = &pipe{opts.Out, cancel, &mu}, &pipe{opts.Err, cancel, &mu}
	s := &stage{opts: opts, began: time.Now()}
	dir, err := os.MkdirTemp("", "hakone-demo-")
	if err != nil {
		return fmt.Errorf("make temporary folder: %w", err)
	}
	defer os.RemoveAll(dir)
	s.dir = dir
	if s.opts.Scene == nil {
		s.opts.Scene = Ingress()
	}
	if err := os.Mkdir(folder(s.dir), 0o700); err != nil {
		return fmt.Errorf("make manifest folder: %w", err)
	}
	if err := s.opts.Scene.prepare(ctx, s); err != nil {
		return err
	}
	if s.port, err = freePort(opts.Port); err != nil {
		return err
	}
	return s.serve(ctx, cancel)
}

// client makes the files of a client that ca vouches for.
func (s *stage) client(ca *authority, name string) (paths [2]string, err error) {
	cert, key, err := ca.issue(name, true)
	if err != nil {
		return paths, err
	}
	if paths[0], err = write(s.dir, name+".pem", cert); err != nil {
		return paths, err
	}
	paths[1], err = write(s.dir, name+".key", key)
	return paths, err
}

// start serves a backend until ctx ends, and returns its port.
func start(ctx context.Context, handler http.Handler, config *tls.Config) (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("listen for the backend: %w", err)
	}
	srv := &http.Server{Handler: handler, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		if config != nil {
			_ = srv.ServeTLS(ln, "", "")
		} else {
			_ = srv.Serve(ln)
		}
	}()
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// freePort returns want, or the next port above it that is free.
func freePort(want int) (int, error) {
	for port := want; port < want+50 && port < 65536; port++ {
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			ln.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("ports %d to %d are all taken: give another one with --port", want, min(want+49, 65535))
}

// secretGrace is that of hakone run.
const secretGrace = 10 * time.Second

// serve runs the gateway, tells what to try, and runs the script if asked to.
func (s *stage) serve(ctx context.Context, cancel context.CancelFunc) error {
	ready := make(chan admin.Status, 1)
	s.tap = newTap(s.opts.Out, s.opts.Script, s.opts.Color)
	cfg := s.opts.Base
	cfg.Folders, cfg.Address = []string{folder(s.dir)}, "127.0.0.1"
	cfg.PortMap = map[uint16]uint16{443: uint16(s.port)}
	maps.Copy(cfg.PortMap, s.ports)
	cfg.Admin, cfg.AdminFallback = s.admin(), false
	cfg.AccessLog.Format = "off"
	cfg.DrainTimeout = time.Second
	cfg.SecretGrace = cmp.Or(cfg.SecretGrace, secretGrace)
	handler := newLogHandler(s.opts.Out, s.opts.Err, s.opts.Color, fmt.Sprintf("https://*.%s:%d", domain, s.port))
	cfg.Logger = slog.New(handler)
	cfg.Tap = s.tap
	cfg.Ready = func(st admin.Status) { ready <- st }
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, cfg) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return <-ended
	case <-ready:
	}
	s.banner()
	handler.shared.all.Store(!s.opts.Script)
	if !s.opts.Script {
		return <-ended
	}
	ok := s.script(ctx)
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	if !ok {
		return ErrFailed
	}
	return nil
}

// admin is the gateway's admin address.
func (s *stage) admin() string { return "unix:" + filepath.Join(s.dir, "admin.sock") }

// banner says what runs and what to try.
func (s *stage) banner() {
	w := s.opts.Out
	fmt.Fprintf(w, "hakone %s demo (everything is in %s and goes when this ends; nothing is installed)\n\n", server.Version, s.dir)
	fmt.Fprintf(w, "  ✓ CA            Hakone Demo CA, P-256, 7 days, name-constrained to .%s: %s\n", domain, s.ca)
	for _, line := range s.opts.Scene.made(s) {
		fmt.Fprintf(w, "  ✓ %s\n", line)
	}
	fmt.Fprintf(w, "  ✓ gateway       https://*.%s:%d, TLS 1.2 and 1.3\n", domain, s.port)
	fmt.Fprintf(w, "  ready in %s\n", time.Since(s.began).Round(time.Millisecond))
	if s.opts.Script {
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, "\nTry, in a second terminal:\n\n")
	var own []step // hakone's own commands
	for _, step := range s.opts.Scene.steps(s) {
		if step.command != nil {
			own = append(own, step)
			continue
		}
		fmt.Fprintf(w, "  %s\n      → %s\n", step.line(s), step.says)
	}
	fmt.Fprintf(w, "  export HAKONE_ADMIN=%s\n      → from then on hakone's commands are about this demo\n", s.admin())
	for _, step := range own {
		fmt.Fprintf(w, "  %s\n      → %s\n", step.line(s), step.says)
	}
	fmt.Fprintf(w, "  %s status\n  %s tls-version set 1.3\n", s.opts.Program, s.opts.Program)
	fmt.Fprintf(w, "\nEach request, each refused handshake and each change of the manifests shows here. Ctrl-C ends the demo.\n\n")
}
