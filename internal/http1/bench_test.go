package http1

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/message"
)

const browserHead = "GET /catalogue/items/4711.json?page=2&sort=name HTTP/1.1\r\nHost: shop.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: application/json, text/plain, */*\r\n" +
	"Accept-Language: en-GB,en;q=0.7,ja;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example.com/catalogue\r\n" +
	"Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\nSec-Fetch-Dest: empty\r\n" +
	"Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nPragma: no-cache\r\n\r\n"

const smallHead = "GET /1k HTTP/1.1\r\nHost: a.test\r\nUser-Agent: wrk\r\n\r\n"

const responseHead = "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Mon, 01 Jun 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n" +
	"Content-Length: 1024\r\nCache-Control: max-age=60\r\nETag: \"0123456789abcdef\"\r\nVary: Accept-Encoding\r\nConnection: keep-alive\r\n\r\n"

const unusualHead = "POST //Shop/%7euser/../a%20b?x HTTP/1.1\r\nHost: SHOP.Example.com:8443\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n" +
	"Expect: 100-continue\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"

// pass is what the codec does for one proxied exchange.
type pass struct {
	requests  RequestParser
	responses ResponseParser
	req       message.Request
	resp      message.Response
	body      BodyReader
	out       []byte
}

func (p *pass) request(t testing.TB, head []byte) {
	if n, err := p.requests.Parse(head, &p.req); n != len(head) || err != nil {
		t.Fatal(n, err)
	}
	RemoveHopByHop(&p.req.Fields)
	p.req.Fields.SetString("X-Forwarded-For", "192.0.2.1")
	p.req.Fields.SetString("X-Request-Id", "01234567-89ab-cdef-0123-456789abcdef")
	p.out = AppendRequestHead(p.out[:0], &p.req, p.req.Body)
}

func (p *pass) response(t testing.TB, head []byte) {
	if n, err := p.responses.Parse(head, p.req.Method, &p.resp); n != len(head) || err != nil {
		t.Fatal(n, err)
	}
	RemoveHopByHop(&p.resp.Fields)
	p.out = AppendResponseHead(p.out[:0], &p.resp, p.resp.Body, true, false)
}

func (p *pass) chunks(t testing.TB, in []byte) {
	p.body.Reset(message.Body{Kind: message.Chunked}, Limits{})
	p.out = p.out[:0]
	for done := false; !done; {
		payload, n, end, err := p.body.Next(in)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		if len(payload) > 0 {
			p.out = AppendChunkHead(p.out, len(payload))
			p.out = append(append(p.out, payload...), ChunkEnd...)
		}
		in, done = in[n:], end
	}
	p.out = AppendLastChunk(p.out, p.body.Trailers())
}

// The steady state allocates nothing, also where the head is an unusual one.
func TestNoAllocations(t *testing.T) {
	p := &pass{}
	browser, small, unusual, answer := []byte(browserHead), []byte(smallHead), []byte(unusualHead), []byte(responseHead)
	chunked := []byte("5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nY: z\r\n\r\n")
	for name, run := range map[string]func(){
		"browser request": func() { p.request(t, browser) },
		"small request":   func() { p.request(t, small) },
		"unusual request": func() { p.request(t, unusual) },
		"response":        func() { p.response(t, answer) },
		"chunked body":    func() { p.chunks(t, chunked) },
		"request in pieces": func() {
			for i := 1; i < len(browser); i += 50 {
				if n, err := p.requests.Parse(browser[:i], &p.req); n != 0 || err != nil {
					t.Fatal(n, err)
				}
			}
			p.request(t, browser)
		},
	} {
		if n := testing.AllocsPerRun(200, run); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"browser", browserHead}, {"small", smallHead}, {"unusual", unusualHead}} {
		b.Run(c.name, func(b *testing.B) {
			head := []byte(c.head)
			var p RequestParser
			var req message.Request
			b.SetBytes(int64(len(head)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := p.Parse(head, &req); n == 0 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	head, get := []byte(responseHead), []byte("GET")
	var p ResponseParser
	var resp message.Response
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := p.Parse(head, get, &resp); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkForward is the codec's whole share of one exchange: both heads parsed and written.
func BenchmarkForward(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"browser", browserHead}, {"small", smallHead}} {
		b.Run(c.name, func(b *testing.B) {
			p := &pass{}
			head, answer := []byte(c.head), []byte(responseHead)
			b.ReportAllocs()
			for b.Loop() {
				p.request(b, head)
				p.response(b, answer)
			}
		})
	}
}

func BenchmarkChunked(b *testing.B) {
	p := &pass{}
	var in []byte
	for range 16 {
		in = AppendChunkHead(in, 1024)
		in = append(append(in, make([]byte, 1024)...), ChunkEnd...)
	}
	in = AppendLastChunk(in, nil)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		p.chunks(b, in)
	}
}
