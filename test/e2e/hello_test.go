//go:build e2e

package e2e

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/httpbin"
)

// splitter sends the first handshake record in its own way: as TLS records of so many bytes (0: one),
// in writes of so many bytes (0: one for each record).
type splitter struct {
	net.Conn
	record, write int
	sent          bool
	records       int
}

func (s *splitter) Write(b []byte) (int, error) {
	if s.sent || len(b) < 5 || b[0] != 22 {
		return s.Conn.Write(b)
	}
	s.sent = true
	n := int(binary.BigEndian.Uint16(b[3:]))
	head, payload, rest := b[:3], b[5:5+n], b[5+n:]
	var out [][]byte
	for len(payload) > 0 {
		size := len(payload)
		if s.record > 0 {
			size = min(size, s.record)
		}
		r := append(append([]byte{}, head...), byte(size>>8), byte(size))
		out = append(out, append(r, payload[:size]...))
		payload = payload[size:]
	}
	s.records = len(out)
	for _, r := range append(out, rest) {
		for len(r) > 0 {
			size := len(r)
			if s.write > 0 {
				size = min(size, s.write)
			}
			if _, err := s.Conn.Write(r[:size]); err != nil {
				return 0, err
			}
			if s.write > 0 {
				time.Sleep(50 * time.Microsecond) // lets the segment leave by itself
			}
			r = r[size:]
		}
	}
	return len(b), nil
}

// TestHelloInPieces sends ClientHellos in segments of one byte and in split records.
func TestHelloInPieces(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test")
	g := startSite(t, s, httpbin.Start(t), "a.test", "b.test")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, c := range []struct{ record, write int }{{0, 1}, {1, 0}, {7, 0}, {100, 0}, {3, 1}, {150, 1}} {
			t.Run(fmt.Sprintf("%s records of %d writes of %d", tls.VersionName(version), c.record, c.write), func(t *testing.T) {
				t.Parallel()
				raw := client.Dial(t, g.Addr(443))
				pieces := &splitter{Conn: raw.Conn, record: c.record, write: c.write}
				config := s.config("b.test")
				config.MaxVersion = version
				conn := tls.Client(pieces, config)
				if err := conn.Handshake(); err != nil {
					t.Fatal(err)
				}
				if conn.ConnectionState().Version != version || c.record > 0 && pieces.records < 2 {
					t.Fatalf("version %x in %d records", conn.ConnectionState().Version, pieces.records)
				}
				if _, err := conn.Write([]byte("GET /status/204 HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n")); err != nil {
					t.Fatal(err)
				}
				head := make([]byte, 12)
				if _, err := conn.Read(head); err != nil || string(head) != "HTTP/1.1 204" {
					t.Errorf("answer %q, %v", head, err)
				}
			})
		}
	}
}
