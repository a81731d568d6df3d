package logstore

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// fill gives every field of a struct a value of its own.
func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		*n++
		switch f.Interface().(type) {
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(1767366245, int64(*n))))
		case netip.AddrPort:
			f.Set(reflect.ValueOf(netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:%d", *n, *n))))
		case netip.Addr:
			f.Set(reflect.ValueOf(netip.MustParseAddr("2001:db8::1")))
		case []byte:
			f.SetBytes([]byte(fmt.Sprint("bytes", *n)))
		case []string:
			f.Set(reflect.ValueOf([]string{fmt.Sprint("a", *n), "b"}))
		case []uint16:
			f.Set(reflect.ValueOf([]uint16{uint16(*n), 0x1301}))
		case *telemetry.RouteMetrics:
		case telemetry.Hello:
			fill(t, f, n)
		default:
			switch f.Kind() {
			case reflect.String:
				f.SetString(fmt.Sprint("text", *n))
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Int, reflect.Int64:
				f.SetInt(int64(*n))
			case reflect.Uint16, reflect.Uint32, reflect.Uint64:
				f.SetUint(uint64(*n))
			default:
				t.Fatalf("field %s is of a kind that nobody thought of: %s", v.Type().Field(i).Name, f.Type())
			}
		}
	}
}

// TestEveryFieldIsKept fails when somebody adds a field to a record and forgets it here.
func TestEveryFieldIsKept(t *testing.T) {
	n := 0
	var a, back telemetry.Access
	fill(t, reflect.ValueOf(&a).Elem(), &n)
	if err := readAccess(putAccess(nil, &a), &back, &words{}); err != nil || !reflect.DeepEqual(a, back) {
		t.Errorf("%v\n%+v\nis read as\n%+v", err, a, back)
	}
	var h, shake telemetry.Handshake
	fill(t, reflect.ValueOf(&h).Elem(), &n)
	if err := readHandshake(putHandshake(nil, &h), &shake, &words{}); err != nil || !reflect.DeepEqual(h, shake) {
		t.Errorf("%v\n%+v\nis read as\n%+v", err, h, shake)
	}
}

// TestOtherVersionsOfRecords reads records with fewer and more fields.
func TestOtherVersionsOfRecords(t *testing.T) {
	a := sampleAccess()
	b := putAccess(nil, a)
	longer := putEnd(append(b[:len(b):len(b)], "something new"...), 0)
	var back telemetry.Access
	if err := readAccess(longer, &back, nil); err != nil || string(back.ID) != string(a.ID) || back.Status != 200 {
		t.Errorf("a longer record: %v, %+v", err, back)
	}
	shorter := putEnd(append([]byte(nil), b[:recordHead+1+len(a.ID)]...), 0)
	if err := readAccess(shorter, &back, nil); err != nil || string(back.ID) != string(a.ID) || back.Listener != "" {
		t.Errorf("a shorter record: %v, %+v", err, back)
	}
}

func TestLongFieldsAreCut(t *testing.T) {
	a := sampleAccess()
	huge := []byte(strings.Repeat("x", 1<<20))
	a.Target, a.UserAgent, a.Referer, a.XFF, a.Path, a.Authority, a.Detail = huge, huge, huge, huge, huge, huge, string(huge)
	a.BytesReceived = math.MaxInt64
	b := putAccess(nil, a)
	r, rest, err := split(b)
	var back telemetry.Access
	if err != nil || len(rest) != 0 || readAccess(r, &back, nil) != nil || len(back.Target) != maxField || back.BytesReceived != math.MaxInt64 {
		t.Errorf("%v, %d bytes left, target of %d", err, len(rest), len(back.Target))
	}
	h := telemetry.Handshake{Code: diag.ClientCertMissing, Hello: telemetry.Hello{Suites: make([]uint16, 5000), ALPN: strings.Split(strings.Repeat("h,", 1000), ",")}}
	var shake telemetry.Handshake
	if err := readHandshake(putHandshake(nil, &h), &shake, nil); err != nil || len(shake.Hello.Suites) != maxList || len(shake.Hello.ALPN) != maxList {
		t.Errorf("%v, %d suites, %d protocols", err, len(shake.Hello.Suites), len(shake.Hello.ALPN))
	}
}

func sampleAccess() *telemetry.Access {
	return &telemetry.Access{
		ID: []byte("6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de"), Start: time.Date(2026, 1, 2, 15, 4, 5, 67_000_000, time.UTC), Duration: 12345 * time.Microsecond,
		Conn: 7, Listener: "*:443", Chain: "ns/gw/https", Route: "ns/r/rule-0", Origin: "HTTPRoute ns/r spec.rules[0]",
		Upstream: "httpbin.default:8000", Endpoint: "127.0.0.1:8000",
		Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:5000"), Local: netip.MustParseAddrPort("127.0.0.1:8443"), Client: netip.MustParseAddr("192.0.2.1"),
		Proto: "HTTP/2", Scheme: "https", Method: []byte("GET"), Authority: []byte("a.test"), Target: []byte("/get?q=1"), Path: []byte("/get"), GRPCStatus: -1,
		UserAgent: []byte("curl/8"), Status: 200, BytesSent: 1024, HeadSent: 321, HeadReceived: 77, UpstreamTime: 3 * time.Millisecond, HeadTime: 4 * time.Millisecond,
		ContentType: []byte("application/json"), UpstreamStatus: 200, UpstreamTLSVersion: 0x0304, UpstreamTLSSuite: 0x1301, Pool: "ns/pool", Server: "origin-1",
		SNI: "a.test", TLSVersion: 0x0304, TLSSuite: 0x1301, TLSGroup: 29, JA4: "t13d1516h2_8daaf6152771_b186095e22b6",
		PeerOffered: strings.Repeat("ab", 32), Policy: "ns/mtls", PolicyVerdict: "allow",
	}
}

func sampleRefusal() *telemetry.Handshake {
	return &telemetry.Handshake{Time: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), Duration: 2 * time.Millisecond, Conn: 9, Side: telemetry.Downstream, Listener: "*:443",
		Remote: netip.MustParseAddrPort("192.0.2.1:5000"), Local: netip.MustParseAddrPort("127.0.0.1:8443"), Version: 0x0304,
		Hello: telemetry.Hello{SNI: "a.test", Versions: []uint16{0x0304, 0x0303}, Suites: []uint16{0x1301}, Groups: []uint16{29}, ALPN: []string{"http/1.1"}},
		Code:  diag.ClientCertMissing, Detail: `the host "a.test" demands a certificate`}
}
