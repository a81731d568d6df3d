package trust_test

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

func bundle(ps ...*testca.Pair) *secret.Bundle {
	var certs []*x509.Certificate
	for _, p := range ps {
		certs = append(certs, p.Cert)
	}
	return secret.NewBundle(certs...)
}

func require(roots *secret.Bundle) trust.Policy {
	return trust.Policy{Mode: ir.ClientAuthRequire, Roots: roots}
}

func TestClientCauses(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	root := testca.New(t, testca.Spec{CommonName: "Root", Organization: "example Inc."})
	twin := testca.New(t, testca.Spec{CommonName: "Root", Organization: "example Inc.", Serial: root.Cert.SerialNumber})
	inter := root.Intermediate(testca.Spec{})
	client := testca.Spec{CommonName: "c", EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	with := func(edit func(*testca.Spec)) testca.Spec {
		s := client
		edit(&s)
		return s
	}
	rsaRoot := testca.New(t, testca.Spec{CommonName: "RSA root", Key: testca.RSA2048})
	weakRoot := testca.New(t, testca.Spec{CommonName: "Weak root", Key: testca.RSA1024})
	oldRoot := testca.New(t, testca.Spec{CommonName: "Old root", NotBefore: now.Add(-9 * day), NotAfter: now.Add(-day)})
	oldInter := root.Intermediate(testca.Spec{CommonName: "Old inter", NotBefore: now.Add(-9 * day), NotAfter: now.Add(-3 * day)})
	short := testca.New(t, testca.Spec{CommonName: "Short", PathLen: -1})
	named := testca.New(t, testca.Spec{CommonName: "Named", PermittedDNS: []string{"good.test"}})
	serverOnly := root.Intermediate(testca.Spec{CommonName: "Server CA", EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	leafAsCA := root.Issue(testca.Spec{CommonName: "Leaf as CA"})
	v1 := root.Version1("old")
	v1Root := testca.SelfSignedVersion1(t, "old root")
	self := testca.SelfSigned(t, with(func(s *testca.Spec) { s.CommonName = "self" }))
	critical := []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	chain := func(ps ...*testca.Pair) (out []*x509.Certificate) {
		for _, p := range ps {
			out = append(out, p.Chain()...)
		}
		return out
	}
	tests := []struct {
		name      string
		presented []*x509.Certificate
		roots     *secret.Bundle
		code      diag.Code
		words     string
	}{
		{"good", chain(root.Issue(client)), bundle(root), 0, ""},
		{"good, with intermediate", chain(inter.Issue(client)), bundle(root), 0, ""},
		{"good, among twins", chain(root.Issue(client)), bundle(twin, root), 0, ""},
		{"good, without usages", chain(root.Issue(with(func(s *testca.Spec) { s.EKU, s.NoEKU = nil, true }))), bundle(root), 0, ""},
		{"good, intermediate as anchor", chain(inter.Issue(client))[:1], bundle(inter), 0, ""},
		{"good, itself in the bundle", chain(self), bundle(self), 0, ""},
		{"good, X.509 version 1", chain(v1), bundle(root), 0, ""},
		{"good, version 1 root", chain(v1Root.Issue(client)), bundle(v1Root), 0, ""},
		{"missing", nil, bundle(root), diag.ClientCertMissing, `accepted issuers: "CN=Root,O=example Inc."`},
		{"trust missing", chain(root.Issue(client)), nil, diag.TrustMissing, "missing or empty"},
		{"trust and certificate missing", nil, bundle(), diag.TrustMissing, "missing or empty"},
		{"unknown CA", chain(root.Issue(client)), bundle(rsaRoot), diag.ClientCertUnknownCA, `the issuer "CN=Root,O=example Inc." of "CN=c" is not accepted; accepted are "CN=RSA root"`},
		{"same subject and serial, another key", chain(root.Issue(client)), bundle(twin), diag.ClientCertUnknownCA, `a CA named "CN=Root,O=example Inc." is accepted, but it has another key`},
		{"intermediate not sent", chain(inter.Issue(client))[:1], bundle(root), diag.ClientCertUnknownCA, `the issuer "CN=Test Intermediate"`},
		{"unknown above the intermediate", chain(inter.Issue(client)), bundle(rsaRoot), diag.ClientCertUnknownCA, `ends at "CN=Test Intermediate", whose issuer "CN=Root,O=example Inc."`},
		{"unknown root sent along", append(chain(inter.Issue(client)), root.Cert), bundle(rsaRoot), diag.ClientCertUnknownCA, `ends at the root "CN=Root,O=example Inc."`},
		{"self-signed", chain(self), bundle(root), diag.ClientCertUnknownCA, "is self-signed and not in the trust bundle"},
		{"issued by a leaf", append(chain(leafAsCA.Issue(client))[:1], leafAsCA.Cert), bundle(root), diag.ClientCertUnknownCA, `"CN=Leaf as CA", which is no CA`},
		{"issued by a leaf in the bundle", chain(leafAsCA.Issue(client))[:1], bundle(leafAsCA), diag.ClientCertUnknownCA, "which is no CA"},
		{"issued by a version 1 leaf", append(chain(v1.Issue(client))[:1], v1.Cert), bundle(root), diag.ClientCertUnknownCA, "is no CA"},
		{"issued by a version 1 leaf in the bundle", chain(v1.Issue(client))[:1], bundle(v1), diag.ClientCertUnknownCA, "cannot issue others"},
		{"expired", chain(root.Issue(with(func(s *testca.Spec) { s.NotBefore, s.NotAfter = now.Add(-9*day), now.Add(-3*day) }))), bundle(root), diag.ClientCertExpired, "client certificate \"CN=c\" expired at"},
		{"expired and unknown", chain(root.Issue(with(func(s *testca.Spec) { s.NotBefore, s.NotAfter = now.Add(-9*day), now.Add(-3*day) }))), bundle(rsaRoot), diag.ClientCertExpired, `3 d ago; its issuer "CN=Root,O=example Inc." is not accepted either`},
		{"not yet valid", chain(root.Issue(with(func(s *testca.Spec) { s.NotBefore = now.Add(58 * time.Second) }))), bundle(root), diag.ClientCertNotYetValid, "is a clock wrong?"},
		{"expired root", chain(oldRoot.Issue(client)), bundle(oldRoot), diag.ClientCertExpired, `the CA "CN=Old root" expired at`},
		{"expired intermediate", chain(oldInter.Issue(client)), bundle(root), diag.ClientCertExpired, `the CA "CN=Old inter" expired at`},
		{"wrong usage", chain(root.Issue(with(func(s *testca.Spec) { s.EKU = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))), bundle(root), diag.ClientCertWrongEKU, "has the usages serverAuth, needed is clientAuth"},
		{"wrong usage of a CA", chain(serverOnly.Issue(client)), bundle(root), diag.ClientCertWrongEKU, `the CA "CN=Server CA" has the usages serverAuth`},
		{"a CA as client", chain(root.Intermediate(with(func(s *testca.Spec) {}))), bundle(root), diag.ClientCertWrongEKU, "is a CA's, and its key usage lacks digitalSignature"},
		{"the root itself as client", []*x509.Certificate{root.Cert}, bundle(root), diag.ClientCertWrongEKU, "is a CA's, and its key usage lacks digitalSignature"},
		{"a CA that may sign handshakes", chain(root.Intermediate(with(func(s *testca.Spec) { s.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature }))), bundle(root), 0, ""},
		{"RSA 1024", chain(root.Issue(with(func(s *testca.Spec) { s.Key = testca.RSA1024 }))), bundle(root), diag.ClientCertWeakKey, "RSA-1024"},
		{"P-224", chain(root.Issue(with(func(s *testca.Spec) { s.Key = testca.P224 }))), bundle(root), diag.ClientCertWeakKey, "ECDSA-P224"},
		{"RSA 1024 root", chain(weakRoot.Issue(client)), bundle(weakRoot), diag.ClientCertWeakKey, `the CA "CN=Weak root"`},
		{"SHA-1 by RSA", chain(rsaRoot.Issue(with(func(s *testca.Spec) { s.SHA1 = true }))), bundle(rsaRoot), diag.ClientCertWeakKey, "SHA1-RSA"},
		{"SHA-1 by ECDSA", chain(root.Issue(with(func(s *testca.Spec) { s.SHA1 = true }))), bundle(root), diag.ClientCertWeakKey, "ECDSA-SHA1"},
		{"path length", chain(short.Intermediate(testca.Spec{}).Issue(client)), bundle(short), diag.ClientCertChainTooLong, "path length 0"},
		{"too many certificates", chain(slices.Repeat([]*testca.Pair{inter}, 41)...), bundle(root), diag.ClientCertChainTooLong, "41 certificates"},
		{"name constraint", chain(named.Issue(with(func(s *testca.Spec) { s.DNS = []string{"bad.test"} }))), bundle(named), diag.ClientCertNameConstraint, "bad.test"},
		{"name constraint kept", chain(named.Issue(with(func(s *testca.Spec) { s.DNS = []string{"a.good.test"} }))), bundle(named), 0, ""},
		{"unknown critical extension", chain(root.Issue(with(func(s *testca.Spec) { s.Extra = critical }))), bundle(root), diag.ClientCertMalformed, "critical extension"},
		{"line end in a name", chain(root.Issue(with(func(s *testca.Spec) { s.Extra = []pkix.Extension{dnsName("a\nb")} }))), bundle(root), diag.ClientCertMalformed, "0x0a"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := trust.New(require(tc.roots), nil).VerifyClient(tc.presented, now)
			if got.Code != tc.code || !strings.Contains(got.Detail, tc.words) {
				t.Errorf("%v %q, want %v %q", got.Code, got.Detail, tc.code, tc.words)
			}
			if (got.Code == 0) != got.Verified() || (got.Code == 0) != (len(got.Chain) > 0) {
				t.Errorf("verified %v, chain of %d", got.Verified(), len(got.Chain))
			}
			p := require(tc.roots)
			p.InsecureSkip, p.Mode = true, ir.ClientAuthRequest
			soft := trust.New(p, nil).VerifyClient(tc.presented, now)
			if soft.Code != 0 || soft.Verified() != (tc.code == 0) || len(tc.presented) > 0 && soft.Ignored != tc.code {
				t.Errorf("with InsecureSkip: %v, ignored %v, verified %v", soft.Code, soft.Ignored, soft.Verified())
			}
		})
	}
	got := trust.New(require(bundle(root)), nil).VerifyClient(chain(v1), now)
	if len(got.Warnings) != 1 || got.Warnings[0].Code != diag.CertVersion1 {
		t.Errorf("a version 1 certificate is to be warned about: %v", got.Warnings)
	}
}

func dnsName(s string) pkix.Extension {
	der, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(s)}})
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}
}

func TestModes(t *testing.T) {
	root, other := testca.New(t, testca.Spec{}), testca.New(t, testca.Spec{})
	good, bad := root.Issue(testca.Spec{}).Chain(), other.Issue(testca.Spec{}).Chain()
	tests := []struct {
		mode               ir.ClientAuthMode
		none, refused, odd diag.Code // no certificate, a stranger's, and what is ignored of it
	}{
		{ir.ClientAuthRequire, diag.ClientCertMissing, diag.ClientCertUnknownCA, 0},
		{ir.ClientAuthOptional, 0, diag.ClientCertUnknownCA, 0},
		{ir.ClientAuthRequest, 0, 0, diag.ClientCertUnknownCA},
		{ir.ClientAuthNone, 0, 0, 0},
	}
	for _, tc := range tests {
		p, err := trust.ClientPolicy(ir.ClientAuth{Mode: tc.mode}, &ir.TrustBundle{Bundle: bundle(root)})
		if err != nil {
			t.Fatal(err)
		}
		v := trust.New(p, nil)
		if got := v.VerifyClient(nil, time.Now()); got.Code != tc.none || got.Verified() {
			t.Errorf("%s without: %v", tc.mode, got)
		}
		if got := v.VerifyClient(bad, time.Now()); got.Code != tc.refused || got.Ignored != tc.odd || got.Verified() {
			t.Errorf("%s with a stranger's: %v ignored %v", tc.mode, got.Code, got.Ignored)
		}
		if got := v.VerifyClient(good, time.Now()); got.Code != 0 || got.Verified() != (tc.mode != ir.ClientAuthNone) {
			t.Errorf("%s with a good one: %v", tc.mode, got.Code)
		}
	}
}

func TestSeedCertificates(t *testing.T) {
	seed := testca.SeedCerts(t, t.TempDir())
	now := time.Now()
	one, two := seed.Pair(testca.Set1, "example.com"), seed.Pair(testca.Set2, "example.com")
	client := seed.Pair(testca.Set1, "client.example.com").Chain()
	if got := trust.New(require(bundle(one)), nil).VerifyClient(client, now); !got.Verified() || len(got.Warnings) != 1 {
		t.Errorf("the walk's client: %v %s", got.Code, got.Detail)
	}
	got := trust.New(require(bundle(two)), nil).VerifyClient(client, now)
	if got.Code != diag.ClientCertUnknownCA || !strings.Contains(got.Detail, "another key") {
		t.Errorf("the CA of the same name: %v %s", got.Code, got.Detail)
	}
	server := seed.Pair(testca.Set1, "httpbin.example.com").Chain()
	if got := trust.New(trust.Policy{Roots: bundle(one)}, nil).VerifyServer(server, "httpbin.example.com", now); got.Code != diag.UpstreamCertNoSAN {
		t.Errorf("a common name is no name: %v %s", got.Code, got.Detail)
	}
}

func TestPins(t *testing.T) {
	root := testca.New(t, testca.Spec{})
	leaf, other := root.Issue(testca.Spec{}), root.Issue(testca.Spec{})
	spki := func(p *testca.Pair) string {
		sum := sha256.Sum256(p.Cert.RawSubjectPublicKeyInfo)
		return base64.StdEncoding.EncodeToString(sum[:])
	}
	hash := func(p *testca.Pair) string {
		sum := sha256.Sum256(p.Cert.Raw)
		return hex.EncodeToString(sum[:])
	}
	tests := []struct {
		name string
		auth ir.ClientAuth
		code diag.Code
	}{
		{"spki", ir.ClientAuth{SPKI: []string{spki(other), spki(leaf)}}, 0},
		{"hash", ir.ClientAuth{Hashes: []string{strings.ToUpper(hash(leaf))}}, 0},
		{"either list", ir.ClientAuth{SPKI: []string{spki(other)}, Hashes: []string{hash(leaf)}}, 0},
		{"another", ir.ClientAuth{SPKI: []string{spki(other)}, Hashes: []string{hash(other)}}, diag.ClientCertPinMismatch},
		{"the issuer's", ir.ClientAuth{SPKI: []string{spki(root)}}, diag.ClientCertPinMismatch},
	}
	for _, tc := range tests {
		tc.auth.Mode = ir.ClientAuthRequire
		p, err := trust.ClientPolicy(tc.auth, &ir.TrustBundle{Bundle: bundle(root)})
		if err != nil {
			t.Fatal(err)
		}
		got := trust.New(p, nil).VerifyClient(leaf.Chain(), time.Now())
		if got.Code != tc.code || tc.code != 0 && !strings.Contains(got.Detail, spki(leaf)) {
			t.Errorf("%s: %v %q", tc.name, got.Code, got.Detail)
		}
	}
	for _, bad := range []ir.ClientAuth{{SPKI: []string{"x"}}, {Hashes: []string{"00"}}, {SPKI: []string{""}}} {
		if _, err := trust.ClientPolicy(bad, nil); err == nil {
			t.Errorf("%v: a malformed pin must not be dropped", bad)
		}
	}
}

func TestServerNames(t *testing.T) {
	root := testca.New(t, testca.Spec{})
	leaf := root.Issue(testca.Spec{CommonName: "cn.test", DNS: []string{"a.test", "*.w.test"}, IPs: []string{"10.0.0.1", "2001:db8::1"},
		URIs: []string{"spiffe://mesh/ns/%61"}, Emails: []string{"a@mail.test"}})
	cnOnly := root.Issue(testca.Spec{CommonName: "a.test"})
	tests := []struct {
		name string
		leaf *testca.Pair
		host string
		sans []string
		code diag.Code
	}{
		{"name", leaf, "a.test", nil, 0},
		{"name in capitals", leaf, "A.Test", nil, 0},
		{"wildcard", leaf, "x.w.test", nil, 0},
		{"wildcard of two labels", leaf, "x.y.w.test", nil, diag.UpstreamNameMismatch},
		{"address", leaf, "10.0.0.1", nil, 0},
		{"another address", leaf, "10.0.0.2", nil, diag.UpstreamNameMismatch},
		{"common name", leaf, "cn.test", nil, diag.UpstreamNameMismatch},
		{"common name only", cnOnly, "a.test", nil, diag.UpstreamCertNoSAN},
		{"no name to verify", leaf, "", nil, diag.UpstreamNameMismatch},
		{"SANs instead of the name", leaf, "other.test", []string{"b.test", "a.test"}, 0},
		{"SANs that do not match", leaf, "a.test", []string{"b.test"}, diag.UpstreamNameMismatch},
		{"URI as it was written", leaf, "", []string{"spiffe://mesh/ns/%61"}, 0},
		{"URI in another spelling", leaf, "", []string{"spiffe://mesh/ns/a"}, diag.UpstreamNameMismatch},
		{"e-mail", leaf, "", []string{"a@mail.test"}, 0},
		{"IPv6 in another form", leaf, "", []string{"2001:db8:0::1"}, 0},
		{"an address in a DNS name", root.Issue(testca.Spec{DNS: []string{"10.0.0.1"}}), "", []string{"10.0.0.1"}, diag.UpstreamNameMismatch},
		{"wildcard of the certificate", leaf, "", []string{"x.w.test"}, 0},
		{"wildcard itself", leaf, "", []string{"*.w.test"}, 0},
		{"no wildcards in the list", leaf, "", []string{"*.test"}, diag.UpstreamNameMismatch},
		{"no prefix match", leaf, "", []string{"spiffe://mesh/*"}, diag.UpstreamNameMismatch},
	}
	for _, tc := range tests {
		p, err := trust.ServerPolicy(&ir.UpstreamTLS{SANs: tc.sans, Trust: "x/y"}, &ir.TrustBundle{Bundle: bundle(root)}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := trust.New(p, nil).VerifyServer(tc.leaf.Chain(), tc.host, time.Now()); got.Code != tc.code {
			t.Errorf("%s: %v %q", tc.name, got.Code, got.Detail)
		}
	}
}

func TestServerCauses(t *testing.T) {
	now := time.Now()
	root, other := testca.New(t, testca.Spec{}), testca.New(t, testca.Spec{CommonName: "other"})
	spec := testca.Spec{DNS: []string{"a.test"}}
	leaf := root.Issue(spec)
	old, future, clientOnly := spec, spec, spec
	old.NotBefore, old.NotAfter = now.Add(-48*time.Hour), now.Add(-time.Hour)
	future.NotBefore = now.Add(time.Hour)
	clientOnly.EKU = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	system := root.Pool()
	crls := []*secret.CRL{parseCRL(t, root.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{leaf.Cert}}))}
	stale := []*secret.CRL{parseCRL(t, root.CRL(testca.CRLSpec{NextUpdate: now.Add(-time.Minute)}))}
	tests := []struct {
		name   string
		policy trust.Policy
		leaf   *testca.Pair
		code   diag.Code
	}{
		{"good", trust.Policy{Roots: bundle(root)}, leaf, 0},
		{"system roots", trust.Policy{System: system}, leaf, 0},
		{"system roots beside a bundle", trust.Policy{System: system, Roots: bundle(other)}, leaf, 0},
		{"no trust", trust.Policy{}, leaf, diag.UpstreamCredentialMissing},
		{"unknown", trust.Policy{Roots: bundle(other)}, leaf, diag.UpstreamUnknownCA},
		{"expired", trust.Policy{Roots: bundle(root)}, root.Issue(old), diag.UpstreamCertExpired},
		{"expired, with the other pool first", trust.Policy{Roots: bundle(other), System: system}, root.Issue(old), diag.UpstreamCertExpired},
		{"not yet", trust.Policy{Roots: bundle(root)}, root.Issue(future), diag.UpstreamCertNotYetValid},
		{"usage", trust.Policy{Roots: bundle(root)}, root.Issue(clientOnly), diag.UpstreamCertInvalid},
		{"revoked", trust.Policy{Roots: bundle(root), CRLs: crls}, leaf, diag.UpstreamCertRevoked},
		{"stale list", trust.Policy{Roots: bundle(root), CRLs: stale}, leaf, diag.UpstreamCRLUnusable},
		{"pins", trust.Policy{Roots: bundle(root), SPKI: [][32]byte{{}}}, leaf, diag.UpstreamPinMismatch},
	}
	for _, tc := range tests {
		got := trust.New(tc.policy, nil).VerifyServer(tc.leaf.Chain(), "a.test", now)
		if got.Code != tc.code || got.Verified() != (tc.code == 0) {
			t.Errorf("%s: %v %q", tc.name, got.Code, got.Detail)
		}
		tc.policy.InsecureSkip = true
		if got := trust.New(tc.policy, nil).VerifyServer(tc.leaf.Chain(), "a.test", now); got.Code != 0 || got.Ignored != tc.code {
			t.Errorf("%s with InsecureSkip: %v, ignored %v", tc.name, got.Code, got.Ignored)
		}
	}
	if got := trust.New(trust.Policy{Roots: bundle(root)}, nil).VerifyServer(nil, "a.test", now); got.Code == 0 {
		t.Error("no certificate must not pass")
	}
	p, err := trust.ServerPolicy(&ir.UpstreamTLS{Trust: "a/b"}, nil, system, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := trust.New(p, nil).VerifyServer(leaf.Chain(), "a.test", now); got.Code != diag.UpstreamCredentialMissing {
		t.Errorf("a missing bundle must not fall back to the system's roots: %v", got.Code)
	}
}

func TestFacts(t *testing.T) {
	leaf := testca.New(t, testca.Spec{CommonName: "CA"}).Issue(testca.Spec{CommonName: "a", Organization: "b", DNS: []string{"x.test"}, IPs: []string{"::1"}})
	f, err := trust.NewFacts(leaf.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if f.Subject != "CN=a,O=b" || f.Issuer != "CN=CA" || f.CommonName != "a" || f.Hash != secret.Fingerprint(leaf.Cert) || f.Serial != leaf.Cert.SerialNumber.Text(16) ||
		len(f.DNS) != 1 || f.IPs[0] != "::1" || !f.HasSAN || f.Version != 3 {
		t.Errorf("%+v", f)
	}
}
