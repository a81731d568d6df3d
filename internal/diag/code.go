package diag

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Code is a number of the catalogue, printed as HKnnnn. Numbers are never reused. The zero Code
// means "no reason": nothing was refused.
//
// Ranges: 10xx hello and negotiation · 11xx wrong protocol, transport · 21xx client certificate ·
// 22xx the client refused our certificate · 23xx our credential is not available · 31xx TLS towards
// an upstream · 32xx upstream connection and answer · 40xx malformed or oversized request · 41xx
// routing and policy · 42xx deadlines and bounds · 50xx files and syntax · 51xx references ·
// 52xx gateways and listeners · 53xx routes · 54xx TLS settings · 55xx certificates ·
// 56xx services and upstreams · 57xx accepted without effect · 58xx policies, origin pools and edge hosts ·
// 60xx process · 70xx authority and certificates.
type Code uint16

// String returns "HK2101", or "" for the zero Code.
func (c Code) String() string {
	if c == 0 {
		return ""
	}
	return fmt.Sprintf("HK%04d", uint16(c))
}

// MarshalText writes the code as String does.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Code) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*c = 0
		return nil
	}
	parsed, err := ParseCode(string(b))
	*c = parsed
	return err
}

// Slug returns the code's word, as in "client_cert_missing"; "" for unknown codes.
func (c Code) Slug() string { e, _ := Lookup(c); return e.Slug }

// Severity returns the catalogue's severity; Error for unknown codes.
func (c Code) Severity() Severity {
	e, ok := Lookup(c)
	if !ok {
		return Error
	}
	return e.Severity
}

// Entry is one row of the catalogue.
type Entry struct {
	Code     Code
	Slug     string   // snake_case word, stable, used in metrics and Proxy-Status
	Severity Severity // as configuration diagnostic; Error for refusals
	Title    string   // half a line, lower case
	Cause    string   // what happened and why Hakone acts so; whole sentences
	Fix      string   // what a person does now; whole sentences
	Status   int      // HTTP status where an answer is reachable, else 0
}

// ParseCode reads "HK2101", "hk2101" or "2101", or a slug, and returns the catalogue's code. The
// error names what was not understood.
func ParseCode(s string) (Code, error) {
	t := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "HK")
	if n, err := strconv.ParseUint(t, 10, 16); err == nil {
		if _, ok := Lookup(Code(n)); ok {
			return Code(n), nil
		}
	}
	for _, e := range Catalogue() {
		if strings.EqualFold(e.Slug, strings.TrimSpace(s)) {
			return e.Code, nil
		}
	}
	return 0, fmt.Errorf("no code %q in the catalogue; codes look like HK2101 or client_cert_missing", s)
}

// Catalogue returns every entry, ordered by code. The slice is shared: do not change it.
func Catalogue() []Entry { return catalogue }

// Lookup returns the entry of c.
func Lookup(c Code) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(catalogue, c, func(e Entry, c Code) int { return int(e.Code) - int(c) })
	if !ok {
		return Entry{}, false
	}
	return catalogue[i], true
}

// catalogue is fixed after construction.
var catalogue = func() []Entry {
	all := slices.Concat(helloCodes(), certificateReasonCodes(), upstreamReasonCodes(), requestCodes(), http2Codes(),
		fileCodes(), referenceCodes(), gatewayCodes(), routeCodes(), tlsSettingCodes(), certificateLintCodes(),
		serviceCodes(), noEffectCodes(), processCodes(),
		accessCodes(), accessFindings(), originCodes(), authorityCodes(), inspectCodes(), revocationCodes(), logCodes(),
		proxyCodes(), forwardCodes(), tcpCodes(), mintCodes(), egressKindCodes(), egressIstioCodes(), cacheCodes(), importCodes(), ledgerCodes())
	slices.SortFunc(all, func(a, b Entry) int { return int(a.Code) - int(b.Code) })
	return all
}()
