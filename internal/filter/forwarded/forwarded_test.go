package forwarded

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/message"
)

func exchange(remote string, lines ...string) *filter.Exchange {
	x := &filter.Exchange{Peer: &filter.Peer{Remote: netip.AddrPortFrom(netip.MustParseAddr(remote), 9), ListenPort: 443},
		Request: &message.Request{Scheme: "https", Authority: []byte("a.test")}}
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

func TestStrangersAreNotBelieved(t *testing.T) {
	x := exchange("::ffff:192.0.2.1", "X-Forwarded-For: 1.1.1.1", "x-forwarded-proto: http", "X-FORWARDED-HOST: evil", "X-Forwarded-Port: 1",
		"X-Real-IP: 1.1.1.1", "Forwarded: for=1.1.1.1", "Accept: */*", "X-Forwarded-For: 2.2.2.2")
	New(Settings{RealIP: true, Forwarded: true}).Request(x)
	want := "Accept: */*\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: a.test\nX-Forwarded-Port: 443\nX-Real-Ip: 192.0.2.1\nForwarded: for=192.0.2.1;host=\"a.test\";proto=https\n"
	if got := dump(&x.Request.Fields); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestBelievedHopIsAppendedTo(t *testing.T) {
	x := exchange("10.0.0.1", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 2.2.2.2", "X-Forwarded-Proto: http")
	New(Settings{Trust: filter.Trust{Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, RealIP: true}).Request(x)
	want := "X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 2.2.2.2, 10.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a.test\nX-Forwarded-Port: 443\nX-Real-Ip: 2.2.2.2\n"
	if got := dump(&x.Request.Fields); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestClaimsInOtherSpellings are fields that origins take for a hop's word although no hop here wrote
// them: WSGI and CGI read "_" as "-", frameworks believe further names of the family.
func TestClaimsInOtherSpellings(t *testing.T) {
	lines := []string{"X_Forwarded_For: 1.1.1.1", "x-forwarded_proto: https", "X_REAL_IP: 1.1.1.1", "X-Forwarded-Ssl: on", "X_Forwarded_Prefix: /p",
		"X-Envoy-Internal: true", "X_Own: 1", "Own_Forwarded-For: 1", "X-Forwarder: 1"}
	own := "X-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: a.test\nX-Forwarded-Port: 443\n"
	kept := "X_Own: 1\nOwn_Forwarded-For: 1\nX-Forwarder: 1\n"
	x := exchange("10.0.0.1", lines...)
	New(Settings{}).Request(x)
	if got := dump(&x.Request.Fields); got != kept+own {
		t.Errorf("a stranger's: got\n%swant\n%s", got, kept+own)
	}
	x = exchange("10.0.0.1", lines...)
	New(Settings{Trust: filter.Trust{Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}).Request(x)
	want := "X-Forwarded-Ssl: on\nX_Forwarded_Prefix: /p\nX-Envoy-Internal: true\n" + kept + own
	if got := dump(&x.Request.Fields); got != want {
		t.Errorf("a believed hop's: got\n%swant\n%s", got, want)
	}
}

func TestForwardedQuotesIPv6(t *testing.T) {
	x := exchange("2001:db8::1")
	New(Settings{Forwarded: true}).Request(x)
	if v, _ := x.Request.Fields.Get(message.Forwarded); string(v) != `for="[2001:db8::1]";host="a.test";proto=https` {
		t.Errorf("got %s", v)
	}
}

func TestClient(t *testing.T) {
	nets := filter.Trust{Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, c := range []struct {
		trust     filter.Trust
		peer, xff string
		want      string
	}{
		{filter.Trust{}, "10.0.0.1", "1.1.1.1", "10.0.0.1"},
		{nets, "10.0.0.1", "9.9.9.9, 1.1.1.1, 10.0.0.2", "1.1.1.1"},
		{nets, "10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"},
		{nets, "10.0.0.1", "1.1.1.1, junk, 10.0.0.2", "10.0.0.2"},
		{nets, "10.0.0.1", "", "10.0.0.1"},
		{nets, "192.0.2.1", "1.1.1.1", "192.0.2.1"},
		{filter.Trust{Hops: 1}, "192.0.2.1", "9.9.9.9, 1.1.1.1", "1.1.1.1"},
		{filter.Trust{Hops: 2}, "192.0.2.1", "9.9.9.9, 1.1.1.1:80", "9.9.9.9"},
		{filter.Trust{Hops: 3}, "192.0.2.1", "9.9.9.9, 1.1.1.1", "192.0.2.1"},
		{nets, "10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"},
	} {
		x := exchange(c.peer)
		if c.xff != "" {
			x.Request.Fields.AddString("x-forwarded-for", c.xff)
		}
		if got := c.trust.Client(netip.MustParseAddr(c.peer), &x.Request.Fields); got.String() != c.want {
			t.Errorf("peer %s, %q: %s, want %s", c.peer, c.xff, got, c.want)
		}
	}
}

func TestDoesNotAllocate(t *testing.T) {
	f := New(Settings{})
	x := exchange("2001:db8::1")
	x.Request.Authority = []byte("a.test:8443")
	x.Peer.PortMap, x.Peer.Local = map[uint16]uint16{443: 8443}, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), 8443)
	run := func() { x.Request.Fields.Reset(); f.Request(x) }
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPortIsWhatTheClientUsed declares port 443 and binds it to 8443.
func TestPortIsWhatTheClientUsed(t *testing.T) {
	for _, c := range []struct {
		authority string
		local     uint16
		want      string
	}{
		{"a.test:8443", 8443, "8443"},
		{"a.test", 8443, "443"}, // something in front maps it back
		{"a.test:443", 8443, "443"},
		{"a.test:18443", 8443, "443"},
		{"[2001:db8::1]:8443", 8443, "8443"},
		{"a.test:8443", 9443, "443"}, // not the port that it came in by
	} {
		x := exchange("10.0.0.1")
		x.Request.Authority = []byte(c.authority)
		x.Peer.PortMap, x.Peer.Local = map[uint16]uint16{443: 8443}, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), c.local)
		New(Settings{}).Request(x)
		if got, _ := x.Request.Fields.Get(message.XForwardedPort); string(got) != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestClientIsNoted leaves the client's address for those who come later, logs among them.
func TestClientIsNoted(t *testing.T) {
	for _, c := range []struct {
		name, peer, xff, want string
		trust                 filter.Trust
	}{
		{"a stranger's word", "[::ffff:192.0.2.1]:9", "198.51.100.7", "192.0.2.1", filter.Trust{}},
		{"a believed hop", "192.0.2.1:9", "203.0.113.1, 198.51.100.7", "198.51.100.7", filter.Trust{Hops: 1}},
		{"a believed network", "192.0.2.1:9", "203.0.113.1, 192.0.2.9", "203.0.113.1", filter.Trust{Nets: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}},
		{"a believed hop that says nothing", "192.0.2.1:9", "", "192.0.2.1", filter.Trust{Hops: 1}},
	} {
		x := &filter.Exchange{Peer: &filter.Peer{Remote: netip.MustParseAddrPort(c.peer)}, Request: &message.Request{}}
		if c.xff != "" {
			x.Request.Fields.AddString("x-forwarded-for", c.xff)
		}
		New(Settings{Trust: c.trust}).Request(x)
		if x.Client.String() != c.want {
			t.Errorf("%s: %s, want %s", c.name, x.Client, c.want)
		}
	}
}
