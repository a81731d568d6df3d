package diag

import (
	"regexp"
	"testing"
)

func TestCatalogueIsSound(t *testing.T) {
	slug := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	slugs := map[string]Code{}
	var last Code
	for _, e := range Catalogue() {
		if e.Code <= last {
			t.Errorf("%s: number used twice", e.Code)
		}
		last = e.Code
		if !slug.MatchString(e.Slug) {
			t.Errorf("%s: slug %q", e.Code, e.Slug)
		}
		if other, dup := slugs[e.Slug]; dup {
			t.Errorf("%s and %s share slug %q", e.Code, other, e.Slug)
		}
		slugs[e.Slug] = e.Code
		if e.Title == "" || e.Cause == "" || e.Fix == "" {
			t.Errorf("%s: title, cause and fix are needed", e.Code)
		}
		for _, s := range []string{e.Code.String(), e.Slug} {
			if c, err := ParseCode(s); err != nil || c != e.Code {
				t.Errorf("ParseCode(%q) = %v, %v", s, c, err)
			}
		}
	}
}

func TestParseCodeRefusesTheUnknown(t *testing.T) {
	for _, s := range []string{"", "HK", "HK9999", "nonsense", "HK-1", "HK70000"} {
		if c, err := ParseCode(s); err == nil {
			t.Errorf("ParseCode(%q) = %v, want an error", s, c)
		}
	}
}
