package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// parentTold is a proxy that refuses everything and keeps what it was told.
type parentTold struct {
	mu   sync.Mutex
	said []string
}

func newParentTold(t *testing.T) (*parentTold, *ir.Proxy) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &parentTold{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	return p, &ir.Proxy{Name: "t/parent", Hosts: []hostname.Pattern{hostname.Any()}, Addresses: []ir.ProxyAddress{{Host: "127.0.0.1", Port: uint16(n)}}}
}

// serve reads heads and refuses each.
func (p *parentTold) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		p.said = append(p.said, line)
		p.mu.Unlock()
		if line == "\r\n" {
			if _, err := c.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")); err != nil {
				return
			}
		}
	}
}

// lines returns what it was told that contains a word.
func (p *parentTold) lines(word string) (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.said {
		if strings.Contains(l, word) {
			out = append(out, l)
		}
	}
	return out
}

// TestForwardServerNameIsNoHead has a client of a captured connection send a server name that would be more than a
// name in a request to another proxy, to logs and to rules.
func TestForwardServerNameIsNoHead(t *testing.T) {
	for _, splice := range []bool{false, true} {
		parent, proxy := newParentTold(t)
		o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
			s.Config.Proxies = []*ir.Proxy{proxy}
			if splice {
				f.Interception = nil
			}
		})
		for _, name := range []string{
			"x HTTP/1.1\r\n\r\nCONNECT 10.0.0.1",
			"x\r\nX-Smuggled: 1",
			"x y", "x/y", "x@10.0.0.1", "x:80", "x\x00.test", "x..test", ".test", "x\x1b[2J",
		} {
			conn, err := net.Dial("tcp", o.address(o.applied, "*:3129"))
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			if err := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake(); err == nil {
				t.Errorf("%q was served, spliced %v", name, splice)
			}
			conn.Close()
		}
		if said := parent.lines("CONNECT"); len(said) > 0 {
			t.Errorf("spliced %v: the parent was asked %q", splice, said)
		}
	}
}

// TestForwardNumbersAreNoNames has clients write addresses as only some programs read them, to get them past rules and
// the check of local addresses, through another proxy.
func TestForwardNumbersAreNoNames(t *testing.T) {
	parent, proxy := newParentTold(t)
	o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
		s.Config.Proxies = []*ir.Proxy{proxy}
		f.Loopback = false
	})
	for _, host := range []string{"127.1", "0x7f.1", "2130706433", "017700000001", "0x7F000001", "127.0.0.1.", "127.1.", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "169.254.169.254"} {
		for _, request := range []string{"CONNECT " + host + ":443 HTTP/1.1\nHost: " + host + ":443", "GET http://" + host + "/ HTTP/1.1\nHost: " + host + "\nConnection: close"} {
			if resp, _ := o.ask(request); resp.StatusCode < 400 && (resp.Header.Get("Proxy-Status") != "" || !strings.HasPrefix(request, "CONNECT")) {
				t.Errorf("%q: %d", request, resp.StatusCode)
			}
		}
	}
	if said := parent.lines("1."); len(said) > 0 {
		t.Errorf("the parent was asked %q", said)
	}
}

// TestForwardChainIntoItself has a proxy that leads back here: the loop is found by what CONNECT and requests carry, and
// not by running out of connections.
func TestForwardChainIntoItself(t *testing.T) {
	for _, via := range []bool{true, false} {
		o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) { f.Via = via })
		_, port, _ := net.SplitHostPort(o.address(o.applied, "*:3128"))
		n, _ := strconv.Atoi(port)
		o.use(func(f *ir.Forward, s *ir.Snapshot) {
			f.Via, f.Interception = via, nil
			s.Config.Proxies = []*ir.Proxy{{Name: "t/parent", Hosts: []hostname.Pattern{hostname.Any()}, Addresses: []ir.ProxyAddress{{Host: "127.0.0.1", Port: uint16(n)}}}}
		})
		for _, request := range []string{"CONNECT a.test:443 HTTP/1.1\nHost: a.test:443", "GET http://a.test/ HTTP/1.1\nHost: a.test\nConnection: close"} {
			before := len(o.log.lines())
			resp, _ := o.ask(request)
			if resp.StatusCode < 400 {
				t.Errorf("via %v, %q: %d", via, request, resp.StatusCode)
			}
			if made := len(o.log.lines()) - before; made > 3 {
				t.Errorf("via %v, %q: %d requests", via, request, made)
			}
		}
	}
}

// TestForwardPlainTunnelIsForOneHost has a client ask within a tunnel for another host than the tunnel leads to: rules
// about URLs would be asked about that one.
func TestForwardPlainTunnelIsForOneHost(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) {
		f.ACLs = []ir.ACL{{Name: "secret", Type: "url_regex", Values: []string{"^http://localhost[:/].*secret"}}}
		f.Access = []ir.ForwardRule{{Action: "deny", ACLs: []string{"secret"}}, {Action: "allow", ACLs: []string{"all"}}}
	})
	_, port, _ := net.SplitHostPort(o.backend)
	for _, c := range []struct {
		tunnel, host string
		want         int
	}{
		{"localhost", "localhost", 403},
		{"localhost", "other.test", 421},
		{"127.0.0.1", "other.test", 200},
	} {
		conn, status, err := o.connect(c.tunnel+":"+port, nil)
		if err != nil || status != 200 {
			t.Fatalf("%d, %v", status, err)
		}
		fmt.Fprintf(conn, "GET /secret HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", c.host)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != c.want {
			t.Errorf("CONNECT %s, Host: %s: %d", c.tunnel, c.host, resp.StatusCode)
		}
	}
}

// TestForwardMarksCaptured has captured requests carry what tells a loop where Via is off: they come back by the kernel
// and not by anything that they say.
func TestForwardMarksCaptured(t *testing.T) {
	parent, proxy := newParentTold(t)
	o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
		s.Config.Proxies, f.Via = []*ir.Proxy{proxy}, false
		s.Config.Listeners[1].Forward.OriginatePort = 80
	})
	dial(t, o.address(o.applied, "*:3129"), nil).get("a.test", "/")
	if said := parent.lines("CDN-Loop: "); len(said) != 1 {
		t.Errorf("the request carries %q", said)
	}
}
