package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OriginPool is a group of origins with health checks, steering and TLS towards them. HTTPRoutes and
// GRPCRoutes name it as backendRef {group: hakone.dev, kind: OriginPool}, VirtualServices as
// destination host "NAME.NAMESPACE.originpool", EdgeHosts by name.
type OriginPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec OriginPoolSpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status PolicyStatus `json:"status,omitempty"`
}

// OriginPoolList is a list of pools.
type OriginPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []OriginPool `json:"items"`
}

// OriginPoolSpec is what a pool asks for.
type OriginPoolSpec struct {
	// DisplayName is a name for people, of any characters.
	DisplayName string `json:"displayName,omitempty"`

	// Origins are the servers.
	Origins []Origin `json:"origins"`

	// Enabled false takes the pool out of service: what would go to it goes to FallbackRef. Default true.
	Enabled *bool `json:"enabled,omitempty"`

	// MinimumOrigins is how many healthy origins the pool needs to count as healthy. Default 1. Below it
	// everything goes to the fallback pool, and without one to the origins that are left.
	MinimumOrigins int32 `json:"minimumOrigins,omitempty"`

	// FallbackRef names the pool that serves when this one cannot. Chains of fallbacks are followed;
	// the last pool serves even if no origin of it is healthy.
	FallbackRef *LocalReference `json:"fallbackRef,omitempty"`

	// Steering chooses the origin: off (the first healthy one in the order of Origins), random (by
	// weight, the default), least-request (of two random choices, by weight), hash (by the client's
	// address), geo (the origins whose Regions hold the client's country or continent, found in
	// --geoip-db; by weight among them).
	Steering Steering `json:"steering,omitempty"`

	// Affinity keeps a client at its origin.
	Affinity *Affinity `json:"affinity,omitempty"`

	// Monitor asks the origins how they are.
	Monitor *Monitor `json:"monitor,omitempty"`

	// Passive watches the answers that clients get. Default: five failures in a row (no connection, no
	// answer, 502, 503, 504) take an origin out for 30 s, at most half of the pool at once.
	Passive *PassiveHealth `json:"passive,omitempty"`

	// TLS is how TLS is spoken to the origins. Without it they are spoken to in plain HTTP.
	TLS *OriginTLS `json:"tls,omitempty"`

	// Protocol is http1 (the default), http2 or auto (by ALPN).
	Protocol string `json:"protocol,omitempty"`

	// ConnectTimeout bounds connecting and the TLS handshake. Default 5s.
	ConnectTimeout Duration `json:"connectTimeout,omitempty"`
}

// LocalReference names an object of the same kind in the same namespace.
type LocalReference struct {
	Name string `json:"name"`
}

// Steering chooses an origin.
type Steering string

// Ways of steering.
const (
	SteeringOff          Steering = "off"
	SteeringRandom       Steering = "random"
	SteeringLeastRequest Steering = "least-request"
	SteeringHash         Steering = "hash"
	SteeringGeo          Steering = "geo"
)

// Origin is one server of a pool.
type Origin struct {
	// Name is unique in the pool. Any characters.
	Name string `json:"name"`

	// Address is an IP address or DNS name, without a port.
	Address string `json:"address"`

	// Port is the port. Default 443 with TLS, else 80.
	Port int32 `json:"port,omitempty"`

	// Weight is the origin's share, 0 to 1, as Cloudflare and IBM CIS write it. Default 1. 0 takes no new
	// clients.
	Weight *float64 `json:"weight,omitempty"`

	// Enabled false takes the origin out. Clients with affinity to it stay for Affinity's DrainDuration.
	Enabled *bool `json:"enabled,omitempty"`

	// HostHeader is the Host that the origin receives. Default: what the client sent.
	HostHeader string `json:"hostHeader,omitempty"`

	// VerifyName is the name that the origin's certificate must carry, and the SNI sent. Default: the
	// pool's, else HostHeader, else Address if that is a name, else the host that the client asked for.
	VerifyName string `json:"verifyName,omitempty"`

	// Regions are ISO 3166 country codes (JP) and continents (AS) that geo steering sends here. An
	// origin without any takes everyone else.
	Regions []string `json:"regions,omitempty"`
}

// Affinity keeps a client at its origin by a cookie that names the origin under a key of this process's
// cluster, or by its address.
type Affinity struct {
	// Type is cookie, ip (hash of the address) or none.
	Type string `json:"type,omitempty"`

	// CookieName is the cookie's name. Default HK_Origin.
	CookieName string `json:"cookieName,omitempty"`

	// TTL is how long it lasts. Default 23h (82800 s).
	TTL Duration `json:"ttl,omitempty"`

	// DrainDuration is how long clients stay with an origin that was disabled. Default 0s.
	DrainDuration Duration `json:"drainDuration,omitempty"`

	// SameSite is Auto (Lax over HTTPS, none over HTTP), Lax, None or Strict.
	SameSite string `json:"sameSite,omitempty"`

	// Secure is Auto (over HTTPS), Always or Never.
	Secure string `json:"secure,omitempty"`

	// Failover is what happens when the origin is unhealthy: temporary (another one answers, the cookie
	// stays), sticky (the cookie moves) or none (503). Default sticky.
	Failover string `json:"failover,omitempty"`
}

// Monitor asks origins how they are.
type Monitor struct {
	// Type is http, https, tcp or none (the default).
	Type MonitorType `json:"type,omitempty"`

	// Method and Path are of the request. Default GET and "/".
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`

	// Port is asked instead of the origin's.
	Port int32 `json:"port,omitempty"`

	// Headers are sent with the request. Host names the host; default: the origin's.
	Headers []HeaderValue `json:"headers,omitempty"`

	// Interval is the time between two checks of an origin. Default 60s, at least 1s.
	Interval Duration `json:"interval,omitempty"`

	// Timeout bounds one check. Default 5s.
	Timeout Duration `json:"timeout,omitempty"`

	// Retries is how often a failed check is repeated at once before it counts. Default 2.
	Retries *int32 `json:"retries,omitempty"`

	// ExpectedCodes are statuses: "200", "2xx", "200-299", or several with commas. Default "2xx".
	ExpectedCodes string `json:"expectedCodes,omitempty"`

	// ExpectedBody is text that the first 16 KiB of the answer must hold.
	ExpectedBody string `json:"expectedBody,omitempty"`

	// FollowRedirects follows up to 3 of them, on the same origin.
	FollowRedirects bool `json:"followRedirects,omitempty"`

	// AllowInsecure does not verify the origin's certificate in checks. What clients' requests do is
	// not changed by it.
	AllowInsecure bool `json:"allowInsecure,omitempty"`

	// ConsecutiveUp and ConsecutiveDown are how many checks in a row change the verdict. Default 1.
	ConsecutiveUp   int32 `json:"consecutiveUp,omitempty"`
	ConsecutiveDown int32 `json:"consecutiveDown,omitempty"`
}

// MonitorType is how an origin is asked.
type MonitorType string

// Types.
const (
	MonitorNone  MonitorType = "none"
	MonitorHTTP  MonitorType = "http"
	MonitorHTTPS MonitorType = "https"
	MonitorTCP   MonitorType = "tcp"
)

// HeaderValue is a header field.
type HeaderValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PassiveHealth takes origins out by the answers that clients get.
type PassiveHealth struct {
	// Disabled turns it off.
	Disabled bool `json:"disabled,omitempty"`

	// ConsecutiveFailures takes an origin out. Default 5.
	ConsecutiveFailures int32 `json:"consecutiveFailures,omitempty"`

	// EjectionTime is how long, times the number of ejections in a row (at most tenfold). Default 30s.
	EjectionTime Duration `json:"ejectionTime,omitempty"`

	// MaxEjectionPercent is how much of the pool may be out for this reason. Default 50.
	MaxEjectionPercent int32 `json:"maxEjectionPercent,omitempty"`
}

// OriginTLS is TLS towards the origins of a pool.
type OriginTLS struct {
	// CARef names the bundle that the origins' certificates are verified against. Empty means the
	// system's CAs.
	CARef *ObjectReference `json:"caRef,omitempty"`

	// VerifyName is the name in certificates and SNI of all origins that say nothing else.
	VerifyName string `json:"verifyName,omitempty"`

	// CertificateRef names our client certificate, where no OriginPull does.
	CertificateRef *ObjectReference `json:"certificateRef,omitempty"`

	// InsecureSkipVerify accepts any certificate. It is reported.
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`

	// MinVersion is the lowest version spoken. Default 1.2.
	MinVersion TLSVersion `json:"minVersion,omitempty"`

	// SPKI pins public keys: SHA-256 in base64. One must match.
	SPKI []string `json:"spki,omitempty"`

	// Revocation says how revoked certificates of origins are recognised.
	Revocation *Revocation `json:"revocation,omitempty"`
}

// OriginPull presents a client certificate to origin pools (authenticated origin pull): for a zone
// ("*.example.com", which covers example.com too) and for single hosts, whose own setting wins.
type OriginPull struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec OriginPullSpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status PolicyStatus `json:"status,omitempty"`
}

// OriginPullList is a list of settings.
type OriginPullList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []OriginPull `json:"items"`
}

// OriginPullSpec is what is asked for.
type OriginPullSpec struct {
	// DisplayName is a name for people, of any characters.
	DisplayName string `json:"displayName,omitempty"`

	// Hosts are those that clients ask for: exact names, or a zone as "*.example.com".
	Hosts []string `json:"hosts"`

	// CertificateRef names the Secret with certificate and key. It may be left out where Enabled is
	// false.
	CertificateRef *ObjectReference `json:"certificateRef,omitempty"`

	// Enabled false presents none for these hosts, also where a broader setting would. Default true.
	Enabled *bool `json:"enabled,omitempty"`
}
