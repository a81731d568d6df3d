//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/corpus"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
)

// TestDowngradeCorpus sends every case of the corpus of HTTP/2 over TLS and with prior knowledge: in one
// frame, again when the table holds its fields, split over CONTINUATION in every place that could matter,
// and a few bytes a write. A raw upstream of HTTP/1.1, or of HTTP/2, must get exactly the head that is
// expected, or nothing whole. After each a harmless request follows on the same and on another connection.
func TestDowngradeCorpus(t *testing.T) {
	t.Parallel()
	cases, err := corpus.Read(os.DirFS("../../internal/http2/testdata/corpus"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 150 {
		t.Errorf("%d cases, want at least 150", len(cases))
	}
	for _, toHTTP2 := range []bool{false, true} {
		for _, scheme := range []string{"https", "http"} {
			t.Run(fmt.Sprintf("%s to HTTP/%d", scheme, number(toHTTP2)), func(t *testing.T) {
				t.Parallel()
				r := &downgradeRun{corpusRun: corpusWorld(t, toHTTP2), scheme: scheme}
				r.other = r.open()
				for _, c := range cases {
					r.all(c)
				}
				r.log()
				t.Logf("%d cases, %d requests, %d of them at the upstream over %d connections", len(cases), r.sent, r.up.Count(), r.up.Connections())
			})
		}
	}
}

type downgradeRun struct {
	*corpusRun
	scheme string
	other  *client.HTTP2
	sent   int
	logged []turnedAway
}

// turnedAway is a refused message that the access log has to tell of.
type turnedAway struct {
	c      corpus.Case
	client string
	got    client.Stream
}

func (r *downgradeRun) open() *client.HTTP2 {
	if r.scheme == "http" {
		return client.DialHTTP2(r.t, r.g.Addr(80), nil, 0, false)
	}
	return client.DialHTTP2(r.t, r.g.Addr(443), r.site.config("a.test"), 0, false)
}

// all sends a case in all ways, on one connection.
func (r *downgradeRun) all(c corpus.Case) {
	conn := r.open()
	defer conn.Close()
	var fields client.Fields
	for _, f := range c.Fields {
		fields = append(fields, client.Field{Name: string(f.Name), Value: string(f.Value)})
	}
	secret := slices.Clone(fields) // never in a table, so that names and values stand in the block
	for i := range secret {
		secret[i].Sensitive = true
	}
	send := map[string]func() uint32{
		"at once": func() uint32 { return conn.Open(fields, !c.Open) },
		"indexed": func() uint32 { return conn.Open(fields, !c.Open) },
	}
	order := []string{"at once", "indexed"}
	for part := range 3 {
		for _, pieces := range []int{0, 7} {
			if pieces > 0 && part > 0 {
				continue
			}
			name := fmt.Sprintf("split %d, %d bytes a write", part, pieces)
			order = append(order, name)
			send[name] = func() uint32 {
				n := pieces
				for _, f := range fields {
					n = max(n, pieces*(len(f.Name)+len(f.Value))/500)
				}
				return conn.OpenIn(secret, n, func(fr *http2.Framer, id uint32, block []byte, ends []int) {
					split(fr, id, block, cuts(ends, part), !c.Open)
				})
			}
		}
	}
	for _, how := range order {
		if err := r.one(c, conn, send[how]); err != nil {
			r.t.Errorf("%s:%d %s (%s), %s: %v", c.File, c.Line, c.Name, c.Note, how, err)
			return
		}
	}
}

// cuts are places to split a block at: at the ends of fields, behind the first byte of one, and within.
func cuts(ends []int, part int) []int {
	var at []int
	begin := 0
	for _, end := range ends {
		at = append(at, []int{end, begin + 1, (begin + end) / 2}[part])
		begin = end
	}
	slices.Sort(at)
	return slices.Compact(at)[max(0, len(slices.Compact(at))-6):] // a block has at most eight frames
}

// split writes HEADERS and CONTINUATION.
func split(fr *http2.Framer, id uint32, block []byte, at []int, end bool) {
	at = slices.DeleteFunc(at, func(i int) bool { return i >= len(block) })
	begin, first := 0, true
	for _, stop := range append(at, len(block)) {
		for begin < stop || first {
			piece := block[begin:min(stop, begin+16384)]
			begin += len(piece)
			last := begin == len(block)
			if first {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: piece, EndStream: end, EndHeaders: last})
			} else {
				_ = fr.WriteContinuation(id, last, piece)
			}
			first = false
		}
	}
}

// one sends a case and looks at the answer, the upstream, and what follows.
func (r *downgradeRun) one(c corpus.Case, conn *client.HTTP2, send func() uint32) error {
	r.sent++
	from := r.up.Count()
	id := send()
	if c.Open && c.Trailers == nil {
		conn.Data(id, c.Data, true)
	} else if c.Open {
		conn.Data(id, c.Data, false)
		var trailers client.Fields
		for _, f := range c.Trailers {
			trailers = append(trailers, client.Field{Name: string(f.Name), Value: string(f.Value)})
		}
		conn.Trail(id, trailers)
	}
	got, err := conn.Await(id, func(s *client.Stream) bool { return s.Status != 0 && s.Ended })
	if err != nil {
		return err
	}
	last := c.Want[len(c.Want)-1]
	switch {
	case last.Kind == corpus.Refuse && len(c.Want) > 1 && completes(c.Want[0]):
		// What was declared was there; what follows it goes nowhere, and is noticed before the answer or behind it.
		if got.Status != 200 && (!got.Reset || got.Code != http2.ErrCodeProtocol) {
			return fmt.Errorf("status %d, reset %v %v", got.Status, got.Reset, got.Code)
		}
	case last.Kind == corpus.Refuse:
		if err := r.refused(c, conn, got); err != nil {
			return err
		}
	case !forwards(last):
		if got.Status != 405 {
			return fmt.Errorf("status %d, want 405", got.Status)
		}
	case got.Status != 200 || got.Reset && got.Code != http2.ErrCodeNo:
		return fmt.Errorf("status %d, reset %v %v; want it forwarded", got.Status, got.Reset, got.Code)
	}
	r.n++
	path := fmt.Sprintf("/canary-%d", r.n)
	for i, way := range []*client.HTTP2{conn, r.other} {
		if answer, err := way.Get(r.scheme, "a.test", path+[]string{"-same", "-other"}[i]); err != nil || answer.Status != 200 {
			return fmt.Errorf("the request after it on connection %d got %d: %w", i, answer.Status, errors.Join(err))
		}
	}
	reached, err := r.before(from, path+"-other")
	if err != nil {
		return err
	}
	at := slices.IndexFunc(reached, func(m *rawupstream.Message) bool { return m.Path() == path+"-same" })
	if at < 0 || len(reached[at].Body) != 0 || reached[at].Err != nil || r.head(reached[at].Head) != "GET "+path+"-same HTTP/1.1\r\nHost: a.test\r\n\r\n" {
		return fmt.Errorf("the request after it on the same connection did not reach the upstream as it is: %d of %d", at, len(reached))
	}
	if !c.Open && bytes.HasPrefix(c.Want[0].Head, []byte("POST ")) && !bytes.Contains(c.Want[0].Head, []byte("Content-Length")) { // RFC 9110 section 8.6: it says that there is no body
		c.Want = slices.Clone(c.Want)
		c.Want[0].Head = append(bytes.TrimSuffix(slices.Clone(c.Want[0].Head), []byte("\r\n")), "Content-Length: 0\r\n\r\n"...)
	}
	return r.compare(c, slices.Delete(reached, at, at+1))
}

// log looks for the refusals in the access log, which is written a little later.
func (r *downgradeRun) log() {
	type key struct {
		client string
		stream uint32
	}
	last := r.logged[len(r.logged)-1]
	r.g.AwaitLineThat(0, "of the last refusal", func(l gateway.Line) bool {
		return l.S("client") == last.client && l.N("stream") == float64(last.got.ID)
	})
	lines := map[key]gateway.Line{}
	for _, l := range r.g.Lines() {
		lines[key{l.S("client"), uint32(l.N("stream"))}] = l
	}
	for _, f := range r.logged {
		want := f.c.Want[len(f.c.Want)-1]
		line := lines[key{f.client, f.got.ID}]
		if line.S("code") != want.Code.String() || line.S("detail") == "" || f.got.Status != 0 && line.N("status") != float64(want.Status) {
			r.t.Errorf("%s:%d %s: want %s in the access log: %v", f.c.File, f.c.Line, f.c.Name, want.Code, line)
		}
	}
}

// refused judges the refusal of a message: RST_STREAM, or an answer where something is only too large.
func (r *downgradeRun) refused(c corpus.Case, conn *client.HTTP2, got client.Stream) error {
	want := c.Want[len(c.Want)-1]
	r.logged = append(r.logged, turnedAway{c, conn.LocalAddr().String(), got})
	if got.Status != 0 {
		if got.Reset && got.Code != http2.ErrCodeNo || got.Status != want.Status {
			return fmt.Errorf("status %d, want %d", got.Status, want.Status)
		}
		return nil
	}
	if want.Status != 400 || !got.Reset || got.Code != http2.ErrCodeProtocol {
		return fmt.Errorf("reset %v %v, want PROTOCOL_ERROR for %d %s", got.Reset, got.Code, want.Status, want.Code)
	}
	return nil
}
