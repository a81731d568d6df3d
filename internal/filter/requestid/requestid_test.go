package requestid

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/message"
)

func run(trust filter.Trust, ids ...string) *filter.Exchange {
	x := &filter.Exchange{Peer: &filter.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:9")}, Request: &message.Request{}}
	for _, id := range ids {
		x.Request.Fields.AddString("x-request-id", id)
	}
	New(trust).Request(x)
	return x
}

func TestIDs(t *testing.T) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	believed := filter.Trust{Hops: 1}
	for _, c := range []struct {
		name  string
		trust filter.Trust
		ids   []string
		keeps bool
	}{
		{"none", filter.Trust{}, nil, false},
		{"a stranger's", filter.Trust{}, []string{"mine"}, false},
		{"a believed one", believed, []string{"01HX-abc"}, true},
		{"two believed", believed, []string{"first", "second"}, true},
		{"a believed one with a quote", believed, []string{`a"b`}, false},
		{"a believed long one", believed, []string{strings.Repeat("a", 129)}, false},
		{"an empty one", believed, []string{""}, false},
	} {
		x := run(c.trust, c.ids...)
		v, _ := x.Request.Fields.Get(message.XRequestID)
		if string(v) != string(x.ID) || x.Request.Fields.Count(message.XRequestID) != 1 {
			t.Errorf("%s: field %q, ID %q, %d lines", c.name, v, x.ID, x.Request.Fields.Count(message.XRequestID))
		}
		if c.keeps && string(v) != c.ids[0] || !c.keeps && !uuid.Match(v) {
			t.Errorf("%s: %q", c.name, v)
		}
	}
	if a, b := Append(nil), Append(nil); string(a) == string(b) {
		t.Errorf("the same ID twice: %s", a)
	}
}

func TestDoesNotAllocate(t *testing.T) {
	f := New(filter.Trust{})
	x := &filter.Exchange{Peer: &filter.Peer{}, Request: &message.Request{}}
	step := func() { x.Request.Fields.Reset(); f.Request(x) }
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestAnswerTellsTheID: the client learns the ID of the log, and no other.
func TestAnswerTellsTheID(t *testing.T) {
	var resp message.Response
	resp.Fields.AddString("x-request-id", "the upstream's")
	x := filter.Exchange{ID: []byte("ours"), Response: &resp}
	New(filter.Trust{}).Response(&x)
	if got, _ := resp.Fields.Get(message.XRequestID); string(got) != "ours" || resp.Fields.Count(message.XRequestID) != 1 {
		t.Errorf("%q", got)
	}
}

// TestAnsweredEarly: a request that is answered before the step has run is called by the same ID.
func TestAnsweredEarly(t *testing.T) {
	trust := filter.Trust{Hops: 1}
	for _, tc := range []struct {
		trust filter.Trust
		id    string
		want  string
	}{{trust, "from-the-proxy", "from-the-proxy"}, {filter.Trust{}, "from-a-client", ""}, {trust, "not well formed", ""}} {
		var req message.Request
		req.Fields.AddID(message.XRequestID, []byte(tc.id))
		x := &filter.Exchange{Peer: &filter.Peer{}, Request: &req}
		if got := string(Given(x, tc.trust)); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.id, got, tc.want)
		}
		x.ID = []byte("made-before")
		New(tc.trust).Request(x)
		if want := tc.want; want == "" && string(x.ID) != "made-before" || want != "" && string(x.ID) != want {
			t.Errorf("%q: the request is called %q afterwards", tc.id, x.ID)
		}
	}
}
