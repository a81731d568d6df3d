package upstream

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mmdb writes a database that knows a country and continent for IPv4 addresses whose first bit is 0 and for
// those where it is 1; see MaxMind's description of the format, version 2.0.
func mmdb(t *testing.T, path string, low, high Place) {
	t.Helper()
	text := func(s string) []byte { return append([]byte{2<<5 | byte(len(s))}, s...) }
	object := func(pairs ...[]byte) []byte {
		out := []byte{7<<5 | byte(len(pairs)/2)}
		for _, p := range pairs {
			out = append(out, p...)
		}
		return out
	}
	number := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{6<<5 | 4}, n) }
	short := func(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{5<<5 | 2}, n) }
	place := func(p Place) []byte {
		return object(text("country"), object(text("iso_code"), text(p.Country)), text("continent"), object(text("code"), text(p.Continent)))
	}
	first := place(low)
	data := append(first, place(high)...)
	// One node; a record of 1 + 16 + n is the data at offset n.
	record := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(1+16+n))[1:] }
	out := append(record(0), record(len(first))...)
	out = append(append(out, make([]byte, 16)...), data...)
	out = append(out, "\xab\xcd\xefMaxMind.com"...)
	out = append(out, object(text("node_count"), number(1), text("record_size"), short(24), text("ip_version"), short(4), text("database_type"), text("Test-Country"),
		text("languages"), []byte{0, 4}, text("binary_format_major_version"), short(2), text("binary_format_minor_version"), short(0),
		text("build_epoch"), append([]byte{4, 2}, binary.BigEndian.AppendUint32(nil, 1_700_000_000)...), text("description"), object())...)
	if err := os.WriteFile(path+".new", out, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestLocator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	if _, err := NewLocator(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewLocator(path, nil); err == nil || !strings.Contains(err.Error(), "MaxMind") {
		t.Errorf("another file: %v", err)
	}
	mmdb(t, path, Place{"jp", "AS"}, Place{"DE", "EU"})
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLocator(path, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		at := func(a string) Place { return l.Locate(netip.MustParseAddr(a)) }
		if at("1.2.3.4") != (Place{"JP", "AS"}) || at("::ffff:200.1.1.1") != (Place{"DE", "EU"}) || at("2001:db8::1") != (Place{}) {
			t.Errorf("%v, %v, %v", at("1.2.3.4"), at("200.1.1.1"), at("2001:db8::1"))
		}
		done := make(chan struct{})
		go func() { _ = l.Run(t.Context()); close(done) }()
		if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(geoEvery + time.Second)
		if at("1.2.3.4").Country != "JP" {
			t.Error("a broken file took the old one's place")
		}
		mmdb(t, path, Place{"KR", "AS"}, Place{"DE", "EU"})
		time.Sleep(geoEvery)
		if at("1.2.3.4").Country != "KR" {
			t.Error("a new file was not read")
		}
	})
}
