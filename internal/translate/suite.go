package translate

import (
	"fmt"
	"slices"

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
			f.Report(diag.CipherUnknown, obj, at, fmt.Sprintf("%q is no cipher suite; it is left out", name), "Write an IANA or OpenSSL name, one an item.")
		}
	}
	return ids, len(names) == 0 || len(ids) > 0
}
