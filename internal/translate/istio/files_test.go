package istio

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/hakone-gateway/hakone/internal/source/manifest"
)

func TestFilePathsAreThoseTheGoldensName(t *testing.T) {
	for file, want := range map[string]string{
		"trust-sources":     "/certs/ca.crl /certs/ca.crt /certs/nowhere.key /certs/tls.crt /certs/tls.key",
		"credentials":       "/ec.crt /ec.key /rsa.crt /rsa.key",
		"destination-rules": "/ca.crl /ca.crt /tls.crt /tls.key",
		"seed-simple":       "",
	} {
		text, err := os.ReadFile("testdata/" + file + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		set, _ := manifest.Set(map[string]string{"input.yaml": string(txtar.Parse(text).Files[0].Data)})
		if got := FilePaths(set); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestLiteralStart(t *testing.T) {
	for re, want := range map[string]string{"/bad[": "/bad", "/bad*(": "/ba", "/a|/b(": "", "(?i)/a(": "", "/a+[": "/a", `/a\.b(`: "/a", "a?(": ""} {
		if got := literalStart(re).Value; got != want {
			t.Errorf("literalStart(%q) = %q, want %q", re, got, want)
		}
	}
}

func TestGatewayName(t *testing.T) {
	for in, want := range map[string]objectName{"gw": {"own", "gw"}, "a/gw": {"a", "gw"}, "./gw": {"own", "gw"}, "gw.a.svc.cluster.local": {"a", "gw"}} {
		if got := gatewayName(in, "own"); got != want {
			t.Errorf("gatewayName(%q) = %v, want %v", in, got, want)
		}
	}
}
