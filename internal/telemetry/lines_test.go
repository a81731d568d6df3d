package telemetry

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hakone-gateway/hakone/internal/diag"
)

func sampleAccess() *Access {
	return &Access{
		ID: []byte("6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de"), Start: time.Date(2026, 1, 2, 15, 4, 5, 67_000_000, time.UTC), Duration: 12345 * time.Microsecond,
		Conn: 7, Listener: "*:443", Chain: "ns/gw/https", Route: "ns/r/rule-0", Origin: "HTTPRoute ns/r spec.rules[0]",
		Upstream: "httpbin.default:8000", Endpoint: "127.0.0.1:8000",
		Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:5000"), Local: netip.MustParseAddrPort("127.0.0.1:8443"),
		Proto: "HTTP/1.1", Scheme: "https", Method: []byte("GET"), Authority: []byte("a.test"), Target: []byte("/get?q=1"), Path: []byte("/get"),
		UserAgent: []byte("curl/8"), Status: 200, BytesSent: 1024, UpstreamTime: 3 * time.Millisecond,
		SNI: "a.test", TLSVersion: 0x0304, TLSSuite: 0x1301, TLSGroup: 29,
	}
}

func sampleRefusal() *Handshake {
	return &Handshake{Time: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), Duration: 2 * time.Millisecond, Conn: 9, Side: Downstream, Listener: "*:443",
		Remote: netip.MustParseAddrPort("192.0.2.1:5000"), Local: netip.MustParseAddrPort("127.0.0.1:8443"),
		Hello: Hello{SNI: "a.test", Versions: []uint16{0x0304, 0x0303}, Suites: []uint16{0x1301}, Groups: []uint16{29}, ALPN: []string{"http/1.1"}},
		Code:  diag.ClientCertMissing, Detail: `the host "a.test" demands a certificate`}
}

func newEncoder() *encoder { return &encoder{names: newNames(), codes: newCodes()} }

func TestRequestLines(t *testing.T) {
	refused := sampleAccess()
	refused.Status, refused.Code, refused.Detail, refused.Endpoint, refused.Upstream, refused.UpstreamTime = 404, diag.NoRoute, "nearest is route x", "", "", 0
	refused.UserAgent = []byte("a\"\n\x1b[31m\xff é")
	failed := sampleAccess()
	failed.Status, failed.Code, failed.Detail = 503, diag.UpstreamConnectRefused, "connection refused by 127.0.0.1:8000"
	rpc := sampleAccess()
	rpc.Proto, rpc.Stream, rpc.UpstreamProto, rpc.Attempts, rpc.GRPC, rpc.GRPCStatus = "HTTP/2", 5, "HTTP/2", 2, true, 14
	denied := sampleAccess()
	denied.Status, denied.Code, denied.PeerOffered = 403, diag.ClientCertUnknownCA, "abcd"
	denied.Policy, denied.PolicyVerdict, denied.PolicyCode = "shop/partners", "deny", diag.ClientCertUnknownCA
	e := newEncoder()
	if got := string(e.requestJSON(nil, denied)); !strings.HasSuffix(got, `,"offered_cert":"abcd","policy":"shop/partners","policy_verdict":"deny","policy_code":"HK2102"}`) {
		t.Error(got)
	}
	for _, c := range []struct {
		name, got, want string
	}{
		{"envoy gRPC", string(e.requestText(nil, rpc, false)), `[2026-01-02T15:04:05.067Z] "GET /get?q=1 HTTP/2" 200 - 0 1024 12 3 "-" "curl/8" "6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de" "a.test" "127.0.0.1:8000" grpc_status=Unavailable attempts=2 stream=5 upstream_protocol=HTTP/2`},
		{"istio gRPC", string(e.requestText(nil, rpc, true)), `[2026-01-02T15:04:05.067Z] "GET /get?q=1 HTTP/2" 200 - via_upstream - "-" 0 1024 12 3 "-" "curl/8" "6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de" "a.test" "127.0.0.1:8000" httpbin.default:8000 - 127.0.0.1:8443 192.0.2.1:5000 a.test ns/r/rule-0 grpc_status=Unavailable attempts=2 stream=5 upstream_protocol=HTTP/2`},
		{"json gRPC", string(e.requestJSON(nil, rpc)), `{"ts":"2026-01-02T15:04:05.067Z","kind":"request","id":"6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de","conn":7,"listener":"*:443","chain":"ns/gw/https","client":"192.0.2.1:5000","proto":"HTTP/2","stream":5,"scheme":"https","method":"GET","host":"a.test","target":"/get?q=1","status":200,"grpc_status":14,"bytes_in":0,"bytes_out":1024,"dur_ms":12.345,"route":"ns/r/rule-0","origin":"HTTPRoute ns/r spec.rules[0]","upstream":"httpbin.default:8000","endpoint":"127.0.0.1:8000","upstream_proto":"HTTP/2","attempts":2,"upstream_ms":3.000,"user_agent":"curl/8","sni":"a.test","tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256","group":"X25519"}`},
		{"json", string(e.requestJSON(nil, sampleAccess())), `{"ts":"2026-01-02T15:04:05.067Z","kind":"request","id":"6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de","conn":7,"listener":"*:443","chain":"ns/gw/https","client":"192.0.2.1:5000","proto":"HTTP/1.1","scheme":"https","method":"GET","host":"a.test","target":"/get?q=1","status":200,"bytes_in":0,"bytes_out":1024,"dur_ms":12.345,"route":"ns/r/rule-0","origin":"HTTPRoute ns/r spec.rules[0]","upstream":"httpbin.default:8000","endpoint":"127.0.0.1:8000","upstream_ms":3.000,"user_agent":"curl/8","sni":"a.test","tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256","group":"X25519"}`},
		{"envoy", string(e.requestText(nil, sampleAccess(), false)), `[2026-01-02T15:04:05.067Z] "GET /get?q=1 HTTP/1.1" 200 - 0 1024 12 3 "-" "curl/8" "6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de" "a.test" "127.0.0.1:8000"`},
		{"istio", string(e.requestText(nil, sampleAccess(), true)), `[2026-01-02T15:04:05.067Z] "GET /get?q=1 HTTP/1.1" 200 - via_upstream - "-" 0 1024 12 3 "-" "curl/8" "6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de" "a.test" "127.0.0.1:8000" httpbin.default:8000 - 127.0.0.1:8443 192.0.2.1:5000 a.test ns/r/rule-0`},
		{"envoy refused", string(e.requestText(nil, refused, false)), `[2026-01-02T15:04:05.067Z] "GET /get?q=1 HTTP/1.1" 404 NR 0 1024 12 - "-" "a\x22\x0A\x1B[31m\xFF \xC3\xA9" "6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de" "a.test" "-"`},
		{"istio failed", string(e.requestText(nil, failed, true)), `[2026-01-02T15:04:05.067Z] "GET /get?q=1 HTTP/1.1" 503 UF upstream_connection_refused - "connection refused by 127.0.0.1:8000" 0 1024 12 3 "-" "curl/8" "6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de" "a.test" "127.0.0.1:8000" httpbin.default:8000 - 127.0.0.1:8443 192.0.2.1:5000 a.test ns/r/rule-0`},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, c.got, c.want)
		}
	}
	var back map[string]any
	if err := json.Unmarshal(e.requestJSON(nil, refused), &back); err != nil {
		t.Fatal(err)
	}
	if back["user_agent"] != "a\"\n\x1b[31m\ufffd é" || back["code"] != "HK4101" || back["reason"] != "no_route" || back["detail"] != "nearest is route x" {
		t.Errorf("refused request reads as %v", back)
	}
}

func TestHandshakeLines(t *testing.T) {
	e := newEncoder()
	for _, c := range []struct{ name, got, want string }{
		{"json", string(e.handshakeJSON(nil, sampleRefusal())), `{"ts":"2026-01-02T15:04:05.000Z","kind":"handshake","conn":9,"side":"downstream","listener":"*:443","client":"192.0.2.1:5000","code":"HK2101","reason":"client_cert_missing","detail":"the host \"a.test\" demands a certificate","dur_ms":2.000,"sni":"a.test","offered_versions":["1.3","1.2"],"offered_alpn":["http/1.1"],"offered_ciphers":["TLS_AES_128_GCM_SHA256"],"offered_groups":["X25519"]}`},
		{"envoy", string(e.handshakeText(nil, sampleRefusal(), false)), `[2026-01-02T15:04:05.000Z] "- - -" 0 HK2101 0 0 2 - "-" "-" "-" "-" "-"`},
		{"istio", string(e.handshakeText(nil, sampleRefusal(), true)), `[2026-01-02T15:04:05.000Z] "- - -" 0 HK2101 client_cert_missing - "the host \x22a.test\x22 demands a certificate" 0 0 2 - "-" "-" "-" "-" "-" - - 127.0.0.1:8443 192.0.2.1:5000 a.test -`},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, c.got, c.want)
		}
	}
}

func TestStampFollowsTime(t *testing.T) {
	var s stamp
	at := time.Date(2026, 1, 2, 23, 59, 59, 999_999_999, time.FixedZone("x", 3600))
	for range 3 {
		if got, want := string(s.append(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		at = at.Add(777 * time.Millisecond)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\x00\x1f\x7f", "é\u0085\u2028", "\xff\xc3", "\xf0\x9f\x98\x80", strings.Repeat("é", maxPeerField)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		line := appendString(nil, in)
		var back string
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatalf("%q gives %s: %v", in, line, err)
		}
		if len(in) <= maxPeerField && back != strings.ToValidUTF8(string(in), "\ufffd") && utf8.Valid(in) {
			t.Errorf("%q reads back as %q", in, back)
		}
		for _, c := range string(line) {
			if c < ' ' || c >= 0x7f && c <= 0x9f {
				t.Errorf("%q leaves control character %U", in, c)
			}
		}
		if again := appendString(nil, string(in)); string(again) != string(line) {
			t.Errorf("bytes %s, string %s", line, again)
		}
		for _, c := range appendBare(nil, in) {
			if c < ' ' || c >= 0x7f || c == '"' {
				t.Errorf("a text line holds %q", c)
			}
		}
	})
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	e := newEncoder()
	a := sampleAccess()
	a.UserAgent = []byte("é\xff")
	b := make([]byte, 0, 4096)
	rpc := sampleAccess()
	rpc.Stream, rpc.Attempts, rpc.GRPC, rpc.GRPCStatus = 5, 2, true, 14
	for name, f := range map[string]func(){
		"gRPC":  func() { b = e.requestText(b[:0], rpc, true) },
		"json":  func() { b = e.requestJSON(b[:0], a) },
		"envoy": func() { b = e.requestText(b[:0], a, false) },
		"istio": func() { b = e.requestText(b[:0], a, true) },
	} {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkRequestJSON(b *testing.B) {
	e, a := newEncoder(), sampleAccess()
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		buf = e.requestJSON(buf[:0], a)
	}
}
