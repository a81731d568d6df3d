package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// CipherSuites reads a list of cipher suite names at field (items are field[i]) and reports what
// cannot be used. false means that names were given and none can be offered, so that TLS 1.2 and below
// cannot be negotiated. Nil names give nil and true.
func (f *Fragment) CipherSuites(obj diag.Object, field string, names []string) ([]uint16, bool) {
	var ids []uint16
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch id, verdict := tlsname.ParseSuite(name); verdict {
		case tlsname.Offerable:
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		case tlsname.TLS13:
			f.Report(diag.TLSSettingIneffective, obj, at, fmt.Sprintf("%s is a suite of TLS 1.3; those are always on and cannot be chosen", name), "Remove it from the list.")
		case tlsname.Unsupported:
			f.Report(diag.CipherNotSupported, obj, at, fmt.Sprintf("%s cannot be offered by Go's TLS library; it is left out", name), "Remove it from the list.")
		case tlsname.Unknown:
			f.Report(diag.CipherUnknown, obj, at, fmt.Sprintf("%q is no cipher suite; it is left out", name), SuiteFix(name))
		}
	}
	return ids, len(names) == 0 || len(ids) > 0
}

// SuiteFix says what to write instead of a name that is no cipher suite. Only suites with forward
// secrecy and authenticated encryption are proposed: a slip must not lead to a weaker one.
func SuiteFix(name string) string {
	const most = 3 // slips
	var names []string
	for _, id := range tlsname.OfferableSuites() {
		iana := tlsname.Suite(id)
		if strings.HasPrefix(iana, "TLS_ECDHE_") && (strings.Contains(iana, "_GCM_") || strings.Contains(iana, "_POLY1305_")) {
			names = append(names, iana, tlsname.OpenSSL(id))
		}
	}
	if near := NearestOfAll(name, names); near != "" && diag.Distance(strings.ToUpper(name), near, most+1) <= most {
		return fmt.Sprintf("Did you mean %s?", near)
	}
	return "Write an IANA or OpenSSL name, one an item."
}
