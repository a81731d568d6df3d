// Package respond answers directly with a configured status and body (Istio's directResponse). Begin
// reading at New.
package respond

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
)

type respond struct{ result filter.Result }

// New returns the filter. It always responds, so it stands last.
func New(r *ir.Respond) (filter.Filter, error) {
	if r.Status < 200 || r.Status > 599 {
		return nil, fmt.Errorf("status %d of the direct answer is not between 200 and 599", r.Status)
	}
	// The answer is shared by all requests: nobody changes it.
	return &respond{filter.Result{Verdict: filter.Respond, Response: &filter.Response{Status: r.Status, Body: []byte(r.Body)}}}, nil
}

func (f *respond) Request(*filter.Exchange) filter.Result { return f.result }

func (f *respond) Response(*filter.Exchange) filter.Result { return filter.Next }
