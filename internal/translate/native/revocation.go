package native

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// revocation translates how revoked certificates are recognised; nil for nil.
func (t *translator) revocation(m *resource.Meta, field string, r *v1alpha1.Revocation) *ir.Revocation {
	if r == nil {
		return nil
	}
	out := &ir.Revocation{
		Hard: r.Mode == v1alpha1.RevocationHard, FetchCRL: r.CRL == v1alpha1.RevocationFetch, NoCRL: r.CRL == v1alpha1.RevocationOff,
		OCSP: r.OCSP == v1alpha1.RevocationFetch, LeafOnly: r.LeafOnly, SPKI: slices.Clone(r.SPKI),
	}
	for _, s := range r.Serials {
		out.Serials = append(out.Serials, serialText(s))
	}
	slices.Sort(out.Serials)
	slices.Sort(out.SPKI)
	out.Serials, out.SPKI = slices.Compact(out.Serials), slices.Compact(out.SPKI)
	if out.Hard && out.NoCRL && !out.OCSP {
		t.report(m, diag.BadValue, field+".mode", fmt.Sprintf("mode %s refuses every certificate of which nothing is known, and crl Off without ocsp Fetch lets nothing be known", r.Mode),
			"Set crl to Configured or Fetch, or ocsp to Fetch, or use mode Soft.")
	}
	return out
}

// serialText writes a serial number as ir.Revocation holds it: lower-case hex without leading zeros.
func serialText(s string) string {
	s = strings.TrimLeft(strings.ToLower(strings.ReplaceAll(s, ":", "")), "0")
	if s == "" {
		return "0"
	}
	return s
}
