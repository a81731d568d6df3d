package forward

import (
	"crypto/sha1" //nolint:gosec // an identifier in a profile of Apple's
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// trustPath is where every listener hands out the CA.
const trustPath = "/.well-known/hakone/trust"

// defaultTrustHost is the host that does the same where none is configured.
const defaultTrustHost = "hakone.internal"

// trustAsked reports whether a request is for the trust page: for the host of that name, or by path alone.
func (t *Port) trustAsked(r *proxy.ForwardRequest, tunnel *Tunnel) bool {
	req := r.Request
	if m := string(req.Method); m != "GET" && m != "HEAD" {
		return false
	}
	host := t.ir.TrustHost
	if host == "" {
		host = defaultTrustHost
	}
	if string(req.Host) == host && (tunnel == nil || !tunnel.tls || tunnel.fault != nil) {
		return true
	}
	if !strings.HasPrefix(string(req.Path), trustPath) {
		return false
	}
	return t.explicit() && tunnel == nil && req.Absolute == "" || tunnel != nil && !tunnel.explicit && !tunnel.tls
}

// trustPage answers with the CA, in the form that the path's end or the query names, or with the page about it.
func (t *Port) trustPage(r *proxy.ForwardRequest) *filter.Response {
	r.Access.Result, r.Access.Hierarchy = "NONE_NONE", "HIER_NONE"
	if t.pair == nil {
		return &filter.Response{Status: 404, Type: "text/plain; charset=utf-8", Body: []byte("This proxy looks into no TLS: there is no CA to trust.\n")}
	}
	ca := t.pair.Anchor()
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	form := strings.TrimPrefix(strings.TrimPrefix(string(r.Request.Path), trustPath), "/")
	file := func(kind, name string, body []byte) *filter.Response {
		return &filter.Response{Status: 200, Type: kind, Body: body, Fields: []ir.NameValue{
			{Name: "Content-Disposition", Value: `attachment; filename="` + name + `"`}, {Name: "Cache-Control", Value: "no-store"}, {Name: "X-Content-Type-Options", Value: "nosniff"}}}
	}
	switch form {
	case "ca.pem", "ca.crt":
		return file("application/x-pem-file", form, []byte(text))
	case "ca.der", "ca.cer":
		return file("application/x-x509-ca-cert", form, ca.Raw)
	case "ca.mobileconfig":
		return file("application/x-apple-aspen-config", form, t.mobileconfig())
	case "":
	default:
		return &filter.Response{Status: 404, Type: "text/plain; charset=utf-8",
			Body: []byte("There are ca.pem, ca.der and ca.mobileconfig here.\n")}
	}
	accept, _ := r.Request.Fields.Get(message.Accept)
	base := t.trustBase(r)
	if strings.Contains(string(accept), "text/html") {
		return &filter.Response{Status: 200, Type: "text/html; charset=utf-8", Body: []byte(t.trustHTML(base)), Fields: []ir.NameValue{{Name: "Cache-Control", Value: "no-store"}}}
	}
	return &filter.Response{Status: 200, Type: "text/plain; charset=utf-8", Body: []byte(t.trustText(base)), Fields: []ir.NameValue{{Name: "Cache-Control", Value: "no-store"}}}
}

// trustBase is the URL that commands fetch the CA from: as the client has asked.
func (t *Port) trustBase(r *proxy.ForwardRequest) string {
	return "http://" + string(r.Request.Authority) + trustPath
}

// fingerprint is SHA-256 over the CA, as people compare it.
func (t *Port) fingerprint() string {
	sum := sha256.Sum256(t.pair.Anchor().Raw)
	text := strings.ToUpper(hex.EncodeToString(sum[:]))
	var parts []string
	for i := 0; i < len(text); i += 2 {
		parts = append(parts, text[i:i+2])
	}
	return strings.Join(parts, ":")
}

// recipe is how one system is told to trust the CA.
type recipe struct{ system, commands string }

// recipes are the commands of systems and runtimes; the CA is fetched once, into hakone-ca.crt.
func (t *Port) recipes(base string) []recipe {
	fetch := "curl -fsSo hakone-ca.crt " + base + "/ca.pem"
	return []recipe{
		{"Fetch it, and compare the fingerprint", fetch + "\nopenssl x509 -in hakone-ca.crt -noout -fingerprint -sha256"},
		{"Debian, Ubuntu", "cp hakone-ca.crt /usr/local/share/ca-certificates/hakone-ca.crt\nupdate-ca-certificates"},
		{"RHEL, Fedora, CentOS", "cp hakone-ca.crt /etc/pki/ca-trust/source/anchors/\nupdate-ca-trust"},
		{"Alpine", "cp hakone-ca.crt /usr/local/share/ca-certificates/\nupdate-ca-certificates"},
		{"macOS", "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain hakone-ca.crt"},
		{"Windows (as administrator)", "certutil -addstore -f Root hakone-ca.crt"},
		{"Firefox and NSS", "certutil -A -d sql:$HOME/.pki/nssdb -n hakone -t C,, -i hakone-ca.crt\n# Firefox by itself: policy Certificates.ImportEnterpriseRoots, or Settings > Certificates > Import"},
		{"Java", "keytool -importcert -noprompt -cacerts -storepass changeit -alias hakone -file hakone-ca.crt"},
		{"Python, requests", "export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\nexport REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt   # with the CA in the system's bundle, as above"},
		{"Node.js", "export NODE_EXTRA_CA_CERTS=$PWD/hakone-ca.crt"},
		{"Go", "export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt   # with the CA in the system's bundle, as above"},
		{"curl, git", "export CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt GIT_SSL_CAINFO=/etc/ssl/certs/ca-certificates.crt"},
		{"Docker (image)", "COPY hakone-ca.crt /usr/local/share/ca-certificates/\nRUN update-ca-certificates"},
		{"Kubernetes", "kubectl create configmap hakone-ca --from-file=ca.crt=hakone-ca.crt\n# mount it, and set SSL_CERT_FILE or NODE_EXTRA_CA_CERTS to the file"},
	}
}

// trustText is the page for terminals.
func (t *Port) trustText(base string) string {
	ca := t.pair.Anchor()
	var out strings.Builder
	_, _ = fmt.Fprintf(&out, "The proxy %s looks into TLS. What it shows is signed by\n\n  %s\n  valid until %s\n  SHA-256 %s\n\n  %s/ca.pem\n  %s/ca.der\n  %s/ca.mobileconfig\n",
		t.ir.Hostname, secret.Subject(ca), ca.NotAfter.UTC().Format(time.RFC3339), t.fingerprint(), base, base, base)
	for _, r := range t.recipes(base) {
		out.WriteString("\n# " + r.system + "\n" + r.commands + "\n")
	}
	if t.ir.Contact != "" {
		out.WriteString("\nContact: " + t.ir.Contact + "\n")
	}
	return out.String()
}

// trustHTML is the page for browsers.
func (t *Port) trustHTML(base string) string {
	ca := t.pair.Anchor()
	var out strings.Builder
	esc := html.EscapeString
	out.WriteString("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Trust " + esc(t.ir.Hostname) + "</title>\n" +
		"<style>body{font:16px/1.5 system-ui,sans-serif;max-width:48em;margin:3em auto;padding:0 1em}pre{background:#f3f3f3;padding:.6em;overflow:auto}code{overflow-wrap:anywhere}</style>\n")
	_, _ = fmt.Fprintf(&out, "<h1>The CA of %s</h1>\n<p>This proxy looks into TLS. What it shows is signed by <strong>%s</strong>, valid until %s.</p>\n<p>SHA-256 <code>%s</code></p>\n",
		esc(t.ir.Hostname), esc(secret.Subject(ca)), ca.NotAfter.UTC().Format(time.RFC3339), t.fingerprint())
	_, _ = fmt.Fprintf(&out, "<p><a href=\"%s/ca.pem\">PEM</a> · <a href=\"%s/ca.der\">DER</a> · <a href=\"%s/ca.mobileconfig\">Apple profile</a></p>\n", trustPath, trustPath, trustPath)
	for _, r := range t.recipes(base) {
		out.WriteString("<h2>" + esc(r.system) + "</h2>\n<pre>" + esc(r.commands) + "</pre>\n")
	}
	if t.ir.Contact != "" {
		out.WriteString("<p>" + esc(t.ir.Contact) + "</p>\n")
	}
	out.WriteString("</html>\n")
	return out.String()
}

// mobileconfig is the CA as a configuration profile of Apple's.
func (t *Port) mobileconfig() []byte {
	sum := sha1.Sum(t.pair.Anchor().Raw) //nolint:gosec // an identifier
	id := strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
	name := html.EscapeString(secret.Subject(t.pair.Anchor()))
	return []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>PayloadContent</key><array><dict>
<key>PayloadCertificateFileName</key><string>hakone-ca.cer</string>
<key>PayloadContent</key><data>` + base64.StdEncoding.EncodeToString(t.pair.Anchor().Raw) + `</data>
<key>PayloadDisplayName</key><string>` + name + `</string>
<key>PayloadIdentifier</key><string>hakone.ca.` + id + `</string>
<key>PayloadType</key><string>com.apple.security.root</string>
<key>PayloadUUID</key><string>` + id + `</string>
<key>PayloadVersion</key><integer>1</integer>
</dict></array>
<key>PayloadDisplayName</key><string>` + name + `</string>
<key>PayloadIdentifier</key><string>hakone.trust.` + id + `</string>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadUUID</key><string>` + id[:35] + "0" + `</string>
<key>PayloadVersion</key><integer>1</integer>
</dict></plist>
`)
}
