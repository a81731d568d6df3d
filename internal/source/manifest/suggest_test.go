package manifest

import (
	"strings"
	"testing"
)

// TestNoWeakerVersionIsProposed holds that a misspelt TLS version leads to the list, not to whichever
// version is spelt alike.
func TestNoWeakerVersionIsProposed(t *testing.T) {
	versions := []string{"TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"}
	for word, want := range map[string]string{"TLSV1_4": "", "TLSV1_": "", "TLSV1": "", "TLS1_2": "TLSV1_2", "tlsv1_3": "TLSV1_3", "TLS_ATUO": "TLS_AUTO"} {
		fix := alternatives(word, versions, "Allowed")
		if strings.Contains(fix, "Did you mean") != (want != "") || want != "" && !strings.Contains(fix, `mean "`+want+`"`) {
			t.Errorf("%s: %s", word, fix)
		}
		if !strings.Contains(fix, "Allowed: TLS_AUTO, TLSV1_0, TLSV1_1, TLSV1_2, TLSV1_3.") {
			t.Errorf("%s: the list is missing: %s", word, fix)
		}
	}
}

func TestSuggestionsInTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {hosts: [a.test]}\n":                                                    `Did you mean "hostnames"?`,
		"apiVersion: hakone.dev/v1alpha1\nkind: ClientCertificatePolicy\nmetadata: {name: r}\nspec: {hosts: [a.test], paths: [test1], trust: {caRefs: [{name: a}]}}\n": `Write "/test1".`,
	} {
		_, ds := Set(map[string]string{"a.yaml": text})
		if len(ds) != 1 || ds[0].Fix != want {
			t.Errorf("want %s: %v", want, ds)
		}
	}
}
