package upstream

import (
	"bytes"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
)

func TestParseAnswer(t *testing.T) {
	a, n, err := parseAnswer([]byte("HTTP/1.0 407 Log  in\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Basic realm=x\r\nContent-Length: 12\r\nProxy-Status: squid; error=x\r\n\r\nrest"))
	want := connectAnswer{status: 407, reason: "Log in", length: 12, schemes: []string{"NTLM", "Basic"}, proxyNote: "squid; error=x"}
	if err != nil || n == 0 || !reflect.DeepEqual(a, want) {
		t.Errorf("%+v, %d, %v", a, n, err)
	}
	for _, bad := range []string{
		"HTTP/2 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n",
		"HTTP/1.1 200 O\x00K\r\n\r\n", "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nName : x\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", "ICY 200 OK\r\n\r\n", "<html>",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxAnswerHead) + "\r\n\r\n",
	} {
		if a, n, err := parseAnswer([]byte(bad)); err == nil {
			t.Errorf("%.40q is taken: %+v, %d", bad, a, n)
		}
	}
	for _, more := range []string{"", "H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r", "\x16", "\x00\x00"} {
		if _, n, err := parseAnswer([]byte(more)); err != nil || n != 0 {
			t.Errorf("%q: %d, %v", more, n, err)
		}
	}
}

// FuzzParseAnswer: an answer means the same however it arrives, and what is said of it is printable and short.
func FuzzParseAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 Connection established\r\n\r\n", "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"y\"\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x46", "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "HTTP/1.1 200 OK\n\n", "220 smtp\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, n, err := parseAnswer(b)
		if n < 0 || n > len(b) || n > maxAnswerHead || n > 0 && (err != nil || !bytes.HasSuffix(b[:n], []byte("\r\n\r\n"))) {
			t.Fatalf("%d of %d, %v", n, len(b), err)
		}
		if n > 0 && (a.status < 100 || a.status > 599 || a.length < -1 || len(a.reason) > maxWords+4 || len(a.proxyNote) > maxWords+4 || !visible([]byte(a.reason))) {
			t.Fatalf("%+v", a)
		}
		if n > 0 {
			for cut := range n {
				if _, m, err := parseAnswer(b[:cut]); m != 0 || err != nil {
					t.Fatalf("%d bytes of %d: %d, %v", cut, n, m, err)
				}
			}
		}
		if g := gist(b); len(g) > maxWords+4 || strings.ContainsAny(g, "\r\n") {
			t.Fatalf("%q", g)
		}
	})
}

// FuzzPosted: chunks give the same bytes however they arrive, and never more than came.
func FuzzPosted(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(1))
	f.Add([]byte("5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n"), uint8(3))
	f.Add([]byte("fffffffffffffff\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		read := func(step int) ([]byte, error) {
			p := newPosted(&pieces{b: b, step: step}, true)
			var out []byte
			buf := make([]byte, 7)
			for range len(b) + 8 {
				n, err := p.Read(buf)
				out = append(out, buf[:n]...)
				if err != nil {
					return out, err
				}
			}
			t.Fatal("it does not end")
			return nil, nil
		}
		whole, err1 := read(len(b) + 1)
		split, err2 := read(int(step)%8 + 1)
		if !bytes.Equal(whole, split) || err1 != err2 || len(whole) > len(b) {
			t.Fatalf("%q %v, %q %v", whole, err1, split, err2)
		}
	})
}

// pieces is a connection that yields a few bytes at a time.
type pieces struct {
	net.Conn
	b    []byte
	step int
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.b[:min(c.step, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}
