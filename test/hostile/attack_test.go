//go:build e2e

package hostile

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dial connects from an address; a failure returns nil, since a gateway may refuse an attacker.
func (a *arena) dial(from string, declared int) net.Conn {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", a.g.Addr(declared))
	if err != nil {
		return nil
	}
	return c
}

// shake connects and makes the TLS handshake.
func (a *arena) shake(protocols ...string) net.Conn {
	raw := a.dial(attacker, 443)
	if raw == nil {
		return nil
	}
	_ = raw.SetDeadline(time.Now().Add(4 * length))
	c := tls.Client(raw, &tls.Config{RootCAs: a.ca.Pool(), ServerName: host, NextProtos: protocols})
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil
	}
	return c
}

// peer is a client of HTTP/2 that sends what it likes. What it writes is buffered until flush.
type peer struct {
	net.Conn
	fr  *http2.Framer
	out bytes.Buffer
	enc *hpack.Encoder
	blk bytes.Buffer

	goneMu sync.Mutex
	gone   http2.ErrCode // code of GOAWAY, valid if ended
	ended  atomic.Bool   // a GOAWAY with an error came, or the connection ended
}

// http2 opens a connection and sends the preface with settings. All that comes is read and thrown away.
func (a *arena) http2(settings ...http2.Setting) *peer {
	c := a.shake("h2")
	if c == nil {
		return nil
	}
	p := &peer{Conn: c}
	p.fr = http2.NewFramer(&p.out, c)
	p.fr.AllowIllegalWrites = true
	p.fr.AllowIllegalReads = true
	p.enc = hpack.NewEncoder(&p.blk)
	p.out.WriteString(http2.ClientPreface)
	_ = p.fr.WriteSettings(settings...)
	_ = p.fr.WriteSettingsAck()
	p.flush()
	go p.read()
	return p
}

// flush sends what was written, and reports whether the connection still takes it.
func (p *peer) flush() bool {
	if p.ended.Load() {
		return false
	}
	_, err := p.Conn.Write(p.out.Bytes())
	p.out.Reset()
	return err == nil
}

func (p *peer) read() {
	defer p.ended.Store(true)
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return
		}
		if f, ok := f.(*http2.GoAwayFrame); ok && f.ErrCode != http2.ErrCodeNo {
			p.goneMu.Lock()
			p.gone = f.ErrCode
			p.goneMu.Unlock()
			return
		}
	}
}

// block encodes a request's head with further fields.
func (p *peer) block(method, path string, more ...string) []byte {
	p.blk.Reset()
	for i, all := 0, append([]string{":method", method, ":scheme", "https", ":authority", host, ":path", path}, more...); i < len(all); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]})
	}
	return p.blk.Bytes()
}

// request writes a whole head.
func (p *peer) request(stream uint32, end bool, method, path string, more ...string) {
	_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.block(method, path, more...), EndStream: end, EndHeaders: true})
}

// flood opens n connections at a time and calls frames on each over and over. An attacker that is sent
// away comes again, at most two hundred times.
func (a *arena) flood(until time.Time, n int, frames func(p *peer, round uint32) bool, settings ...http2.Setting) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for range 200 {
				if !time.Now().Before(until) {
					return
				}
				p := a.http2(settings...)
				if p == nil {
					time.Sleep(100 * time.Millisecond) // shed
					continue
				}
				for round := uint32(0); time.Now().Before(until); round++ {
					if !frames(p, round) {
						break
					}
				}
				a.sentAway(p)
				p.Close()
				time.Sleep(10 * time.Millisecond) // an attack, not a race for the machine's cores
			}
		})
	}
	wg.Wait()
}

// sentAway notes the code of the GOAWAY that ended the connection, if one was seen.
func (a *arena) sentAway(p *peer) {
	for range 20 { // it may still be on its way
		if p.ended.Load() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	p.goneMu.Lock()
	defer p.goneMu.Unlock()
	a.goneMu.Lock()
	defer a.goneMu.Unlock()
	a.gone[p.gone]++
}

// once sends frames on connections that then wait to be sent away.
func (a *arena) once(until time.Time, n int, frames func(p *peer)) {
	a.flood(until, n, func(p *peer, round uint32) bool {
		if round == 0 {
			frames(p)
			p.flush()
		}
		time.Sleep(20 * time.Millisecond) // until the gateway has had enough
		return !p.ended.Load()
	})
}

func rapidReset(a *arena, until time.Time) {
	a.flood(until, 2, func(p *peer, round uint32) bool {
		for i := range uint32(100) {
			id := 2*(round*100+i) + 1
			p.request(id, true, "GET", "/hello")
			_ = p.fr.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		return p.flush()
	})
}

// provokedReset makes the gateway reset streams itself, by updates of windows by nothing.
func provokedReset(a *arena, until time.Time) {
	a.flood(until, 2, func(p *peer, round uint32) bool {
		for i := range uint32(100) {
			id := 2*(round*100+i) + 1
			p.request(id, true, "GET", "/delay/1000")
			_ = p.fr.WriteWindowUpdate(id, 0)
		}
		return p.flush()
	})
}

func continuation(size int) func(*arena, time.Time) {
	return func(a *arena, until time.Time) {
		piece := bytes.Repeat([]byte{0x82}, size) // :method GET, each byte
		a.flood(until, 4, func(p *peer, round uint32) bool {
			if round == 0 {
				_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block("GET", "/hello"), EndStream: true})
			}
			for range 100 {
				_ = p.fr.WriteContinuation(1, false, piece)
			}
			return p.flush()
		})
	}
}

// frames repeats a frame.
func frames(f func(p *peer)) func(*arena, time.Time) {
	return func(a *arena, until time.Time) {
		a.flood(until, 2, func(p *peer, round uint32) bool {
			if round == 0 {
				p.request(1, false, "POST", "/hello")
			}
			for range 100 {
				f(p)
			}
			return p.flush()
		})
	}
}

func settingsFlood(p *peer) {
	_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
}
func pingFlood(p *peer)      { _ = p.fr.WritePing(false, [8]byte{1}) }
func emptyDataFlood(p *peer) { _ = p.fr.WriteData(1, false, nil) }
func unknownFlood(p *peer)   { _ = p.fr.WriteRawFrame(0xbe, 0, 0, []byte("?")) }
func priorityFlood(p *peer) {
	_ = p.fr.WritePriority(1, http2.PriorityParam{StreamDep: 3, Weight: 7})
}

// zeroWindow asks for much and takes nothing.
func zeroWindow(a *arena, until time.Time) {
	a.flood(until, 10, func(p *peer, round uint32) bool {
		if round == 0 {
			for i := range uint32(100) {
				p.request(2*i+1, true, "GET", "/bytes/4000000")
			}
		}
		time.Sleep(50 * time.Millisecond) // the client waits, as long as it may
		return p.flush()
	}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
}

// unread asks for much with large windows and does not read.
func unread(a *arena, until time.Time) {
	var conns []net.Conn
	for range 20 {
		c := a.shake("h2")
		if c == nil {
			continue
		}
		conns = append(conns, c)
		var out bytes.Buffer
		p := &peer{Conn: c, fr: http2.NewFramer(&out, nil)}
		p.enc = hpack.NewEncoder(&p.blk)
		out.WriteString(http2.ClientPreface)
		_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		_ = p.fr.WriteSettingsAck()
		_ = p.fr.WriteWindowUpdate(0, 1<<31-1-65535)
		for i := range uint32(100) {
			p.request(2*i+1, true, "GET", "/bytes/4000000")
		}
		_, _ = c.Write(out.Bytes()) // a gateway may refuse it
	}
	time.Sleep(time.Until(until))
	for _, c := range conns {
		c.Close()
	}
}

func windowOverflow(stream uint32) func(*arena, time.Time) {
	return func(a *arena, until time.Time) {
		a.once(until, 2, func(p *peer) {
			p.request(1, true, "GET", "/delay/3000")
			_ = p.fr.WriteWindowUpdate(stream, 1<<31-1)
			_ = p.fr.WriteWindowUpdate(stream, 1<<31-1)
		})
	}
}

// beyondWindow sends more body than was granted.
func beyondWindow(a *arena, until time.Time) {
	a.flood(until, 2, func(p *peer, round uint32) bool {
		if round == 0 {
			p.request(1, false, "POST", "/delay/3000")
		}
		for range 16 {
			_ = p.fr.WriteData(1, false, make([]byte, 16<<10))
		}
		return p.flush()
	})
}

// tinyWindows takes an answer byte by byte.
func tinyWindows(a *arena, until time.Time) {
	a.flood(until, 4, func(p *peer, round uint32) bool {
		if round == 0 {
			for i := range uint32(10) {
				p.request(2*i+1, true, "GET", "/bytes/1000000")
			}
		}
		for i := range uint32(10) {
			_ = p.fr.WriteWindowUpdate(2*i+1, 1)
		}
		return p.flush()
	}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
}

// slowHead sends a head of HTTP/2 in pieces, each in time for a clock that looks only at silence.
func slowHead(a *arena, until time.Time) {
	a.flood(until, 20, func(p *peer, round uint32) bool {
		if round == 0 {
			_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block("GET", "/hello"), EndStream: true})
		} else {
			_ = p.fr.WriteContinuation(1, false, []byte{0x82})
		}
		time.Sleep(200 * time.Millisecond) // slowness is the attack
		return p.flush()
	})
}

// slowBody sends the beginning of bodies and then nothing.
func slowBody(a *arena, until time.Time) {
	a.once(until, 20, func(p *peer) {
		for i := range uint32(50) {
			p.request(2*i+1, false, "POST", "/hello", "content-length", "1000")
			_ = p.fr.WriteData(2*i+1, false, []byte("slow"))
		}
	})
}

// hugeHead sends a head of half a megabyte in frames of the largest size.
func hugeHead(a *arena, until time.Time) {
	value := strings.Repeat("x", 500)
	a.once(until, 4, func(p *peer) {
		var more []string
		for i := range 1000 {
			more = append(more, fmt.Sprintf("x-%d", i), value)
		}
		block := p.block("GET", "/hello", more...)
		_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000], EndStream: true})
		for block = block[16000:]; len(block) > 16000; block = block[16000:] {
			_ = p.fr.WriteContinuation(1, false, block[:16000])
		}
		_ = p.fr.WriteContinuation(1, true, block)
	})
}

// bomb puts a field into the table once and refers to it a thousand times, on a hundred streams.
func bomb(a *arena, until time.Time) {
	a.flood(until, 4, func(p *peer, round uint32) bool {
		for i := range uint32(20) {
			id := 2*(round*20+i) + 1
			block := bytes.Clone(p.block("GET", "/hello", "x-bomb", strings.Repeat("b", 3900)))
			block = append(block, bytes.Repeat([]byte{0x80 | 62}, 1000)...)
			_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
		}
		return p.flush()
	})
}

// manyStreams opens more streams than it may.
func manyStreams(a *arena, until time.Time) {
	a.once(until, 4, func(p *peer) {
		for i := range uint32(300) {
			p.request(2*i+1, true, "GET", "/delay/1000")
		}
	})
}

// badCompression refers to an entry that is not there.
func badCompression(p *peer) {
	_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0x80, 0x01}, EndStream: true, EndHeaders: true})
}

func badFrameSize(p *peer) { _ = p.fr.WriteRawFrame(http2.FramePing, 0, 0, make([]byte, 9)) }

func badProtocol(p *peer) { _ = p.fr.WriteRawFrame(http2.FrameData, 0, 0, []byte("on no stream")) }

// only sends a frame on fresh connections.
func only(f func(p *peer)) func(*arena, time.Time) {
	return func(a *arena, until time.Time) { a.once(until, 2, f) }
}

// unacknowledged never acknowledges the gateway's SETTINGS.
func unacknowledged(a *arena, until time.Time) {
	a.raw(until, 10, "h2", http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
}

// notHTTP2 negotiates h2 and speaks HTTP/1.1.
func notHTTP2(a *arena, until time.Time) {
	a.raw(until, 4, "h2", "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
}

// raw sends text on fresh connections and reads until they are closed, over and over.
func (a *arena) raw(until time.Time, n int, protocol, text string) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for time.Now().Before(until) {
				c := a.shake(protocol)
				if c == nil {
					return
				}
				_ = c.SetDeadline(until.Add(time.Second))
				_, _ = io.WriteString(c, text)
				_, _ = io.Copy(io.Discard, c) // until the gateway has had enough
				c.Close()
				time.Sleep(10 * time.Millisecond) // an attack, not a race for the machine's cores
			}
		})
	}
	wg.Wait()
}
