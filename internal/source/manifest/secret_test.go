package manifest

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestSecretsAreNeverQuoted pastes a key wherever it can land in a Secret and looks for it in what is
// said: no value at all, and of what stands in the place of a name 24 bytes at most.
func TestSecretsAreNeverQuoted(t *testing.T) {
	const key = "c3VwZXItc2VjcmV0LWtleS1tYXRlcmlhbC10aGF0LW11c3Qtbm90LWxlYWs"
	const number = "31415926535897932384626433832795"
	const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	for name, text := range map[string]string{
		"wrong type":          head + "immutable: " + key + "\n",
		"number as type":      head + "type: " + number + "\n",
		"number as data":      head + "data: {a: " + number + "}\n",
		"number as text":      head + "stringData: {a: " + number + "}\n",
		"bad base64":          head + "data: {a: '" + key + "!'}\n",
		"data as text":        head + "data: " + key + "\n",
		"list of data":        head + "data: [" + key + "]\n",
		"unknown field":       head + key + ": x\n",
		"value of unknown":    head + "dat: " + key + "\n",
		"key of data":         head + "data: {" + key + ": 1}\n",
		"key of data twice":   head + "data: {" + key + ": YQ==, " + key + ": YQ==}\n",
		"label":               "apiVersion: v1\nkind: Secret\nmetadata: {name: s, labels: {a: " + number + "}}\n",
		"time":                "apiVersion: v1\nkind: Secret\nmetadata: {name: s, creationTimestamp: " + key + "}\n",
		"name":                "apiVersion: v1\nkind: Secret\nmetadata: {name: " + key + "}\n",
		"namespace":           "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: " + key + "}\n",
		"version":             "apiVersion: " + key + "\nkind: Secret\nmetadata: {name: s}\n",
		"alias":               head + "stringData: {a: *" + key + "}\n",
		"syntax":              head + "stringData:\n  a: " + key + "\n b: " + key + "\n",
		"field of metadata":   "apiVersion: v1\nkind: Secret\nmetadata: {name: s, " + key + ": x}\n",
		"flat":                "apiVersion: v1\nkind: Secret\nmetadata:\nname: s\n" + key + ": x\ndata:\ntls.key: " + key + "\n",
		"flat, at once":       "apiVersion: v1\nkind: Secret\nmetadata:\n" + key + ": s\n",
		"flat name":           "apiVersion: v1\nkind: Secret\nmetadata:\nname: " + key + "\n",
		"name, then syntax":   "apiVersion: v1\nkind: Secret\nmetadata:\n  name: " + key + "\n x: [\n",
		"item of a List":      "apiVersion: v1\nkind: SecretList\nitems: [{metadata: {name: s}, immutable: " + key + "}]\n",
		"in another notation": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nimmutable: |\n  " + key + "\n",
	} {
		set, ds := Set(map[string]string{"a.yaml": text})
		if len(ds) == 0 {
			t.Errorf("%s: nothing is reported", name)
		}
		said, err := json.Marshal(map[string]any{"diagnostics": ds, "broken": set.Broken()})
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{key, number} {
			if i := strings.Index(string(said), secret[:25]); i >= 0 {
				t.Errorf("%s: %s", name, said)
			}
			if i := strings.Index(string(said), secret[len(secret)-8:]); i >= 0 {
				t.Errorf("%s: %s", name, said)
			}
		}
	}
}

// TestWrongTypesInSecretsReadWell holds the sentence that says what stands in the place of text.
func TestWrongTypesInSecretsReadWell(t *testing.T) {
	for value, want := range map[string]string{
		"12":            "data.a must be text, not a number. — fix: Put it in quotes.",
		"true":          "data.a must be text, not a truth value. — fix: Put it in quotes.",
		"!!binary YQ==": "data.a must be text, not a value with a tag of its own. — fix: Remove the tag (a word that begins with !).",
		"[a]":           "data.a must be text, not a list. — fix: Put it in quotes.",
	} {
		_, ds := Set(map[string]string{"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: " + value + "}\n"})
		if len(ds) != 1 || !strings.HasSuffix(ds[0].String(), want) {
			t.Errorf("%s: %v, want %q", value, ds, want)
		}
	}
}
