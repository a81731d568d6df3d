package http2

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

// block encodes "name value" lines.
func block(lines ...string) []byte {
	var out sink
	enc := hpack.NewEncoder(&out)
	for _, l := range lines {
		name, value, _ := strings.Cut(l, " ")
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value})
	}
	return out
}

func TestRequest(t *testing.T) {
	d := NewDecoder()
	d.Scheme, d.Connect = "https", true
	var req message.Request
	b := block(":method POST", ":scheme http", ":path //A/%7eb?q", ":authority A.Test:8443", "cookie a=1", "x y", "cookie b=2", "content-length 5", "expect 100-continue")
	if err := d.Request(Block{Data: b, Stream: 1}, &req, Limits{}); err != nil {
		t.Fatal(err)
	}
	if string(req.Method) != "POST" || req.Scheme != "https" || string(req.Target) != "//A/%7eb?q" || string(req.Path) != "/A/~b" || string(req.Query) != "q" || !req.HasQuery ||
		string(req.Authority) != "A.Test:8443" || string(req.Host) != "a.test" || req.Proto != message.HTTP2 || !req.KeepAlive || !req.Continue || req.Absolute != "" ||
		req.Body != (message.Body{Kind: message.Sized, Length: 5}) || lines(&req.Fields) != "cookie=a=1; b=2 x=y content-length=5 expect=100-continue" {
		t.Errorf("%+v %s", req, lines(&req.Fields))
	}
	copy(b, bytes.Repeat([]byte{'!'}, len(b)))
	if string(req.Authority) != "A.Test:8443" {
		t.Error("the request points into the block")
	}
	b = block(":method CONNECT", ":protocol websocket", ":scheme https", ":path /chat", ":authority a.test", "sec-websocket-version 13")
	if err := d.Request(Block{Data: b, Stream: 3}, &req, Limits{}); err != nil {
		t.Fatal(err)
	}
	if string(req.Protocol) != "websocket" || string(req.Path) != "/chat" || req.Body.Kind != message.Chunked {
		t.Errorf("%+v", req)
	}
	d.Connect = false
	if err := d.Request(Block{Data: b, Stream: 3}, &req, Limits{}); err == nil {
		t.Error(":protocol is taken without the setting")
	}
}

// A refused request holds what the access log wants to know.
func TestRefusedRequest(t *testing.T) {
	var req message.Request
	err := NewDecoder().Request(Block{Data: block(":method GET", ":path /x?y", ":scheme https", ":authority a.test", "connection close"), Stream: 9}, &req, Limits{})
	var e *Error
	if !errors.As(err, &e) || e.Stream != 9 || string(req.Method) != "GET" || string(req.Target) != "/x?y" || string(req.Host) != "a.test" {
		t.Errorf("%v %+v", err, req)
	}
}

func TestLimits(t *testing.T) {
	head := []string{":method GET", ":scheme https", ":authority a.test", ":path /abc"} // 11+45, ... bytes
	size := 0
	for _, l := range head {
		size += len(l) - 1 + 32
	}
	for _, c := range []struct {
		what  string
		lim   Limits
		extra []string
		code  diag.Code
	}{
		{"just fits", Limits{HeadBytes: size}, nil, 0},
		{"a byte too long", Limits{HeadBytes: size - 1}, nil, diag.RequestHeadTooLarge},
		{"lines fit", Limits{Fields: 2}, []string{"a b", "c d"}, 0},
		{"a line too many", Limits{Fields: 1}, []string{"a b", "c d"}, diag.RequestTooManyFields},
		{"crumbs are one line", Limits{Fields: 1}, []string{"cookie b", "cookie d"}, 0},
		{"target fits", Limits{TargetBytes: 4}, nil, 0},
		{"target too long", Limits{TargetBytes: 3}, nil, diag.RequestURITooLong},
	} {
		var req message.Request
		err := NewDecoder().Request(Block{Data: block(append(head, c.extra...)...), Stream: 1, End: true}, &req, c.lim)
		var e *Error
		if c.code == 0 && err != nil || c.code != 0 && (!errors.As(err, &e) || e.Code != c.code) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestResponse(t *testing.T) {
	for _, c := range []struct {
		method, lines string
		end           bool
		body          message.Body
		refused       string
	}{
		{"GET", ":status 200", false, message.Body{Kind: message.Chunked}, ""},
		{"GET", ":status 200", true, message.Body{}, ""},
		{"GET", ":status 200|content-length 5", false, message.Body{Kind: message.Sized, Length: 5}, ""},
		{"GET", ":status 200|content-length 0", true, message.Body{Kind: message.Sized}, ""},
		{"GET", ":status 200|content-length 5", true, message.Body{}, "Content-Length of an answer without a body"},
		{"GET", ":status 200|content-length 5|content-length 5", false, message.Body{}, "more than one Content-Length"},
		{"GET", ":status 200|content-length +5", false, message.Body{}, "not one decimal number"},
		{"HEAD", ":status 200|content-length 5", true, message.Body{Declared: true, Length: 5}, ""},
		{"HEAD", ":status 200", true, message.Body{}, ""},
		{"GET", ":status 304|content-length 5", true, message.Body{Declared: true, Length: 5}, ""},
		{"GET", ":status 204", true, message.Body{}, ""},
		{"CONNECT", ":status 200", false, message.Body{Kind: message.Chunked}, ""},
		{"CONNECT", ":status 200|content-length 5", false, message.Body{}, "tunnel with a body"},
		{"GET", ":status 103|link x", false, message.Body{}, ""},
		{"GET", ":status 103", true, message.Body{}, "interim answer that ends"},
		{"GET", ":status 100|content-length 5", false, message.Body{}, "interim answer with a body"},
		{"GET", ":status 101", false, message.Body{}, "status 101"},
		{"GET", "server x", false, message.Body{}, "no :status"},
		{"GET", ":status 20", false, message.Body{}, "no :status"},
		{"GET", ":status 099", false, message.Body{}, "no :status"},
		{"GET", ":status 2x0", false, message.Body{}, "no :status"},
		{"GET", ":status +20", false, message.Body{}, "no :status"},
		{"GET", ":status 200|:status 200", false, message.Body{}, "twice"},
		{"GET", "x y|:status 200", false, message.Body{}, "after a regular one"},
		{"GET", ":status 200|:path /", false, message.Body{}, "other kind of message"},
		{"GET", ":status 200|connection close", false, message.Body{}, "one connection"},
		{"GET", ":status 200|te trailers", false, message.Body{}, "one connection"},
		{"GET", ":status 200|transfer-encoding chunked", false, message.Body{}, "Transfer-Encoding"},
		{"GET", ":status 200|Server x", false, message.Body{}, "capital"},
		{"GET", ":status 200|x a\r\nb", false, message.Body{}, "line feed"},
	} {
		d := NewDecoder()
		d.Client = true
		var resp message.Response
		err := d.Response(Block{Data: block(strings.Split(c.lines, "|")...), Stream: 1, End: c.end}, &resp, []byte(c.method), Limits{})
		var e *Error
		switch {
		case c.refused == "":
			if err != nil || resp.Body != c.body || resp.Proto != message.HTTP2 || strconv.Itoa(resp.Status) != c.lines[8:11] {
				t.Errorf("%s %s: %v %+v, want %+v", c.method, c.lines, err, resp, c.body)
			}
		case !errors.As(err, &e) || !strings.Contains(e.Detail, c.refused) || e.Code != diag.UpstreamProtocolError || e.Stream != 1:
			t.Errorf("%s %s: %v, want %s", c.method, c.lines, err, c.refused)
		}
	}
	d := NewDecoder()
	d.Client = true
	var resp message.Response
	var e *Error
	if err := d.Response(Block{Data: block(":status 200", "x y")}, &resp, nil, Limits{HeadBytes: 50}); !errors.As(err, &e) || e.Code != diag.UpstreamHeadTooLarge {
		t.Error(err)
	}
}

func TestTrailers(t *testing.T) {
	var f message.Fields
	err := NewDecoder().Trailers(Block{Data: block("grpc-status 0", "content-type x", "x-sum 1", "grpc-message "), Stream: 1, End: true}, &f, Limits{})
	if err != nil || lines(&f) != "grpc-status=0 x-sum=1 grpc-message=" {
		t.Errorf("%v %s", err, lines(&f))
	}
}

// Encoding leaves out what HTTP/2 has no place for and what could not be told apart behind us.
func TestEncodedRequest(t *testing.T) {
	req := message.Request{Method: []byte("PUT"), Scheme: "https", Authority: []byte("a.test:1"), Path: []byte("/p"), Query: []byte("q"), HasQuery: true,
		Body: message.Body{Kind: message.Sized, Length: 1234567890123}}
	for _, l := range []string{"Host b.test", "X-Own 1", "Connection close", "Keep-Alive 5", "Proxy-Connection x", "Transfer-Encoding chunked", "Upgrade x", "HTTP2-Settings x",
		"TE gzip, trailers", "Content-Length 7", "Bad a\r\nb", "Bad\r\n x", "Nul a\x00", "", ":path /x", "Space  a", "Cookie short=1", "Authorization secret", "User-Agent x"} {
		name, value, _ := strings.Cut(l, " ")
		req.Fields.AddString(name, value)
	}
	e := NewEncoder()
	var got []hpack.HeaderField
	dec := hpack.NewDecoder(4096, nil)
	for range 3 {
		var err error
		if got, err = dec.DecodeFull(e.AppendRequest(nil, &req)); err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, f := range got {
			if f.Sensitive {
				f.Name = "!" + f.Name
			}
			text = append(text, f.Name+"="+f.Value)
		}
		want := ":method=PUT :scheme=https !:path=/p?q :authority=a.test:1 x-own=1 !cookie=short=1 !authorization=secret user-agent=x te=trailers content-length=1234567890123"
		if s := strings.Join(text, " "); s != want {
			t.Errorf("%s\nwant %s", s, want)
		}
	}
	for name, c := range map[string]struct {
		req  message.Request
		want string
	}{
		"connect":  {message.Request{Method: []byte("CONNECT"), Authority: []byte("a.test:443"), Body: message.Body{Kind: message.Chunked}}, ":method=CONNECT :authority=a.test:443"},
		"extended": {message.Request{Method: []byte("CONNECT"), Authority: []byte("a.test"), Path: []byte("/c"), Protocol: []byte("websocket")}, ":method=CONNECT :scheme=http :path=/c :authority=a.test :protocol=websocket"},
		"root":     {message.Request{Method: []byte("GET"), Authority: []byte("a.test")}, ":method=GET :scheme=http :path=/ :authority=a.test"},
		"query":    {message.Request{Method: []byte("POST"), Authority: []byte("a.test"), Path: []byte("/"), HasQuery: true}, ":method=POST :scheme=http :path=/? :authority=a.test"},
	} {
		got, err := hpack.NewDecoder(4096, nil).DecodeFull(NewEncoder().AppendRequest(nil, &c.req))
		var text []string
		for _, f := range got {
			text = append(text, f.Name+"="+f.Value)
		}
		if s := strings.Join(text, " "); err != nil || s != c.want {
			t.Errorf("%s: %s %v\nwant %s", name, s, err, c.want)
		}
	}
}

func TestEncodedResponse(t *testing.T) {
	e, dec := NewEncoder(), hpack.NewDecoder(4096, nil)
	for _, status := range []int{100, 103, 200, 201, 204, 206, 304, 400, 404, 418, 500, 503, 999} {
		for _, body := range []message.Body{{}, {Declared: true, Length: 7}, {Kind: message.Sized}, {Kind: message.Chunked}, {Kind: message.UntilClose}} {
			resp := message.Response{Status: status, Reason: []byte("x")}
			resp.Fields.AddString("Content-Length", "99")
			resp.Fields.AddString("ETag", "\"1\"")
			want := ":status=" + strconv.Itoa(status) + " etag=\"1\""
			if status >= 200 && status != 204 && (body.Declared || body.Kind == message.Sized) {
				want += " content-length=" + strconv.FormatInt(body.Length, 10)
			}
			got, err := dec.DecodeFull(e.AppendResponse(nil, &resp, body))
			var text []string
			for _, f := range got {
				text = append(text, f.Name+"="+f.Value)
			}
			if s := strings.Join(text, " "); err != nil || s != want {
				t.Errorf("%s %v\nwant %s", s, err, want)
			}
		}
	}
	var f message.Fields
	for _, l := range []string{"Grpc-Status 0", "Content-Length 5", "X-Sum 1"} {
		name, value, _ := strings.Cut(l, " ")
		f.AddString(name, value)
	}
	got, err := dec.DecodeFull(e.AppendTrailers(nil, &f))
	if err != nil || len(got) != 2 || got[0].Name != "grpc-status" || got[1].Name != "x-sum" {
		t.Error(got, err)
	}
	if b := e.AppendTrailers(nil, &message.Fields{}); len(b) != 0 {
		t.Errorf("%x", b)
	}
}

// What was received as never indexed is sent on so (RFC 7541 section 6.2.3), and secrets are in no case.
func TestSensitive(t *testing.T) {
	var out sink
	enc := hpack.NewEncoder(&out)
	for _, l := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a.test"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: l[0], Value: l[1]})
	}
	_ = enc.WriteField(hpack.HeaderField{Name: "x-token", Value: "secret", Sensitive: true})
	_ = enc.WriteField(hpack.HeaderField{Name: "x-plain", Value: "open"})
	var req message.Request
	if err := NewDecoder().Request(Block{Data: out, End: true}, &req, Limits{}); err != nil {
		t.Fatal(err)
	}
	e, dec := NewEncoder(), hpack.NewDecoder(4096, nil)
	for range 4 {
		fields, err := dec.DecodeFull(e.AppendRequest(nil, &req))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			if f.Sensitive != (f.Name == "x-token") {
				t.Errorf("%+v", f)
			}
		}
	}
	for i := range e.table.count {
		if name, _ := e.table.text(e.table.get(uint32(i))); string(name) == "x-token" {
			t.Error("x-token is in the table")
		}
	}
}

// A field seen twice is a reference from then on; one that changes does not push it out.
func TestEncoderIndexes(t *testing.T) {
	e, dec := NewEncoder(), hpack.NewDecoder(4096, nil)
	var last []byte
	for i := range 1000 {
		resp := message.Response{Status: 200}
		resp.Fields.AddString("X-Request-Id", "id-"+strconv.Itoa(i))
		resp.Fields.AddString("Server", "some server's name")
		last = e.AppendResponse(last[:0], &resp, message.Body{})
		fields, err := dec.DecodeFull(last)
		if err != nil || len(fields) != 3 || fields[1].Value != "id-"+strconv.Itoa(i) || fields[2].Value != "some server's name" {
			t.Fatal(i, fields, err)
		}
	}
	if want := 1 + 1 + 1 + len("x-request-id") + 1 + len("id-999") + 1; len(last) != want {
		t.Errorf("%d bytes, want %d: %q", len(last), want, last)
	}
}

// RFC 7541 section 4.2: the smallest size since the last block is told, then the last one.
func TestEncoderMaxTable(t *testing.T) {
	for _, c := range []struct {
		sizes []uint32
		want  []byte
	}{
		{[]uint32{65536}, nil}, {[]uint32{4096}, nil}, {[]uint32{0}, []byte{0x20}}, {[]uint32{100}, []byte{0x3f, 0x45}},
		{[]uint32{0, 8192}, []byte{0x20, 0x3f, 0xe1, 0x1f}}, {[]uint32{100, 0, 100}, []byte{0x20, 0x3f, 0x45}}, {[]uint32{100, 50}, []byte{0x3f, 0x13}},
	} {
		e := NewEncoder()
		resp := message.Response{Status: 200}
		for _, n := range c.sizes {
			e.SetMaxTable(n)
		}
		if got := e.AppendResponse(nil, &resp, message.Body{}); !bytes.Equal(got, append(c.want, 0x88)) {
			t.Errorf("%v: %x, want %x", c.sizes, got, c.want)
		}
		if got := e.AppendResponse(nil, &resp, message.Body{}); !bytes.Equal(got, []byte{0x88}) {
			t.Errorf("%v: told twice: %x", c.sizes, got)
		}
	}
	e, dec := NewEncoder(), hpack.NewDecoder(4096, nil)
	resp := response()
	for i := range 40 {
		e.SetMaxTable(uint32(i*97) % 700)
		fields, err := dec.DecodeFull(e.AppendResponse(nil, resp, resp.Body))
		if err != nil || len(fields) != len(answer) {
			t.Fatal(i, fields, err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	requests, browsers, answers := NewDecoder(), NewDecoder(), NewDecoder()
	loadFirst, loadLater := blocks(loadRequest)
	browserFirst, browserLater := blocks(browserRequest)
	answerFirst, answerLater := blocks(answer)
	var req message.Request
	var resp message.Response
	decode := func(d *Decoder, b []byte) {
		if err := d.Request(Block{Data: b, Stream: 1, End: true}, &req, Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	e, out := NewEncoder(), []byte(nil)
	own := response()
	var asked message.Request
	if err := NewDecoder().Request(Block{Data: browserFirst, End: true}, &asked, Limits{}); err != nil {
		t.Fatal(err)
	}
	changing := 0
	for name, run := range map[string]struct{ before, do func() }{
		"small request":   {func() { decode(requests, loadFirst) }, func() { decode(requests, loadLater) }},
		"browser request": {func() { decode(browsers, browserFirst) }, func() { decode(browsers, browserLater) }},
		"literals":        {func() {}, func() { decode(browsers, browserFirst) }},
		"response": {func() { _ = answers.Response(Block{Data: answerFirst}, &resp, nil, Limits{}) }, func() {
			if err := answers.Response(Block{Data: answerLater}, &resp, nil, Limits{}); err != nil {
				t.Fatal(err)
			}
		}},
		"encode response": {func() {}, func() { out = e.AppendResponse(out[:0], own, own.Body) }},
		"encode request":  {func() {}, func() { out = e.AppendRequest(out[:0], &asked) }},
		"encode what changes": {func() {}, func() {
			changing++
			v := own.Fields.At(0)
			v.Value = strconv.AppendInt(v.Value[:0], int64(changing/2), 10)
			out = e.AppendResponse(out[:0], own, own.Body)
		}},
	} {
		run.before()
		for range 1000 { // until the tables have their size
			run.do()
		}
		if n := testing.AllocsPerRun(500, run.do); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
