package demo

import (
	"io"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// tap prints a line for each request and each refused handshake, and tells the script which reason
// came last.
type tap struct {
	live  *telemetry.Live // nil: quiet
	codes chan diag.Code
}

func newTap(out io.Writer, quiet, color bool) *tap {
	t := &tap{codes: make(chan diag.Code, 64)}
	if !quiet {
		t.live = telemetry.NewLive(out, color)
	}
	return t
}

// Handshake implements telemetry.Sink.
func (t *tap) Handshake(h *telemetry.Handshake) {
	if h.Code == 0 || h.Code.Severity() == diag.Info {
		return
	}
	t.tell(h.Code)
	if t.live != nil {
		t.live.Handshake(h)
	}
}

// Access implements telemetry.Sink.
func (t *tap) Access(a *telemetry.Access) {
	t.tell(a.Code)
	if t.live != nil {
		t.live.Access(a)
	}
}

func (t *tap) tell(c diag.Code) {
	select {
	case t.codes <- c:
	default:
	}
}

// reset forgets reasons that nobody waited for.
func (t *tap) reset() {
	for {
		select {
		case <-t.codes:
		default:
			return
		}
	}
}

// wait returns want as soon as it is recorded, or the last other reason when the time is over. A
// want of 0 takes the first record.
func (t *tap) wait(want diag.Code, d time.Duration) diag.Code {
	timer := time.NewTimer(d)
	defer timer.Stop()
	var last diag.Code
	for {
		select {
		case c := <-t.codes:
			if c == want {
				return c
			}
			last = c
		case <-timer.C:
			return last
		}
	}
}
