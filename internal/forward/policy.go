// Package forward is the forward proxy: it decides about requests and connections as Squid does (http_access,
// ssl_bump in three steps, sslproxy_cert_error and its kin) and makes what it decided happen.
//
// A Policy is one ForwardProxy of one snapshot; a Port is one of its listeners, and what package proxy asks
// about requests (proxy.Forwarder). Connections of listeners that clients do not know to be a proxy begin at
// Port.Serve. TLS that is looked into is terminated with leaves of package mint and handed back to package
// proxy, whose engine serves it like any other connection; a Tunnel is what is known of it. State is what
// outlives snapshots. It refuses to know how destinations are connected to (package upstream) and HTTP's framing.
//
// Begin reading at Port.Choose (requests), then tunnel.go (the steps), bump.go and splice.go. DESIGN.md tells
// what lives how long.
package forward

import (
	"fmt"
	"html/template"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/mint"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/tcpproxy"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Engine serves HTTP; *proxy.Proxy is one.
type Engine interface {
	Serve(proxy.Downstream, *atomic.Pointer[proxy.State])
}

// Options are what a Policy needs besides its ir.Forward.
type Options struct {
	State        *State
	Secrets      *ir.Secrets
	Trust        *ir.Trust
	TLS          *tlsconf.State
	Engine       Engine
	Destinations *upstream.Destinations
	Proxies      []*ir.Proxy
	Upstreams    map[string]*upstream.Upstream // of the snapshot, for KnownHost.Upstream

	Sink    telemetry.Sink
	Egress  telemetry.EgressSink
	Logger  *slog.Logger
	Metrics func(listener string, r *route.Route) any
	Bounds  *overload.Bounds
	Pipes   *tcpproxy.Pipes

	HandshakeTimeout time.Duration      // default 10 s
	Idle             time.Duration      // of spliced connections; default that of tcpproxy
	IdleRecords      listen.IdleRecords // of clients' TLS

	// Own are the ports that this process listens on, as bound: a destination that is one of them on an address
	// of this machine is a loop.
	Own map[uint16]bool
}

// Policy is one ForwardProxy of one snapshot. It is immutable.
type Policy struct {
	ir       *ir.Forward
	opts     Options
	registry registry

	acls     *acl.Set
	access   *acl.Rules
	bump     *acl.Rules
	errors   *acl.Rules
	sign     *acl.Rules
	adapting *acl.Rules
	direct   *acl.Rules
	caching  *acl.Rules
	every    bool // all clients of Proxy listeners must say who they are: no rule asks

	authority *mint.Authority // nil: nothing is intercepted, or noCA says why
	pair      *secret.KeyPair // of authority
	noCA      string
	passwords *ir.Passwords
	addresses func(host string) []netip.Addr // lookup
	names     func(netip.Addr) []string      // State.names.confirmed
	page      *template.Template
	realm     string
	via       map[string]*ir.Proxy
	fault     *ir.Fault // refuses everything
}

// New prepares a policy. What is broken becomes a fault that every request is refused with.
func New(f *ir.Forward, opts Options) *Policy {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.HandshakeTimeout == 0 {
		opts.HandshakeTimeout = 10 * time.Second
	}
	p := &Policy{ir: f, opts: opts, registry: newRegistry(f.Known), via: map[string]*ir.Proxy{}, realm: f.Realm}
	p.addresses = p.lookup
	if opts.State != nil {
		p.names = opts.State.names.confirmed
		opts.State.hold(opts.Destinations)
	}
	if p.realm == "" {
		p.realm = f.Hostname
	}
	for _, via := range opts.Proxies {
		p.via[via.Name] = via
	}
	p.fault = f.Fault
	if err := p.compile(); err != nil && p.fault == nil {
		p.fault = &ir.Fault{Code: diag.ForwardUnavailable, Detail: err.Error()}
	}
	p.page = pageTemplate(f.Page)
	if f.Interception != nil {
		p.intercept()
	}
	if f.Passwords != "" {
		p.passwords = opts.Secrets.Passwords[f.Passwords]
		if p.passwords == nil {
			p.passwords = &ir.Passwords{Fault: &ir.Fault{Code: diag.ForwardUnavailable, Detail: fmt.Sprintf("the htpasswd entry %s is missing", f.Passwords)}}
		}
		for user, hash := range p.passwords.Users {
			if why := HashProblem(hash.Expose()); why != "" {
				opts.Logger.Warn("a user of a forward proxy can never log in", "name", f.Name, "user", user, "err", why, "code", diag.ForwardAuthFailed.String())
			}
		}
	}
	return p
}

// compile makes the rules.
func (p *Policy) compile() error {
	f := p.ir
	var err error
	if p.acls, err = acl.Compile(f.ACLs); err != nil {
		return err
	}
	rules := func(directive string, list []ir.ForwardRule) *acl.Rules {
		if err != nil || len(list) == 0 {
			return nil
		}
		var r *acl.Rules
		r, err = p.acls.Rules(directive, list)
		return r
	}
	p.access, p.direct = rules("access", f.Access), rules("direct", f.Direct)
	if i := f.Interception; i != nil {
		steps := i.Rules
		if len(steps) == 0 {
			steps = []ir.ForwardRule{{Action: "peek", ACLs: []string{stepOne}}, {Action: "bump", ACLs: []string{"all"}}}
			if p.acls, err = acl.Compile(append([]ir.ACL{{Name: stepOne, Type: "at_step", Values: []string{"SslBump1"}}}, f.ACLs...)); err != nil {
				return err
			}
		}
		p.bump, p.errors = rules("ssl_bump", steps), rules("certificateErrors", i.Errors)
		sign := append(append([]ir.ForwardRule(nil), i.Sign...), defaultSign()...)
		p.sign, p.adapting = rules("sign", sign), rules("adapt", i.Adapt)
	}
	if f.Cache != nil {
		p.caching = rules("cache", f.Cache.Rules)
	}
	p.every = f.Passwords != "" && !asksUser(f)
	return err
}

// stepOne is the name of the question of the default rules.
const stepOne = "hakone:step1"

// defaultSign are Squid's rules where none of the user's matches.
func defaultSign() []ir.ForwardRule {
	return []ir.ForwardRule{
		{Action: "untrusted", ACLs: []string{"ssl::certUntrusted"}},
		{Action: "self", ACLs: []string{"ssl::certSelfSigned"}},
		{Action: "trusted", ACLs: []string{"all"}},
	}
}

// asksUser reports whether a rule of Access has a question about the user, directly or in a group.
func asksUser(f *ir.Forward) bool {
	users := map[string]bool{}
	for _, a := range f.ACLs {
		if a.Type == "proxy_auth" || a.Type == "proxy_auth_regex" {
			users[a.Name] = true
		}
	}
	for range f.ACLs { // groups of groups
		for _, a := range f.ACLs {
			if a.Type != "any-of" && a.Type != "all-of" {
				continue
			}
			for _, v := range a.Values {
				if users[strings.TrimPrefix(v, "!")] {
					users[a.Name] = true
				}
			}
		}
	}
	for _, r := range f.Access {
		for _, n := range r.ACLs {
			if users[strings.TrimPrefix(n, "!")] {
				return true
			}
		}
	}
	return false
}

// IR returns what the policy was made of.
func (p *Policy) IR() *ir.Forward { return p.ir }

// Live is one listener's present configuration, which connections look at again and again.
type Live struct {
	Port  atomic.Pointer[Port]         // nil: the listener is gone
	State *atomic.Pointer[proxy.State] // of the same listener
}

// Port is one listener of a Policy. It implements proxy.Forwarder.
type Port struct {
	*Policy
	listener *ir.Listener
	spec     *ir.ForwardListener
	live     *Live
	route    *route.Route
	term     *tlsconf.Terminator // of clients whose TLS is looked into; nil where nothing is

	further func(host string) bool // originates; nil where that is true of none
}

// Port prepares a listener. live is the listener's own, the same from snapshot to snapshot.
func (p *Policy) Port(l *ir.Listener, live *Live) *Port {
	t := &Port{Policy: p, listener: l, spec: l.Forward, live: live}
	if t.spec.Mode == ir.ForwardGateway && t.spec.OriginateTLS {
		t.further = t.originates
	}
	t.route = &route.Route{IR: &ir.Route{Name: p.ir.Name + "/" + l.Forward.Section, Origin: p.ir.Origin}, Host: "*", Origin: p.ir.Origin.String()}
	if p.opts.Metrics != nil {
		t.route.Metrics = p.opts.Metrics(l.Name, t.route)
	}
	var prev *tlsconf.Terminator
	if before := live.Port.Load(); before != nil {
		prev = before.term
	}
	t.terminator(prev)
	return t
}

// explicit reports whether clients know that this is a proxy.
func (t *Port) explicit() bool { return t.spec.Mode == ir.ForwardExplicit }
