package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ForwardProxy is a way out for workloads: an HTTP proxy that they name, one that takes their connections
// on the way, or one that they take for the destination. It decides as Squid does: access rules by ACLs,
// and in three steps whether TLS is spliced, intercepted (bumped) or ended.
type ForwardProxy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec ForwardProxySpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status PolicyStatus `json:"status,omitempty"`
}

// ForwardProxyList is a list of forward proxies.
type ForwardProxyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ForwardProxy `json:"items"`
}

// ForwardProxySpec is what a forward proxy does.
type ForwardProxySpec struct {
	// Listeners are the ports.
	Listeners []ForwardListener `json:"listeners"`

	// ACLs name what rules ask about. CONNECT, localhost, to_localhost, manager and all are there
	// already, as in Squid.
	ACLs []ACL `json:"acls,omitempty"`

	// Access decides who may ask for what (Squid's http_access): the first rule whose ACLs all match. If
	// none matches: the opposite of the last one, and without rules, everybody may.
	Access []AccessRule `json:"access,omitempty"`

	// Interception is how TLS is looked into. Without it, what comes by CONNECT or as TLS is spliced.
	Interception *Interception `json:"interception,omitempty"`

	// Upstream is how destinations are spoken to.
	Upstream *ForwardUpstream `json:"upstream,omitempty"`

	// Proxies send destinations through UpstreamProxies, the first rule that matches: else those
	// UpstreamProxies serve whose hosts name the destination.
	Proxies []ProxyRule `json:"proxies,omitempty"`

	// Direct rules as in Squid's always_direct (Allow) and never_direct (Deny), in order.
	Direct []AccessRule `json:"direct,omitempty"`

	// OutboundTrafficPolicy is AllowAny (the default) or RegistryOnly: only hosts of ServiceEntries,
	// Services and UpstreamProxies in the set.
	OutboundTrafficPolicy string `json:"outboundTrafficPolicy,omitempty"`

	// Authentication asks clients of Proxy listeners who they are.
	Authentication *ProxyAuthentication `json:"authentication,omitempty"`

	// Cache keeps answers (RFC 9111).
	Cache *Cache `json:"cache,omitempty"`

	// Rewrite corrects what plain clients of TLS destinations get to see (way A).
	Rewrite *ForwardRewrite `json:"rewrite,omitempty"`

	// Headers says what is added to and removed from requests.
	Headers *ForwardHeaders `json:"headers,omitempty"`

	// Pages are what refused clients see.
	Pages *ForwardPages `json:"pages,omitempty"`

	// VisibleHostname is the name in Via, Cache-Status and pages. Default: the object's name.
	VisibleHostname string `json:"visibleHostname,omitempty"`
}

// ForwardListener is one port.
type ForwardListener struct {
	// Name is unique in the object.
	Name string `json:"name"`

	// Port is the port; Bind the address, default every address of --address.
	Port int32  `json:"port"`
	Bind string `json:"bind,omitempty"`

	// Mode says how connections come: Proxy (CONNECT and absolute URLs; HTTP_PROXY, HTTPS_PROXY),
	// Transparent (redirected here by nftables REDIRECT; the destination is asked of the kernel), TProxy
	// (the same by TPROXY) or Gateway (clients take this for the destination, by DNS or URL: the
	// destination is the Host or SNI). In the last three, TLS and HTTP are told apart by the first bytes.
	Mode string `json:"mode,omitempty"`

	// Intercept false splices all TLS of this port (an http_port without ssl-bump).
	Intercept *bool `json:"intercept,omitempty"`

	// CertificateRef makes a Proxy listener speak TLS with its clients (https:// proxy).
	CertificateRef *ObjectReference `json:"certificateRef,omitempty"`

	// ClientCARef asks clients of such a listener for a certificate.
	ClientCARef *ObjectReference `json:"clientCARef,omitempty"`

	// OriginatePort is the port of the destination for plain requests of a Gateway listener: 443 (the
	// default, with TLS) or another. OriginateTLS false asks in the clear.
	OriginatePort int32 `json:"originatePort,omitempty"`
	OriginateTLS  *bool `json:"originateTLS,omitempty"`

	// ProxyProtocol demands a PROXY header (Squid's require-proxy-header).
	ProxyProtocol bool `json:"proxyProtocol,omitempty"`
}

// ACL is a named question about a request, with Squid's types and meaning: any of its values matches.
// Several ACLs of one name and type are one.
type ACL struct {
	Name string `json:"name"`

	// Type is src, dst, localip, myportname, localport, port, method, proto, dstdomain, dstdom_regex,
	// srcdomain, url_regex, urlpath_regex, browser, req_header, rep_mime_type, time, maxconn, proxy_auth,
	// proxy_auth_regex, user_cert, ca_cert, at_step, ssl::server_name, ssl::server_name_regex, ssl_error,
	// server_cert_fingerprint, any-of, all-of, connections_encrypted or http_status.
	Type string `json:"type"`

	// Values are as Squid writes them; Options are its flags ("-i", "-n", "--client-requested").
	Values  []string `json:"values,omitempty"`
	Options []string `json:"options,omitempty"`
}

// AccessRule is one line: Allow or Deny if all ACLs match; "!" before a name turns it around.
type AccessRule struct {
	Action string   `json:"action"`
	ACLs   []string `json:"acls,omitempty"`
}

// Interception looks into TLS.
type Interception struct {
	// CARef names the Secret (tls.crt, tls.key) of the CA that leaves are signed with: workloads trust
	// it. It may be constrained to names; what it may not sign is spliced or refused by the rules.
	CARef ObjectReference `json:"caRef"`

	// Rules decide at each step, first match (Squid's ssl_bump): Peek, Splice, Stare, Bump, Terminate.
	// Without a rule that matches: splice. Default: bump all at step 2.
	Rules []InterceptionRule `json:"rules,omitempty"`

	// CertificateErrors decide what is done about a destination whose certificate does not verify
	// (sslproxy_cert_error). Default: refuse.
	CertificateErrors []AccessRule `json:"certificateErrors,omitempty"`

	// Sign and Adapt are Squid's sslproxy_cert_sign (Trusted, Untrusted, Self) and sslproxy_cert_adapt.
	Sign  []SignRule  `json:"sign,omitempty"`
	Adapt []AdaptRule `json:"adapt,omitempty"`

	// KeyType of leaves: ECDSA (P-256, the default), RSA (2048) or Mimic (as the destination's).
	KeyType string `json:"keyType,omitempty"`

	// Validity bounds that of leaves. Default 24h. Mimicked leaves end no later than their original.
	Validity Duration `json:"validity,omitempty"`

	// MemoryBytes bounds leaves kept in memory (dynamic_cert_mem_cache_size). Default 4 MiB.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`

	// DiskPath and DiskBytes keep leaves over restarts (sslcrtd_program -s DIR -M SIZE). Default: not.
	DiskPath  string `json:"diskPath,omitempty"`
	DiskBytes int64  `json:"diskBytes,omitempty"`

	// MinVersion ("1.2") and CipherSuites (OpenSSL's or IANA's names) hold towards clients.
	MinVersion   string   `json:"minVersion,omitempty"`
	CipherSuites []string `json:"cipherSuites,omitempty"`

	// OnUnsupportedProtocol is what is done with bytes that are no TLS: Respond (the default) or Tunnel.
	OnUnsupportedProtocol string `json:"onUnsupportedProtocol,omitempty"`

	// LearnPinned splices hosts, for an hour, whose clients refused our leaf twice (alerts
	// unknown_ca, bad_certificate, certificate_unknown).
	LearnPinned bool `json:"learnPinned,omitempty"`
}

// InterceptionRule is one ssl_bump line.
type InterceptionRule struct {
	Action string   `json:"action"`
	ACLs   []string `json:"acls,omitempty"`
}

// SignRule says with what a leaf is signed.
type SignRule struct {
	Sign string   `json:"sign"`
	ACLs []string `json:"acls,omitempty"`
}

// AdaptRule changes a mimicked leaf: setValidAfter, setValidBefore, setCommonName (Value: the name; empty:
// what the client asked for).
type AdaptRule struct {
	Adapt string   `json:"adapt"`
	Value string   `json:"value,omitempty"`
	ACLs  []string `json:"acls,omitempty"`
}

// ForwardUpstream is how destinations are spoken to.
type ForwardUpstream struct {
	// CARef names additional anchors; SystemRoots false leaves the system's out.
	CARef       *ObjectReference `json:"caRef,omitempty"`
	SystemRoots *bool            `json:"systemRoots,omitempty"`

	// InsecureSkipVerify verifies nothing, and says so in log and check.
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`

	// MinVersion and MaxVersion are TLS versions; default 1.2 and 1.3.
	MinVersion   string   `json:"minVersion,omitempty"`
	MaxVersion   string   `json:"maxVersion,omitempty"`
	CipherSuites []string `json:"cipherSuites,omitempty"`

	// CertificateRef names a client certificate for destinations that ask for one.
	CertificateRef *ObjectReference `json:"certificateRef,omitempty"`

	// Revocation is how revocation of their certificates is looked at.
	Revocation *Revocation `json:"revocation,omitempty"`

	// Protocol is auto (h2 and http/1.1 by ALPN, the default) or http1.
	Protocol string `json:"protocol,omitempty"`

	// ConnectTimeout bounds connecting with TLS. Default 10s.
	ConnectTimeout Duration `json:"connectTimeout,omitempty"`

	// AllowLoopback lets clients reach addresses of this machine and link-local ones (cloud metadata).
	AllowLoopback bool `json:"allowLoopback,omitempty"`
}

// ProxyRule sends what matches through one of several UpstreamProxies of the namespace, tried in order.
type ProxyRule struct {
	ProxyRefs []LocalReference `json:"proxyRefs"`
	ACLs      []string         `json:"acls,omitempty"`
}

// ProxyAuthentication asks for a user.
type ProxyAuthentication struct {
	// Realm is shown by clients. Default: the visible hostname.
	Realm string `json:"realm,omitempty"`

	// HtpasswdRef names the Secret whose entry (default "auth" or ".htpasswd") has lines user:hash, of
	// bcrypt, SHA-crypt ($5$, $6$), apr1 or {SHA}.
	HtpasswdRef *ObjectReference `json:"htpasswdRef,omitempty"`

	// TTL is how long a verified password is not verified again. Default 2h.
	TTL Duration `json:"ttl,omitempty"`
}

// ForwardRewrite corrects answers for clients that ask in the clear for what is reached over TLS.
type ForwardRewrite struct {
	// Location turns https:// of the destination into http:// in Location, Content-Location and Refresh.
	Location *bool `json:"location,omitempty"`

	// Cookies removes Secure (and SameSite=None) from Set-Cookie.
	Cookies *bool `json:"cookies,omitempty"`

	// HSTS removes Strict-Transport-Security.
	HSTS *bool `json:"hsts,omitempty"`
}

// ForwardHeaders says what becomes of header fields of requests.
type ForwardHeaders struct {
	// Via false leaves Via out (loops are then found by a private mark only).
	Via *bool `json:"via,omitempty"`

	// ForwardedFor is on (the default), off ("unknown"), transparent, delete or truncate.
	ForwardedFor string `json:"forwardedFor,omitempty"`

	// Remove are names of fields removed from requests.
	Remove []string `json:"remove,omitempty"`
}

// ForwardPages are what refused clients see.
type ForwardPages struct {
	// HTML is a page with {{code}}, {{reason}}, {{detail}}, {{host}}, {{id}} and {{contact}}.
	HTML string `json:"html,omitempty"`

	// Contact is shown on pages.
	Contact string `json:"contact,omitempty"`

	// TrustHost is the name under which the proxy hands out its CA with instructions. Default
	// "hakone.internal"; the path /.well-known/hakone/trust of every listener does the same.
	TrustHost string `json:"trustHost,omitempty"`
}

// Cache keeps answers in memory (RFC 9111).
type Cache struct {
	// MemoryBytes bounds it. Default 256 MiB. MaxObjectBytes bounds one answer; default 4 MiB.
	MemoryBytes    int64 `json:"memoryBytes,omitempty"`
	MaxObjectBytes int64 `json:"maxObjectBytes,omitempty"`

	// DiskPath and DiskBytes keep answers over restarts (cache_dir). Default: not.
	DiskPath  string `json:"diskPath,omitempty"`
	DiskBytes int64  `json:"diskBytes,omitempty"`

	// Refresh are rules by URL, the first that matches, as Squid's refresh_pattern.
	Refresh []RefreshPattern `json:"refresh,omitempty"`

	// Deny are ACLs (of a ForwardProxy) of what is not cached (Squid's cache deny).
	Rules []AccessRule `json:"rules,omitempty"`

	// Private true makes it a private cache: not shared between users (RFC 9111 section 3). Default a
	// shared one.
	Private bool `json:"private,omitempty"`

	// PurgeMethod lets the addresses named here purge with the method PURGE.
	PurgeFrom []string `json:"purgeFrom,omitempty"`
}

// RefreshPattern is one refresh_pattern line: Min and Max in time, Percent of the answer's age.
type RefreshPattern struct {
	Pattern    string   `json:"pattern"`
	IgnoreCase bool     `json:"ignoreCase,omitempty"`
	Min        Duration `json:"min,omitempty"`
	Percent    int32    `json:"percent"`
	Max        Duration `json:"max,omitempty"`

	// Options are Squid's: override-expire, override-lastmod, reload-into-ims, ignore-reload,
	// ignore-no-store, ignore-private, max-stale=N, refresh-ims, store-stale.
	Options []string `json:"options,omitempty"`
}
