package proxy

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/route"
)

// permitted lets the policies on client certificates decide about a request for a chain, whose route is known
// if it has one. It returns false if it has answered. A body is not touched.
//
// The listener's present policies hold, also on a connection that the present configuration does not admit any
// more, whose last requests the routes of before still serve (client.latest). What is new about its host may
// be that a certificate is asked for: its client was not, and is told to come again on another connection
// (RFC 9110 section 15.5.20).
func (x *exchange) permitted(entry *route.Entry) bool {
	set, late := x.state.access, false
	if now := x.client.state.Load(); now != nil && now != x.state {
		e, code := now.Index.Choose(x.client.d.TLS != nil, x.Peer.SNI, x.Request.Host)
		if e != nil {
			set, late, entry = now.access, true, e
		}
		if code == diag.MisdirectedRequest && e.Data != nil {
			x.refuse(code, "policies hold for host \""+string(x.Request.Host)+"\" since the connection was made")
			return false
		}
	}
	index, ok := entry.Data.(*authz.Index)
	if !ok {
		return true
	}
	if !x.state.trust.Believes(x.Peer.Remote.Addr()) {
		x.dropMisleading()
	}
	return x.decide(set, index, late)
}

// dropMisleading removes the fields in which a client could tell the origin of another path or of another
// authority's word, for all hosts of a chain that has policies.
func (x *exchange) dropMisleading() {
	f := &x.Request.Fields
	misleads := func(l *message.Field) bool { return l.ID == message.Other && authz.Misleads(l.Name) }
	for i := range f.Len() {
		if misleads(f.At(i)) {
			f.DelFunc(misleads)
			return
		}
	}
}

// decide is permitted for the policies that hold; late says that they are of after the connection's end.
func (x *exchange) decide(set *authz.Set, index *authz.Index, late bool) bool {
	req := x.Request
	r := authz.Request{Host: req.Host, Path: req.Path, Route: x.Route, TLS: x.client.d.TLS != nil, Presented: x.Peer.Presented,
		Memo: &x.client.memo, Fields: &req.Fields, Now: time.Now()}
	if x.publishKeys(set, index, &r) {
		return false
	}
	x.decision = set.Decide(index, &r)
	d, a := &x.decision, &x.access
	a.Policy, a.PolicyVerdict, a.PolicyCode = d.Name, d.Verdict.String(), d.Code
	switch d.Verdict {
	case authz.None:
		return true
	case authz.Deny:
		if late && d.Code == diag.ClientCertMissing {
			x.refuse(diag.MisdirectedRequest, "policy "+d.Name+" asks for a client certificate since the connection was made")
			return false
		}
		ask := authz.Ask{Host: req.Host, ID: x.id(), GRPC: x.call.answers && len(req.Upgrade) == 0}
		ask.Accept, _ = req.Fields.Get(message.Accept)
		x.respond(d.Answer(ask))
		return false
	case authz.Audit:
		a.Detail = d.Detail
	}
	x.ByPolicy = true
	if j := d.Judgement; j != nil && j.Code == 0 {
		x.Certified = j.Identity
		if len(j.Warnings) > 0 {
			a.Detail = j.Warning()
		}
		// A key that cannot sign was reported when it was configured; clients with a certificate come in
		// without a cookie.
		x.cookie, _ = d.Cookie(&r)
	}
	return true
}

// publishKeys answers if the request asks for the keys that identity cookies are signed with.
func (x *exchange) publishKeys(set *authz.Set, index *authz.Index, r *authz.Request) bool {
	if m := string(x.Request.Method); m != "GET" && m != "HEAD" {
		return false
	}
	body, ok := set.Keys(index, r.Host, r.Path, r.Now)
	if !ok {
		return false
	}
	x.respond(&filter.Response{Status: 200, Body: body, Type: "application/json",
		Fields: []ir.NameValue{{Name: "Cache-Control", Value: "public, max-age=300"}, {Name: "Access-Control-Allow-Origin", Value: "*"}}})
	return true
}

// tellPolicy adds to an answer's head what policies want told to clients that were let in; a refusal has it
// already.
func (x *exchange) tellPolicy() {
	if !x.decision.Allowed() {
		return
	}
	f := &x.resp.Fields
	if len(x.cookie) > 0 {
		f.AddID(message.SetCookie, x.cookie)
	}
	if name := x.decision.Alias(); name != "" {
		f.SetString(name, string(x.id()))
	}
}
