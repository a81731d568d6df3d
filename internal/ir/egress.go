package ir

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Proxy is one UpstreamProxy: somebody else's HTTP proxy. Its name is "namespace/name".
type Proxy struct {
	Name      string         `json:"name"`
	Origin    Origin         `json:"origin"`
	Addresses []ProxyAddress `json:"addresses"`     // in the order in which they are tried
	TLS       *UpstreamTLS   `json:"tls,omitempty"` // of https addresses; HostSNI: each address's own name
	Login     SecretRef      `json:"login,omitempty"`

	// Interception is the CA that the proxy signs with; "" for a proxy that only tunnels. Either lets
	// destinations show their own certificates too.
	Interception TrustRef `json:"interception,omitempty"`
	Either       bool     `json:"either,omitempty"`

	Hosts          []hostname.Pattern `json:"hosts,omitempty"` // destinations that go through it by themselves
	Except         []hostname.Pattern `json:"except,omitempty"`
	ExceptNets     []string           `json:"exceptNets,omitempty"` // netip.Prefix
	Direct         bool               `json:"direct,omitempty"`     // without a healthy address, connect directly
	Probe          *ProxyProbe        `json:"probe,omitempty"`
	ConnectTimeout time.Duration      `json:"connectTimeout,omitempty"` // 0: 10 s
	Headers        []NameValue        `json:"headers,omitempty"`
	Fault          *Fault             `json:"fault,omitempty"` // broken: what would go through it is refused
}

// ProxyAddress is one address of a proxy.
type ProxyAddress struct {
	Host string `json:"host"` // name or IP address
	Port uint16 `json:"port"`
	TLS  bool   `json:"tls,omitempty"`
}

// ProxyProbe asks a proxy how it is: CONNECT to Host:Port and, with an Interception, TLS.
type ProxyProbe struct {
	Host     string        `json:"host"`
	Port     uint16        `json:"port"`
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	Up       int           `json:"up"`
	Down     int           `json:"down"`
}

// Via says that an upstream is reached through proxies. Compile fills it for upstreams whose Destination
// an UpstreamProxy serves, translators where a rule names one. Proxies are tried in order.
type Via struct {
	Proxies []string `json:"proxies"` // names of Config.Proxies

	// Method is CONNECT (the default) or POST (Istio's tunnel.protocol), and Host and Port what is asked
	// for; empty: the endpoint's host name and port.
	Method string `json:"method,omitempty"`
	Host   string `json:"host,omitempty"`
	Port   uint16 `json:"port,omitempty"`
}

// Login is a user name and password for a proxy, or the reason why there is none.
type Login struct {
	Origin   Origin
	User     string
	Password secret.Bytes
	Digest   string // of both, slow to compute; it tells contents apart in dumps
	Fault    *Fault

	Withdrawn bool // served only for the grace after its secret's deletion
}

// Passwords is a parsed htpasswd entry, or the reason why there is none. Users maps names to hashes.
type Passwords struct {
	Origin Origin
	Users  map[string]secret.Bytes
	Digest string // of the content
	Fault  *Fault

	Withdrawn bool // as of Login
}

// ForwardListenerMode says how connections reach a forward-proxy listener.
type ForwardListenerMode string

// Modes; see v1alpha1.ForwardListener.
const (
	ForwardExplicit    ForwardListenerMode = "proxy"
	ForwardTransparent ForwardListenerMode = "transparent"
	ForwardTProxy      ForwardListenerMode = "tproxy"
	ForwardGateway     ForwardListenerMode = "gateway"
)

// ForwardListener is what makes an ir.Listener the port of a forward proxy. Such a listener has exactly
// one chain, for "*", with TLS where the proxy itself speaks TLS to its clients (Explicit only), and no
// virtual hosts.
type ForwardListener struct {
	Policy        string              `json:"policy"`  // name of one of Config.Forwards
	Section       string              `json:"section"` // the listener's own name
	Mode          ForwardListenerMode `json:"mode"`
	Intercept     bool                `json:"intercept"`
	OriginatePort uint16              `json:"originatePort,omitempty"` // Gateway: of the destination for plain requests
	OriginateTLS  bool                `json:"originateTLS,omitempty"`
	ProxyProtocol bool                `json:"proxyProtocol,omitempty"`
}

// Forward is one ForwardProxy. Its name is "namespace/name". ACL names are those of ACLs or the built-in
// ones; translate has verified that they exist and that their values parse (package acl).
type Forward struct {
	Name     string   `json:"name"`
	Origin   Origin   `json:"origin"`
	Hostname string   `json:"hostname"` // in Via, Cache-Status and pages
	Revision Revision `json:"revision"` // of all of this; computed by compile

	ACLs   []ACL         `json:"acls,omitempty"`
	Access []ForwardRule `json:"access,omitempty"` // Allow, Deny

	Interception *Interception `json:"interception,omitempty"`

	// Template is how destinations are spoken to that are not among Known: TLS with HostSNI for https.
	Template Upstream `json:"template"`
	Loopback bool     `json:"loopback,omitempty"` // destinations may be this machine's or link-local

	Proxies    []ForwardVia  `json:"proxies,omitempty"` // first match; then Proxy.Hosts
	Direct     []ForwardRule `json:"direct,omitempty"`  // Allow: always direct; Deny: never
	KnownOnly  bool          `json:"knownOnly,omitempty"`
	Known      []KnownHost   `json:"known,omitempty"` // ordered, the most specific first
	Realm      string        `json:"realm,omitempty"`
	Passwords  SecretRef     `json:"passwords,omitempty"`
	PasswordOK time.Duration `json:"passwordTTL,omitempty"`

	Cache *Cache `json:"cache,omitempty"`

	RewriteLocation bool     `json:"rewriteLocation,omitempty"`
	RewriteCookies  bool     `json:"rewriteCookies,omitempty"`
	RewriteHSTS     bool     `json:"rewriteHSTS,omitempty"`
	Via             bool     `json:"via"`
	ForwardedFor    string   `json:"forwardedFor,omitempty"`
	Remove          []string `json:"remove,omitempty"`

	Page      string `json:"page,omitempty"`
	Contact   string `json:"contact,omitempty"`
	TrustHost string `json:"trustHost,omitempty"`
	Fault     *Fault `json:"fault,omitempty"`
}

// ACL is a question with Squid's types and values.
type ACL struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Values  []string `json:"values,omitempty"`
	Options []string `json:"options,omitempty"`
}

// ForwardRule is an action taken if all ACLs match; "!" before a name negates it. Actions in lower case:
// allow, deny; peek, splice, stare, bump, terminate; trusted, untrusted, self; setvalidafter,
// setvalidbefore, setcommonname.
type ForwardRule struct {
	Action string   `json:"action"`
	Value  string   `json:"value,omitempty"`
	ACLs   []string `json:"acls,omitempty"`
}

// ForwardVia sends what matches through proxies.
type ForwardVia struct {
	Proxies []string `json:"proxies"`
	ACLs    []string `json:"acls,omitempty"`
}

// KnownHost is a destination that the configuration knows. Upstream, if not "", says how it is spoken to
// (ServiceEntry with DestinationRule); Port 0 is every port.
type KnownHost struct {
	Host     hostname.Pattern `json:"host"`
	Port     uint16           `json:"port,omitempty"`
	Upstream string           `json:"upstream,omitempty"`
	Origin   Origin           `json:"origin"`
}

// Interception is how TLS of a forward proxy's clients is looked into.
type Interception struct {
	CA           SecretRef     `json:"ca"`
	Rules        []ForwardRule `json:"rules"`
	Errors       []ForwardRule `json:"errors,omitempty"` // allow, deny
	Sign         []ForwardRule `json:"sign,omitempty"`
	Adapt        []ForwardRule `json:"adapt,omitempty"`
	KeyType      string        `json:"keyType"` // ecdsa, rsa, mimic
	Validity     time.Duration `json:"validity"`
	MemoryBytes  int64         `json:"memoryBytes"`
	DiskPath     string        `json:"diskPath,omitempty"`
	DiskBytes    int64         `json:"diskBytes,omitempty"`
	TLS          TLS           `json:"tls"` // towards clients; Certificates is empty
	TunnelOthers bool          `json:"tunnelOthers,omitempty"`
	LearnPinned  bool          `json:"learnPinned,omitempty"`
}

// Cache keeps answers (RFC 9111).
type Cache struct {
	Name           string        `json:"name"` // which store: "Kind namespace/name"; stores of one name are one
	Origin         Origin        `json:"origin"`
	MemoryBytes    int64         `json:"memoryBytes"`
	MaxObjectBytes int64         `json:"maxObjectBytes"`
	DiskPath       string        `json:"diskPath,omitempty"`
	DiskBytes      int64         `json:"diskBytes,omitempty"`
	Refresh        []RefreshRule `json:"refresh,omitempty"`
	Rules          []ForwardRule `json:"rules,omitempty"` // of a Forward alone
	Private        bool          `json:"private,omitempty"`
	PurgeFrom      []string      `json:"purgeFrom,omitempty"` // netip.Prefix
}

// RefreshRule is one refresh_pattern; the pattern is RE2.
type RefreshRule struct {
	Pattern string        `json:"pattern"` // with (?i) where case is ignored
	Min     time.Duration `json:"min,omitempty"`
	Percent int           `json:"percent,omitempty"`
	Max     time.Duration `json:"max,omitempty"`
	Options []string      `json:"options,omitempty"`
}

// TCPRoute is where connections of a chain go that are not HTTP: by SNI where TLS is passed through, by
// the destination's address, or all. The first that matches is taken.
type TCPRoute struct {
	Name     string             `json:"name"`
	Origin   Origin             `json:"origin"`
	Hosts    []hostname.Pattern `json:"hosts,omitempty"`   // SNI; empty: any, none included
	Subnets  []string           `json:"subnets,omitempty"` // netip.Prefix of the (original) destination
	Sources  []string           `json:"sources,omitempty"` // netip.Prefix
	Forward  []Backend          `json:"forward,omitempty"`
	Fault    *Fault             `json:"fault,omitempty"`
	IdleTime time.Duration      `json:"idleTime,omitempty"` // 0: the process's
}
