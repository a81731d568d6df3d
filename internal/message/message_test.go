package message

import (
	"bytes"
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	for id := Host; id < numNames; id++ {
		name := id.String()
		if got := string(id.Lower()); got != strings.ToLower(name) {
			t.Errorf("Lower of %s is %q", name, got)
		}
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Identify([]byte(spelled)); got != id {
				t.Errorf("Identify(%q) = %v, want %v", spelled, got, id)
			}
		}
		for i := range len(name) {
			for _, c := range []byte{name[i] ^ 0x01, name[i] ^ 0x40, name[i] &^ 0x60, name[i] | 0x80} {
				b := []byte(name)
				if b[i] = c; EqualFold(b, []byte(name)) {
					continue
				}
				if got := Identify(b); got != Other {
					t.Errorf("Identify(%q) = %v", b, got)
				}
			}
		}
	}
	for _, s := range []string{"", "x", "Hosts", "Hos", "X-Unknown", strings.Repeat("a", 40)} {
		if got := Identify([]byte(s)); got != Other {
			t.Errorf("Identify(%q) = %v", s, got)
		}
	}
}

func TestAlias(t *testing.T) {
	for name, want := range map[string]Name{"X_Forwarded_Client-Cert": XForwardedClientCert, "CLIENT_CERT": ClientCert, "Client.Cert": ClientCert, "cf~client!cert_sha256": CfClientCertHash,
		"Client-Cert": Other, "X_Own": Other, "_": Other, "": Other, strings.Repeat("_", 40): Other} {
		if got := Alias([]byte(name)); got != want {
			t.Errorf("Alias(%q) = %v, want %v", name, got, want)
		}
	}
}

func text(f *Fields) string {
	var b strings.Builder
	for i := range f.Len() {
		b.WriteString(string(f.At(i).Name) + "=" + string(f.At(i).Value) + " ")
	}
	return strings.TrimSpace(b.String())
}

func TestFields(t *testing.T) {
	var f Fields
	f.AddString("host", "a")
	f.AddString("X", "1")
	f.AddID(Cookie, []byte("c=1"))
	f.AddString("x", "2")
	f.AddString("Cookie", "c=2")
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"add", func() {}, "host=a X=1 Cookie=c=1 x=2 Cookie=c=2"},
		{"set known", func() { f.SetID(Cookie, []byte("d")) }, "host=a X=1 Cookie=d x=2"},
		{"set unknown", func() { f.SetString("X", "3") }, "host=a Cookie=d X=3"},
		{"set known by name", func() { f.SetString("HOST", "b") }, "host=b Cookie=d X=3"},
		{"set absent", func() { f.SetID(Via, []byte("v")) }, "host=b Cookie=d X=3 Via=v"},
		{"delete by name", func() { f.Del([]byte("cookie")) }, "host=b X=3 Via=v"},
		{"delete unknown", func() { f.Del([]byte("x")) }, "host=b Via=v"},
		{"delete set", func() { f.DelSet(Names(Host, Cookie)) }, "Via=v"},
		{"delete id", func() { f.DelID(Via) }, ""},
	} {
		if step.do(); text(&f) != step.want {
			t.Errorf("%s: %q, want %q", step.what, text(&f), step.want)
		}
	}
	if f.DelID(Via) || f.Has(Via) || f.Count(Via) != 0 {
		t.Error("Via is still there")
	}
}

func TestPop(t *testing.T) {
	var f Fields
	for _, v := range []string{"1", "2"} {
		f.AddString("Connection", v)
		f.AddString("X", v)
	}
	for _, want := range []string{"1", "2"} {
		if v, ok := f.Pop(Connection); !ok || string(v) != want {
			t.Errorf("%q %v, want %q", v, ok, want)
		}
	}
	if v, ok := f.Pop(Connection); ok || text(&f) != "X=1 X=2" {
		t.Errorf("%q %v, left %q", v, ok, text(&f))
	}
}

func TestLookupIgnoresCase(t *testing.T) {
	var f Fields
	f.AddString("x-Own", "1")
	f.AddString("via", "2")
	for name, want := range map[string]string{"X-OWN": "1", "Via": "2"} {
		if v, ok := f.Lookup([]byte(name)); !ok || string(v) != want {
			t.Errorf("Lookup(%q) = %q, %v", name, v, ok)
		}
	}
	if _, ok := f.Lookup([]byte("Host")); ok {
		t.Error("Host found")
	}
}

// Bytes that Fields keeps stay where they are when more are added.
func TestKeptBytesDoNotMove(t *testing.T) {
	var f Fields
	first := append(f.Reserve(3), "abc"...)
	for range 300 {
		f.AddString("Some-Name", "some value that fills the block")
	}
	if string(first) != "abc" {
		t.Errorf("%q", first)
	}
	for i := range f.Len() {
		if string(f.At(i).Value) != "some value that fills the block" {
			t.Fatalf("line %d: %q", i, f.At(i).Value)
		}
	}
	if over := append(f.Reserve(2), "abcd"...); string(over) != "abcd" {
		t.Errorf("%q", over)
	}
	f.AddString("After", "x")
	if v, _ := f.Lookup([]byte("After")); string(v) != "x" {
		t.Errorf("%q", v)
	}
}

func TestResetGivesLargeMemoryBack(t *testing.T) {
	var r Request
	r.Fields.AddString("X", strings.Repeat("a", 2*keptBytes))
	for range 2 * keptLines {
		r.Fields.AddString("X", "y")
	}
	r.Method, r.KeepAlive = []byte("GET"), true
	r.Reset()
	if cap(r.Fields.own) > keptBytes || cap(r.Fields.list) > keptLines || r.Method != nil || r.KeepAlive || r.Fields.Len() != 0 || r.Fields.Names() != 0 {
		t.Errorf("kept %d bytes, %d lines; %+v", cap(r.Fields.own), cap(r.Fields.list), r)
	}
}

func TestHasToken(t *testing.T) {
	for _, c := range []struct {
		list, token string
		want        bool
	}{
		{"close", "close", true}, {"a, Close\t,b", "close", true}, {"closed", "close", false}, {"", "close", false}, {",,close", "close", true}, {"clo se", "close", false},
	} {
		if got := HasToken([]byte(c.list), c.token); got != c.want {
			t.Errorf("HasToken(%q, %q) = %v", c.list, c.token, got)
		}
	}
}

func TestTrailerAllowed(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Checksum": true, "grpc-status": true, "Server-Timing": true, "ETag": true, "Proxy-Status": true, "Digest": true,
		"Content-Length": false, "Host": false, "transfer-encoding": false, "Authorization": false, "Set-Cookie": false, "Content-Encoding": false,
		"Vary": false, "Age": false, "Range": false, "If-Range": false, "Expires": false, "Cache-Control": false, "TE": false, "X-Forwarded-Foo": false, "WWW-Authenticate": false,
		"X_Forwarded_Client_Cert": false, "client_cert": false, "User_Agent": false, "Set_Cookie2": false, "X_Checksum": true,
	} {
		if got := TrailerAllowed(Identify([]byte(name)), []byte(name)); got != want {
			t.Errorf("TrailerAllowed(%q) = %v", name, got)
		}
	}
}

func TestStatusText(t *testing.T) {
	for status, want := range map[int]string{200: "OK", 418: "I'm a teapot", 503: "Service Unavailable", 299: "", 600: "", 0: ""} {
		if got := StatusText(status); got != want {
			t.Errorf("%d: %q", status, got)
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var r Request
	name, value := []byte("X-Received"), bytes.Repeat([]byte("v"), 100)
	if n := testing.AllocsPerRun(100, func() {
		r.Reset()
		for range 20 {
			r.Fields.Append(Other, name, value)
		}
		r.Fields.SetString("X-Request-Id", "0123456789")
		r.Fields.AddString("X-Other", "0123456789")
		r.Fields.SetID(XForwardedFor, value)
		r.Fields.DelSet(Names(XForwardedFor))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIdentify(b *testing.B) {
	for _, name := range []string{"content-length", "X-Forwarded-Client-Cert", "Sec-Fetch-Mode"} {
		b.Run(name, func(b *testing.B) {
			in := []byte(name)
			for b.Loop() {
				Identify(in)
			}
		})
	}
}
