package http2

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/test/corpus"
)

func cases(t testing.TB) []corpus.Case {
	t.Helper()
	all, err := corpus.Read(os.DirFS("testdata/corpus"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// encoded is a header list as x/net encodes it, which lets everything through.
func encoded(fields []corpus.Field) []byte {
	var out sink
	enc := hpack.NewEncoder(&out)
	for _, f := range fields {
		_ = enc.WriteField(hpack.HeaderField{Name: string(f.Name), Value: string(f.Value)})
	}
	return out
}

// TestCorpus takes every case to the head of HTTP/1.1 that it becomes, or to its refusal. Each is decoded
// twice: when its fields stand in the block, and when they stand in the table.
func TestCorpus(t *testing.T) {
	all := cases(t)
	if len(all) < 130 {
		t.Errorf("%d cases, want at least 130", len(all))
	}
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			d := NewDecoder()
			d.Connect = true
			var out sink
			enc := hpack.NewEncoder(&out)
			for _, how := range []string{"literal", "indexed"} {
				out = nil
				for _, f := range c.Fields {
					_ = enc.WriteField(hpack.HeaderField{Name: string(f.Name), Value: string(f.Value)})
				}
				if err := runCase(d, c, out); err != nil {
					t.Errorf("%s:%d (%s), %s: %v", c.File, c.Line, c.Note, how, err)
				}
			}
		})
	}
}

func runCase(d *Decoder, c corpus.Case, block []byte) error {
	var req message.Request
	err := d.Request(Block{Data: block, Stream: 3, End: !c.Open}, &req, Limits{})
	want := c.Want[0]
	if want.Kind == corpus.Refuse {
		return refused(err, want)
	}
	if err != nil {
		return fmt.Errorf("%w; want it forwarded", err)
	}
	http1.RemoveHopByHop(&req.Fields)
	if head := http1.AppendRequestHead(nil, &req, req.Body); !bytes.Equal(head, want.Head) {
		return fmt.Errorf("head %q\nwant %q", head, want.Head)
	}
	var again message.Request
	p := http1.RequestParser{Scheme: "https"}
	if n, err := p.Parse(want.Head, &again); n != len(want.Head) || err != nil {
		return fmt.Errorf("http1 does not take what became of it: %d %w", n, err)
	}
	if c.Trailers != nil {
		var f message.Fields
		err := NewDecoder().Trailers(Block{Data: encoded(c.Trailers), Stream: 3, End: true}, &f, Limits{})
		if len(c.Want) > 1 {
			return refused(err, c.Want[1])
		}
		return err
	}
	if lied := req.Body.Kind == message.Sized && req.Body.Length != int64(len(c.Data)); lied != (len(c.Want) > 1) {
		return fmt.Errorf("body %+v with %d bytes of DATA", req.Body, len(c.Data))
	}
	return nil
}

func refused(err error, want corpus.Outcome) error {
	var e *Error
	if !errors.As(err, &e) || e.Code != want.Code || e.Status() != want.Status || e.Stream != 3 || e.HTTP2 != ProtocolError {
		return fmt.Errorf("%v; want %v %d for stream 3", err, want.Code, want.Status)
	}
	return nil
}
