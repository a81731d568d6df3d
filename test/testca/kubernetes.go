package testca

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Format is a way of naming a Secret's entries.
type Format string

// Formats of Secrets, as kubectl and Istio make them.
const (
	FormatTLS     Format = "tls"     // kubectl create secret tls: tls.crt, tls.key; with a CA ca.crt
	FormatGeneric Format = "generic" // cert, key; with a CA cacert
	FormatCACert  Format = "cacert"  // the CA alone, as in NAME-cacert
)

// SecretData returns the entries of a Secret for p; ca (PEM, may be nil) and crl (PEM, may be nil)
// are added under the format's names.
func (p *Pair) SecretData(f Format, ca, crl []byte) map[string][]byte {
	data := map[string][]byte{}
	put := func(key string, value []byte) {
		if len(value) > 0 {
			data[key] = value
		}
	}
	switch f {
	case FormatGeneric:
		put("cert", p.ChainPEM())
		put("key", p.KeyPEM())
		put("cacert", ca)
		put("crl", crl)
	case FormatCACert:
		put("cacert", ca)
		put("crl", crl)
	default:
		put("tls.crt", p.ChainPEM())
		put("tls.key", p.KeyPEM())
		put("ca.crt", ca)
		put("ca.crl", crl)
	}
	return data
}

// SecretYAML renders a Secret as kubectl create secret --dry-run=client -o yaml does. The type is
// kubernetes.io/tls where the entries are just tls.crt and tls.key, else Opaque.
func SecretYAML(namespace, name string, data map[string][]byte) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\ndata:\n")
	keys := make([]string, 0, len(data))
	for k := range data {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "  %s: %s\n", k, base64.StdEncoding.EncodeToString(data[k]))
	}
	fmt.Fprintf(&b, "kind: Secret\nmetadata:\n  creationTimestamp: null\n  name: %s\n  namespace: %s\n", name, namespace)
	if slices.Equal(keys, []string{"tls.crt", "tls.key"}) {
		b.WriteString("type: kubernetes.io/tls\n")
	}
	return b.String()
}
