//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// profile records what t does until the function that it returns is called, where -profile or -pprof
// asks so.
func (b *bench) profile(t *target) func() {
	if t.name != hakone || b.opt.profile == "" && b.opt.pprof == "" {
		return func() {}
	}
	b.profiles++
	name := fmt.Sprintf("%s-%d", strings.ToLower(b.current.ID), b.profiles)
	if b.opt.pprof != "" {
		return b.goProfile(t, filepath.Join(b.opt.pprof, name+".pprof"))
	}
	cmd := exec.Command("perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-o", filepath.Join(b.opt.profile, name+".perf"), "-p", strconv.Itoa(t.cmd.Process.Pid))
	if err := cmd.Start(); err != nil {
		b.note("perf: %v", err)
		return func() {}
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	}
}

// goProfile asks t itself for a CPU profile of one second.
func (b *bench) goProfile(t *target, out string) func() {
	socket := filepath.Join(t.own, "admin.sock")
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	done := make(chan error, 1)
	go func() {
		resp, err := client.Get("http://admin/debug/pprof/profile?seconds=1")
		if err == nil {
			defer resp.Body.Close()
			var text []byte
			if text, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode == http.StatusOK {
				err = os.WriteFile(out, text, 0o644)
			}
		}
		done <- err
	}()
	return func() {
		if err := <-done; err != nil {
			b.note("profile: %v", err)
		}
	}
}
