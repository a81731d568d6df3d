package http2

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

func unhexed(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 7541 appendix C.1.
func TestIntegers(t *testing.T) {
	for _, c := range []struct {
		n     uint32
		bits  uint
		coded string
	}{{10, 5, "0a"}, {1337, 5, "1f9a0a"}, {42, 8, "2a"}, {30, 5, "1e"}, {31, 5, "1f00"}, {127, 7, "7f00"}, {255, 7, "7f8001"}} {
		if got := appendInteger(nil, 0, c.bits, c.n); hex.EncodeToString(got) != c.coded {
			t.Errorf("%d in %d bits: %x, want %s", c.n, c.bits, got, c.coded)
		}
		if n, next, ok := readInteger(unhexed(t, c.coded), 0, c.bits); n != c.n || next != len(c.coded)/2 || !ok {
			t.Errorf("%s: %d %d %v", c.coded, n, next, ok)
		}
	}
	for _, coded := range []string{"1f", "1f80", "1f8080808000", "1fffffffffff0f"} {
		if _, _, ok := readInteger(unhexed(t, coded), 0, 5); ok {
			t.Errorf("%s is taken", coded)
		}
	}
}

// requestVectors are RFC 7541 appendices C.3 (plain) and C.4 (Huffman): three requests on one connection.
func TestVectorsOfRequests(t *testing.T) {
	for name, blocks := range map[string][3]string{
		"C.3": {"828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865", "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"},
		"C.4": {"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"},
	} {
		d := NewDecoder()
		for i, want := range []string{"http / www.example.com ", "http / www.example.com cache-control=no-cache", "https /index.html www.example.com custom-key=custom-value"} {
			var req message.Request
			if err := d.Request(Block{Data: unhexed(t, blocks[i]), Stream: 1, End: true}, &req, Limits{}); err != nil {
				t.Fatal(name, i, err)
			}
			scheme := "http"
			if i == 2 {
				scheme = "https"
			}
			if got := scheme + " " + string(req.Path) + " " + string(req.Authority) + " " + lines(&req.Fields); got != want || string(req.Method) != "GET" {
				t.Errorf("%s.%d: %q, want %q", name, i+1, got, want)
			}
		}
		if d.table.size != 164 || d.table.count != 3 {
			t.Errorf("%s: table of %d bytes, %d entries, want 164 and 3", name, d.table.size, d.table.count)
		}
	}
}

// RFC 7541 appendices C.5 and C.6: three responses with a table of 256 bytes, which evicts.
func TestVectorsOfResponses(t *testing.T) {
	for name, blocks := range map[string][3]string{
		"C.5": {"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
			"4803333037c1c0bf",
			"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"},
		"C.6": {"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
			"4883640effc1c0bf",
			"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"},
	} {
		d := NewDecoder()
		d.SetMaxTable(256)
		d.table.resize(256)
		d.shrink = false
		const location = " location=https://www.example.com"
		for i, want := range []string{"302 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT" + location,
			"307 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT" + location,
			"200 cache-control=private date=Mon, 21 Oct 2013 20:13:22 GMT" + location + " content-encoding=gzip set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"} {
			var resp message.Response
			if err := d.Response(Block{Data: unhexed(t, blocks[i]), Stream: 1}, &resp, []byte("GET"), Limits{}); err != nil {
				t.Fatal(name, i, err)
			}
			if got := string([]byte{byte('0' + resp.Status/100), byte('0' + resp.Status/10%10), byte('0' + resp.Status%10), ' '}) + lines(&resp.Fields); got != want {
				t.Errorf("%s.%d: %q\nwant %q", name, i+1, got, want)
			}
		}
		if d.table.size != 215 || d.table.count != 3 {
			t.Errorf("%s: table of %d bytes, %d entries, want 215 and 3", name, d.table.size, d.table.count)
		}
	}
}

// lines writes fields as "a=1 b=2".
func lines(f *message.Fields) string {
	var all []string
	for i := range f.Len() {
		all = append(all, string(f.At(i).Name)+"="+string(f.At(i).Value))
	}
	return strings.Join(all, " ")
}

func TestHuffman(t *testing.T) {
	for c := range 256 {
		for _, s := range [][]byte{{byte(c)}, {byte(c), 'a', byte(c), '~'}, []byte("0aeiost" + string([]byte{byte(c)})), bytes.Repeat([]byte{byte(c)}, 9)} {
			want := hpack.AppendHuffmanString(nil, string(s))
			if got := appendHuffman(nil, s); !bytes.Equal(got, want) || huffmanSize(s) != len(want) {
				t.Fatalf("%q: %x, want %x", s, got, want)
			}
			dst := make([]byte, huffmanRoom(len(want)))
			if n, ok := decodeHuffman(dst, want); !ok || !bytes.Equal(dst[:n], s) {
				t.Fatalf("%q: decoded %q %v", s, dst[:n], ok)
			}
		}
	}
	for name, coded := range map[string]string{"padding of zeros": "18", "padding of eight bits": "1fff", "EOS": "ffffffff", "EOS within": "1fffffffe0"} {
		b := unhexed(t, coded)
		if n, ok := decodeHuffman(make([]byte, huffmanRoom(len(b))), b); ok {
			t.Errorf("%s is taken for %d bytes", name, n)
		}
	}
}

// Blocks whose tables cannot be followed end the connection.
func TestCompressionErrors(t *testing.T) {
	for name, block := range map[string]string{
		"index 0": "80", "index behind the tables": "be", "index of a name behind the tables": "7f00 0161", "index cut off": "ff", "index without end": "ffffffffffff01",
		"literal cut off": "40", "literal without a value": "400161", "string longer than the block": "40 05 61", "bad Huffman": "40 81 00 00", "string length cut off": "40 7f",
		"update behind a field": "82 20", "update above the bound": "3fe21f", "update cut off": "3f",
	} {
		d := NewDecoder()
		var req message.Request
		for how, err := range map[string]error{"Request": d.Request(Block{Data: unhexed(t, block), Stream: 7}, &req, Limits{}), "Discard": NewDecoder().Discard(unhexed(t, block))} {
			var e *Error
			if !errors.As(err, &e) || e.Code != diag.HTTP2Compression || e.HTTP2 != CompressionError || e.Stream != 0 {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
}

// RFC 7541 section 4.2: what was acknowledged has to be followed.
func TestSetMaxTable(t *testing.T) {
	small, large, get := []byte{0x3f, 0xe1, 0x01}, []byte{0x3f, 0xe1, 0x1f}, []byte{0x82} // 256, 4096
	d := NewDecoder()
	d.SetMaxTable(256)
	if d.Discard(get) == nil {
		t.Error("a block without update is taken")
	}
	for name, c := range map[string]struct {
		block []byte
		ok    bool
	}{"update": {append(small, get...), true}, "update above": {append(large, get...), false}, "two updates": {append([]byte{0x20}, append(small, get...)...), true}} {
		d := NewDecoder()
		d.SetMaxTable(256)
		if err := d.Discard(c.block); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if c.ok && d.table.max != 256 {
			t.Errorf("%s: table of %d", name, d.table.max)
		}
	}
	d = NewDecoder()
	d.SetMaxTable(8192)
	if err := d.Discard(get); err != nil {
		t.Error(err)
	}
}

// A reference of one byte to a large entry, over and over, is neither kept nor copied beyond the limit,
// and the next block is still understood.
func TestBomb(t *testing.T) {
	d := NewDecoder()
	var req message.Request
	entry := appendInteger([]byte{0x40}, 0, 7, 1)
	entry = append(entry, 'x')
	entry = append(appendInteger(entry, 0, 7, 4000), bytes.Repeat([]byte("a"), 4000)...)
	bomb := append(entry, bytes.Repeat([]byte{0xbe}, 60_000)...)
	lim := Limits{HeadBytes: 64 << 10, Fields: 100_000}
	err := d.Request(Block{Data: bomb, Stream: 5}, &req, lim)
	var e *Error
	if !errors.As(err, &e) || e.Code != diag.RequestHeadTooLarge || e.Stream != 5 {
		t.Fatal(err)
	}
	if req.Fields.Len() > 16 {
		t.Errorf("%d lines kept", req.Fields.Len())
	}
	if n := testing.AllocsPerRun(5, func() { _ = d.Request(Block{Data: bomb[len(entry):], Stream: 5}, &req, lim) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
	if err := d.Request(Block{Data: []byte{0x82, 0x87, 0x84, 0x41, 1, 'a', 0xbf}, Stream: 7, End: true}, &req, Limits{}); err != nil || req.Fields.Len() != 1 || len(req.Fields.At(0).Value) != 4000 {
		t.Errorf("%v %d", err, req.Fields.Len())
	}
}

// The table's bytes stay within twice its size whatever comes and goes.
func TestTableStaysSmall(t *testing.T) {
	d := NewDecoder()
	var block []byte
	for i := range 5000 {
		block = append(block[:0], 0x40)
		name := bytes.Repeat([]byte{'a' + byte(i%26)}, 1+i%300)
		block = append(append(appendInteger(block, 0, 7, uint32(len(name))), name...), 1, 'v')
		if err := d.Discard(block); err != nil {
			t.Fatal(err)
		}
		n, v := d.table.text(d.table.get(0))
		if !bytes.Equal(n, name) || string(v) != "v" {
			t.Fatalf("insertion %d: %q %q", i, n, v)
		}
	}
	if d.table.size > 4096 || cap(d.table.bytes) > 3*4096 || len(d.table.entries) > 128 {
		t.Errorf("size %d, %d bytes, %d entries", d.table.size, cap(d.table.bytes), len(d.table.entries))
	}
}
