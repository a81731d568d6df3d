package manifest

import (
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// The manifests of testdata/flat.txtar, put back into shape, must read without a finding and mean
// what their page says.
func TestReindentedManifestsParseCleanly(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/flat.txtar")
	if err != nil {
		t.Fatal(err)
	}
	p := NewParser()
	sets := map[string]*resource.Set{}
	for _, f := range archive.Files {
		if !strings.HasSuffix(f.Name, ".yaml") {
			continue
		}
		text, ok := p.Reindent(string(f.Data))
		if !ok {
			t.Errorf("%s: a line found no place", f.Name)
			continue
		}
		set, ds := Set(map[string]string{f.Name: text})
		if len(ds) != 0 || set.Len() != 1 {
			t.Errorf("%s: %d objects, %v from\n%s", f.Name, set.Len(), ds, text)
		}
		sets[f.Name] = set
	}
	if len(sets) != 10 {
		t.Fatalf("%d manifests", len(sets))
	}

	servers := sets["istio_gateway_two_hosts.yaml"].IstioGateway("default", "mygateway").Spec.Servers
	if len(servers) != 2 || servers[1].Port.Number != 443 || servers[1].Tls.CredentialName != "helloworld-credential" || servers[1].Hosts[0] != "helloworld.example.com" {
		t.Errorf("servers %v", servers)
	}
	http := sets["istio_virtualservice.yaml"].VirtualServices()[0].Spec.Http
	if len(http) != 1 || len(http[0].Match) != 2 || http[0].Match[1].Uri.GetPrefix() != "/delay" || http[0].Route[0].Destination.Port.Number != 8000 {
		t.Errorf("http %v", http)
	}
	listeners := sets["gatewayapi_gateway_two_hosts.yaml"].Gateway("istio-system", "mygateway").Spec.Listeners
	if len(listeners) != 2 || listeners[0].TLS.CertificateRefs[0].Name != "httpbin-credential" ||
		listeners[1].AllowedRoutes.Namespaces.Selector.MatchLabels["kubernetes.io/metadata.name"] != "default" {
		t.Errorf("listeners %+v", listeners)
	}
	mutual := sets["gatewayapi_gateway_mutual.yaml"].Gateways()[0].Spec.Listeners[0].TLS
	if mutual.Options["gateway.istio.io/tls-terminate-mode"] != "MUTUAL" {
		t.Errorf("options %v", mutual.Options)
	}
	rules := sets["gatewayapi_httproute.yaml"].HTTPRoutes()[0].Spec.Rules
	if len(rules) != 1 || len(rules[0].Matches) != 2 || *rules[0].Matches[1].Path.Value != "/delay" || *rules[0].BackendRefs[0].Port != 8000 {
		t.Errorf("rules %+v", rules)
	}
}

func TestWellFormedDocumentsAreNotFlat(t *testing.T) {
	p := NewParser()
	for _, text := range []string{
		"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\nspec:\n",
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\nspec:\nstatus:\n",
		"apiVersion: v1\nkind: Secret\nmetadata:\n\n# comment\n  name: x\ntype: Opaque\nstringData:\n  spec: |\n    metadata:\n    name: y\n",
		"kind: ConfigMap\napiVersion: v1\ndata: {}\nmetadata:\n  name: x\n",
	} {
		if _, f := p.flat(text); f != nil {
			t.Errorf("%s in\n%s", f.message, text)
		}
	}
}
