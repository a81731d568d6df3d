package translate

import (
	"slices"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// DefaultRetries is how often a request is repeated where retries are asked for, or are Istio's
// default, and no number is given.
const DefaultRetries = 2

// RetryWords returns the conditions that Envoy has a word for, in the order in which ir.Retry.On holds
// them.
func RetryWords() []ir.RetryCondition {
	return []ir.RetryCondition{
		ir.RetryServerError, ir.RetryGatewayError, ir.RetryReset, ir.RetryResetBefore, ir.RetryConnectFailure, ir.RetryRefusedStream,
		ir.RetryRetriable4xx, ir.RetryStatuses, ir.RetryCancelled, ir.RetryDeadlineExceeded, ir.RetryInternal, ir.RetryExhausted, ir.RetryUnavailable,
	}
}

// SortRetry puts conditions and statuses into their order and removes duplicates.
func SortRetry(r *ir.Retry) {
	all := RetryWords()
	all = slices.Insert(all, slices.Index(all, ir.RetryRetriable4xx), ir.RetryTryTimeout)
	r.On = slices.DeleteFunc(all, func(c ir.RetryCondition) bool { return !slices.Contains(r.On, c) })
	slices.Sort(r.Statuses)
	r.Statuses = slices.Compact(r.Statuses)
}
