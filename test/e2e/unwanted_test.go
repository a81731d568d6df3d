//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
)

// TestUnwantedBody posts 3 MB where no route leads: curl gets the answer every time, although the gateway
// takes the body no further.
func TestUnwantedBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := startSite(t, s, refusedAddr(t), "a.test")
	g.Change(func() { g.Write("route.yaml", routeAll("all", "other.test", "backend")) })
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, make([]byte, 3_000_000), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := s.caFile(t)
	for _, version := range []string{"--http2", "--http1.1"} {
		for i := range 30 {
			a := client.Curl(t, g.Addr(443), fmt.Sprintf("https://a.test/nowhere-%d", i), version, "--cacert", ca, "--data-binary", "@"+file)
			if a.Exit != 0 || a.Status != 404 || a.Body == "" {
				t.Errorf("%s, post %d: exit %d, status %d, %d bytes\n%s", version, i, a.Exit, a.Status, len(a.Body), a.Err)
			}
		}
	}
}
