package trace

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// TestDrawObeysNobody draws what a destination has sent to take over the terminal, or to write lines of its own.
func TestDrawObeysNobody(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\u009b2J\u202eok\nverify    by everybody\xff"
	p := &Picture{URL: "https://x.test/", Hops: []*Hop{{Name: evil, Target: "x.test", DNS: &DNS{Host: evil}, TLS: &TLS{SNI: evil, ALPN: evil, Error: evil,
		Chain: []*Certificate{{Subject: evil, Issuer: evil, Names: []string{evil}, NotAfter: time.Now()}}, Verified: &Verification{Name: evil, By: evil, Anchor: evil}}}},
		Answer:   &Answer{Status: 200, Reason: evil, Title: evil, Fields: map[string]string{"Server": evil}},
		Findings: []diag.Diagnostic{{Message: evil, Fix: evil}}}
	var out strings.Builder
	p.Draw(&out)
	for line := range strings.Lines(out.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", line)
		}
		if strings.HasPrefix(line, "verify") {
			t.Errorf("a line of the destination's: %q", line)
		}
	}
	if !strings.Contains(out.String(), `\u001B[2J`) {
		t.Errorf("what was sent is not told:\n%s", out.String())
	}
}
