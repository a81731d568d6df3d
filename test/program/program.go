// Package program finds and runs the programs that tests use as peers: those of Debian packages and the
// published suites that tools/setup.sh builds. A missing program ends the test with what brings it.
//
// Begin reading at Run.
package program

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Command is a program with all that it is run with.
type Command struct {
	Path  string // from Find or Suite
	Args  []string
	Dir   string
	Env   []string // added to the caller's, as NAME=VALUE
	Stdin string
	Limit time.Duration // 60 s if 0; a program that runs longer fails the test
}

// Result is what a program left.
type Result struct {
	Out, Err string
	Code     int
	Took     time.Duration
}

// Find returns the path of a program of a Debian package.
func Find(tb testing.TB, name string) string {
	tb.Helper()
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	tb.Fatalf("%s is needed by this test and is not installed; tools/setup.sh installs it", name)
	return ""
}

// Suite returns the path of a program of tools/suites.
func Suite(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(cache(), "suites", name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("the suite's program %s is needed by this test: %v; tools/setup.sh builds it", name, err)
	}
	return path
}

// NodeModules returns the folder of the npm modules of tools/peers, for NODE_PATH.
func NodeModules(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(cache(), "peers", "node_modules")
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("the npm modules of tools/peers are needed by this test: %v; tools/setup.sh installs them", err)
	}
	return path
}

// cache is where tools/setup.sh puts what it builds and installs.
func cache() string {
	dir := os.Getenv("XDG_CACHE_HOME")
	if dir == "" {
		dir = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(dir, "hakone")
}

// Run runs a program to its end. All that it started is killed when the limit passes, and the test fails
// with what was printed until then.
func Run(tb testing.TB, c Command) Result {
	tb.Helper()
	if c.Limit == 0 {
		c.Limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	cmd.Stdin = strings.NewReader(c.Stdin)
	group(cmd)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	begin := time.Now()
	err := cmd.Run()
	r := Result{Out: out.String(), Err: errOut.String(), Took: time.Since(begin)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		tb.Fatalf("%s %s did not end in %s\n%s\n%s", filepath.Base(c.Path), strings.Join(c.Args, " "), c.Limit, Tail(r.Out, 4000), Tail(r.Err, 4000))
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		tb.Fatalf("%s: %v", c.Path, err)
	}
	return r
}

// Start starts a program that runs until the test ends. log returns what it has printed.
func Start(tb testing.TB, c Command) (log func() string) {
	tb.Helper()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	path := filepath.Join(tb.TempDir(), filepath.Base(c.Path)+".log")
	file, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close() // the program has its own descriptor
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", c.Path, err)
	}
	tb.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
}

// group lets the end of a program's time end its children too.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
}

// Tail returns the last n bytes of a text.
func Tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
