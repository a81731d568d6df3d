package ir

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/golden"
)

func snapshot(t *testing.T, name string) *Snapshot {
	t.Helper()
	cert, key := golden.Certificate(name)
	pair, _, err := secret.ParseKeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, _ := golden.Certificate("ca")
	bundle, _, err := secret.ParseBundle(ca)
	if err != nil {
		t.Fatal(err)
	}
	s := &Snapshot{
		Config:    &Config{Listeners: []*Listener{{Name: "*:443"}}},
		Endpoints: &Endpoints{ByUpstream: map[string][]Endpoint{"u": {{Host: "10.0.0.1", Port: 80}}}},
		Secrets:   &Secrets{ByRef: map[SecretRef]*Credential{"b/c": {Pair: pair}, "a/c": {Code: diag.CredentialMissing, Detail: "gone"}}},
		Trust:     &Trust{ByRef: map[TrustRef]*TrustBundle{"a/ca": {Bundle: bundle}}},
	}
	s.Seal()
	return s
}

func dump(t *testing.T, s *Snapshot) string {
	t.Helper()
	b, err := json.Marshal(s.Dump())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDumpTellsNoKey(t *testing.T) {
	s := snapshot(t, "httpbin")
	text := dump(t, s)
	_, key := golden.Certificate("httpbin")
	body := strings.Split(string(key), "\n")[1]
	if strings.Contains(text, body) || strings.Contains(text, "PRIVATE") {
		t.Error("the dump holds a key")
	}
	for _, want := range []string{`"ref":"a/c"`, `"code":"HK2302"`, s.Secrets.ByRef["b/c"].Pair.Fingerprint, "httpbin.example.com", `"subject":"CN=ca"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
	if strings.Index(text, `"a/c"`) > strings.Index(text, `"b/c"`) {
		t.Error("credentials are not in order")
	}
}

func TestRevisionsFollowTheirFamily(t *testing.T) {
	a, same, rotated := snapshot(t, "httpbin"), snapshot(t, "httpbin"), snapshot(t, "edwards")
	if a.Hash() != same.Hash() || dump(t, a) != dump(t, same) {
		t.Error("equal content, other revision")
	}
	if a.Secrets.Revision == rotated.Secrets.Revision || a.Hash() == rotated.Hash() {
		t.Error("a rotation keeps the revision")
	}
	if a.Config.Revision != rotated.Config.Revision || a.Trust.Revision != rotated.Trust.Revision || a.Endpoints.Revision != rotated.Endpoints.Revision {
		t.Error("a rotation changes another family")
	}
	before := a.Config.Revision
	a.Seal()
	if a.Config.Revision != before {
		t.Error("sealing twice gives another revision")
	}
	a.Secrets.ByRef["b/c"].Withdrawn = true
	a.Seal()
	if a.Secrets.Revision == same.Secrets.Revision {
		t.Error("a withdrawn credential counts as the same")
	}
}

func TestOriginAndExpiry(t *testing.T) {
	o := Origin{diag.Object{Kind: "Gateway", Namespace: "a", Name: "b"}, "spec.x"}
	if o.String() != "Gateway a/b spec.x" || (Origin{Object: o.Object}).String() != "Gateway a/b" {
		t.Error(o)
	}
	s := snapshot(t, "httpbin")
	if at, ok := s.Secrets.ByRef["b/c"].NotAfter(); !ok || at.Year() != 2027 {
		t.Error(at, ok)
	}
	for _, c := range []*Credential{nil, s.Secrets.ByRef["a/c"]} {
		if _, ok := c.NotAfter(); ok {
			t.Error("no certificate, but it expires")
		}
	}
}
