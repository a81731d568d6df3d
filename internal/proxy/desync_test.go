package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestNoRepeatAfterInterimAnswer has a kept connection die after 103: the upstream has the request, so
// it is not sent again; and what was composed last is no request any more.
func TestNoRepeatAfterInterimAnswer(t *testing.T) {
	heads := make(chan string, 10)
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head := readHead(r)
			if head == "" {
				return
			}
			heads <- head
			if strings.HasPrefix(head, "GET /hint ") {
				_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
				return
			}
			_, _ = io.WriteString(c, sized("ok"))
		}
	})
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	r := bufio.NewReader(c)
	roundTrip(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if _, err := io.WriteString(c, "GET /hint HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	readHead(r)
	if got := readHead(r); !strings.HasPrefix(got, "HTTP/1.1 502 ") {
		t.Errorf("answer %q", got)
	}
	for _, want := range []string{"GET / ", "GET /hint "} {
		if head := <-heads; !strings.HasPrefix(head, want) {
			t.Errorf("the upstream got %q, want %q", head, want)
		}
	}
	select {
	case head := <-heads:
		t.Errorf("the upstream also got %q", head)
	default:
	}
}

// TestExpectationUnanswered has upstreams answer an expectation at once. One that has said 100 reads the
// body; of the other nobody knows whether it takes the body for the next request.
func TestExpectationUnanswered(t *testing.T) {
	for _, invite := range []bool{false, true} {
		o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
			for {
				head := readHead(r)
				switch {
				case head == "":
					return
				case strings.HasPrefix(head, "POST") && invite:
					_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
					_, _ = io.CopyN(io.Discard, r, 38)
				}
				_, _ = io.WriteString(c, sized(strings.Fields(head)[1]))
			}
		})
		g := start(t, setup{backend: o.addr})
		c := g.dial()
		r := bufio.NewReader(c)
		fmt.Fprintf(c, "POST /first HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 38\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n")
		if invite {
			readHead(r)
		}
		if _, body := roundTrip(t, c, r, "POST", ""); body != "/first" {
			t.Errorf("invite=%v: first answer %q", invite, body)
		}
		if _, body := roundTrip(t, c, r, "GET", "GET /second HTTP/1.1\r\nHost: a.test\r\n\r\n"); body != "/second" {
			t.Errorf("invite=%v: second answer %q", invite, body)
		}
		want := int32(2)
		if invite {
			want = 1
		}
		if got := o.conns.Load(); got != want {
			t.Errorf("invite=%v: %d upstream connections, want %d", invite, got, want)
		}
	}
}

// TestNameMovesToAnotherChain keeps a connection open while its name gets a chain of its own, which may
// ask for client certificates: the connection has not shown one.
func TestNameMovesToAnotherChain(t *testing.T) {
	o := answering(t, sized("ok"))
	g := start(t, setup{backend: o.addr, tls: true})
	c := g.dialTLS()
	r := bufio.NewReader(c)
	const request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	if resp, _ := roundTrip(t, c, r, "GET", request); resp.StatusCode != 200 {
		t.Fatalf("got %d", resp.StatusCode)
	}
	name, err := hostname.Parse("a.test")
	if err != nil {
		t.Fatal(err)
	}
	strict := *g.chain
	strict.Name, strict.Hosts = "ns/gw/strict", []hostname.Pattern{name}
	strict.TLS = &ir.TLS{Class: "strict"}
	g.state.Store(g.compile(g.chain, &strict))
	if resp, _ := roundTrip(t, c, r, "GET", request); resp.StatusCode != 421 {
		t.Errorf("got %d, want 421", resp.StatusCode)
	}
}
