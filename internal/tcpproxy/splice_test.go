package tcpproxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, far = c.(*net.TCPConn), (<-got).(*net.TCPConn)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// outcome is what Splice returned.
type outcome struct {
	sent, received int64
	reason         diag.Code
}

// relayed starts a relay and returns what client and upstream hold.
func relayed(t testing.TB, ctx context.Context, opts Options, wrap func(net.Conn) net.Conn) (client, upstream *net.TCPConn, done chan outcome) {
	t.Helper()
	client, a := pair(t)
	b, upstream := pair(t)
	done = make(chan outcome, 1)
	var left net.Conn = a
	if wrap != nil {
		left = wrap(a)
	}
	go func() {
		var o outcome
		o.sent, o.received, o.reason = Splice(ctx, left, b, opts)
		done <- o
	}()
	return client, upstream, done
}

func wait(t testing.TB, done chan outcome) outcome {
	t.Helper()
	select {
	case o := <-done:
		return o
	case <-time.After(10 * time.Second):
		t.Fatal("the relay did not end")
	}
	return outcome{}
}

// opaque hides the socket, as TLS does.
type opaque struct{ net.Conn }

func (o opaque) CloseWrite() error { return o.Conn.(*net.TCPConn).CloseWrite() }

// deaf has no half-close either.
type deaf struct{ net.Conn }

// TestBothWays sends random bytes in random pieces in both directions and half-closes one after the other.
func TestBothWays(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{"spliced": nil, "copied": func(c net.Conn) net.Conn { return opaque{c} }} {
		t.Run(name, func(t *testing.T) {
			pipes := NewPipes(4)
			client, upstream, done := relayed(t, t.Context(), Options{Pending: []byte("early"), PendingB: []byte("banner"), Pipes: pipes}, wrap)
			var wg sync.WaitGroup
			write := func(c *net.TCPConn, seed uint64, n int) [32]byte {
				rng := rand.New(rand.NewPCG(seed, 1))
				h := sha256.New()
				b := make([]byte, 200_000)
				for n > 0 {
					p := b[:min(n, 1+rng.IntN(len(b)))]
					for i := range p {
						p[i] = byte(rng.Uint32())
					}
					h.Write(p)
					if _, err := c.Write(p); err != nil {
						t.Error(err)
						break
					}
					n -= len(p)
				}
				if err := c.CloseWrite(); err != nil {
					t.Error(err)
				}
				return [32]byte(h.Sum(nil))
			}
			read := func(c *net.TCPConn, prefix string) (got [32]byte) {
				b, err := io.ReadAll(c)
				if err != nil || !bytes.HasPrefix(b, []byte(prefix)) {
					t.Errorf("read %d bytes, %.10q, %v", len(b), b, err)
					return got
				}
				return sha256.Sum256(b[len(prefix):])
			}
			var wantUp, gotUp, wantDown, gotDown [32]byte
			wg.Go(func() { wantUp = write(client, 1, 9_000_000) })
			wg.Go(func() { gotUp = read(upstream, "early"); wantDown = write(upstream, 2, 5_000_000) })
			wg.Go(func() { gotDown = read(client, "banner") })
			wg.Wait()
			o := wait(t, done)
			if wantUp != gotUp || wantDown != gotDown {
				t.Error("the bytes arrived changed")
			}
			if o != (outcome{9_000_005, 5_000_006, 0}) {
				t.Errorf("got %+v", o)
			}
			if open, free, _ := pipes.Stats(); open != free {
				t.Errorf("%d pipes are open and %d free", open, free)
			}
		})
	}
}

// TestReset passes a reset on as one, in both directions.
func TestReset(t *testing.T) {
	for name, c := range map[string]struct {
		byClient bool
		want     diag.Code
	}{"client": {true, diag.TCPClientReset}, "upstream": {false, diag.TCPUpstreamReset}} {
		t.Run(name, func(t *testing.T) {
			client, upstream, done := relayed(t, t.Context(), Options{}, nil)
			who, other := client, upstream
			if !c.byClient {
				who, other = upstream, client
			}
			if _, err := who.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(other, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			who.SetLinger(0)
			who.Close()
			if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other side read %v, want a reset", err)
			}
			if o := wait(t, done); o.reason != c.want {
				t.Errorf("reason %v, want %v", o.reason, c.want)
			}
		})
	}
}

// TestLastWords lets the upstream answer and close while the client still sends: the answer arrives.
func TestLastWords(t *testing.T) {
	client, upstream, done := relayed(t, t.Context(), Options{}, nil)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		b := make([]byte, 1<<20)
		for range 64 {
			if _, err := client.Write(b); err != nil {
				return
			}
		}
	}()
	if _, err := io.ReadFull(upstream, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if _, err := upstream.Write([]byte("too much")); err != nil {
		t.Fatal(err)
	}
	upstream.CloseWrite()
	b := make([]byte, 8)
	if _, err := io.ReadFull(client, b); err != nil || string(b) != "too much" {
		t.Errorf("the client read %q, %v", b, err)
	}
	upstream.Close() // with unread bytes: a reset
	<-sent
	if o := wait(t, done); o.received != 8 || o.reason != diag.TCPUpstreamReset {
		t.Errorf("got %+v", o)
	}
}

// TestBounds ends relays that are idle, whose sides take nothing, and that are asked to end.
func TestBounds(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		client, _, done := relayed(t, t.Context(), Options{Idle: 50 * time.Millisecond}, nil)
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client read %v, want the end", err)
		}
		if o := wait(t, done); o.reason != diag.TCPIdle {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("busy is not idle", func(t *testing.T) {
		t.Parallel()
		client, upstream, done := relayed(t, t.Context(), Options{Idle: 200 * time.Millisecond}, nil)
		for range 20 {
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := upstream.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		client.Close()
		upstream.Close()
		if o := wait(t, done); o.reason != 0 || o.sent != 20 {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		client, _, done := relayed(t, t.Context(), Options{Write: 80 * time.Millisecond}, nil)
		go func() {
			b := make([]byte, 1<<20)
			for {
				if _, err := client.Write(b); err != nil {
					return
				}
			}
		}()
		if o := wait(t, done); o.reason != diag.TCPUpstreamSlow {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("context", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		_, _, done := relayed(t, ctx, Options{}, nil)
		cancel()
		if o := wait(t, done); o.reason != diag.Draining {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("withdrawn", func(t *testing.T) {
		t.Parallel()
		_, _, done := relayed(t, t.Context(), Options{Withdrawn: func() diag.Code { return diag.ClientCertWithdrawn }}, nil)
		if o := wait(t, done); o.reason != diag.ClientCertWithdrawn {
			t.Errorf("got %+v", o)
		}
	})
}

// TestDetail tells why the relay ended, not what came to its end as well.
func TestDetail(t *testing.T) {
	r, withdrawn := &relay{}, "the CA has gone"
	r.note(diag.TCPClientReset, true, io.ErrUnexpectedEOF)
	r.note(diag.ClientCertWithdrawn, false, nil)
	if got := r.detail(&withdrawn); got != io.ErrUnexpectedEOF.Error() {
		t.Errorf("%q", got)
	}
	r = &relay{}
	r.note(diag.ClientCertWithdrawn, false, nil)
	if got := r.detail(&withdrawn); got != withdrawn {
		t.Errorf("%q", got)
	}
}

// TestNoHalfClose ends both directions where one cannot be ended alone.
func TestNoHalfClose(t *testing.T) {
	_, upstream, done := relayed(t, t.Context(), Options{}, func(c net.Conn) net.Conn { return deaf{c} })
	upstream.CloseWrite()
	if o := wait(t, done); o.reason != 0 {
		t.Errorf("got %+v", o)
	}
}

// TestPipes runs out of pipes: bytes are copied then, and none is lost.
func TestPipes(t *testing.T) {
	pipes := NewPipes(1)
	held := pipes.get()
	if held == nil || pipes.get() != nil {
		t.Fatal("the bound does not hold")
	}
	client, upstream, done := relayed(t, t.Context(), Options{Pipes: pipes}, nil)
	const size = 20 << 20
	go func() {
		b := make([]byte, 1<<20)
		for range size >> 20 {
			client.Write(b)
		}
		client.CloseWrite()
	}()
	n, err := io.Copy(io.Discard, upstream)
	if n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	upstream.Close()
	if o := wait(t, done); o.sent != size {
		t.Errorf("got %+v", o)
	}
	if open, _, copied := pipes.Stats(); open != 1 || copied == 0 {
		t.Errorf("%d pipes open, %d turns without one", open, copied)
	}
	pipes.Close()
	pipes.put(held, true)
	if open, free, _ := pipes.Stats(); open != 0 || free != 0 {
		t.Errorf("%d pipes open, %d free after Close", open, free)
	}
}

// TestMillion passes a million small writes on and counts them.
func TestMillion(t *testing.T) {
	var sent atomic.Int64
	client, upstream, done := relayed(t, t.Context(), Options{Sent: &sent}, nil)
	const writes = 1_000_000
	go func() {
		raw, _ := client.SyscallConn()
		left := writes
		raw.Write(func(fd uintptr) bool {
			for left > 0 {
				if _, err := syscall.Write(int(fd), []byte{byte(left)}); err == syscall.EAGAIN {
					return false
				} else if err != nil {
					t.Error(err)
					return true
				}
				left--
			}
			return true
		})
		client.CloseWrite()
	}()
	n, err := io.Copy(io.Discard, upstream)
	if n != writes || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	upstream.Close()
	if o := wait(t, done); o.sent != writes || sent.Load() != writes {
		t.Errorf("got %+v", o)
	}
}
