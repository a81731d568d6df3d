package authz

import (
	"crypto/x509"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/clientcert"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// How long a judgement is remembered by a connection. Verdicts behind it are remembered for longer by
// trust.Cache, which costs a digest and a lookup.
const (
	judgementLife = time.Minute
	refusalLife   = 5 * time.Second
)

// Judgement is what a policy thinks of a certificate. It is immutable.
type Judgement struct {
	Code     diag.Code        // 0: let in
	Detail   string           // one sentence for logs
	Facts    *trust.Facts     // of the certificate presented
	Warnings []trust.Warning  // about one that is let in
	Identity *filter.Identity // what origins are told; nil: nothing, or not let in

	until time.Time
	links []trust.Link // of the verified chain, where there are identity cookies
}

// Warning returns the first warning as a sentence for logs, with its code; "" without one.
func (j *Judgement) Warning() string {
	if j == nil || len(j.Warnings) == 0 {
		return ""
	}
	return j.Warnings[0].Code.String() + ": " + j.Warnings[0].Detail
}

// Memo remembers what policies think of the one client of a connection, so that requests cost no
// computation about certificates. The zero value is empty and ready. It is safe for concurrent use, and
// bounded.
type Memo struct {
	list atomic.Pointer[[]remembered]
}

// remembered names its policy, and does not hold it: connections outlive policies and their lists.
type remembered struct {
	name, key string
	j         *Judgement
}

// maxRemembered bounds the policies that one connection remembers.
const maxRemembered = 16

func (m *Memo) get(p *Policy, now time.Time) *Judgement {
	if m == nil {
		return nil
	}
	list := m.list.Load()
	if list == nil {
		return nil
	}
	for i := range *list {
		if e := &(*list)[i]; e.key == p.key && now.Before(e.j.until) {
			return e.j
		}
	}
	return nil
}

func (m *Memo) put(p *Policy, j *Judgement) {
	if m == nil {
		return
	}
	for {
		old := m.list.Load()
		next := []remembered{{p.ir.Name, p.key, j}}
		if old != nil {
			for _, e := range *old {
				if e.name != p.ir.Name && len(next) < maxRemembered {
					next = append(next, e)
				}
			}
		}
		if m.list.CompareAndSwap(old, &next) {
			return
		}
	}
}

// judged returns the judgement about a request's certificate, from the memo if that knows.
func (p *Policy) judged(r *Request) *Judgement {
	if j := r.Memo.get(p, r.Now); j != nil {
		return j
	}
	j := p.Judge(r.Presented, r.Now)
	r.Memo.put(p, j)
	return j
}

// Judge judges what a client presented, which is not empty, by a policy that is not Open.
func (p *Policy) Judge(presented []*x509.Certificate, now time.Time) *Judgement {
	if p.broken != nil {
		facts, _ := trust.NewFacts(presented[0])
		return &Judgement{Code: p.broken.Code, Detail: p.broken.Detail, Facts: facts, until: now.Add(judgementLife)}
	}
	v := p.verifier.VerifyClient(presented, now)
	j := &Judgement{Code: v.Code, Detail: v.Detail, Facts: v.Leaf, Warnings: v.Warnings, until: now.Add(judgementLife)}
	if !v.Until.IsZero() && v.Until.Before(j.until) {
		j.until = v.Until // a revocation that becomes known meanwhile holds for open connections too
	}
	if j.Code == 0 {
		s := subject{cert: presented[0], facts: v.Leaf, now: now}
		j.Code, j.Detail = p.authorise(&s)
		if s.changes.After(now) && s.changes.Before(j.until) {
			j.until = s.changes
		}
	}
	if j.Code != 0 {
		j.Warnings, j.until = nil, now.Add(refusalLife)
	} else {
		j.Identity = p.identity(presented, v.Leaf)
		if p.session != nil {
			j.links = p.verifier.Links(v.Chain)
		}
	}
	for _, c := range slices.Concat(presented, v.Chain) {
		for _, edge := range [...]time.Time{c.NotBefore, c.NotAfter.Add(1)} {
			if edge.After(now) && edge.Before(j.until) {
				j.until = edge
			}
		}
	}
	return j
}

// authorise applies the rules to a certificate that verifies.
func (p *Policy) authorise(s *subject) (diag.Code, string) {
	for i := range p.deny {
		if p.deny[i].match(s, true) == "" {
			return diag.ClientCertDenied, "the client certificate \"" + s.facts.Subject + "\" is kept out by " + p.deny[i].name
		}
	}
	if len(p.allow) == 0 {
		return 0, ""
	}
	var why []string
	for i := range p.allow {
		failed := p.allow[i].match(s, false)
		if failed == "" {
			return 0, ""
		}
		if len(why) < 3 {
			why = append(why, p.allow[i].name+": "+failed)
		}
	}
	if more := len(p.allow) - len(why); more > 0 {
		why = append(why, "and so on")
	}
	return diag.ClientCertNotAuthorised, bounded("no rule lets the client certificate \"" + s.facts.Subject + "\" in: " + strings.Join(why, "; "))
}

// maxDetail bounds a sentence, in bytes: names in it are the peer's.
const maxDetail = 1000

func bounded(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetail], "") + "…"
}

// identity makes what origins are told about a client that is let in.
func (p *Policy) identity(presented []*x509.Certificate, f *trust.Facts) *filter.Identity {
	var d clientcert.Details
	for _, format := range p.ir.Forward {
		switch format {
		case ir.ForwardXFCC:
			def := clientcert.Default()
			d.Hash, d.Cert, d.Subject, d.URI, d.DNS = def.Hash, def.Cert, def.Subject, def.URI, def.DNS
		case ir.ForwardRFC9440:
			d.ClientCert, d.ClientCertChain = true, true
		case ir.ForwardCloudflare:
			d.Cloudflare = true
		}
	}
	c := &filter.ClientCert{Verified: true, Subject: f.Subject, Hash: f.Hash, SPKI: f.SPKI, Serial: f.Serial, Issuer: f.Issuer, URI: f.URIs, DNS: f.DNS}
	for _, cert := range presented {
		c.DER = append(c.DER, cert.Raw)
	}
	return clientcert.Prepare(c, d)
}
