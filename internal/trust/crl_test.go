package trust_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

func parseCRL(t *testing.T, data []byte) *secret.CRL {
	t.Helper()
	crls, err := secret.ParseCRLs(data)
	if err != nil {
		t.Fatal(err)
	}
	return crls[0]
}

func TestRevocation(t *testing.T) {
	now := time.Now()
	root := testca.New(t, testca.Spec{CommonName: "Root"})
	twin := testca.New(t, testca.Spec{CommonName: "Root"})
	inter := root.Intermediate(testca.Spec{CommonName: "Inter"})
	noCRLs := testca.New(t, testca.Spec{CommonName: "No CRLs", KeyUsage: x509.KeyUsageCertSign})
	leaf, deep, unsigned := root.Issue(testca.Spec{}), inter.Issue(testca.Spec{}), noCRLs.Issue(testca.Spec{})
	other := twin.Issue(testca.Spec{Serial: leaf.Cert.SerialNumber})
	crl := func(by *testca.Pair, s testca.CRLSpec) *secret.CRL { return parseCRL(t, by.CRL(s)) }
	names := func(ps ...*testca.Pair) testca.CRLSpec {
		var s testca.CRLSpec
		for _, p := range ps {
			s.Revoked = append(s.Revoked, p.Cert)
		}
		return s
	}
	empty := testca.CRLSpec{}
	stale := testca.CRLSpec{ThisUpdate: now.Add(-48 * time.Hour), NextUpdate: now.Add(-24 * time.Hour)}
	staleNaming := stale
	staleNaming.Revoked = []*x509.Certificate{leaf.Cert}
	future := testca.CRLSpec{ThisUpdate: now.Add(time.Hour)}
	skewed := testca.CRLSpec{ThisUpdate: now.Add(time.Minute)}
	older := names(leaf)
	older.ThisUpdate = now.Add(-2 * time.Hour)
	tests := []struct {
		name string
		leaf *testca.Pair
		crls []*secret.CRL
		hard diag.Code
		soft diag.Code
		tell string
	}{
		{"no lists at all", leaf, nil, 0, 0, ""},
		{"good", leaf, []*secret.CRL{crl(root, empty)}, 0, 0, ""},
		{"revoked", leaf, []*secret.CRL{crl(root, names(leaf))}, diag.ClientCertRevoked, diag.ClientCertRevoked, "was revoked at"},
		{"same serial of another CA of that name", leaf, []*secret.CRL{crl(root, empty), crl(twin, names(other))}, 0, 0, ""},
		{"list of another CA of that name only", leaf, []*secret.CRL{crl(twin, names(other))}, diag.CRLMissing, 0, `its issuer "CN=Root"`},
		{"stale", leaf, []*secret.CRL{crl(root, stale)}, diag.CRLStale, 0, "24 h ago"},
		{"stale, but names it", leaf, []*secret.CRL{crl(root, staleNaming)}, diag.ClientCertRevoked, diag.ClientCertRevoked, ""},
		{"not valid yet", leaf, []*secret.CRL{crl(root, future)}, diag.CRLStale, 0, "is a clock wrong?"},
		{"a minute in the future", leaf, []*secret.CRL{crl(root, skewed)}, 0, 0, ""},
		{"taken off a newer list", leaf, []*secret.CRL{crl(root, older), crl(root, empty)}, 0, 0, ""},
		{"intermediate without a list", deep, []*secret.CRL{crl(root, empty)}, diag.CRLMissing, 0, `its issuer "CN=Inter"`},
		{"both lists", deep, []*secret.CRL{crl(root, empty), crl(inter, empty)}, 0, 0, ""},
		{"intermediate revoked", deep, []*secret.CRL{crl(root, names(inter)), crl(inter, empty)}, diag.ClientCertRevoked, diag.ClientCertRevoked, `the CA "CN=Inter" was revoked`},
		{"revoked outweighs missing", deep, []*secret.CRL{crl(root, names(inter))}, diag.ClientCertRevoked, diag.ClientCertRevoked, ""},
		{"a list the CA may not sign", unsigned, []*secret.CRL{forge(t, noCRLs)}, diag.CRLMissing, 0, ""},
	}
	roots := bundle(root, twin, noCRLs)
	for _, tc := range tests {
		for mode, want := range map[trust.CRLMode]diag.Code{trust.CRLHard: tc.hard, trust.CRLSoft: tc.soft} {
			p := require(roots)
			p.CRLs, p.CRLMode = tc.crls, mode
			v := trust.New(p, nil)
			for range 2 { // the second time with remembered signatures
				got := v.VerifyClient(tc.leaf.Chain(), now)
				if got.Code != want || got.Code != 0 && !strings.Contains(got.Detail, tc.tell) {
					t.Errorf("%s (mode %d): %v %q, want %v", tc.name, mode, got.Code, got.Detail, want)
				}
				if warned := len(got.Warnings) > 0; mode == trust.CRLSoft && warned != (tc.hard != tc.soft) {
					t.Errorf("%s: warnings %v", tc.name, got.Warnings)
				}
			}
		}
	}
}

// forge makes a list signed with the key of a CA that may not sign lists.
func forge(t *testing.T, ca *testca.Pair) *secret.CRL {
	t.Helper()
	may := *ca
	cert := *ca.Cert
	cert.KeyUsage |= x509.KeyUsageCRLSign
	may.Cert = &cert
	return parseCRL(t, may.CRL(testca.CRLSpec{}))
}

func TestRevokedLeafInTheBundle(t *testing.T) {
	root := testca.New(t, testca.Spec{})
	leaf := root.Issue(testca.Spec{})
	p := require(bundle(root, leaf))
	p.CRLs = []*secret.CRL{parseCRL(t, root.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{leaf.Cert}}))}
	if got := trust.New(p, nil).VerifyClient(leaf.Chain(), time.Now()); got.Code != diag.ClientCertRevoked {
		t.Errorf("%v %q", got.Code, got.Detail)
	}
}
