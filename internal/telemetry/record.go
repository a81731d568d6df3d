// Package telemetry holds what is recorded about handshakes and requests, and the writers of it:
// metrics, access log, handshake log and the ring from which "hakone explain" answers.
//
// It refuses to know how a reason was found. Begin reading at Handshake and Access.
package telemetry

import (
	"net/netip"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Side says which way a TLS connection goes, seen from this process.
type Side string

// Sides.
const (
	Downstream Side = "downstream" // a client connects to us
	Upstream   Side = "upstream"   // we connect to an endpoint
)

// Hello is what a ClientHello says (RFC 8446 section 4.1.2).
type Hello struct {
	SNI      string   `json:"sni,omitempty"`
	Versions []uint16 `json:"-"` // highest first, GREASE left out
	Suites   []uint16 `json:"-"`
	Groups   []uint16 `json:"-"`
	ALPN     []string `json:"alpn,omitempty"`
	JA4      string   `json:"ja4,omitempty"`
	Ticket   bool     `json:"ticket,omitempty"` // a session was offered
	Records  int      `json:"-"`                // TLS records that it came in
}

// Handshake is the one record that every TLS handshake leaves (architecture §5). It is complete and
// frozen when handed to a sink.
type Handshake struct {
	Time     time.Time
	Duration time.Duration
	Conn     uint64 // connection number, unique within the process
	Side     Side
	Listener string // "*:443"; upstream name for Upstream
	Chain    string // "namespace/gateway/section", "" if none was chosen
	Origin   string // "Kind namespace/name field" of the deciding object
	Class    string // TLS policy class
	Remote   netip.AddrPort
	Local    netip.AddrPort
	Hello    Hello

	Version uint16 // negotiated, 0 if refused before
	Suite   uint16
	Group   uint16
	ALPN    string
	Resumed bool
	Cert    string // fingerprint of the certificate that we served, or that the upstream did

	// Peer's certificate, recorded as authenticated only after the handshake completed. For a refused
	// one only PeerOffered is filled: what was presented, proved or not.
	PeerSubject string
	PeerHash    string
	PeerOffered string

	// Of connections through an UpstreamProxy, and of those that forward proxies intercept.
	Proxy  string // "namespace/name"
	Issuer string // of the peer's leaf, as subject; for connections whose peer is a destination outside
	Bump   string // Access.Bump

	// Of such connections: EgressEvent.IssuerKey and .Intercepted.
	IssuerKey   string
	Intercepted bool

	Code   diag.Code // zero: it succeeded
	Err    string    // the TLS library's words, or ours
	Detail string    // the sentence for people: names both sides' values
}

// Access is one request and its answer. It is reused: a sink copies what it keeps.
type Access struct {
	ID       []byte
	Start    time.Time
	Duration time.Duration
	Conn     uint64
	Listener string
	Chain    string
	Route    string
	Origin   string // of the route
	Upstream string
	Endpoint string
	Remote   netip.AddrPort
	Local    netip.AddrPort
	Client   netip.Addr // on whose behalf it came, as proxies say that are believed; else Remote's

	Proto     string
	Scheme    string
	Method    []byte
	Protocol  []byte // of an extended CONNECT (RFC 8441), else nil
	Authority []byte
	Target    []byte // as received
	Path      []byte // normalised
	UserAgent []byte
	Referer   []byte
	XFF       []byte

	Stream        uint32 // of HTTP/2; 0 for HTTP/1
	Attempts      int    // requests sent to upstreams
	UpstreamProto string // version spoken to the upstream
	GRPC          bool   // the request is gRPC or gRPC-Web
	GRPCStatus    int    // valid if GRPC; -1: none was sent
	Status        int
	Code          diag.Code     // reason when Hakone refused or the exchange failed
	Detail        string        // for people; for 404 the nearest route and what failed to match
	Flags         string        // Envoy's response flags: UF, URX, UH, NR, DC, UC, UT …
	ContentType   []byte        // of the answer, its first 96 bytes
	BytesReceived int64         // request body
	HeadReceived  int64         // request head, as it was received
	BytesSent     int64         // response body
	HeadSent      int64         // response heads and trailers, as they were sent
	UpstreamTime  time.Duration // from request sent to response head
	HeadTime      time.Duration // from Start to the upstream's response head; 0: there was none

	SNI         string
	JA4         string
	TLSVersion  uint16
	TLSSuite    uint16
	TLSGroup    uint16
	Resumed     bool
	PeerHash    string // verified client certificate
	PeerSubject string

	// What policies on client certificates decided. PolicyVerdict is "" where none holds, else "allow",
	// "deny" or "audit" (let in, would have been denied); PolicyCode is the reason of the last two.
	Policy        string // "namespace/name" of the policy that decided
	PolicyVerdict string
	PolicyCode    diag.Code
	PeerOffered   string // SHA-256 of the certificate that was presented, good or not; "" for none

	// What is known of the connection to the upstream.
	UpstreamTLSVersion uint16 // 0: plain, or none was made
	UpstreamTLSSuite   uint16
	UpstreamStatus     int    // of the upstream's final answer; 0: there was none
	Pool               string // "namespace/name" of the OriginPool
	Server             string // name of the origin in it

	// Of forward proxies, caches and destinations behind proxies. Result is what Squid calls the result tag,
	// without the status ("TCP_MISS", "TCP_MEM_HIT", "TCP_TUNNEL", "NONE_NONE", "TCP_DENIED"), with its
	// suffixes (_ABORTED, _TIMEDOUT, _CF); "" where there is neither forward proxy nor cache.
	Result        string
	Hierarchy     string // "HIER_DIRECT", "FIRSTUP_PARENT", "HIER_NONE", "ORIGINAL_DST", "PINNED"
	User          string // that authenticated to the forward proxy; "" for none
	Bump          string // of CONNECT and of what came through it: "splice", "bump", "terminate", "peek", "stare"; "" without TLS
	CacheStatus   string // value of our Cache-Status member (RFC 9211); "" without a cache
	Proxy         string // "namespace/name" of the UpstreamProxy that the request went through
	ProxyAddress  string // its address
	ConnectStatus int    // its answer to CONNECT; 0: none
	InnerSubject  string // of the certificate that the destination showed through it
	InnerIssuer   string // subject of that one's issuer
	Intercepted   bool   // the interception CA of the proxy vouches for it
	URL           []byte // absolute URL as the forward proxy understood it; nil: not a forward proxy

	// Metrics is what Metrics.Route returned for the route, from its slot; nil where no route matched.
	Metrics *RouteMetrics
}

// Sink takes records. Calls come from many goroutines and must not block; what cannot be kept is
// counted and dropped.
type Sink interface {
	Handshake(*Handshake)
	Access(*Access)
}
