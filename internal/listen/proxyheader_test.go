package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// v2 builds a binary header.
func v2(command, family byte, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	b := append([]byte(proxyV2Sign), 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(all)))
	return append(b, all...)
}

// tlv builds an extension.
func tlv(kind byte, value string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

var addresses4 = []byte{192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 1, 0xbb}

// summed returns a header with a checksum that fits, or not.
func summed(good bool) []byte {
	b := v2(1, 0x11, addresses4, tlv(tlvCRC32C, "\x00\x00\x00\x00"))
	sum := proxyChecksum(b, len(b)-4)
	if !good {
		sum++
	}
	binary.BigEndian.PutUint32(b[len(b)-4:], sum)
	return b
}

// TestProxyHeader parses headers whole, and waits for more of every beginning of a good one.
func TestProxyHeader(t *testing.T) {
	v6 := append(append(make([]byte, 0, 36), netip.MustParseAddr("2001:db8::1").AsSlice()...), netip.MustParseAddr("2001:db8::2").AsSlice()...)
	v6 = append(v6, 0x30, 0x39, 1, 0xbb)
	for _, c := range []struct {
		name, raw, source, destination, err string
		check                               func(ProxyHeader) bool
	}{
		{name: "1", raw: "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", source: "192.0.2.1:12345", destination: "198.51.100.2:443"},
		{name: "1 IPv6", raw: "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", source: "[2001:db8::1]:12345", destination: "[2001:db8::2]:443"},
		{name: "1 unknown", raw: "PROXY UNKNOWN\r\n", check: func(h ProxyHeader) bool { return h.Local }},
		{name: "1 unknown with more", raw: "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", check: func(h ProxyHeader) bool { return h.Local }},
		{name: "1 longest", raw: "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", check: func(h ProxyHeader) bool { return h.Local }},
		{name: "1 too long", raw: "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", err: "longer than 107"},
		{name: "1 no CR", raw: "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n", err: "CR LF"},
		{name: "1 wrong family", raw: "PROXY TCP4 2001:db8::1 198.51.100.2 1 2\r\n", err: "another family"},
		{name: "1 leading zero", raw: "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n", err: "no IP address"},
		{name: "1 zone", raw: "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", err: "no IP address"},
		{name: "1 port", raw: "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n", err: "no port"},
		{name: "1 port zero", raw: "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", err: "no port"},
		{name: "1 two spaces", raw: "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n", err: "is not PROXY"},
		{name: "1 few", raw: "PROXY TCP4 192.0.2.1\r\n", err: "is not PROXY"},
		{name: "1 no family", raw: "PROXY \r\n", err: "is not PROXY"},
		{name: "2", raw: string(v2(1, 0x11, addresses4)), source: "192.0.2.1:12345", destination: "198.51.100.2:443"},
		{name: "2 IPv6", raw: string(v2(1, 0x21, v6)), source: "[2001:db8::1]:12345", destination: "[2001:db8::2]:443"},
		{name: "2 local", raw: string(v2(0, 0)), check: func(h ProxyHeader) bool { return h.Local }},
		{name: "2 local with rubbish", raw: string(v2(0, 0x11, []byte("abc"))), check: func(h ProxyHeader) bool { return h.Local }},
		{name: "2 Unix", raw: string(v2(1, 0x31, make([]byte, 216))), check: func(h ProxyHeader) bool { return h.Local }},
		{name: "2 unspecified", raw: string(v2(1, 0, tlv(tlvNoop, "xxxx"))), check: func(h ProxyHeader) bool { return h.Local }},
		{name: "2 extensions", raw: string(v2(1, 0x11, addresses4, tlv(tlvAuthority, "a.test"), tlv(tlvALPN, "h2"), tlv(tlvUniqueID, "id"), tlv(tlvSSL, "\x01\x00\x00\x00\x00"), tlv(0xea, "vpce"), tlv(tlvNoop, ""))),
			source: "192.0.2.1:12345", destination: "198.51.100.2:443",
			check: func(h ProxyHeader) bool {
				return h.Authority == "a.test" && h.ALPN == "h2" && string(h.UniqueID) == "id" && h.TLS
			}},
		{name: "2 checksum", raw: string(summed(true)), source: "192.0.2.1:12345", destination: "198.51.100.2:443"},
		{name: "2 wrong checksum", raw: string(summed(false)), err: "does not fit"},
		{name: "2 long ID", raw: string(v2(1, 0x11, addresses4, tlv(tlvUniqueID, strings.Repeat("x", 129)))), err: "128"},
		{name: "2 cut extension", raw: string(v2(1, 0x11, addresses4, []byte{1, 0})), err: "cut off"},
		{name: "2 long extension", raw: string(v2(1, 0x11, addresses4, []byte{1, 0, 9, 'x'})), err: "longer than the header"},
		{name: "2 short", raw: string(v2(1, 0x11, addresses4[:11])), err: "shorter than its addresses"},
		{name: "2 version", raw: proxyV2Sign + "\x31\x11\x00\x0c", err: "version 3"},
		{name: "2 command", raw: proxyV2Sign + "\x22\x11\x00\x0c", err: "command 2"},
		{name: "2 family", raw: string(v2(1, 0x41, addresses4)), err: "unknown"},
		{name: "2 huge", raw: proxyV2Sign + "\x21\x11\xff\xff", err: "at most"},
		{name: "HTTP", raw: "GET / HTTP/1.1\r\n", err: "no PROXY header"},
		{name: "almost", raw: "PROXXY", err: "no PROXY header"},
	} {
		h, n, err := ParseProxyHeader([]byte(c.raw))
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %+v, %v, want error %q", c.name, h, err, c.err)
			}
			continue
		case err != nil || n != len(c.raw):
			t.Errorf("%s: %d of %d bytes, %v", c.name, n, len(c.raw), err)
			continue
		}
		if c.source != "" && (h.Source.String() != c.source || h.Destination.String() != c.destination || h.Local) || c.check != nil && !c.check(h) {
			t.Errorf("%s: %+v", c.name, h)
		}
		for i := range c.raw {
			if _, n, err := ParseProxyHeader([]byte(c.raw[:i])); n != 0 || err != nil {
				t.Errorf("%s: the first %d bytes: %d, %v", c.name, i, n, err)
			}
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nGET"))
	f.Add(v2(1, 0x11, addresses4, tlv(tlvAuthority, "a.test")))
	f.Add(summed(true))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseProxyHeader(b)
		if n > len(b) || n > maxProxyV2 || err != nil && n != 0 {
			t.Fatalf("%d bytes of %d, %v", n, len(b), err)
		}
		if n > 0 && !h.Local && (!h.Source.IsValid() || !h.Destination.IsValid()) {
			t.Fatalf("a header without addresses: %+v", h)
		}
		if n > 0 { // what follows changes nothing
			again, m, err := ParseProxyHeader(append(b[:n:n], "more"...))
			if m != n || err != nil || again.Source != h.Source {
				t.Fatalf("%d then %d, %v", n, m, err)
			}
		}
	})
}

// TestReadProxyHeader takes headers from connections, in pieces, and leaves what follows.
func TestReadProxyHeader(t *testing.T) {
	yes, no := func(netip.Addr) bool { return true }, func(netip.Addr) bool { return false }
	for _, c := range []struct {
		name     string
		send     []string
		believed func(netip.Addr) bool
		code     diag.Code
		rest     string
	}{
		{"1", []string{"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nhello"}, nil, 0, "hello"},
		{"pieces", []string{"PRO", "XY TCP4 192.0.2.1 198.5", "1.100.2 12345 443\r", "\nhello"}, yes, 0, "hello"},
		{"2", []string{string(v2(1, 0x11, addresses4)) + "hello"}, yes, 0, "hello"},
		{"2 in the largest form", []string{string(v2(1, 0x11, addresses4, tlv(0xea, strings.Repeat("x", 4096-12-3)))) + "hello"}, yes, 0, "hello"},
		{"HTTP", []string{"GET / HTTP/1.1\r\n\r\n"}, nil, diag.ProxyHeaderMissing, "GET / HTTP/1.1\r\n\r\n"},
		{"malformed", []string{"PROXY TCP9 \r\n"}, nil, diag.ProxyHeaderMalformed, "PROXY TCP9 \r\n"},
		{"half", []string{"PROXY TCP4"}, nil, diag.ProxyHeaderMalformed, "PROXY TCP4"},
		{"nothing", nil, nil, diag.ClosedBeforeHello, ""},
		{"not believed", []string{"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"}, no, diag.ProxyHeaderUntrusted, "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"},
	} {
		here, there := pair(t)
		go func() {
			for i, s := range c.send {
				if i > 0 {
					time.Sleep(10 * time.Millisecond)
				}
				_, _ = io.WriteString(there, s)
			}
			_ = there.CloseWrite()
		}()
		was := here.Remote()
		_, err := here.ReadProxyHeader(2*time.Second, c.believed)
		var peek *PeekError
		switch {
		case c.code == 0 && (err != nil || here.Remote().String() != "192.0.2.1:12345" || here.Peer() != was):
			t.Errorf("%s: %v, remote %s, peer %s", c.name, err, here.Remote(), here.Peer())
		case c.code != 0 && (!errors.As(err, &peek) || peek.Code != c.code || here.Remote() != was):
			t.Errorf("%s: %v, want %v", c.name, err, c.code)
		}
		if rest, err := io.ReadAll(here); string(rest) != c.rest || err != nil {
			t.Errorf("%s: %q remains, %v", c.name, rest, err)
		}
	}
	here, there := pair(t)
	defer there.Close()
	_, _ = io.WriteString(there, "PROXY ")
	began := time.Now()
	_, err := here.ReadProxyHeader(50*time.Millisecond, nil)
	var peek *PeekError
	if !errors.As(err, &peek) || peek.Code != diag.ProxyHeaderMissing || time.Since(began) > 2*time.Second {
		t.Errorf("half a header in silence: %v", err)
	}
}

// TestOtherProtocolAnswers answers in the words of each protocol.
func TestOtherProtocolAnswers(t *testing.T) {
	for _, c := range []struct{ head, answer string }{
		{"SSH-2.0-x\r\n", "This port speaks HTTP.\r\n"},
		{"EHLO me\r\n", "554 5.3.2 This port speaks HTTP.\r\n"},
		{"USER me\r\n", "530 This port speaks HTTP.\r\n"},
		{"CAPA\r\n", "-ERR This port speaks HTTP.\r\n"},
		{"*1\r\n$4\r\nPING\r\n", "-ERR This port speaks HTTP.\r\n"},
		{"\x00\x00\x00\x08\x04\xd2\x16\x2f", "N"},
		{"\x05\x01\x00", "\x05\xff"},
		{"\x04\x01\x00\x50\x01\x02\x03\x04\x00", "\x00\x5b\x00\x00\x00\x00\x00\x00"},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "HTTP/1.1 400 Bad Request"},
		{"GET / HTTP/1.1\r\n", ""},
		{"\x01\x02\x03 rubbish", ""},
	} {
		if _, got := OtherProtocolAnswer([]byte(c.head), "HTTP"); !strings.HasPrefix(string(got), c.answer) || (c.answer == "") != (len(got) == 0) {
			t.Errorf("%q is answered %q, want %q", c.head, got, c.answer)
		}
	}
	for _, c := range []struct {
		err    PeekError
		answer string
	}{
		{PeekError{Code: diag.ProxyHeaderMissing, Protocol: ProtocolHTTP, Head: []byte("GET / ")}, "HTTP/1.1 400"},
		{PeekError{Code: diag.ProxyHeaderMissing, Protocol: ProtocolTLS}, "\x15\x03\x03\x00\x02\x02\x28"},
		{PeekError{Code: diag.ProxyHeaderMissing, Protocol: ProtocolSSH}, ""},
		{PeekError{Code: diag.ProxyHeaderUntrusted, Protocol: ProtocolHTTP}, ""},
	} {
		if got := NoProxyHeaderAnswer(&c.err); !strings.HasPrefix(string(got), c.answer) || (c.answer == "") != (len(got) == 0) {
			t.Errorf("%+v is answered %q", c.err, got)
		}
	}
}
