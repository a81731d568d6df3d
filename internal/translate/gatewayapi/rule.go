package gatewayapi

import (
	"fmt"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// ruleFault is why a whole rule refuses what it matches.
type ruleFault struct {
	code    diag.Code
	reason  gatewayv1.RouteConditionReason
	message string
}

// rule translates one rule into as many routes as it has matches. A fault in any part makes all of
// them refuse, and is returned as an Accepted condition; faults of backends are not among these.
func (t *translator) rule(r *route, index int, spec ruleSpec) *Condition {
	field := fmt.Sprintf("spec.rules[%d]", index)
	b := &ruleBuilder{translator: t, route: r, field: field}
	matches := spec.matches
	if len(matches) == 0 {
		matches = []translatedMatch{defaultMatch()}
	}
	for _, m := range matches {
		b.faults(diag.RouteMatchInvalid, m.faults, "Correct the match.")
	}
	request, try := b.timeouts(spec.Timeouts)
	retry := b.retry(spec.Retry)
	b.ignoredFields(spec.HTTPRouteRule)
	filters := make([]translatedFilters, len(matches))
	for i := range matches {
		filters[i] = b.filters(spec.Filters, &matches[i])
	}
	backends := b.backends(spec.HTTPRouteRule, filters[0].redirect != nil)
	if spec.Retry != nil && filters[0].redirect != nil {
		b.withoutEffect(r.Meta, field+".retry", "retry does nothing in a rule that redirects")
	}
	if spec.Name != nil && !slices.ContainsFunc(matches, func(m translatedMatch) bool { return !m.never }) {
		t.fragment.Idle = append(t.fragment.Idle, translate.Idle{Object: r.Object(), Section: string(*spec.Name)})
	}
	for i := range matches {
		if matches[i].never {
			continue
		}
		out := &ir.Route{
			Name:   fmt.Sprintf("%s/%s/rule-%d/match-%d", r.Namespace, r.Name, index, i),
			Origin: ir.Origin{Object: r.Object(), Field: field},
			Match:  matches[i].match,
		}
		if spec.Name != nil {
			out.Section = string(*spec.Name)
		}
		switch {
		case b.fault != nil:
			out.Fault = &ir.Fault{Code: b.fault.code, Detail: b.fault.message}
		case b.noAction != nil:
			out.Filters, out.Fault = filters[i].filters, b.noAction
		default:
			out.Filters, out.Redirect, out.Forward = filters[i].filters, filters[i].redirect, backends
			out.Timeout, out.BackendTimeout = request, try
			if len(backends) > 0 {
				out.Retry = retry
			}
		}
		r.rules = append(r.rules, rankedRoute{Route: out, rank: matches[i].rank, rule: index, match: i})
	}
	if b.fault == nil {
		return nil
	}
	c := bad(gatewayv1.RouteConditionAccepted, b.fault.reason, b.fault.code, b.fault.message)
	return &c
}

// ruleBuilder collects what is wrong with one rule.
type ruleBuilder struct {
	*translator
	route    *route
	field    string
	fault    *ruleFault // the first
	noAction *ir.Fault  // there is nothing to send requests to
}

func (b *ruleBuilder) fail(code diag.Code, reason gatewayv1.RouteConditionReason, field, message, fix string) {
	b.report(b.route.Meta, code, field, message+"; the rule refuses what it matches", fix)
	if b.fault == nil {
		b.fault = &ruleFault{code, reason, message}
	}
}

func (b *ruleBuilder) faults(code diag.Code, list []fieldError, fix string) {
	for _, f := range list {
		b.fail(code, gatewayv1.RouteReasonUnsupportedValue, f.field, f.message, fix)
	}
}

// filters translates the rule's filters for one match; only ReplacePrefixMatch depends on it.
func (b *ruleBuilder) filters(list []gatewayv1.HTTPRouteFilter, m *translatedMatch) translatedFilters {
	c := filterContext{object: b.route.Object()}
	if m.match.Path.Kind == ir.MatchSegmentPrefix {
		c.prefix = m.match.Path.Value
	}
	f := translateFilters(list, b.field+".filters", c)
	for _, x := range f.faults {
		reason := gatewayv1.RouteReasonUnsupportedValue
		if f.mixed {
			reason = gatewayv1.RouteReasonIncompatibleFilters
		}
		b.fail(diag.RouteFilterInvalid, reason, x.field, x.message, "Correct or remove the filter; a filter is never skipped.")
	}
	for _, x := range f.noEffect {
		b.withoutEffect(b.route.Meta, x.field, x.message)
	}
	return f
}

func (b *ruleBuilder) ignoredFields(spec *gatewayv1.HTTPRouteRule) {
	if spec.SessionPersistence != nil {
		b.withoutEffect(b.route.Meta, b.field+".sessionPersistence", "sessions are not kept on one backend by this version")
	}
}

// timeouts reads timeouts. Zero switches a timeout off.
func (b *ruleBuilder) timeouts(spec *gatewayv1.HTTPRouteTimeouts) (request, try time.Duration) {
	if spec == nil {
		return 0, 0
	}
	field := b.field + ".timeouts"
	read := func(d *gatewayv1.Duration, at string) time.Duration {
		if d == nil {
			return 0
		}
		v, ok := parseDuration(string(*d))
		if !ok {
			b.fail(diag.RouteTimeout, gatewayv1.RouteReasonUnsupportedValue, at, fmt.Sprintf("%q is not a duration", *d), "Write a duration such as 10s, 1m30s or 500ms.")
		}
		return v
	}
	request, try = read(spec.Request, field+".request"), read(spec.BackendRequest, field+".backendRequest")
	if request != 0 && try > request {
		b.fail(diag.RouteTimeout, gatewayv1.RouteReasonUnsupportedValue, field+".backendRequest",
			fmt.Sprintf("backendRequest (%s) is longer than request (%s)", try, request), "Make backendRequest at most request.")
	}
	return request, try
}

// parseDuration reads a duration as GEP-2257 writes it: up to four whole numbers of at most five digits
// with units h, m, s, ms.
func parseDuration(s string) (time.Duration, bool) {
	digits, parts := 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case strings.IndexByte("hms", c) >= 0 && digits > 0 && digits <= 5:
			if c == 'm' && i+1 < len(s) && s[i+1] == 's' {
				i++
			}
			digits, parts = 0, parts+1
		default:
			return 0, false
		}
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && parts >= 1 && parts <= 4
}
