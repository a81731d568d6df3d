package mux

import (
	"testing"
	"testing/synctest"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// refuse answers without looking at the body.
func refuse(s *Stream) {
	s.WriteHead(&message.Response{Status: 404}, true)
}

// TestFarewell looks at what follows an answer that came before the request was complete.
func TestFarewell(t *testing.T) {
	greet := func(r *raw) {
		r.nc.Write([]byte(http2.Preface))
		r.WriteSettings()
		r.WriteSettingsAck()
		r.head(1, false)
		r.until(func(f xhttp2.Frame) bool {
			h, ok := f.(*xhttp2.MetaHeadersFrame)
			return ok && h.StreamEnded()
		})
	}
	for name, script := range map[string]func(t *testing.T, r *raw){
		"the reset comes with NO_ERROR, and not at once": func(t *testing.T, r *raw) {
			begin := time.Now()
			if code := r.reset(1); code != xhttp2.ErrCodeNo {
				t.Errorf("reset with %v", code)
			}
			if took := time.Since(begin); took < time.Second || took > 3*time.Second {
				t.Errorf("after %s", took)
			}
		},
		"what is sent meanwhile is passed over, other streams are served": func(t *testing.T, r *raw) {
			for range 8 {
				r.WriteData(1, false, make([]byte, 16<<10))
			}
			r.head(3, true)
			r.until(func(f xhttp2.Frame) bool {
				h, ok := f.(*xhttp2.MetaHeadersFrame)
				return ok && h.StreamID == 3
			})
			if code := r.reset(1); code != xhttp2.ErrCodeNo {
				t.Errorf("reset with %v", code)
			}
		},
		"a request that ends meanwhile needs no reset": func(t *testing.T, r *raw) {
			r.WriteData(1, false, []byte("more"))
			r.WriteData(1, true, []byte("the end"))
			time.Sleep(3 * time.Second)
			r.WritePing(false, [8]byte{7})
			r.until(func(f xhttp2.Frame) bool {
				if _, ok := f.(*xhttp2.RSTStreamFrame); ok {
					t.Error("it was reset")
				}
				p, ok := f.(*xhttp2.PingFrame)
				return ok && p.Data[0] == 7
			})
		},
		"a client that resets itself needs none either, and pays nothing": func(t *testing.T, r *raw) {
			r.WriteRSTStream(1, xhttp2.ErrCodeCancel)
			time.Sleep(3 * time.Second)
			r.WritePing(false, [8]byte{7})
			r.until(func(f xhttp2.Frame) bool {
				if _, ok := f.(*xhttp2.RSTStreamFrame); ok {
					t.Error("it was reset")
				}
				p, ok := f.(*xhttp2.PingFrame)
				return ok && p.Data[0] == 7
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, _ = timed(t, Limits{}, refuse, func(r *raw) {
					defer r.nc.Close()
					greet(r)
					script(t, r)
				})
			})
		})
	}
}
