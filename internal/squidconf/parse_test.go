package squidconf

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestJoined(t *testing.T) {
	for text, want := range map[string][]string{
		"a b\n  # c\n\nd":                    {"1 a b", "4 d"},
		"a \\\n   b\nc":                      {"1 a b", "3 c"},
		"a\\\n   b":                          {"1 ab"},
		"a \\\n\n# no\n b\nc":                {"1 a b", "5 c"},
		"a # x \\\nhttp_access allow all\nb": {"1 a # x http_access allow all", "3 b"},
		"a\r\nb\rc\r\n":                      {"1 a", "2 b"},
		"a \\":                               {"1 a"},
		"# a \\\nb":                          {"2 b"},
	} {
		var got []string
		for _, l := range joined(text) {
			got = append(got, fmt.Sprint(l.number, " ", l.text))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		text             string
		quoted, patterns bool
		want             []string
		err              bool
	}{
		{text: "a  b\tc # d", want: []string{"a", "b", "c"}},
		{text: "a b#c", want: []string{"a", "b#c"}},
		{text: `a "b c" d`, want: []string{"a", `"b`, `c"`, "d"}},
		{text: `a "b c" 'd # e' f`, quoted: true, want: []string{"a", "b c", "d # e", "f"}},
		{text: `a "b \"c\" \\" d`, quoted: true, want: []string{"a", `b "c" \`, "d"}},
		{text: `a parameters("/x y") b`, quoted: true, want: []string{"a", `"/x y"`, "b"}},
		{text: `a parameters("/x"`, quoted: true, err: true},
		{text: `a parameters(x)`, quoted: true, err: true},
		{text: `a "b`, quoted: true, err: true},
		{text: `a b\ c d`, patterns: true, want: []string{"a", `b\ c`, "d"}},
		{text: "a\u00a0b c", want: []string{"a\u00a0b", "c"}},
	} {
		got, err := split(c.text, c.quoted, c.patterns)
		if (err != nil) != c.err || !c.err && !slices.Equal(got, c.want) {
			t.Errorf("%s: %q %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestIncludes(t *testing.T) {
	all := map[string]string{
		"/etc/squid/squid.conf":    "\ufeffhttp_port 1\r\ninclude conf.d/*.conf \"/etc/squid/last.conf\"\nhttp_port 9\n",
		"/etc/squid/conf.d/b.conf": "http_port 3\n", "/etc/squid/conf.d/a.conf": "\n\nhttp_port 2\ninclude self.conf", "/etc/squid/last.conf": "http_port 4\nacl l dstdomain \"list\"",
		"/etc/squid/self.conf": "include self.conf", "/etc/squid/list": ".x.test",
	}
	glob := func(pattern string) ([]string, error) {
		out := []string{}
		for name := range all {
			if ok, _ := path.Match(pattern, name); ok {
				out = append(out, name)
			}
		}
		return out, nil
	}
	r, err := Import("/etc/squid/squid.conf", Options{Open: files(all), Glob: glob})
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, l := range r.Lines {
		if strings.HasPrefix(l.Text, "http_port") {
			ports = append(ports, fmt.Sprintf("%s:%d %s", path.Base(l.File), l.Number, l.Text[10:]))
		}
	}
	if want := []string{"squid.conf:1 1", "a.conf:3 2", "b.conf:1 3", "last.conf:1 4", "squid.conf:3 9"}; !slices.Equal(ports, want) {
		t.Errorf("%q, want %q", ports, want)
	}
	if r.Shut == "" || r.Worst() != Refused {
		t.Error("a file that includes itself is taken")
	}
}

func TestConditions(t *testing.T) {
	for text, want := range map[string]string{
		"if true\nX\nendif": "X", "if 1 = 1\nX\nelse\nY\nendif": "X", "if ${process_number} = 1\nX\nelse\nY\nendif": "X", "if ${process_number} = 2\nX\nelse\nY\nendif": "Y",
		"if false\nif true\nX\nelse\nY\nendif\nelse\nY\nendif": "Y", "if true\nif false\nY\nelse\nX\nendif\nendif": "X",
	} {
		_, out := convert(t, strings.NewReplacer("X", "visible_hostname x.test", "Y", "visible_hostname y.test").Replace(text), nil)
		if !strings.Contains(out, "visibleHostname: "+strings.ToLower(want)+".test") {
			t.Errorf("%s: want %s\n%s", text, want, out)
		}
	}
}

// Quoted values are read as Squid reads them: words where they are switched on, files where not.
func TestQuotedValues(t *testing.T) {
	more := map[string]string{"list": ".f.test\n"}
	_, text := convert(t, "configuration_includes_quoted_values on\nacl x dstdomain \".q.test\" parameters(\"list\")\nvisible_hostname \"h.test\"\nconfiguration_includes_quoted_values off\nacl y dstdomain \"list\"", more)
	for _, want := range []string{"- .q.test\n    - .f.test\n", "visibleHostname: h.test", "name: \"y\"\n    type: dstdomain\n    values:\n    - .f.test"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// A configuration without end is not read without end.
func TestBounds(t *testing.T) {
	var b strings.Builder
	for range maxLines + 10 {
		b.WriteString("via on\n")
	}
	if r, _ := convert(t, b.String(), nil); len(r.Lines) != maxLines || r.Shut == "" {
		t.Errorf("%d lines, shut by %q", len(r.Lines), r.Shut)
	}
}
