package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestFramesInDisorder lets clients send random frames that are well-formed one by one: bodies that stop,
// trailers, resets and priorities at any time, windows that open by crumbs or never, settings that change,
// GOAWAY, connections that break. Meanwhile the listener's state changes, and honest clients get whole
// answers, also where they share connections to the upstream with the others. At the end no goroutine is left.
func TestFramesInDisorder(t *testing.T) {
	t.Parallel()
	for _, origin := range []version{h1, h2c} {
		t.Run(string(origin), func(t *testing.T) {
			t.Parallel()
			addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/honest" {
					b, _ := io.ReadAll(r.Body)
					_, _ = w.Write(b)
					return
				}
				switch rand.IntN(6) {
				case 0:
					panic(http.ErrAbortHandler)
				case 1: // early
					_, _ = w.Write(make([]byte, rand.IntN(200_000)))
					return
				case 2:
					w.Header().Set("Trailer", "X-End")
					_, _ = io.Copy(w, r.Body)
					w.Header().Set("X-End", "1")
					return
				case 3:
					time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				}
				_, _ = io.Copy(io.Discard, r.Body)
				for range rand.IntN(20) {
					if _, err := w.Write(make([]byte, rand.IntN(5000))); err != nil {
						return
					}
					_ = http.NewResponseController(w).Flush()
				}
			})
			g := start(t, setup{backend: addr, protocol: origin.protocol(), routes: []*ir.Route{{Name: "r", Forward: []ir.Backend{{Upstream: "u", Weight: 1}},
				Retry: &ir.Retry{Attempts: 1, On: []ir.RetryCondition{ir.RetryServerError}, Backoff: time.Millisecond}}}})
			ctx, stop := context.WithTimeout(context.Background(), 1500*time.Millisecond)
			defer stop()
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					for ctx.Err() == nil {
						disorder(ctx, g.addr)
					}
				})
			}
			wg.Go(func() {
				for ctx.Err() == nil {
					g.state.Store(g.compile(g.chain))
					time.Sleep(10 * time.Millisecond)
				}
			})
			c := g.client(h2c)
			for n := range 3 {
				wg.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						want := strings.Repeat(fmt.Sprintf("%d.%d ", n, i), rand.IntN(20_000))
						resp, err := c.Post(g.url(h2c, "/honest"), "text/plain", strings.NewReader(want))
						if err != nil {
							t.Error(err)
							return
						}
						got, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if resp.StatusCode != 200 || err != nil || string(got) != want {
							t.Errorf("honest client: %s, %d of %d bytes, %v", resp.Status, len(got), len(want), err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// disorder is one connection of a client that does as it likes.
func disorder(ctx context.Context, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.WriteString(c, xhttp2.ClientPreface)
	f := xhttp2.NewFramer(c, nil)
	_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: rand.Uint32N(3) * rand.Uint32N(100_000)})
	_ = f.WriteSettingsAck()
	if rand.IntN(4) > 0 { // else nothing is read
		go func() { _, _ = io.Copy(io.Discard, c) }()
	}
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	block := func(pairs ...string) []byte {
		head.Reset()
		for i := 0; i < len(pairs); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return head.Bytes()
	}
	next := uint32(1)
	some := func() uint32 { return 1 + 2*rand.Uint32N(max((next-1)/2, 1)) }
	open := map[uint32]bool{}
	for n := 0; n < 400 && ctx.Err() == nil && err == nil; n++ {
		switch rand.IntN(13) {
		case 0, 1, 2, 3:
			end := rand.IntN(2) == 0
			err = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: next, EndHeaders: true, EndStream: end,
				BlockFragment: block(":method", "POST", ":scheme", "http", ":path", fmt.Sprintf("/%d", n), ":authority", "a.test", "x-n", fmt.Sprint(n))})
			open[next] = !end
			next += 2
		case 4, 5, 6:
			if id := some(); open[id] {
				end := rand.IntN(3) == 0
				err = f.WriteData(id, end, make([]byte, rand.IntN(3)*rand.IntN(8000)))
				open[id] = !end
			}
		case 7:
			if id := some(); open[id] {
				err = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block("x-trailer", fmt.Sprint(n))})
				open[id] = false
			}
		case 8:
			if id := some(); id < next {
				err = f.WriteRSTStream(id, xhttp2.ErrCodeCancel)
				open[id] = false
			}
		case 9:
			if id := some(); id < next {
				err = f.WriteWindowUpdate(id, 1+rand.Uint32N(20_000))
			}
		case 10:
			err = f.WriteWindowUpdate(0, 1+rand.Uint32N(100_000))
		case 11:
			err = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: rand.Uint32N(70_000)},
				xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: rand.Uint32N(5000)})
		case 12:
			switch rand.IntN(12) {
			case 0:
				err = f.WriteGoAway(0, xhttp2.ErrCodeNo, nil)
			case 1:
				return
			case 2:
				time.Sleep(5 * time.Millisecond)
			default:
				err = f.WritePing(false, [8]byte{1})
			}
		}
	}
	time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
}
