//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// Names of the targets.
const (
	hakone  = "hakone"
	nginx   = "nginx"
	haproxy = "haproxy"
	before  = "before" // the other binary of -against
)

// doors are the ports of one target, each with one kind of TLS and one upstream.
type doors struct {
	ECDSA   int // ECDSA certificate, plain upstream
	MTLS    int // the same, and a client certificate is required
	RSA     int // RSA-2048 certificate, plain upstream
	MTLSEnd int // client certificate required, mutual TLS to the upstream
}

func (d doors) all() []int { return []int{d.ECDSA, d.MTLS, d.RSA, d.MTLSEnd} }

// setup is what all targets of one deployment have in common.
type setup struct {
	Dir       string
	PKI       *pki
	Host      string
	Plain     int // port of the plain upstream
	TLS       int // port of the upstream that wants client certificates
	Cores     int
	AccessLog bool
	Edge      bool // the doors of edge.go
	Stream    bool // the one door of stream.go
	Egress    *egress
	Forward   bool // the doors of egress.go
	List      bool // a revocation list behind MTLSEnd
	Bulk      bool // peers are tuned for large bodies, at the cost of memory
	CPU       string
	RealTime  bool
	Binary    string // hakone
}

// target is one proxy that runs.
type target struct {
	*process
	doors
	own string // its folder
}

// startTarget writes the target's configuration and starts it.
func startTarget(name string, s setup) (*target, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	d := doors{ports[0], ports[1], ports[2], ports[3]}
	dir := filepath.Join(s.Dir, fmt.Sprintf("%s-%d-%t-%t-%t-%t-%t-%t", name, s.Cores, s.AccessLog, s.Bulk, s.Edge, s.List, s.Stream, s.Forward))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c := command{Name: name, CPU: s.CPU, Real: s.RealTime, Out: filepath.Join(dir, "stdout"), Dir: dir}
	data := configData{s, d, dir}
	switch name {
	case nginx:
		if err := render(filepath.Join(dir, "nginx.conf"), nginxText(s), data); err != nil {
			return nil, err
		}
		c.Args = []string{program(nginx), "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"}
	case haproxy:
		if err := render(filepath.Join(dir, "haproxy.cfg"), haproxyText(s), data); err != nil {
			return nil, err
		}
		// HAProxy wants certificate and key in one file, and CA certificates in one without keys.
		for _, pair := range [][2]string{{s.PKI.Server, s.PKI.ServerKey}, {s.PKI.RSA, s.PKI.RSAKey}, {s.PKI.Client, s.PKI.ClientKey}} {
			if err := join(filepath.Join(dir, strings.TrimSuffix(filepath.Base(pair[0]), ".crt")+".pem"), pair[0], pair[1]); err != nil {
				return nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "openssl.cnf"), []byte(opensslConf), 0o644); err != nil {
			return nil, err
		}
		c.Env = []string{"OPENSSL_CONF=" + filepath.Join(dir, "openssl.cnf")}
		c.Args = []string{program(haproxy), "-db", "-f", filepath.Join(dir, "haproxy.cfg")}
	case hakone, before:
		if c.Args, err = hakoneArgs(data); err != nil {
			return nil, err
		}
		c.Env = []string{fmt.Sprintf("GOMAXPROCS=%d", s.Cores)}
		if s.Forward {
			if c.Args, err = resolving(dir, c.Args); err != nil {
				return nil, err
			}
		}
	case squid:
		if err := squidCommand(&c, data); err != nil {
			return nil, err
		}
	}
	p, err := start(c)
	if err != nil {
		return nil, err
	}
	t := &target{p, d, dir}
	for _, port := range d.all() {
		if s.Edge && port == d.RSA || s.Stream && port != d.ECDSA || name == squid && port == d.MTLSEnd {
			continue
		}
		if err := p.awaitPort(port); err != nil {
			p.stop()
			return nil, err
		}
	}
	p.pids = p.tree()
	return t, nil
}

// configData is what configuration templates see.
type configData struct {
	setup
	Doors doors
	Own   string // folder of this target
}

func render(path, text string, data configData) error {
	t, err := template.New(filepath.Base(path)).Parse(text)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return t.Execute(f, data)
}

func join(path string, parts ...string) error {
	var all []byte
	for _, p := range parts {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	return os.WriteFile(path, all, 0o600)
}

// program finds a server program, which Debian keeps out of a user's PATH.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/usr/sbin/" + name
}
