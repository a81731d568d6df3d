// Package rawupstream is an origin on a raw socket that keeps all it receives, over HTTP/1.1 every byte,
// over HTTP/2 every field. It parses less than a server would and more strictly, so that a test sees what
// a gateway really sent, and it answers with whatever bytes or frames a test likes.
//
// Begin reading at Start and StartHTTP2.
package rawupstream

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Message is one request as it came. Incomplete ones have Err set: the connection ended, or the bytes
// were no HTTP/1.1 as a gateway should send it.
type Message struct {
	Conn   int    // number of the connection, from 1
	Stream uint32 // of HTTP/2
	Opened bool   // an extended CONNECT, in the shape of HTTP/1.1, whose body goes on
	Head   string // with its empty line
	Body   []byte // decoded
	Trail  string // trailer lines of a chunked body
	Err    error
}

// Line returns the request line without its end.
func (m *Message) Line() string {
	line, _, _ := strings.Cut(m.Head, "\r\n")
	return line
}

// Path returns the request target.
func (m *Message) Path() string {
	words := strings.Split(m.Line(), " ")
	if len(words) != 3 {
		return ""
	}
	return words[1]
}

// Field returns the value of a field, "" if it is not there, and "\x00" between several.
func (m *Message) Field(name string) string {
	var values []string
	for line := range strings.SplitSeq(m.Head, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return strings.Join(values, "\x00")
}

// Handler answers a message on its connection. rest holds bytes behind the message. Returning false
// closes the connection.
type Handler func(m *Message, c net.Conn, rest *bufio.Reader) bool

// Upstream is a running origin. Safe for concurrent use.
type Upstream struct {
	Addr string
	tb   testing.TB
	ln   net.Listener

	mu       sync.Mutex // guards what follows
	conns    int
	open     map[net.Conn]bool
	messages []*Message
	news     chan struct{}
	wg       sync.WaitGroup
}

// Start starts an origin on loopback that answers with h; nil answers 200 and the request line. It
// ends with the test.
func Start(tb testing.TB, h Handler) *Upstream {
	tb.Helper()
	return StartTLS(tb, h, nil)
}

// StartTLS is Start behind TLS.
func StartTLS(tb testing.TB, h Handler, config *tls.Config) *Upstream {
	tb.Helper()
	if h == nil {
		h = func(m *Message, c net.Conn, _ *bufio.Reader) bool { return Reply(c, 200, "", m.Line()+"\n") }
	}
	return startWith(tb, config, func(u *Upstream, c net.Conn, number int) { u.serve(c, number, h) })
}

// startWith starts an origin whose connections serve runs, and closes.
func startWith(tb testing.TB, config *tls.Config, serve func(u *Upstream, c net.Conn, number int)) *Upstream {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	u := &Upstream{Addr: ln.Addr().String(), tb: tb, ln: ln, open: map[net.Conn]bool{}, news: make(chan struct{})}
	u.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if config != nil {
				c = tls.Server(c, config)
			}
			u.mu.Lock()
			u.conns++
			n := u.conns
			u.open[c] = true
			u.mu.Unlock()
			u.wg.Go(func() {
				serve(u, c, n)
				c.Close()
				u.mu.Lock()
				delete(u.open, c)
				u.mu.Unlock()
			})
		}
	})
	tb.Cleanup(u.Close)
	return u
}

// Close ends the origin and its connections. It may be called twice.
func (u *Upstream) Close() {
	u.ln.Close()
	u.mu.Lock()
	for c := range u.open {
		c.Close()
	}
	u.mu.Unlock()
	u.wg.Wait()
}

// Reply writes an answer with a length; fields are whole lines. It reports whether that worked.
func Reply(c net.Conn, status int, fields, body string) bool {
	_, err := fmt.Fprintf(c, "HTTP/1.1 %d Status\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body)
	return err == nil
}

// add keeps a message.
func (u *Upstream) add(m *Message) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.messages = append(u.messages, m)
	close(u.news)
	u.news = make(chan struct{})
}

func (u *Upstream) serve(c net.Conn, number int, h Handler) {
	r := bufio.NewReader(c)
	for {
		m := &Message{Conn: number}
		readMessage(m, r, c)
		if m.Err != nil && m.Head == "" { // ended between messages, one way or the other
			return
		}
		u.add(m)
		if m.Err != nil || !h(m, c, r) {
			return
		}
	}
}

// Messages returns what came so far.
func (u *Upstream) Messages() []*Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*Message(nil), u.messages...)
}

// Since returns what came after the first n messages.
func (u *Upstream) Since(n int) []*Message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*Message(nil), u.messages[n:]...)
}

// Count returns how many messages came so far.
func (u *Upstream) Count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.messages)
}

// Connections returns how many connections came so far.
func (u *Upstream) Connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conns
}

// Await waits until n messages have come and returns them all.
func (u *Upstream) Await(n int) []*Message {
	u.tb.Helper()
	end := time.After(20 * time.Second)
	for {
		u.mu.Lock()
		got, news := append([]*Message(nil), u.messages...), u.news
		u.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-news:
		case <-end:
			u.tb.Fatalf("the upstream received %d messages, want %d", len(got), n)
		}
	}
}

// readMessage reads one request. A peer that waits for 100 Continue gets it.
func readMessage(m *Message, r *bufio.Reader, c net.Conn) {
	var head bytes.Buffer
	for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		b, err := r.ReadByte()
		if err != nil {
			m.Head = head.String()
			m.Err = eof(err, head.Len() > 0)
			return
		}
		head.WriteByte(b)
	}
	m.Head = head.String()
	if words := strings.Split(m.Line(), " "); len(words) != 3 || words[2] != "HTTP/1.1" {
		m.Err = fmt.Errorf("no request line: %q", m.Line())
		return
	}
	length, coding := m.Field("Content-Length"), m.Field("Transfer-Encoding")
	if strings.EqualFold(m.Field("Expect"), "100-continue") {
		if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			m.Err = err
			return
		}
	}
	switch {
	case length != "" && coding != "":
		m.Err = errors.New("both Content-Length and Transfer-Encoding")
	case coding == "chunked":
		readChunks(m, r)
	case coding != "":
		m.Err = fmt.Errorf("transfer coding %q", coding)
	case length != "":
		n, err := strconv.ParseUint(length, 10, 62)
		if err != nil {
			m.Err = fmt.Errorf("length %q", length)
			return
		}
		m.Body = make([]byte, n)
		got, err := io.ReadFull(r, m.Body)
		m.Body = m.Body[:got]
		m.Err = eof(err, true)
	}
}

func readChunks(m *Message, r *bufio.Reader) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			m.Err = eof(err, true)
			return
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 62)
		if err != nil || !strings.HasSuffix(line, "\r\n") {
			m.Err = fmt.Errorf("chunk size %q", line)
			return
		}
		if n == 0 {
			break
		}
		part := make([]byte, n+2)
		got, err := io.ReadFull(r, part)
		m.Body = append(m.Body, part[:min(got, int(n))]...)
		if err != nil {
			m.Err = eof(err, true)
			return
		}
		if string(part[n:]) != "\r\n" {
			m.Err = fmt.Errorf("chunk ends with %q", part[n:])
			return
		}
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			m.Err = eof(err, true)
			return
		}
		if line == "\r\n" {
			return
		}
		m.Trail += line
	}
}

// eof makes the end within a message an unexpected one.
func eof(err error, within bool) error {
	if errors.Is(err, io.EOF) && within {
		return io.ErrUnexpectedEOF
	}
	return err
}
