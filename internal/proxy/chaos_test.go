package proxy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDisorder has clients and an upstream that break off, refuse early, stall and pipeline at random.
// Every whole answer must be the one to its request, and at the end nothing may be left: neither
// goroutines (see start) nor connections, nor requests counted as active.
func TestDisorder(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			name := req.URL.Path
			switch rand.IntN(12) {
			case 0:
				return
			case 1:
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+name)
				return
			case 2: // without reading the body
				_, _ = fmt.Fprintf(c, "HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			answer := sized(name)
			if rand.IntN(2) == 0 {
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(name), name)
			}
			for at := 0; at < len(answer); {
				n := min(len(answer)-at, 1+rand.IntN(200))
				if _, err := io.WriteString(c, answer[at:at+n]); err != nil {
					return
				}
				at += n
			}
		}
	})
	g := start(t, setup{backend: o.addr, limits: Limits{BodyIdle: time.Second, HeaderTimeout: time.Second}})
	end := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	var whole sync.Map
	for client := range 16 {
		wg.Go(func() {
			for i := 0; time.Now().Before(end); i++ {
				n, err := disorderlyClient(g.addr, fmt.Sprintf("/%d-%d", client, i))
				if err != nil {
					t.Error(err)
				}
				whole.Store(client*100_000+i, n)
			}
		})
	}
	wg.Wait()
	total := 0
	whole.Range(func(_, n any) bool { total += n.(int); return true })
	if total < 100 {
		t.Errorf("only %d whole answers came", total)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s := g.reg.Stats()[0]
		if n := g.p.Connections(); n == 0 && s.Active == 0 && int(s.Open) == s.Idle {
			break
		} else if time.Now().After(end) {
			t.Fatalf("left: %d connections, %+v", n, s)
		}
	}
}

// disorderlyClient runs one connection and returns how many whole answers it got. The error says that
// an answer was not the one to its request.
func disorderlyClient(addr, name string) (whole int, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(c)
	for i := range 6 {
		path := fmt.Sprintf("%s-%d", name, i)
		body := strings.Repeat("b", rand.IntN(3)*rand.IntN(60_000))
		var b strings.Builder
		switch rand.IntN(3) {
		case 0:
			fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: a.test\r\n\r\n", path)
		case 1:
			fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
		case 2:
			fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", path)
			if len(body) > 0 {
				fmt.Fprintf(&b, "%x\r\n%s\r\n", len(body), body)
			}
			b.WriteString("0\r\n\r\n")
		}
		send := b.String()
		if rand.IntN(15) == 0 {
			_, _ = io.WriteString(c, send[:rand.IntN(len(send))])
			return whole, nil
		}
		go func() { _, _ = io.WriteString(c, send) }()
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return whole, nil
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			return whole, nil
		}
		if (resp.StatusCode == 200 || resp.StatusCode == 413) && string(got) != path {
			return whole, fmt.Errorf("the answer to %s is %d %q", path, resp.StatusCode, got)
		}
		whole++
		if resp.Close {
			return whole, nil
		}
	}
	return whole, nil
}
