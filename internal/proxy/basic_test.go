package proxy

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

func TestKeepAliveBothWays(t *testing.T) {
	o := answering(t, sized("hello"))
	for _, secure := range []bool{false, true} {
		g := start(t, setup{backend: o.addr, tls: secure})
		var c interface {
			Read([]byte) (int, error)
			Write([]byte) (int, error)
		} = g.dial()
		if secure {
			c = g.dialTLS()
		}
		before := o.conns.Load()
		r := bufio.NewReader(c)
		for range 3 {
			resp, body := roundTrip(t, c, r, "GET", "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
			if resp.StatusCode != 200 || body != "hello" || resp.Close {
				t.Fatalf("got %d %q close=%v", resp.StatusCode, body, resp.Close)
			}
			a := g.record()
			if a.Status != 200 || a.BytesSent != 5 || a.Target != "/x" || a.Route != "all" || a.Upstream != "u" || a.Code != 0 {
				t.Errorf("record: %+v", a)
			}
		}
		if n := o.conns.Load() - before; n != 1 {
			t.Errorf("secure=%v: the upstream saw %d connections, want 1", secure, n)
		}
	}
}

func TestPipeliningInOrder(t *testing.T) {
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head := readHead(r)
			if head == "" {
				return
			}
			path := strings.Fields(head)[1]
			if _, err := c.Write([]byte(sized(path))); err != nil {
				return
			}
		}
	})
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	r := bufio.NewReader(c)
	var all strings.Builder
	for _, p := range []string{"/1", "/2", "/3", "/4"} {
		all.WriteString("GET " + p + " HTTP/1.1\r\nHost: a.test\r\n\r\n")
	}
	_, first := roundTrip(t, c, r, "GET", all.String())
	got := []string{first}
	for range 3 {
		_, body := roundTrip(t, c, r, "GET", "")
		got = append(got, body)
	}
	if s := strings.Join(got, ""); s != "/1/2/3/4" {
		t.Errorf("answers came as %q", s)
	}
}
