package squidconf

import (
	"slices"
	"strings"
	"testing"
)

// short says rules of the manifest as lines "Deny a b".
func short(t *testing.T, text, section string) []string {
	t.Helper()
	_, after, ok := strings.Cut(text, "  "+section+":\n")
	if !ok {
		return nil
	}
	var out []string
	var words []string
	end := func(action string) {
		out, words = append(out, strings.TrimSpace(action+" "+strings.Join(words, " "))), nil
	}
	for line := range strings.Lines(after) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "    - "):
			words = append(words, strings.Trim(line[6:], "'"))
		case strings.HasPrefix(line, "    action: "):
			end(line[12:])
		case strings.HasPrefix(line, "  - action: "):
			end(line[12:])
		case strings.HasPrefix(line, "    proxyRefs:"), strings.HasPrefix(line, "    - name: "):
		case line != "  - acls:":
			return out
		}
	}
	return out
}

// Rules never open more than Squid's: what cannot be asked is left out where it opens and holds always where it
// closes, and what Squid does where no rule matches is written down.
func TestRules(t *testing.T) {
	const acls = "acl a src 10.0.0.1\nacl b dstdomain .b\nacl c port 80\n"
	for name, c := range map[string]struct {
		text, section string
		want          []string
	}{
		"as they are":                {"http_access deny a b\nhttp_access allow c", "access", []string{"Deny a b", "Allow c"}},
		"left out at the end":        {"http_access deny a\nhttp_access allow gone", "access", []string{"Deny a", "Deny all"}},
		"left out before":            {"http_access allow gone\nhttp_access deny a", "access", []string{"Deny a"}},
		"denies more":                {"http_access deny a !gone\nhttp_access allow all", "access", []string{"Deny a", "Allow all"}},
		"all left out":               {"http_access allow gone", "access", []string{"Deny all"}},
		"ACL extended later":         {"http_access deny x\nhttp_access allow all\nacl x src gone.invalid/99", "access", []string{"Deny", "Allow all"}},
		"never, then always":         {"never_direct allow all\nalways_direct allow b", "direct", []string{"Allow b", "Deny all"}},
		"always with exceptions":     {"always_direct deny a b\nalways_direct allow c", "direct", []string{"Allow c !together-1"}},
		"always with one exception":  {"always_direct deny b\nalways_direct allow all", "direct", []string{"Allow !b"}},
		"always but":                 {"always_direct deny b", "direct", []string{"Allow !b"}},
		"never closes":               {"never_direct allow gone", "direct", []string{"Deny"}},
		"never but, which is gone":   {"never_direct deny gone\nnever_direct allow c", "direct", []string{"Deny c"}},
		"never but, gone at the end": {"never_direct deny gone", "direct", []string{"Deny all"}},
		"cache":                      {"cache deny b\ncache deny gone", "cache", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, text := convert(t, acls+c.text, nil)
			if got := short(t, text, c.section); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q\n%s", got, c.want, text)
			}
		})
	}
}

func TestPeerRules(t *testing.T) {
	const peer = "acl a src 10.0.0.1\nacl b dstdomain .b\ncache_peer p.test parent 3128 0 name=p\n"
	for text, want := range map[string][]string{
		"cache_peer_access p allow a":                                  {"- a"},
		"cache_peer_access p deny b\ncache_peer_access p allow a":      {"- a", "- '!b'"},
		"cache_peer_access p deny b":                                   {"- '!b'"},
		"cache_peer_access p deny a b":                                 {"- '!together-1'"},
		"cache_peer_access p deny all":                                 nil,
		"cache_peer_access p allow gone":                               nil,
		"cache_peer_access p deny gone\ncache_peer_access p allow all": nil,
	} {
		_, out := convert(t, peer+text, nil)
		_, proxies, found := strings.Cut(out, "  proxies:\n")
		if found != (want != nil) {
			t.Errorf("%s:\n%s", text, out)
		}
		proxies, _, _ = strings.Cut(proxies, "---")
		for _, w := range want {
			if !strings.Contains(proxies, w) {
				t.Errorf("%s: %s is missing in\n%s", text, w, out)
			}
		}
	}
}

// Of rules about TLS, those that end or intercept hold without a question that cannot be asked.
func TestBumpRules(t *testing.T) {
	cert := map[string]string{"/ca": pemOf("CERTIFICATE") + pemOf("PRIVATE KEY")}
	_, text := convert(t, "http_port 1 ssl-bump tls-cert=/ca\nssl_bump terminate gone\nssl_bump splice gone\nssl_bump peek gone\nssl_bump bump gone all\nssl_bump splice all", cert)
	_, rules, _ := strings.Cut(text, "    rules:\n")
	rules, _, _ = strings.Cut(rules, "  listeners:")
	want := "    - action: Terminate\n    - acls:\n      - all\n      action: Bump\n    - acls:\n      - all\n      action: Splice\n"
	if !strings.HasSuffix(rules, want) || strings.Count(rules, "action") != 3 {
		t.Errorf("%s", rules)
	}
}

func TestACLs(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		bad    []string // ACLs that rules cannot ask
		has    []string
		hasNot []string
	}{
		"times are not joined":        {"acl x time MTWHF 09:00-12:00\nacl x time MTWHF 13:00-18:00", nil, []string{"- MTWHF\n    - 09:00-12:00\n  - name: x\n    type: time"}, nil},
		"groups are not joined":       {"acl a src 10.0.0.1\nacl b src 10.0.0.2\nacl x all-of a b\nacl x all-of b", nil, []string{"- a\n    - b\n  - name: x"}, nil},
		"group of what is bad":        {"acl a external h\nacl x any-of a\nacl y all-of x", []string{"a", "x", "y"}, nil, []string{"type: any-of"}},
		"one line bad, all bad":       {"acl x src 10.0.0.1\nacl x src 10.0.0.1/99", []string{"x"}, nil, []string{"10.0.0.1"}},
		"fields are not joined":       {"acl x req_header User-Agent foo\nacl x req_header Referer bar", nil, []string{"- User-Agent\n    - foo\n  - name: x"}, nil},
		"a switch ends with its line": {"acl x url_regex foo -i bar\nacl x url_regex baz", nil, []string{"- -i\n    - bar\n  - name: x"}, nil},
		"blanks in expressions":       {`acl x url_regex a\ b c`, nil, []string{`- a\ b`}, nil},
		"lines of files are words":    {`acl x url_regex "/list"`, nil, []string{"- foo bar\n", "- baz#q\n"}, []string{"end"}},
		"quotes are of one kind":      {`acl x dstdomain '/names'`, nil, []string{"- .a.test"}, nil},
		"names of ports":              {"http_port 3128 name=Main_Port\nhttp_port 10.0.0.1:3129\nacl x myportname Main_Port 10.0.0.1:3129 other", nil, []string{"- main-port\n    - port-3129\n    - other\n"}, nil},
		"users without a helper":      {"acl u proxy_auth REQUIRED", []string{"u"}, nil, nil},
		"users of LDAP":               {"acl u proxy_auth REQUIRED\nauth_param basic program /usr/lib/squid/basic_ldap_auth -b x", []string{"u"}, nil, []string{"authentication"}},
		"nobody asks for users":       {"auth_param basic program /usr/lib/squid/basic_ncsa_auth /users", nil, nil, []string{"authentication", "Secret"}},
		"no name":                     {"acl x", []string{"x"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var asks strings.Builder
			for _, n := range []string{"a", "x", "y", "u"} {
				asks.WriteString("\nhttp_access allow " + n)
			}
			r, text := convert(t, c.text+asks.String(), map[string]string{"/list": "foo bar # end\n  baz#q  \r\n#no\n", "/names": "\ufeff.a.test\n", "/users": "ada:x"})
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing in\n%s", want, text)
				}
			}
			for _, bad := range c.hasNot {
				if strings.Contains(text, bad) {
					t.Errorf("%q is in\n%s", bad, text)
				}
			}
			for _, l := range r.Lines {
				if n, ok := strings.CutPrefix(l.Text, "http_access allow "); ok && slices.Contains(c.bad, n) && l.Outcome != Refused {
					t.Errorf("%s: %+v", l.Text, r.Lines)
				}
			}
		})
	}
}

// Flags that hakone run would not take are not written.
func TestFlagsWithinBounds(t *testing.T) {
	r, _ := convert(t, "request_header_max_size 0 KB\nreply_header_max_size 1 GB\nrequest_body_max_size 0 KB\nrequest_header_max_size 32 KB", nil)
	if got := strings.Join(r.Flags, " "); got != "--max-request-body=0 --max-request-header=32768 --access-log-format=squid" {
		t.Error(got)
	}
}
