package upstream

import (
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// upload opens a stream on c and sends n bytes that the peer does not read, as far as it lets them through.
func upload(t *testing.T, c *Conn, n int) {
	t.Helper()
	req := request()
	req.Method, req.Body = []byte("POST"), message.Body{Kind: message.Chunked}
	s, err := c.H2.Open(req, false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = s.Write(make([]byte, n), false); close(done) }()
	t.Cleanup(func() {
		_ = s.SetWriteDeadline(time.Unix(1, 0))
		<-done
		s.Close()
		c.Close()
	})
}

// TestFullWindow has uploads that the peer does not read fill the window of a connection: requests with a body
// get another at once, others when that has lasted for a second.
func TestFullWindow(t *testing.T) {
	t.Parallel()
	s := play(t, &script{head: func(*talk, uint32) {}, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1 << 20}}})
	r, u := acquireHTTP2(t, ir.Pool{}, s.endpoint())
	a := mustGet(t, u, Query{Body: true})
	<-s.talks
	upload(t, a, 100_000)
	eventually(t, "the window is full", func() bool { return a.H2.Room() == 0 })
	b, c := mustGet(t, u, Query{}), mustGet(t, u, Query{Body: true})
	defer b.Close()
	defer c.Close()
	if b.H2 != a.H2 || c.H2 == a.H2 {
		t.Errorf("lent the connection in use: %v without a body, %v with one", b.H2 == a.H2, c.H2 == a.H2)
	}
	time.Sleep(1100 * time.Millisecond)
	r.sweep(time.Now().UnixNano())
	d := mustGet(t, u, Query{})
	defer d.Close()
	if d.H2 == a.H2 {
		t.Error("a connection on which nothing moves was lent")
	}
	s.connections(t, 2)
}

// TestFullWindowAtBound lends what there is if there cannot be more: at the pool's bound, and where the endpoint
// takes no other connection.
func TestFullWindowAtBound(t *testing.T) {
	for name, pool := range map[string]ir.Pool{"bound": {MaxConnections: 1}, "endpoint": {}} {
		t.Run(name, func(t *testing.T) {
			s := play(t, &script{settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1 << 20}}})
			_, u := acquireHTTP2(t, pool, s.endpoint())
			a := mustGet(t, u, Query{Body: true})
			<-s.talks
			upload(t, a, 100_000)
			eventually(t, "the window is full", func() bool { return a.H2.Room() == 0 })
			if name == "endpoint" {
				s.ln.Close()
			}
			b := mustGet(t, u, Query{Body: true})
			defer b.Close()
			if b.H2 != a.H2 {
				t.Error("another connection")
			}
		})
	}
}

// TestUnreadAnswers has answers that nobody reads pile up on a connection: from a bound on it is lent no more.
func TestUnreadAnswers(t *testing.T) {
	piece := make([]byte, 16<<10)
	s := play(t, &script{head: func(k *talk, stream uint32) {
		k.do(func(fr *http2.Framer) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}, EndHeaders: true})
			for range 16 {
				_ = fr.WriteData(stream, false, piece)
			}
		})
	}})
	r, u := acquireHTTP2(t, ir.Pool{}, s.endpoint())
	r.cores = 1 // none is made beside it: see spreadAt
	first := mustGet(t, u, Query{})
	defer first.Close()
	for range heldMost/(256<<10) + 1 {
		c := mustGet(t, u, Query{})
		if c.H2 != first.H2 {
			t.Fatal("another connection too early")
		}
		st, err := c.H2.Open(request(), true)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		defer st.Close()
	}
	eventually(t, "much is held", func() bool { return first.H2.Held() > heldMost })
	c := mustGet(t, u, Query{})
	defer c.Close()
	if c.H2 == first.H2 {
		t.Errorf("a connection that holds %d bytes was lent", first.H2.Held())
	}
}
