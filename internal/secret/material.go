package secret

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Format says by which names a Kubernetes Secret holds its material.
type Format string

// Formats, as Kubernetes and Istio know them.
const (
	FormatTLS     Format = "tls"     // tls.crt, tls.key, ca.crt, ca.crl, tls.ocsp-staple
	FormatGeneric Format = "generic" // cert, key, cacert, crl
	FormatCA      Format = "ca"      // ca.crt or cacert, with ca.crl or crl, and no key
)

var (
	tlsNames     = entryNames{cert: "tls.crt", key: "tls.key", ca: "ca.crt", crl: "ca.crl", staple: "tls.ocsp-staple"}
	genericNames = entryNames{cert: "cert", key: "key", ca: "cacert", crl: "crl", staple: "tls.ocsp-staple"}
)

// Material is the content of a secret, sorted but not parsed. Entries that are absent are nil. Names
// in later errors are those of the secret's format.
type Material struct {
	Format Format
	Cert   []byte
	Key    Bytes
	CA     []byte
	CRL    []byte
	Staple []byte

	names entryNames
}

// HasKeyPair reports whether there is a certificate and a key.
func (m Material) HasKeyPair() bool { return len(m.Cert) > 0 && m.Key.Len() > 0 }

// LogValue tells the format only.
func (m Material) LogValue() slog.Value {
	return slog.StringValue("secret of format " + string(m.Format))
}

// KeyPair parses certificate, key and staple, as ParseKeyPair does, and finds the root of a CA's chain in the CA entry.
func (m Material) KeyPair() (*KeyPair, []Finding, error) {
	if !m.HasKeyPair() {
		return nil, nil, fail(diag.SecretInvalid, "", "the secret holds a CA only, no certificate with its key",
			"Add tls.crt and tls.key: kubectl create secret tls NAME --cert CERT --key KEY.")
	}
	k, found, err := parseKeyPair(m.Cert, m.Key, m.names)
	if err == nil && k.Leaf.IsCA {
		if b, _, bad := m.Bundle(); bad == nil && b != nil {
			k = k.withRoot(b.Certificates)
		}
	}
	if err != nil || len(m.Staple) == 0 {
		return k, found, err
	}
	if m.Staple[0] != 0x30 {
		return k, append(found, warn(diag.SecretInvalid, m.names.staple, m.names.staple+" is no OCSP response in DER; nothing is stapled",
			"Put the response as openssl ocsp -respout writes it.")), nil
	}
	return k.WithStaple(m.Staple), found, nil
}

// Bundle parses the CA entry, as ParseBundle does. Without one it returns nil and no error.
func (m Material) Bundle() (*Bundle, []Finding, error) {
	if len(m.CA) == 0 {
		return nil, nil, nil
	}
	return parseBundle(m.CA, m.names.ca)
}

// CRLs parses the revocation lists, as ParseCRLs does. Without any it returns nil and no error.
func (m Material) CRLs() ([]*CRL, error) {
	if len(m.CRL) == 0 {
		return nil, nil
	}
	return parseCRLs(m.CRL, m.names.crl)
}

// FromData sorts the entries of a Secret (decoded from base64). Where both formats are complete,
// tls.* is used, with an info. The error is an *Error with code SecretInvalid that names what is
// missing.
func FromData(data map[string][]byte) (Material, []Finding, error) {
	tls, generic := has(data, tlsNames), has(data, genericNames)
	var found []Finding
	names, format := tlsNames, FormatTLS
	switch {
	case tls.both && generic.both:
		f := finding(diag.SecretInvalid, "", "the secret holds both tls.crt/tls.key and cert/key; tls.crt and tls.key are used (Istio would use cert and key)", "Remove one of the two.")
		f.Severity = diag.Info
		found = append(found, f)
	case tls.both:
	case generic.both:
		names, format = genericNames, FormatGeneric
	case tls.one || generic.one:
		return Material{}, nil, incomplete(data, tls.one)
	case len(data["ca.crt"]) > 0 || len(data["cacert"]) > 0:
		format = FormatCA
		if len(data["ca.crt"]) == 0 {
			names = genericNames
		}
	default:
		return Material{}, nil, fail(diag.SecretInvalid, "",
			"the secret holds no tls.crt/tls.key, no cert/key and no ca.crt or cacert"+present(data),
			"Create it with kubectl create secret tls NAME --cert CERT --key KEY.")
	}
	m := Material{Format: format, names: names, CA: data[names.ca], CRL: data[names.crl]}
	if format != FormatCA {
		m.Cert, m.Key, m.Staple = data[names.cert], NewBytes(data[names.key]), data[names.staple]
	}
	m.fillFrom(data)
	return m, found, nil
}

// fillFrom takes CA and CRL from the other format's names where its own are absent: people mix them.
func (m *Material) fillFrom(data map[string][]byte) {
	other := genericNames
	if m.names == genericNames {
		other = tlsNames
	}
	if len(m.CA) == 0 && len(data[other.ca]) > 0 {
		m.CA, m.names.ca = data[other.ca], other.ca
	}
	if len(m.CRL) == 0 && len(data[other.crl]) > 0 {
		m.CRL, m.names.crl = data[other.crl], other.crl
	}
}

type presence struct{ both, one bool }

func has(data map[string][]byte, n entryNames) presence {
	cert, key := len(data[n.cert]) > 0, len(data[n.key]) > 0
	return presence{both: cert && key, one: cert || key}
}

func incomplete(data map[string][]byte, tls bool) *Error {
	n := genericNames
	if tls {
		n = tlsNames
	}
	here, missing := n.cert, n.key
	if len(data[n.cert]) == 0 {
		here, missing = n.key, n.cert
	}
	what := "no " + missing
	if v, ok := data[missing]; ok && len(v) == 0 {
		what = "an empty " + missing
	}
	return fail(diag.SecretInvalid, missing, fmt.Sprintf("the secret holds %s but %s%s", here, what, present(data)),
		fmt.Sprintf("Add %s to the secret.", missing))
}

// present lists the entries there are, for people who misspelt one.
func present(data map[string][]byte) string {
	keys := make([]string, 0, len(data))
	for k := range data {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return " (it is empty)"
	}
	slices.Sort(keys)
	if len(keys) > 8 {
		keys = append(keys[:8], "…")
	}
	return " (it has " + strings.Join(keys, ", ") + ")"
}
