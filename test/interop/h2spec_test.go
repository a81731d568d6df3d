//go:build e2e

package interop

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestH2spec runs all of h2spec, the strict cases too, with every way to reach the upstream.
func TestH2spec(t *testing.T) {
	t.Parallel()
	s := newSite(t, "h2spec.example.com", testca.Spec{IPs: []string{"127.0.0.1"}})
	for _, port := range []string{"http", "http2"} {
		g := s.start(t, plainBackend(t, port), false)
		for _, c := range []struct {
			name     string
			declared int
			args     []string
		}{{"TLS", 443, []string{"-t", "-k"}}, {"h2c", 80, nil}} {
			t.Run(c.name+" to "+port, func(t *testing.T) {
				t.Parallel()
				g := g.For(t)
				args := append([]string{"-S", "-h", "127.0.0.1", "-p", fmt.Sprint(g.Port(c.declared)), "-P", "/hello"}, c.args...)
				r := program.Run(t, program.Command{Path: program.Suite(t, "h2spec"), Args: args, Limit: 3 * time.Minute})
				m := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindStringSubmatch(r.Out)
				if m == nil {
					t.Fatalf("h2spec did not say how many tests passed, exit %d\n%s\n%s", r.Code, program.Tail(r.Out, 4000), r.Err)
				}
				t.Logf("h2spec over %s: %s of %s passed in %.1f s", c.name, m[2], m[1], r.Took.Seconds())
				_, failures, _ := strings.Cut(r.Out, "Failures:")
				// In the clear the port speaks HTTP/1.1 too, so what is no preface is answered with HTTP/1.1's 400, which h2spec cannot read.
				answered := c.declared == 80 && m[2] == "145" && strings.Count(failures, "×") == 1 && strings.Contains(failures, "Sends invalid connection preface") &&
					strings.Contains(failures, "looked like an HTTP/1.1 header")
				if m[1] != "146" || !answered && (m[2] != "146" || r.Code != 0) {
					t.Errorf("want 146 of 146, got %s, exit %d\n%s", m[0], r.Code, program.Tail(failures, 12000))
				}
				if g.Ended() {
					t.Error("the gateway ended")
				}
			})
		}
	}
}
