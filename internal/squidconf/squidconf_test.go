package squidconf

import (
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/golden"
)

// files is a small file system.
func files(m map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if text, ok := m[path]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
}

func document(t *testing.T) *Result {
	t.Helper()
	text, err := os.ReadFile("../../test/squid/squid.conf")
	if err != nil {
		t.Fatal(err)
	}
	cert, key := golden.Certificate("ca")
	r, err := Import("/etc/squid/squid.conf", Options{Open: files(map[string]string{"/etc/squid/squid.conf": string(text), "/etc/squid/bump.crt": string(cert), "/etc/squid/bump.key": string(key)})})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every line of the document's configuration is accounted for, and the dangerous ones are named.
func TestDocument(t *testing.T) {
	r := document(t)
	if len(r.Lines) < 35 {
		t.Fatalf("%d lines", len(r.Lines))
	}
	for _, l := range r.Lines {
		want := Honoured
		switch {
		case strings.HasPrefix(l.Text, "sslproxy_cert_error allow all"), strings.HasPrefix(l.Text, "http_port"):
			want = Dangerous
		case strings.HasPrefix(l.Text, "coredump_dir"), strings.HasPrefix(l.Text, "cache_dir"), strings.HasPrefix(l.Text, "refresh_pattern ^"):
			want = NoEffect
		}
		if l.Outcome != want {
			t.Errorf("line %d %s: %s (%s), want %s", l.Number, l.Text, l.Outcome, l.Note, want)
		}
	}
	b, err := r.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kind: ForwardProxy", "name: bump", "minVersion: \"1.1\"", "memoryBytes: 20971520", "diskBytes: 4194304", "action: Peek", "action: Bump", "port: 8080",
		"- '!SSL_ports'", "- '!Safe_ports'", "0.0.0.1-0.255.255.255", "type: at_step", "max: 4320m", "kind: Secret"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is missing in\n%s", want, b)
		}
	}
	for _, bad := range []string{"status", "creationTimestamp"} {
		if strings.Contains(string(b), bad) {
			t.Errorf("%s is in\n%s", bad, b)
		}
	}
}

// pemOf is a block of PEM.
func pemOf(kind string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("x")}))
}

func convert(t *testing.T, text string, more map[string]string) (*Result, string) {
	t.Helper()
	all := map[string]string{"squid.conf": text}
	for name, content := range more {
		all[name] = content
	}
	r, err := Import("squid.conf", Options{Open: files(all)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

func TestLines(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		files   map[string]string
		outcome []Outcome
		has     []string
		hasNot  []string
	}{
		"no rules deny all":         {text: "http_port 3128", outcome: []Outcome{Honoured}, has: []string{"action: Deny", "- all"}},
		"continuation":              {text: "acl a dstdomain .a.test \\\n  .b.test\nhttp_access allow a", outcome: []Outcome{Honoured, Honoured}, has: []string{".b.test"}},
		"values of a file":          {text: `acl a dstdomain "list"`, files: map[string]string{"list": "# names\n.a.test\n.b.test # more\n"}, outcome: []Outcome{Honoured}, has: []string{".a.test", ".b.test"}, hasNot: []string{"more"}},
		"missing file closes":       {text: "acl a dstdomain \"gone\"\nhttp_access deny a\nhttp_access allow !a", outcome: []Outcome{Refused, Refused, Refused}, has: []string{"- action: Deny\n"}, hasNot: []string{"action: Allow"}},
		"helper closes":             {text: "external_acl_type t %LOGIN /bin/x\nacl a external t\nhttp_access allow a\nhttp_access deny all", outcome: []Outcome{Refused, Refused, Refused, Honoured}, hasNot: []string{"action: Allow"}},
		"icap":                      {text: "icap_enable on", outcome: []Outcome{Refused}},
		"unknown":                   {text: "http_acces allow all", outcome: []Outcome{Refused}},
		"parent":                    {text: "cache_peer proxy.corp parent 3128 0 no-query default login=ada:s3%20cret name=corp\nnever_direct allow all", outcome: []Outcome{Honoured, Honoured}, has: []string{"kind: UpstreamProxy", "http://proxy.corp:3128", "username: ada", "password: s3 cret", "credentialsRef"}},
		"parent over TLS":           {text: "cache_peer p parent 443 0 tls tls-cafile=/ca.pem", files: map[string]string{"/ca.pem": pemOf("CERTIFICATE")}, outcome: []Outcome{Honoured}, has: []string{"https://p:443", "caRef"}},
		"password passed on":        {text: "cache_peer p parent 443 0 login=PASSTHRU", outcome: []Outcome{Refused}},
		"peer rules":                {text: "acl a dstdomain .a\ncache_peer p parent 1 0\ncache_peer_access p allow a\ncache_peer_access p deny all", outcome: []Outcome{Honoured, Honoured, Honoured, Honoured}, has: []string{"proxyRefs"}},
		"direct with exception":     {text: "acl l dstdomain .l\nalways_direct deny l\nalways_direct allow all", outcome: []Outcome{Honoured, Honoured, Honoured}, has: []string{"- '!l'"}},
		"users":                     {text: "auth_param basic program /usr/lib/squid/basic_ncsa_auth /users\nauth_param basic realm our proxy\nauth_param basic credentialsttl 2 hours\nacl u proxy_auth REQUIRED\nhttp_access allow u", files: map[string]string{"/users": "ada:$2y$05$x"}, outcome: []Outcome{Honoured, Honoured, Honoured, Honoured, Honoured}, has: []string{"htpasswdRef", "realm: our proxy", "ttl: 2h"}},
		"negotiate":                 {text: "auth_param negotiate program /x", outcome: []Outcome{Refused}},
		"no cache":                  {text: "cache deny all", outcome: []Outcome{Honoured}, hasNot: []string{"cache:"}},
		"include":                   {text: "include more.conf\nhttp_port 1", files: map[string]string{"more.conf": "http_port 2"}, outcome: []Outcome{Honoured, Honoured, Honoured}, has: []string{"port: 1", "port: 2"}},
		"include of many":           {text: "include /etc/squid/conf.d/*.conf", outcome: []Outcome{Refused}},
		"condition":                 {text: "if false\nhttp_port 1\nelse\nhttp_port 2\nendif", outcome: []Outcome{NoEffect, NoEffect, NoEffect, Honoured, NoEffect}, has: []string{"port: 2"}, hasNot: []string{"port: 1"}},
		"reverse proxy":             {text: "http_port 80 accel", outcome: []Outcome{Refused}},
		"transparent":               {text: "http_port 3129 intercept", outcome: []Outcome{Honoured}, has: []string{"mode: Transparent", "intercept: false"}},
		"log":                       {text: "access_log daemon:/var/log/squid/access.log squid", outcome: []Outcome{Honoured}},
		"sizes":                     {text: "cache_mem 64 MB\nmaximum_object_size 1 GB", outcome: []Outcome{Honoured, Honoured}, has: []string{"memoryBytes: 67108864", "maxObjectBytes: 1073741824"}},
		"upstream verification off": {text: "tls_outgoing_options flags=DONT_VERIFY_PEER min-version=1.0", outcome: []Outcome{Dangerous}, has: []string{"insecureSkipVerify: true"}},
		"quoted word without end":   {text: `acl a dstdomain "x`, outcome: []Outcome{Refused}},
	} {
		t.Run(name, func(t *testing.T) {
			r, text := convert(t, c.text, c.files)
			var got []Outcome
			for _, l := range r.Lines {
				got = append(got, l.Outcome)
			}
			if !slices.Equal(got, c.outcome) {
				t.Errorf("%v, want %v: %+v", got, c.outcome, r.Lines)
			}
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("%s is missing in\n%s", want, text)
				}
			}
			for _, bad := range c.hasNot {
				if strings.Contains(text, bad) {
					t.Errorf("%s is in\n%s", bad, text)
				}
			}
		})
	}
}

// A password must not be shown with the line it stands in.
func TestPasswordIsNotListed(t *testing.T) {
	r, _ := convert(t, "cache_peer p parent 1 0 login=ada:secret", nil)
	if strings.Contains(r.Lines[0].Text, "secret") {
		t.Error(r.Lines[0].Text)
	}
}

func TestImportFails(t *testing.T) {
	if _, err := Import("gone", Options{Open: files(nil)}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzImport(f *testing.F) {
	f.Add("acl a dstdomain .a\nhttp_access allow a\nssl_bump peek all\nhttp_port 8080 ssl-bump tls-cert=/x options=NO_TLSv1")
	f.Add("refresh_pattern -i (/cgi-bin/|\\?) 0 0% 0\ncache_peer p parent 1 0 login=a:b\nsslproxy_cert_adapt setCommonName{x} ssl::certDomainMismatch")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Import("squid.conf", Options{Open: files(map[string]string{"squid.conf": text})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Manifests(); err != nil {
			t.Fatal(err)
		}
		for _, l := range r.Lines {
			if l.Outcome == "" {
				t.Fatalf("nothing is said of %q", l.Text)
			}
		}
	})
}
