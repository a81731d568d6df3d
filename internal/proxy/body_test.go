package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// hashing is an origin that answers with the hash of the request's body and its trailers.
func hashing(t testing.TB) *rawOrigin {
	return newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			h := sha256.New()
			n, err := io.Copy(h, req.Body)
			if err != nil {
				return
			}
			if _, err := io.WriteString(c, sized(fmt.Sprintf("%d %x %s", n, h.Sum(nil), req.Trailer.Get("X-Sum")))); err != nil {
				return
			}
		}
	})
}

func TestBodies(t *testing.T) {
	t.Parallel()
	o := hashing(t)
	for _, secure := range []bool{false, true} {
		g := start(t, setup{backend: o.addr, tls: secure})
		var c io.ReadWriter = g.dial()
		if secure {
			c = g.dialTLS()
		}
		r := bufio.NewReader(c)
		for _, size := range []int{0, 1, 100, 5000, 20_000, 1_000_000, 5_000_000} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(rand.Uint32())
			}
			want := fmt.Sprintf("%d %x ", size, sha256.Sum256(body))
			request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", size, body)
			if _, got := roundTrip(t, c, r, "POST", request); got != want {
				t.Fatalf("sized %d: got %q, want %q", size, got, want)
			}
			var b strings.Builder
			b.WriteString("POST / HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n")
			for rest := body; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(70_000))
				fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			b.WriteString("0\r\nX-Sum: 9\r\n\r\n")
			if _, got := roundTrip(t, c, r, "POST", b.String()); got != want+"9" {
				t.Fatalf("chunked %d: got %q, want %q", size, got, want)
			}
			if a := g.record(); a.BytesReceived != int64(size) {
				t.Errorf("record says %d bytes, want %d", a.BytesReceived, size)
			}
			g.record()
		}
	}
	if n := o.conns.Load(); n != 2 {
		t.Errorf("the upstream saw %d connections, want 2", n)
	}
}

func TestLargeAnswers(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 300_000)
	answers := []string{sized(string(body)),
		fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)}
	for _, answer := range answers {
		o := answering(t, answer)
		for _, secure := range []bool{false, true} {
			g := start(t, setup{backend: o.addr, tls: secure})
			var c io.ReadWriter = g.dial()
			if secure {
				c = g.dialTLS()
			}
			r := bufio.NewReader(c)
			for range 2 {
				if _, got := roundTrip(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); got != string(body) {
					t.Fatalf("secure=%v: %d bytes came, want %d", secure, len(got), len(body))
				}
			}
		}
	}
}

// TestBodyThenPipelined sends a body in parts with the next request right behind it.
func TestBodyThenPipelined(t *testing.T) {
	o := hashing(t)
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	r := bufio.NewReader(c)
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // so that the rest comes in a second read
	_, first := roundTrip(t, c, r, "POST", "cdGET /second HTTP/1.1\r\nHost: a.test\r\n\r\n")
	_, second := roundTrip(t, c, r, "GET", "")
	if want := fmt.Sprintf("4 %x ", sha256.Sum256([]byte("abcd"))); first != want || !strings.HasPrefix(second, "0 ") {
		t.Errorf("got %q and %q", first, second)
	}
}

// TestEarlyAnswer has an upstream that refuses a body before it has come.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
			readHead(r)
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			_, _ = io.CopyN(io.Discard, r, 100_000)
		})
		g := start(t, setup{backend: o.addr, tls: secure})
		var c io.ReadWriter = g.dial()
		if secure {
			c = g.dialTLS()
		}
		go func() {
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n")
			part := make([]byte, 64<<10)
			for {
				if _, err := c.Write(part); err != nil {
					return
				}
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("secure=%v: %v", secure, err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != 413 || string(body) != "big" || err != nil || !resp.Close {
			t.Errorf("secure=%v: got %d %q %v close=%v", secure, resp.StatusCode, body, err, resp.Close)
		}
	}
}

func TestContinue(t *testing.T) {
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if !strings.Contains(head, "Expect: 100-continue") {
			_, _ = io.WriteString(c, "HTTP/1.1 500 no expectation\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if strings.HasPrefix(head, "POST /no ") {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, r)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		body := make([]byte, 4)
		if _, err := io.ReadFull(r, body); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"+string(body))
		}
	})
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	r := bufio.NewReader(c)
	head := "POST %s HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
	fmt.Fprintf(c, head, "/yes")
	if got := readHead(r); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("got %q", got)
	}
	if resp, body := roundTrip(t, c, r, "POST", "body"); resp.StatusCode != 200 || body != "body" {
		t.Fatalf("got %d %q", resp.StatusCode, body)
	}
	fmt.Fprintf(c, head, "/no")
	resp, body := roundTrip(t, c, r, "POST", "")
	if resp.StatusCode != 403 || body != "no" || !resp.Close {
		t.Errorf("got %d %q, close=%v: the body may never come, so nothing can follow", resp.StatusCode, body, resp.Close)
	}
}

func TestClientBreaksOff(t *testing.T) {
	got := make(chan string, 1)
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		b, _ := io.ReadAll(r)
		got <- string(b)
	})
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	time.Sleep(20 * time.Millisecond)
	c.Close()
	if a := g.record(); a.Code != diag.ClientClosed || a.Flags != "DC" || a.Status != 499 {
		t.Errorf("record has %s %s %d", a.Code, a.Flags, a.Status)
	}
	if b := <-got; strings.HasSuffix(b, "0\r\n\r\n") {
		t.Errorf("the upstream was told that the body is complete: %q", b)
	}
}

func TestBadChunkMidway(t *testing.T) {
	got := make(chan string, 1)
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		b, _ := io.ReadAll(r)
		got <- string(b)
	})
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	time.Sleep(20 * time.Millisecond)
	if raw := readAnswer(t, c, "3 \r\n"); !strings.HasPrefix(raw, "HTTP/1.1 400 ") {
		t.Errorf("got %q", raw)
	}
	if a := g.record(); a.Code != diag.RequestBadChunk {
		t.Errorf("record has %s", a.Code)
	}
	if b := <-got; strings.HasSuffix(b, "0\r\n\r\n") {
		t.Errorf("the upstream was told that the body is complete: %q", b)
	}
}

func TestMaxRequestBody(t *testing.T) {
	t.Parallel()
	o := hashing(t)
	g := start(t, setup{backend: o.addr, limits: Limits{MaxRequestBody: 10}})
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\n01234567890",
		"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
	} {
		if raw := readAnswer(t, g.dial(), request); !strings.HasPrefix(raw, "HTTP/1.1 413 ") {
			t.Errorf("got %q", raw)
		}
	}
}

// TestEcho streams both ways at once: an answer that begins before the request has ended.
func TestEcho(t *testing.T) {
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			buf := make([]byte, 1000)
			for {
				n, err := req.Body.Read(buf)
				if n > 0 {
					fmt.Fprintf(c, "%x\r\n%s\r\n", n, buf[:n])
				}
				if err != nil {
					break
				}
			}
			_, _ = io.WriteString(c, "0\r\n\r\n")
		}
	})
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	r := bufio.NewReader(c)
	for range 3 {
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 5)
		for range 5 {
			_, _ = io.WriteString(c, "5\r\nhello\r\n")
			if _, err := io.ReadFull(resp.Body, one); err != nil || string(one) != "hello" {
				t.Fatalf("got %q %v", one, err)
			}
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
			t.Fatalf("got %q %v after the end", rest, err)
		}
	}
	if n := o.conns.Load(); n != 1 {
		t.Errorf("the upstream saw %d connections, want 1", n)
	}
}
