package status

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate/gatewayapi"
)

func TestOwnKinds(t *testing.T) {
	pool := func(name, spec string) string {
		return "apiVersion: hakone.dev/v1alpha1\nkind: OriginPool\nmetadata: {name: " + name + "}\nspec: " + spec + "\n---\n"
	}
	set, ds := manifest.Set(map[string]string{"a.yaml": pool("good", "{displayName: my_pool, origins: [{name: a, address: a.test}]}") + pool("bad", "{origins: [{name: a, address: b.test}]}") + pool("broken", "{origins: nothing}") +
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"})
	bad := diag.Object{Kind: "OriginPool", Namespace: "default", Name: "bad"}
	ds = append(ds, diag.New(diag.OriginFallbackInvalid, bad, "spec.fallbackRef", "no such pool", ""), diag.New(diag.OriginInvalid, bad, "", "another", ""),
		diag.New(diag.OriginSettingIdle, diag.Object{Kind: "OriginPool", Namespace: "default", Name: "good"}, "", "a warning", ""))
	diag.Sort(ds)
	got := Build(Input{Translated: &gatewayapi.Status{}, Set: set, Diagnostics: ds, Now: at}).Own
	want := []struct{ name, display, status, reason, message string }{
		{"good", "my_pool", "True", "Accepted", ""},
		{"bad", "", "False", "OriginInvalid", "HK5822: another (and 1 more)"},
		{"broken", "", "False", "WrongType", "HK5004: spec.origins: "},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		c := got[i].Conditions[0]
		if got[i].Object.Name != w.name || got[i].Display != w.display || c.Type != "Accepted" || string(c.Status) != w.status || c.Reason != w.reason || !strings.HasPrefix(c.Message, w.message) || c.LastTransitionTime != at {
			t.Errorf("%d: %+v", i, got[i])
		}
	}
}
