// Package testproxy is somebody else's HTTP proxy for tests: it takes CONNECT, tunnels or intercepts TLS with a CA
// of its own, and can be told to answer badly in every way that proxies do.
//
// It runs in the process of the test and refuses to know what is tested. Begin reading at Proxy.
package testproxy

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/testca"
)

// Proxy is a running proxy. Fields that are set before the first connection are only read.
type Proxy struct {
	// CA, if set, intercepts: destinations' TLS ends here, with leaves that it signs. Leaf changes what is signed.
	CA   atomic.Pointer[testca.Pair]
	Leaf func(host string, spec *testca.Spec)

	// Splice, if set, says which destinations are tunnelled although there is a CA.
	Splice func(host string) bool

	// Dial connects to a destination; nil: every destination is Origin, or none is connected to if that is "".
	Origin string

	// Login is "user:password" that Proxy-Authorization has to carry; "" for none.
	Login atomic.Pointer[string]

	// Answer, if set, is called in place of everything after the request's head was read.
	Answer func(c net.Conn, r *http.Request)

	// Raw, if set, is given each connection before anything is read.
	Raw func(c net.Conn)

	// TLS, if set, is spoken on the port itself.
	TLS *tls.Config

	ALPN []string // of intercepted TLS

	Connects atomic.Int32 // that were answered 200

	ln    net.Listener
	tb    testing.TB
	mu    sync.Mutex
	asked []*http.Request
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// Start serves on a port of loopback until the test ends. change may be nil.
func Start(tb testing.TB, change func(*Proxy)) *Proxy {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{ln: ln, tb: tb, conns: map[net.Conn]bool{}}
	if change != nil {
		change(p)
	}
	p.wg.Go(p.accept)
	tb.Cleanup(p.Stop)
	return p
}

// Address is host:port.
func (p *Proxy) Address() string { return p.ln.Addr().String() }

// Port is the port of Address.
func (p *Proxy) Port() uint16 { return uint16(p.ln.Addr().(*net.TCPAddr).Port) }

// Asked returns the requests so far.
func (p *Proxy) Asked() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*http.Request(nil), p.asked...)
}

// Stop closes the port and every connection.
func (p *Proxy) Stop() {
	p.ln.Close()
	p.Cut()
	p.wg.Wait()
}

// Cut closes every connection.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.hold(c)
		p.wg.Go(func() {
			defer p.drop(c)
			if p.Raw != nil {
				p.Raw(c)
				return
			}
			p.serve(c)
		})
	}
}

func (p *Proxy) hold(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

func (p *Proxy) serve(c net.Conn) {
	if p.TLS != nil {
		s := tls.Server(c, p.TLS)
		if s.Handshake() != nil {
			return
		}
		c = s
	}
	br := bufio.NewReader(c)
	r, err := http.ReadRequest(br)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, r)
	p.mu.Unlock()
	if p.Answer != nil {
		p.Answer(c, r)
		return
	}
	if l := p.Login.Load(); l != nil && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(*l)) {
		_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Length: 34\r\n\r\n<html><title>Log in</title></html>")
		return
	}
	p.tunnel(c, br, r)
}

func (p *Proxy) tunnel(c net.Conn, br *bufio.Reader, r *http.Request) {
	if p.Origin == "" {
		_, _ = io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\nContent-Length: 0\r\n\r\n")
		return
	}
	origin, err := net.DialTimeout("tcp", p.Origin, 5*time.Second)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.hold(origin)
	defer p.drop(origin)
	p.Connects.Add(1)
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	host, _, _ := net.SplitHostPort(r.Host)
	client := net.Conn(&buffered{c, br})
	ca := p.CA.Load()
	if ca != nil && (p.Splice == nil || !p.Splice(host)) {
		client, origin = p.intercept(client, origin, host, ca)
		if client == nil {
			return
		}
	}
	var both sync.WaitGroup
	both.Go(func() { pass(origin, client) })
	both.Go(func() { pass(client, origin) })
	both.Wait()
}

// intercept ends TLS on both sides.
func (p *Proxy) intercept(client, origin net.Conn, host string, ca *testca.Pair) (net.Conn, net.Conn) {
	spec := testca.Spec{CommonName: host, DNS: []string{host}}
	if net.ParseIP(host) != nil {
		spec.DNS, spec.IPs = nil, []string{host}
	}
	if p.Leaf != nil {
		p.Leaf(host, &spec)
	}
	leaf := ca.Issue(spec).TLS()
	s := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: p.ALPN})
	if s.Handshake() != nil {
		return nil, nil
	}
	u := tls.Client(origin, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: protocols(s)})
	if u.Handshake() != nil {
		return nil, nil
	}
	return s, u
}

func protocols(s *tls.Conn) []string {
	if n := s.ConnectionState().NegotiatedProtocol; n != "" {
		return []string{n}
	}
	return nil
}

// pass copies until an end, and passes that on.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	w, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok {
		to.Close()
		from.Close()
		return
	}
	_ = w.CloseWrite()
}

// buffered reads what a bufio.Reader has first.
type buffered struct {
	net.Conn
	br *bufio.Reader
}

// Read implements net.Conn.
func (b *buffered) Read(p []byte) (int, error) { return b.br.Read(p) }

// CloseWrite ends the sending direction.
func (b *buffered) CloseWrite() error {
	if w, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
