package ir

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
)

func patterns(t *testing.T, list ...string) []hostname.Pattern {
	t.Helper()
	var out []hostname.Pattern
	for _, s := range list {
		p, err := hostname.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestProxyFor(t *testing.T) {
	proxies := []*Proxy{
		{Name: "all", Hosts: patterns(t, "*"), Except: patterns(t, "*.inside.example", "192.0.2.7"), ExceptNets: []string{"10.0.0.0/8", "2001:db8::/32"}},
		{Name: "zone", Hosts: patterns(t, "*.example.com"), Except: patterns(t, "a.example.com")},
		{Name: "one", Hosts: patterns(t, "b.example.com", "*.deep.inside.example")},
		{Name: "none"},
	}
	for host, want := range map[string]string{
		"example.org": "all", "example.com": "all", "x.example.com": "zone", "a.example.com": "all", "b.example.com": "one", "x.inside.example": "",
		"x.deep.inside.example": "one", "10.1.2.3": "", "::ffff:10.1.2.3": "", "192.0.2.7": "", "192.0.2.8": "all", "2001:db8::1": "", "2001:db9::1": "all", "": "all",
	} {
		got := ""
		if p := ProxyFor(proxies, host); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("%q goes through %q, want %q", host, got, want)
		}
	}
	if ProxyFor(nil, "a") != nil {
		t.Error("without proxies everything is direct")
	}
}

func TestDumpTellsOfLoginsByDigest(t *testing.T) {
	with := func(password, digest string) *Snapshot {
		s := snapshot(t, "httpbin")
		s.Secrets.Logins = map[SecretRef]*Login{"a/login": {User: "anna", Password: secret.NewBytes([]byte(password)), Digest: digest}}
		s.Secrets.Passwords = map[SecretRef]*Passwords{"a/users": {Users: map[string]secret.Bytes{"bert": secret.NewBytes([]byte("$2y$" + password)), "anna": secret.NewBytes([]byte("x"))}, Digest: digest}}
		s.Seal()
		return s
	}
	plain, one, other := snapshot(t, "httpbin"), with("kept-out-of-sight", "d1"), with("kept-out-of-sight", "d2")
	text := dump(t, one)
	if strings.Contains(text, "kept-out-of-sight") || !strings.Contains(text, `"user":"anna"`) || !strings.Contains(text, `"users":["anna","bert"]`) || !strings.Contains(text, `"digest":"d1"`) {
		t.Errorf("the dump is %s", text)
	}
	if plain.Secrets.Revision == one.Secrets.Revision || one.Secrets.Revision == other.Secrets.Revision || one.Hash() == other.Hash() {
		t.Error("another login is another revision")
	}
	if again := with("kept-out-of-sight", "d1"); again.Secrets.Revision != one.Secrets.Revision {
		t.Error("the same logins have two revisions")
	}
}
