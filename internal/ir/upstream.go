package ir

import (
	"crypto/tls"
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
)

// Upstream is a named group of endpoints (Envoy's "cluster").
type Upstream struct {
	Name   string `json:"name"` // "httpbin.default:8000", with "|subset" where there is one
	Origin Origin `json:"origin"`

	Protocol  UpstreamProtocol `json:"protocol"`
	TLS       *UpstreamTLS     `json:"tls,omitempty"`
	Resolve   *ResolveDNS      `json:"resolve,omitempty"` // nil: addresses come from Endpoints
	Balancing Balancing        `json:"balancing"`
	Pool      Pool             `json:"pool"`

	// GRPCWeb translates gRPC-Web requests to gRPC, as Envoy's grpc_web filter does.
	GRPCWeb bool `json:"grpcWeb,omitempty"`

	Origins *OriginPool `json:"origins,omitempty"` // nil: no OriginPool

	// Destination is the host name outside that the upstream stands for, by which an UpstreamProxy takes it;
	// "" for what no proxy ever serves. Via is how it is reached; nil: directly.
	Destination string `json:"destination,omitempty"`
	Via         *Via   `json:"via,omitempty"`

	// Dynamic, if not nil, lets each request or connection say its destination; there are no endpoints then.
	Dynamic *Dynamic `json:"dynamic,omitempty"`

	// IsProxy says that the endpoints are an HTTP proxy that takes CONNECT in the clear, as far as the
	// configuration shows: TLS towards them that is answered in plain text is proxy_speaks_plaintext.
	IsProxy bool `json:"isProxy,omitempty"`

	Fault *Fault `json:"fault,omitempty"` // refuses everything, for example for broken TLS settings
}

// UpstreamProtocol is what is spoken to the endpoints.
type UpstreamProtocol string

// Protocols. UpstreamHTTP2 is h2 by ALPN over TLS and h2c with prior knowledge without; UpstreamAuto
// offers both by ALPN and is HTTP/1.1 without TLS; UpstreamSame is what the client speaks (Istio's
// useClientProtocol).
const (
	UpstreamHTTP1 UpstreamProtocol = "http1"
	UpstreamHTTP2 UpstreamProtocol = "http2"
	UpstreamAuto  UpstreamProtocol = "auto"
	UpstreamSame  UpstreamProtocol = "same"

	// UpstreamRaw is bytes that are not HTTP: ALPN offers nothing. It is asked for by connections, and no setting.
	UpstreamRaw UpstreamProtocol = "raw"
)

// ResolveDNS asks DNS for the addresses; every address of the answer is an endpoint. The names in Also
// are asked in turn where Host has no address.
type ResolveDNS struct {
	Host string   `json:"host"`
	Also []string `json:"also,omitempty"`
	Port uint16   `json:"port"`

	First bool `json:"first,omitempty"` // only the first address of an answer (Istio's DNS_ROUND_ROBIN)
}

// Dynamic is a destination that requests name themselves: for HTTP their Host, for TLS that is passed through
// its SNI, resolved by DNS and only if one of Hosts covers it; with Original, for connections with neither,
// the address that the client meant. Port is that of the destination.
type Dynamic struct {
	Hosts    []hostname.Pattern `json:"hosts"`
	Port     uint16             `json:"port"`
	Original bool               `json:"original,omitempty"`
}

// Balancing is how an endpoint is chosen.
type Balancing string

// Ways of balancing, as in DestinationRule's simple.
const (
	RoundRobin   Balancing = "roundRobin"
	LeastRequest Balancing = "leastRequest" // of two random choices
	Random       Balancing = "random"

	// Of OriginPools alone.
	FirstHealthy Balancing = "off"
	HashAddress  Balancing = "hash"
	Geo          Balancing = "geo"
)

// Pool bounds connections to one upstream. Zero values mean Hakone's defaults.
type Pool struct {
	MaxConnections           int           `json:"maxConnections,omitempty"`
	MaxPendingRequests       int           `json:"maxPendingRequests,omitempty"`
	MaxRequestsPerConnection int           `json:"maxRequestsPerConnection,omitempty"`
	MaxRequests              int           `json:"maxRequests,omitempty"` // in progress, all connections (http2MaxRequests)
	MaxStreams               int           `json:"maxStreams,omitempty"`  // in progress on one HTTP/2 connection (maxConcurrentStreams)
	MaxRetries               int           `json:"maxRetries,omitempty"`  // in progress, all connections
	ConnectTimeout           time.Duration `json:"connectTimeout,omitempty"`
	IdleTimeout              time.Duration `json:"idleTimeout,omitempty"`
}

// UpstreamTLS is how TLS is originated. The server's certificate is verified against Trust (empty:
// the system's roots) and, unless InsecureSkipVerify, must carry one of SANs, or VerifyName if SANs is
// empty.
type UpstreamTLS struct {
	Origin             Origin        `json:"origin"`
	SNI                string        `json:"sni,omitempty"`     // empty: none is sent, unless HostSNI
	HostSNI            bool          `json:"hostSNI,omitempty"` // SNI (and name to verify) is the request's host
	VerifyName         string        `json:"verifyName,omitempty"`
	SANs               []string      `json:"sans,omitempty"`
	Trust              TrustRef      `json:"trust,omitempty"`
	Certificate        SecretRef     `json:"certificate,omitempty"` // client certificate (MUTUAL)
	InsecureSkipVerify bool          `json:"insecureSkipVerify,omitempty"`
	MinVersion         uint16        `json:"minVersion,omitempty"`
	MaxVersion         uint16        `json:"maxVersion,omitempty"`
	CipherSuites       []uint16      `json:"cipherSuites,omitempty"`
	Groups             []tls.CurveID `json:"groups,omitempty"`
	SPKI               []string      `json:"spki,omitempty"` // pins: base64 of SHA-256; one must match
	Revocation         *Revocation   `json:"revocation,omitempty"`

	// Anchors besides Trust: System adds the system's roots to Trust's anchors.
	System bool `json:"system,omitempty"`

	// Interceptors are the CAs of the proxies that intercept: a chain of a direct connection that one of them
	// signed, and that does not verify otherwise, is unexpected_interception. Filled by compile.
	Interceptors []TrustRef `json:"interceptors,omitempty"`
}

// Endpoints are the addresses behind upstreams that are not resolved by DNS.
type Endpoints struct {
	Revision   Revision              `json:"revision"`
	ByUpstream map[string][]Endpoint `json:"byUpstream"` // an upstream without an entry has none
}

// Endpoint is one address. Host is an IP address or, from ServiceEntry endpoints, a DNS name.
// Weight 0 counts as 1. Labels of the endpoint have already been used for subsets.
type Endpoint struct {
	Host   string `json:"host"`
	Port   uint16 `json:"port"`
	Weight uint32 `json:"weight,omitempty"`
	Origin Origin `json:"origin"`

	Server *Server `json:"server,omitempty"` // of an OriginPool
}
