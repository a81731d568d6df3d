package corpus

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hakone-gateway/hakone/internal/diag"
)

func read(text string) ([]Case, error) {
	return Read(fstest.MapFS{"a.txt": {Data: []byte(text)}, "notes.md": {Data: []byte("case x")}})
}

func TestRead(t *testing.T) {
	cases, err := read("# why\ncase one\nsend \"a\\r\\n\" \"b\" * 3\n  \"c\"\nexpect forward \"h\"\n \"i\"\nbody \"p\"\nexpect refuse request_bad_host 400\n\n# rule\ncase two\nsend \"\\x00\"\nexpect more\n")
	if err != nil || len(cases) != 2 {
		t.Fatal(cases, err)
	}
	one, two := cases[0], cases[1]
	if one.Name != "one" || one.Note != "why" || one.File != "a.txt" || one.Line != 2 || string(one.Send) != "a\r\nbbbc" || len(one.Want) != 2 {
		t.Errorf("%+v", one)
	}
	if w := one.Want[0]; w.Kind != Forward || string(w.Head) != "hi" || string(w.Body) != "p" {
		t.Errorf("%+v", w)
	}
	if w := one.Want[1]; w.Kind != Refuse || w.Code != diag.RequestBadHost || w.Status != 400 {
		t.Errorf("%+v", w)
	}
	if string(two.Send) != "\x00" || two.Want[0].Kind != More {
		t.Errorf("%+v", two)
	}
}

func TestReadHeaderList(t *testing.T) {
	cases, err := read("# why\ncase one\npost\nfield \"x\\n\" \"a\" * 2 \"b\"\n  \"c\"\ndata \"p\"\ntrailer \"t\" \"1\"\nexpect more\n# why\ncase two\nget\nexpect more")
	if err != nil || len(cases) != 2 {
		t.Fatal(cases, err)
	}
	one, two := cases[0], cases[1]
	if len(one.Fields) != 5 || string(one.Fields[0].Value) != "POST" || string(one.Fields[4].Name) != "x\n" || string(one.Fields[4].Value) != "aabc" ||
		!one.Open || string(one.Data) != "p" || len(one.Trailers) != 1 || string(one.Trailers[0].Value) != "1" {
		t.Errorf("%+v", one)
	}
	if two.Open || len(two.Fields) != 4 || string(two.Fields[0].Value) != "GET" {
		t.Errorf("%+v", two)
	}
}

func TestReadRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for text, want := range map[string]string{
		"send \"a\"":                                "a.txt:1: \"send\" before the first case",
		"# n\ncase x\nsend \"a\"":                   "needs a note, send or field, and expect",
		"case x\nsend \"a\"\nexpect more":           "needs a note",
		"# n\ncase x\nsend a":                       "a.txt:3",
		"# n\ncase x\nsend \"a\" * b":               "repetition",
		"# n\ncase x\nbody \"a\"":                   "body without",
		"# n\ncase x\nexpect more\n\"a\"":           "belongs to nothing",
		"# n\ncase x\nexpect refuse HK9999 400":     "HK9999",
		"# n\ncase x\nexpect refuse HK4001 four":    "status",
		"# n\ncase x\nexpect nothing":               "unknown expectation",
		"# n\ncase x\nget\nsend \"a\"\nexpect more": "send or field",
		"# n\ncase x\nfield a \"b\"":                "name",
		"# n\ncase x\nsnd \"a\"":                    "unknown word",
		"# n\ncase x\nsend \"a\"\nexpect more\n# n\ncase x\nsend \"a\"\nexpect more": "stands twice",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
