package diag

import (
	"encoding/json"
	"regexp"
	"slices"
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

func TestDiagnosticsSurviveJSON(t *testing.T) {
	for _, d := range []Diagnostic{
		New(SecretNotFound, Object{"Gateway", "default", "gw"}, "spec.servers[0]", "there is no secret", "Create it."),
		{Code: EmptyFolder, Severity: Warning, Position: Position{"a.yaml", 3}, Message: "m"},
		{Code: ClassAssumed, Severity: Info, Object: Object{Kind: "GatewayClass", Name: "x"}, Position: Position{File: "a.yaml"}, Message: "m"},
	} {
		b, err := json.Marshal(d)
		var back Diagnostic
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || back != d {
			t.Errorf("%+v became %+v: %s, %v", d, back, b, err)
		}
	}
}

func TestOrderOfDiagnostics(t *testing.T) {
	d := func(code Code, name, field string) Diagnostic {
		return New(code, Object{"Gateway", "default", name}, field, "m", "f")
	}
	want := []Diagnostic{d(SecretNotFound, "a", "x"), d(SecretNotFound, "a", "y"), d(SecretNotFound, "b", "x"), d(NoRoutesAttached, "a", "x"), d(ClassAssumed, "a", "x")}
	shuffled := []Diagnostic{want[4], want[2], want[0], want[3], want[2], want[1], want[0]}
	if got := Compact(shuffled); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if w, ok := Worst(want[3:]); !ok || w != Warning {
		t.Errorf("worst is %s", w)
	}
	if _, ok := Worst(nil); ok {
		t.Error("nothing has no worst")
	}
}
