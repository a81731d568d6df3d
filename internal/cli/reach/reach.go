// Package reach answers, without a connection, what clients get of a configuration: whether a client
// with a certificate is let in to a host and path, and what can be reached without one.
//
// It asks the code that serves: package route for chain and route, package authz for the decision,
// package semantics for what a path means. Only the handshake is followed by hand. Begin reading at
// World.Ask, then Survey.
package reach

import (
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/semantics"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// World is a snapshot that can be asked. It is owned by one goroutine.
type World struct {
	snapshot  *ir.Snapshot
	now       time.Time
	set       *authz.Set
	listeners []*listener
	upstreams map[string]*ir.Upstream
}

type listener struct {
	ir     *ir.Listener
	index  *route.Index
	access map[*ir.Chain]*authz.Index
}

// New returns the world of a snapshot at a time.
func New(s *ir.Snapshot, now time.Time) *World {
	w := &World{snapshot: s, now: now, upstreams: map[string]*ir.Upstream{}}
	w.set = authz.NewSet(s.Config.AccessPolicies, s.Trust, s.Secrets, authz.Settings{}, nil)
	none := func(*ir.Route, *ir.Backend) ([]filter.Filter, error) { return nil, nil }
	for _, l := range s.Config.Listeners {
		x := &listener{ir: l, index: route.NewIndex(l, none), access: map[*ir.Chain]*authz.Index{}}
		for _, c := range l.Chains {
			x.access[c] = authz.NewIndex(c, s.Config.AccessPolicies)
		}
		w.listeners = append(w.listeners, x)
	}
	for _, u := range s.Config.Upstreams {
		w.upstreams[u.Name] = u
	}
	return w
}

// Query is a request of one client. Path may be written as a client may send it, with a query.
type Query struct {
	Host      string
	Path      string
	Method    string              // "" means GET
	Headers   [][2]string         // further ones that routes may match
	Presented []*x509.Certificate // what the client would show if it were asked, leaf first
}

// Outcome is what becomes of a request.
type Outcome string

// Outcomes.
const (
	Allow     Outcome = "allow"     // it goes on to its route
	Deny      Outcome = "deny"      // the policy answers
	Refuse    Outcome = "refuse"    // the handshake or the request is refused for another reason than a policy
	Redirect  Outcome = "redirect"  // let in, and the route only redirects or answers by itself
	NotServed Outcome = "notServed" // no listener, host or route takes it
)

// Answer is what becomes of a request, and why.
type Answer struct {
	Outcome   Outcome   `json:"outcome"`
	Listener  string    `json:"listener,omitempty"`
	Chain     string    `json:"chain,omitempty"`
	TLS       bool      `json:"tls"`
	Asked     bool      `json:"asked"`     // the handshake asks for a certificate
	Handshake bool      `json:"handshake"` // decided in the handshake
	Policy    string    `json:"policy,omitempty"`
	Display   string    `json:"displayName,omitempty"`
	Verdict   string    `json:"verdict,omitempty"` // allow, deny, audit; "" where no policy holds
	Code      diag.Code `json:"code,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Route     string    `json:"route,omitempty"`
	Upstreams []string  `json:"upstreams,omitempty"`
	Path      string    `json:"path,omitempty"`       // as it is compared
	Origin    string    `json:"originPath,omitempty"` // as the origin receives it
	Target    string    `json:"redirect,omitempty"`   // where a redirect leads: a scheme, a host or both

	route *ir.Route
}

// Ports returns the listeners that have the host, those with TLS first.
func (w *World) Ports(host string) []*ir.Listener {
	var out []*ir.Listener
	for _, l := range w.listeners {
		if l.index.FindString(host) != nil {
			out = append(out, l.ir)
		}
	}
	slices.SortStableFunc(out, func(a, b *ir.Listener) int { return number(b.TLS) - number(a.TLS) })
	return out
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Ask says what becomes of a request that comes to a listener (by name) under the SNI of its host.
func (w *World) Ask(name string, q Query) Answer {
	i := slices.IndexFunc(w.listeners, func(l *listener) bool { return l.ir.Name == name })
	if i < 0 {
		return Answer{Outcome: NotServed, Detail: "there is no listener " + name}
	}
	l, host := w.listeners[i], strings.ToLower(q.Host)
	a := Answer{Listener: name, TLS: l.ir.TLS}
	entry := l.index.FindString(host)
	if entry == nil {
		a.Outcome, a.Code, a.Detail = NotServed, diag.NoHost, fmt.Sprintf("no listener of %s has the host %s", name, host)
		return a
	}
	a.Chain = entry.Chain.Name
	presented := q.Presented
	if l.ir.TLS {
		t := entry.TLS(host)
		a.Asked = t.ClientAuth.Mode != ir.ClientAuthNone && t.ClientAuth.Mode != ""
		if !a.Asked {
			presented = nil
		}
		if a.Code, a.Detail = w.handshake(t, presented); a.Code != 0 {
			a.Outcome, a.Handshake = Refuse, true
			if t.ClientAuth.Mode == ir.ClientAuthPolicy && a.Code != diag.CredentialMissing && a.Code != diag.CredentialWithdrawn {
				a.Outcome, a.Verdict, a.Policy = Deny, authz.Deny.String(), t.ClientAuth.Policies[0]
			}
			return a
		}
	} else {
		presented = nil
	}
	req, fault := request(l.ir, host, q)
	if fault != "" {
		a.Outcome, a.Code, a.Detail = Refuse, diag.RequestBadPath, fault
		return a
	}
	a.Path = string(req.Path)
	matched, code := entry.Table.Match(req)
	if matched != nil {
		a.route, a.Route = matched.IR, matched.IR.Name
		a.Upstreams, a.Origin = w.destinations(matched.IR), originPath(matched.IR, a.Path)
	}
	d := w.set.Decide(l.access[entry.Chain], &authz.Request{Host: req.Host, Path: req.Path, Route: a.route, TLS: l.ir.TLS, Presented: presented, Fields: &req.Fields, Now: w.now})
	a.Policy, a.Verdict = d.Name, d.Verdict.String()
	if d.Policy != nil {
		a.Display = d.Policy.IR().Display
	}
	if d.Verdict != authz.None {
		a.Code, a.Detail = d.Code, d.Detail
	}
	switch {
	case !d.Allowed():
		a.Outcome = Deny
	case matched == nil:
		a.Outcome, a.Code = NotServed, code
	case matched.Fault != nil:
		a.Outcome, a.Code, a.Detail = Refuse, matched.Fault.Code, matched.Fault.Detail
	case len(matched.IR.Forward) == 0:
		a.Outcome, a.Target = Redirect, targetOf(matched.IR.Redirect)
	default:
		a.Outcome = Allow
	}
	return a
}

// targetOf says where a redirect leads.
func targetOf(r *ir.Redirect) string {
	switch {
	case r == nil:
		return ""
	case r.Scheme != "" && r.Host != "":
		return r.Scheme + "://" + r.Host
	case r.Scheme+r.Host == "":
		return "another path"
	}
	return r.Scheme + r.Host
}

// handshake returns why a client is refused in the handshake, 0 if it is not.
func (w *World) handshake(t *ir.TLS, presented []*x509.Certificate) (diag.Code, string) {
	usable := false
	for _, ref := range t.Certificates {
		c := w.snapshot.Secrets.ByRef[ref]
		usable = usable || c != nil && c.Pair != nil
	}
	if !usable {
		return diag.CredentialMissing, "the host has no usable certificate, so it refuses every handshake"
	}
	auth := t.ClientAuth
	switch auth.Mode {
	case ir.ClientAuthNone, "", ir.ClientAuthRequest:
		return 0, ""
	case ir.ClientAuthPolicy:
		return w.rejected(auth, presented)
	}
	if len(presented) == 0 {
		if auth.Mode == ir.ClientAuthOptional {
			return 0, ""
		}
		return diag.ClientCertMissing, "the listener demands a client certificate in the handshake"
	}
	policy, err := trust.ClientPolicy(auth, w.snapshot.Trust.ByRef[auth.Trust])
	if err != nil {
		return diag.TrustMissing, err.Error()
	}
	v := trust.New(policy, nil).VerifyClient(presented, w.now)
	return v.Code, v.Detail
}

// rejected follows enforcement RejectConnection.
func (w *World) rejected(auth ir.ClientAuth, presented []*x509.Certificate) (diag.Code, string) {
	if auth.Reject == ir.RejectNone || len(presented) == 0 && auth.Reject != ir.RejectAll {
		return 0, ""
	}
	if len(presented) == 0 {
		return diag.ClientCertMissing, "the client sent no certificate, and the handshake demands one"
	}
	var code diag.Code
	var detail string
	for _, name := range auth.Policies {
		p := w.set.Policy(name)
		if p == nil || !p.IR().Reject {
			continue
		}
		j := p.Judge(presented, w.now)
		if j.Code == 0 {
			return 0, ""
		}
		if code == 0 {
			code, detail = j.Code, j.Detail
		}
	}
	return code, detail
}

// request makes the request that the proxy would have read.
func request(l *ir.Listener, host string, q Query) (*message.Request, string) {
	req := &message.Request{Method: []byte(q.Method), Scheme: "http"}
	if l.TLS {
		req.Scheme = "https"
	}
	if q.Method == "" {
		req.Method = []byte("GET")
	}
	authority := host
	if strings.Contains(host, ":") {
		authority = "[" + host + "]"
	}
	if port := int(l.Port); l.TLS && port != 443 || !l.TLS && port != 80 {
		authority = net.JoinHostPort(strings.Trim(authority, "[]"), strconv.Itoa(port))
	}
	if !semantics.SetAuthority(req, []byte(authority)) {
		return nil, fmt.Sprintf("%q is no host", host)
	}
	for _, h := range q.Headers {
		req.Fields.AddString(h[0], h[1])
	}
	target := []byte(q.Path)
	end, path, query, rewrite := semantics.ScanTarget(target, 0)
	switch {
	case path != 0:
		return nil, "the path does not begin with a slash"
	case end != len(target):
		return nil, semantics.BadTarget(target[end])
	}
	return req, semantics.SetPath(req, target, query, rewrite)
}

// destinations names what a route sends to: its upstreams, and the addresses behind them, so that two
// names of one server are known to be one.
func (w *World) destinations(r *ir.Route) []string {
	var out []string
	add := func(name string) {
		if name == "" || slices.Contains(out, name) {
			return
		}
		out = append(out, name)
	}
	for _, b := range r.Forward {
		add(b.Upstream)
		for _, v := range b.Pull {
			add(v.Upstream)
		}
	}
	return out
}

// places are the addresses of upstreams, with the upstreams' names.
func (w *World) places(names []string) map[string]bool {
	out := map[string]bool{}
	for _, name := range names {
		out[name] = true
		for _, e := range w.snapshot.Endpoints.ByUpstream[name] {
			out[net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))] = true
		}
		if u := w.upstreams[name]; u != nil && u.Resolve != nil {
			out[fmt.Sprintf("%+v", *u.Resolve)] = true
		}
	}
	return out
}

// originPath returns the path that the origin receives.
func originPath(r *ir.Route, path string) string {
	lists := [][]ir.Filter{r.Filters}
	if len(r.Forward) > 0 {
		lists = append(lists, r.Forward[0].Filters)
	}
	for _, list := range lists {
		for _, f := range list {
			if f.Rewrite == nil {
				continue
			}
			switch p := f.Rewrite.Path; p.Kind {
			case ir.ReplaceFull:
				path = p.Value
			case ir.ReplacePrefix:
				rest := strings.TrimPrefix(path, p.Prefix)
				if p.Segments || p.Prefix == "" {
					rest = strings.TrimLeft(rest, "/")
					path = strings.TrimRight(p.Value, "/") + "/" + rest
				} else {
					path = p.Value + rest
				}
			case ir.ReplaceRegex:
				path = "?" // whatever the expression makes of it
			}
		}
	}
	return path
}
