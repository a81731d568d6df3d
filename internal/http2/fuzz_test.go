package http2

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
	"github.com/hakone-gateway/hakone/test/corpus"
)

// FuzzFrames: whatever passes Check is parsed without a panic, and headers survive being written.
func FuzzFrames(f *testing.F) {
	f.Add(AppendSettings(nil, Setting{SettingMaxFrameSize, 1 << 15}, Setting{SettingEnablePush, 2}))
	f.Add(AppendHeader(nil, Header{Length: 3, Type: FrameHeaders, Flags: FlagPadded | FlagPriority, Stream: 1}))
	f.Add(append(AppendHeader(nil, Header{Length: 6, Type: FrameData, Flags: FlagPadded, Stream: 1}), 5, 0, 0, 0, 0, 0))
	f.Add(AppendGoAway(AppendWindowUpdate(AppendRSTStream(AppendPing(nil, [8]byte{}, false), 1, Cancel), 1, 0), 1, NoError, "x"))
	f.Add(append(AppendHeader(nil, Header{Length: 5, Type: FramePriority, Stream: 1}), 0, 0, 0, 1, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := DefaultSettings()
		for len(data) >= FrameHeaderSize {
			h := ParseHeader(data)
			head := bytes.Clone(data[:FrameHeaderSize])
			head[5] &= 0x7f
			if again := AppendHeader(nil, h); !bytes.Equal(again, head) {
				t.Fatalf("%x became %x", head, again)
			}
			data = data[FrameHeaderSize:]
			if err := h.Check(DefaultMaxFrame); err != nil || int(h.Length) > len(data) {
				return
			}
			payload := data[:h.Length]
			data = data[h.Length:]
			switch h.Type {
			case FrameData:
				if b, err := ParseData(h, payload); err == nil && len(b) > len(payload) {
					t.Fatal("DATA grew")
				}
			case FrameHeaders:
				_, _ = ParseHeaders(h, payload)
			case FramePriority:
				_ = ParsePriority(h, payload)
			case FrameRSTStream:
				_ = ParseRSTStream(payload)
			case FrameSettings:
				if s.Update(payload, true) == nil && (s.InitialWindow > MaxWindow || s.MaxFrame < DefaultMaxFrame || s.MaxFrame > LargestFrame) {
					t.Fatalf("%+v", s)
				}
			case FramePing:
				ParsePing(payload)
			case FrameGoAway:
				ParseGoAway(payload)
			case FrameWindowUpdate:
				if n, err := ParseWindowUpdate(h, payload); err == nil && (n == 0 || n > MaxWindow) {
					t.Fatal(n)
				}
			}
		}
	})
}

// FuzzDecoder: we and x/net take the same blocks, with the same fields and the same table afterwards. Two
// blocks follow each other, cut where the first byte says.
func FuzzDecoder(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(append([]byte{0x80}, encoded(c.Fields)...))
	}
	for _, b := range []string{"\x10\x20\x3f\xe1\x1f\x82\x40\x01a\x01b\xbe", "\x03\x40\x81\x1f\x81\x1f\xbe", "\x08\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\xbe\xbf", "\x00\x7f\x00\x01a"} {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		cut := min(int(data[0]), len(data)-1)
		ours, theirs := NewDecoder(), hpack.NewDecoder(4096, nil)
		for _, b := range [][]byte{data[1 : 1+cut], data[1+cut:]} {
			var fields message.Fields
			l := list{fields: &fields, role: ofTrailers, lines: 1 << 20, bytes: 1 << 30}
			err := ours.walk(b, &l)
			want, theirErr := theirs.DecodeFull(b)
			if err != nil {
				// Integers without need for their length, and updates while the table is empty, are their liberties.
				if theirErr == nil && !strings.Contains(err.Error(), "too large") && !strings.Contains(err.Error(), "longer than the block") && !strings.Contains(err.Error(), "behind a field") {
					t.Fatalf("%x: %v; x/net takes it: %v", b, err, want)
				}
				return
			}
			if theirErr != nil {
				t.Fatalf("%x: taken; x/net says %v", b, theirErr)
			}
			if l.fault == none {
				compareLists(t, &fields, want)
			} else if !someBad(want) {
				t.Fatalf("%x: %s, yet %v is sound", b, faults[l.fault].detail, want)
			}
			compareTables(t, ours, theirs)
		}
	})
}

func compareLists(t *testing.T, got *message.Fields, want []hpack.HeaderField) {
	t.Helper()
	if got.Len() != len(want) {
		t.Fatalf("%s, x/net %v", lines(got), want)
	}
	for i, w := range want {
		if l := got.At(i); string(l.Name) != w.Name || string(l.Value) != w.Value || l.Sensitive != w.Sensitive || l.ID != message.Identify([]byte(w.Name)) {
			t.Fatalf("line %d is %+v, x/net %+v", i, l, w)
		}
	}
}

// someBad says by a reading of RFC 9113 of its own whether trailers hold what they may not.
func someBad(fields []hpack.HeaderField) bool {
	for _, f := range fields {
		if f.Name == "" || strings.ContainsAny(f.Name, "\x00\r\n: ABCDEFGHIJKLMNOPQRSTUVWXYZ\"(),/;<=>?@[\\]{}\t\x7f") || strings.ContainsFunc(f.Name, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
			return true
		}
		for i := range len(f.Value) {
			if c := f.Value[i]; c < 0x20 && c != '\t' || c == 0x7f {
				return true
			}
		}
		if strings.Trim(f.Value, " \t") != f.Value {
			return true
		}
		switch f.Name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings", "te", "transfer_encoding", "content_length":
			return true
		}
	}
	return false
}

// compareTables has both decoders say what each index stands for.
func compareTables(t *testing.T, ours *Decoder, theirs *hpack.Decoder) {
	t.Helper()
	for i := uint32(0); ; i++ {
		e := ours.table.get(i)
		want, err := theirs.DecodeFull(appendInteger(nil, 0x80, 7, numStatic+1+i))
		if e == nil || err != nil {
			if (e == nil) != (err != nil) {
				t.Fatalf("entry %d: ours %v, x/net %v", i, e, err)
			}
			_ = theirs.Close()
			return
		}
		if name, value := ours.table.text(e); string(name) != want[0].Name || string(value) != want[0].Value {
			t.Fatalf("entry %d: %q=%q, x/net %v", i, name, value, want)
		}
	}
}

// FuzzRequest: what is accepted is sound in HTTP/1.1 too, and comes back the same from our encoder.
func FuzzRequest(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(encoded(c.Fields), c.Open)
	}
	f.Fuzz(func(t *testing.T, data []byte, open bool) {
		d := NewDecoder()
		d.Connect, d.Scheme = true, "https"
		var req message.Request
		err := d.Request(Block{Data: data, Stream: 1, End: !open}, &req, Limits{})
		var refusal *Error
		if err != nil {
			if !errors.As(err, &refusal) || refusal.Code == 0 || refusal.Detail == "" || (refusal.Stream == 0) != (refusal.HTTP2 == CompressionError) {
				t.Fatalf("%v", err)
			}
			return
		}
		throughEncoder(t, &req)
		if req.Protocol != nil {
			return
		}
		http1.RemoveHopByHop(&req.Fields)
		head := http1.AppendRequestHead(nil, &req, req.Body)
		p := http1.RequestParser{Scheme: "https", Limits: http1.Limits{HeadBytes: 1 << 20}}
		var again message.Request
		if n, err := p.Parse(head, &again); n != len(head) || err != nil {
			t.Fatalf("%q: %d %v", head, n, err)
		}
		same(t, &req, &again)
	})
}

// throughEncoder writes a request with a new encoder, twice with the same, and compares what comes back.
func throughEncoder(t *testing.T, req *message.Request) {
	t.Helper()
	e, d := NewEncoder(), NewDecoder()
	d.Connect, d.Scheme = true, "https"
	for range 3 {
		var got message.Request
		b := e.AppendRequest(nil, req)
		if err := d.Request(Block{Data: b, Stream: 1, End: req.Body.IsEmpty()}, &got, Limits{HeadBytes: 1 << 20, TargetBytes: 1 << 20, Fields: 1 << 10}); err != nil {
			t.Fatalf("%+v: %v", req, err)
		}
		same(t, req, &got)
	}
}

// same compares what matters of two requests. Framing and Host are written anew and stand elsewhere.
func same(t *testing.T, a, b *message.Request) {
	t.Helper()
	if string(a.Method) != string(b.Method) || string(a.Path) != string(b.Path) || string(a.Query) != string(b.Query) || a.HasQuery != b.HasQuery ||
		string(a.Authority) != string(b.Authority) || string(a.Host) != string(b.Host) || a.Continue != b.Continue {
		t.Fatalf("%s %s?%s of %s became %s %s?%s of %s", a.Method, a.Path, a.Query, a.Authority, b.Method, b.Path, b.Query, b.Authority)
	}
	if a.Body != b.Body && !(a.Body.IsEmpty() && b.Body.IsEmpty()) && string(a.Method) != "CONNECT" {
		t.Fatalf("body %+v became %+v", a.Body, b.Body)
	}
	if x, y := essence(&a.Fields), essence(&b.Fields); x != y {
		t.Fatalf("fields\n%s became\n%s", x, y)
	}
}

// essence writes fields without those that codecs write themselves, names folded, cookies joined, and
// what is about one connection left out.
func essence(f *message.Fields) string {
	var b strings.Builder
	var cookies []string
	for i := range f.Len() {
		switch l := f.At(i); {
		case l.ID == message.Cookie:
			cookies = append(cookies, string(l.Value))
		case connectionSpecific.Has(l.ID) || l.ID == message.Host || l.ID == message.ContentLength || l.ID == message.TE || l.ID == message.Trailer:
		case l.ID == message.ProxyAuthorization || l.ID == message.ProxyAuthenticate:
		default:
			b.WriteString(strings.ToLower(string(l.Name)) + "=" + string(l.Value) + "\n")
		}
	}
	return b.String() + strings.Join(cookies, "; ")
}

// FuzzVersions: a request that http1 takes is the same request when it is passed on as HTTP/2.
func FuzzVersions(f *testing.F) {
	all, err := corpus.Read(os.DirFS("../http1/testdata/corpus"))
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range all {
		if len(c.Send) < 4096 {
			f.Add(c.Send)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p http1.RequestParser
		var req message.Request
		if n, err := p.Parse(data, &req); n == 0 || err != nil || len(req.Authority) == 0 {
			return
		}
		http1.RemoveHopByHop(&req.Fields)
		throughEncoder(t, &req)
	})
}

// FuzzHuffman: what decodes encodes to the same bytes, and x/net agrees.
func FuzzHuffman(f *testing.F) {
	for _, s := range []string{"", "www.example.com", "\x00\xff~", "302", "Mon, 21 Oct 2013 20:13:21 GMT"} {
		f.Add(hpack.AppendHuffmanString(nil, s))
	}
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dst := make([]byte, huffmanRoom(len(data)))
		n, ok := decodeHuffman(dst, data)
		theirs, err := hpack.HuffmanDecodeToString(data)
		if ok != (err == nil) || ok && string(dst[:n]) != theirs {
			t.Fatalf("%x: %q %v, x/net %q %v", data, dst[:n], ok, theirs, err)
		}
		if ok && !bytes.Equal(appendHuffman(nil, dst[:n]), data) {
			t.Fatalf("%x does not come back", data)
		}
		if token, _ := semantics.FieldName(data); token != semantics.IsToken(data) {
			t.Fatalf("%q", data)
		}
	})
}
