package inspect

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/secret"
)

// title names a certificate or request for people: its subject, or its first name where that is empty.
func (i *Item) title() string {
	if i.Subject != "(empty)" || len(i.Names) == 0 {
		return i.Subject
	}
	_, name, _ := strings.Cut(i.Names[0], ":")
	return name
}

func certificateItem(c *x509.Certificate) *Item {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	i := &Item{
		Kind: KindCertificate, Subject: secret.Subject(c), Issuer: secret.Issuer(c), Serial: c.SerialNumber.Text(16), Version: c.Version,
		Names: names(c.DNSNames, c.IPAddresses, c.EmailAddresses, c.URIs), NotBefore: at(c.NotBefore), NotAfter: at(c.NotAfter),
		Key: secret.KeyType(c.PublicKey), Signature: c.SignatureAlgorithm.String(), CA: c.BasicConstraintsValid && c.IsCA,
		Usages: usages(c), Constraints: constraints(c), Fingerprint: secret.Fingerprint(c), SPKI: base64.StdEncoding.EncodeToString(sum[:]),
		KeyID: hex.EncodeToString(c.SubjectKeyId), IssuerKeyID: hex.EncodeToString(c.AuthorityKeyId),
		Issuers: c.IssuingCertificateURL, CRLs: c.CRLDistributionPoints, Responders: c.OCSPServer,
		cert: c, public: c.PublicKey, raw: secret.NewBytes(c.Raw), label: "CERTIFICATE",
	}
	if i.CA && (c.MaxPathLen > 0 || c.MaxPathLenZero) {
		n := c.MaxPathLen
		i.PathLength = &n
	}
	return i
}

// requestItem reads a certificate request (RFC 2986), or returns nil.
func requestItem(der []byte) *Item {
	q, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(q.RawSubjectPublicKeyInfo)
	return &Item{
		Kind: KindRequest, Subject: secret.Subject(&x509.Certificate{RawSubject: q.RawSubject}),
		Names: names(q.DNSNames, q.IPAddresses, q.EmailAddresses, q.URIs), Key: secret.KeyType(q.PublicKey), Signature: q.SignatureAlgorithm.String(),
		SPKI: base64.StdEncoding.EncodeToString(sum[:]), request: q, public: q.PublicKey, raw: secret.NewBytes(q.Raw), label: "CERTIFICATE REQUEST",
	}
}

func crlItem(l *x509.RevocationList) *Item {
	n := len(l.RevokedCertificateEntries)
	i := &Item{
		Kind: KindCRL, Issuer: secret.Issuer(&x509.Certificate{RawIssuer: l.RawIssuer}), Signature: l.SignatureAlgorithm.String(), Entries: &n,
		ThisUpdate: at(l.ThisUpdate), NextUpdate: at(l.NextUpdate), IssuerKeyID: hex.EncodeToString(l.AuthorityKeyId),
		crl: l, raw: secret.NewBytes(l.Raw), label: "X509 CRL",
	}
	if l.Number != nil {
		i.Number = l.Number.String()
	}
	return i
}

func keyItem(k crypto.Signer, der []byte) *Item {
	if pkcs8, err := x509.MarshalPKCS8PrivateKey(k); err == nil {
		der = pkcs8
	}
	return &Item{Kind: KindKey, Key: secret.KeyType(k.Public()), SPKI: spki(k.Public()), public: k.Public(), raw: secret.NewBytes(der), label: "PRIVATE KEY"}
}

func ocspItem(resp *ocsp.Response, der []byte) *Item {
	return &Item{
		Kind: KindOCSP, Status: ocspStatus(resp), Serial: resp.SerialNumber.Text(16), Signature: resp.SignatureAlgorithm.String(),
		ThisUpdate: at(resp.ThisUpdate), NextUpdate: at(resp.NextUpdate), ocsp: resp, raw: secret.NewBytes(der), label: "OCSP RESPONSE",
	}
}

func ocspStatus(resp *ocsp.Response) string {
	switch resp.Status {
	case ocsp.Good:
		return "good"
	case ocsp.Revoked:
		return "revoked " + resp.RevokedAt.UTC().Format("2006-01-02") + ", " + secret.Revocation{Reason: resp.RevocationReason}.ReasonText()
	}
	return "unknown"
}

// spki returns the pin of a public key: base64 of SHA-256 (RFC 7469 section 2.4).
func spki(pub any) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func names(dns []string, ips []net.IP, emails []string, uris []*url.URL) []string {
	var out []string
	for _, n := range dns {
		out = append(out, "DNS:"+printable(n))
	}
	for _, ip := range ips {
		out = append(out, "IP:"+ip.String())
	}
	for _, e := range emails {
		out = append(out, "email:"+printable(e))
	}
	for _, u := range uris {
		out = append(out, "URI:"+printable(u.String()))
	}
	return out
}

// printable keeps control characters of a certificate out of terminals.
func printable(s string) string {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			q := fmt.Sprintf("%+q", s)
			return q[1 : len(q)-1]
		}
	}
	return s
}

func usages(c *x509.Certificate) []string {
	var out []string
	for bit, word := range []string{"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"} {
		if c.KeyUsage&(1<<bit) != 0 {
			out = append(out, word)
		}
	}
	words := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageAny: "any", x509.ExtKeyUsageServerAuth: "serverAuth", x509.ExtKeyUsageClientAuth: "clientAuth",
		x509.ExtKeyUsageCodeSigning: "codeSigning", x509.ExtKeyUsageEmailProtection: "emailProtection", x509.ExtKeyUsageTimeStamping: "timeStamping", x509.ExtKeyUsageOCSPSigning: "OCSPSigning"}
	for _, u := range c.ExtKeyUsage {
		word := words[u]
		if word == "" {
			word = fmt.Sprintf("usage %d", u)
		}
		out = append(out, word)
	}
	for _, oid := range c.UnknownExtKeyUsage {
		out = append(out, oid.String())
	}
	return out
}

func constraints(c *x509.Certificate) []string {
	var out []string
	add := func(word string, dns []string, ips []*net.IPNet, emails, uris []string) {
		for _, n := range dns {
			out = append(out, word+" DNS:"+printable(n))
		}
		for _, n := range ips {
			out = append(out, word+" IP:"+n.String())
		}
		for _, n := range emails {
			out = append(out, word+" email:"+printable(n))
		}
		for _, n := range uris {
			out = append(out, word+" URI:"+printable(n))
		}
	}
	add("permitted", c.PermittedDNSDomains, c.PermittedIPRanges, c.PermittedEmailAddresses, c.PermittedURIDomains)
	add("excluded", c.ExcludedDNSDomains, c.ExcludedIPRanges, c.ExcludedEmailAddresses, c.ExcludedURIDomains)
	return out
}
