// Package grpcweb translates between gRPC-Web, which browsers can speak, and gRPC (PROTOCOL-WEB of
// grpc/grpc): content types, the text encoding, and trailers as the last frame of the body.
//
// It works on heads and pieces of bodies that the caller owns and knows no connection. Which requests
// are translated is the caller's decision (ir.Upstream.GRPCWeb); a server that speaks gRPC-Web by
// itself is left alone. Begin reading at Begin.
package grpcweb

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"

	"github.com/hakone-gateway/hakone/internal/message"
)

const (
	webType  = "application/grpc-web"
	textType = "application/grpc-web-text"
	grpcType = "application/grpc"

	// trailerFrame is the flag byte of the frame that holds the trailers.
	trailerFrame = 0x80
)

// Call is one translated request. The zero value is not useful: see Begin. It is owned by one goroutine
// per direction: Request and EndRequest by one, Head, Body and Trailers by the other.
type Call struct {
	suffix      string // "+proto" and the like, as the client named it
	textRequest bool
	textAnswer  bool
	plainAnswer bool // the answer is no gRPC: it is passed on as it is

	quartet [4]byte // base64 of the request received in part
	have    int
}

// IsWeb reports whether a content type is one of gRPC-Web.
func IsWeb(contentType []byte) bool {
	_, _, ok := split(contentType)
	return ok
}

// split takes a content type of gRPC-Web apart.
func split(contentType []byte) (suffix string, text, ok bool) {
	media, _, _ := bytes.Cut(contentType, []byte(";"))
	media = bytes.TrimSpace(media)
	rest, text := cutPrefixFold(media, textType)
	if !text {
		var web bool
		if rest, web = cutPrefixFold(media, webType); !web {
			return "", false, false
		}
	}
	if len(rest) > 0 && (rest[0] != '+' || len(rest) == 1) {
		return "", false, false
	}
	return string(bytes.ToLower(rest)), text, true
}

func cutPrefixFold(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || !message.EqualFold(b[:len(prefix)], []byte(prefix)) {
		return nil, false
	}
	return b[len(prefix):], true
}

// Begin makes a gRPC request of a gRPC-Web request's head, and reports whether it is one. The answer's
// form follows Accept, as browsers' clients set it, else that of the request.
func Begin(req *message.Request) (Call, bool) {
	contentType, _ := req.Fields.Get(message.ContentType)
	suffix, text, ok := split(contentType)
	if !ok || string(req.Method) != "POST" {
		return Call{}, false
	}
	c := Call{suffix: suffix, textRequest: text, textAnswer: text}
	if accept, ok := req.Fields.Get(message.Accept); ok {
		for item := range bytes.SplitSeq(accept, []byte(",")) {
			if _, text, ok := split(bytes.TrimSpace(item)); ok {
				c.textAnswer = text
				break
			}
		}
	}
	f := &req.Fields
	f.SetID(message.ContentType, append([]byte(grpcType), suffix...))
	f.SetID(message.TE, []byte("trailers"))
	f.DelID(message.ContentLength)
	if _, ok := f.Lookup([]byte("grpc-accept-encoding")); !ok {
		f.AddString("grpc-accept-encoding", "identity,deflate,gzip")
	}
	if !req.Body.IsEmpty() {
		req.Body = message.Body{Kind: message.Chunked}
	}
	return c, true
}

// errEncoding is returned for a text body that is no base64.
type errEncoding struct{}

func (errEncoding) Error() string { return "the body of a grpc-web-text request is not base64" }

// Request appends to dst what a piece of the request's body becomes. Text may come as several padded
// parts, one after the other. An error means that the body is no base64.
func (c *Call) Request(dst, piece []byte) ([]byte, error) {
	if !c.textRequest {
		return append(dst, piece...), nil
	}
	var out [3]byte
	for _, b := range piece {
		if b == '\r' || b == '\n' {
			continue
		}
		c.quartet[c.have] = b
		if c.have++; c.have < len(c.quartet) {
			continue
		}
		c.have = 0
		n, err := base64.StdEncoding.Decode(out[:], c.quartet[:])
		if err != nil {
			return dst, errEncoding{}
		}
		dst = append(dst, out[:n]...)
	}
	return dst, nil
}

// EndRequest tells that the request's body is over.
func (c *Call) EndRequest() error {
	if c.have > 0 {
		return errEncoding{}
	}
	return nil
}

// Head makes the head of a gRPC-Web answer from that of a gRPC answer. An answer without a content type
// of gRPC, such as an error page of something in between, is passed on with grpc-status added where it
// has none, because clients of gRPC-Web look only there.
func (c *Call) Head(resp *message.Response) {
	f := &resp.Fields
	contentType, _ := f.Get(message.ContentType)
	rest, grpc := cutPrefixFold(contentType, grpcType)
	if !grpc || len(rest) > 0 && rest[0] != '+' && rest[0] != ';' {
		c.plainAnswer = true
		if resp.Status != 200 && !f.Has(message.GRPCStatus) {
			f.AddID(message.GRPCStatus, strconv.AppendInt(nil, int64(StatusOf(resp.Status)), 10))
		}
		return
	}
	answer := webType
	if c.textAnswer {
		answer = textType
	}
	suffix := c.suffix
	if suffix == "" {
		suffix = "+proto"
	}
	f.SetID(message.ContentType, append([]byte(answer), suffix...))
	f.DelID(message.ContentLength)
	f.DelID(message.Trailer)
	if resp.Body.Kind != message.NoBody {
		resp.Body = message.Body{Kind: message.Chunked}
	}
}

// Body appends to dst what a piece of the answer's body becomes. Text is padded piece by piece, so that
// a message of a stream is not held back until the next one.
func (c *Call) Body(dst, piece []byte) []byte {
	if c.plainAnswer || !c.textAnswer {
		return append(dst, piece...)
	}
	return base64.StdEncoding.AppendEncode(dst, piece)
}

// Trailers appends the frame that trailers become. Nothing is appended for an answer that is no gRPC, or
// that has no trailers because its head holds the status.
func (c *Call) Trailers(dst []byte, f *message.Fields) []byte {
	if c.plainAnswer || f == nil || f.Len() == 0 {
		return dst
	}
	frame := []byte{trailerFrame, 0, 0, 0, 0}
	for i := range f.Len() {
		l := f.At(i)
		frame = append(append(frame, bytes.ToLower(l.Name)...), ':')
		frame = append(append(frame, l.Value...), "\r\n"...)
	}
	binary.BigEndian.PutUint32(frame[1:5], uint32(len(frame)-5))
	return c.Body(dst, frame)
}

// StatusOf maps a status of HTTP to one of gRPC, for answers that carry none (grpc/grpc:
// http-grpc-status-mapping).
func StatusOf(status int) int {
	switch status {
	case 400:
		return 13 // INTERNAL
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}
