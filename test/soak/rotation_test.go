//go:build soak

package soak

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// rotationTime is how long certificates rotate under load; SOAK_DURATION changes it.
const rotationTime = 2 * time.Minute

const (
	clients   = 4 // of each kind
	neighbour = 49
	growth    = 1.5 // resident memory at the end by that after a quarter of the time
)

// traffic counts what the clients of one run see. Safe for concurrent use.
type traffic struct {
	addr string
	ca   *testca.Pair

	requests, connections atomic.Int64
	serials               sync.Map // serial numbers seen
	mu                    sync.Mutex
	failures              []string
}

func (l *traffic) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 20 {
		l.failures = append(l.failures, fmt.Sprintf(format, args...))
	}
}

// connect makes a connection to the host that rotates; every handshake is a full one.
func (l *traffic) connect() (*tls.Conn, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", l.addr, &tls.Config{ServerName: hostName(0), RootCAs: l.ca.Pool()})
	if err != nil {
		return nil, err
	}
	l.connections.Add(1)
	l.serials.Store(c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), true)
	return c, nil
}

func (l *traffic) ask(c *tls.Conn, r *bufio.Reader) error {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "GET /status/200 HTTP/1.1\r\nHost: %s\r\n\r\n", hostName(0)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Close {
		return fmt.Errorf("status %d, connection ends: %t", resp.StatusCode, resp.Close)
	}
	l.requests.Add(1)
	return nil
}

// kept uses one connection from the beginning to the end.
func (l *traffic) kept(stop <-chan struct{}) {
	c, err := l.connect()
	if err != nil {
		l.fail("connect: %v", err)
		return
	}
	defer c.Close()
	for r := bufio.NewReader(c); ; time.Sleep(5 * time.Millisecond) {
		select {
		case <-stop:
			return
		default:
		}
		if err := l.ask(c, r); err != nil {
			l.fail("a kept connection: %v", err)
			return
		}
	}
}

// fresh makes a connection for every request.
func (l *traffic) fresh(stop <-chan struct{}) {
	for ; ; time.Sleep(5 * time.Millisecond) {
		select {
		case <-stop:
			return
		default:
		}
		c, err := l.connect()
		if err != nil {
			l.fail("a new connection: %v", err)
			continue
		}
		if err := l.ask(c, bufio.NewReader(c)); err != nil {
			l.fail("a request on a new connection: %v", err)
		}
		c.Close()
	}
}

func TestRotationUnderLoad(t *testing.T) {
	length := rotationTime
	if s := os.Getenv("SOAK_DURATION"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	ca := testca.New(t, testca.Spec{})
	dir := gateway.Folder(t)
	folder(t, ca, dir, 1+neighbour)
	g := start(t, dir, httpbin.Start(t), "--secret-grace", "10s")
	await(t, ca, g, hostName(0), 1, time.Now(), startBound)

	l := &traffic{addr: g.Addr(443), ca: ca}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { l.kept(stop) })
		wg.Go(func() { l.fresh(stop) })
	}
	begin, early, last := time.Now(), int64(0), int64(1)
	for n := 0; time.Since(begin) < length; n++ {
		last = int64(1000 + n)
		text := pair(ca, 0, last)
		if n%4 == 3 { // as kubectl delete and create do
			g.Remove(secretFile(0))
			time.Sleep(300 * time.Millisecond)
		}
		g.Write(secretFile(0), text)
		await(t, ca, g, hostName(0), last, time.Now(), changeBound)
		time.Sleep(200 * time.Millisecond)
		if early == 0 && time.Since(begin) > length/4 {
			early = residentBytes(t, g.PID())
		}
	}
	close(stop)
	wg.Wait()
	for _, f := range l.failures {
		t.Error(f)
	}
	seen := 0
	l.serials.Range(func(any, any) bool { seen++; return true })
	rotations := last - 999
	end := residentBytes(t, g.PID())
	t.Logf("%d rotations in %v: %d requests, %d connections, %d certificates seen, %d failures; resident %.1f MB after a quarter, %.1f MB at the end",
		rotations, length, l.requests.Load(), l.connections.Load(), seen, len(l.failures), float64(early)/1e6, float64(end)/1e6)
	if float64(end) > growth*float64(early) {
		t.Errorf("resident memory grew from %d to %d bytes", early, end)
	}
	if int64(seen) < rotations*9/10 {
		t.Errorf("clients saw %d certificates of %d", seen, rotations)
	}
	if serial, err := served(ca, g.Addr(443), hostName(neighbour)); err != nil || serial != 1 {
		t.Errorf("a neighbour presents certificate %d, %v", serial, err)
	}
}
