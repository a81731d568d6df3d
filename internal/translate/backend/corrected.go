package backend

import (
	"fmt"
	"strings"
)

// Corrected writes the objects that do what people try to do with Istio's: verify what an intercepting
// proxy shows. They load as they stand; only what CA names has to exist.
type Corrected struct {
	Namespace string
	Name      string   // of the UpstreamProxy; empty: company-proxy
	URL       string   // of the proxy
	CA        string   // caRef as a YAML flow mapping; empty: a proxy that only tunnels
	Hosts     []string // empty: every host
	Plain     bool     // with a ForwardProxy for plain HTTP
}

// UpstreamProxy returns the YAML, with a ForwardProxy if Plain.
func (c Corrected) UpstreamProxy() string {
	hosts, name := c.Hosts, c.Name
	if len(hosts) == 0 {
		hosts = []string{"*"}
	}
	if name == "" {
		name = "company-proxy"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: hakone.dev/v1alpha1\nkind: UpstreamProxy\nmetadata:\n  name: %s\n  namespace: %s\nspec:\n  urls: [%q]\n", name, c.Namespace, c.URL)
	if c.CA != "" {
		fmt.Fprintf(&b, "  interception:\n    caRef: %s\n", c.CA)
	}
	fmt.Fprintf(&b, "  hosts: [\"%s\"]\n", strings.Join(hosts, "\", \""))
	if c.Plain {
		b.WriteString("---\n" + PlainForwardProxy(c.Namespace))
	}
	return strings.TrimSpace(b.String())
}

// PlainForwardProxy returns the YAML of a ForwardProxy that takes plain requests for destinations over TLS,
// and proxies.
func PlainForwardProxy(namespace string) string {
	return fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: ForwardProxy\nmetadata:\n  name: egress\n  namespace: %s\nspec:\n"+
		"  acls: [{name: ours, type: src, values: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 127.0.0.0/8]}]\n"+
		"  access: [{action: Allow, acls: [ours]}, {action: Deny, acls: [all]}]\n  listeners:\n"+
		"  - {name: plain, port: 80, mode: Gateway}  # http://example.com/, with this address by DNS\n"+
		"  - {name: proxy, port: 3128, mode: Proxy}  # HTTP_PROXY; with an interception, HTTPS_PROXY too", namespace)
}
