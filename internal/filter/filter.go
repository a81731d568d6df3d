// Package filter holds the contract between the request's path and the steps on it (dataplane §3).
//
// A pure filter computes on heads and never waits: it returns Continue or Respond. A waiting filter
// returns Suspend with a Token; whoever completes the work calls Token.Resume, and the driver goes on
// from there, on whatever goroutine or loop it likes. Because the contract says nothing of goroutines,
// the same filters run under every driver. Begin reading at Filter.
package filter

import (
	"crypto/x509"
	"net/netip"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Verdict is what a filter decided. The zero value is invalid, so that a forgotten decision shows.
type Verdict uint8

// Verdicts.
const (
	Continue Verdict = iota + 1 // go on with the next filter
	Respond                     // send Result.Response instead; later filters do not run
	Suspend                     // wait until Result.Token is resumed
)

// Result is a filter's decision. Response belongs to Respond, Token to Suspend.
type Result struct {
	Verdict  Verdict
	Response *Response
	Token    Token
}

// Next is the Result that goes on.
var Next = Result{Verdict: Continue}

// Response is an answer made by Hakone. Code is the reason when the answer refuses, else 0. Location
// is for redirects. A nil Body with a Code makes the driver render the error page.
type Response struct {
	Status   int
	Code     diag.Code
	Detail   string // for logs only, never sent
	Location string
	Body     []byte
	Type     string         // of Body; "": text/plain
	Fields   []ir.NameValue // besides
}

// Token stands for work in progress. Done is called by the driver once, before it waits, with the
// function that continues the request; a Token whose work is already complete calls it at once.
// Cancel tells the work that the request is gone (client closed, deadline); resume may still be called
// after it and is then ignored.
type Token interface {
	Done(resume func(Result))
	Cancel()
}

// Peer is what is known of the downstream connection when a request arrives. It is fixed for the
// life of the connection.
type Peer struct {
	Remote     netip.AddrPort
	Local      netip.AddrPort
	TLS        bool
	SNI        string
	ListenPort uint16 // the port that the Gateway declares

	// PortMap is where declared ports are bound, for those that are bound elsewhere. A client that named
	// the bound port knows nothing of the declared one, and must be redirected among bound ports.
	PortMap map[uint16]uint16

	ClientCert *ClientCert
	Forward    ir.ForwardMode

	// Presented is what the client showed, leaf first, with proof that it holds the leaf's key; nil for
	// none. It says nothing about trust: policies judge it.
	Presented []*x509.Certificate

	// Identity holds what is sent to upstreams about ClientCert. It is made once per connection, by
	// clientcert.Prepare; nil if there is nothing to send.
	Identity *Identity
}

// Identity is a verified client certificate as field values: an element of X-Forwarded-Client-Cert,
// Client-Cert and Client-Cert-Chain (RFC 9440), and Cf-Client-Cert-Der-Base64 and Cf-Client-Cert-Sha256.
// Empty ones are not sent.
type Identity struct {
	XFCC, Cert, Chain []byte
	CfDER, CfHash     []byte
}

// ClientCert is a client certificate whose key the client has proved to hold. Verified is false when
// the mode does not enforce and the certificate did not verify; such a certificate must not be
// forwarded as an identity.
type ClientCert struct {
	Verified bool
	Code     diag.Code // why not Verified
	DER      [][]byte  // as presented, leaf first
	Subject  string    // RFC 2253
	Hash     string    // lower-case hex of SHA-256 over the leaf
	SPKI     string    // base64 of SHA-256 over SubjectPublicKeyInfo
	Serial   string    // lower-case hex
	Issuer   string
	URI, DNS []string
}

// Exchange is one request on its way, with what is decided about it so far. It is valid for the
// request only; a filter keeps nothing of it, unless it suspends.
type Exchange struct {
	Peer     *Peer
	Request  *message.Request
	Response *message.Response // on the way back; nil before
	Route    *ir.Route
	ID       []byte // request ID

	// Client is the address on whose behalf the request came, as the forwarded step found it; invalid
	// before that.
	Client netip.Addr

	// ByPolicy says that policies on client certificates have let the request in. Certified is what origins
	// are told of the certificate then, instead of Peer.Identity; nil for nothing.
	ByPolicy  bool
	Certified *Identity
}

// Filter is one step. Request runs in configured order before the upstream is chosen, Response in
// reverse order on the answer's head (also of answers made by Hakone). Both may change the message
// that they are given. A Filter is shared by all requests of its route and keeps no state of one.
type Filter interface {
	Request(*Exchange) Result
	Response(*Exchange) Result
}
