package http2

import (
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/message"
)

// loadRequest is what h2load sends, browserRequest what a browser sends.
var (
	loadRequest    = [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a.test:8443"}, {":path", "/1k"}, {"user-agent", "h2load nghttp2/1.59.0"}}
	browserRequest = [][2]string{{":method", "GET"}, {":authority", "shop.example.com"}, {":scheme", "https"}, {":path", "/catalogue/items/4711.json?page=2&sort=name"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}, {"accept", "application/json, text/plain, */*"},
		{"accept-language", "en-GB,en;q=0.7,ja;q=0.3"}, {"accept-encoding", "gzip, deflate, br, zstd"}, {"referer", "https://shop.example.com/catalogue"},
		{"cookie", "session=0123456789abcdef0123456789abcdef"}, {"cookie", "theme=dark"}, {"cookie", "consent=1"}, {"sec-fetch-dest", "empty"},
		{"sec-fetch-mode", "cors"}, {"sec-fetch-site", "same-origin"}, {"pragma", "no-cache"}}
	answer = [][2]string{{":status", "200"}, {"server", "upstream"}, {"date", "Mon, 01 Jun 2026 00:00:00 GMT"}, {"content-type", "application/json"},
		{"content-length", "1024"}, {"cache-control", "max-age=60"}, {"etag", "\"0123456789abcdef\""}, {"vary", "Accept-Encoding"}}
)

// blocks returns the first and a later block of a list, as x/net encodes them. Later ones are all
// references but for :path, which browsers do not put into the table.
func blocks(lines [][2]string) (first, later []byte) {
	var out sink
	enc := hpack.NewEncoder(&out)
	for i := range 2 {
		out = nil
		for _, l := range lines {
			name, value := l[0], l[1]
			if name == ":path" && i == 1 && len(value) > 8 {
				value = "/catalogue/items/1234.json?page=3&sort=date"
			}
			_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: name == ":path"})
		}
		if i == 0 {
			first = out
		}
	}
	return first, out
}

type sink []byte

func (s *sink) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

func fieldsOf(lines [][2]string, f *message.Fields) {
	for _, l := range lines {
		if l[0][0] != ':' {
			f.AddString(l[0], l[1])
		}
	}
}

func response() *message.Response {
	resp := &message.Response{Status: 200, Body: message.Body{Kind: message.Sized, Length: 1024}}
	fieldsOf(answer, &resp.Fields)
	return resp
}

func BenchmarkDecodeRequest(b *testing.B) {
	for _, c := range []struct {
		name  string
		lines [][2]string
	}{{"h2load", loadRequest}, {"browser", browserRequest}} {
		first, later := blocks(c.lines)
		d := NewDecoder()
		var req message.Request
		decode := func(b *testing.B, data []byte) {
			if err := d.Request(Block{Data: data, Stream: 1, End: true}, &req, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(c.name, func(b *testing.B) {
			decode(b, first)
			b.ReportAllocs()
			for b.Loop() {
				decode(b, later)
			}
		})
		b.Run(c.name+" first", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				decode(b, first)
			}
		})
	}
}

func BenchmarkDecodeResponse(b *testing.B) {
	first, later := blocks(answer)
	d := NewDecoder()
	var resp message.Response
	get := []byte("GET")
	if err := d.Response(Block{Data: first}, &resp, get, Limits{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Response(Block{Data: later}, &resp, get, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeResponse(b *testing.B) {
	e := NewEncoder()
	resp := response()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = e.AppendResponse(out[:0], resp, resp.Body)
	}
}

func BenchmarkEncodeRequest(b *testing.B) {
	d, e := NewDecoder(), NewEncoder()
	first, _ := blocks(browserRequest)
	var req message.Request
	if err := d.Request(Block{Data: first, End: true}, &req, Limits{}); err != nil {
		b.Fatal(err)
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = e.AppendRequest(out[:0], &req)
	}
}

func BenchmarkHuffman(b *testing.B) {
	s := []byte(browserRequest[4][1])
	coded := appendHuffman(nil, s)
	dst := make([]byte, huffmanRoom(len(coded)))
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		for b.Loop() {
			decodeHuffman(dst, coded)
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(s)))
		for b.Loop() {
			dst = appendHuffman(dst[:0], s)
		}
	})
}
