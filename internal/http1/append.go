package http1

import (
	"slices"
	"strconv"

	"github.com/hakone-gateway/hakone/internal/message"
)

// written by the codec itself, and so never copied from Fields.
const ownNames = hopByHop&^(1<<message.ProxyAuthenticate|1<<message.ProxyAuthorization) |
	message.NameSet(1<<message.ContentLength)

// AppendRequestHead appends the head of req to dst, as HTTP/1.1 in origin form whatever form it came
// in (authority form for CONNECT, "*" for OPTIONS *). Host comes first and is req.Authority, which must
// not be empty. Framing fields are written from body, connection fields from req: "Connection: Upgrade"
// with Upgrade if req.Upgrade is set, "Connection: TE" if TE is among the fields; such lines in Fields
// are passed over. Fields are written as they stand; call RemoveHopByHop before.
func AppendRequestHead(dst []byte, req *message.Request, body message.Body) []byte {
	return appendHead(dst, req, body, false, nil)
}

// AppendForwardHead is AppendRequestHead for a proxy: the target is absolute, of the scheme http (RFC 9112 section
// 3.2.2), and lines are further field lines, each with its end.
func AppendForwardHead(dst []byte, req *message.Request, body message.Body, lines []byte) []byte {
	return appendHead(dst, req, body, true, lines)
}

func appendHead(dst []byte, req *message.Request, body message.Body, absolute bool, lines []byte) []byte {
	passOver := ownNames | 1<<message.Host
	if body.Kind != message.Chunked {
		passOver |= 1 << message.Trailer
	}
	dst = slices.Grow(dst, len(req.Method)+len(req.Path)+len(req.Query)+2*len(req.Authority)+fieldsSize(&req.Fields)+192)
	dst = append(dst, req.Method...)
	dst = append(dst, ' ')
	if absolute {
		dst = append(append(dst, "http://"...), req.Authority...)
	}
	switch {
	case absolute && len(req.Path) == 1 && req.Path[0] == '*':
	case string(req.Method) == "CONNECT":
		dst = append(dst, req.Authority...)
	case len(req.Path) == 0:
		dst = append(dst, '/')
	default:
		dst = append(dst, req.Path...)
	}
	if req.HasQuery {
		dst = append(dst, '?')
		dst = append(dst, req.Query...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, req.Authority...)
	dst = append(dst, "\r\n"...)
	dst = append(dst, lines...)
	dst = appendFields(dst, &req.Fields, passOver)
	te := req.Fields.Names().Has(message.TE) && req.Fields.Has(message.TE)
	switch {
	case req.Upgrade != nil && te:
		dst = append(dst, "Connection: Upgrade, TE\r\nUpgrade: "...)
	case req.Upgrade != nil:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
	case te:
		dst = append(dst, "Connection: TE\r\n"...)
	}
	if req.Upgrade != nil {
		dst = append(dst, req.Upgrade...)
		dst = append(dst, "\r\n"...)
	}
	dst = appendFraming(dst, body)
	return append(dst, "\r\n"...)
}

// AppendResponseHead appends the head of resp to dst, with the version HTTP/1.1 (RFC 9112 section 2.3:
// a server sends its own). Framing fields are written from body: nothing for NoBody that is not
// Declared, so an empty answer to a method that expects content needs Sized with Length 0. keepAlive
// says whether the connection persists; UntilClose, and Chunked with toHTTP10 (the client's version,
// which knows no chunks: send the payload bare), close it in any case. A 101 carries resp.Upgrade.
func AppendResponseHead(dst []byte, resp *message.Response, body message.Body, keepAlive bool, toHTTP10 bool) []byte {
	passOver := ownNames
	if toHTTP10 && body.Kind == message.Chunked {
		body.Kind = message.UntilClose
	}
	if body.Kind != message.Chunked {
		passOver |= 1 << message.Trailer
	}
	keepAlive = keepAlive && body.Kind != message.UntilClose
	dst = slices.Grow(dst, len(resp.Reason)+fieldsSize(&resp.Fields)+192)
	dst = appendStatusLine(dst, resp.Status, resp.Reason)
	dst = appendFields(dst, &resp.Fields, passOver)
	switch {
	case resp.Status == 101:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
		dst = append(dst, resp.Upgrade...)
		return append(dst, "\r\n\r\n"...)
	case resp.Status < 200:
		return append(dst, "\r\n"...)
	case !keepAlive:
		dst = append(dst, "Connection: close\r\n"...)
	case toHTTP10:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	if resp.Status != 204 {
		dst = appendFraming(dst, body)
	}
	return append(dst, "\r\n"...)
}

func appendStatusLine(dst []byte, status int, reason []byte) []byte {
	if status == 200 && (len(reason) == 0 || string(reason) == "OK") {
		return append(dst, "HTTP/1.1 200 OK\r\n"...)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if len(reason) > 0 {
		dst = append(dst, reason...)
	} else {
		dst = append(dst, message.StatusText(status)...)
	}
	return append(dst, "\r\n"...)
}

func appendFraming(dst []byte, body message.Body) []byte {
	switch {
	case body.Kind == message.Chunked:
		return append(dst, "Transfer-Encoding: chunked\r\n"...)
	case body.Kind == message.Sized || body.Kind == message.NoBody && body.Declared:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, body.Length, 10)
		return append(dst, "\r\n"...)
	}
	return dst
}

func fieldsSize(f *message.Fields) int {
	n := 0
	for i := range f.Len() {
		l := f.At(i)
		n += len(l.Name) + len(l.Value) + len(": \r\n")
	}
	return n
}

// appendFields writes the lines but those of passOver; dst has the room.
func appendFields(dst []byte, f *message.Fields, passOver message.NameSet) []byte {
	for i := range f.Len() {
		l := f.At(i)
		if passOver.Has(l.ID) {
			continue
		}
		dst = append(dst, l.Name...)
		dst = append(dst, ':', ' ')
		dst = append(dst, l.Value...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// ChunkEnd follows the payload of every chunk.
const ChunkEnd = "\r\n"

// MaxChunkHead is the most that AppendChunkHead appends, in bytes.
const MaxChunkHead = 18

// AppendChunkHead appends the size line of a chunk of n bytes, n > 0 (RFC 9112 section 7.1).
func AppendChunkHead(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the chunk of size zero, the trailers (nil for none) and the empty line that
// ends the body. Trailers that are not allowed (message.TrailerAllowed) are passed over.
func AppendLastChunk(dst []byte, trailers *message.Fields) []byte {
	if trailers == nil || trailers.Len() == 0 {
		return append(dst, "0\r\n\r\n"...)
	}
	dst = append(dst, "0\r\n"...)
	for i := range trailers.Len() {
		l := trailers.At(i)
		if !message.TrailerAllowed(l.ID, l.Name) {
			continue
		}
		dst = append(dst, l.Name...)
		dst = append(dst, ':', ' ')
		dst = append(dst, l.Value...)
		dst = append(dst, '\r', '\n')
	}
	return append(dst, "\r\n"...)
}
