// Package trace follows one request over every hop to its destination, as a client would make it, and draws
// what happened: names, addresses, TLS with whoever speaks it, what a proxy answered, which certificate
// was shown and which anchor it leads to, and what HTTP said in the end.
//
// It trusts nobody and judges everybody: handshakes are finished with whatever is shown, and what a
// client would have refused is a finding. Nothing is sent after a certificate that does not verify unless
// Insecure is set. It refuses to know the configuration of gateways; who calls it turns that into Options.
// Begin reading at Run and Picture.
package trace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Anchors are certificates that a chain may lead to, and where they come from.
type Anchors struct {
	From   string // "system roots", a file's name
	Bundle *secret.Bundle
	System *x509.CertPool // instead of Bundle
}

// Proxy is the proxy that the request goes through.
type Proxy struct {
	URL     *url.URL          // http or https; with user and password where it wants them
	Name    string            // "namespace/name" of the UpstreamProxy, "" for one that was given by its URL
	Anchors *Anchors          // of the proxy's own certificate; nil: the system's roots
	SNI     string            // default: the URL's host
	Headers map[string]string // sent with CONNECT
	Only    bool              // destinations show certificates of the interception CA alone
}

// Options say what to follow. Anchors, where nil, are the system's roots.
type Options struct {
	URL     *url.URL
	Method  string // default GET
	Proxy   *Proxy // nil: direct
	Anchors *Anchors

	Interception *Anchors // CA that the proxy intercepts with; nil: none is known
	Insecure     bool     // go on whatever is shown
	Direct       Direct
	Follow       int  // redirects to follow
	Again        bool // connect a second time, to see whether the session is resumed

	Certificate *tls.Certificate // ours; nil: none
	MinVersion  uint16
	MaxVersion  uint16
	ALPN        []string          // default h2, http/1.1
	Resolve     map[string]string // HOST:PORT to address, as curl --resolve
	ConnectTo   map[string]string // HOST:PORT to HOST:PORT, as curl --connect-to

	Timeout time.Duration    // of each step; default 10 s
	Now     func() time.Time // default time.Now
	System  func() (*x509.CertPool, error)
}

// Direct says whether the direct path is looked at too, where there is a proxy.
type Direct string

// What to do about the direct path.
const (
	DirectIfReachable Direct = ""       // compare if it can be reached within a few seconds
	DirectAlways      Direct = "always" // and say so if it cannot
	DirectNever       Direct = "never"
)

func (o Options) withDefaults() Options {
	if o.Method == "" {
		o.Method = "GET"
	}
	if o.ALPN == nil {
		o.ALPN = []string{"h2", "http/1.1"}
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.System == nil {
		o.System = x509.SystemCertPool
	}
	if o.Anchors == nil {
		o.Anchors = o.systemAnchors()
	}
	return o
}

func (o *Options) systemAnchors() *Anchors {
	pool, err := o.System()
	if err != nil {
		return &Anchors{From: "system roots (there are none: " + err.Error() + ")", System: x509.NewCertPool()}
	}
	return &Anchors{From: "system roots", System: pool}
}

// Picture is everything that was seen, in order.
type Picture struct {
	URL      string            `json:"url"`
	Time     time.Time         `json:"time"`
	Proxy    string            `json:"proxy,omitempty"` // without password
	Hops     []*Hop            `json:"hops"`
	Answer   *Answer           `json:"answer,omitempty"`
	Direct   *Comparison       `json:"direct,omitempty"`
	Again    *TLS              `json:"again,omitempty"` // TLS with the destination, a second time
	Findings []diag.Diagnostic `json:"findings"`
	Next     *Picture          `json:"next,omitempty"` // of a redirect
	Took     Took              `json:"took"`
}

// Took is a time that something took; it prints rounded.
type Took time.Duration

// String returns milliseconds.
func (t Took) String() string {
	d := time.Duration(t)
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}

// MarshalText writes milliseconds.
func (t Took) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Hop is one party on the way that is connected to.
type Hop struct {
	Name    string   `json:"name"` // "proxy" or "destination"
	Target  string   `json:"target"`
	Inside  string   `json:"inside,omitempty"` // the proxy whose tunnel it is reached through
	DNS     *DNS     `json:"dns,omitempty"`
	TCP     *TCP     `json:"tcp,omitempty"`
	TLS     *TLS     `json:"tls,omitempty"`
	Connect *Connect `json:"connect,omitempty"` // what the proxy was asked, and said
}

// DNS is a question for addresses. Looked is false where none was asked.
type DNS struct {
	Host      string   `json:"host"`
	Addresses []string `json:"addresses,omitempty"`
	Override  string   `json:"override,omitempty"` // --resolve or --connect-to
	Error     string   `json:"error,omitempty"`
	Took      Took     `json:"took"`
}

// TCP is a connection.
type TCP struct {
	Local  string   `json:"local,omitempty"`
	Remote string   `json:"remote,omitempty"`
	Tried  []string `json:"tried,omitempty"` // addresses that did not answer, with their error
	Error  string   `json:"error,omitempty"`
	Took   Took     `json:"took"`
}

// Connect is a request for a tunnel.
type Connect struct {
	Target string            `json:"target"`
	Login  bool              `json:"login,omitempty"` // a password was sent
	Status int               `json:"status,omitempty"`
	Reason string            `json:"reason,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
	Error  string            `json:"error,omitempty"`
	Took   Took              `json:"took"`
}

// TLS is a handshake.
type TLS struct {
	SNI       string         `json:"sni,omitempty"`
	Offered   []string       `json:"offered,omitempty"` // ALPN
	JA4       string         `json:"ja4,omitempty"`     // of our ClientHello
	Version   string         `json:"version,omitempty"`
	Suite     string         `json:"suite,omitempty"`
	Group     string         `json:"group,omitempty"`
	ALPN      string         `json:"alpn,omitempty"`
	Resumed   bool           `json:"resumed,omitempty"`
	Tickets   int            `json:"tickets,omitempty"` // session tickets that came
	Ours      string         `json:"ours,omitempty"`    // subject of the certificate that we showed
	WantsCert bool           `json:"wantsClientCertificate,omitempty"`
	Accepts   []string       `json:"acceptedIssuers,omitempty"`
	Chain     []*Certificate `json:"chain,omitempty"`
	Staple    string         `json:"ocspStaple,omitempty"` // good, revoked …; "" for none
	Verified  *Verification  `json:"verification,omitempty"`
	Error     string         `json:"error,omitempty"`
	Took      Took           `json:"took"`

	leaf  *x509.Certificate
	certs []*x509.Certificate
}

// Certificate is one that was shown.
type Certificate struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Names       []string  `json:"names,omitempty"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	Key         string    `json:"key"`
	Signature   string    `json:"signature"`
	Fingerprint string    `json:"fingerprint"` // SHA-256
}

// Verification says who was believed.
type Verification struct {
	Name   string    `json:"name"`             // that the certificate had to carry
	By     string    `json:"by,omitempty"`     // the anchors that the chain leads to; "" for none
	Anchor string    `json:"anchor,omitempty"` // subject of the one
	Code   diag.Code `json:"code,omitempty"`
	Detail string    `json:"detail,omitempty"`
	Tried  []Attempt `json:"tried,omitempty"` // anchors that it does not lead to

	Intercepted bool `json:"intercepted,omitempty"` // the interception CA vouches
}

// Attempt is one set of anchors, and why the chain is not good by it.
type Attempt struct {
	Anchors string    `json:"anchors"`
	Code    diag.Code `json:"code"`
	Detail  string    `json:"detail"`
}

// Answer is what HTTP said.
type Answer struct {
	Proto  string            `json:"proto"`
	Status int               `json:"status"`
	Reason string            `json:"reason,omitempty"`
	Fields map[string]string `json:"fields,omitempty"` // those that tell of the way
	Title  string            `json:"title,omitempty"`  // of an HTML page
	Bytes  int64             `json:"bytes"`            // of the body, as far as it was read
	Error  string            `json:"error,omitempty"`
	First  Took              `json:"firstByte"` // from the request to the head
	Took   Took              `json:"took"`

	location string
	id       string
}

// RequestID returns the ID that the last gateway gave the request; "" if it said none.
func (a *Answer) RequestID() string {
	if a == nil {
		return ""
	}
	return a.id
}

// Comparison is the direct path beside the one through the proxy.
type Comparison struct {
	TLS     *TLS   `json:"tls,omitempty"`
	Address string `json:"address,omitempty"`
	Error   string `json:"error,omitempty"`
	By      string `json:"interceptedBy,omitempty"` // who issued what the proxy shows, if that is somebody else
	Same    bool   `json:"same"`                    // the same leaf on both ways
	Both    bool   `json:"both,omitempty"`          // the interception CA signs on both ways
}

// Worst returns the most severe finding's severity over all redirects; false without findings.
func (p *Picture) Worst() (diag.Severity, bool) {
	worst, any := diag.Worst(p.Findings)
	if p.Next != nil {
		if next, ok := p.Next.Worst(); ok && (!any || next > worst) {
			return next, true
		}
	}
	return worst, any
}

// Unreachable reports whether not even a connection came about.
func (p *Picture) Unreachable() bool {
	if p.Next != nil {
		return p.Next.Unreachable()
	}
	for _, h := range p.Hops {
		if h.TCP != nil && h.TCP.Error != "" || h.DNS != nil && h.DNS.Error != "" {
			return true
		}
	}
	return false
}

// Run follows the request. It returns when all is seen, or ctx ends; the picture is never nil.
func Run(ctx context.Context, o Options) *Picture {
	o = o.withDefaults()
	t := &tracer{o: o, sessions: &sessions{}}
	p := t.run(ctx)
	last := p
	for range o.Follow {
		if last.Answer == nil || last.Answer.location == "" {
			break
		}
		next, err := t.o.URL.Parse(last.Answer.location)
		if err != nil || next.Scheme != "http" && next.Scheme != "https" || next.Hostname() == "" {
			last.find(diag.UpstreamProtocolError, fmt.Sprintf("the redirect to %q cannot be followed", last.Answer.location), "Correct the Location at the destination.")
			break
		}
		t.o.URL = next
		if last.Answer.Status == 303 && t.o.Method != "HEAD" {
			t.o.Method = "GET"
		}
		t.sessions = &sessions{}
		last.Next = t.run(ctx)
		last = last.Next
	}
	return p
}

// find adds a finding with the code's severity.
func (p *Picture) find(code diag.Code, message, fix string) {
	if fix == "" {
		if e, ok := diag.Lookup(code); ok {
			fix = e.Fix
		}
	}
	p.Findings = append(p.Findings, diag.Diagnostic{Code: code, Severity: code.Severity(), Message: message, Fix: fix})
}

// tell adds a finding that is only to be known.
func (p *Picture) tell(severity diag.Severity, code diag.Code, message, fix string) {
	p.Findings = append(p.Findings, diag.Diagnostic{Code: code, Severity: severity, Message: message, Fix: fix})
}
