package trust_test

import (
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestOngoing judges clients two hours after they came: what the clock alone has changed ends nothing,
// and hides nothing that does.
func TestOngoing(t *testing.T) {
	since := time.Now()
	now, soon := since.Add(2*time.Hour), since.Add(time.Hour)
	root, other := testca.New(t, testca.Spec{CommonName: "Root"}), testca.New(t, testca.Spec{CommonName: "Other"})
	brief := testca.New(t, testca.Spec{CommonName: "Brief", NotAfter: soon})
	renewed := testca.New(t, testca.Spec{CommonName: "Brief", Reuse: brief.Key, NotBefore: since.Add(30 * time.Minute), NotAfter: now.Add(time.Hour)})
	lasting, expired := root.Issue(testca.Spec{DNS: []string{"a.test"}}), root.Issue(testca.Spec{DNS: []string{"a.test"}, NotAfter: soon})
	ofBrief := brief.Issue(testca.Spec{DNS: []string{"a.test"}, NotAfter: soon})
	list := func(by *testca.Pair, s testca.CRLSpec, revoked ...*testca.Pair) *secret.CRL {
		for _, p := range revoked {
			s.Revoked = append(s.Revoked, p.Cert)
		}
		return parseCRL(t, by.CRL(s))
	}
	due, fresh := testca.CRLSpec{NextUpdate: soon}, testca.CRLSpec{ThisUpdate: now.Add(-time.Minute)}
	for _, c := range []struct {
		name  string
		who   *testca.Pair
		roots *secret.Bundle
		crls  []*secret.CRL
		sans  []string
		code  diag.Code
	}{
		{"as before", lasting, bundle(root), nil, nil, 0},
		{"another CA beside it", lasting, bundle(root, other), nil, nil, 0},
		{"CA gone", lasting, bundle(other), nil, nil, diag.ClientCertUnknownCA},
		{"no CA left", lasting, bundle(), nil, nil, diag.TrustMissing},
		{"revoked", lasting, bundle(root), []*secret.CRL{list(root, fresh, lasting)}, nil, diag.ClientCertRevoked},
		{"another one revoked", lasting, bundle(root), []*secret.CRL{list(root, fresh, expired)}, nil, 0},
		{"another name wanted", lasting, bundle(root), nil, []string{"b.test"}, diag.ClientCertSANMismatch},
		{"list is due", lasting, bundle(root), []*secret.CRL{list(root, due)}, nil, 0},
		{"list is due, and another name wanted", lasting, bundle(root), []*secret.CRL{list(root, due)}, []string{"b.test"}, diag.ClientCertSANMismatch},
		{"list is due, and names it", lasting, bundle(root), []*secret.CRL{list(root, due, lasting)}, nil, diag.ClientCertRevoked},
		{"no list of its CA", lasting, bundle(root), []*secret.CRL{list(other, fresh)}, nil, diag.CRLMissing},
		{"expired", expired, bundle(root), nil, nil, 0},
		{"expired, with a list of now", expired, bundle(root), []*secret.CRL{list(root, fresh)}, nil, 0},
		{"expired, and revoked now", expired, bundle(root), []*secret.CRL{list(root, fresh, expired)}, nil, diag.ClientCertRevoked},
		{"expired, and its CA gone", expired, bundle(other), nil, nil, diag.ClientCertUnknownCA},
		{"expired, and another name wanted", expired, bundle(root), nil, []string{"b.test"}, diag.ClientCertSANMismatch},
		{"its CA expired with it", ofBrief, bundle(brief), nil, nil, 0},
		{"its CA was renewed", ofBrief, bundle(renewed), nil, nil, 0},
	} {
		for _, mode := range []ir.ClientAuthMode{ir.ClientAuthRequire, ir.ClientAuthRequest} {
			p := require(c.roots)
			p.Mode, p.CRLs, p.InsecureSkip = mode, c.crls, mode == ir.ClientAuthRequest
			if c.sans != nil {
				p.SANs = trust.ParseSANs(c.sans)
			}
			cache := trust.NewCache(100)
			v := trust.New(p, cache)
			for range 2 { // the second time from the cache
				d := v.VerifyOngoing(c.who.Chain(), since, now)
				got := d.Code
				if p.InsecureSkip {
					got = d.Ignored
				}
				if got != c.code || p.InsecureSkip && d.Code != 0 {
					t.Errorf("%s (%s): %v %q, want %v", c.name, mode, got, d.Detail, c.code)
				}
			}
		}
	}
	if d := trust.New(require(bundle(root)), nil).VerifyOngoing(nil, since, now); d.Code != diag.ClientCertMissing {
		t.Errorf("who showed none where one is needed now: %v", d.Code)
	}
}

// TestOngoingIsNoHandshake shows that the leniency stays out of handshakes, in a shared cache too.
func TestOngoingIsNoHandshake(t *testing.T) {
	root := testca.New(t, testca.Spec{})
	now := time.Now()
	leaf := root.Issue(testca.Spec{})
	p := require(bundle(root))
	p.CRLs = []*secret.CRL{parseCRL(t, root.CRL(testca.CRLSpec{NextUpdate: now.Add(-time.Minute)}))}
	v := trust.New(p, trust.NewCache(10))
	if d := v.VerifyOngoing(leaf.Chain(), now.Add(-time.Hour), now); d.Code != 0 || len(d.Warnings) != 1 {
		t.Errorf("a connection: %v, %d warnings", d.Code, len(d.Warnings))
	}
	if d := v.VerifyClient(leaf.Chain(), now); d.Code != diag.CRLStale {
		t.Errorf("a handshake: %v", d.Code)
	}
}
