package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestDurationsInLogsHaveUnits(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var b bytes.Buffer
		log, err := newLogger(&b, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("applied", "dur", 11400*time.Microsecond)
		if !strings.Contains(b.String(), "11.4ms") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}
