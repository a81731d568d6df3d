//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Kinds of load that the Go loader makes; wrk makes the rest.
const (
	loadHandshakes = "handshakes" // a connection, one request, close; Count times
	loadKeepAlive  = "keepalive"  // Conns connections, Count requests in all
	loadIdle       = "idle"       // Conns connections that fall silent after one request

	loadConnections = "connections" // as loadHandshakes, without TLS
)

// loadSpec is what one loader process is to do. It travels as JSON on its command line.
type loadSpec struct {
	Kind   string
	Port   int
	Conns  int // at once
	Count  int
	Upload int // bytes of each request's body
	Path   string
	Status int // of good answers; 0: 200

	CA, Cert, Key string
	Verify        bool // check the server's chain
	Resume        bool
	Hybrid        bool // X25519MLKEM768 instead of X25519
	TLS12         bool // TLS 1.2 instead of 1.3

	// Cards is a file of certificates with keys: each connection presents another one, beginning with
	// number From. Where sessions are resumed each worker has its own.
	Cards string
	From  int

	Egress *egressSpec // of clients of forward proxies
}

// loadResult is what a loader prints at its end.
type loadResult struct {
	Count    int
	Failed   int
	Resumed  int
	Seconds  float64
	P50, P99 float64 // of one request or handshake with its request, µs
	Error    string  // the first one
}

// runLoad makes the load of s: it prepares, prints "ready", waits for a line, works, and prints its
// result as JSON.
func runLoad(s loadSpec, in io.Reader, out io.Writer) error {
	conf, err := clientTLS(s)
	if err != nil {
		return err
	}
	l := &loader{spec: s, conf: conf, addr: fmt.Sprintf("127.0.0.1:%d", s.Port)}
	if s.Cards != "" {
		n := s.Conns
		if s.Kind == loadHandshakes && !s.Resume {
			n = s.Count + 4*s.Conns
		}
		if l.cards, err = readCards(s.Cards, s.From, n); err != nil {
			return err
		}
	}
	start := bufio.NewReader(in)
	ready := func() error {
		fmt.Fprintln(out, "ready")
		_, err := start.ReadString('\n')
		return err
	}
	var res loadResult
	switch s.Kind {
	case loadHandshakes:
		l.handshakes(min(s.Count, 4*s.Conns)) // warms sessions and code
		if err := ready(); err != nil {
			return err
		}
		res = l.handshakes(s.Count)
	case loadConnections:
		l.connections(min(s.Count, 4*s.Conns))
		if err := ready(); err != nil {
			return err
		}
		res = l.connections(s.Count)
	case loadKeepAlive:
		conns, err := l.open()
		if err != nil {
			return err
		}
		l.keepAlive(conns, 20*s.Conns)
		if err := ready(); err != nil {
			return err
		}
		res = l.keepAlive(conns, s.Count)
	case loadTunnels, loadHellos, loadTunnelsKept, loadTunnelsIdle:
		t, err := newTunnels(s)
		if err != nil {
			return err
		}
		if res, err = t.load(ready); err != nil {
			return err
		}
	case loadIdle:
		conns, err := l.open()
		if err != nil {
			return err
		}
		if err := ready(); err != nil {
			return err
		}
		res.Count = len(conns)
		runtime.KeepAlive(conns) // unreachable connections would be closed
	default:
		return fmt.Errorf("no load is called %q", s.Kind)
	}
	return json.NewEncoder(out).Encode(res)
}

type loader struct {
	spec loadSpec
	conf *tls.Config
	addr string

	sessions sync.Map // worker → *tls.Config with that worker's session cache
	cards    []tls.Certificate
	shown    atomic.Int64 // of cards
}

// with returns conf for a client with the next certificate.
func (l *loader) with(conf *tls.Config) *tls.Config {
	if len(l.cards) == 0 {
		return conf
	}
	own := conf.Clone()
	own.Certificates = l.cards[int(l.shown.Add(1)-1)%len(l.cards):][:1]
	return own
}

// status is that of good answers.
func (s loadSpec) status() int {
	if s.Status == 0 {
		return http.StatusOK
	}
	return s.Status
}

func (l *loader) request() []byte {
	if l.spec.Upload == 0 {
		return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s:%d\r\n\r\n", l.spec.Path, host, l.spec.Port)
	}
	b := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %d\r\n\r\n", l.spec.Path, host, l.spec.Port, l.spec.Upload)
	return append(b, body(l.spec.Upload)...)
}

// each runs work on Conns goroutines until count units are done, and measures them.
func (l *loader) each(count int, work func(worker int) (resumed bool, err error)) loadResult {
	var left, resumed, failed atomic.Int64
	left.Store(int64(count))
	times := make([][]float64, l.spec.Conns)
	var firstErr atomic.Pointer[string]
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range l.spec.Conns {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				t := time.Now()
				r, err := work(w)
				if err != nil {
					failed.Add(1)
					s := err.Error()
					firstErr.CompareAndSwap(nil, &s)
					if failed.Load() > 50 {
						return
					}
				}
				if r {
					resumed.Add(1)
				}
				times[w] = append(times[w], float64(time.Since(t).Nanoseconds())/1000)
			}
		})
	}
	wg.Wait()
	res := loadResult{Count: count, Failed: int(failed.Load()), Resumed: int(resumed.Load()), Seconds: time.Since(begin).Seconds()}
	all := slices.Concat(times...)
	slices.Sort(all)
	if len(all) > 0 {
		res.P50, res.P99 = all[len(all)/2], all[len(all)*99/100]
	}
	if e := firstErr.Load(); e != nil {
		res.Error = *e
	}
	return res
}

func (l *loader) handshakes(count int) loadResult {
	req := l.request()
	return l.each(count, func(w int) (bool, error) {
		conf := l.conf
		if l.spec.Resume {
			// A cache for each worker, so that a ticket is offered once, as clients should.
			c, ok := l.sessions.Load(w)
			if !ok {
				own := l.with(l.conf.Clone())
				own.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				c, _ = l.sessions.LoadOrStore(w, own)
			}
			conf = c.(*tls.Config)
		} else {
			conf = l.with(conf)
		}
		c, err := dial(l.addr, conf)
		if err != nil {
			return false, err
		}
		defer c.Close()
		buf := make([]byte, 4<<10)
		return c.ConnectionState().DidResume, roundTrip(c, l.spec.status(), req, buf)
	})
}

func (l *loader) open() ([]*tls.Conn, error) {
	req := l.request()
	conns := make([]*tls.Conn, l.spec.Conns)
	errs := make([]error, l.spec.Conns)
	slots := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for i := range conns {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if conns[i], errs[i] = dial(l.addr, l.with(l.conf)); errs[i] == nil {
				errs[i] = roundTrip(conns[i], l.spec.status(), req, make([]byte, 16<<10))
			}
		})
	}
	wg.Wait()
	return conns, errors.Join(errs...)
}

func (l *loader) keepAlive(conns []*tls.Conn, count int) loadResult {
	req := l.request()
	bufs := make([][]byte, len(conns))
	for i := range bufs {
		bufs[i] = make([]byte, 16<<10)
	}
	return l.each(count, func(w int) (bool, error) { return false, roundTrip(conns[w], l.spec.status(), req, bufs[w]) })
}

func dial(addr string, conf *tls.Config) (*tls.Conn, error) {
	nc, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
	c := tls.Client(nc, conf)
	if err := c.Handshake(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return c, nil
}

// roundTrip sends req and reads one answer, of that status, that fits buf.
func roundTrip(c net.Conn, status int, req, buf []byte) error {
	if _, err := c.Write(req); err != nil {
		return err
	}
	filled, want := 0, 0
	for {
		n, err := c.Read(buf[filled:])
		filled += n
		if want == 0 {
			if end := bytes.Index(buf[:filled], []byte("\r\n\r\n")); end >= 0 {
				if !bytes.HasPrefix(buf, []byte("HTTP/1.1 ")) || !bytes.HasPrefix(buf[9:], strconv.AppendInt(make([]byte, 0, 8), int64(status), 10)) {
					return fmt.Errorf("answer %q", buf[:min(filled, 40)])
				}
				want = end + 4 + contentLength(buf[:end])
			}
		}
		if want > 0 && filled >= want {
			return nil
		}
		if err != nil {
			return err
		}
		if filled == len(buf) {
			return errors.New("the answer is larger than expected")
		}
	}
}

// loadRole reads the spec from the command line of a loader process.
func loadRole(text string) error {
	var s loadSpec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("loader's task: %w", err)
	}
	return runLoad(s, os.Stdin, os.Stdout)
}
