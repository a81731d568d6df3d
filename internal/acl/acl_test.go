package acl

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// line reads an ACL as Squid writes it.
func line(t *testing.T, s string) ir.ACL {
	t.Helper()
	w := strings.Fields(s)
	if len(w) < 2 {
		t.Fatalf("%q is no acl line", s)
	}
	return ir.ACL{Name: w[0], Type: w[1], Values: w[2:]}
}

func TestTypes(t *testing.T) {
	monday := time.Date(2024, 1, 1, 10, 30, 0, 0, time.UTC)
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "alice", Organization: []string{"Example"}}, Raw: []byte("x")}
	der := pkix.Name{CommonName: "alice", Organization: []string{"Example"}}.ToRDNSequence()
	cert.Subject.FillFromRDNSequence(&der)
	header := func(fields map[string]string) func(string) (string, bool) {
		return func(n string) (string, bool) { v, ok := fields[n]; return v, ok }
	}
	for _, c := range []struct {
		acl   string
		facts Facts
		want  bool
	}{
		{"a src 10.0.0.0/8", Facts{Client: at("10.1.2.3:1")}, true},
		{"a src 10.0.0.0/255.0.0.0", Facts{Client: at("10.1.2.3:1")}, true},
		{"a src 10.0.0.0/8", Facts{Client: at("11.1.2.3:1")}, false},
		{"a src 0.0.0.1-0.255.255.255", Facts{Client: at("0.9.9.9:1")}, true},
		{"a src 0.0.0.1-0.255.255.255", Facts{Client: at("0.0.0.0:1")}, false},
		{"a src 10.0.0.0-10.2.0.0/16", Facts{Client: at("10.2.255.255:1")}, true},
		{"a src 10.0.0.5 10.0.0.1-10.0.0.3 10.0.0.2-10.0.0.4", Facts{Client: at("10.0.0.4:1")}, true},
		{"a src 10.0.0.5 10.0.0.1-10.0.0.3", Facts{Client: at("10.0.0.4:1")}, false},
		{"a src fc00::/7", Facts{Client: at("[fd00::1]:1")}, true},
		{"a src all", Facts{Client: at("[::ffff:1.2.3.4]:1")}, true},
		{"a src ipv6", Facts{Client: at("1.2.3.4:1")}, false},
		{"a src host.test", Facts{Client: at("10.0.0.9:1"), Lookup: func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("10.0.0.9")} }}, true},
		{"a dst 192.0.2.0/24", Facts{Host: "192.0.2.1"}, true},
		{"a dst 192.0.2.0/24", Facts{Host: "x.test", Lookup: func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.9")} }}, true},
		{"a dst -n 192.0.2.0/24", Facts{Host: "x.test", Lookup: func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.9")} }}, false},
		{"a dst all", Facts{Host: "unknown.test"}, true},
		{"a url_regex ^http://x.test/.*secret", Facts{URL: "http://x.test/%0Asecret"}, true},
		{"a urlpath_regex -i ^/a.b$", Facts{Path: "/A%0ab"}, true},
		{"a localip 127.0.0.1", Facts{Local: at("127.0.0.1:3128")}, true},
		{"a localport 3128", Facts{Local: at("127.0.0.1:3128")}, true},
		{"a myportname proxy", Facts{Listener: "proxy"}, true},
		{"a port 80 1025-65535", Facts{Port: 8080}, true},
		{"a port 80 1025-65535", Facts{Port: 443}, false},
		{"a method GET head", Facts{Method: "HEAD"}, true},
		{"a method GET", Facts{Method: "POST"}, false},
		{"a proto HTTPS", Facts{Scheme: "https"}, true},
		{"a dstdomain .example.com", Facts{Host: "example.com"}, true},
		{"a dstdomain .example.com", Facts{Host: "a.b.example.com"}, true},
		{"a dstdomain .example.com", Facts{Host: "badexample.com"}, false},
		{"a dstdomain example.com", Facts{Host: "www.example.com"}, false},
		{"a dstdomain EXAMPLE.com", Facts{Host: "example.com"}, true},
		{"a dstdomain 192.0.2.1", Facts{Host: "192.0.2.1"}, true},
		{"a dstdom_regex -i ^WWW", Facts{Host: "www.example.com"}, true},
		{"a dstdom_regex ^WWW", Facts{Host: "www.example.com"}, false},
		{"a url_regex -i /cgi-bin/|\\?", Facts{URL: "http://x/CGI-BIN/a"}, true},
		{"a url_regex ^ftp: -i ^GOPHER:", Facts{URL: "gopher://x"}, true},
		{"a url_regex a b", Facts{URL: "http://x/%62"}, true},
		{"a urlpath_regex \\.zip$", Facts{Path: "/x.zip"}, true},
		{"a urlpath_regex .", Facts{URL: "x:443"}, false},
		{"a ssl::server_name .example.com", Facts{Step: 2, ClientName: "www.example.com", Host: "192.0.2.1"}, true},
		{"a ssl::server_name .example.com", Facts{Step: 1, Host: "www.example.com"}, true},
		{"a ssl::server_name .example.com", Facts{ClientName: "www.example.com", ServerName: []string{"other.test"}}, false},
		{"a ssl::server_name --client-requested .example.com", Facts{ClientName: "www.example.com", ServerName: []string{"other.test"}}, true},
		{"a ssl::server_name --server-provided .example.com", Facts{ClientName: "www.example.com"}, false},
		{"a ssl::server_name --server-provided .example.com", Facts{ServerName: []string{"*.example.com"}}, true},
		{"a ssl::server_name --consensus .example.com", Facts{ClientName: "www.example.com", ServerName: []string{"*.example.com"}}, true},
		{"a ssl::server_name --consensus .example.com", Facts{ClientName: "www.example.com", ServerName: []string{"other.test"}}, false},
		{"a ssl::server_name none", Facts{}, true},
		{"a ssl::server_name_regex ^ads\\.", Facts{ClientName: "ads.test"}, true},
		{"a at_step SslBump2 SslBump3", Facts{Step: 2}, true},
		{"a at_step SslBump1", Facts{Step: 2}, false},
		{"a ssl_error ssl::certHasExpired", Facts{Errors: []string{"X509_V_ERR_CERT_HAS_EXPIRED"}}, true},
		{"a ssl_error X509_V_ERR_CERT_REVOKED", Facts{Errors: []string{"X509_V_ERR_CERT_HAS_EXPIRED"}}, false},
		{"a server_cert_fingerprint 11:F6:AD:8E:C5:2A:29:84:AB:AA:FD:7C:3B:51:65:03:78:5C:20:72", Facts{Chain: []*x509.Certificate{cert}}, true},
		{"a server_cert_fingerprint 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", Facts{Chain: []*x509.Certificate{cert}}, true},
		{"a user_cert CN bob alice", Facts{ClientCert: cert}, true},
		{"a user_cert O Other", Facts{ClientCert: cert}, false},
		{"a user_cert 2.5.4.10 Example", Facts{ClientCert: cert}, true},
		{"a ca_cert CN alice", Facts{ClientCert: cert}, false},
		{"a proxy_auth REQUIRED", Facts{Authenticated: true, User: "x"}, true},
		{"a proxy_auth alice", Facts{Authenticated: true, User: "bob"}, false},
		{"a proxy_auth -i Alice", Facts{Authenticated: true, User: "ALICE"}, true},
		{"a proxy_auth_regex ^ali", Facts{Authenticated: true, User: "alice"}, true},
		{"a proxy_auth REQUIRED", Facts{}, false},
		{"a time MTWHF 09:00-17:00", Facts{Now: monday}, true},
		{"a time A", Facts{Now: monday}, false},
		{"a time D 10:30-10:31", Facts{Now: monday}, true},
		{"a time 11:00-12:00", Facts{Now: monday}, false},
		{"a maxconn 2", Facts{Connections: 3}, true},
		{"a maxconn 2", Facts{Connections: 2}, false},
		{"a browser ^curl/", Facts{Header: header(map[string]string{"User-Agent": "curl/8"})}, true},
		{"a req_header X-Team -i RED", Facts{Header: header(map[string]string{"X-Team": "red"})}, true},
		{"a rep_mime_type ^video/", Facts{Reply: header(map[string]string{"Content-Type": "video/mp4"})}, true},
		{"a rep_mime_type ^video/", Facts{}, false},
		{"a http_status 404 500-599", Facts{Status: 503}, true},
		{"a connections_encrypted", Facts{Encrypted: true}, true},
		{"manager src none.test", Facts{}, false},
	} {
		a := line(t, c.acl)
		s, err := Compile([]ir.ACL{a})
		if err != nil {
			t.Errorf("%s: %v", c.acl, err)
			continue
		}
		if got := s.Match([]string{a.Name}, &c.facts); got != c.want {
			t.Errorf("%s: %v, want %v", c.acl, got, c.want)
		}
		if got := s.Match([]string{"!" + a.Name}, &c.facts); got == c.want {
			t.Errorf("!%s: %v", c.acl, got)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string // of the first; "": none
		fatal bool
	}{
		{[]string{"a src 10.0.0.0/8"}, "", false},
		{[]string{"a sorce 10.0.0.0/8"}, `there is no ACL type "sorce"`, true},
		{[]string{"a src 10.0.0.1/8"}, "cuts off a part", false},
		{[]string{"a src 10.0.0.9-10.0.0.1"}, "before its beginning", true},
		{[]string{"a src 10.0.0.0/255.0.255.0"}, "without gaps", true},
		{[]string{"a src 10.0.0.1-fc00::"}, "different families", true},
		{[]string{"a port 70000"}, "is no port", true},
		{[]string{"a dstdomain *.example.com"}, "no wildcards", false},
		{[]string{"a dstdomain https://example.com/"}, "no name of a domain", true},
		{[]string{"a url_regex ("}, "missing closing )", true},
		{[]string{`a url_regex (?i)x`}, "Perl's syntax", true},
		{[]string{`a url_regex (a)\1`}, "refers back", true},
		{[]string{`a url_regex \d+`}, "letter d", false},
		{[]string{"a url_regex *"}, "missing argument", true},
		{[]string{"a src"}, "no value", true},
		{[]string{"a dstdomain -i x.test"}, "no option -i", true},
		{[]string{"a src 10.0.0.1", "a port 80"}, "of type src and of type port", true},
		{[]string{"a any-of b"}, `names the ACL "b"`, true},
		{[]string{"a any-of b", "b all-of !a"}, "contains itself", true},
		{[]string{"a at_step SslBump4"}, "is no step", true},
		{[]string{"a time 17:00-09:00"}, "does not end after it begins", true},
		{[]string{"a time X"}, "is no day", true},
		{[]string{"a ssl_error expired"}, "no error of certificates", true},
		{[]string{"a ssl_error X509_V_ERR_OUT_OF_MEM"}, "never yields", false},
		{[]string{"a user_cert CN"}, "an attribute and a value", true},
		{[]string{"CONNECT method CONNECT"}, "", false},
		{[]string{"manager proto cache_object"}, "", false},
	} {
		var list []ir.ACL
		for _, l := range c.lines {
			list = append(list, line(t, l))
		}
		problems := Verify(list)
		if c.want == "" {
			if len(problems) > 0 {
				t.Errorf("%q: %v", c.lines, problems)
			}
			continue
		}
		if len(problems) == 0 || !strings.Contains(problems[0].Message, c.want) || problems[0].Fatal != c.fatal || problems[0].Fix == "" {
			t.Errorf("%q: %+v", c.lines, problems)
		}
	}
	unknown := VerifyRules([]ir.ACL{{Name: "Safe_ports", Type: "port"}}, []ir.ForwardRule{{ACLs: []string{"!safe_ports", "all", "gone", "gone"}}})
	if len(unknown) != 2 || unknown[0].Fix != "write Safe_ports: names are case-sensitive" {
		t.Errorf("%+v", unknown)
	}
}

func TestRules(t *testing.T) {
	list := []ir.ACL{line(t, "SSL_ports port 443"), line(t, "Safe_ports port 80"), line(t, "Safe_ports port 443"), line(t, "lan src 10.0.0.0/8"),
		line(t, "users proxy_auth REQUIRED"), line(t, "boss proxy_auth boss"), line(t, "either any-of lan localhost")}
	set, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	seed := []string{"deny !Safe_ports", "deny CONNECT !SSL_ports", "allow either", "deny all"}
	for _, c := range []struct {
		rules  []string
		facts  Facts
		banned []string
		want   string
	}{
		{seed, Facts{Client: at("10.0.0.1:1"), Method: "GET", Port: 80}, nil, "allow 2 false"},
		{seed, Facts{Client: at("127.0.0.1:1"), Method: "GET", Port: 80}, nil, "allow 2 false"},
		{seed, Facts{Client: at("10.0.0.1:1"), Method: "GET", Port: 25}, nil, "deny 0 false"},
		{seed, Facts{Client: at("10.0.0.1:1"), Method: "CONNECT", Port: 80}, nil, "deny 1 false"},
		{seed, Facts{Client: at("192.0.2.1:1"), Method: "GET", Port: 80}, nil, "deny 3 false"},
		{[]string{"allow lan"}, Facts{Client: at("192.0.2.1:1")}, nil, "deny -1 false"},
		{[]string{"deny lan"}, Facts{Client: at("192.0.2.1:1")}, nil, "allow -1 false"},
		{[]string{"allow users", "deny all"}, Facts{CanAuthenticate: true}, nil, "deny 0 true"},
		{[]string{"deny !users", "allow all"}, Facts{CanAuthenticate: true}, nil, "deny 0 true"},
		{[]string{"deny !users", "allow all"}, Facts{}, nil, "deny 0 false"},
		{[]string{"allow users", "deny all"}, Facts{}, nil, "deny 1 false"},
		{[]string{"allow boss", "deny users"}, Facts{CanAuthenticate: true, Authenticated: true, User: "x"}, nil, "deny 1 true"},
		{[]string{"allow boss", "deny all"}, Facts{CanAuthenticate: true, Authenticated: true, User: "x"}, nil, "deny 1 false"},
		{[]string{"allow lan users", "deny all"}, Facts{CanAuthenticate: true, Client: at("192.0.2.1:1")}, nil, "deny 1 false"},
		{[]string{"peek all", "bump all"}, Facts{}, []string{"peek"}, "bump 1 false"},
		{[]string{"bump lan"}, Facts{}, nil, " -1 false"},
	} {
		var rules []ir.ForwardRule
		for _, r := range c.rules {
			w := strings.Fields(r)
			rules = append(rules, ir.ForwardRule{Action: w[0], ACLs: w[1:]})
		}
		r, err := set.Rules("access", rules)
		if err != nil {
			t.Fatal(err)
		}
		d := r.Decide(&c.facts, c.banned...)
		if got := fmt.Sprintf("%s %d %v", d.Action, d.Index, d.Authenticate); got != c.want {
			t.Errorf("%v %+v: %s, want %s", c.rules, c.facts, got, c.want)
		}
		if d.Index >= 0 && d.Text != fmt.Sprintf("access rule %d (%s)", d.Index+1, c.rules[d.Index]) {
			t.Errorf("text %q", d.Text)
		}
	}
	if _, err := set.Rules("access", []ir.ForwardRule{{Action: "allow", ACLs: []string{"gone"}}}); err == nil {
		t.Error("a rule about nothing was accepted")
	}
}

func TestTranslate(t *testing.T) {
	for _, c := range [][2]string{
		{`^http://`, `^http://`}, {`[\.]`, `[\\.]`}, {`[]a]`, `[\]a]`}, {`[^]a]`, `[^\]a]`}, {`[[:alpha:]]+`, `[[:alpha:]]+`},
		{`\<a\>`, `\ba\b`}, {`a\.b`, `a\.b`}, {`a\/b`, `a/b`}, {`a{2,3}`, `a{2,3}`}, {`a*?`, `a*`}, {`a+?`, `a*`}, {`a**`, `a*`}, {`a\*?`, `a\*?`}, {`\w\-`, `\w-`},
	} {
		got, _, err := Translate(c[0])
		if err != nil || got != c[1] {
			t.Errorf("%s: %s, %v; want %s", c[0], got, err, c[1])
		}
	}
}

func FuzzTranslate(f *testing.F) {
	for _, s := range []string{`(/cgi-bin/|\?)`, `[]-a\]+`, `\`, `a**+?`, `[[:x:]]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		Verify([]ir.ACL{{Name: "a", Type: "url_regex", Values: []string{s}}}) // must not panic, and what it accepts compiles
		if _, err := Compile([]ir.ACL{{Name: "a", Type: "dstdomain", Values: []string{s}}}); err == nil && s == "" {
			t.Error("an empty name was accepted")
		}
	})
}

func BenchmarkDomains(b *testing.B) {
	var values []string
	for i := range 1000 {
		values = append(values, fmt.Sprintf(".domain%d.example", i))
	}
	set, err := Compile([]ir.ACL{{Name: "bad", Type: "dstdomain", Values: values}})
	if err != nil {
		b.Fatal(err)
	}
	rules, err := set.Rules("access", []ir.ForwardRule{{Action: "deny", ACLs: []string{"bad"}}, {Action: "allow", ACLs: []string{"all"}}})
	if err != nil {
		b.Fatal(err)
	}
	f := &Facts{Client: at("10.0.0.1:1"), Host: "www.a.b.other.example", Port: 443}
	b.ReportAllocs()
	for b.Loop() {
		if d := rules.Decide(f); d.Action != "allow" {
			b.Fatal(d)
		}
	}
}

// TestManyPatterns has lists that come in lines of one pattern each, as files are imported: they are one ACL, and bounded
// together.
func TestManyPatterns(t *testing.T) {
	var list []ir.ACL
	for i := range 3000 {
		list = append(list, ir.ACL{Name: "list", Type: "url_regex", Values: []string{fmt.Sprintf("^http://host%d/", i)}})
	}
	set, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]bool{"http://host0/": true, "http://host2999/x": true, "http://host3000/": false} {
		if got := set.Match([]string{"list"}, &Facts{URL: url}); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
	long := strings.Repeat("a", maxProgram/100)
	list = nil
	for range 101 {
		list = append(list, ir.ACL{Name: "list", Type: "url_regex", Values: []string{long}})
	}
	if _, err := Compile(list); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("what is too long in many lines is taken: %v", err)
	}
}
