package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// TestEgressRules holds what the parser accepts of the kinds of egress: each line is a spec, and the field
// that is at fault, or none.
func TestEgressRules(t *testing.T) {
	for _, c := range []struct{ kind, spec, fault string }{
		{"UpstreamProxy", `{urls: ["http://10.0.0.8:8080", "https://proxy.corp.example", "http://[2001:db8::1]:3128/"]}`, ""},
		{"UpstreamProxy", `{}`, "spec.urls"},
		{"UpstreamProxy", `{urls: []}`, "spec.urls"},
		{"UpstreamProxy", `{urls: ["10.0.0.8:8080"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://10.0.0.8:8080", "socks5://a:1080"]}`, "spec.urls[1]"},
		{"UpstreamProxy", `{urls: ["http://user:secret-word@a:8080"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://a:8080/path"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://a:0"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://a:65536"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://a:"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://*.a"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://a"], hosts: ["*", "*.example.com", example.com]}`, ""},
		{"UpstreamProxy", `{urls: ["http://a"], hosts: ["a.*.com"]}`, "spec.hosts[0]"},
		{"UpstreamProxy", `{urls: ["http://a"], hosts: ["https://a"]}`, "spec.hosts[0]"},
		{"UpstreamProxy", `{urls: ["http://a"], except: [10.0.0.0/8, 10.0.0.1, "::1", a.example.com, "*.example.com"]}`, ""},
		{"UpstreamProxy", `{urls: ["http://a"], except: [10.0.0.0/40]}`, "spec.except[0]"},
		{"UpstreamProxy", `{urls: ["http://a"], fallback: direct, interception: {caRef: {name: a, kind: ConfigMap, key: x.pem}, expect: Sometimes}}`, ""},
		{"UpstreamProxy", `{urls: ["http://a"], fallback: Direct}`, "spec.fallback"},
		{"UpstreamProxy", `{urls: ["http://a"], interception: {}}`, "spec.interception.caRef"},
		{"UpstreamProxy", `{urls: ["http://a"], interception: {caRef: {name: a}, expect: Never}}`, "spec.interception.expect"},
		{"UpstreamProxy", `{urls: ["http://a"], interception: {caRef: {name: a, kind: Service}}}`, "spec.interception.caRef.kind"},
		{"UpstreamProxy", `{urls: ["http://a"], credentialsRef: {name: A}}`, "spec.credentialsRef.name"},
		{"UpstreamProxy", `{urls: ["http://user:secret-word/@a:8080"]}`, "spec.urls[0]"},
		{"UpstreamProxy", `{urls: ["http://a"], probe: {target: "example.com:443", healthyThreshold: 1}}`, ""},
		{"UpstreamProxy", `{urls: ["http://a"], probe: {target: "example.com"}}`, "spec.probe.target"},
		{"UpstreamProxy", `{urls: ["http://a"], probe: {target: "a:1", unhealthyThreshold: 101}}`, "spec.probe.unhealthyThreshold"},
		{"UpstreamProxy", `{urls: ["http://a"], probe: {target: "a:1", interval: soon}}`, "spec.probe.interval"},
		{"UpstreamProxy", `{urls: ["http://a"], connectTimeout: 3}`, "spec.connectTimeout"},
		{"UpstreamProxy", `{urls: ["http://a"], headers: [{name: "X Y", value: z}]}`, "spec.headers[0].name"},
		{"UpstreamProxy", `{urls: ["http://a"], tls: {serverName: "*.a"}}`, "spec.tls.serverName"},

		{"ForwardProxy", `{listeners: [{name: a, port: 8080}, {name: b, port: 80, mode: Gateway, bind: "::1", originatePort: 8443, originateTLS: true}]}`, ""},
		{"ForwardProxy", `{listeners: []}`, "spec.listeners"},
		{"ForwardProxy", `{listeners: [{name: a}]}`, "spec.listeners[0].port"},
		{"ForwardProxy", `{listeners: [{name: a, port: 0}]}`, "spec.listeners[0].port"},
		{"ForwardProxy", `{listeners: [{name: A, port: 1}]}`, "spec.listeners[0].name"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}, {name: a, port: 2}]}`, "spec.listeners[1].name"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1, mode: proxy}]}`, "spec.listeners[0].mode"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1, bind: localhost}]}`, "spec.listeners[0].bind"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], acls: [{name: "!a", type: src}]}`, "spec.acls[0].name"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], acls: [{name: a}]}`, "spec.acls[0].type"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], access: [{action: allow}]}`, "spec.access[0].action"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], access: [{acls: [all]}]}`, "spec.access[0].action"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], interception: {rules: []}}`, "spec.interception.caRef"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], interception: {caRef: {name: a}, rules: [{action: Bumpp}]}}`, "spec.interception.rules[0].action"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], interception: {caRef: {name: a}, keyType: Ed25519}}`, "spec.interception.keyType"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], interception: {caRef: {name: a}, memoryBytes: -1}}`, "spec.interception.memoryBytes"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], interception: {caRef: {name: a}, diskPath: leaves}}`, "spec.interception.diskPath"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], interception: {caRef: {name: a}, sign: [{sign: trusted}], adapt: [{adapt: setCommonName}]}}`, "spec.interception.sign[0].sign"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], proxies: [{proxyRefs: []}]}`, "spec.proxies[0].proxyRefs"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], headers: {forwardedFor: "on", remove: [X-A]}}`, ""},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], headers: {forwardedFor: maybe}}`, "spec.headers.forwardedFor"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], cache: {refresh: [{pattern: "(", percent: 1}]}}`, "spec.cache.refresh[0].pattern"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], cache: {refresh: [{pattern: "."}]}}`, "spec.cache.refresh[0].percent"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], outboundTrafficPolicy: REGISTRY_ONLY}`, "spec.outboundTrafficPolicy"},
		{"ForwardProxy", `{listeners: [{name: a, port: 1}], listener: []}`, "spec.listener"},

		{"CachePolicy", `{targetRefs: [{kind: EdgeHost, name: a}], memoryBytes: 1, purgeFrom: [10.0.0.0/8, "::1"]}`, ""},
		{"CachePolicy", `{memoryBytes: 1}`, "spec.targetRefs"},
		{"CachePolicy", `{targetRefs: [{kind: Service, name: a}]}`, "spec.targetRefs[0].kind"},
		{"CachePolicy", `{targetRefs: [{kind: EdgeHost, name: a}], purgeFrom: [localhost]}`, "spec.purgeFrom[0]"},
		{"CachePolicy", `{targetRefs: [{kind: EdgeHost, name: a}], maxObjectBytes: "1MB"}`, "spec.maxObjectBytes"},
	} {
		set, ds := Set(map[string]string{"a.yaml": fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: %s\nmetadata: {name: p}\nspec: %s\n", c.kind, c.spec)})
		switch {
		case c.fault == "" && (len(ds) != 0 || set.Len() != 1):
			t.Errorf("%s %s: %v", c.kind, c.spec, ds)
		case c.fault != "" && (len(ds) != 1 || ds[0].Field != c.fault || set.Len() != 0 || ds[0].Fix == ""):
			t.Errorf("%s %s: want a finding about %s, have %v", c.kind, c.spec, c.fault, ds)
		case len(ds) > 0 && strings.Contains(ds[0].String(), "secret-word"):
			t.Errorf("a password is shown: %v", ds[0])
		}
	}
}

// A proxy that was not accepted must still be known by the hosts that it was to serve.
func TestUnreadProxyIsKnownByItsHosts(t *testing.T) {
	set, _ := Set(map[string]string{"a.yaml": "apiVersion: hakone.dev/v1alpha1\nkind: UpstreamProxy\nmetadata: {name: p}\nspec: {urls: [x], hosts: [\"*.example.com\"]}\n"})
	b := set.Broken()
	if len(b) != 1 || b[0].Kind != resource.KindUpstreamProxy || len(b[0].Hosts) != 1 || b[0].Hosts[0] != "*.example.com" {
		t.Errorf("%+v", b)
	}
}

// Manifests pasted from pages lose their indentation; those of egress are put back into shape like others.
func TestReindentEgress(t *testing.T) {
	text, ok := NewParser().Reindent("apiVersion: hakone.dev/v1alpha1\nkind: UpstreamProxy\nmetadata:\nname: corp\nspec:\nurls:\n- http://10.0.0.8:8080\ninterception:\ncaRef:\nkind: ConfigMap\nname: corp-ca\nkey: bump.pem\nhosts:\n- example.com\n")
	if !ok {
		t.Fatal("a line found no place")
	}
	set, ds := Set(map[string]string{"a.yaml": text})
	p := set.UpstreamProxy("default", "corp")
	if len(ds) != 0 || p == nil || p.Spec.Interception == nil || p.Spec.Interception.CARef.Key != "bump.pem" || len(p.Spec.Hosts) != 1 {
		t.Errorf("%v from\n%s", ds, text)
	}
}
