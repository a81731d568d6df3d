package squidconf

import (
	"strings"
	"testing"
)

// Certificates and keys go into one Secret each, also from one file; what cannot be read is told, and no half of a
// Secret is written.
func TestKeyPairs(t *testing.T) {
	both := pemOf("CERTIFICATE") + "some text\n" + pemOf("EC PRIVATE KEY") + pemOf("DH PARAMETERS")
	for name, c := range map[string]struct {
		text  string
		files map[string]string
		note  string // "": honoured
		has   []string
		not   []string
	}{
		"one file":     {"http_port 1 ssl-bump cert=/ca.pem", map[string]string{"/ca.pem": both}, "", []string{"tls.crt: |\n    -----BEGIN CERTIFICATE", "tls.key: |\n    -----BEGIN EC PRIVATE KEY", "type: kubernetes.io/tls"}, []string{"DH PARAMETERS", "some text"}},
		"same twice":   {"http_port 1 ssl-bump cert=/ca.pem\nhttp_port 2 ssl-bump cert=/ca.pem", map[string]string{"/ca.pem": both}, "", []string{"caRef:\n      name: ca\n"}, []string{"ca-2"}},
		"same name":    {"https_port 1 cert=/a/x.pem\nhttps_port 2 cert=/b/x.pem", map[string]string{"/a/x.pem": both, "/b/x.pem": both}, "", []string{"name: x\n", "name: x-2\n"}, nil},
		"no key":       {"http_port 1 ssl-bump cert=/ca.pem", map[string]string{"/ca.pem": pemOf("CERTIFICATE")}, "holds no PRIVATE KEY", nil, []string{"kind: Secret"}},
		"unreadable":   {"http_port 1 ssl-bump cert=/ca.pem key=/gone", map[string]string{"/ca.pem": both}, "/gone cannot be read", nil, []string{"kind: Secret"}},
		"encrypted":    {"http_port 1 ssl-bump cert=/ca.pem key=/key", map[string]string{"/ca.pem": both, "/key": pemOf("ENCRYPTED PRIVATE KEY")}, "is encrypted", nil, []string{"kind: Secret"}},
		"relative":     {"http_port 1 ssl-bump cert=sub/ca.pem", map[string]string{"sub/ca.pem": both}, "", []string{"kind: Secret"}, nil},
		"left out":     {"http_port 1 ssl-bump", nil, "the port is left out", []string{"listeners: null"}, nil},
		"reverse":      {"http_port 80 accel vhost", nil, "the port is left out", []string{"listeners: null"}, nil},
		"with a CRL":   {"https_port 1 cert=/ca.pem tls-flags=VERIFY_CRL", map[string]string{"/ca.pem": both}, "the port is left out", []string{"listeners: null"}, nil},
		"no host name": {"visible_hostname my_host", nil, "is no host name", nil, []string{"visibleHostname"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, text := convert(t, c.text, c.files)
			if l := r.Lines[0]; (l.Outcome == Refused) != (c.note != "") || !strings.Contains(l.Note, c.note) {
				t.Errorf("%+v", l)
			}
			for _, want := range c.has {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing in\n%s", want, text)
				}
			}
			for _, bad := range c.not {
				if strings.Contains(text, bad) {
					t.Errorf("%q is in\n%s", bad, text)
				}
			}
		})
	}
}

func TestLogFormats(t *testing.T) {
	for spec, want := range map[string]string{
		`%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt %{Referer}>h`:                  "squid",
		`%>a %[ui %[un [%tl] "%rm %ru HTTP/%rv" %>Hs %<st %Ss:%Sh`:                                  "common",
		`%>a %[ui %[un [%tl] "%rm %ru HTTP/%rv" %>Hs %<st "%{Referer}>h" "%{User-Agent}>h" %Ss:%Sh`: "combined",
		`%>a %rm`: "json",
	} {
		r, _ := convert(t, "logformat mine "+spec+"\naccess_log stdio:/x mine", nil)
		if got := strings.Join(r.Flags, " "); got != "--access-log=/x --access-log-format="+want {
			t.Errorf("%s: %s, want %s", spec, got, want)
		}
	}
}
