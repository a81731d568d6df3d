//go:build e2e

package interop

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestPostureTestssl asks testssl.sh for protocols, preferences, forward secrecy and vulnerabilities.
func TestPostureTestssl(t *testing.T) {
	t.Parallel()
	s := newSite(t, "localhost", testca.Spec{IPs: []string{"127.0.0.1"}})
	g := s.start(t, plainBackend(t, "http"), false)
	file := filepath.Join(gateway.Folder(t), "testssl.json")
	r := program.Run(t, program.Command{Path: program.Find(t, "testssl"), Limit: 3 * time.Minute, Args: []string{"--fast", "-p", "-s", "-f", "-U", "--ip", "127.0.0.1",
		"--warnings", "off", "--color", "0", "--quiet", "--connect-timeout", "5", "--openssl-timeout", "5", "--jsonfile", file, "localhost:" + strconv.Itoa(g.Port(443))},
		Env: []string{"OPENSSL_CONF=/dev/null"}})
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("testssl wrote no findings, exit %d: %v\n%s", r.Code, err, program.Tail(r.Out, 3000))
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(b, &findings); err != nil {
		t.Fatalf("testssl's findings: %v\n%s", err, program.Tail(string(b), 2000))
	}
	want := map[string]string{"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered", "TLS1_2": "offered", "TLS1_3": "offered with final",
		"ALPN_HTTP2": "h2", "ALPN": "http/1.1", "PFS": "offered", "FS": "offered", "cipherlist_STRONG": "offered", "cipherlist_AVERAGE": "not offered", "cipherlist_LOW": "not offered",
		"cipherlist_3DES_IDEA": "not offered", "cipherlist_NULL": "not offered", "cipherlist_EXPORT": "not offered"}
	checked, bad := 0, 0
	for _, f := range findings {
		switch f.Severity {
		case "OK", "INFO", "LOW":
		case "WARN":
			t.Logf("testssl warns: %s: %s", f.ID, f.Finding)
		default: // MEDIUM, HIGH, CRITICAL, and FATAL where testssl itself fails
			bad++
			t.Errorf("testssl: %s is %s: %s", f.ID, f.Severity, f.Finding)
		}
		if text, ok := want[f.ID]; ok {
			checked++
			if !strings.HasPrefix(f.Finding, text) {
				t.Errorf("testssl: %s: %q, want %q", f.ID, f.Finding, text)
			}
		}
	}
	t.Logf("testssl: %d findings, %d of them ≥ MEDIUM, %d compared, in %.1f s", len(findings), bad, checked, r.Took.Seconds())
	if len(findings) < 40 || checked < 13 {
		t.Errorf("testssl found only %d things, %d of those that are compared", len(findings), checked)
		for _, f := range findings {
			t.Logf("%s %s %s", f.ID, f.Severity, f.Finding)
		}
	}
}

// TestPostureSslscan reads every suite and protocol that sslscan gets.
func TestPostureSslscan(t *testing.T) {
	t.Parallel()
	s := newSite(t, "localhost", testca.Spec{IPs: []string{"127.0.0.1"}})
	g := s.start(t, plainBackend(t, "http"), false)
	r := program.Run(t, program.Command{Path: program.Find(t, "sslscan"), Args: []string{"--xml=-", "--sni-name=localhost", g.Addr(443)}, Limit: 90 * time.Second})
	var doc struct {
		Test struct {
			Protocols []struct {
				Type    string `xml:"type,attr"`
				Version string `xml:"version,attr"`
				Enabled string `xml:"enabled,attr"`
			} `xml:"protocol"`
			Ciphers []struct {
				Version string `xml:"sslversion,attr"`
				Cipher  string `xml:"cipher,attr"`
			} `xml:"cipher"`
			Heartbleed []struct {
				Vulnerable string `xml:"vulnerable,attr"`
			} `xml:"heartbleed"`
		} `xml:"ssltest"`
	}
	if err := xml.Unmarshal([]byte(r.Out), &doc); err != nil {
		t.Fatalf("sslscan's document: %v, exit %d\n%s", err, r.Code, program.Tail(r.Out+r.Err, 2000))
	}
	enabled := []string{}
	for _, p := range doc.Test.Protocols {
		if p.Enabled == "1" {
			enabled = append(enabled, p.Type+p.Version)
		}
	}
	if strings.Join(enabled, " ") != "tls1.2 tls1.3" || len(doc.Test.Protocols) != 6 {
		t.Errorf("protocols enabled: %v of %d asked", enabled, len(doc.Test.Protocols))
	}
	aead := regexp.MustCompile(`^(TLS_(AES|CHACHA20)|ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM|CHACHA20-POLY1305))`)
	for _, c := range doc.Test.Ciphers {
		if !aead.MatchString(c.Cipher) {
			t.Errorf("%s offers %s", c.Version, c.Cipher)
		}
	}
	for _, h := range doc.Test.Heartbleed {
		if h.Vulnerable != "0" {
			t.Error("heartbleed")
		}
	}
	t.Logf("sslscan: %v, %d suites, all ECDHE and AEAD: %v, in %.1f s", enabled, len(doc.Test.Ciphers), !t.Failed(), r.Took.Seconds())
	if len(doc.Test.Ciphers) < 5 {
		t.Errorf("sslscan got %d suites\n%s", len(doc.Test.Ciphers), program.Tail(r.Out, 3000))
	}
}
