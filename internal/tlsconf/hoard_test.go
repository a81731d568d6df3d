package tlsconf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestRecordsAreBounded sends hellos that are as large as can be: thousands of records of refused
// handshakes are kept, so a stranger must not choose how large they are.
func TestRecordsAreBounded(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	g := w.serve(t)
	var protocols []string
	for i := range 5000 {
		protocols = append(protocols, fmt.Sprintf("p%d", i))
	}
	for name, want := range map[string]diag.Code{
		"a.test": diag.NoCommonALPN, "b.test": diag.SNIUnknown, strings.Repeat("a", 40_000) + ".test": diag.SNIUnknown,
	} {
		config := client(ca, name)
		if len(name) < 100 {
			config.NextProtos = protocols
		}
		g.dial(config)
		rec := g.record()
		size := len(rec.Hello.SNI) + len(rec.Detail) + len(rec.Err) + 2*(cap(rec.Hello.Suites)+cap(rec.Hello.Groups)+cap(rec.Hello.Versions))
		for _, p := range rec.Hello.ALPN[:cap(rec.Hello.ALPN)] {
			size += 16 + len(p)
		}
		if rec.Code != want || size > 8<<10 {
			t.Errorf("%.20s: %s %.100q, %d bytes kept", name, rec.Code, rec.Detail, size)
		}
	}
}
