// Package message holds HTTP requests and responses as the engines, the router and the filters see
// them: one shape for HTTP/1.1, HTTP/2 and HTTP/3 (RFC 9110). Names and values are slices of the
// received bytes; nothing is allocated per message in the steady state.
//
// It knows no wire format (see http1), no socket and no policy. Begin reading at Request.
package message

// Proto is the version of HTTP that a message was received in.
type Proto uint8

// Versions.
const (
	HTTP10 Proto = iota + 1
	HTTP11
	HTTP2
	HTTP3
)

// String returns "HTTP/1.1" and the like, as access logs spell it.
func (p Proto) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	case HTTP3:
		return "HTTP/3"
	}
	return "-"
}

// BodyKind says how a body's end is known (RFC 9112 section 6.3).
type BodyKind uint8

// Body kinds.
const (
	NoBody     BodyKind = iota // no body follows the head: none sent, or none allowed (HEAD, 1xx, 204, 304)
	Sized                      // Length bytes follow
	Chunked                    // of no declared length; the version of HTTP marks the end (chunks, END_STREAM)
	UntilClose                 // responses only: until the connection closes
)

// Body describes the framing of a message's body. Length is in bytes and valid for Sized; with NoBody
// it is what the head declares all the same if Declared is set (answers to HEAD, and 304).
type Body struct {
	Kind     BodyKind
	Declared bool
	Length   int64
}

// IsEmpty reports whether no byte of body can follow the head.
func (b Body) IsEmpty() bool { return b.Kind == NoBody || b.Kind == Sized && b.Length == 0 }

// Request is the head of one request. All byte slices are valid until Reset or until the buffer that
// the head was parsed from is reused, whichever is first.
type Request struct {
	Proto     Proto
	Method    []byte
	Target    []byte // request target as received, for logs
	Scheme    string // "http" or "https": of the connection the request came by
	Absolute  string // "http" or "https" where the target was in absolute form, else ""
	Authority []byte // host[:port] as received, from the target or Host
	Host      []byte // Authority in lower case without port, brackets and trailing dot
	Path      []byte // normalised absolute path: what is matched is what is sent on; "*" for OPTIONS *
	Query     []byte // after "?", without it
	HasQuery  bool   // tells "/a?" from "/a"
	Fields    Fields
	Body      Body
	Trailers  Fields // filled when the body has been read

	KeepAlive bool   // the client wants the connection to persist
	Continue  bool   // Expect: 100-continue
	Upgrade   []byte // protocols of Upgrade if Connection nominates it, else nil
	Protocol  []byte // :protocol of an extended CONNECT (RFC 8441), else nil
}

// Reset empties the request and keeps its memory.
func (r *Request) Reset() {
	f, t := r.Fields, r.Trailers
	f.Reset()
	t.Reset()
	*r = Request{Fields: f, Trailers: t}
}

// Response is the head of one response.
type Response struct {
	Proto    Proto
	Status   int
	Reason   []byte
	Fields   Fields
	Body     Body
	Trailers Fields

	KeepAlive bool
	Upgrade   []byte
}

// Reset empties the response and keeps its memory.
func (r *Response) Reset() {
	f, t := r.Fields, r.Trailers
	f.Reset()
	t.Reset()
	*r = Response{Fields: f, Trailers: t}
}
