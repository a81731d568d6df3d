package forward

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// asked is one request while it is decided about. It is used for one request after the other.
type asked struct {
	acl.Facts
	field func(name string) (string, bool) // of r; Facts.Header
	r     *proxy.ForwardRequest
	tls   bool // the destination is spoken to in TLS
	code  diag.Code
	why   string // of credentials that are no good

	to  netip.Addr // of captured connections: what Policy.meant says
	own bool
}

// refusal is why something is not done.
type refusal struct {
	code   diag.Code
	detail string
	status int // 0: the code's
}

func refuse(code diag.Code, detail string) *refusal { return &refusal{code: code, detail: detail} }

// Choose implements proxy.Forwarder.
func (t *Port) Choose(r *proxy.ForwardRequest) proxy.ForwardChoice {
	q := begin(r)
	tunnel, _ := r.Tunnel.(*Tunnel)
	credentials := t.takeCredentials(r)
	if t.trustAsked(r, tunnel) {
		return proxy.ForwardChoice{Respond: t.trustPage(r)}
	}
	if t.fault != nil {
		return t.deny(q, &refusal{code: t.fault.Code, detail: t.fault.Detail})
	}
	if tunnel != nil && tunnel.fault != nil {
		r.Access.User, r.Access.Bump = tunnel.user, tunnel.bump
		choice := t.deny(q, tunnel.fault)
		tunnel.told.Store(true)
		if tunnel.explicit { // CONNECT's own record has it
			r.Access.Result = "NONE_NONE"
		}
		return choice
	}
	if no := t.aim(q, tunnel); no != nil {
		return t.deny(q, no)
	}
	if no := t.loops(r); no != nil {
		return t.turnAway(q, no)
	}
	if no := t.know(q, tunnel, credentials); no != nil {
		return t.deny(q, no)
	}
	d := t.access.Decide(&q.Facts)
	if no := t.accessRefusal(q, &d); no != nil {
		return t.turnAway(q, no)
	}
	if string(r.Request.Method) == "CONNECT" {
		return t.connect(q)
	}
	return t.send(q, tunnel)
}

// begin returns what an earlier request has left, made fit for r, or a new one.
func begin(r *proxy.ForwardRequest) *asked {
	q, _ := r.Data.(*asked)
	if q == nil {
		q = &asked{}
		q.field = func(name string) (string, bool) { return joined(&q.r.Request.Fields, name) }
		r.Data = q
	}
	f := &q.Facts
	*q = asked{r: r, field: q.field, Facts: acl.Facts{Header: q.field, Method: f.Method, Host: f.Host, URL: f.URL, Path: f.Path}}
	return q
}

// again returns b as a string: was, where it is the same, as that of requests of one connection often is.
func again(was string, b []byte) string {
	if string(b) == was {
		return was
	}
	return string(b)
}

// keptFields returns the fields of a request that is over for rules that ask about them later.
func keptFields(f *message.Fields) func(name string) (string, bool) {
	own := &message.Fields{}
	for i := range f.Len() {
		l := f.At(i)
		own.AddString(string(l.Name), string(l.Value))
	}
	return func(name string) (string, bool) { return joined(own, name) }
}

// Answered implements proxy.Forwarder.
func (t *Port) Answered(*proxy.ForwardRequest) {}

// takeCredentials takes Proxy-Authorization out of the request: it is meant for us alone.
func (t *Port) takeCredentials(r *proxy.ForwardRequest) string {
	value, ok := r.Request.Fields.Get(message.ProxyAuthorization)
	if !ok {
		return ""
	}
	out := string(value)
	r.Request.Fields.DelID(message.ProxyAuthorization)
	return out
}

// aim finds out where the request is meant to go.
func (t *Port) aim(q *asked, tunnel *Tunnel) *refusal {
	req := q.r.Request
	q.Method = again(q.Method, req.Method)
	q.Host = canonical(again(q.Host, req.Host))
	if numberLike(q.Host) {
		return refuse(diag.ForwardNoDestination, "the host "+q.Host+" is an IPv4 address as only some programs read it: write it as four numbers")
	}
	port, given := portOf(req.Authority)
	connect := q.Method == "CONNECT"
	switch {
	case connect:
		if !t.explicit() {
			return refuse(diag.ForwardNoDestination, "CONNECT on a listener that clients do not know to be a proxy")
		}
		if !given || port == 0 || q.Host == "" {
			return refuse(diag.ForwardNoDestination, "CONNECT without a host and a port")
		}
		q.Port, q.URL, q.Path = port, hostname.WithPort(q.Host, port), ""
		return nil
	case tunnel != nil:
		q.Port, q.tls = tunnel.port, tunnel.tls
		q.Scheme = scheme(tunnel.tls)
		if tunnel.lost {
			return refuse(diag.ForwardNoDestination, lostDetail)
		}
		if tunnel.originated {
			q.tls = t.spec.OriginateTLS
		}
		if q.Host == "" {
			q.Host = tunnel.host
		}
		if q.to, q.own = tunnel.to, tunnel.own; !tunnel.tls {
			q.to, q.own = t.meant(q.Host, tunnel.address)
		}
		q.Dest = q.to
		if tunnel.originated && !tunnel.tls {
			t.originateAsKnown(q, declared(q.r.Peer, port))
		}
		if t.spec.Mode == ir.ForwardGateway && q.Host != "" && q.Port != 0 {
			t.readdress(q)
		}
	case t.explicit() && req.Absolute == "":
		return refuse(diag.ForwardNotProxyRequest, "the request names a path alone: "+string(req.Method)+" on a forward proxy's port")
	default:
		q.Scheme, q.tls = req.Scheme, req.Scheme == "https"
		if q.Port = port; !given {
			if q.Port = 80; q.tls {
				q.Port = 443
			}
		}
	}
	if q.Host == "" || q.Port == 0 {
		return refuse(diag.ForwardNoDestination, "the URL names no host, or port 0")
	}
	q.URL = again(q.URL, q.r.Access.URL)
	if !req.HasQuery {
		q.Path = again(q.Path, req.Path)
	} else {
		q.Path = string(req.Path) + "?" + string(req.Query)
	}
	return nil
}

// declared returns the port that a Gateway listener has in the configuration, where the client named the one that it
// is bound to.
func declared(peer *filter.Peer, port uint16) uint16 {
	if bound, mapped := peer.PortMap[peer.ListenPort]; port != 0 && (mapped && bound == port || peer.Local.Port() == port) {
		return peer.ListenPort
	}
	return port
}

// readdress names the destination by its own URL. Clients of a Gateway listener name the port that they came by, which is
// ours: it is nothing to the destination, and neither to logs and caches.
func (t *Port) readdress(q *asked) {
	req := q.r.Request
	f := &req.Fields
	a := f.Reserve(len(q.Host) + len("[]:65535"))
	if strings.Contains(q.Host, ":") {
		a = append(append(append(a, '['), q.Host...), ']')
	} else {
		a = append(a, q.Host...)
	}
	// What the configuration says of a port of a known host is about how it is reached.
	if q.Port != 80 && q.Port != 443 && t.known(q.Host, q.Port) == nil {
		a = strconv.AppendUint(append(a, ':'), uint64(q.Port), 10)
	}
	if !message.EqualFold(a, req.Authority) {
		req.Authority = a
	}
	u := f.Reserve(len("https://?") + len(a) + len(req.Path) + len(req.Query))
	u = append(append(append(u, scheme(q.tls)...), "://"...), a...)
	if string(req.Path) != "*" {
		u = append(u, req.Path...)
	}
	if req.HasQuery {
		u = append(append(u, '?'), req.Query...)
	}
	q.r.Access.URL = u
}

func scheme(tls bool) string {
	if tls {
		return "https"
	}
	return "http"
}

// canonical returns a host as rules know it: in lower case without final dot, an IPv6 address as RFC 5952 writes it.
func canonical(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if strings.IndexByte(host, ':') >= 0 {
		if a, err := netip.ParseAddr(host); err == nil {
			return a.String()
		}
	}
	return host
}

// numberLike reports whether a host ends in a number without being an address, or is one of IPv4 in the form of IPv6:
// 127.1, 0x7f.0.0.1, 2130706433, ::ffff:127.0.0.1. Some programs, among them proxies, take that for an IPv4 address, where
// rules, lookups and others see something else.
func numberLike(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if strings.HasPrefix(last, "0x") || strings.HasPrefix(last, "0X") {
		last = strings.TrimLeft(last[2:], "0123456789abcdefABCDEF")
	} else if last != "" {
		last = strings.TrimLeft(last, "0123456789")
	}
	if last != "" || host == "" {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err != nil || a.Is4In6()
}

// isHost reports whether a name is one that an authority could hold (RFC 3986 section 3.2.2), or an address.
func isHost(name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Zone() == "" && !a.Is4In6()
	}
	_, port, _, ok := semantics.SplitAuthority([]byte(name))
	return ok && port == nil && name[0] != '[' && !numberLike(name)
}

// portOf returns the port of an authority.
func portOf(a []byte) (port uint16, given bool) {
	i := len(a) - 1
	for ; i >= 0 && a[i] >= '0' && a[i] <= '9'; i-- {
	}
	if i < 0 || a[i] != ':' || i == len(a)-1 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(a[i+1:]), 10, 16)
	return uint16(n), err == nil
}

// know fills in what is known of the client, and verifies its credentials. It refuses where it cannot ask
// whom it must know.
func (t *Port) know(q *asked, tunnel *Tunnel, credentials string) *refusal {
	r := q.r
	t.connectionFacts(&q.Facts, r.Peer)
	if tunnel != nil {
		q.Authenticated, q.User = tunnel.authenticated, tunnel.user
		q.ClientName, q.Chain, q.Errors = tunnel.name, tunnel.facts.Chain, tunnel.errors
		q.Encrypted = tunnel.tls && (!t.explicit() || r.Peer.TLS)
		r.Access.User, r.Access.Bump = tunnel.user, tunnel.bump
		if tunnel.explicit {
			return nil
		}
	}
	if user := identity(r.Peer); user != "" && !q.Authenticated {
		q.Authenticated, q.User = true, user
	}
	if t.passwords != nil && t.explicit() {
		if t.passwords.Fault != nil {
			return refuse(t.passwords.Fault.Code, t.passwords.Fault.Detail)
		}
		q.CanAuthenticate = true
		if credentials != "" {
			user, code, detail := t.opts.State.logins.verify(credentials, t.passwords, t.ir.PasswordOK, q.Client.Addr())
			if code == diag.ForwardAuthLimited {
				return refuse(code, detail)
			}
			if q.code, q.why = code, detail; code == 0 {
				q.Authenticated, q.User = true, user
			}
		}
		if t.every && !q.Authenticated {
			return t.challenge(q, "authentication is set, and no access rule asks for users: all must say who they are")
		}
	}
	r.Access.User = q.User
	return nil
}

// connectionFacts fills in what is known of a connection.
func (t *Port) connectionFacts(f *acl.Facts, peer *filter.Peer) {
	s := t.opts.State
	f.Client, f.Local, f.Listener, f.Now = peer.Remote, peer.Local, t.spec.Section, s.now()
	f.Connections = s.count(peer.Remote.Addr())
	f.Lookup, f.Reverse = t.addresses, t.names
	f.Encrypted = peer.TLS
	if c := peer.ClientCert; c != nil && c.Verified && len(peer.Presented) > 0 {
		f.ClientCert = peer.Presented[0]
	}
}

// identity is the user that a client certificate names.
func identity(peer *filter.Peer) string {
	c := peer.ClientCert
	if c == nil || !c.Verified {
		return ""
	}
	if len(c.URI) > 0 {
		return c.URI[0]
	}
	if len(peer.Presented) > 0 && peer.Presented[0].Subject.CommonName != "" {
		return peer.Presented[0].Subject.CommonName
	}
	return c.Subject
}

// joined returns a field's values with commas between.
func joined(f *message.Fields, name string) (string, bool) {
	var out []string
	for i := range f.Len() {
		if l := f.At(i); message.EqualFold(l.Name, []byte(name)) {
			out = append(out, string(l.Value))
		}
	}
	return strings.Join(out, ", "), len(out) > 0
}

// accessRefusal is what a decision of the access rules means; nil: the request may go on.
func (t *Port) accessRefusal(q *asked, d *acl.Decision) *refusal {
	switch {
	case d.Authenticate:
		return t.challenge(q, d.Text)
	case d.Action == "deny":
		return refuse(diag.ForwardDenied, d.Text)
	}
	return nil
}

// challenge asks for credentials (407).
func (t *Port) challenge(q *asked, text string) *refusal {
	if q.code != 0 {
		return &refusal{code: q.code, detail: q.why + "; " + text, status: 407}
	}
	return &refusal{code: diag.ForwardAuthRequired, detail: text, status: 407}
}

// loops refuses requests that have been here before: Via names us, or CDN-Loop this process.
func (t *Port) loops(r *proxy.ForwardRequest) *refusal {
	f := &r.Request.Fields
	mark := t.opts.State.mark
	for i := range f.Len() {
		l := f.At(i)
		switch {
		case l.ID == message.Via && t.ir.Hostname != "" && viaNames(l.Value, t.ir.Hostname):
			return refuse(diag.ForwardLoop, "Via names "+t.ir.Hostname+" already: "+string(l.Value))
		case l.ID == message.Other && message.EqualFold(l.Name, []byte("CDN-Loop")) && strings.Contains(string(l.Value), mark):
			return refuse(diag.ForwardLoop, "CDN-Loop carries the mark of this process")
		}
	}
	if n, _ := r.Tunnel.(*Tunnel); !t.ir.Via && string(r.Request.Method) != "CONNECT" && (n == nil || !n.tls) { // TLS is its client's and the destination's
		f.AddString("CDN-Loop", mark)
	}
	return nil
}

// viaNames reports whether a Via value has an element received by host (RFC 9110 section 7.6.3).
func viaNames(via []byte, host string) bool {
	for element := range strings.SplitSeq(string(via), ",") {
		words := strings.Fields(element)
		if len(words) >= 2 && strings.EqualFold(words[1], host) {
			return true
		}
	}
	return false
}

// literal returns the address that a host is.
func literal(host string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil
}
