package http1

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/message"
)

func TestAppendResponseHead(t *testing.T) {
	sized, chunked, untilClose := message.Body{Kind: message.Sized, Length: 3}, message.Body{Kind: message.Chunked}, message.Body{Kind: message.UntilClose}
	for _, c := range []struct {
		status    int
		reason    string
		body      message.Body
		keepAlive bool
		toHTTP10  bool
		want      string
	}{
		{200, "", sized, true, false, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\n"},
		{200, "Fine", sized, false, false, "HTTP/1.1 200 Fine\r\nX: y\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"},
		{200, "", sized, true, true, "HTTP/1.1 200 OK\r\nX: y\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n"},
		{200, "", chunked, true, false, "HTTP/1.1 200 OK\r\nX: y\r\nTrailer: Z\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{200, "", chunked, true, true, "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n"},
		{200, "", untilClose, true, false, "HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\n\r\n"},
		{304, "", message.Body{Declared: true, Length: 9}, true, false, "HTTP/1.1 304 Not Modified\r\nX: y\r\nContent-Length: 9\r\n\r\n"},
		{204, "", message.Body{Kind: message.Sized}, true, false, "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"},
		{418, "", message.Body{}, true, false, "HTTP/1.1 418 I'm a teapot\r\nX: y\r\n\r\n"},
		{299, "", message.Body{}, true, false, "HTTP/1.1 299 \r\nX: y\r\n\r\n"},
		{100, "", message.Body{}, false, false, "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"},
		{101, "", message.Body{}, false, false, "HTTP/1.1 101 Switching Protocols\r\nX: y\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
	} {
		resp := message.Response{Status: c.status, Reason: []byte(c.reason), Upgrade: []byte("websocket")}
		for _, f := range []string{"X: y", "Content-Length: 99", "Transfer-Encoding: gzip", "Connection: x", "Keep-Alive: 1", "Upgrade: h2c", "Trailer: Z"} {
			name, value, _ := cut(f)
			resp.Fields.AddString(name, value)
		}
		if got := string(AppendResponseHead(nil, &resp, c.body, c.keepAlive, c.toHTTP10)); got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c, got, c.want)
		}
	}
}

func cut(f string) (name, value string, ok bool) {
	for i := range f {
		if f[i] == ':' {
			return f[:i], f[i+2:], true
		}
	}
	return f, "", false
}

// Framing is written from the body that is sent, whatever the fields say.
func TestAppendRequestHeadOwnsFraming(t *testing.T) {
	req := parseRequest(t, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nX: y\r\n\r\n")
	for _, c := range []struct {
		body message.Body
		want string
	}{
		{message.Body{}, "POST / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n"},
		{message.Body{Kind: message.Chunked}, "POST / HTTP/1.1\r\nHost: a.test\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{message.Body{Kind: message.Sized, Length: 7}, "POST / HTTP/1.1\r\nHost: a.test\r\nX: y\r\nContent-Length: 7\r\n\r\n"},
	} {
		if got := string(AppendRequestHead([]byte("before "), req, c.body)); got != "before "+c.want {
			t.Errorf("%+v: %q", c.body, got)
		}
	}
	req = parseRequest(t, "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
	if got, want := string(AppendRequestHead(nil, req, req.Body)), "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRemoveHopByHopFromResponse(t *testing.T) {
	var f message.Fields
	for _, line := range [][2]string{{"Connection", "X-Hop, Set-Cookie, content-length"}, {"X-Hop", "1"}, {"x-hop", "2"}, {"Set-Cookie", "a=b"}, {"Content-Length", "3"},
		{"Proxy-Authenticate", "Basic"}, {"Keep-Alive", "timeout=1"}, {"Transfer-Encoding", "chunked"}, {"Upgrade", "h2c"}, {"Connection", "close, Trailer"}, {"Trailer", "X"}} {
		f.AddString(line[0], line[1])
	}
	RemoveHopByHop(&f)
	var got string
	for i := range f.Len() {
		got += string(f.At(i).Name) + " "
	}
	if want := "Set-Cookie Content-Length "; got != want {
		t.Errorf("left %q, want %q", got, want)
	}
}
