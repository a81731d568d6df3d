package client

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Conn is a connection on which a test writes bytes of its own and reads answers.
type Conn struct {
	net.Conn
	R  *bufio.Reader
	tb testing.TB
}

// Dial connects in the clear. Everything on the connection is over within the package's patience.
func Dial(tb testing.TB, addr string) *Conn {
	tb.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		tb.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	tb.Cleanup(func() { c.Close() })
	return &Conn{c, bufio.NewReader(c), tb}
}

// DialTLS connects and makes the handshake. config gets http/1.1 as protocol if it has none.
func DialTLS(tb testing.TB, addr string, config *tls.Config) *Conn {
	tb.Helper()
	c, err := TryTLS(tb, addr, config)
	if err != nil {
		tb.Fatalf("handshake with %s as %q: %v", addr, config.ServerName, err)
	}
	return c
}

// TryTLS is DialTLS with the handshake's error as a result.
func TryTLS(tb testing.TB, addr string, config *tls.Config) (*Conn, error) {
	tb.Helper()
	raw := Dial(tb, addr)
	config = config.Clone()
	if config.NextProtos == nil {
		config.NextProtos = []string{"http/1.1"}
	}
	c := tls.Client(raw.Conn, config)
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return &Conn{c, bufio.NewReader(c), tb}, nil
}

// TLS returns the state of a TLS connection.
func (c *Conn) TLS() tls.ConnectionState { return c.Conn.(*tls.Conn).ConnectionState() }

// Send writes text.
func (c *Conn) Send(text string) {
	c.tb.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

// Receive reads one answer to a request of the method, with its body.
func (c *Conn) Receive(method string) (*http.Response, string) {
	c.tb.Helper()
	resp, body, err := c.TryReceive(method)
	if err != nil {
		c.tb.Fatalf("receive: %v", err)
	}
	return resp, body
}

// TryReceive is Receive with an error as a result; the body is then what came of it.
func (c *Conn) TryReceive(method string) (*http.Response, string, error) {
	resp, err := http.ReadResponse(c.R, &http.Request{Method: method})
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// Get sends a GET request and returns the answer.
func (c *Conn) Get(host, path string) (*http.Response, string) {
	c.tb.Helper()
	c.Send("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	return c.Receive("GET")
}

// Closed waits until the peer has closed the connection, and fails if bytes come or time runs out. A
// reset is a close too.
func (c *Conn) Closed() {
	c.tb.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(c.R)
	var timeout net.Error
	switch {
	case len(b) > 0:
		c.tb.Errorf("bytes came before the connection was closed: %.200q", b)
	case errors.As(err, &timeout) && timeout.Timeout():
		c.tb.Errorf("the connection was not closed in %s", patience)
	}
}
