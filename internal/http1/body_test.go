package http1

import (
	"errors"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		body    message.Body
		in      string
		payload string
		used    int
		end     diag.Code
	}{
		{message.Body{}, "rest", "", 0, 0},
		{message.Body{Kind: message.Sized}, "rest", "", 0, 0},
		{message.Body{Kind: message.Sized, Length: 4}, "bodyrest", "body", 4, 0},
		{message.Body{Kind: message.Sized, Length: 9}, "bodyrest", "bodyrest", 8, diag.ClientClosed},
		{message.Body{Kind: message.UntilClose}, "bodyrest", "bodyrest", 8, 0},
		{message.Body{Kind: message.Chunked}, "4\r\nbody\r\n0\r\n\r\nrest", "body", 14, 0},
		{message.Body{Kind: message.Chunked}, "2\r\nbo\r\n2\r\ndy\r\n0\r\nX: y\r\nA: b\r\n\r\nrest", "body", 31, 0},
		{message.Body{Kind: message.Chunked}, "4\r\nbody\r\n0\r\n", "body", 12, diag.ClientClosed},
		{message.Body{Kind: message.Chunked}, "4\r\nbo", "bo", 5, diag.ClientClosed},
	} {
		for step := 1; step <= len(c.in); step++ {
			var b BodyReader
			b.Reset(c.body, Limits{})
			payload, used, err := decode(&b, []byte(c.in), step)
			var e *Error
			if errors.As(err, &e); string(payload) != c.payload || used != c.used || (e == nil) != (c.end == 0) || e != nil && e.Code != c.end {
				t.Errorf("%+v %q, %d a time: %q %d %v", c.body, c.in, step, payload, used, err)
			}
		}
	}
}

// One call finds the end of a body that has arrived with its last chunk.
func TestChunkAndEndInOneCall(t *testing.T) {
	var b BodyReader
	b.Reset(message.Body{Kind: message.Chunked}, Limits{})
	payload, n, done, err := b.Next([]byte("4\r\nbody\r\n0\r\n\r\n"))
	if string(payload) != "body" || n != 14 || !done || err != nil {
		t.Errorf("%q %d %v %v", payload, n, done, err)
	}
	if payload, n, done, err = b.Next([]byte("rest")); payload != nil || n != 0 || !done || err != nil {
		t.Errorf("after the end: %q %d %v %v", payload, n, done, err)
	}
}

func TestRemaining(t *testing.T) {
	var b BodyReader
	b.Reset(message.Body{Kind: message.Sized, Length: 5}, Limits{})
	if _, _, _, err := b.Next([]byte("ab")); err != nil || b.Remaining() != 3 {
		t.Errorf("%d, %v", b.Remaining(), err)
	}
	b.Reset(message.Body{Kind: message.Chunked}, Limits{})
	if b.Remaining() != -1 {
		t.Errorf("chunked: %d", b.Remaining())
	}
	b.Reset(message.Body{}, Limits{})
	if b.Remaining() != 0 || !b.Done() {
		t.Errorf("none: %d", b.Remaining())
	}
}

func TestTrailers(t *testing.T) {
	var b BodyReader
	for _, step := range []int{1, 3, 1000} {
		b.Reset(message.Body{Kind: message.Chunked}, Limits{})
		in := []byte("2\r\nok\r\n0\r\nX-Sum: 1\r\nAuthorization: x\r\nContent-Type: y\r\nSet-Cookie: a=b\r\nGrpc-Status: 0\r\nAge: 1\r\nIf-Match: z\r\n\r\n")
		if _, _, err := decode(&b, in, step); err != nil {
			t.Fatal(err)
		}
		clear(in) // trailers outlive the buffer
		got := string(AppendLastChunk(nil, b.Trailers()))
		if want := "0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\n"; got != want {
			t.Errorf("trailers %q, want %q", got, want)
		}
	}
	b.Reset(message.Body{Kind: message.Chunked}, Limits{})
	if _, _, err := decode(&b, []byte("0\r\n\r\n"), 9); err != nil || b.Trailers().Len() != 0 {
		t.Errorf("trailers of the body before: %d, %v", b.Trailers().Len(), err)
	}
}

func TestBodyLimits(t *testing.T) {
	limits := Limits{HeadBytes: 32, Fields: 2}
	for in, want := range map[string]diag.Code{
		"0\r\nA: b\r\nC: d\r\n\r\n":                           0,
		"0\r\nA: b\r\nC: d\r\nE: f\r\n\r\n":                   diag.RequestTooManyFields,
		"0\r\nA: 0123456789012345678901234567890123456789":    diag.RequestHeadTooLarge,
		"0;" + strings.Repeat("x", 1025) + "\r\n\r\n":         diag.RequestBadChunk,
		"000000000000001\r\nx\r\n0\r\n\r\n":                   0,
		"0000000000000001\r\nx\r\n0\r\n\r\n":                  diag.RequestBadChunk,
		"0\r\nhost: a\r\n\r\n":                                diag.RequestBadField,
		"0\r\n" + "A: 012345678901234567890123456" + "\r\n\r": diag.RequestHeadTooLarge,
	} {
		for _, step := range []int{1, 5, len(in)} {
			b := BodyReader{}
			b.Reset(message.Body{Kind: message.Chunked}, limits)
			_, _, err := decode(&b, []byte(in), step)
			var e *Error
			if errors.As(err, &e); e == nil && want != 0 || e != nil && e.Code != want {
				t.Errorf("%.40q, %d a time: %v, want %v", in, step, err, want)
			}
		}
	}
}

func TestResponseBodyCodes(t *testing.T) {
	b := BodyReader{Response: true}
	b.Reset(message.Body{Kind: message.Chunked}, Limits{})
	_, _, _, err := b.Next([]byte("x\r\n"))
	if e := new(Error); !errors.As(err, &e) || e.Code != diag.UpstreamProtocolError {
		t.Error(err)
	}
	b.Reset(message.Body{Kind: message.Sized, Length: 3}, Limits{})
	if e := new(Error); !errors.As(b.End(), &e) || e.Code != diag.UpstreamBodyTruncated {
		t.Error(b.End())
	}
}
