package authz

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Verdict is what became of a request.
type Verdict uint8

// Verdicts. The zero value says that no policy holds.
const (
	None  Verdict = iota
	Allow         // let in
	Deny          // turned away
	Audit         // let in, and would have been turned away
)

// String returns "", "allow", "deny" or "audit".
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	case Audit:
		return "audit"
	}
	return ""
}

// Request is what is decided about. Only Host, Path and Now are needed.
type Request struct {
	Host      []byte    // in lower case, without port
	Path      []byte    // normalised, as message.Request.Path
	Route     *ir.Route // that matched; nil: none has
	TLS       bool
	Presented []*x509.Certificate // what the client showed, leaf first, with proof that it holds the key
	Memo      *Memo               // of the connection; nil: nothing is remembered
	Fields    *message.Fields     // of the request, for the identity cookie; nil: there is none
	Now       time.Time
}

// Decision is what policies say about a request.
type Decision struct {
	Verdict Verdict
	Policy  *Policy   // that decided; nil where none holds, or where a rule's policy is missing
	Name    string    // of the policy, also of a missing one; "" where none holds
	Code    diag.Code // why it was, or would have been, turned away
	Detail  string    // one sentence for logs; never for the peer

	Judgement *Judgement // of the certificate, where one was judged
	Identity  *Claims    // of the cookie, if that let the client in
}

// Allowed reports whether the request goes on.
func (d *Decision) Allowed() bool { return d.Verdict != Deny }

// Decide finds the policies that decide about a request by the rules of its chain, x, and asks them. Each
// way in which an origin may read the path has its most specific policy, and all of them have to let the
// client in. It does not allocate, and computes nothing about certificates, where the memo knows the client
// and the path is a plain one of less than 256 bytes.
func (s *Set) Decide(x *Index, r *Request) Decision {
	if x == nil {
		return Decision{}
	}
	var room [8]int32
	var out Decision
	list, disguised := x.deciding(room[:0], r)
	for _, n := range list {
		rule := &x.rules[n]
		d := s.ask(rule, r)
		if disguised && d.Code != 0 {
			d.Detail = "origins may disagree about where the path leads (it hides a dot segment, or is too long to tell), so every policy of the host holds: " + d.Detail
		}
		switch {
		case d.Verdict == Deny:
			return d
		case out.Verdict == None, d.Verdict == Audit && out.Verdict == Allow:
			out = d
		}
	}
	return out
}

// ask lets the policy of one rule decide.
func (s *Set) ask(rule *rule, r *Request) Decision {
	p := s.at(rule.slot)
	if p == nil || p.ir.Name != rule.name {
		return Decision{Verdict: Deny, Name: rule.name, Code: diag.PolicyBroken, Detail: "there is no policy " + rule.name}
	}
	d := Decision{Verdict: Allow, Policy: p, Name: p.ir.Name}
	switch {
	case p.ir.Open:
		return d
	case p.broken != nil:
		d.Code, d.Detail = p.broken.Code, p.broken.Detail
	case !r.TLS:
		d.Code, d.Detail = diag.PolicyNeedsTLS, "the request came over plain HTTP"
	case len(r.Presented) > 0:
		d.Judgement = p.judged(r)
		d.Code, d.Detail = d.Judgement.Code, d.Judgement.Detail
	case p.session.opens():
		d.Identity, d.Code, d.Detail = p.session.accept(p, r)
	default:
		d.Code, d.Detail = diag.ClientCertMissing, p.missing()
	}
	if d.Code != 0 {
		d.Verdict = Deny
		if p.ir.Audit {
			d.Verdict = Audit
		}
	}
	return d
}

// missing says what a client without a certificate lacks.
func missing(b *ir.TrustBundle) string {
	if b == nil || b.Bundle.Len() == 0 {
		return "the client sent no certificate; no CA is accepted"
	}
	names := b.Bundle.Subjects()
	if len(names) > 3 {
		return fmt.Sprintf("the client sent no certificate; accepted issuers: %q and %d more", names[:3], len(names)-3)
	}
	return fmt.Sprintf("the client sent no certificate; accepted issuers: %q", names)
}

// maxOdd is how long a path may be, in bytes, that is read in every way: reading costs a hundred nanoseconds a
// byte. A longer one is taken for one that may lead anywhere.
const maxOdd = 4 << 10

// deciding appends the rules that decide to dst: that of the plain reading first, each once. disguised
// says that the path hides a dot segment, or may: then all rules of the host are among them.
func (x *Index) deciding(dst []int32, r *Request) (list []int32, disguised bool) {
	var room [256]byte
	q := query{path: r.Path, route: r.Route, sent: r.Path}
	dst = x.pick(dst, &q, r.Host)
	if !x.byPath {
		return dst, false
	}
	q.fold, q.folded = true, appendFold(room[:0], r.Path)
	dst = x.pick(dst, &q, r.Host)
	if !odd(r.Path) || !x.has(r.Host) {
		return dst, false
	}
	if len(r.Path) > maxOdd {
		return x.all(dst, r.Host), true
	}
	for i, kind := range x.kinds[1:] {
		read, hidden := kind.apply(r.Path)
		if hidden {
			return x.all(dst, r.Host), true
		}
		q = query{kind: i + 1, path: read, route: r.Route, sent: r.Path}
		dst = x.pick(dst, &q, r.Host)
		q.fold, q.folded = true, appendFold(nil, read)
		dst = x.pick(dst, &q, r.Host)
	}
	return dst, false
}

// pick appends the deciding rule of one reading, if there is one and dst has it not yet.
func (x *Index) pick(dst []int32, q *query, host []byte) []int32 {
	none := int32(len(x.rules))
	best := none
	x.sites(host, func(s *site) bool {
		best = x.first(s, q, best)
		return true
	})
	if best == none || slices.Contains(dst, best) {
		return dst
	}
	return append(dst, best)
}

// has reports whether some rule covers the host.
func (x *Index) has(host []byte) bool {
	found := false
	x.sites(host, func(*site) bool { found = true; return false })
	return found
}

// all appends every rule of the host that asks for something.
func (x *Index) all(dst []int32, host []byte) []int32 {
	x.sites(host, func(s *site) bool {
		for _, n := range s.rules {
			if !x.rules[n].open && !slices.Contains(dst, n) {
				dst = append(dst, n)
			}
		}
		return true
	})
	return dst
}
