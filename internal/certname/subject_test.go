package certname

import "testing"

func TestParseSubject(t *testing.T) {
	for _, tc := range []struct{ in, separators, want string }{
		{"CN=vera,O=Example", ",", "CN=vera,O=Example"},
		{`CN=vera\, the one, O=A+B`, ",", `CN=vera\, the one,O=A\+B`},
		{"CN=vera+O=Example", ",+", "CN=vera,O=Example"},
		{"CN=vera/O=Example/", "/", "CN=vera,O=Example"},
		{"", ",", ""},
	} {
		if n, err := ParseSubject(tc.in, tc.separators); err != nil || n.String() != tc.want {
			t.Errorf("%q: %q, %v; want %q", tc.in, n, err, tc.want)
		}
	}
	for _, bad := range []string{"vera", "CN=", "=vera", "X=1"} {
		if _, err := ParseSubject(bad, ","); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
