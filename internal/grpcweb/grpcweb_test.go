package grpcweb

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/hakone-gateway/hakone/internal/message"
)

func request(contentType, accept string) *message.Request {
	req := &message.Request{Method: []byte("POST"), Body: message.Body{Kind: message.Sized, Declared: true, Length: 9}}
	req.Fields.AddString("Content-Type", contentType)
	req.Fields.AddString("Content-Length", "9")
	if accept != "" {
		req.Fields.AddString("Accept", accept)
	}
	return req
}

func field(f *message.Fields, name string) string {
	v, _ := f.Lookup([]byte(name))
	return string(v)
}

func TestBegin(t *testing.T) {
	for _, c := range []struct {
		contentType, accept string
		ok                  bool
		grpc                string
		textIn, textOut     bool
	}{
		{"application/grpc-web", "", true, "application/grpc", false, false},
		{"application/grpc-web+proto", "", true, "application/grpc+proto", false, false},
		{"Application/GRPC-Web-Text+Proto; charset=x", "", true, "application/grpc+proto", true, true},
		{"application/grpc-web-text", "application/grpc-web", true, "application/grpc", true, false},
		{"application/grpc-web+json", "text/html, application/grpc-web-text", true, "application/grpc+json", false, true},
		{"application/grpc", "", false, "", false, false},
		{"application/grpc-webster", "", false, "", false, false},
		{"application/grpc-web+", "", false, "", false, false},
		{"text/plain", "application/grpc-web", false, "", false, false},
	} {
		req := request(c.contentType, c.accept)
		call, ok := Begin(req)
		if ok != c.ok || IsWeb([]byte(c.contentType)) != c.ok {
			t.Errorf("%s: translated %t", c.contentType, ok)
		}
		if !ok {
			if field(&req.Fields, "Content-Type") != c.contentType {
				t.Errorf("%s: the head was changed", c.contentType)
			}
			continue
		}
		if got := field(&req.Fields, "Content-Type"); got != c.grpc || call.textRequest != c.textIn || call.textAnswer != c.textOut {
			t.Errorf("%s, accept %q: became %q, text %t and %t", c.contentType, c.accept, got, call.textRequest, call.textAnswer)
		}
		if field(&req.Fields, "TE") != "trailers" || req.Fields.Has(message.ContentLength) || req.Body.Kind != message.Chunked {
			t.Errorf("%s: TE %q, body %+v", c.contentType, field(&req.Fields, "TE"), req.Body)
		}
	}
	get := request("application/grpc-web", "")
	get.Method = []byte("GET")
	if _, ok := Begin(get); ok {
		t.Error("GET was translated")
	}
}

func TestTextRequestInPieces(t *testing.T) {
	want := []byte("\x00\x00\x00\x00\x05hello\x00\x00\x00\x00\x01x")
	text := base64.StdEncoding.EncodeToString(want[:10]) + base64.StdEncoding.EncodeToString(want[10:])
	for size := 1; size <= len(text); size++ {
		c, _ := Begin(request("application/grpc-web-text", ""))
		var got []byte
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			var err error
			if got, err = c.Request(got, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := c.EndRequest(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d: %q, %v", size, got, err)
		}
	}
	for _, bad := range []string{"AAA", "AA=A", "????", "AAAA="} {
		c, _ := Begin(request("application/grpc-web-text", ""))
		_, err := c.Request(nil, []byte(bad))
		if err == nil {
			err = c.EndRequest()
		}
		if err == nil {
			t.Errorf("%q was taken for base64", bad)
		}
	}
}

func TestAnswer(t *testing.T) {
	var trailers message.Fields
	trailers.AddString("Grpc-Status", "0")
	trailers.AddString("grpc-message", "fine")
	const body = "\x00\x00\x00\x00\x02hi"
	const frame = "\x80\x00\x00\x00\x23grpc-status:0\r\ngrpc-message:fine\r\n"
	for contentType, want := range map[string]string{
		"application/grpc-web":            body + frame[:4] + string(rune(len(frame)-5)) + frame[5:],
		"application/grpc-web-text+proto": base64.StdEncoding.EncodeToString([]byte(body)) + base64.StdEncoding.EncodeToString([]byte(frame[:4]+string(rune(len(frame)-5))+frame[5:])),
	} {
		c, _ := Begin(request(contentType, ""))
		resp := &message.Response{Status: 200, Body: message.Body{Kind: message.Chunked}}
		resp.Fields.AddString("Content-Type", "application/grpc+proto")
		c.Head(resp)
		if got := field(&resp.Fields, "Content-Type"); !IsWeb([]byte(got)) {
			t.Errorf("%s: answered with %q", contentType, got)
		}
		if got := c.Trailers(c.Body(nil, []byte(body)), &trailers); string(got) != want {
			t.Errorf("%s: body %q, want %q", contentType, got, want)
		}
	}
}

func TestAnswerThatIsNoGRPC(t *testing.T) {
	c, _ := Begin(request("application/grpc-web-text", ""))
	resp := &message.Response{Status: 503}
	resp.Fields.AddString("Content-Type", "text/html")
	c.Head(resp)
	if got := field(&resp.Fields, "grpc-status"); got != "14" {
		t.Errorf("grpc-status is %q", got)
	}
	var trailers message.Fields
	trailers.AddString("x", "y")
	if got := c.Trailers(c.Body(nil, []byte("<html>")), &trailers); string(got) != "<html>" {
		t.Errorf("the body became %q", got)
	}
}

func FuzzTextRequest(f *testing.F) {
	f.Add([]byte("AAAAAAU="), 3)
	f.Add([]byte("=\r\n==="), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		size = max(1, size%16)
		c, _ := Begin(request("application/grpc-web-text", ""))
		var got []byte
		var err error
		for rest := text; len(rest) > 0 && err == nil; {
			n := min(size, len(rest))
			got, err = c.Request(got, rest[:n])
			rest = rest[n:]
		}
		if err == nil && len(got) > len(text) {
			t.Errorf("%d bytes became %d", len(text), len(got))
		}
	})
}
