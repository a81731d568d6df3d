package outside

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// Misdeed is what a bad destination does. Names of hosts that begin with one and a hyphen lead to it.
type Misdeed string

// All that destinations do here.
const (
	Silent  Misdeed = "silent"  // takes the connection and says nothing
	Drips   Misdeed = "drips"   // sends its ServerHello a byte at a time
	Quits   Misdeed = "quits"   // closes in the middle of the handshake
	Garbage Misdeed = "garbage" // answers the hello with what is no TLS
	Endless Misdeed = "endless" // sends fields without an end
	Mute    Misdeed = "mute"    // takes requests and never answers
	Trickle Misdeed = "trickle" // answers with a body of a byte at a time
	Cut     Misdeed = "cut"     // closes in the middle of a body
)

// Misdeeds are all of them.
var Misdeeds = []Misdeed{Silent, Drips, Quits, Garbage, Endless, Mute, Trickle, Cut}

func (w *World) misbehave(ln net.Listener, m Misdeed) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		w.conns.Store(c, true)
		go func() {
			defer w.conns.Delete(c)
			defer c.Close()
			w.commit(c, m)
		}()
	}
}

// wait returns false when the test is over.
func (w *World) wait(d time.Duration) bool {
	select {
	case <-w.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// commit does what m says on one connection.
func (w *World) commit(c net.Conn, m Misdeed) {
	hello := make([]byte, 4<<10)
	switch m {
	case Silent:
		_, _ = io.Copy(io.Discard, c)
		return
	case Drips, Quits, Garbage:
		if _, err := c.Read(hello); err != nil {
			return
		}
		switch m {
		case Garbage:
			_, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n")
			return
		case Quits:
			_, _ = c.Write([]byte{22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3})
			return
		}
		for _, b := range append([]byte{22, 3, 3, 64, 0, 2, 0, 63, 252, 3, 3}, make([]byte, 1<<14)...) {
			if _, err := c.Write([]byte{b}); err != nil || !w.wait(50*time.Millisecond) {
				return
			}
		}
		return
	}
	s := tls.Server(c, &tls.Config{GetCertificate: w.certificate})
	if s.Handshake() != nil {
		return
	}
	if _, err := s.Read(hello); err != nil {
		return
	}
	switch m {
	case Mute:
		_, _ = io.Copy(io.Discard, s)
	case Endless:
		_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\n")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(s, "X-Field-%d: %064d\r\n", i, i); err != nil {
				return
			}
		}
	case Trickle:
		_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
		for w.wait(50 * time.Millisecond) {
			if _, err := io.WriteString(s, "."); err != nil {
				return
			}
		}
	case Cut:
		_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")
	}
}

// Rude is what a bad client does.
type Rude string

// All that clients do here.
const (
	SilentAfterConnect Rude = "silent after CONNECT"
	HalfHello          Rude = "half a ClientHello"
	DripHello          Rude = "a ClientHello a byte at a time"
	HalfConnect        Rude = "half a CONNECT"
	DripConnect        Rude = "a CONNECT a byte at a time"
	HalfRequest        Rude = "half a request inside"
	NoReading          Rude = "takes nothing of the answer"
)

// Rudeness is all of them.
var Rudeness = []Rude{SilentAfterConnect, HalfHello, DripHello, HalfConnect, DripConnect, HalfRequest, NoReading}

// Annoy behaves so towards the proxy at addr, asking for host, until stop is closed or the proxy has had enough.
func Annoy(addr, host string, r Rude, stop <-chan struct{}) error {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		<-stop
		c.Close()
	}()
	drip := func(text []byte) {
		for _, b := range text {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	connect := fmt.Sprintf("CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", host, host)
	switch r {
	case HalfConnect:
		_, _ = io.WriteString(c, connect[:20])
	case DripConnect:
		drip([]byte(connect + string(make([]byte, 1000))))
	default:
		if _, err := io.WriteString(c, connect); err != nil {
			return err
		}
		head := make([]byte, 4<<10)
		if n, err := c.Read(head); err != nil || n < 12 || string(head[:12]) != "HTTP/1.1 200" {
			return fmt.Errorf("CONNECT: %.40q %v", head[:n], err)
		}
		hello, err := hello(host)
		if err != nil {
			return err
		}
		switch r {
		case HalfHello:
			_, _ = c.Write(hello[:len(hello)/2])
		case DripHello:
			drip(hello)
		case HalfRequest, NoReading:
			s := tls.Client(c, &tls.Config{ServerName: host, InsecureSkipVerify: true})
			if err := s.Handshake(); err != nil {
				return err
			}
			if r == HalfRequest {
				_, _ = fmt.Fprintf(s, "GET / HTTP/1.1\r\nHost: %s\r\nX-Half", host)
				break
			}
			for range 1000 { // answers wait for somebody who takes them
				_ = s.SetWriteDeadline(time.Now().Add(5 * time.Second))
				if _, err := fmt.Fprintf(s, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host); err != nil {
					break
				}
			}
			<-stop
			return nil
		}
	}
	_, _ = io.Copy(io.Discard, c)
	return nil
}

// hello is the ClientHello for a host.
func hello(host string) ([]byte, error) {
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: host}).Handshake()
		a.Close()
	}()
	buf := make([]byte, 4<<10)
	n, err := b.Read(buf)
	return buf[:n], err
}
