// Package rewrite changes the authority and path that the upstream receives (Gateway API URLRewrite,
// Istio's rewrite), and holds the path rules that redirects share.
//
// The result is what the origin reads, so it must be a path that everybody reads alike: one that would
// not be refuses the request. See README.md. Begin reading at New and Path.
package rewrite

import (
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
)

type rewrite struct {
	authority, host []byte // nil: kept
	path            *Path  // nil: kept
}

// New returns the filter. The error says what is wrong with a replacement.
func New(r *ir.Rewrite) (filter.Filter, error) {
	f := &rewrite{}
	if r.Host != "" {
		host, err := splitHost(r.Host)
		if err != nil {
			return nil, err
		}
		f.authority, f.host = []byte(r.Host), []byte(host)
	}
	if r.Path.Kind != ir.KeepPath {
		p, err := NewPath(&r.Path)
		if err != nil {
			return nil, err
		}
		f.path = p
	}
	return f, nil
}

func (f *rewrite) Request(x *filter.Exchange) filter.Result {
	req := x.Request
	if f.authority != nil {
		req.Authority, req.Host = f.authority, f.host
	}
	if f.path == nil || len(req.Path) == 0 || req.Path[0] != '/' { // "*" of OPTIONS is no path
		return filter.Next
	}
	path, detail := f.path.Append(req.Fields.Reserve(f.path.Bound(req.Path)), req.Path)
	if detail != "" {
		return filter.Result{Verdict: filter.Respond, Response: &filter.Response{Status: 400, Code: diag.RequestBadPath, Detail: detail}}
	}
	req.Path = path
	return filter.Next
}

func (f *rewrite) Response(*filter.Exchange) filter.Result { return filter.Next }

// splitHost returns the host of host[:port], in lower case and without brackets.
func splitHost(authority string) (string, error) {
	for i := range len(authority) {
		if c := authority[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("/?#@\\", c) >= 0 {
			return "", fmt.Errorf("host %q holds %q", authority, c)
		}
	}
	host, _, _ := strings.Cut(authority, ":")
	if rest, ok := strings.CutPrefix(authority, "["); ok {
		if host, _, ok = strings.Cut(rest, "]"); !ok {
			return "", fmt.Errorf("host %q has no closing bracket", authority)
		}
	}
	if host == "" {
		return "", fmt.Errorf("host %q is empty", authority)
	}
	return strings.TrimSuffix(strings.ToLower(host), "."), nil
}
