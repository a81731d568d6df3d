//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// Kinds of load of a client that is told of a proxy.
const (
	loadTunnels     = "tunnels"      // a connection, CONNECT, TLS, one request, close; Count times
	loadHellos      = "hellos"       // the same with a ClientHello instead of TLS, answered with a record: what a tunnel costs, and little else
	loadTunnelsKept = "tunnels-kept" // Conns tunnels, or connections without TLS; Count requests in all
	loadTunnelsIdle = "tunnels-idle" // Conns tunnels that fall silent after one request
)

// egressSpec is where a client that is told of a proxy goes.
type egressSpec struct {
	Proxy string // address
	Host  string // with %d: a name that was not asked for before, counted from From
	Port  int
	Plain bool // the absolute form, without CONNECT and TLS
	From  int
}

// tunnels are the clients of one loader process.
type tunnels struct {
	spec loadSpec
	to   egressSpec
	conf *tls.Config
	next atomic.Int64
}

func newTunnels(s loadSpec) (*tunnels, error) {
	t := &tunnels{spec: s, to: *s.Egress}
	var err error
	t.conf, err = clientTLS(s)
	t.next.Store(int64(s.Egress.From))
	return t, err
}

// name is the host of the next connection.
func (t *tunnels) name() string {
	if !bytes.Contains([]byte(t.to.Host), []byte("%d")) {
		return t.to.Host
	}
	return fmt.Sprintf(t.to.Host, t.next.Add(1))
}

// open makes a connection to the destination, as far as the client knows.
func (t *tunnels) open(name string) (net.Conn, error) {
	nc, err := net.DialTimeout("tcp", t.to.Proxy, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
	if t.to.Plain {
		return nc, nil
	}
	if err := askConnect(nc, name, t.to.Port); err != nil {
		nc.Close()
		return nil, err
	}
	conf := t.conf.Clone()
	conf.ServerName = name
	c := tls.Client(nc, conf)
	if err := c.Handshake(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("handshake with %s: %w", name, err)
	}
	return c, nil
}

// askConnect sends CONNECT and reads its answer, to the byte.
func askConnect(nc net.Conn, name string, port int) error {
	if _, err := fmt.Fprintf(nc, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name, port, name, port); err != nil {
		return err
	}
	var head [2048]byte
	for n := 0; ; {
		m, err := nc.Read(head[n:])
		n += m
		if bytes.HasSuffix(head[:n], []byte("\r\n\r\n")) {
			if !bytes.HasPrefix(head[:n], []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("CONNECT %s: %.60q", name, head[:n])
			}
			return nil
		}
		if err != nil || n == len(head) {
			return fmt.Errorf("CONNECT %s: %.60q, %v", name, head[:n], err)
		}
	}
}

func (t *tunnels) request(name string) []byte {
	if t.to.Plain {
		return fmt.Appendf(nil, "GET http://%s:%d%s HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name, t.to.Port, t.spec.Path, name, t.to.Port)
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s:%d\r\n\r\n", t.spec.Path, name, t.to.Port)
}

// fetch sends a request and reads its answer, of any length, through buf.
func fetch(c net.Conn, status int, req, buf []byte) error {
	if _, err := c.Write(req); err != nil {
		return err
	}
	for n := 0; ; {
		m, err := c.Read(buf[n:])
		n += m
		if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 {
			if want := fmt.Sprintf("HTTP/1.1 %d ", status); !bytes.HasPrefix(buf[:n], []byte(want)) {
				return fmt.Errorf("answer %.60q", buf[:n])
			}
			for left := contentLength(buf[:end]) - (n - end - 4); left > 0; left -= m {
				if m, err = c.Read(buf[:min(left, len(buf))]); err != nil {
					return err
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		if n == len(buf) {
			return errors.New("the answer's head is larger than expected")
		}
	}
}

// once makes a connection of its own for one request.
func (t *tunnels) once(buf []byte) error {
	name := t.name()
	c, err := t.open(name)
	if err != nil {
		return err
	}
	defer c.Close()
	return fetch(c, t.spec.status(), t.request(name), buf)
}

// greet makes a connection for a hello and its answer.
func (t *tunnels) greet(hello, buf []byte) error {
	nc, err := net.DialTimeout("tcp", t.to.Proxy, 5*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	if err := askConnect(nc, t.to.Host, t.to.Port); err != nil {
		return err
	}
	return fetch(nc, t.spec.status(), hello, buf)
}

// clientHello is what a client of name sends first.
func clientHello(conf *tls.Config, name string) ([]byte, error) {
	a, b := net.Pipe()
	defer b.Close()
	conf = conf.Clone()
	conf.ServerName = name
	go func() {
		_ = tls.Client(a, conf).Handshake() // fails when it has sent its hello
		a.Close()
	}()
	buf := make([]byte, 4<<10)
	n, err := b.Read(buf)
	return buf[:n], err
}

// load does what the spec says, between ready and its return.
func (t *tunnels) load(ready func() error) (loadResult, error) {
	l := &loader{spec: t.spec}
	bufs := make([][]byte, t.spec.Conns)
	for i := range bufs {
		bufs[i] = make([]byte, 128<<10)
		if t.spec.Kind == loadTunnelsIdle {
			bufs[i] = bufs[0]
		}
	}
	if t.spec.Kind == loadTunnels || t.spec.Kind == loadHellos {
		work := func(w int) (bool, error) { return false, t.once(bufs[w]) }
		if t.spec.Kind == loadHellos {
			hello, err := clientHello(t.conf, t.to.Host)
			if err != nil {
				return loadResult{}, err
			}
			work = func(w int) (bool, error) { return false, t.greet(hello, bufs[w]) }
		}
		l.each(min(t.spec.Count, 4*t.spec.Conns), work)
		if err := ready(); err != nil {
			return loadResult{}, err
		}
		return l.each(t.spec.Count, work), nil
	}
	conns, reqs := make([]net.Conn, t.spec.Conns), make([][]byte, t.spec.Conns)
	for i := range conns {
		name := t.name()
		var err error
		if conns[i], err = t.open(name); err != nil {
			return loadResult{}, err
		}
		defer conns[i].Close()
		reqs[i] = t.request(name)
		if err := fetch(conns[i], t.spec.status(), reqs[i], bufs[i]); err != nil {
			return loadResult{}, err
		}
	}
	work := func(w int) (bool, error) { return false, fetch(conns[w], t.spec.status(), reqs[w], bufs[w]) }
	if t.spec.Kind == loadTunnelsKept {
		l.each(min(t.spec.Count/10, 20*t.spec.Conns), work)
	}
	if err := ready(); err != nil {
		return loadResult{}, err
	}
	if t.spec.Kind == loadTunnelsIdle {
		return loadResult{Count: len(conns)}, nil
	}
	return l.each(t.spec.Count, work), nil
}
