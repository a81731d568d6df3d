package credential

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
)

func cert(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "istio", "testdata", "certs", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// secrets makes a set of one Secret per version; a version that changes is another content.
func secrets(t *testing.T, versions ...string) *resource.Set {
	t.Helper()
	var b resource.Builder
	for i, v := range versions {
		b.Add(&resource.Secret{Meta: resource.Meta{Key: resource.Key{Kind: resource.KindSecret, Namespace: "default", Name: fmt.Sprintf("s%d", i)}, Version: v},
			Data: map[string]resource.Sensitive{"tls.crt": cert(t, "httpbin.crt"), "tls.key": cert(t, "httpbin.key"), "ca.crt": cert(t, "ca.crt")}})
	}
	set, _ := b.Build()
	return set
}

func pairs(t *testing.T, set *resource.Set, cache *Cache) *translate.Fragment {
	t.Helper()
	f := translate.NewFragment()
	finder := New(set, translate.Context{}, f, cache)
	for _, s := range set.Secrets() {
		if _, ok := finder.Pair([]string{"default"}, s.Name, ir.Origin{}); !ok {
			t.Fatalf("%s: %v", s.Name, f.Diagnostics)
		}
		if _, ok := finder.TrustBeside([]string{"default"}, s.Name, ir.Origin{}); !ok {
			t.Fatalf("%s: %v", s.Name, f.Diagnostics)
		}
	}
	return f
}

func TestOnlyWhatChangedIsParsedAgain(t *testing.T) {
	cache := NewCache()
	first := pairs(t, secrets(t, "1", "2"), cache)
	cache.Sweep()
	second := pairs(t, secrets(t, "1", "3"), cache)
	cache.Sweep()
	if a, b := first.Secrets["default/s0"].Pair, second.Secrets["default/s0"].Pair; a != b {
		t.Error("an unchanged secret was parsed again")
	}
	if a, b := first.Secrets["default/s1"].Pair, second.Secrets["default/s1"].Pair; a == b {
		t.Error("a changed secret was not parsed again")
	}
	if n := cache.Len(); n != 2 {
		t.Errorf("%d entries after a sweep, want the 2 in use", n)
	}
}

func TestCacheChangesCostNotResult(t *testing.T) {
	for _, version := range []string{"", "7"} {
		with, without := pairs(t, secrets(t, version), NewCache()), pairs(t, secrets(t, version), nil)
		if a, b := with.Secrets["default/s0"].Pair.Digest, without.Secrets["default/s0"].Pair.Digest; a != b {
			t.Errorf("version %q: %s with a cache, %s without", version, a, b)
		}
	}
}

func TestMissingCredentialNamesWhereItWasSought(t *testing.T) {
	f := translate.NewFragment()
	finder := New(secrets(t, "1"), translate.Context{Namespace: "istio-system"}, f, nil)
	ref, ok := finder.Pair(finder.Places("default"), "gone", ir.Origin{Field: "spec.x"})
	if ok || ref != "istio-system/gone|default/gone" {
		t.Fatalf("%q, %v", ref, ok)
	}
	if s := f.Secrets[ref].Sought; len(s) != 2 || s[0] != "istio-system/gone" || s[1] != "default/gone" {
		t.Errorf("sought %v", s)
	}
	if ref, ok := finder.Pair(finder.Places("default"), "s0", ir.Origin{}); !ok || ref != "default/s0" {
		t.Errorf("the object's own namespace comes second: %q, %v", ref, ok)
	}
}

func TestExactSources(t *testing.T) {
	f := translate.NewFragment()
	finder := New(secrets(t, "1"), translate.Context{}, f, nil)
	good := Source{Kind: resource.KindSecret, Namespace: "default", Name: "s0", From: ir.Origin{Field: "a"}}
	bad := Source{Kind: resource.KindConfigMap, Namespace: "default", Name: "s0", From: ir.Origin{Field: "b"}}
	if ref, ok := finder.Trust([]Source{bad, good}); !ok || ref != "default/s0" || f.Trust[ref].Bundle.Len() != 1 {
		t.Errorf("one usable source suffices: %q, %v", ref, ok)
	}
	if ref, ok := finder.Trust([]Source{bad}); ok || ref != "configmap:default/s0" || f.Trust[ref].Bundle != nil {
		t.Errorf("none usable refuses: %q, %v", ref, ok)
	}
}

func TestSourceWithAnEntryOfItsOwn(t *testing.T) {
	var b resource.Builder
	b.Add(&resource.ConfigMap{Meta: resource.Meta{Key: resource.Key{Kind: resource.KindConfigMap, Namespace: "default", Name: "cas"}},
		Data: map[string]string{"partner.pem": string(cert(t, "ca.crt")), "ca.crt": "no certificate"}})
	set, _ := b.Build()
	f := translate.NewFragment()
	finder := New(set, translate.Context{}, f, nil)
	named := func(entry string) (ir.TrustRef, bool) {
		return finder.Trust([]Source{{Kind: resource.KindConfigMap, Namespace: "default", Name: "cas", Entry: entry}})
	}
	if ref, ok := named("partner.pem"); !ok || ref != "configmap:default/cas#partner.pem" || f.Trust[ref].Bundle.Len() != 1 {
		t.Errorf("the entry named is read: %q, %v, %v", ref, ok, f.Diagnostics)
	}
	for _, entry := range []string{"", "other.pem"} {
		if ref, ok := named(entry); ok || f.Trust[ref].Bundle != nil {
			t.Errorf("entry %q: %q usable", entry, ref)
		}
	}
}

// Who made an entry for revocation lists counts on one: an empty entry lets nobody be trusted without.
func TestEmptyRevocationList(t *testing.T) {
	for _, list := range []string{"", " \n"} {
		for _, key := range []string{"ca.crl", "crl"} {
			var b resource.Builder
			meta := func(kind string) resource.Meta {
				return resource.Meta{Key: resource.Key{Kind: kind, Namespace: "default", Name: "cas"}}
			}
			b.Add(&resource.ConfigMap{Meta: meta(resource.KindConfigMap), Data: map[string]string{"ca.crt": string(cert(t, "ca.crt")), "a.pem": string(cert(t, "ca.crt")), key: list}})
			b.Add(&resource.Secret{Meta: meta(resource.KindSecret), Data: map[string]resource.Sensitive{"ca.crt": cert(t, "ca.crt"), "a.pem": cert(t, "ca.crt"), key: []byte(list)}})
			set, _ := b.Build()
			cache := NewCache()
			parsed := New(set, translate.Context{}, translate.NewFragment(), cache)
			parsed.parseFiles(map[string][]byte{"ca.crt": cert(t, "ca.crt")}) // the same without the entry is another thing
			for _, kind := range []string{resource.KindConfigMap, resource.KindSecret} {
				for _, entry := range []string{"", "a.pem"} {
					f := translate.NewFragment()
					ref, ok := New(set, translate.Context{}, f, cache).Trust([]Source{{Kind: kind, Namespace: "default", Name: "cas", Entry: entry}})
					if ok || f.Trust[ref].Bundle != nil {
						t.Errorf("%s with %s: %q, entry %q: trusted without the list", kind, key, list, entry)
					}
					told := false
					for _, d := range f.Diagnostics {
						told = told || d.Code == diag.CRLInvalid
					}
					if !told {
						t.Errorf("%s with %s: %q, entry %q: %v", kind, key, list, entry, f.Diagnostics)
					}
				}
			}
		}
	}
}
