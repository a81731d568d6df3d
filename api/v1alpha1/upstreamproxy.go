package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// UpstreamProxy is an HTTP proxy of somebody else's (a company's, often one that intercepts TLS) through
// which destinations are reached: CONNECT first, TLS to the destination second (RFC 9110 section 9.3.6).
// The CA that the proxy intercepts with is believed only through it, never on a direct connection.
type UpstreamProxy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec UpstreamProxySpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status PolicyStatus `json:"status,omitempty"`
}

// UpstreamProxyList is a list of proxies.
type UpstreamProxyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []UpstreamProxy `json:"items"`
}

// UpstreamProxySpec is what is said of a proxy.
type UpstreamProxySpec struct {
	// URLs are the proxy's addresses: "http://10.0.0.8:8080" (CONNECT in the clear) or
	// "https://proxy.corp.example:8443" (TLS to the proxy first). The first that is healthy is used; the
	// others take over in this order. Ports default to 3128 and 443.
	URLs []string `json:"urls"`

	// TLS is how TLS is spoken to the proxy itself, for https URLs.
	TLS *ProxyHopTLS `json:"tls,omitempty"`

	// CredentialsRef names a Secret with the entries username and password (kubernetes.io/basic-auth),
	// sent as Proxy-Authorization: Basic (RFC 7617) to the proxy and to nobody else.
	CredentialsRef *LocalReference `json:"credentialsRef,omitempty"`

	// Interception says whether the proxy intercepts TLS. Without it the proxy tunnels, and destinations
	// are verified as if there were no proxy.
	Interception *ProxyInterception `json:"interception,omitempty"`

	// Hosts are the destinations that go through the proxy: names, "*." and a name, or "*". Empty: only
	// those that a ForwardProxy or a VirtualService sends here by name.
	Hosts []string `json:"hosts,omitempty"`

	// Except are destinations that do not: names as in Hosts, addresses and networks ("10.0.0.0/8").
	Except []string `json:"except,omitempty"`

	// Fallback is what happens when no address of the proxy is healthy: none (refuse, the default) or
	// direct. On a direct connection the interception CA is not believed.
	Fallback string `json:"fallback,omitempty"`

	// Probe asks the proxy how it is: CONNECT to a destination and, where there is an Interception, TLS
	// with it. Default: no probe but what requests show.
	Probe *ProxyProbe `json:"probe,omitempty"`

	// ConnectTimeout bounds connecting to the proxy, its answer to CONNECT and TLS to it, together.
	// Default 10s.
	ConnectTimeout Duration `json:"connectTimeout,omitempty"`

	// Headers are sent with CONNECT, besides Host and Proxy-Authorization.
	Headers []ProxyHeader `json:"headers,omitempty"`
}

// ProxyHopTLS is TLS to the proxy itself.
type ProxyHopTLS struct {
	// CARef names the CA of the proxy's own certificate. Empty: the system's roots.
	CARef *ObjectReference `json:"caRef,omitempty"`

	// ServerName is what its certificate must carry, and the SNI. Default: the URL's host.
	ServerName string `json:"serverName,omitempty"`

	// CertificateRef names the client certificate shown to the proxy.
	CertificateRef *ObjectReference `json:"certificateRef,omitempty"`
}

// ProxyInterception is what is expected of an intercepting proxy.
type ProxyInterception struct {
	// CARef names the CA that the proxy signs with: any entry of a Secret or ConfigMap.
	CARef ObjectReference `json:"caRef"`

	// Expect is Always (a destination that shows its own certificate is refused: interception_missing)
	// or Sometimes (both are verified, each against its own anchors). Default Always.
	Expect string `json:"expect,omitempty"`
}

// ProxyProbe asks a proxy how it is.
type ProxyProbe struct {
	// Target is host:port of the destination that is asked for.
	Target string `json:"target"`

	// Interval is the time between probes. Default 30s.
	Interval Duration `json:"interval,omitempty"`

	// Timeout bounds one probe. Default 5s.
	Timeout Duration `json:"timeout,omitempty"`

	// HealthyThreshold and UnhealthyThreshold are probes in a row. Default 1 and 2.
	HealthyThreshold   int32 `json:"healthyThreshold,omitempty"`
	UnhealthyThreshold int32 `json:"unhealthyThreshold,omitempty"`
}

// ProxyHeader is a header field sent with CONNECT.
type ProxyHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
