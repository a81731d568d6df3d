package enroll

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// MaxUpload bounds the body of an upload, in bytes.
const MaxUpload = 64 << 10

const uploadFix = `Send {"certificate": "-----BEGIN CERTIFICATE-----\n…\n", "private_key": "-----BEGIN PRIVATE KEY-----\n…\n"}; see hakone origin pull upload --help.`

// ParseUpload reads the body that uploads a client certificate for authenticated origin pull, as the
// APIs of Cloudflare and IBM CIS take it: a JSON object with the strings certificate and private_key, line
// ends as \n or \r\n. A chain may follow the certificate. Findings tell what was repaired. The error is an
// *Error.
func ParseUpload(body []byte) (*secret.KeyPair, []secret.Finding, error) {
	if len(body) > MaxUpload {
		return nil, nil, fail(diag.PullBodyInvalid, uploadFix, "the body is larger than %d KiB", MaxUpload>>10)
	}
	fields := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	err := dec.Decode(&fields)
	switch {
	case err != nil && strings.Contains(err.Error(), `'\n' in string`), err != nil && strings.Contains(err.Error(), `'\r' in string`):
		return nil, nil, fail(diag.PullBodyInvalid, `Replace them: perl -pe 's/\r?\n/\\n/' FILE.`, `the body is no JSON: line ends inside of strings must be written \n`)
	case err != nil:
		return nil, nil, fail(diag.PullBodyInvalid, uploadFix, "the body is no JSON object: %s", jsonWords(err, body))
	case dec.More():
		return nil, nil, fail(diag.PullBodyInvalid, uploadFix, "something follows after the JSON object")
	}
	var text [2]string
	for n, name := range []string{"certificate", "private_key"} {
		v, ok := fields[name].(string)
		switch _, there := fields[name]; {
		case !there:
			return nil, nil, fail(diag.PullBodyInvalid, uploadFix, "the body has no %s%s", name, instead(fields))
		case !ok:
			return nil, nil, fail(diag.PullBodyInvalid, uploadFix, "%s is no string", name)
		case strings.TrimSpace(v) == "":
			return nil, nil, fail(diag.PullBodyInvalid, "Check that the file was there when the body was made.", "%s is empty", name)
		}
		delete(fields, name)
		text[n] = plainText(v)
	}
	for name := range fields {
		return nil, nil, fail(diag.PullBodyInvalid, "Remove it.", "the body has a field %.60q, which means nothing here", name)
	}
	pair, found, err := secret.ParseKeyPair([]byte(text[0]), []byte(text[1]))
	var e *secret.Error
	if errors.As(err, &e) {
		words := strings.NewReplacer("tls.crt", "certificate", "tls.key", "private_key")
		return nil, nil, &Error{Code: e.Code, Message: words.Replace(e.Error()), Fix: words.Replace(e.Fix)}
	}
	return pair, found, err
}

// plainText gives PEM its line ends: CRLF, and the two characters \n where they were escaped twice.
func plainText(s string) string {
	if !strings.Contains(strings.TrimSpace(s), "\n") {
		s = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n").Replace(s)
	}
	return strings.ReplaceAll(s, "\r\n", "\n")
}

// jsonWords says where JSON breaks without quoting it: it may hold a key.
func jsonWords(err error, body []byte) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return "it is empty"
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(body[:min(int(syntax.Offset), len(body))], []byte("\n"))
		return fmt.Sprintf("it breaks off or has a character too many on line %d", line)
	case errors.As(err, &kind):
		return "it is a " + kind.Value
	}
	return "it breaks off"
}

// instead names a field that was probably meant.
func instead(fields map[string]any) string {
	for _, k := range []string{"cert", "key", "privateKey", "private-key", "Certificate", "tls.crt"} {
		if _, ok := fields[k]; ok {
			return " (it has " + strconv.Quote(k) + ")"
		}
	}
	return ""
}

// Scope is what an origin pull setting is for: a zone or a host.
type Scope struct {
	Zone string // "example.com"; or
	Host string // "www.example.com"
}

// Pattern returns the host pattern of the scope: "*.example.com" for a zone. The error is an *Error.
func (s Scope) Pattern() (hostname.Pattern, error) {
	bad := func(flag string, err error) (hostname.Pattern, error) {
		return hostname.Pattern{}, failWith(err, diag.EnrolmentInvalid, "Give a DNS name such as example.com.", "%s cannot be used", flag)
	}
	switch {
	case (s.Zone == "") == (s.Host == ""):
		return hostname.Pattern{}, fail(diag.EnrolmentInvalid, "Give one of --zone ZONE and --host HOST.", "neither or both of zone and host are named")
	case s.Zone != "":
		p, err := hostname.Parse("*." + strings.TrimPrefix(s.Zone, "*."))
		if err != nil {
			return bad("the zone", err)
		}
		return p, nil
	}
	p, err := hostname.Parse(s.Host)
	if err == nil && !p.IsExact() {
		err = errors.New("it is a wildcard: that is a zone")
	}
	if err != nil {
		return bad("the host", err)
	}
	return p, nil
}

// ScopeOf is the other way round.
func ScopeOf(p hostname.Pattern) Scope {
	if suffix := p.Suffix(); suffix != "" {
		return Scope{Zone: strings.TrimPrefix(suffix, ".")}
	}
	return Scope{Host: p.String()}
}

// PullName is the name of the objects that hold a scope's setting.
func PullName(p hostname.Pattern) string {
	text := ScopeOf(p)
	name, plain := "origin-pull-host-"+NameFor(text.Host), text.Host
	if text.Zone != "" {
		name, plain = "origin-pull-zone-"+NameFor(text.Zone), text.Zone
	}
	if NameFor(plain) != plain { // an underscore, say: told from the name with a hyphen by a digest
		name += "-" + shortDigest(plain)
	}
	return name
}

// AnnotationUploaded is when the certificate of an OriginPull was uploaded, in RFC 3339.
const AnnotationUploaded = "hakone.dev/uploaded-on"

// PullSetting is an OriginPull as it is written.
type PullSetting struct {
	Name        ObjectName
	Pattern     hostname.Pattern
	Display     string
	Credential  ObjectName // the Secret; without a name: none, without a namespace: of the setting's
	Enabled     bool
	Uploaded    time.Time // zero: it is not said
	Labels      map[string]string
	Annotations map[string]string // but AnnotationUploaded
}

// PullObject writes an OriginPull.
func PullObject(p PullSetting) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: hakone.dev/v1alpha1\nkind: OriginPull\nmetadata:\n  name: %s\n  namespace: %s\n", p.Name.Name, p.Name.Namespace)
	texts := func(field string, of map[string]string) {
		if len(of) > 0 {
			fmt.Fprintf(&b, "  %s:\n", field)
		}
		for _, k := range slices.Sorted(maps.Keys(of)) {
			fmt.Fprintf(&b, "    %s: %s\n", yamlText(k), yamlText(of[k]))
		}
	}
	texts("labels", p.Labels)
	annotations := maps.Clone(p.Annotations)
	delete(annotations, AnnotationUploaded)
	if !p.Uploaded.IsZero() {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[AnnotationUploaded] = p.Uploaded.UTC().Format(time.RFC3339)
	}
	texts("annotations", annotations)
	b.WriteString("spec:\n")
	if p.Display != "" {
		fmt.Fprintf(&b, "  displayName: %s\n", yamlText(p.Display))
	}
	fmt.Fprintf(&b, "  hosts: [%q]\n", p.Pattern.String())
	switch c := p.Credential; {
	case c.Name == "":
	case c.Namespace == "" || c.Namespace == p.Name.Namespace:
		fmt.Fprintf(&b, "  certificateRef: {kind: Secret, name: %s}\n", c.Name)
	default:
		fmt.Fprintf(&b, "  certificateRef: {kind: Secret, namespace: %s, name: %s}\n", c.Namespace, c.Name)
	}
	fmt.Fprintf(&b, "  enabled: %t\n", p.Enabled)
	return b.Bytes()
}

// yamlText writes a text as YAML reads it: JSON is YAML.
func yamlText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}
