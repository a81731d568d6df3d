package mux

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

// transport is the standard library's client over plain TCP.
func transport(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: 1}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func TestServerWithTransportOfNet(t *testing.T) {
	s := startServer(t, Limits{}, echo)
	client := transport(t)
	big := randomBytes(5 << 20)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			body := big[:i*i*3000]
			req, _ := http.NewRequest("POST", "http://"+s.addr+"/", bytes.NewReader(body))
			if i%2 == 1 {
				req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
				req.Trailer = http.Header{"X-Sum": {fmt.Sprintf("%x", sha256.Sum256(body))}}
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Error(i, err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if len(body) == 0 && string(got) == "hello, world\n" {
				got = nil
			}
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("stream %d: %d bytes of %d, %v", i, len(got), len(body), err)
			}
			if want := req.Trailer.Get("X-Sum"); resp.Trailer.Get("X-Sum") != want {
				t.Errorf("stream %d: trailers %v, want %q", i, resp.Trailer, want)
			}
		}()
	}
	wg.Wait()
}

// dialed is our client role on one connection to a server.
func dialed(t testing.TB, nc net.Conn, limits Limits) *Conn {
	c := New(Config{Conn: nc, Client: true, Limits: limits})
	done := make(chan error, 1)
	go func() { done <- c.Serve() }()
	t.Cleanup(func() {
		c.Abort(http2.NoError)
		<-done
	})
	return c
}

// netServer is the standard library's server, and our client role on a connection to it.
func netServer(t *testing.T, h http.HandlerFunc) *Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0)}
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return dialed(t, nc, Limits{})
}

// pair returns both ends of a connection on loopback.
func pair(t testing.TB) (a, b net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if a, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func request(method, path string) *message.Request {
	r := &message.Request{Method: []byte(method), Scheme: "http", Authority: []byte("example.test"), Path: []byte(path)}
	if method == "POST" {
		r.Body.Kind = message.Chunked
		r.Fields.AddString("Trailer", "x-sum") // net/http passes on only what was announced
	}
	return r
}

// roundTrip sends a body and returns the answer's.
func roundTrip(c *Conn, body []byte, trailers *message.Fields) (message.Response, []byte, *message.Fields, error) {
	var resp message.Response
	s, err := c.Open(request("POST", "/"), false)
	if err != nil {
		return resp, nil, nil, err
	}
	defer s.Close()
	sent := make(chan error, 1)
	go func() {
		err := s.Write(body, false)
		if err == nil {
			err = s.WriteTrailers(trailers)
		}
		sent <- err
	}()
	if err := s.ReadResponse(&resp); err != nil {
		<-sent
		return resp, nil, nil, err
	}
	var got []byte
	for {
		b, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			<-sent
			return resp, got, nil, err
		}
		got = append(got, b...)
	}
	var f message.Fields
	for i := range s.Trailers().Len() {
		l := s.Trailers().At(i)
		f.AddString(string(l.Name), string(l.Value))
	}
	return resp, got, &f, <-sent
}

func TestClientWithServerOfNet(t *testing.T) {
	c := netServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		io.Copy(w, r.Body)
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	})
	big := randomBytes(5 << 20)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			body := big[:i*i*3000]
			sum := fmt.Sprintf("%x", sha256.Sum256(body))
			var trailers message.Fields
			trailers.AddString("x-sum", sum)
			resp, got, back, err := roundTrip(c, body, &trailers)
			if err != nil || resp.Status != 200 || !bytes.Equal(got, body) {
				t.Errorf("stream %d: status %d, %d bytes of %d, %v", i, resp.Status, len(got), len(body), err)
				return
			}
			if v, _ := back.Lookup([]byte("x-sum")); string(v) != sum {
				t.Errorf("stream %d: trailer %q", i, v)
			}
		}()
	}
	wg.Wait()
	if n := c.Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

func TestRequestsOfOneConnection(t *testing.T) {
	s := startServer(t, Limits{}, echo)
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := dialed(t, nc, Limits{})
	body := randomBytes(3 << 20)
	var trailers message.Fields
	trailers.AddString("x-sum", "1")
	for i := range 20 {
		resp, got, back, err := roundTrip(c, body[:i*100_000], &trailers)
		if err != nil || resp.Status != 200 || i > 0 && !bytes.Equal(got, body[:i*100_000]) {
			t.Fatalf("request %d: %d, %d bytes, %v", i, resp.Status, len(got), err)
		}
		if v, ok := back.Lookup([]byte("x-sum")); !ok || string(v) != "1" {
			t.Errorf("request %d: no trailer", i)
		}
	}
	if <-c.Ready(); !c.ExtendedConnect() || c.Available() != DefaultMaxStreams {
		t.Errorf("extended CONNECT %v, %d streams available", c.ExtendedConnect(), c.Available())
	}
}

func TestClientHearsOfReset(t *testing.T) {
	c := netServer(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	_, _, _, err := roundTrip(c, nil, nil)
	var reset *ResetError
	if !errors.As(err, &reset) || !reset.Remote {
		t.Errorf("%v, want a reset by the peer", err)
	}
}
