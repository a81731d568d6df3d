package credential

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
)

func TestSecretOfATypeWithoutCertificate(t *testing.T) {
	for _, typ := range []string{"kubernetes.io/dockerconfigjson", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth", "kubernetes.io/service-account-token", "Opaque"} {
		set, _ := manifest.Set(map[string]string{"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: " + typ + "\nstringData: {username: u, password: p}\n"})
		f := translate.NewFragment()
		if _, ok := New(set, translate.Context{}, f, nil).Pair([]string{"default"}, "s", ir.Origin{Field: "here"}); ok {
			t.Fatalf("%s: usable", typ)
		}
		said := ""
		for _, d := range f.Diagnostics {
			if d.Field == "here" && d.Code == diag.SecretInvalid {
				said = d.Message
			}
		}
		if want := "has the type " + typ + ", which holds no certificate"; strings.Contains(said, want) != (typ != "Opaque") || said == "" {
			t.Errorf("%s: %q", typ, said)
		}
	}
}
