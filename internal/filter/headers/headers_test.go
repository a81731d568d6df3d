package headers

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

func exchange(lines ...string) *filter.Exchange {
	x := &filter.Exchange{
		Peer: &filter.Peer{Remote: netip.MustParseAddrPort("[::ffff:192.0.2.7]:5555"), SNI: "a.test",
			ClientCert: &filter.ClientCert{Verified: true, Subject: "CN=x\ny", Hash: "ab"}},
		Request: &message.Request{Proto: message.HTTP11, Method: []byte("GET"), Path: []byte("/p"), Authority: []byte("a.test")},
	}
	for _, l := range lines {
		n, v, _ := strings.Cut(l, ": ")
		x.Request.Fields.AddString(n, v)
	}
	return x
}

func dump(f *message.Fields) string {
	var b strings.Builder
	for i := range f.Len() {
		fmt.Fprintf(&b, "%s: %s\n", f.At(i).Name, f.At(i).Value)
	}
	return b.String()
}

func TestEditOrder(t *testing.T) {
	f, err := Request(&ir.HeaderEdit{
		Remove: []string{"x-gone", "Cookie"},
		Set:    []ir.NameValue{{Name: "X-Set", Value: "new"}, {Name: "user-agent", Value: "h"}, {Name: "X-Fresh", Value: "100%"}},
		Add:    []ir.NameValue{{Name: "x-add", Value: "2"}, {Name: "X-Gone", Value: "back"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	x := exchange("X-Gone: 1", "x-set: 1", "Cookie: c", "X-Add: 1", "X-SET: 2", "User-Agent: curl", "X-Set: 3")
	if r := f.Request(x); r.Verdict != filter.Continue {
		t.Fatalf("verdict %v", r.Verdict)
	}
	want := "x-set: new\nX-Add: 1\nUser-Agent: h\nX-Fresh: 100%\nx-add: 2\nX-Gone: back\n"
	if got := dump(&x.Request.Fields); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestResponseEditLeavesRequestAlone(t *testing.T) {
	f, err := Response(&ir.HeaderEdit{Set: []ir.NameValue{{Name: "X-A", Value: "1"}}})
	if err != nil {
		t.Fatal(err)
	}
	x := exchange()
	x.Response = &message.Response{}
	f.Request(x)
	f.Response(x)
	if x.Request.Fields.Len() != 0 || dump(&x.Response.Fields) != "X-A: 1\n" {
		t.Errorf("request %q, response %q", dump(&x.Request.Fields), dump(&x.Response.Fields))
	}
}

func TestFramingCannotBeEdited(t *testing.T) {
	for _, n := range []string{"Host", "content-length", "Transfer-Encoding", "Connection", "TE", "Upgrade", "Expect", "trailer", "", "a b", "a:", ":path", "a\r\nb"} {
		for _, e := range []ir.HeaderEdit{{Remove: []string{n}}, {Set: []ir.NameValue{{Name: n, Value: "1"}}}, {Add: []ir.NameValue{{Name: n, Value: "1"}}}} {
			if _, err := Request(&e); err == nil {
				t.Errorf("%q can be edited", n)
			}
		}
	}
	if _, err := Request(&ir.HeaderEdit{Set: []ir.NameValue{{Name: "x", Value: "a\r\nX-Evil: 1"}}}); err == nil {
		t.Error("a value may hold a line break")
	}
}

func TestFormats(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "100%%": "100%", "50%": "50%", "%UNKNOWN(x)% %PROTOCOL%": "%UNKNOWN(x)% HTTP/1.1",
		"a%DOWNSTREAM_REMOTE_ADDRESS%b": "a192.0.2.7:5555b", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%": "192.0.2.7",
		"%REQ(x-in)%/%REQ(none)%": "v/-", "%REQ(:METHOD)% %REQ(:PATH)%": "GET /p", "%DOWNSTREAM_PEER_FINGERPRINT_256%": "ab",
		"%DOWNSTREAM_PEER_SUBJECT%": "CN=x?y", "%REQUESTED_SERVER_NAME%": "a.test", "%PROTOCOL": "%PROTOCOL", "%": "%", "%%%PROTOCOL%": "%HTTP/1.1",
	} {
		f, err := Request(&ir.HeaderEdit{Format: true, Set: []ir.NameValue{{Name: "X-Out", Value: in}}})
		if err != nil {
			t.Fatal(err)
		}
		x := exchange("X-In: v")
		f.Request(x)
		if got, _ := x.Request.Fields.Lookup([]byte("x-out")); string(got) != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestUnverifiedCertificateHasNoName(t *testing.T) {
	f, _ := Request(&ir.HeaderEdit{Format: true, Set: []ir.NameValue{{Name: "X-Out", Value: "%DOWNSTREAM_PEER_SUBJECT%"}}})
	x := exchange()
	x.Peer.ClientCert.Verified = false
	f.Request(x)
	if got := dump(&x.Request.Fields); got != "X-Out: -\n" {
		t.Errorf("got %q", got)
	}
}

func TestEditDoesNotAllocate(t *testing.T) {
	f, _ := Request(&ir.HeaderEdit{Format: true, Remove: []string{"x-a"},
		Set: []ir.NameValue{{Name: "x-b", Value: "1"}, {Name: "x-c", Value: "%DOWNSTREAM_REMOTE_ADDRESS%"}}, Add: []ir.NameValue{{Name: "x-d", Value: "1"}}})
	x := exchange()
	a, b := []byte("X-A"), []byte("X-B")
	run := func() {
		x.Request.Fields.Reset()
		x.Request.Fields.Append(message.Other, a, a)
		x.Request.Fields.Append(message.Other, b, b)
		x.Request.Fields.Append(message.Other, b, b)
		f.Request(x)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
