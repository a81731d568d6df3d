package istio

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// faultAt reports a fault that one match of the rule has, and returns it.
func (b *ruleBuilder) faultAt(from ir.Origin, message, fix string) *ir.Fault {
	b.t.report(diag.RouteFilterInvalid, from, message, fix)
	return &ir.Fault{Code: diag.RouteFilterInvalid, Detail: from.String() + ": " + message}
}

// redirectFor reads redirect for one match, on which prefixRewrite depends.
func (b *ruleBuilder) redirectFor(m matched) (*ir.Redirect, *ir.Fault) {
	spec, from := b.spec.GetRedirect(), below(b.from, "redirect")
	out := &ir.Redirect{Scheme: strings.ToLower(spec.GetScheme()), Host: spec.GetAuthority(), Status: 301, KeepPort: true}
	if code := spec.GetRedirectCode(); code != 0 {
		if !slices.Contains([]uint32{301, 302, 303, 307, 308}, code) {
			return nil, b.faultAt(below(from, "redirectCode"), fmt.Sprintf("%d is no status of a redirect", code), "Use 301, 302, 303, 307 or 308.")
		}
		out.Status = int(code)
	}
	if out.Scheme != "" && out.Scheme != "http" && out.Scheme != "https" {
		return nil, b.faultAt(below(from, "scheme"), fmt.Sprintf("scheme %q is not http or https", spec.GetScheme()), "Use http or https.")
	}
	if host, port, err := net.SplitHostPort(out.Host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, b.faultAt(below(from, "authority"), fmt.Sprintf("authority %q has no valid port", out.Host), "Write host or host:port.")
		}
		out.Host, out.Port = host, uint16(n)
	}
	switch p := spec.GetRedirectPort().(type) {
	case *istio.HTTPRedirect_Port:
		if p.Port == 0 || p.Port > 65535 {
			return nil, b.faultAt(below(from, "port"), fmt.Sprintf("port %d is no port number", p.Port), "Use 1 to 65535.")
		}
		out.Port = uint16(p.Port)
	case *istio.HTTPRedirect_DerivePort:
		if p.DerivePort == istio.HTTPRedirect_FROM_PROTOCOL_DEFAULT {
			out.KeepPort = false
		}
	}
	switch {
	case spec.GetUri() != "" && spec.GetPrefixRewrite() != "":
		return nil, b.faultAt(below(from, "prefixRewrite"), "uri and prefixRewrite exclude each other", "Keep one.")
	case spec.GetUri() != "":
		out.Path = ir.PathRewrite{Kind: ir.ReplaceFull, Value: spec.GetUri()}
	case spec.GetPrefixRewrite() != "":
		if m.match.Path.Kind != ir.MatchPrefix && m.fault == nil {
			return nil, b.faultAt(below(from, "prefixRewrite"), "prefixRewrite needs a uri.prefix in every match of the rule", "Match a prefix, or use uri.")
		}
		out.Path = ir.PathRewrite{Kind: ir.ReplacePrefix, Value: spec.GetPrefixRewrite(), Prefix: m.match.Path.Value}
	}
	return out, nil
}

// rewriteFor reads rewrite for one match: of a prefix match the prefix is replaced, of any other the
// whole path.
func (b *ruleBuilder) rewriteFor(m matched) (*ir.Rewrite, *ir.Fault) {
	spec, from := b.spec.GetRewrite(), below(b.from, "rewrite")
	out := &ir.Rewrite{Host: spec.GetAuthority()}
	switch re := spec.GetUriRegexRewrite(); {
	case re != nil && spec.GetUri() != "":
		return nil, b.faultAt(below(from, "uriRegexRewrite"), "uri and uriRegexRewrite exclude each other", "Keep one.")
	case re != nil:
		if _, err := regexp.Compile(re.GetMatch()); err != nil || re.GetMatch() == "" {
			return nil, b.faultAt(below(from, "uriRegexRewrite.match"), fmt.Sprintf("regular expression %q does not compile: %v", re.GetMatch(), err), "Write it in RE2 syntax.")
		}
		out.Path = ir.PathRewrite{Kind: ir.ReplaceRegex, Regex: re.GetMatch(), Value: re.GetRewrite()}
	case spec.GetUri() == "":
	case m.match.Path.Kind == ir.MatchExact || m.match.Path.Kind == ir.MatchRegex:
		out.Path = ir.PathRewrite{Kind: ir.ReplaceFull, Value: spec.GetUri()}
	default:
		out.Path = prefixRewrite(m.match.Path, spec.GetUri())
	}
	if out.Host == "" && out.Path.Kind == ir.KeepPath {
		return nil, nil
	}
	return out, nil
}

// prefixRewrite replaces a matched prefix. Replacing "/foo" by "/" in "/foo/bar" would give "//bar",
// so, as Istio does, the slash that follows goes with the prefix.
func prefixRewrite(path ir.PathMatch, value string) ir.PathRewrite {
	prefix := path.Value
	if prefix == "" {
		prefix = "/"
	}
	if value == "/" && prefix != "/" && !strings.HasSuffix(prefix, "/") {
		flags := ""
		if path.IgnoreCase {
			flags = "(?i)"
		}
		return ir.PathRewrite{Kind: ir.ReplaceRegex, Regex: flags + "^" + regexp.QuoteMeta(prefix) + "(/?)(.*)", Value: `/\2`}
	}
	return ir.PathRewrite{Kind: ir.ReplacePrefix, Value: value, Prefix: prefix}
}

// headers reads header operations into filters. Setting Host or :authority is a rewrite of the host.
func (b *ruleBuilder) headers(h *istio.Headers, from ir.Origin) []ir.Filter {
	var out []ir.Filter
	if edit, host := b.headerEdit(h.GetRequest(), below(from, "request"), true); edit != nil || host != "" {
		if edit != nil {
			out = append(out, ir.Filter{Origin: below(from, "request"), RequestHeaders: edit})
		}
		if host != "" {
			out = append(out, ir.Filter{Origin: below(from, "request"), Rewrite: &ir.Rewrite{Host: host}})
		}
	}
	if edit, _ := b.headerEdit(h.GetResponse(), below(from, "response"), false); edit != nil {
		out = append(out, ir.Filter{Origin: below(from, "response"), ResponseHeaders: edit})
	}
	return out
}

func (b *ruleBuilder) headerEdit(ops *istio.Headers_HeaderOperations, from ir.Origin, request bool) (edit *ir.HeaderEdit, host string) {
	if ops == nil {
		return nil, ""
	}
	edit = &ir.HeaderEdit{}
	read := func(fields map[string]string, what string) (out []ir.NameValue) {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			value, at := fields[name], ir.Origin{Object: from.Object, Field: fmt.Sprintf("%s.%s[%s]", from.Field, what, name)}
			if lower := strings.ToLower(name); request && (lower == "host" || lower == ":authority") {
				host = value
				continue
			}
			if b.field(name, value, at) {
				out = append(out, ir.NameValue{Name: name, Value: value})
			}
		}
		return out
	}
	edit.Set, edit.Add = read(ops.GetSet(), "set"), read(ops.GetAdd(), "add")
	for i, name := range ops.GetRemove() {
		if b.field(name, "", below(from, "remove[%d]", i)) {
			edit.Remove = append(edit.Remove, name)
		}
	}
	if len(edit.Set)+len(edit.Add)+len(edit.Remove) == 0 {
		return nil, host
	}
	return edit, host
}

// field checks one field line; a bad one makes the rule refuse.
func (b *ruleBuilder) field(name, value string, at ir.Origin) bool {
	switch lower := strings.ToLower(name); {
	case !isToken(lower):
		b.refuse(diag.RouteFilterInvalid, at, fmt.Sprintf("%q is no header name that can be changed", name), "Write a field name; paths and methods are changed by rewrite.")
		return false
	case lower == "connection", lower == "transfer-encoding", lower == "content-length", lower == "keep-alive", lower == "upgrade", lower == "te", lower == "host":
		b.refuse(diag.RouteFilterInvalid, at, fmt.Sprintf("%s belongs to the connection or the message's framing and cannot be changed", name), "Remove it.")
		return false
	}
	if strings.ContainsAny(value, "\r\n\x00") || value != strings.TrimSpace(value) {
		b.refuse(diag.RouteFilterInvalid, at, fmt.Sprintf("the value of %s holds a line break, NUL, or space at its ends", name), "Remove them.")
		return false
	}
	if command.MatchString(value) {
		b.t.report(diag.FieldWithoutEffect, at, "Envoy's %COMMAND% variables are not expanded: the value is sent as it stands", "Write a constant value.")
	}
	return true
}

// command is what Envoy would expand in a header value.
var command = regexp.MustCompile(`%[A-Z][A-Z0-9_]*(\([^)]*\))?(:[0-9]+)?%`)
