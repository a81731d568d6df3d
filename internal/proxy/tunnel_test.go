package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

const upgrade = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// echoing is an origin that switches protocols with a greeting and then echoes until the end.
func echoing(t testing.TB) *rawOrigin {
	return newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		if !strings.Contains(readHead(r), "Connection: Upgrade\r\nUpgrade: websocket") {
			_, _ = io.WriteString(c, "HTTP/1.1 400 no upgrade\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello:")
		_, _ = io.Copy(c, r)
		_, _ = io.WriteString(c, "bye")
	})
}

func TestTunnel(t *testing.T) {
	o := echoing(t)
	for _, secure := range []bool{false, true} {
		g := start(t, setup{backend: o.addr, tls: secure})
		plain := g.dial()
		c, closeWrite := plain, plain.(*net.TCPConn).CloseWrite
		if secure {
			tc := g.dialTLS()
			c, closeWrite = tc, tc.CloseWrite
		}
		r := bufio.NewReader(c)
		_, _ = io.WriteString(c, upgrade+"early;") // sent before the answer: belongs to the tunnel
		if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Upgrade: websocket\r\n") {
			t.Fatalf("got %q", head)
		}
		big := strings.Repeat("0123456789", 50_000)
		go func() {
			_, _ = io.WriteString(c, big)
			if !secure {
				_ = closeWrite() // the other direction goes on
			}
		}()
		want := "hello:early;" + big
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("secure=%v: got %d bytes, %v", secure, len(got), err)
		}
		if secure {
			_ = closeWrite()
		}
		if rest, err := io.ReadAll(r); string(rest) != "bye" || err != nil {
			t.Errorf("secure=%v: after the half-close: %q %v", secure, rest, err)
		}
		a := g.record()
		if a.Status != 101 || a.BytesReceived != int64(len("early;")+len(big)) || a.BytesSent != int64(len(want)+3) {
			t.Errorf("record: %d, %d received, %d sent", a.Status, a.BytesReceived, a.BytesSent)
		}
	}
}

func TestTunnelRefused(t *testing.T) {
	o := answering(t, sized("no"))
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	r := bufio.NewReader(c)
	for range 2 {
		if resp, body := roundTrip(t, c, r, "GET", upgrade); resp.StatusCode != 200 || body != "no" || resp.Close {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
	}
}

func TestTunnelIdle(t *testing.T) {
	t.Parallel()
	o := echoing(t)
	g := start(t, setup{backend: o.addr, limits: Limits{UpgradeIdle: 600 * time.Millisecond}})
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, upgrade)
	readHead(r)
	for range 5 { // as long as something moves it lives
		_, _ = io.WriteString(c, "ping")
		time.Sleep(150 * time.Millisecond)
	}
	began := time.Now()
	if got, _ := io.ReadAll(r); string(got) != "hello:pingpingpingpingping" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	if a := g.record(); a.Code != diag.UpgradeIdle {
		t.Errorf("record has %s", a.Code)
	}
}
