package certname

import (
	"crypto/x509/pkix"
	"fmt"
	"strings"
)

// ParseSubject reads a subject to be made, as in "CN=vera,O=Example": parts are NAME=VALUE with one of the
// separators between them, and a backslash takes the next byte as it is. Empty parts are passed over.
// The error says which part cannot be used.
func ParseSubject(s, separators string) (pkix.Name, error) {
	var n pkix.Name
	for _, part := range splitEscaped(s, separators) {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		value = strings.TrimSpace(value)
		if !ok || value == "" {
			return n, fmt.Errorf("%q is no part of a subject: write CN=vera,O=Example", part)
		}
		switch strings.ToUpper(strings.TrimSpace(key)) {
		case "CN":
			n.CommonName = value
		case "O":
			n.Organization = append(n.Organization, value)
		case "OU":
			n.OrganizationalUnit = append(n.OrganizationalUnit, value)
		case "C":
			n.Country = append(n.Country, value)
		case "ST":
			n.Province = append(n.Province, value)
		case "L":
			n.Locality = append(n.Locality, value)
		case "STREET":
			n.StreetAddress = append(n.StreetAddress, value)
		case "SERIALNUMBER":
			n.SerialNumber = value
		default:
			return n, fmt.Errorf("%q is no part of a subject that can be made: use CN, O, OU, C, ST, L, street or serialNumber", strings.TrimSpace(key))
		}
	}
	return n, nil
}

func splitEscaped(s, separators string) []string {
	var out []string
	var cur []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			cur = append(cur, s[i])
		case strings.IndexByte(separators, s[i]) >= 0:
			out, cur = append(out, string(cur)), nil
		default:
			cur = append(cur, s[i])
		}
	}
	return append(out, string(cur))
}
