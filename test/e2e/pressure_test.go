//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
)

const pressureTotal = 200 << 20

// pressureWorld is a workload that sends 200 MiB at /download, takes nothing at /hang until it is released,
// and otherwise says "ok" at once, also behind a body.
type pressureWorld struct {
	g        *gateway.Gateway
	s        site
	sent     atomic.Int64
	hanging  atomic.Int64
	received atomic.Int64
	release  chan struct{}
}

func newPressureWorld(t *testing.T, port string) *pressureWorld {
	t.Helper()
	w := &pressureWorld{s: newSite(t, "a.test"), release: make(chan struct{})}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/download"):
			rw.Header().Set("Content-Length", fmt.Sprint(pressureTotal))
			block := make([]byte, 64<<10)
			for range pressureTotal / len(block) {
				n, err := rw.Write(block)
				if w.sent.Add(int64(n)); err != nil {
					return
				}
			}
		case strings.HasPrefix(r.URL.Path, "/hang"):
			w.hanging.Add(1)
			select {
			case <-w.release:
			case <-r.Context().Done():
			}
			n, _ := io.Copy(io.Discard, r.Body)
			w.received.Add(n)
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(rw, "ok")
		}
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	w.g = gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "route.yaml": routeAll("all", "*", "backend"),
		"secret.yaml": secretTLS("site", w.s.leaf), "service.yaml": service("backend", port)}, Endpoints: []string{"backend.default:8000=" + srv.Listener.Addr().String()}})
	return w
}

// settled waits until a counter stands still.
func settled(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	for last, end := int64(-1), time.Now().Add(20*time.Second); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		now := n.Load()
		if now == last && now > 0 {
			return now
		}
		last = now
	}
	t.Fatalf("it never stands still: %d", n.Load())
	return 0
}

// prompt asks on a connection and wants the answer within a second.
func prompt(t *testing.T, what string, c *client.HTTP2, body string) {
	t.Helper()
	begun := time.Now()
	id := c.Open(client.Request("POST", "https", "a.test", "/ok"), body == "")
	if body != "" {
		c.Data(id, []byte(body), true)
	}
	if st, err := c.Await(id, nil); err != nil || st.Status != 200 || string(st.Body) != "ok" {
		t.Errorf("%s: status %d, reset %v %v, %v", what, st.Status, st.Reset, st.Code, err)
	}
	if d := time.Since(begun); d > time.Second {
		t.Errorf("%s: answered after %v", what, d)
	}
}

// TestDownloadPressure has a client hold up 20 downloads of 200 MiB each on one connection: the upstream is
// held up, memory stays, and others, on that connection too, are served. Then one is read with small windows.
func TestDownloadPressure(t *testing.T) {
	t.Parallel()
	for _, port := range []string{"http", "http2"} {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			w := newPressureWorld(t, port)
			slow := client.DialHTTP2(t, w.g.Addr(443), w.s.config("a.test"), 64<<10, true)
			slow.Credit(0, 1<<30)
			prompt(t, "before", slow, "")
			before := residentKiB(t, w.g)
			var ids []uint32
			for i := range 20 {
				ids = append(ids, slow.Open(client.Request("GET", "https", "a.test", fmt.Sprintf("/download-%d", i)), true))
			}
			for _, id := range ids {
				if st, err := slow.Await(id, func(st *client.Stream) bool { return st.Length == 64<<10 }); err != nil || st.Length != 64<<10 || st.Ended || st.Reset {
					t.Fatalf("stream %d: %d bytes, %v", id, st.Length, err)
				}
			}
			// Socket buffers of connections to an upstream of HTTP/1.1 may hold 6 MiB each.
			if n := settled(t, &w.sent); n > 20*8<<20 {
				t.Errorf("the upstream could send %d MiB", n>>20)
			}
			other := client.DialHTTP2(t, w.g.Addr(443), w.s.config("a.test"), 64<<10, false)
			for range 20 {
				prompt(t, "same connection", slow, "")
				prompt(t, "same connection, with a body", slow, strings.Repeat("x", 10000))
				prompt(t, "other connection", other, "")
			}
			held := residentKiB(t, w.g) - before
			for _, id := range ids {
				slow.Cancel(id, http2.ErrCodeCancel)
			}
			id := other.Open(client.Request("GET", "https", "a.test", "/download"), true)
			st, err := other.Await(id, nil)
			if err != nil || st.Length != pressureTotal || !st.Ended {
				t.Errorf("downloaded %d bytes, %v", st.Length, err)
			}
			grown := residentKiB(t, w.g) - before
			t.Logf("20 downloads held up: %d KiB more; after 200 MiB with a window of 64 KiB: %d KiB", held, grown)
			if max(held, grown) > 48<<10 {
				t.Errorf("memory grew by %d and %d KiB", held, grown)
			}
		})
	}
}

// TestUploadPressure has an upstream take nothing of 20 uploads on one connection.
func TestUploadPressure(t *testing.T) {
	t.Parallel()
	for _, port := range []string{"http", "http2"} {
		t.Run(port, func(t *testing.T) {
			t.Parallel()
			w := newPressureWorld(t, port)
			other := client.DialHTTP2(t, w.g.Addr(443), w.s.config("a.test"), 0, false)
			prompt(t, "before", other, "")
			before := residentKiB(t, w.g)
			c := &http.Client{Transport: &http.Transport{TLSClientConfig: w.s.config("a.test"), ForceAttemptHTTP2: true,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "tcp", w.g.Addr(443))
				}}}
			var pushed atomic.Int64
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			const uploads = 20
			done := make(chan error, uploads)
			get := func(ctx context.Context, path string, body io.Reader) error {
				req, err := http.NewRequestWithContext(ctx, "POST", "https://a.test"+path, body)
				if err != nil {
					return err
				}
				resp, err := c.Do(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if _, err = io.ReadAll(resp.Body); err == nil && (resp.StatusCode != 200 || resp.ProtoMajor != 2) {
					err = fmt.Errorf("status %d over HTTP/%d", resp.StatusCode, resp.ProtoMajor)
				}
				return err
			}
			if err := get(ctx, "/ok", nil); err != nil {
				t.Fatal(err)
			}
			for i := range uploads {
				go func() { done <- get(ctx, fmt.Sprintf("/hang-%d", i), &pusher{left: 10 << 20, n: &pushed}) }()
			}
			if n := settled(t, &pushed); n > uploads*8<<20 {
				t.Errorf("the client could send %d MiB", n>>20)
			}
			if n := w.hanging.Load(); n != uploads {
				t.Errorf("%d uploads reached the upstream", n)
			}
			for range 20 {
				begun := time.Now()
				if err := get(ctx, "/ok", nil); err != nil || time.Since(begun) > time.Second {
					t.Errorf("same connection: %v after %v", err, time.Since(begun))
				}
				// An upstream of HTTP/2 that takes nothing shuts the window of the connection that clients share.
				prompt(t, "other connection", other, map[string]string{"http": strings.Repeat("x", 10000)}[port])
			}
			held := residentKiB(t, w.g) - before
			t.Logf("20 uploads held up: %d KiB more, %d KiB taken", held, pushed.Load()>>10)
			if held > 48<<10 {
				t.Errorf("memory grew by %d KiB", held)
			}
			close(w.release)
			for range uploads {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			if w.received.Load() != uploads*10<<20 {
				t.Errorf("the upstream received %d bytes", w.received.Load())
			}
		})
	}
}

// pusher is a body that counts what is taken of it.
type pusher struct {
	left int
	n    *atomic.Int64
}

func (p *pusher) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := min(len(b), p.left)
	p.left -= n
	p.n.Add(int64(n))
	return n, nil
}

// TestDrainInTwoSteps reads the frames of a graceful end (RFC 9113 section 6.8): a GOAWAY that refuses nothing,
// then one with the last stream, which is completed.
func TestDrainInTwoSteps(t *testing.T) {
	t.Parallel()
	hold := make(chan bool)
	g, up, s := httpWorld(t, func(_ *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
		<-hold
		return rawupstream.Reply(c, 200, "", "late")
	})
	c := client.DialHTTP2(t, g.Addr(443), s.config("a.test"), 0, false)
	id := c.Open(client.Request("GET", "https", "a.test", "/slow"), true)
	up.Await(1)
	g.Signal(syscall.SIGTERM)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if steps, _ := c.Away(); len(steps) >= 2 {
			if steps[0] != (client.Away{Code: http2.ErrCodeNo, Last: 1<<31 - 1}) || steps[1] != (client.Away{Code: http2.ErrCodeNo, Last: id}) {
				t.Errorf("GOAWAY came as %+v, want one with 2^31-1 and one with %d", steps, id)
			}
			break
		}
		if time.Now().After(end) {
			steps, err := c.Away()
			t.Fatalf("GOAWAY came as %+v, %v", steps, err)
		}
	}
	close(hold)
	if st, err := c.Await(id, nil); err != nil || st.Status != 200 || string(st.Body) != "late" {
		t.Errorf("the request in flight got %d %q, %v", st.Status, st.Body, err)
	}
	if code := g.Wait(); code != 0 {
		t.Errorf("exit %d", code)
	}
}
