package cli

import (
	"strings"
	"testing"
)

// TestTablesObeyNobody has cells that a peer has sent.
func TestTablesObeyNobody(t *testing.T) {
	var out strings.Builder
	table := newTable(&out, "HOST", "ISSUER")
	table.row("a.test", "CN=\x1b[2J\u009bx\nb.test  CN=forged\tx")
	table.flush()
	row(&out, "issuer", "\x1b]0;owned\x07")
	if lines := strings.Split(out.String(), "\n"); len(lines) != 4 || strings.ContainsAny(out.String(), "\x1b\x07\t\u009b") {
		t.Errorf("%q", out.String())
	}
}
