package secret_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

func TestParseCRLs(t *testing.T) {
	ca, other := testca.New(t, testca.Spec{CommonName: "CA"}), testca.New(t, testca.Spec{CommonName: "CA"})
	bad, good := ca.Issue(testca.Spec{}), ca.Issue(testca.Spec{})
	list := ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{bad.Cert}, Reason: 1})
	crls, err := secret.ParseCRLs(join(list, other.CRL(testca.CRLSpec{}), list))
	if err != nil || len(crls) != 2 {
		t.Fatal(crls, err)
	}
	der, _ := pem.Decode(list)
	crls, err = secret.ParseCRLs(der.Bytes)
	if err != nil || len(crls) != 1 {
		t.Fatal(crls, err)
	}
	c := crls[0]
	if r, ok := c.Lookup(bad.Cert.SerialNumber); !ok || r.ReasonText() != "keyCompromise" || r.At.IsZero() {
		t.Error(r, ok)
	}
	if _, ok := c.Lookup(good.Cert.SerialNumber); ok {
		t.Error("a good serial is found")
	}
	if _, ok := c.Lookup(new(big.Int).Neg(bad.Cert.SerialNumber)); ok {
		t.Error("a negative serial is another serial")
	}
	if c.SignedBy(ca.Cert) != nil || c.SignedBy(other.Cert) == nil || c.SignedBy(good.Cert) == nil {
		t.Error("only its issuer signed the list, whatever the name")
	}
	if c.Len() != 1 || c.Issuer != "CN=CA" || c.NextUpdate.IsZero() {
		t.Errorf("%d %q %v", c.Len(), c.Issuer, c.NextUpdate)
	}
}

func TestParseCRLsRefuses(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	ext := func(oid []int, critical bool, v any) []pkix.Extension {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return []pkix.Extension{{Id: oid, Critical: critical, Value: der}}
	}
	type idp struct {
		OnlyUser bool `asn1:"optional,tag:1"`
	}
	tests := map[string]struct {
		data  []byte
		words string
	}{
		"partial":          {ca.CRL(testca.CRLSpec{Extra: ext([]int{2, 5, 29, 28}, true, idp{true})}), "partial or indirect"},
		"delta":            {ca.CRL(testca.CRLSpec{Extra: ext([]int{2, 5, 29, 27}, true, 1)}), "delta"},
		"unknown critical": {ca.CRL(testca.CRLSpec{Extra: ext([]int{1, 2, 3}, true, 1)}), "1.2.3 is not known"},
		"junk":             {[]byte("junk"), "no PEM block"},
		"empty":            {nil, "is empty"},
		"a certificate":    {ca.CertPEM(), `"CERTIFICATE", but no X509 CRL`},
		"one good, one bad": {join(ca.CRL(testca.CRLSpec{}), []byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")),
			"cannot be used"},
	}
	for name, tc := range tests {
		crls, err := secret.ParseCRLs(tc.data)
		if crls != nil || code(err) != diag.CRLInvalid || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s: %v, error %v", name, crls, err)
		}
	}
	if crls, err := secret.ParseCRLs(ca.CRL(testca.CRLSpec{Extra: ext([]int{1, 2, 3}, false, 1)})); err != nil || len(crls) != 1 {
		t.Errorf("an unknown extension that is not critical: %v", err)
	}
}

func TestCRLSignedWithSHA1IsRefused(t *testing.T) {
	dir := t.TempDir()
	ca := testca.New(t, testca.Spec{Key: testca.RSA2048})
	ca.Write(dir, "ca")
	writeAll(t, dir, map[string]string{"index.txt": "", "crlnumber": "01\n",
		"ca.cnf": "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_crl_days=7\n"})
	old := testca.OpenSSL(t, dir, "ca", "-config", "ca.cnf", "-gencrl", "-md", "sha1", "-cert", "ca.crt", "-keyfile", "ca.key")
	if _, err := secret.ParseCRLs(old); err == nil || !strings.Contains(err.Error(), "SHA1-RSA") {
		t.Error(err)
	}
	if crls, err := secret.ParseCRLs(testca.OpenSSL(t, dir, "ca", "-config", "ca.cnf", "-gencrl", "-md", "sha256", "-cert", "ca.crt", "-keyfile", "ca.key")); err != nil || crls[0].SignedBy(ca.Cert) != nil {
		t.Error(err)
	}
}
