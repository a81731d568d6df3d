package server

import (
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

func TestLintOfInterceptionCAs(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		from, until time.Duration
		want        diag.Code
		words       string
	}{
		"good":     {-24 * time.Hour, 365 * 24 * time.Hour, 0, ""},
		"soon":     {-24 * time.Hour, 10 * 24 * time.Hour, diag.InterceptionCAUnwise, "ends on"},
		"expired":  {-48 * time.Hour, -24 * time.Hour, diag.InterceptionCAUnusable, "expired on"},
		"too soon": {24 * time.Hour, 365 * 24 * time.Hour, diag.InterceptionCAUnusable, "not valid before"},
	} {
		ca := testca.New(t, testca.Spec{CommonName: "mesh", NotBefore: now.Add(c.from), NotAfter: now.Add(c.until)})
		pair, _, err := secret.ParseKeyPair(ca.CertPEM(), ca.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		s := &ir.Snapshot{
			Config: &ir.Config{
				Proxies:  []*ir.Proxy{{Name: "a/up", TLS: &ir.UpstreamTLS{Certificate: "a/client"}}},
				Forwards: []*ir.Forward{{Name: "a/out", Origin: ir.Origin{Object: diag.Object{Kind: "ForwardProxy", Namespace: "a", Name: "out"}}, Interception: &ir.Interception{CA: "a/mesh"}}, {Name: "a/bare"}},
			},
			Secrets: &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"a/mesh": {Pair: pair}}},
			Trust:   &ir.Trust{},
		}
		ds := Lint(s, now)
		if c.want == 0 && len(ds) != 0 || c.want != 0 && (len(ds) != 1 || ds[0].Code != c.want || ds[0].Object.Name != "out" || !strings.Contains(ds[0].Message, c.words)) {
			t.Errorf("%s: %v", name, ds)
		}
		if u := usesOf(s)["a/client"]; u == nil || !u.client {
			t.Errorf("the client certificate shown to a proxy is not judged as one")
		}
	}
}
