//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
)

// poison is an answer that nobody asked for. Whoever gets it got somebody else's.
const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

// disorder1 is what an upstream of HTTP/1.1 answers in place of one orderly answer, in one write. A name
// that begins with "head" is asked for by HEAD, one that ends with "!" closes the connection.
func disorder1() map[string]string {
	const ok, evil = "HTTP/1.1 200 OK\r\n", "Content-Length: 4\r\n\r\nevil"
	return map[string]string{
		"two-answers":        ok + evil + poison,
		"three-answers":      ok + evil + poison + poison,
		"bytes-behind":       ok + evil + "\r\n\r\nGET / HTTP/1.1\r\n",
		"one-byte-behind":    ok + evil + "\n",
		"length-short":       ok + "Content-Length: 1\r\n\r\nevil",
		"length-short-more":  ok + "Content-Length: 4\r\n\r\nevil" + poison,
		"length-long!":       ok + "Content-Length: 400\r\n\r\nevil",
		"length-twice":       ok + "Content-Length: 4\r\nContent-Length: 0\r\n\r\nevil" + poison,
		"length-and-chunked": ok + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n" + poison,
		"chunked-and-length": ok + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
		"chunked-behind":     ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n" + poison,
		"chunked-broken":     ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nevilX\r\n0\r\n\r\n" + poison,
		"chunked-twice":      ok + "Transfer-Encoding: chunked, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n" + poison,
		"coding-unknown":     ok + "Transfer-Encoding: xchunked\r\n\r\n" + poison,
		"no-content":         "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison" + poison,
		"not-modified":       "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil" + poison,
		"interim-behind":     ok + evil + "HTTP/1.1 103 Early Hints\r\n\r\n",
		"interim-flood":      strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 200) + ok + evil,
		"interim-body":       "HTTP/1.1 103 Early Hints\r\nContent-Length: 45\r\n\r\n" + poison + ok + evil,
		"switch":             "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\n" + poison,
		"switch-answer":      "HTTP/1.1 101 Switching Protocols\r\n\r\n" + ok + evil,
		"head":               ok + "Content-Length: 45\r\n\r\n" + poison,
		"head-chunked":       ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
		"no-length!":         ok + "\r\nevil" + poison,
		"garbage":            "evil\r\n\r\n" + poison,
		"old-version":        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + evil + poison,
		"next-version":       "HTTP/2.0 200 OK\r\n" + evil + poison,
		"line-feeds":         "HTTP/1.1 200 OK\nContent-Length: 4\n\nevil" + poison,
		"fold":               ok + "X: y\r\n Content-Length: 0\r\n" + evil + poison,
	}
}

// disorder2 is what an upstream of HTTP/2 does in place of one orderly answer. Names with "!" break the
// connection and so what else goes on there; the others concern one stream only.
func disorder2() map[string]func(c *rawupstream.HTTP2Conn, id uint32) {
	frames := func(write func(fr *http2.Framer, id uint32, encode func(...string) []byte)) func(*rawupstream.HTTP2Conn, uint32) {
		return func(c *rawupstream.HTTP2Conn, id uint32) {
			c.Frames(func(fr *http2.Framer, encode func(...string) []byte) { write(fr, id, encode) })
		}
	}
	head := func(fr *http2.Framer, id uint32, block []byte, end bool) {
		piece := block[:min(len(block), 16384)]
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: piece, EndStream: end, EndHeaders: len(piece) == len(block)})
		for block = block[len(piece):]; len(block) > 0; block = block[len(piece):] {
			piece = block[:min(len(block), 16384)]
			_ = fr.WriteContinuation(id, len(piece) == len(block), piece)
		}
	}
	only := func(end bool, namesAndValues ...string) func(*rawupstream.HTTP2Conn, uint32) {
		return frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id, encode(namesAndValues...), end)
			if !end {
				_ = fr.WriteData(id, true, []byte("evil"))
			}
		})
	}
	var giant []string
	for i := range 100 {
		giant = append(giant, fmt.Sprintf("x-%d", i), strings.Repeat("x", 900))
	}
	return map[string]func(*rawupstream.HTTP2Conn, uint32){
		"data-first": frames(func(fr *http2.Framer, id uint32, _ func(...string) []byte) {
			_ = fr.WriteData(id, true, []byte("evil"))
		}),
		"no-status":      only(false, "content-length", "4"),
		"status-twice":   only(false, ":status", "200", ":status", "200"),
		"status-late":    only(false, "x", "y", ":status", "200"),
		"status-words":   only(false, ":status", "2oo"),
		"switch":         only(false, ":status", "101"),
		"request-fields": only(false, ":status", "200", ":path", "/"),
		"capitals":       only(false, ":status", "200", "X-Evil", "1"),
		"line-end":       only(false, ":status", "200", "x", "y\r\ncontent-length: 0"),
		"name-line-end":  only(false, ":status", "200", "x\r\ncontent-length", "0"),
		"connection":     only(false, ":status", "200", "connection", "close"),
		"chunked":        only(false, ":status", "200", "transfer-encoding", "chunked"),
		"length-short":   only(false, ":status", "200", "content-length", "1"),
		"length-long":    only(false, ":status", "200", "content-length", "400"),
		"length-no-body": only(true, ":status", "200", "content-length", "400"),
		"length-twice":   only(false, ":status", "200", "content-length", "4", "content-length", "5"),
		"interim-ends":   only(true, ":status", "103"),
		"no-content":     only(false, ":status", "204"),
		"giant-head":     only(false, append([]string{":status", "200"}, giant...)...),
		"head-twice": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id, encode(":status", "200"), false)
			head(fr, id, encode(":status", "200", "x", "poison"), false)
			_ = fr.WriteData(id, true, []byte("evil"))
		}),
		"interim-flood": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			for range 100 {
				head(fr, id, encode(":status", "103"), false)
			}
			head(fr, id, encode(":status", "200"), true)
		}),
		"trailers-pseudo": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id, encode(":status", "200"), false)
			_ = fr.WriteData(id, false, []byte("evil"))
			head(fr, id, encode(":status", "200", "x", "poison"), true)
		}),
		"reset-behind": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id, encode(":status", "200"), false)
			_ = fr.WriteData(id, true, []byte("evil"))
			_ = fr.WriteRSTStream(id, http2.ErrCodeInternal)
		}),
		"reset-within": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id, encode(":status", "200"), false)
			_ = fr.WriteRSTStream(id, http2.ErrCodeInternal)
			_ = fr.WriteData(id, true, []byte("evil"))
		}),
		"window-overflow": frames(func(fr *http2.Framer, id uint32, _ func(...string) []byte) {
			_ = fr.WriteWindowUpdate(id, math.MaxInt32)
			_ = fr.WriteWindowUpdate(id, math.MaxInt32)
		}),
		"answer-behind!": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id, encode(":status", "200"), true)
			head(fr, id, encode(":status", "200", "x", "poison"), false)
			_ = fr.WriteData(id, true, []byte("poison"))
		}),
		"data-behind!": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id, encode(":status", "200"), true)
			_ = fr.WriteData(id, true, []byte("poison"))
		}),
		"idle-stream!": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id+10000, encode(":status", "200", "x", "poison"), true)
		}),
		"even-stream!": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			head(fr, id+1, encode(":status", "200", "x", "poison"), true)
		}),
		"promise!": frames(func(fr *http2.Framer, id uint32, encode func(...string) []byte) {
			_ = fr.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: id + 1, EndHeaders: true, BlockFragment: encode(":method", "GET", ":scheme", "http", ":authority", "a.test", ":path", "/")})
			head(fr, id+1, encode(":status", "200"), true)
		}),
		"connection-window!": frames(func(fr *http2.Framer, _ uint32, _ func(...string) []byte) {
			_ = fr.WriteWindowUpdate(0, math.MaxInt32)
			_ = fr.WriteWindowUpdate(0, math.MaxInt32)
		}),
		"compression!": frames(func(fr *http2.Framer, id uint32, _ func(...string) []byte) {
			head(fr, id, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, true)
		}),
		"closed!": func(c *rawupstream.HTTP2Conn, _ uint32) { c.Close() },
	}
}

// TestDesync has upstreams answer in disorder on connections that many share, while other clients ask over
// both versions: each gets its own answer. Where the upstream breaks a connection that others are on, theirs
// may fail and must not be another's.
func TestDesync(t *testing.T) {
	t.Parallel()
	t.Run("HTTP/1", func(t *testing.T) {
		t.Parallel()
		kinds := disorder1()
		up := rawupstream.Start(t, func(m *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
			kind, evil := strings.CutPrefix(m.Path(), "/evil/")
			if !evil {
				return rawupstream.Reply(c, 200, "", m.Path())
			}
			_, err := io.WriteString(c, kinds[kind])
			return err == nil && !strings.HasSuffix(kind, "!")
		})
		desync(t, up, "http", keys(kinds), false, 0)
	})
	for _, breaks := range []bool{false, true} {
		name := map[bool]string{false: "HTTP/2, streams", true: "HTTP/2, connections"}[breaks]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kinds := disorder2()
			for kind := range kinds {
				if strings.HasSuffix(kind, "!") != breaks {
					delete(kinds, kind)
				}
			}
			up := rawupstream.StartHTTP2(t, nil, func(m *rawupstream.Message, c *rawupstream.HTTP2Conn) {
				if kind, evil := strings.CutPrefix(m.Path(), "/evil/"); evil {
					kinds[kind](c, m.Stream)
					return
				}
				c.Reply(m.Stream, m.Path())
			})
			// Connections live for a while, and their budget of faults is not used up, at which they would be ended.
			desync(t, up, "http2", keys(kinds), breaks, 20*time.Millisecond)
		})
	}
}

func keys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// desync runs honest clients beside ones that provoke all kinds of disorder, with a pause after each.
func desync(t *testing.T, up *rawupstream.Upstream, port string, kinds []string, mayFail bool, pause time.Duration) {
	s := newSite(t, "a.test")
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}),
		"route.yaml": routeAll("all", "*", "backend", "retries:\n  attempts: 0"), "secret.yaml": secretTLS("site", s.leaf), "service.yaml": service("backend", port)},
		Endpoints: []string{"backend.default:8000=" + up.Addr}})
	ask := func(over2 bool) func(method, path string) (int, string, error) {
		c := &http.Client{Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{TLSClientConfig: s.config("a.test"), ForceAttemptHTTP2: over2, MaxIdleConnsPerHost: 8,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, "tcp", g.Addr(443))
				}}}
		t.Cleanup(c.CloseIdleConnections)
		return func(method, path string) (int, string, error) {
			req, err := http.NewRequest(method, "https://a.test"+path, nil)
			if err != nil {
				return 0, "", err
			}
			resp, err := c.Do(req)
			if err != nil {
				return 0, "", err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if v := resp.ProtoMajor; v != number(over2) {
				err = errors.Join(err, fmt.Errorf("answered in HTTP/%d", v))
			}
			return resp.StatusCode, string(body), err
		}
	}
	var own, failed, evil atomic.Int64
	var stop atomic.Bool
	var honest, wicked sync.WaitGroup
	const each = 1000
	for who := range 8 {
		get := ask(who%2 == 1)
		honest.Go(func() {
			for i := range each {
				path := fmt.Sprintf("/token-%d-%d", who, i)
				status, body, err := get("GET", path)
				switch {
				case err == nil && status == 200 && body == path:
					own.Add(1)
				case mayFail && (err != nil && body == "" || status == 502 || status == 503):
					failed.Add(1)
				default:
					t.Errorf("%s got %d %.200q %v", path, status, body, err)
					failed.Add(1)
				}
			}
		})
	}
	for who := range 4 {
		get := ask(who%2 == 1)
		wicked.Go(func() {
			for i := who; !stop.Load(); i++ {
				kind, method := kinds[i%len(kinds)], "GET"
				if strings.HasPrefix(kind, "head") && port == "http" {
					method = "HEAD"
				}
				if _, body, _ := get(method, "/evil/"+kind); strings.Contains(body, "token") {
					t.Errorf("%s got an answer for another: %.100q", kind, body)
				}
				evil.Add(1)
				time.Sleep(pause)
			}
		})
	}
	honest.Wait()
	stop.Store(true)
	wicked.Wait()
	if evil.Load() < 2*int64(len(kinds)) || own.Load() < 8*each/2 {
		t.Errorf("%d answers of %d were the asker's own, %d in disorder", own.Load(), 8*each, evil.Load())
	}
	t.Logf("%d requests got their own answer, %d failed, beside %d answers in %d kinds of disorder, over %d upstream connections",
		own.Load(), failed.Load(), evil.Load(), len(kinds), up.Connections())
}

// TestStrayAnswer has an upstream send an answer before it is asked, and another a while after it has answered:
// nobody who asks later gets what was meant for another.
func TestStrayAnswer(t *testing.T) {
	t.Parallel()
	var early atomic.Bool
	up := rawServer(t, func(c net.Conn, r *bufio.Reader) {
		if early.Load() {
			_, _ = io.WriteString(c, poison)
		}
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path)
			if !early.Load() {
				time.Sleep(10 * time.Millisecond)
				_, _ = io.WriteString(c, poison)
			}
		}
	})
	s := newSite(t, "a.test")
	g := startSite(t, s, up, "a.test")
	c1, c2 := client.DialTLS(t, g.Addr(443), s.config("a.test")), client.DialHTTP2(t, g.Addr(443), s.config("a.test"), 0, false)
	for i := range 40 {
		early.Store(i >= 20)
		path := fmt.Sprintf("/token-%d", i)
		var status int
		var body string
		if i%2 == 0 {
			resp, text := c1.Get("a.test", path)
			status, body = resp.StatusCode, text
		} else {
			st, err := c2.Get("https", "a.test", path)
			if err != nil {
				t.Fatal(err)
			}
			status, body = st.Status, string(st.Body)
		}
		// What comes on a new connection before the answer cannot be told from it; a token of another could only come on a used one.
		if body != path && (i < 20 || body != "poison" && status != 502) {
			t.Errorf("%s got %d %q", path, status, body)
		}
		time.Sleep(30 * time.Millisecond)
	}
}
