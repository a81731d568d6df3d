//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that the benchmark started, and everything that program started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // file with its stderr
	out  *bufio.Reader
	in   io.WriteCloser
	pids []int // of the tree; read once, when the process serves
}

// command says how to start a process.
type command struct {
	Name string
	Args []string
	Env  []string
	CPU  string // list of taskset; empty: anywhere
	Real bool   // with real-time priority, so that nothing else gets between
	Out  string // file for stdout; empty: read by the caller through process.out
	Dir  string // for the file with stderr
}

// start starts c. The kernel ends it if the benchmark dies first, so the caller must stay on its thread.
func start(c command) (*process, error) {
	args := c.Args
	if c.Real {
		args = append([]string{"chrt", "-r", "1"}, args...)
	}
	if c.CPU != "" {
		args = append([]string{"taskset", "-c", c.CPU}, args...)
	}
	p := &process{name: c.Name, cmd: exec.Command(args[0], args[1:]...), log: filepath.Join(c.Dir, c.Name+".err")}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	errFile, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer errFile.Close()
	p.cmd.Stderr = errFile
	if c.Out != "" {
		outFile, err := os.Create(c.Out)
		if err != nil {
			return nil, err
		}
		defer outFile.Close()
		p.cmd.Stdout = outFile
	} else {
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		p.out = bufio.NewReader(out)
		if p.in, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return p, nil
}

// line reads one line of stdout.
func (p *process) line() (string, error) {
	s, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s ended early: %w\n%s", p.name, err, p.tail())
	}
	return strings.TrimSpace(s), nil
}

// tail returns the end of what the process wrote on stderr.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return string(b)
}

// stop ends the process, politely at first.
func (p *process) stop() {
	if p.in != nil {
		p.in.Close()
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// tree returns the process and its descendants, of which no target starts any later.
func (p *process) tree() []int {
	parent := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent[pid], _ = strconv.Atoi(fields[1])
		}
	}
	if p.pids != nil {
		return p.pids
	}
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		for pid, pp := range parent {
			if pp == pids[i] {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cpu returns the time that the tree's threads have run, user and kernel.
func (p *process) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range p.tree() {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, f := range threads {
			b, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			ran, _, _ := strings.Cut(string(b), " ")
			ns, _ := strconv.ParseInt(ran, 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// memory returns the tree's resident bytes, with pages that several processes share counted once.
func (p *process) memory() int64 { return p.smaps("Pss:") }

func (p *process) smaps(field string) int64 {
	var sum int64
	for _, pid := range p.tree() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, field); ok {
				kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}

// allowedCPUs returns the list of cores that the last process of the tree may use.
func (p *process) allowedCPUs() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.tree()[len(p.tree())-1]))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// awaitPort waits until something listens on a loopback port.
func (p *process) awaitPort(port int) error {
	for range 200 {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			c.Close()
			return nil
		}
		if errors.Is(p.cmd.Process.Signal(syscall.Signal(0)), os.ErrProcessDone) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s does not listen on port %d:\n%s", p.name, port, p.tail())
}

// freePorts returns n ports that are free now, below those that the kernel gives to clients.
func freePorts(n int) ([]int, error) {
	var ports []int
	for port := 18000 + os.Getpid()%1000*10; len(ports) < n && port < 32000; port++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			ln.Close()
			ports = append(ports, port)
		}
	}
	if len(ports) < n {
		return nil, errors.New("no free ports between 18000 and 32000")
	}
	return ports, nil
}

// loadAverage is the machine's, over the last minute.
func loadAverage() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// established counts the connections that clients hold open to a loopback port.
func (p *process) established(port int) int {
	b, _ := os.ReadFile("/proc/net/tcp")
	want := fmt.Sprintf(":%04X", port)
	n := 0
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], want) && f[3] == "01" {
			n++
		}
	}
	return n
}
