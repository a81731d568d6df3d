package gatewayapi

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// retry reads HTTPRouteRule.retry. Where the stanza is there, what did not reach the backend and tries
// that exceed backendRequest are repeated besides the codes, but not a reset after the request was
// sent. Without it nothing is.
func (b *ruleBuilder) retry(spec *gatewayv1.HTTPRouteRetry) *ir.Retry {
	if spec == nil {
		return nil
	}
	field := b.field + ".retry"
	out := &ir.Retry{Origin: ir.Origin{Object: b.route.Object(), Field: field}, Attempts: translate.DefaultRetries,
		On: []ir.RetryCondition{ir.RetryResetBefore, ir.RetryConnectFailure, ir.RetryRefusedStream, ir.RetryTryTimeout}}
	if spec.Attempts != nil {
		if out.Attempts = *spec.Attempts; out.Attempts < 0 {
			b.report(b.route.Meta, diag.RouteRetryInvalid, field+".attempts", fmt.Sprintf("%d attempts cannot be made; nothing is repeated", out.Attempts), "Write 1 or more.")
		}
		if out.Attempts <= 0 {
			return nil
		}
	}
	for i, code := range spec.Codes {
		if code < 400 || code > 599 {
			b.report(b.route.Meta, diag.RouteRetryInvalid, fmt.Sprintf("%s.codes[%d]", field, i), fmt.Sprintf("%d is not between 400 and 599; it is left out", code), "Correct the status.")
			continue
		}
		out.On, out.Statuses = append(out.On, ir.RetryStatuses), append(out.Statuses, int(code))
	}
	if spec.Backoff != nil {
		d, ok := parseDuration(string(*spec.Backoff))
		if !ok {
			b.fail(diag.RouteTimeout, gatewayv1.RouteReasonUnsupportedValue, field+".backoff", fmt.Sprintf("%q is not a duration", *spec.Backoff), "Write a duration such as 100ms.")
		}
		out.Backoff = d
	}
	translate.SortRetry(out)
	return out
}
