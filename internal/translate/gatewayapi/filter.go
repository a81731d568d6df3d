package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// translatedFilters is a rule's or backendRef's list of filters. If faults is not empty the rule (or
// backend) must refuse: the API forbids skipping a filter that cannot be applied.
type translatedFilters struct {
	filters  []ir.Filter
	redirect *ir.Redirect
	faults   []fieldError
	mixed    bool         // a fault is that two filters exclude each other
	noEffect []fieldError // filters that are left out, with a warning
}

// filterContext is what a filter's translation needs to know of its place.
type filterContext struct {
	object diag.Object
	// prefix is the path that the match is a prefix of, for ReplacePrefixMatch; "" if the match is not
	// a PathPrefix.
	prefix string
	// backend is set for the filters of a backendRef, where only header modifiers are supported.
	backend bool
}

// translateFilters translates a list of filters; field is its path, as in "spec.rules[0].filters".
func translateFilters(list []gatewayv1.HTTPRouteFilter, field string, c filterContext) translatedFilters {
	var t translatedFilters
	var seen []gatewayv1.HTTPRouteFilterType
	for i := range list {
		f, at := &list[i], fmt.Sprintf("%s[%d]", field, i)
		if slices.Contains(seen, f.Type) && f.Type != gatewayv1.HTTPRouteFilterRequestMirror && f.Type != gatewayv1.HTTPRouteFilterExtensionRef {
			t.fault(at+".type", fmt.Sprintf("filter %s stands twice in one list", f.Type))
			continue
		}
		seen = append(seen, f.Type)
		t.one(f, at, c)
	}
	if slices.Contains(seen, gatewayv1.HTTPRouteFilterRequestRedirect) && slices.Contains(seen, gatewayv1.HTTPRouteFilterURLRewrite) {
		t.mixed = true
		t.fault(field, "RequestRedirect and URLRewrite exclude each other")
	}
	return t
}

func (t *translatedFilters) fault(field, message string) {
	t.faults = append(t.faults, fieldError{field, message})
}

func (t *translatedFilters) one(f *gatewayv1.HTTPRouteFilter, at string, c filterContext) {
	out := ir.Filter{Origin: ir.Origin{Object: c.object, Field: at}}
	missing := func(name string) { t.fault(at, fmt.Sprintf("filter of type %s lacks %s", f.Type, name)) }
	switch f.Type {
	case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
		if f.RequestHeaderModifier == nil {
			missing("requestHeaderModifier")
			return
		}
		out.RequestHeaders = t.headers(f.RequestHeaderModifier, at+".requestHeaderModifier")
	case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		if f.ResponseHeaderModifier == nil {
			missing("responseHeaderModifier")
			return
		}
		out.ResponseHeaders = t.headers(f.ResponseHeaderModifier, at+".responseHeaderModifier")
	case gatewayv1.HTTPRouteFilterRequestMirror, gatewayv1.HTTPRouteFilterCORS:
		t.noEffect = append(t.noEffect, fieldError{at, fmt.Sprintf("filter %s has no effect yet", f.Type)})
		return
	case gatewayv1.HTTPRouteFilterRequestRedirect:
		switch {
		case f.RequestRedirect == nil:
			missing("requestRedirect")
		case c.backend:
			t.fault(at, "RequestRedirect cannot be used on a backendRef")
		default:
			t.redirect = t.redirectTo(f.RequestRedirect, at+".requestRedirect", c)
		}
		return
	case gatewayv1.HTTPRouteFilterURLRewrite:
		switch {
		case f.URLRewrite == nil:
			missing("urlRewrite")
			return
		case c.backend:
			t.fault(at, "URLRewrite on a backendRef is not supported by this version; put it on the rule")
			return
		}
		out.Rewrite = t.rewrite(f.URLRewrite, at+".urlRewrite", c)
	default:
		t.fault(at+".type", fmt.Sprintf("filter %s is not supported", f.Type))
		return
	}
	t.filters = append(t.filters, out)
}

func (t *translatedFilters) headers(h *gatewayv1.HTTPHeaderFilter, at string) *ir.HeaderEdit {
	e := &ir.HeaderEdit{Set: t.pairs(h.Set, at+".set"), Add: t.pairs(h.Add, at+".add")}
	for i, name := range h.Remove {
		if !isToken(name) {
			t.fault(fmt.Sprintf("%s.remove[%d]", at, i), fmt.Sprintf("%q is no header name", name))
			continue
		}
		e.Remove = append(e.Remove, name)
	}
	return e
}

// pairs translates the entries of set or add; of equal names the first counts, as the API says.
func (t *translatedFilters) pairs(list []gatewayv1.HTTPHeader, at string) []ir.NameValue {
	var out []ir.NameValue
	for i, h := range list {
		name := string(h.Name)
		switch {
		case !isToken(name):
			t.fault(fmt.Sprintf("%s[%d].name", at, i), fmt.Sprintf("%q is no header name", name))
		case !isFieldValue(h.Value):
			t.fault(fmt.Sprintf("%s[%d].value", at, i), fmt.Sprintf("the value for %s holds bytes that no header may hold", name))
		case !slices.ContainsFunc(out, func(o ir.NameValue) bool { return strings.EqualFold(o.Name, name) }):
			out = append(out, ir.NameValue{Name: name, Value: h.Value})
		}
	}
	return out
}

func (t *translatedFilters) redirectTo(r *gatewayv1.HTTPRequestRedirectFilter, at string, c filterContext) *ir.Redirect {
	out := &ir.Redirect{Scheme: deref(r.Scheme), Status: 302}
	if s := out.Scheme; s != "" && s != "http" && s != "https" {
		t.fault(at+".scheme", fmt.Sprintf("scheme %q is not http or https", s))
	}
	if r.Hostname != nil {
		out.Host = t.preciseHost(string(*r.Hostname), at+".hostname")
	}
	if r.Port != nil {
		if *r.Port < 1 || *r.Port > 65535 {
			t.fault(at+".port", fmt.Sprintf("port %d is not between 1 and 65535", *r.Port))
		} else {
			out.Port = uint16(*r.Port)
		}
	}
	if r.StatusCode != nil {
		out.Status = *r.StatusCode
		if !slices.Contains([]int{301, 302, 303, 307, 308}, out.Status) {
			t.fault(at+".statusCode", fmt.Sprintf("status %d is not one of 301, 302, 303, 307, 308", out.Status))
		}
	}
	out.Path = t.pathModifier(r.Path, at+".path", c)
	return out
}

func (t *translatedFilters) rewrite(r *gatewayv1.HTTPURLRewriteFilter, at string, c filterContext) *ir.Rewrite {
	out := &ir.Rewrite{Path: t.pathModifier(r.Path, at+".path", c)}
	if r.Hostname != nil {
		out.Host = t.preciseHost(string(*r.Hostname), at+".hostname")
	}
	return out
}

func (t *translatedFilters) preciseHost(s, at string) string {
	p, err := hostname.Parse(s)
	switch {
	case err != nil:
		t.fault(at, err.Error())
	case !p.IsExact():
		t.fault(at, fmt.Sprintf("%q is a wildcard; one name is needed here", s))
	}
	return p.String()
}

// pathModifier translates an HTTPPathModifier. ReplacePrefixMatch works on path elements, as the
// table of that type says; the data plane joins the slashes.
func (t *translatedFilters) pathModifier(m *gatewayv1.HTTPPathModifier, at string, c filterContext) ir.PathRewrite {
	if m == nil {
		return ir.PathRewrite{}
	}
	switch m.Type {
	case gatewayv1.FullPathHTTPPathModifier:
		return ir.PathRewrite{Kind: ir.ReplaceFull, Value: t.replacement(deref(m.ReplaceFullPath), at+".replaceFullPath")}
	case gatewayv1.PrefixMatchHTTPPathModifier:
		if c.prefix == "" {
			t.fault(at+".type", "ReplacePrefixMatch needs a PathPrefix in every match of the rule")
			return ir.PathRewrite{}
		}
		value := t.replacement(deref(m.ReplacePrefixMatch), at+".replacePrefixMatch")
		return ir.PathRewrite{Kind: ir.ReplacePrefix, Value: value, Prefix: c.prefix, Segments: true}
	}
	t.fault(at+".type", fmt.Sprintf("type %q is not one of ReplaceFullPath, ReplacePrefixMatch", m.Type))
	return ir.PathRewrite{}
}

// replacement checks a path that is written into requests and Location headers.
func (t *translatedFilters) replacement(s, at string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' {
			t.fault(at, fmt.Sprintf("path %q holds a byte that must be percent-encoded", s))
			break
		}
	}
	return s
}

// isFieldValue reports whether s may stand as a field value (RFC 9110 section 5.5).
func isFieldValue(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}
