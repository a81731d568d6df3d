// Package build makes filters from what a snapshot says, in the order in which they are applied. It is
// the one place that knows every filter; route is given Route and Standard's steps by its caller.
package build

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/clientcert"
	"github.com/hakone-gateway/hakone/internal/filter/forwarded"
	"github.com/hakone-gateway/hakone/internal/filter/headers"
	"github.com/hakone-gateway/hakone/internal/filter/redirect"
	"github.com/hakone-gateway/hakone/internal/filter/requestid"
	"github.com/hakone-gateway/hakone/internal/filter/respond"
	"github.com/hakone-gateway/hakone/internal/filter/rewrite"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Route makes the filters of a route (b nil) or of one of its backends; it is a route.Builder. A
// redirect or direct answer is the last filter, so that the request's path need not know of them. The
// error names the filter that cannot be built.
func Route(r *ir.Route, b *ir.Backend) ([]filter.Filter, error) {
	list := r.Filters
	if b != nil {
		list = b.Filters
	}
	var out []filter.Filter
	for i := range list {
		f, err := one(&list[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", list[i].Origin, err)
		}
		out = append(out, f)
	}
	if b != nil {
		return out, nil
	}
	var last filter.Filter
	var err error
	switch {
	case r.Redirect != nil:
		last, err = redirect.New(r.Redirect)
	case r.Respond != nil:
		last, err = respond.New(r.Respond)
	default:
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return append(out, last), nil
}

func one(f *ir.Filter) (filter.Filter, error) {
	switch {
	case f.RequestHeaders != nil:
		return headers.Request(f.RequestHeaders)
	case f.ResponseHeaders != nil:
		return headers.Response(f.ResponseHeaders)
	case f.Rewrite != nil:
		return rewrite.New(f.Rewrite)
	}
	return nil, fmt.Errorf("the filter is of no kind known here")
}

// Standard returns the steps that every listener takes before a route's filters: request ID, fields
// about the client's side, and fields about the client's certificate.
func Standard(s forwarded.Settings) []filter.Filter {
	return []filter.Filter{requestid.New(s.Trust), forwarded.New(s), clientcert.New()}
}
