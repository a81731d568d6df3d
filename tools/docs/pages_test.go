package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// TestPagesAreFresh fails when the catalogue changed and the pages did not.
func TestPagesAreFresh(t *testing.T) {
	for name, want := range pages() {
		got, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
		if err != nil || string(got) != want {
			t.Errorf("%s is stale; run: go run ./tools/docs (%v)", name, err)
		}
	}
}

func TestEveryCodeIsOnEveryPage(t *testing.T) {
	for name, text := range pages() {
		for _, e := range diag.Catalogue() {
			if n := strings.Count(text, e.Code.String()+" "+e.Slug+"\n"); n != 1 {
				t.Errorf("%s has %s %d times; is there a chapter for it?", name, e.Code, n)
			}
		}
	}
}

func TestEscapes(t *testing.T) {
	for in, want := range map[string]string{".tls is -x": `\&.tls is \-x`, "'a'": `\&'a'`, `a\b`: `a\eb`, "a  b\nc": "a b c"} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := inline("*.a_b <x> `y`"), "\\*.a\\_b &lt;x> \\`y\\`"; got != want {
		t.Errorf("inline gives %q, want %q", got, want)
	}
}
