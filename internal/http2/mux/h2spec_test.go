package mux

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
)

// h2spec, in its strict mode, agrees with all that a server does here.
func TestH2Spec(t *testing.T) {
	s := startServer(t, Limits{}, echo)
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	r := program.Run(t, program.Command{Path: program.Suite(t, "h2spec"), Args: []string{"-S", "-h", host, "-p", port, "-o", "2"}, Limit: 2 * time.Minute})
	if !strings.Contains(r.Out, "146 tests, 146 passed, 0 skipped, 0 failed") || r.Code != 0 {
		t.Errorf("exit %d\n%s\n%s", r.Code, program.Tail(r.Out, 60000), r.Err)
	}
}
