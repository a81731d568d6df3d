//lint:file-ignore SA1019 x/net's HTTP/2 takes single connections, which net/http does not

package dataplane

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/overload"
)

// TestFlood opens far more connections than the bounds allow, silent ones and half hellos: they are shed
// with a reason, a client that was there goes on, and one that comes meanwhile gets in.
func TestFlood(t *testing.T) {
	bounds := overload.New(overload.Options{MaxMemory: 1 << 40, MaxConnections: 40, MaxPerAddress: -1, MaxHandshakes: 10})
	w := newWorld(t, Options{Bounds: bounds})
	a := w.apply(w.snapshot)
	secure := w.address(a, "*:443")
	there := dial(t, secure, w.config443("a.test"))
	there.get("a.test", "/")
	flood := func(n int, hello string) {
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				c, err := net.DialTimeout("tcp", secure, 5*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { c.Close() })
				_, _ = c.Write([]byte(hello))
			})
		}
		all.Wait()
	}
	flood(100, "\x16\x03\x01\x01\x00\x01")
	eventually(t, "the flood is shed", func() bool {
		n := w.sink.codes()
		return n[diag.OverloadHandshakes] > 0 && n[diag.OverloadHandshakes]+n[diag.OverloadConnections] == 90
	})
	eventually(t, "few handshakes are left", func() bool { return w.plane.OpenConnections()["*:443"] <= 11 })
	if code, _ := dial(t, secure, w.config443("a.test")).get("a.test", "/"); code != 200 {
		t.Errorf("a client that comes during the flood: %d", code)
	}
	// Connections that are through the handshake stay, up to the bound of all.
	for range 50 {
		c, err := tls.Dial("tcp", secure, w.config443("a.test"))
		if err != nil {
			continue
		}
		t.Cleanup(func() { c.Close() })
	}
	if n := w.plane.OpenConnections()["*:443"]; n > 40 {
		t.Errorf("%d connections are open", n)
	}
	if n := w.sink.codes()[diag.OverloadConnections]; n == 0 || uint64(n) != bounds.State().Shed[diag.OverloadConnections] {
		t.Errorf("%d records of the bound on connections, %v shed", n, bounds.State().Shed)
	}
	if code, _ := there.get("a.test", "/"); code != 200 {
		t.Errorf("the client that was there: %d", code)
	}
}

// TestHTTP2Counts tells how many HTTP/2 connections there are, by listener.
func TestHTTP2Counts(t *testing.T) {
	w := newWorld(t, Options{})
	l := w.tls("a.test")
	l.Chains[0].TLS.ALPN = []string{"h2", "http/1.1"}
	a := w.apply(w.config(w.plain("a.test"), l))
	config := w.config443("a.test")
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", w.address(a, "*:443"), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := (&http2.Transport{}).NewClientConn(conn); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one connection is counted", func() bool { return w.plane.HTTP2()["*:443"].Connections == 1 })
	if n, ok := w.plane.HTTP2()["*:80"]; !ok || n.Connections != 0 {
		t.Errorf("plain listener: %+v %v", n, ok)
	}
}
