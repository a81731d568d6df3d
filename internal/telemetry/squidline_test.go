package telemetry

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// The lines of the document on an intercepting proxy, and what Squid 5.7 writes for the same.
func TestSquidLines(t *testing.T) {
	end := time.UnixMilli(1650125956296)
	line := func(took time.Duration, a Access) Access {
		a.Start, a.Duration, a.Remote = end.Add(-took), took, netip.MustParseAddrPort("192.168.50.62:40000")
		return a
	}
	connect := line(323*time.Millisecond, Access{Method: []byte("CONNECT"), Target: []byte("example.com:443"), Status: 200, Result: "NONE_NONE", Hierarchy: "HIER_DIRECT", Endpoint: "93.184.216.34:443"})
	hit := line(0, Access{Method: []byte("GET"), URL: []byte("https://example.com/"), Status: 200, Result: "TCP_MEM_HIT", Hierarchy: "HIER_NONE", HeadSent: 240, BytesSent: 1600, ContentType: []byte("text/html; charset=UTF-8")})
	denied := line(time.Millisecond, Access{Method: []byte("GET"), Scheme: "http", Authority: []byte("a b"), Target: []byte("/?key=secret"), Status: 403, User: "ada", HeadSent: 10})
	parent := line(1234567*time.Millisecond, Access{Method: []byte("CONNECT"), Target: []byte("a.test:443"), Status: 200, Result: "TCP_TUNNEL", Proxy: "default/corp", ProxyAddress: "10.0.0.8:8080", Endpoint: "a.test:443", BytesSent: 5, Code: diag.ClientClosed})
	failed := line(time.Millisecond, Access{Method: []byte("CONNECT"), Target: []byte("a.test:81"), Status: 503, Result: "NONE_NONE", Hierarchy: "HIER_DIRECT", Endpoint: "10.0.0.4:81", HeadSent: 300, BytesSent: 200, ContentType: []byte("text/html")})
	e := &encoder{names: newNames(), codes: newCodes()}
	for _, c := range []struct {
		got, want string
	}{
		{string(e.requestSquid(nil, &failed, false)), "1650125956.296      1 192.168.50.62 NONE_NONE/503 0 CONNECT a.test:81 - HIER_DIRECT/10.0.0.4 -"},
		{string(e.requestSquid(nil, &connect, true)), "1650125956.296    323 192.168.50.62 NONE/200 0 CONNECT example.com:443 - HIER_DIRECT/93.184.216.34 -"},
		{string(e.requestSquid(nil, &connect, false)), "1650125956.296    323 192.168.50.62 NONE_NONE/200 0 CONNECT example.com:443 - HIER_DIRECT/93.184.216.34 -"},
		{string(e.requestSquid(nil, &hit, false)), "1650125956.296      0 192.168.50.62 TCP_MEM_HIT/200 1840 GET https://example.com/ - HIER_NONE/- text/html"},
		{string(e.requestSquid(nil, &denied, false)), "1650125956.296      1 192.168.50.62 TCP_DENIED/403 10 GET http://a%20b/? ada HIER_NONE/- -"},
		{string(e.requestSquid(nil, &parent, false)), "1650125956.296 1234567 192.168.50.62 TCP_TUNNEL_ABORTED/200 5 CONNECT a.test:443 - FIRSTUP_PARENT/10.0.0.8 -"},
		{string(e.requestCommon(nil, &hit, false)), `192.168.50.62 - - [` + end.Format("02/Jan/2006:15:04:05 -0700") + `] "GET https://example.com/ -" 200 1840 TCP_MEM_HIT:HIER_NONE`},
		{string(e.requestCommon(nil, &denied, true)), `192.168.50.62 - ada [` + denied.Start.Format("02/Jan/2006:15:04:05 -0700") + `] "GET http://a%20b/? -" 403 10 "-" "-" TCP_DENIED:HIER_NONE`},
		{string(e.handshakeSquid(nil, &Handshake{Time: end, Remote: netip.MustParseAddrPort("[::ffff:192.168.50.62]:1"), Code: diag.PlaintextOnTLSPort}, false)),
			"1650125956.296      0 192.168.50.62 NONE_NONE/000 0 - error:plaintext-on-tls-port - HIER_NONE/- -"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

// TestFormatsOfClientsHoldNoUpstreams: a destination is no client of the proxy, and the common formats have no line
// without a request.
func TestFormatsOfClientsHoldNoUpstreams(t *testing.T) {
	for format, want := range map[Format]int{FormatJSON: 2, FormatEnvoy: 2, FormatSquid: 1, FormatSquid4: 1, FormatCommon: 0, FormatCombined: 0} {
		out := new(buffer)
		l := open(t, LogOptions{Format: format, Stdout: out})
		during(t, l, func() {
			l.Handshake(sampleRefusal())
			upstream := sampleRefusal()
			upstream.Side = Upstream
			l.Handshake(upstream)
		})
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%s has %d lines, want %d:\n%s", format, got, want, out)
		}
	}
}
