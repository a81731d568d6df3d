package acl

import (
	"crypto/x509"
	"net/netip"
	"time"
)

// Facts is what is known of a request, a connection or an answer when rules are asked. Zero fields are
// unknown: questions about them are answered with no. It belongs to one request and may be used again.
type Facts struct {
	Client netip.AddrPort // who asks
	Local  netip.AddrPort // the address that the client connected to

	Listener string // name of the port
	Now      time.Time

	Method string // "" before there is a request
	Scheme string // http, https; "" for CONNECT
	Host   string // of the destination: lower case, without brackets and final dot
	Port   uint16
	URL    string // as Squid logs it: "host:port" for CONNECT
	Path   string // with query; "" for CONNECT

	// Header returns the request's field of the name, values joined by ", ", and whether there is one.
	// Reply is the same of the answer. Either may be nil.
	Header func(name string) (string, bool)
	Reply  func(name string) (string, bool)
	Status int // of the answer; 0: none yet

	// Lookup returns the addresses of a name and Reverse the confirmed names of an address; they wait, within
	// bounds of their own. nil: questions that need DNS are answered with no.
	Lookup  func(host string) []netip.Addr
	Reverse func(netip.Addr) []string
	Dest    netip.Addr // address of the destination where it is known, without DNS

	// Authenticated says that User (which may be "") has been verified. CanAuthenticate says that the client
	// can be asked: rules that want to know the user then end in Decision.Authenticate.
	Authenticated   bool
	CanAuthenticate bool
	User            string

	Connections int // open ones of the client's address, this one included

	Encrypted bool // all of the way here was

	Step       int      // of TLS interception, 1 to 3; 0: none
	ClientName string   // SNI; "" for none
	ServerName []string // names of the destination's certificate, once it was seen

	ClientCert *x509.Certificate   // verified ones only
	Chain      []*x509.Certificate // of the destination, leaf first
	Errors     []string            // X509_V_ERR names of why it did not verify

	looked string       // name whose addresses are found; all rules see the same ones
	found  []netip.Addr // of that name
}

// Address returns the destination's addresses: that of a literal, the known one, or what DNS says.
func (f *Facts) addresses(dns bool) []netip.Addr {
	if f.Dest.IsValid() {
		return []netip.Addr{f.Dest.Unmap()}
	}
	if a, err := netip.ParseAddr(f.Host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	if !dns || f.Lookup == nil || f.Host == "" {
		return nil
	}
	if f.looked != f.Host {
		f.found, f.looked = f.Lookup(f.Host), f.Host
	}
	return f.found
}

// Found returns the addresses of a destination's name by which rules have been decided; asked is false if no rule
// wanted to know them. A connection that is made because of such a decision has to go to one of them: whoever owns a
// name can let it lead elsewhere a moment later.
func (f *Facts) Found(host string) (addrs []netip.Addr, asked bool) {
	return f.found, host != "" && f.looked == host
}

// requested is the name that the client asked for: SNI, else that of the CONNECT request.
func (f *Facts) requested() string {
	if f.ClientName != "" {
		return f.ClientName
	}
	return f.Host
}
