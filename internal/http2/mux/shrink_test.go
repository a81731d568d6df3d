package mux

import (
	"io"
	"net"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/http2"
)

// TestSmallWindowBeforeSettings uploads more than a stream's window on a stream that was opened before
// the client knew it.
func TestSmallWindowBeforeSettings(t *testing.T) {
	for _, window := range []int{1000, 16 << 10, 32 << 10} {
		s := startServer(t, Limits{StreamWindow: window}, echo)
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		r := newRaw(t, nc)
		io.WriteString(nc, http2.Preface)
		r.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 20})
		r.WriteWindowUpdate(0, 1<<20)
		r.head(1, false)
		// Without having seen SETTINGS a client reckons with 65,535 bytes.
		allowed, left, acked := 0xffff, 100_000, false
		send := func() {
			for allowed > 0 && left > 0 {
				n := min(allowed, left, 16<<10)
				allowed, left = allowed-n, left-n
				r.WriteData(1, left == 0, make([]byte, n))
			}
		}
		send()
		for done := false; !done; {
			f, err := r.ReadFrame()
			if err != nil {
				t.Fatalf("window %d: %v with %d bytes left to send, %d allowed", window, err, left, allowed)
			}
			switch f := f.(type) {
			case *xhttp2.SettingsFrame:
				if !f.IsAck() && !acked {
					acked = true
					allowed += window - 0xffff
					r.WriteSettingsAck()
				}
			case *xhttp2.WindowUpdateFrame:
				if f.StreamID == 1 {
					allowed += int(f.Increment)
				}
			case *xhttp2.DataFrame:
				done = f.StreamEnded()
			}
			send()
		}
		nc.Close()
	}
}
