package enroll

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// PKCS12 writes a pair with its chain as a PKCS #12 container under a password: AES-256 and SHA-256,
// or, legacy, triple DES and SHA-1, which are all that some importers know (Windows before 2019, macOS
// Keychain, Java 8).
func PKCS12(pair *secret.KeyPair, password secret.Bytes, legacy bool) ([]byte, error) {
	if password.Len() == 0 {
		return nil, fail(diag.PKCS12Password, "Give one with --password-file FILE (- for standard input).", "a PKCS #12 container needs a password")
	}
	encoder := pkcs12.Modern2023
	if legacy {
		encoder = pkcs12.LegacyDES
	}
	der, err := encoder.Encode(pair.Signer(), pair.Leaf, pair.Issuers, string(password.Expose()))
	if err != nil {
		return nil, failWith(err, diag.PKCS12Unusable, "Use a password of plain characters.", "the PKCS #12 container cannot be written")
	}
	return der, nil
}

// KeyPEM returns the key of a pair as PKCS #8.
func KeyPEM(pair *secret.KeyPair) (secret.Bytes, error) {
	der, err := x509.MarshalPKCS8PrivateKey(pair.Signer())
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("encode key: %w", err)
	}
	return secret.NewBytes(pemBlock("PRIVATE KEY", der)), nil
}

func pemBlock(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

// ChainPEM writes certificates one after the other.
func ChainPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pemBlock("CERTIFICATE", c.Raw)...)
	}
	return out
}

// ListPEM writes a revocation list as PEM.
func ListPEM(der []byte) []byte { return pemBlock("X509 CRL", der) }

// ObjectName is the namespace and name of a Kubernetes object.
type ObjectName struct{ Namespace, Name string }

// String returns "namespace/name".
func (n ObjectName) String() string { return n.Namespace + "/" + n.Name }

var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// ParseObjectName reads "NAMESPACE/NAME", or "NAME" in a namespace given. The error is an *Error.
func ParseObjectName(s, namespace string) (ObjectName, error) {
	n := ObjectName{namespace, s}
	if ns, name, ok := strings.Cut(s, "/"); ok {
		n = ObjectName{ns, name}
	}
	if !objectName.MatchString(n.Name) || !objectName.MatchString(n.Namespace) || strings.Contains(n.Namespace, ".") {
		return n, fail(diag.EnrolmentInvalid, "Use lower-case letters, digits, - and . as Kubernetes does.", "%q cannot be NAMESPACE/NAME of an object", s)
	}
	return n, nil
}

// NameFor makes an object or file name of any text: what is not allowed becomes "-".
func NameFor(s string) string {
	s = strings.ReplaceAll(strings.ToLower(s), "*", "any")
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, s)
	s = strings.Trim(s[:min(len(s), 200)], "-.")
	if s == "" {
		return "certificate"
	}
	return s
}

// DefaultNamespace is that of the edge's objects where nothing else is said: pools, pulls, their Secrets.
const DefaultNamespace = "default"

// SecretYAML writes a Secret of type kubernetes.io/tls as kubectl does, with ca.crt where there is one.
// labels and annotations are not written; the content is base64.
func SecretYAML(name ObjectName, cert []byte, key secret.Bytes, ca []byte) []byte {
	data := map[string][]byte{"tls.crt": cert, "tls.key": key.Expose()}
	if len(ca) > 0 {
		data["ca.crt"] = ca
	}
	return secretOf(name, "kubernetes.io/tls", data)
}

// TrustConfigMap writes a ConfigMap with CAs (ca.crt) and revocation lists (ca.crl, left out where there
// are none), both PEM, as caRefs and caCertificateRefs take it.
func TrustConfigMap(name ObjectName, cas, lists []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: %s\ndata:\n", name.Name, name.Namespace)
	for _, entry := range []struct {
		key  string
		data []byte
	}{{"ca.crt", cas}, {"ca.crl", lists}} {
		if text := strings.TrimSpace(string(entry.data)); text != "" {
			fmt.Fprintf(&b, "  %s: |\n    %s\n", entry.key, strings.ReplaceAll(text, "\n", "\n    "))
		}
	}
	return b.Bytes()
}

func secretOf(name ObjectName, kind string, data map[string][]byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: %s\ndata:\n", name.Name, name.Namespace, kind)
	for _, k := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(&b, "  %s: %s\n", k, base64.StdEncoding.EncodeToString(data[k]))
	}
	return b.Bytes()
}
