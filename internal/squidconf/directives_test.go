package squidconf

import (
	"os"
	"strings"
	"testing"
)

// Every directive that Squid 4, 5 and 6 know is known, and none is in two groups or unknown to Squid.
func TestAllDirectives(t *testing.T) {
	text, err := os.ReadFile("testdata/directives.txt") // the names in Squid's documentation, and older ones that it takes
	if err != nil {
		t.Fatal(err)
	}
	table := directives()
	seen := map[string]bool{"acl": true, "include": true, "configuration_includes_quoted_values": true} // not of the table
	for name := range strings.FieldsSeq(string(text)) {
		if table[name] == nil && !seen[name] {
			t.Errorf("%s is not known", name)
		}
		seen[name] = true
		r, _ := convert(t, name, nil)
		if len(r.Lines) != 1 || r.Lines[0].Outcome == "" {
			t.Errorf("%s without words: %+v", name, r.Lines)
		}
	}
	for name := range table {
		if !seen[name] {
			t.Errorf("%s is in the table, and not among Squid's names", name)
		}
	}
	once := map[string]bool{}
	for _, g := range append(noEffects(), impossible()...) {
		for name := range strings.FieldsSeq(g.names) {
			if once[name] {
				t.Errorf("%s is in two groups", name)
			}
			once[name] = true
		}
	}
}

// What Squid's neighbours and filters did is not silently missing: everything is denied until somebody has looked.
func TestClosing(t *testing.T) {
	for line, shut := range map[string]bool{
		"icap_enable on": true, "icap_enable off": false, "url_rewrite_program /usr/bin/squidGuard": true, "url_rewrite_program none": false, "ecap_enable on": true, "adaptation_access s allow all": false,
		"http_reply_access allow all": false, "http_reply_access deny video": true, "miss_access allow all": false, "miss_access deny all": true, "reply_body_max_size 0": false, "reply_body_max_size -1 KB all": false,
		"reply_body_max_size 10 MB": true, "follow_x_forwarded_for deny all": false, "follow_x_forwarded_for allow localhost": true, "proxy_protocol_access allow all": false, "proxy_protocol_access allow localhost": true,
		"append_domain .corp": true, "include gone.conf": true, "include conf.d/*.conf": true, "http_access": true, "http_access permit all": true, "if maybe\nendif": true, "if true": true,
		"http_acces allow all": false, "tcp_outgoing_address 10.0.0.1": false, "delay_pools 1": false, "sslcrtvalidator_program /x": true, "loadable_modules /x": true,
	} {
		r, text := convert(t, line+"\nhttp_access allow all", nil)
		if (r.Shut != "") != shut {
			t.Errorf("%s: %q\n%s", line, r.Shut, text)
		}
		if shut && (!strings.Contains(text, "  access:\n  - acls:\n    - not-imported\n    action: Deny\n") || !strings.Contains(r.Lines[0].Note, "spec.access[0] denies everything") || r.Lines[len(r.Lines)-1].Note != "spec.access[1]" && !strings.Contains(line, "if")) {
			t.Errorf("%s: %+v\n%s", line, r.Lines, text)
		}
	}
}
