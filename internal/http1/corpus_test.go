package http1

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/test/corpus"
)

// TestCorpus runs every case at once and byte by byte: where a packet ends must not matter.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Read(os.DirFS("testdata/corpus"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 110 {
		t.Errorf("%d cases, want at least 110", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			for _, step := range []int{len(c.Send) + 1, 1, 7} {
				if len(c.Send) > 8192 && step == 1 {
					step = 97
				}
				if err := runCase(c, step); err != nil {
					t.Errorf("%s:%d (%s), %d bytes a time: %v", c.File, c.Line, c.Note, step, err)
				}
			}
		})
	}
}

// exchange feeds a case's bytes in steps.
type exchange struct {
	rest []byte // not parsed yet
	seen int    // how much of rest has arrived
	step int
}

// arrive delivers the next step and reports whether there was any.
func (x *exchange) arrive() bool {
	if x.seen == len(x.rest) {
		return false
	}
	x.seen = min(len(x.rest), x.seen+x.step)
	return true
}

func (x *exchange) take(n int) { x.rest, x.seen = x.rest[n:], x.seen-n }

func runCase(c corpus.Case, step int) error {
	x := &exchange{rest: c.Send, step: step}
	p := RequestParser{Scheme: "https"}
	var req message.Request
	for i, want := range c.Want {
		head, body, err := x.message(&p, &req)
		var refusal *Error
		switch {
		case want.Kind == corpus.More:
			if err != nil || head != nil {
				return fmt.Errorf("outcome %d: head %q, error %v; want that more is awaited", i, head, err)
			}
		case want.Kind == corpus.Refuse:
			if !errors.As(err, &refusal) || refusal.Code != want.Code || refusal.Status() != want.Status {
				return fmt.Errorf("outcome %d: head %q body %q error %v; want %v %d", i, head, body, err, want.Code, want.Status)
			}
			return nil
		case head != nil && i+1 < len(c.Want) && c.Want[i+1].Kind == corpus.Refuse && err != nil:
			// The head is passed on before the body turns out to be malformed.
			if !bytes.Equal(head, want.Head) {
				return fmt.Errorf("outcome %d: head %q, want %q", i, head, want.Head)
			}
			if errors.As(err, &refusal) && refusal.Code == c.Want[i+1].Code && refusal.Status() == c.Want[i+1].Status {
				return nil
			}
			return fmt.Errorf("outcome %d: body refused with %v, want %v", i, err, c.Want[i+1].Code)
		case err != nil:
			return fmt.Errorf("outcome %d: %w; want it forwarded", i, err)
		case !bytes.Equal(head, want.Head) || !bytes.Equal(body, want.Body):
			return fmt.Errorf("outcome %d:\n head %q body %q\n want %q body %q", i, head, body, want.Head, want.Body)
		}
	}
	if c.Want[len(c.Want)-1].Kind == corpus.Forward && len(x.rest) > 0 {
		return fmt.Errorf("%q is left after the last message", x.rest)
	}
	return nil
}

// message parses one message and returns the head as it would be forwarded, and the payload. All nil:
// the bytes ended before.
func (x *exchange) message(p *RequestParser, req *message.Request) (head, payload []byte, err error) {
	n := 0
	for n == 0 {
		if n, err = p.Parse(x.rest[:x.seen], req); err != nil {
			return nil, nil, err
		}
		if n == 0 && !x.arrive() {
			return nil, nil, nil
		}
	}
	RemoveHopByHop(&req.Fields)
	head = AppendRequestHead(nil, req, req.Body)
	x.take(n)
	var b BodyReader
	b.Reset(req.Body, Limits{})
	for done := b.Done(); !done; {
		var part []byte
		if part, n, done, err = b.Next(x.rest[:x.seen]); err != nil {
			return head, payload, err
		}
		payload = append(payload, part...)
		x.take(n)
		if !done && n == 0 && !x.arrive() {
			return head, payload, b.End()
		}
	}
	return head, payload, nil
}
