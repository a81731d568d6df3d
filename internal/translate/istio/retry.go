package istio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// retries reads retries of a rule that forwards. Without any, Istio's default holds: two repetitions of
// what the origin has not begun to work on. attempts: 0 switches retries off; what a proxy repeats by
// itself, because the request certainly reached nobody, is not meant by that.
func (b *ruleBuilder) retries() (*ir.Retry, time.Duration) {
	spec, from := b.spec.GetRetries(), below(b.from, "retries")
	if len(b.spec.GetRoute()) == 0 {
		if spec != nil {
			b.t.report(diag.FieldWithoutEffect, from, "retries does nothing in a rule that forwards to no destination", "Remove it.")
		}
		return nil, 0
	}
	if spec == nil {
		return &ir.Retry{Origin: b.from, Attempts: translate.DefaultRetries, On: defaultRetryOn()}, 0
	}
	try := b.retryDuration(spec.GetPerTryTimeout() != nil, spec.GetPerTryTimeout().AsDuration(), below(from, "perTryTimeout"))
	backoff := b.retryDuration(spec.GetBackoff() != nil, spec.GetBackoff().AsDuration(), below(from, "backoff"))
	switch {
	case spec.GetAttempts() < 0:
		b.t.report(diag.RouteRetryInvalid, below(from, "attempts"), fmt.Sprintf("%d attempts cannot be made; nothing is repeated", spec.GetAttempts()), "Write 1 or more, or 0 to switch retries off.")
		return nil, try
	case spec.GetAttempts() == 0:
		if spec.GetRetryOn() != "" || backoff != 0 {
			b.t.report(diag.RouteRetryInvalid, below(from, "attempts"), "attempts is 0 or missing, which switches retries off whatever else is set", "Write attempts: 2, or remove the other fields.")
		}
		return nil, try
	}
	out := &ir.Retry{Origin: from, Attempts: int(spec.GetAttempts()), On: defaultRetryOn(), Backoff: backoff}
	if spec.GetRetryOn() != "" {
		b.retryOn(spec.GetRetryOn(), below(from, "retryOn"), out)
	}
	return out, try
}

// defaultRetryOn are the conditions that Istio takes where retryOn is not set.
func defaultRetryOn() []ir.RetryCondition {
	return []ir.RetryCondition{ir.RetryResetBefore, ir.RetryConnectFailure, ir.RetryRefusedStream, ir.RetryCancelled, ir.RetryUnavailable}
}

// retryDuration checks a duration that, where it is set, must be 1 ms or longer.
func (b *ruleBuilder) retryDuration(set bool, d time.Duration, from ir.Origin) time.Duration {
	if set && d < time.Millisecond {
		b.refuse(diag.RouteTimeout, from, fmt.Sprintf("%s is shorter than 1ms", d), "Write a duration such as 500ms, or remove the field.")
		return 0
	}
	return d
}

// retryOn reads the list of conditions and statuses. What is not known is left out; nothing is retried
// for which nobody asked.
func (b *ruleBuilder) retryOn(list string, from ir.Origin, out *ir.Retry) {
	out.On = nil
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if n, err := strconv.Atoi(word); err == nil {
			if n < 200 || n > 599 {
				b.t.report(diag.RouteRetryInvalid, from, fmt.Sprintf("%d is no status of an answer", n), "Use 200 to 599.")
				continue
			}
			out.On, out.Statuses = append(out.On, ir.RetryStatuses), append(out.Statuses, n)
			continue
		}
		switch condition := ir.RetryCondition(word); {
		case word == "":
		case slices.Contains(translate.RetryWords(), condition):
			out.On = append(out.On, condition)
		case word == "envoy-ratelimited" || word == "retriable-headers" || word == "http3-post-connect-failure":
			b.t.report(diag.FieldWithoutEffect, from, fmt.Sprintf("condition %s is one of Envoy's that does nothing in this version", word), "Remove it.")
		default:
			b.t.report(diag.RouteRetryInvalid, from, fmt.Sprintf("condition %q is not known; it is left out", word), retryFix(word))
		}
	}
	translate.SortRetry(out)
	switch {
	case len(out.On) == 0:
		b.t.report(diag.RouteRetryInvalid, from, "no condition is left, so nothing is repeated", "Name a condition such as connect-failure, or remove retryOn.")
	case slices.Contains(out.On, ir.RetryStatuses) && len(out.Statuses) == 0:
		b.t.report(diag.RouteRetryInvalid, from, "retriable-status-codes names no status, so it repeats nothing", `Add the statuses, as in "retriable-status-codes,503".`)
	}
}

// retryFix names the condition that was most likely meant.
func retryFix(word string) string {
	var words []string
	for _, w := range translate.RetryWords() {
		words = append(words, string(w))
	}
	if near := translate.NearestOfAll(word, words); near != "" {
		return fmt.Sprintf("Did you mean %s?", near)
	}
	return "Use one of " + strings.Join(words, ", ") + ", or a status."
}
