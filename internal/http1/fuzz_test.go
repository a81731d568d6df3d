package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/test/corpus"
)

// seeds returns what the corpus sends.
func seeds(f *testing.F) [][]byte {
	cases, err := corpus.Read(os.DirFS("testdata/corpus"))
	if err != nil {
		f.Fatal(err)
	}
	var all [][]byte
	for _, c := range cases {
		if len(c.Send) < 4096 {
			all = append(all, c.Send)
		}
	}
	return all
}

// parsePieces parses the same bytes as they arrive in pieces.
func parsePieces(p *RequestParser, data []byte, step int, req *message.Request) (int, error) {
	for seen := step; ; seen += step {
		n, err := p.Parse(data[:min(seen, len(data))], req)
		if n > 0 || err != nil || seen >= len(data) {
			return n, err
		}
	}
}

// FuzzRequest: whatever we accept, net/http accepts with the same method, host and framing; pieces
// give the same result as the whole; what we write parses to what we read.
func FuzzRequest(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s, uint8(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		var p RequestParser
		var req, again message.Request
		n, err := p.Parse(data, &req)
		p.Reset()
		n2, err2 := parsePieces(&p, bytes.Clone(data), int(step)+1, &again)
		// Pieces of a head without end may be refused later than the whole, at the latest with its end.
		waits := err != nil && err2 == nil && n2 == 0 && !bytes.Contains(data, []byte("\r\n\r\n"))
		if (n != n2 || (err == nil) != (err2 == nil)) && !waits {
			t.Fatalf("at once %d, %v; in pieces %d, %v", n, err, n2, err2)
		}
		if err != nil || n == 0 {
			return
		}
		head := data[:n]
		if bytes.Contains(bytes.ReplaceAll(head, []byte("\r\n"), nil), []byte("\n")) {
			t.Fatalf("bare LF accepted: %q", head)
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(head, []byte("\r\n")))))
		if err != nil && !strings.Contains(err.Error(), "bad trailer key") {
			t.Fatalf("accepted %q, net/http says %v", head, err)
		}
		if err == nil {
			compareWithNetHTTP(t, &req, theirs)
		}
		roundTrip(t, &req)
	})
}

func compareWithNetHTTP(t *testing.T, req *message.Request, theirs *http.Request) {
	t.Helper()
	if string(req.Method) != theirs.Method {
		t.Errorf("method %q, net/http %q", req.Method, theirs.Method)
	}
	if string(req.Authority) != theirs.Host {
		t.Errorf("authority %q, net/http %q", req.Authority, theirs.Host)
	}
	chunked := len(theirs.TransferEncoding) == 1 && theirs.TransferEncoding[0] == "chunked"
	switch {
	case chunked != (req.Body.Kind == message.Chunked):
		t.Errorf("body %+v, net/http %v", req.Body, theirs.TransferEncoding)
	case !chunked && req.Body.Length != theirs.ContentLength:
		t.Errorf("body %+v, net/http %d", req.Body, theirs.ContentLength)
	}
	if req.KeepAlive == theirs.Close && req.Proto == message.HTTP11 {
		t.Errorf("keep-alive %v, net/http close %v", req.KeepAlive, theirs.Close)
	}
	if u := theirs.URL; req.Absolute == "" && req.HasQuery && string(req.Query) != u.RawQuery {
		t.Errorf("query %q, net/http %q", req.Query, u.RawQuery)
	}
}

// roundTrip writes the request as it is forwarded and reads it again.
func roundTrip(t *testing.T, req *message.Request) {
	t.Helper()
	if len(req.Authority) == 0 {
		req.Authority, req.Host = []byte("upstream.test"), []byte("upstream.test")
	}
	RemoveHopByHop(&req.Fields)
	out := AppendRequestHead(nil, req, req.Body)
	var p RequestParser
	var got message.Request
	n, err := p.Parse(out, &got)
	if err != nil || n != len(out) {
		t.Fatalf("wrote %q, which does not parse: %d, %v", out, n, err)
	}
	if !bytes.Equal(got.Method, req.Method) || !bytes.Equal(got.Path, req.Path) || !bytes.Equal(got.Query, req.Query) ||
		got.HasQuery != req.HasQuery || !bytes.Equal(got.Authority, req.Authority) || !bytes.Equal(got.Host, req.Host) ||
		got.Body != req.Body || !bytes.Equal(got.Upgrade, req.Upgrade) {
		t.Fatalf("wrote %q:\n%+v\n%+v", out, req, got)
	}
	RemoveHopByHop(&got.Fields)
	if second := AppendRequestHead(nil, &got, got.Body); !bytes.Equal(out, second) {
		t.Fatalf("not stable:\n%q\n%q", out, second)
	}
}

// FuzzResponse: whatever we accept, net/http accepts with the same status and framing.
func FuzzResponse(f *testing.F) {
	for _, s := range responseSeeds {
		f.Add([]byte(s), "GET")
		f.Add([]byte(s), "HEAD")
	}
	f.Fuzz(func(t *testing.T, data []byte, method string) {
		var p ResponseParser
		var resp message.Response
		n, err := p.Parse(data, []byte(method), &resp)
		if err != nil || n == 0 {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data[:n])), &http.Request{Method: method})
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return
			}
			t.Fatalf("accepted %q, net/http says %v", data[:n], err)
		}
		if resp.Status != theirs.StatusCode {
			t.Errorf("status %d, net/http %d", resp.Status, theirs.StatusCode)
		}
		chunked := len(theirs.TransferEncoding) == 1
		switch {
		case resp.Body.Kind == message.Chunked && !chunked:
			t.Errorf("%q: chunked, net/http %d", data[:n], theirs.ContentLength)
		case resp.Body.Kind == message.Sized && resp.Body.Length != theirs.ContentLength:
			t.Errorf("%q: %+v, net/http %d", data[:n], resp.Body, theirs.ContentLength)
		case resp.Body.Kind == message.UntilClose && (chunked || theirs.ContentLength != -1):
			t.Errorf("%q: until close, net/http %d %v", data[:n], theirs.ContentLength, theirs.TransferEncoding)
		}
		if resp.KeepAlive && theirs.Close && resp.Proto == message.HTTP11 {
			t.Errorf("%q: kept alive, net/http closes", data[:n])
		}
		if resp.Status == 101 {
			return
		}
		out := AppendResponseHead(nil, &resp, resp.Body, resp.KeepAlive, false)
		var again message.Response
		if m, err := p.Parse(out, []byte(method), &again); err != nil || m != len(out) {
			t.Fatalf("wrote %q, which does not parse: %d, %v", out, m, err)
		}
		if again.Status != resp.Status || again.Body != resp.Body {
			t.Fatalf("wrote %q: %+v, want %+v", out, again.Body, resp.Body)
		}
	})
}

var responseSeeds = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200\r\n\r\n", "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
	"HTTP/1.1 200 OK\r\nConnection: close, X\r\nX: y\r\nContent-Length: 1\r\n\r\n",
}

// decode runs a body through BodyReader in pieces of step bytes.
func decode(b *BodyReader, data []byte, step int) (payload []byte, used int, err error) {
	for at := 0; at < len(data) && !b.Done(); {
		piece := data[at:min(len(data), at+step)]
		part, n, done, err := b.Next(piece)
		if err != nil {
			return payload, at, err
		}
		if n == 0 && !done {
			return payload, at, errors.New("no progress")
		}
		payload = append(payload, part...)
		at += n
		used = at
	}
	return payload, used, b.End()
}

// FuzzChunked: whatever we accept, httputil's reader accepts with the same payload and the same end;
// pieces give the same result as the whole.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\n", "A;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\nrest", "0\r\n\r\n", "2\nok\n0\n\n",
		"2\r\nokXX0\r\n\r\n", "0002\r\nok\r\n000\r\n\r\n", "f\r\n", "1;\"\r\n\"\r\nx\r\n0\r\n\r\n", "0\r\nContent-Length: 1\r\n\r\n"} {
		f.Add([]byte(s), uint8(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		var b BodyReader
		b.Reset(message.Body{Kind: message.Chunked}, Limits{})
		payload, used, err := decode(&b, data, len(data)+1)
		var c BodyReader
		c.Reset(message.Body{Kind: message.Chunked}, Limits{})
		payload2, used2, err2 := decode(&c, data, int(step)+1)
		if (err == nil) != (err2 == nil) || err == nil && (used != used2 || !bytes.Equal(payload, payload2)) {
			t.Fatalf("%q: at once %q %d %v, in pieces %q %d %v", data, payload, used, err, payload2, used2, err2)
		}
		if err != nil {
			return
		}
		rest := bufio.NewReader(bytes.NewReader(data))
		theirs, err := io.ReadAll(httputil.NewChunkedReader(rest))
		if err != nil || !bytes.Equal(theirs, payload) {
			t.Fatalf("%q: %q, httputil %q, %v", data, payload, theirs, err)
		}
		left, _ := io.ReadAll(rest) // begins with the trailers
		if tail := data[:used]; !bytes.HasSuffix(tail, []byte("\r\n")) || len(data)-len(left) > used || !slices.Equal(left, data[len(data)-len(left):]) {
			t.Fatalf("%q: ended at %d, httputil at %d", data, used, len(data)-len(left))
		}
		out := AppendChunkHead(nil, len(payload))
		if len(payload) == 0 {
			out = out[:0]
		} else {
			out = append(append(out, payload...), ChunkEnd...)
		}
		out = AppendLastChunk(out, b.Trailers())
		c.Reset(message.Body{Kind: message.Chunked}, Limits{})
		again, n, err := decode(&c, out, len(out))
		if err != nil || n != len(out) || !bytes.Equal(again, payload) || c.Trailers().Len() != b.Trailers().Len() {
			t.Fatalf("wrote %q: %q %d %v", out, again, n, err)
		}
	})
}
