package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/trace"
)

// story is what a running process recorded about a request or connection: lines of the access log,
// read as plain JSON so that a newer process may say more.
type story struct {
	Requests   []map[string]any `json:"requests"`
	Handshakes []map[string]any `json:"handshakes"`
}

// write tells the story in the order in which it happened: connection, request, what became of it, and
// what to do.
func (s *story) write(w io.Writer) {
	var codes []diag.Code
	note := func(line map[string]any, key string) {
		c, err := diag.ParseCode(text(line, key))
		if err != nil {
			return
		}
		for _, known := range codes {
			if known == c {
				return
			}
		}
		codes = append(codes, c)
	}
	for _, h := range s.Handshakes {
		tellHandshake(w, h)
		note(h, "code")
	}
	for _, r := range s.Requests {
		tellRequest(w, r, len(s.Handshakes) == 0)
		note(r, "policy_code")
		note(r, "code")
	}
	for _, c := range codes {
		e, _ := diag.Lookup(c)
		fmt.Fprintf(w, "\n%s %s: %s\n  %s\n  fix: %s\n", e.Code, e.Slug, e.Title, e.Cause, e.Fix)
	}
}

func tellHandshake(w io.Writer, h map[string]any) {
	if text(h, "side") == "upstream" {
		tellUpstreamHandshake(w, h)
		return
	}
	fmt.Fprintf(w, "%s  connection %s from %s to listener %s\n", text(h, "ts"), text(h, "conn"), text(h, "client"), text(h, "listener"))
	row(w, "hello", strings.TrimSpace("server name "+or(text(h, "sni"), "(none)")+", TLS "+list(h, "offered_versions")+", "+list(h, "offered_alpn")+worded(", JA4 ", text(h, "ja4"), "")))
	row(w, "chain", joined(text(h, "chain"), text(h, "origin")))
	if text(h, "code") != "" {
		row(w, "refused", reason(h))
		row(w, "client", worded("presented certificate ", text(h, "offered_cert"), ""))
		return
	}
	row(w, "TLS", joined(text(h, "tls"), text(h, "cipher"), text(h, "group"), resumed(h)))
	row(w, "served", worded("certificate ", text(h, "cert"), ""))
	row(w, "client", certificate(h))
}

// certificate says what the client showed; a verified certificate has its subject.
func certificate(line map[string]any) string {
	if hash := text(line, "client_cert"); hash != "" {
		return joined("verified certificate "+hash, text(line, "client_subject"))
	}
	return or(worded("presented certificate ", text(line, "offered_cert"), ""), "no certificate")
}

func resumed(line map[string]any) string {
	if text(line, "resumed") == "true" {
		return "resumed session"
	}
	return ""
}

// tellRequest tells of a request; of TLS too where the handshake is not known any more.
func tellRequest(w io.Writer, r map[string]any, handshake bool) {
	fmt.Fprintf(w, "%s  %s %s://%s%s  (request %s)\n", text(r, "ts"), text(r, "method"), text(r, "scheme"), text(r, "host"), text(r, "target"), text(r, "id"))
	row(w, "from", joined(or(text(r, "client_ip"), text(r, "client")), worded("listener ", text(r, "listener"), ""), worded("connection ", text(r, "conn"), "")))
	if handshake && text(r, "tls") != "" {
		row(w, "TLS", joined(text(r, "tls"), text(r, "cipher"), text(r, "group"), resumed(r), worded("server name ", text(r, "sni"), "")))
		row(w, "client", certificate(r))
	}
	if verdict := text(r, "policy_verdict"); verdict != "" {
		words := map[string]string{"allow": "lets it in", "deny": "refuses it", "audit": "lets it in, and would refuse it if it did not only watch"}
		code := text(r, "policy_code")
		c, err := diag.ParseCode(code)
		if err == nil {
			code += " " + c.Slug()
		}
		row(w, "policy", text(r, "policy")+" "+or(words[verdict], verdict)+worded(": ", code, ""))
	}
	row(w, "route", joined(text(r, "route"), text(r, "origin")))
	row(w, "upstream", joined(text(r, "upstream"), text(r, "endpoint"), text(r, "upstream_proto"), worded("", text(r, "attempts"), " attempts")))
	tellProxy(w, r)
	row(w, "pool", joined(text(r, "pool"), worded("origin ", text(r, "server"), "")))
	row(w, "origin", joined(worded("TLS ", text(r, "upstream_tls"), ""), text(r, "upstream_cipher"), worded("answered "+worded("", text(r, "upstream_status"), " ")+"after ", text(r, "upstream_ms"), " ms")))
	row(w, "protocol", joined(text(r, "proto"), worded("stream ", text(r, "stream"), "")))
	row(w, "gRPC", worded("status ", text(r, "grpc_status"), ""))
	row(w, "answer", fmt.Sprintf("%s after %s ms, %s bytes%s", text(r, "status"), text(r, "dur_ms"), or(text(r, "bytes_out"), "0"), worded(" and ", text(r, "head_bytes"), " of head")))
	if text(r, "code") != "" {
		row(w, "because", reason(r))
	}
}

// reason writes a line's code, slug and detail; a detail that begins with its code as well has it once.
func reason(m map[string]any) string {
	code, slug := text(m, "code"), text(m, "reason")
	detail := strings.TrimPrefix(text(m, "detail"), code+" ")
	detail = strings.TrimPrefix(detail, slug+": ")
	return code + " " + slug + worded(": ", detail, "")
}

func row(w io.Writer, name, value string) {
	if value != "" {
		fmt.Fprintf(w, "  %-9s %s\n", name, trace.Printable(value))
	}
}

// text returns a field as people write it; numbers without exponent, "" for what is not there.
func text(m map[string]any, key string) string {
	switch v := m[key].(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
	default:
		return fmt.Sprint(v)
	}
}

func list(m map[string]any, key string) string {
	items, _ := m[key].([]any)
	out := make([]string, len(items))
	for i, v := range items {
		out[i] = fmt.Sprint(v)
	}
	return or(strings.Join(out, " "), "-")
}

// joined puts what is there together.
func joined(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, ", ")
}

// worded puts words around what is there.
func worded(before, s, after string) string {
	if s == "" {
		return ""
	}
	return before + s + after
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
