package proxy

import (
	"net"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Forwarder decides about the requests of listeners that are forward proxies, whose destinations are the
// requests' own: it takes the place of the route index. *forward.Policy is one.
type Forwarder interface {
	// Choose decides about a request whose head has been read. It may wait (for a password to be verified, for
	// a name to be looked up), bounded by itself. It may change the request's fields.
	Choose(*ForwardRequest) ForwardChoice

	// Answered is told of the head of the answer before it is sent on, also of our own; it may change its fields.
	Answered(*ForwardRequest)

	// Explain makes the page for an answer of the engine's own that refuses a request for which an upstream was
	// chosen.
	Explain(*ForwardRequest, *filter.Response) (body []byte, contentType string)
}

// ForwardRequest is one request of a forward proxy.
type ForwardRequest struct {
	*filter.Exchange

	// Tunnel is Downstream.Tunnel: what the connection is, nil for the plain connection of an explicit
	// listener.
	Tunnel any

	// Access may be annotated: Result, Hierarchy, User, Bump, URL.
	Access *telemetry.Access

	// Data is the Forwarder's, from Choose to Answered. What it leaves there may come with a later request, of any
	// connection, so that it can be used again.
	Data any
}

// ForwardChoice is a decision: exactly one of Respond, Take and Upstream is set.
type ForwardChoice struct {
	// Respond answers, as a filter does.
	Respond *filter.Response

	// Take is for CONNECT: the client is told 200, and the connection is given away with what was read
	// beyond the head. Take owns it from then on, is called on the connection's goroutine, and blocks
	// until it is over.
	Take func(*Takeover)

	// Upstream is where the request goes. Release is called when the request is over; nil for nothing.
	Upstream *upstream.Upstream
	Release  func()

	// Route stands for the route: its filters, timeouts, retries and metrics apply. Never nil with Upstream.
	Route *route.Route

	// Originates names further hosts, in lower case, whose https URLs in answers become http ones for a client
	// that asked in plain HTTP (ir.Forward.RewriteLocation); nil: only the request's own host.
	Originates func(host string) bool

	// Cache says whether and how answers are kept; nil: not. URL of what is asked for is
	// ForwardRequest.Access.URL.
	Cache *ir.Cache
}

// Takeover is a connection that was given away after CONNECT.
type Takeover struct {
	Raw     *listen.Conn // accepted connection, for what is known of it
	Stream  net.Conn     // what is read, written and closed: Raw, TLS over it for https:// proxies, or one stream of HTTP/2
	Pending []byte       // read beyond the head of CONNECT; the receiver's own
	Peer    *filter.Peer
	ID      []byte            // of the CONNECT request; the receiver's own copy
	Access  *telemetry.Access // of the CONNECT request, the receiver's own copy; the receiver records it when the connection ends

	// Ended returns why the engine has closed the connection (Draining, ClientCertWithdrawn), 0 if it has not.
	Ended func() (diag.Code, string)
}
