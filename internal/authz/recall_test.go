package authz

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// A cookie is void when any CA of the chain behind it is revoked, and with mode Hard when that cannot be
// judged, as its certificate would be.
func TestCookieFollowsTheChain(t *testing.T) {
	now := time.Now()
	var middle, leaf *testca.Pair
	lists := func(o *office, specs map[*testca.Pair]testca.CRLSpec) {
		o.lists = nil
		for ca, s := range specs {
			l, err := secret.ParseCRLs(ca.CRL(s))
			if err != nil {
				t.Fatal(err)
			}
			o.lists = append(o.lists, l...)
		}
	}
	for name, c := range map[string]struct {
		change func(*office)
		want   diag.Code
	}{
		"intermediate revoked by the root's list": {func(o *office) {
			lists(o, map[*testca.Pair]testca.CRLSpec{o.ca: {Revoked: []*x509.Certificate{middle.Cert}}, middle: {}})
		}, diag.IdentityRevoked},
		"leaf revoked by the intermediate's list": {func(o *office) {
			lists(o, map[*testca.Pair]testca.CRLSpec{o.ca: {}, middle: {Revoked: []*x509.Certificate{leaf.Cert}}})
		}, diag.IdentityRevoked},
		"intermediate's key revoked by the policy": {func(o *office) {
			sum := sha256.Sum256(middle.Cert.RawSubjectPublicKeyInfo)
			o.policy.Revocation.SPKI = []string{base64.StdEncoding.EncodeToString(sum[:])}
		}, diag.IdentityRevoked},
		"leaf only": {func(o *office) {
			o.policy.Revocation.LeafOnly = true
			lists(o, map[*testca.Pair]testca.CRLSpec{o.ca: {Revoked: []*x509.Certificate{middle.Cert}}, middle: {}})
		}, 0},
		"lists left out": {func(o *office) {
			o.policy.Revocation.NoCRL = true
			lists(o, map[*testca.Pair]testca.CRLSpec{o.ca: {Revoked: []*x509.Certificate{middle.Cert}}, middle: {}})
		}, 0},
		"hard, all there": {func(o *office) {
			o.policy.Revocation.Hard = true
			lists(o, map[*testca.Pair]testca.CRLSpec{o.ca: {}, middle: {}})
		}, 0},
		"hard, one missing": {func(o *office) {
			o.policy.Revocation.Hard = true
			lists(o, map[*testca.Pair]testca.CRLSpec{o.ca: {}})
		}, diag.IdentityRevoked},
		"hard, the root's is another's of its name": {func(o *office) {
			o.policy.Revocation.Hard = true
			lists(o, map[*testca.Pair]testca.CRLSpec{testca.New(t, testca.Spec{CommonName: "Root"}): {}, middle: {}})
		}, diag.IdentityRevoked},
		"hard, none": {func(o *office) { o.policy.Revocation.Hard = true }, diag.IdentityRevoked},
		"hard, one stale": {func(o *office) {
			o.policy.Revocation.Hard = true
			lists(o, map[*testca.Pair]testca.CRLSpec{o.ca: {}, middle: {ThisUpdate: now.Add(-2 * time.Hour), NextUpdate: now.Add(-time.Hour)}})
		}, diag.IdentityRevoked},
		"soft, one stale": {func(o *office) {
			lists(o, map[*testca.Pair]testca.CRLSpec{middle: {ThisUpdate: now.Add(-2 * time.Hour), NextUpdate: now.Add(-time.Hour)}})
		}, 0},
	} {
		o := newOffice(t, ir.Session{Algorithm: "ES256"})
		middle = o.ca.Intermediate(testca.Spec{CommonName: "Middle"})
		leaf = middle.Issue(testca.Spec{CommonName: "vera"})
		value := valueOf(t, o.cookie(leaf.Cert, "h.test", "", now, middle.Cert))
		changed := *o.policy
		o.policy = &changed
		c.change(o)
		o.make()
		// The certificate is judged alike.
		r := ask(leaf.Cert)
		r.Presented = append(r.Presented, middle.Cert)
		if d := o.set.Decide(o.index, r); (d.Code != 0) != (c.want != 0) {
			t.Errorf("%s: the certificate: %s %s", name, d.Code, d.Detail)
		}
		if got := o.alone(value, "h.test", now.Add(time.Second)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
