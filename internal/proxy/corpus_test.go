package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/upstream"
	"github.com/hakone-gateway/hakone/test/corpus"
)

// received is what an upstream got: a raw head and, if the message was complete, its payload.
type received struct {
	head, body string
	complete   bool
}

// TestCorpus sends every case of the codec's corpus to a gateway without filters and looks at what a
// raw upstream receives, whose own parser is that of net/http.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Read(os.DirFS("../http1/testdata/corpus"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan received, 100)
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head := readHead(r)
			if head == "" {
				return
			}
			r = bufio.NewReader(io.MultiReader(strings.NewReader(head), r))
			req, err := http.ReadRequest(r)
			if err != nil {
				got <- received{head: head}
				return
			}
			body, err := io.ReadAll(req.Body)
			got <- received{head, string(body), err == nil}
			if err != nil {
				return
			}
			if req.Method == "CONNECT" {
				t.Error("CONNECT was forwarded")
			}
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	g := start(t, setup{backend: o.addr, tls: true})
	g.state.Store(g.p.Compile(g.state.Load().Index.Listener, Wiring{Build: g.build, Upstreams: map[string]*upstream.Upstream{"u": g.up}}))
	for _, tt := range cases {
		for len(g.sink.access) > 0 {
			<-g.sink.access
		}
		for len(got) > 0 {
			<-got
		}
		if err := g.runCase(tt, got); err != nil {
			t.Errorf("%s %s:%d (%s): %v", tt.Name, tt.File, tt.Line, tt.Note, err)
		}
	}
}

func (g *gateway) runCase(tt corpus.Case, got chan received) error {
	c := g.dialTLS()
	defer c.Close()
	go func() { _, _ = c.Write(tt.Send) }()
	r := bufio.NewReader(c)
	for i, want := range tt.Want {
		if want.Kind == corpus.More {
			return g.expectNothing(c, r, got)
		}
		tunnel := strings.HasPrefix(string(want.Head), "CONNECT ") || strings.HasPrefix(string(want.Head), "TRACE ")
		begun := i+1 < len(tt.Want) && tt.Want[i+1].Kind == corpus.Refuse
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return fmt.Errorf("outcome %d: %w", i, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		a := g.record()
		switch {
		case want.Kind == corpus.Refuse:
			if resp.StatusCode != want.Status || a.Code != want.Code || !resp.Close {
				return fmt.Errorf("outcome %d: %d %s close=%v, want %d %s", i, resp.StatusCode, a.Code, resp.Close, want.Status, want.Code)
			}
			return g.expectNothing(c, r, got)
		case tunnel:
			if resp.StatusCode != 405 {
				return fmt.Errorf("outcome %d: %d, want 405", i, resp.StatusCode)
			}
		case begun && resp.StatusCode >= 400:
			// The head was accepted and the body is refused: one answer for both.
			if next := tt.Want[i+1]; resp.StatusCode != next.Status || a.Code != next.Code {
				return fmt.Errorf("outcome %d: %d %s, want %d %s", i, resp.StatusCode, a.Code, next.Status, next.Code)
			}
			return g.expectNothing(c, r, got)
		default:
			if err := compare(want, got); err != nil {
				return fmt.Errorf("outcome %d: %d %s: %w", i, resp.StatusCode, a.Code, err)
			}
		}
	}
	return nil
}

// compare looks at the next complete message. Incomplete ones are of an earlier case, whose upstream
// connection was closed meanwhile.
func compare(want corpus.Outcome, got chan received) error {
	select {
	case m := <-got:
		if !m.complete {
			return compare(want, got)
		}
		if m.head != string(want.Head) || m.body != string(want.Body) {
			return fmt.Errorf("upstream got\n %q %q, want\n %q %q", m.head, m.body, want.Head, want.Body)
		}
		return nil
	case <-time.After(5 * time.Second):
		return errors.New("nothing reached the upstream")
	}
}

// expectNothing checks that no further answer comes and that no further complete message has reached
// the upstream.
func (g *gateway) expectNothing(c *tls.Conn, r *bufio.Reader, got chan received) error {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if b, _ := io.ReadAll(r); len(b) > 0 {
		return fmt.Errorf("a further answer came: %q", b)
	}
	c.Close()
	select {
	case m := <-got:
		if m.complete {
			return fmt.Errorf("the upstream got %q %q", m.head, m.body)
		}
	default:
	}
	return nil
}
