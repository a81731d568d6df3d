package http1

import (
	"errors"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

func TestResponseFraming(t *testing.T) {
	sized := func(n int64) message.Body { return message.Body{Kind: message.Sized, Length: n} }
	declared := func(n int64) message.Body { return message.Body{Declared: true, Length: n} }
	chunked, untilClose, none := message.Body{Kind: message.Chunked}, message.Body{Kind: message.UntilClose}, message.Body{}
	for _, c := range []struct {
		method, head string
		status       int
		body         message.Body
		keepAlive    bool
	}{
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, sized(5), true},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", 200, sized(5), false},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 200, sized(5), false},
		{"GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", 200, sized(5), true},
		{"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, chunked, true},
		{"GET", "HTTP/1.1 200 OK\r\n\r\n", 200, untilClose, false},
		{"GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, sized(0), true},
		{"GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, sized(0), true},
		{"GET", "HTTP/1.1 599 Gr\xfc\xdfe\t!\r\nContent-Length: 0\r\n\r\n", 599, sized(0), true},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, declared(5), true},
		{"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, none, true},
		{"HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200, none, true},
		{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, declared(5), true},
		{"GET", "HTTP/1.1 304 Not Modified\r\n\r\n", 304, none, true},
		{"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, none, true},
		{"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, none, true},
		{"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, none, false},
		{"GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, none, false},
		{"GET", "HTTP/1.1 100 Continue\r\n\r\n", 100, none, true},
		{"GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 103, none, true},
		{"GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 101, none, false},
		{"CONNECT", "HTTP/1.1 200 OK\r\n\r\n", 200, none, false},
		{"CONNECT", "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\n", 407, sized(2), true},
	} {
		var p ResponseParser
		var resp message.Response
		n, err := p.Parse([]byte(c.head+"rest"), []byte(c.method), &resp)
		if err != nil || n != len(c.head) {
			t.Errorf("%s %q: %d, %v", c.method, c.head, n, err)
			continue
		}
		if resp.Status != c.status || resp.Body != c.body || resp.KeepAlive != c.keepAlive {
			t.Errorf("%s %q: status %d body %+v keep-alive %v", c.method, c.head, resp.Status, resp.Body, resp.KeepAlive)
		}
		for i := range len(c.head) - 1 {
			var p ResponseParser
			if n, err := p.Parse([]byte(c.head[:i]), []byte(c.method), &resp); n != 0 || err != nil {
				t.Errorf("first %d bytes of %q: %d, %v", i, c.head, n, err)
			}
			if n, err := p.Parse([]byte(c.head), []byte(c.method), &resp); n != len(c.head) || err != nil {
				t.Errorf("%q after its first %d bytes: %d, %v", c.head, i, n, err)
			}
		}
	}
}

func TestResponseRefused(t *testing.T) {
	for _, c := range []struct {
		head string
		want diag.Code
	}{
		{"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 O\x00K\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 099 X\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 20 OK\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 2000 OK\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1  200 OK\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/2.0 200 OK\r\n\r\n", diag.UpstreamProtocolError},
		{"http/1.1 200 OK\r\n\r\n", diag.UpstreamProtocolError},
		{"ICY 200 OK\r\n\r\n", diag.UpstreamProtocolError},
		{"\r\nHTTP/1.1 200 OK\r\n\r\n", diag.UpstreamProtocolError},
		{"<html>", diag.UpstreamProtocolError},
		{"HTTP/1.1\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 101 Switching Protocols\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", diag.UpstreamProtocolError},
		{"HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", diag.UpstreamProtocolError},
		{"\x15\x03\x01\x00\x02\x02\x0a", diag.UpstreamSpeaksTLS},
		{"\x15", diag.UpstreamSpeaksTLS},
		{"\x00\x00\x12\x04\x00\x00\x00\x00\x00", diag.UpstreamProtocolError},
	} {
		var p ResponseParser
		var resp message.Response
		n, err := p.Parse([]byte(c.head), []byte("GET"), &resp)
		if e := new(Error); !errors.As(err, &e) || e.Code != c.want {
			t.Errorf("%q: %d, %v; want %v", c.head, n, err, c.want)
		}
	}
	p := ResponseParser{Limits: Limits{HeadBytes: 64, Fields: 1}}
	var resp message.Response
	for _, head := range []string{"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n", "HTTP/1.1 200 OK\r\nA: 0123456789012345678901234567890123456789012345678901234567890123\r\n"} {
		_, err := p.Parse([]byte(head), nil, &resp)
		if e := new(Error); !errors.As(err, &e) || e.Code != diag.UpstreamHeadTooLarge || e.Status() != 502 {
			t.Errorf("%q: %v", head, err)
		}
	}
}
