// Package outside is what lies behind a forward proxy under test: a destination with a certificate for each of its
// names, destinations that behave badly (bad.go), a parent proxy that dies and comes back, and clients that check
// what they get (client.go). All of it runs in the process of the test, on loopback.
//
// It refuses to know how the gateway is set up. Begin reading at Start.
package outside

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/testca"
)

// World is everything outside.
type World struct {
	CA     *testca.Pair // of destinations
	Served atomic.Int64 // requests that the good destination has answered

	tb     testing.TB
	key    crypto.Signer
	serial atomic.Int64
	good   net.Listener
	bad    map[Misdeed]net.Listener
	stop   chan struct{}
	conns  sync.Map // net.Conn of bad destinations
	srv    *http.Server
}

// Start starts destinations until the test ends. They close connections that have been idle for a time.
func Start(tb testing.TB, idle time.Duration) *World {
	tb.Helper()
	w := &World{CA: testca.New(tb, testca.Spec{CommonName: "A public CA"}), tb: tb, key: testca.NewKey(tb, testca.P256), bad: map[Misdeed]net.Listener{}, stop: make(chan struct{})}
	w.good = w.listen()
	w.srv = &http.Server{Handler: http.HandlerFunc(w.answer), TLSConfig: &tls.Config{GetCertificate: w.certificate, NextProtos: []string{"http/1.1"}}, IdleTimeout: idle, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = w.srv.ServeTLS(w.good, "", "") }()
	for _, m := range Misdeeds {
		ln := w.listen()
		w.bad[m] = ln
		go w.misbehave(ln, m)
	}
	tb.Cleanup(func() {
		close(w.stop)
		_ = w.srv.Close()
		for _, ln := range w.bad {
			_ = ln.Close()
		}
		w.conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
	})
	return w
}

func (w *World) listen() net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.tb.Fatal(err)
	}
	return ln
}

// certificate issues one for the name that is asked for.
func (w *World) certificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := h.ServerName
	if name == "" {
		name = "127.0.0.1"
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1_000_000 + w.serial.Add(1)), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		t.DNSNames, t.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, w.CA.Cert, w.key.Public(), w.CA.Key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: w.key}, err
}

// Text is what the good destination answers for a host and path.
func Text(host, path string) string { return "this is " + host + path + "\n" }

func (w *World) answer(rw http.ResponseWriter, r *http.Request) {
	w.Served.Add(1)
	if strings.HasPrefix(r.URL.Path, "/slow") {
		time.Sleep(100 * time.Millisecond)
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	rw.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(rw, Text(host, r.URL.Path))
}

// Address is where a host is: names that begin with a misdeed and a hyphen commit it, all others are good.
func (w *World) Address(host string) string {
	word, _, _ := strings.Cut(host, "-")
	if ln := w.bad[Misdeed(word)]; ln != nil {
		return ln.Addr().String()
	}
	return w.good.Addr().String()
}

// Parent is somebody else's proxy, which tunnels to the world. It can die and come back at the same address.
type Parent struct {
	Connects atomic.Int64

	w    *World
	addr string
	mu   sync.Mutex // guards the rest
	ln   net.Listener
	open map[net.Conn]bool
}

// Parent starts a proxy until the test ends.
func (w *World) Parent() *Parent {
	w.tb.Helper()
	p := &Parent{w: w, open: map[net.Conn]bool{}}
	p.ln = w.listen()
	p.addr = p.ln.Addr().String()
	go p.accept(p.ln)
	w.tb.Cleanup(p.Die)
	return p
}

// URL is the proxy's.
func (p *Parent) URL() string { return "http://" + p.addr }

// Die closes the port and cuts every connection.
func (p *Parent) Die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln != nil {
		_ = p.ln.Close()
		p.ln = nil
	}
	for c := range p.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		delete(p.open, c)
	}
}

// Return opens the port again.
func (p *Parent) Return() {
	var ln net.Listener
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ln, err = net.Listen("tcp", p.addr); err == nil {
			break
		}
	}
	if err != nil {
		p.w.tb.Errorf("the parent cannot come back: %v", err)
		return
	}
	p.mu.Lock()
	p.ln = ln
	p.mu.Unlock()
	go p.accept(ln)
}

func (p *Parent) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln == nil {
		_ = c.Close()
		return false
	}
	p.open[c] = true
	return true
}

func (p *Parent) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	_ = c.Close()
}

func (p *Parent) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		if p.hold(c) {
			go p.serve(c)
		}
	}
}

func (p *Parent) serve(c net.Conn) {
	defer p.drop(c)
	br := bufio.NewReader(c)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return
	}
	to, err := net.DialTimeout("tcp", p.w.Address(host), 5*time.Second)
	if err != nil {
		_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	if !p.hold(to) {
		return
	}
	defer p.drop(to)
	p.Connects.Add(1)
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(to, br)
		if tcp, ok := to.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	}()
	_, _ = io.Copy(c, to)
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	<-done
}

// Indent puts n spaces before each line, as YAML wants blocks.
func Indent(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+pad) + "\n"
}

// Manifests are the objects that nearly every set-up has: the ConfigMap default/roots with the CA of destinations
// and the Secret default/mesh-ca that the gateway intercepts with.
func (w *World) Manifests(mesh *testca.Pair) map[string]string {
	return map[string]string{
		"roots.yaml": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: roots, namespace: default}\ndata:\n  ca.crt: |\n%s", Indent(string(w.CA.CertPEM()), 4)),
		"mesh.yaml":  testca.SecretYAML("default", "mesh-ca", mesh.SecretData(testca.FormatTLS, nil, nil)),
	}
}
