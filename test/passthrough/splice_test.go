package passthrough

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/tcpproxy"
)

// tcpPair returns both ends of a connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan net.Conn, 1)
	go func() {
		c, _ := ln.Accept()
		got <- c
	}()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	far = <-got
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// TestGiB passes a GiB through the kernel, counts it, and looks that pipes are given back.
func TestGiB(t *testing.T) {
	const size = 1 << 30
	client, a := tcpPair(t)
	b, upstream := tcpPair(t)
	pipes := tcpproxy.NewPipes(0)
	defer pipes.Close()
	type outcome struct {
		sent, received int64
		reason         diag.Code
	}
	done := make(chan outcome, 1)
	go func() {
		sent, received, reason := tcpproxy.Splice(t.Context(), a, b, tcpproxy.Options{Pipes: pipes})
		done <- outcome{sent, received, reason}
	}()
	go func() {
		p := make([]byte, 1<<20)
		for range size / len(p) {
			if _, err := client.Write(p); err != nil {
				t.Error(err)
				return
			}
		}
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	before := readChars(t)
	p, n := make([]byte, 1<<20), 0
	reads := int64(0)
	for {
		m, err := upstream.Read(p)
		n += m
		reads += int64(m)
		if err != nil {
			break
		}
	}
	upstream.Close()
	o := <-done
	if n != size || o.sent != size || o.received != 0 || o.reason != 0 {
		t.Errorf("%d bytes arrived, outcome %+v", n, o)
	}
	if through := readChars(t) - before - reads; through > size/8 {
		t.Errorf("%d bytes were read by the relay itself: they did not stay in the kernel", through)
	}
	if open, free, _ := pipes.Stats(); open != free || open == 0 {
		t.Errorf("%d pipes are open, %d free", open, free)
	}
}

// readChars returns what this process has read by read(2); splice(2) is none.
func readChars(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestIdleHoldsNothing opens relays on which nothing moves any more: they hold no pipe, and no descriptor but
// their sockets.
func TestIdleHoldsNothing(t *testing.T) {
	const relays = 200
	pipes := tcpproxy.NewPipes(0)
	defer pipes.Close()
	before := descriptors(t)
	var wg sync.WaitGroup
	var clients, upstreams []net.Conn
	for range relays {
		client, a := tcpPair(t)
		b, upstream := tcpPair(t)
		clients, upstreams = append(clients, client), append(upstreams, upstream)
		wg.Go(func() { tcpproxy.Splice(t.Context(), a, b, tcpproxy.Options{Pipes: pipes}) })
	}
	for i := range relays { // more than a buffer, so that pipes are used
		go func() { _, _ = clients[i].Write(make([]byte, 200<<10)) }()
		p := make([]byte, 200<<10)
		for n := 0; n < len(p); {
			m, err := upstreams[i].Read(p[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for open, free, _ := pipes.Stats(); open != free; open, free, _ = pipes.Stats() {
		if time.Now().After(deadline) {
			t.Fatalf("%d pipes open, %d free", open, free)
		}
		time.Sleep(time.Millisecond)
	}
	_, free, _ := pipes.Stats()
	if now := descriptors(t); now > before+4*relays+2*free+8 {
		t.Errorf("%d descriptors for %d relays", now-before, relays)
	}
	for i := range relays {
		clients[i].Close()
		upstreams[i].Close()
	}
	wg.Wait()
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range list {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && (strings.HasPrefix(to, "socket:") || strings.HasPrefix(to, "pipe:")) {
			n++
		}
	}
	return n
}
