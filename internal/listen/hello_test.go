package listen

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"testing"
	"time"
)

// capture returns the ClientHello message that crypto/tls sends for config, without record headers.
func capture(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	record := captureRecord(t, config)
	return record[5:]
}

func captureRecord(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go func() { _ = tls.Client(there, config).Handshake(); there.Close() }()
	buf := make([]byte, 32<<10)
	n, err := here.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// captured is what crypto/tls's server says of a hello; nil if it refused it before looking.
func serverView(msg []byte) *tls.ClientHelloInfo {
	var seen *tls.ClientHelloInfo
	here, there := net.Pipe()
	defer here.Close()
	_ = here.SetDeadline(time.Now().Add(5 * time.Second))
	go func() {
		for len(msg) > 0 {
			n := min(len(msg), maxRecord)
			if _, err := there.Write(append([]byte{22, 3, 1, byte(n >> 8), byte(n)}, msg[:n]...)); err != nil {
				return
			}
			msg = msg[n:]
		}
		_, _ = there.Read(make([]byte, 64<<10))
		there.Close()
	}()
	_ = tls.Server(here, &tls.Config{MinVersion: tls.VersionTLS10, GetConfigForClient: func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = chi
		return nil, nil
	}}).Handshake()
	return seen
}

func clientConfigs() []*tls.Config {
	return []*tls.Config{
		{ServerName: "a.test"},
		{ServerName: "UPPER.Example.Test", NextProtos: []string{"h2", "http/1.1"}},
		{InsecureSkipVerify: true},
		{ServerName: "old.test", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		{ServerName: "a.test", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}},
		{ServerName: "a.test", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}},
	}
}

// withoutGREASE is the list as we keep it.
func withoutGREASE[T ~uint16](in []T) []uint16 {
	var out []uint16
	for _, v := range in {
		if !isGREASE(uint16(v)) {
			out = append(out, uint16(v))
		}
	}
	return out
}

// sameFacts compares our reading of msg with crypto/tls's.
func sameFacts(t *testing.T, msg []byte) {
	t.Helper()
	seen := serverView(msg)
	h, err := ParseHello(msg)
	if seen == nil {
		return // crypto/tls is stricter about what we do not read
	}
	if err != nil {
		t.Fatalf("crypto/tls takes what we refuse: %v", err)
	}
	if string(bytes.ToLower([]byte(seen.ServerName))) != h.ServerName && isASCII(seen.ServerName) {
		t.Errorf("server name %q, want %q", h.ServerName, seen.ServerName)
	}
	var alpn []string
	for _, p := range seen.SupportedProtos {
		if len(p) != 2 || !isGREASE(uint16(p[0])<<8|uint16(p[1])) {
			alpn = append(alpn, p)
		}
	}
	if !slices.Equal(h.ALPN, alpn) {
		t.Errorf("ALPN %q, want %q", h.ALPN, alpn)
	}
	if want := withoutGREASE(seen.CipherSuites); !slices.Equal(h.Suites, want) {
		t.Errorf("suites %x, want %x", h.Suites, want)
	}
	if want := withoutGREASE(seen.SupportedCurves); !slices.Equal(h.Groups, want) {
		t.Errorf("groups %x, want %x", h.Groups, want)
	}
	if want := withoutGREASE(seen.SignatureSchemes); !slices.Equal(h.SignatureSchemes, want) {
		t.Errorf("signatures %x, want %x", h.SignatureSchemes, want)
	}
	if slices.Contains(seen.Extensions, extSupportedVersions) {
		want := withoutGREASE(seen.SupportedVersions)
		slices.Sort(want)
		slices.Reverse(want)
		if want = slices.Compact(want); !slices.Equal(h.Versions, want) {
			t.Errorf("versions %x, want %x", h.Versions, want)
		}
	} else if len(seen.SupportedVersions) > 0 && h.MaxVersion() != min(seen.SupportedVersions[0], tls.VersionTLS12) {
		t.Errorf("version %x, want %x", h.MaxVersion(), seen.SupportedVersions[0])
	}
	if len(h.JA4) != 36 {
		t.Errorf("JA4 %q", h.JA4)
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// TestHelloOfGo reads what Go's client sends, with equal facts.
func TestHelloOfGo(t *testing.T) {
	for _, config := range clientConfigs() {
		msg := capture(t, config)
		if serverView(msg) == nil {
			t.Fatal("crypto/tls does not take its own hello")
		}
		sameFacts(t, msg)
	}
}

// FuzzHello holds the parser to crypto/tls: what that takes is taken here, with equal facts.
func FuzzHello(f *testing.F) {
	for _, config := range clientConfigs() {
		f.Add(capture(f, config))
	}
	f.Add(greased())
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > maxHello || len(msg) < 4 || int(msg[1])<<16|int(msg[2])<<8|int(msg[3]) != len(msg)-4 || msg[0] != typeClientHello {
			if _, err := ParseHello(msg); err == nil && len(msg) <= maxHello {
				t.Fatal("a message with a wrong header was taken")
			}
			return
		}
		sameFacts(t, msg)
	})
}

// build makes a hello of the given suites and extensions.
func build(version uint16, suites []uint16, exts ...[]byte) []byte {
	body := append([]byte{byte(version >> 8), byte(version)}, make([]byte, 32)...)
	body = append(body, 0) // no session ID
	body = append(body, vec16(u16s(suites...))...)
	body = append(body, 1, 0) // null compression
	if len(exts) > 0 {
		body = append(body, vec16(slices.Concat(exts...))...)
	}
	return append([]byte{typeClientHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

func u16s(values ...uint16) []byte {
	var out []byte
	for _, v := range values {
		out = append(out, byte(v>>8), byte(v))
	}
	return out
}

func vec16(b []byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }
func ext(typ uint16, data []byte) []byte {
	return append(u16s(typ), vec16(data)...)
}
func sni(name string) []byte {
	return ext(extServerName, vec16(append([]byte{0}, vec16([]byte(name))...)))
}

// greased is a browser's hello with the reserved values of RFC 8701 everywhere.
func greased() []byte {
	return build(0x0303, []uint16{0x1a1a, 0x1301, 0xc02b},
		ext(0x2a2a, nil), sni("a.test"), ext(extSupportedGroups, vec16(u16s(0x3a3a, 29))), ext(extSignatureAlgs, vec16(u16s(0x0403))),
		ext(extALPN, vec16([]byte("\x02\x4a\x4a\x02h2\x08http/1.1"))), ext(extSupportedVersions, append([]byte{6}, u16s(0x5a5a, 0x0304, 0x0303)...)),
		ext(extKeyShare, vec16(append(append(u16s(0x3a3a), vec16([]byte{0})...), append(u16s(29), vec16(make([]byte, 32))...)...))), ext(extSessionTicket, nil), ext(0xfafa, []byte{0}))
}

// TestGREASE leaves the reserved values out.
func TestGREASE(t *testing.T) {
	h, err := ParseHello(greased())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(h.Suites, []uint16{0x1301, 0xc02b}) || !slices.Equal(h.Groups, []uint16{29}) || !slices.Equal(h.Versions, []uint16{0x0304, 0x0303}) ||
		!slices.Equal(h.ALPN, []string{"h2", "http/1.1"}) || !slices.Equal(h.KeyShares, []uint16{29}) || h.Ticket {
		t.Errorf("%+v", h)
	}
	if h.JA4[:10] != "t13d0207h2" {
		t.Errorf("JA4 %q", h.JA4)
	}
	sameFacts(t, greased())
}

// TestJA4 has the worked example of the fingerprint's description: a Chrome hello.
func TestJA4(t *testing.T) {
	suites := []uint16{0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035}
	order := []uint16{0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015}
	h := &rawHello{hasSNI: true, firstALPN: []byte("h2"), extensions: order}
	h.Suites, h.Versions = suites, []uint16{0x0304, 0x0303}
	h.SignatureSchemes = []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601}
	if got, want := h.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestHelloRefused has one fault each.
// TestHelloOfManyExtensions keeps the cost of a hello in proportion to its length: it is paid for
// strangers, before any handshake.
func TestHelloOfManyExtensions(t *testing.T) {
	hello := func(n int) []byte {
		var exts [][]byte
		for i := range n {
			exts = append(exts, ext(uint16(1000+i), nil))
		}
		return build(0x0303, []uint16{0x1301}, exts...)
	}
	cost := func(msg []byte) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			if _, err := ParseHello(msg); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	few, many := cost(hello(1000)), cost(hello(16000))
	if many > 100*few {
		t.Errorf("16 times the extensions take %v instead of %v", many, few)
	}
}

func TestHelloRefused(t *testing.T) {
	good := []uint16{0x1301}
	for name, msg := range map[string][]byte{
		"empty":              {},
		"another message":    append([]byte{2}, build(0x0303, good)[1:]...),
		"trailing byte":      append(build(0x0303, good), 0),
		"cut":                build(0x0303, good)[:20],
		"extension twice":    build(0x0303, good, sni("a.test"), sni("b.test")),
		"two names":          build(0x0303, good, ext(extServerName, vec16([]byte("\x00\x00\x01a\x00\x00\x01b")))),
		"empty name":         build(0x0303, good, sni("")),
		"dot at the end":     build(0x0303, good, sni("a.test.")),
		"empty ALPN":         build(0x0303, good, ext(extALPN, vec16(nil))),
		"odd groups":         build(0x0303, good, ext(extSupportedGroups, vec16([]byte{1}))),
		"odd versions":       build(0x0303, good, ext(extSupportedVersions, []byte{1, 3})),
		"key not last":       build(0x0303, good, ext(extPreSharedKey, nil), sni("a.test")),
		"rest in extension":  build(0x0303, good, ext(extSupportedGroups, append(vec16(u16s(29)), 0))),
		"extension overruns": build(0x0303, good, []byte{0, 0, 0, 9, 1}),
	} {
		if h, err := ParseHello(msg); err == nil {
			t.Errorf("%s: taken as %+v", name, h)
		}
	}
}
