// Package calendar lists everything that expires: certificates that are served and shown, CAs that are
// trusted, revocation lists, keys of sessions.
//
// It is pure: a snapshot and a time give a list. It refuses to know how a list is printed, and what
// the authority has issued; whoever knows of more adds entries (Add). Begin reading at Of.
package calendar

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Kind is what expires.
type Kind string

// Kinds.
const (
	Listener     Kind = "listener"     // certificate of a listener's hosts
	Intermediate Kind = "intermediate" // served or shown with one, or kept in a bundle to build chains
	Pull         Kind = "origin-pull"  // certificate shown to origins of pools
	Client       Kind = "client"       // certificate shown to other upstreams
	Session      Kind = "session-key"  // key of a policy's identity cookies
	Interception Kind = "interception" // CA of a forward proxy's leaves
	Anchor       Kind = "trust-anchor" // CA whose certificates are accepted
	List         Kind = "crl"          // revocation list: its nextUpdate
	Authority    Kind = "authority"    // root or issuer of our own authority
)

// State says how near the end is.
type State string

// States. Due is less than a tenth of life, soon less than a third.
const (
	OK      State = "ok"
	Pending State = "not-yet-valid"
	Soon    State = "soon"
	Due     State = "due"
	Expired State = "expired"
)

// Entry is one thing that expires. Object is the configuration object or file it stands in, Name what
// it is called itself, Hosts (at most ten) what it is for.
type Entry struct {
	Kind        Kind      `json:"kind"`
	Object      string    `json:"object"`
	Name        string    `json:"name"`
	Hosts       []string  `json:"hosts,omitempty"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	Days        int       `json:"daysLeft"` // whole days; negative: expired so long ago
	State       State     `json:"state"`
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-256, lower-case hex; of a list its digest

	// Source is set where the source holds something else than is served: "newer", "older", "other",
	// or "gone" (also where it is broken there). SourceNotAfter is when that expires.
	Source         string     `json:"source,omitempty"`
	SourceNotAfter *time.Time `json:"sourceNotAfter,omitempty"`

	// Covered is set for a CA that has a successor beside it, so that its end alarms nobody.
	Covered bool `json:"covered,omitempty"`

	// Renews is set for what is made anew by itself, so that it is due only when that fails.
	Renews bool `json:"renewsItself,omitempty"`

	ref string // tells entries of one snapshot from another's apart
}

const maxHosts = 10

// Judge fills Days and State at a time.
func (e *Entry) Judge(now time.Time) {
	left, life := e.NotAfter.Sub(now), e.NotAfter.Sub(e.NotBefore)
	e.Days = int(left / (24 * time.Hour))
	switch {
	case left < 0:
		e.State, e.Days = Expired, int((left-24*time.Hour+1)/(24*time.Hour))
	case now.Before(e.NotBefore):
		e.State = Pending
	case left < life/10:
		e.State = Due
	case left < life/3:
		e.State = Soon
	default:
		e.State = OK
	}
}

// Ends reports whether something has to be done within a time: the entry ends, and nothing stands beside
// it. What renews itself has to be looked at when less than a tenth of its life is left.
func (e *Entry) Ends(within time.Duration, now time.Time) bool {
	if e.Renews {
		return e.Alarming()
	}
	return !e.Covered && e.NotAfter.Sub(now) <= within
}

// Alarming reports whether the end is so near, or past, that the process is degraded by it.
func (e *Entry) Alarming() bool { return !e.Covered && (e.State == Due || e.State == Expired) }

// Sort orders entries by their end, then by kind, object and name.
func Sort(es []Entry) {
	slices.SortFunc(es, func(a, b Entry) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Object, b.Object), strings.Compare(a.Name, b.Name))
	})
}

// Of lists what a snapshot uses, sorted by its end. Credentials and bundles that nothing uses are not
// in it; lists that name no next update never expire.
func Of(s *ir.Snapshot, now time.Time) []Entry {
	c := &collector{s: s, uses: map[ir.SecretRef]*use{}}
	c.config()
	var out []Entry
	for ref, u := range c.uses {
		out = append(out, c.credential(ref, u)...)
	}
	for ref, b := range s.Trust.ByRef {
		out = append(out, bundle(ref, b)...)
	}
	for i := range out {
		out[i].Judge(now)
	}
	Sort(out)
	return out
}

// use says what a credential is for.
type use struct {
	kind  Kind
	hosts []string
}

type collector struct {
	s    *ir.Snapshot
	uses map[ir.SecretRef]*use
}

func (c *collector) note(ref ir.SecretRef, k Kind, hosts ...string) {
	if ref == "" {
		return
	}
	u := c.uses[ref]
	if u == nil {
		u = &use{kind: k}
		c.uses[ref] = u
	}
	for _, h := range hosts {
		if len(u.hosts) < maxHosts && !slices.Contains(u.hosts, h) {
			u.hosts = append(u.hosts, h)
		}
	}
}

// config finds every use of a credential. One that a listener serves is a listener's, whatever else.
func (c *collector) config() {
	for _, l := range c.s.Config.Listeners {
		for _, ch := range l.Chains {
			if ch.TLS == nil {
				continue
			}
			for _, ref := range ch.TLS.Certificates {
				c.note(ref, Listener)
				for _, h := range ch.Hosts {
					c.note(ref, Listener, h.String())
				}
			}
		}
	}
	for _, u := range c.s.Config.Upstreams {
		if u.TLS == nil {
			continue
		}
		if u.Origins != nil {
			c.note(u.TLS.Certificate, Pull, u.Origins.Name)
		} else {
			c.note(u.TLS.Certificate, Client, u.Name)
		}
	}
	for _, p := range c.s.Config.Proxies {
		if p.TLS != nil {
			c.note(p.TLS.Certificate, Client, p.Name)
		}
	}
	for _, f := range c.s.Config.Forwards {
		if t := f.Template.TLS; t != nil {
			c.note(t.Certificate, Client, f.Name)
		}
		if f.Interception != nil {
			c.note(f.Interception.CA, Interception, f.Name)
		}
	}
	for _, p := range c.s.Config.AccessPolicies {
		if p.Session != nil {
			c.note(p.Session.Key, Session, p.Name)
		}
	}
}

// credential lists a certificate and what is sent with it.
func (c *collector) credential(ref ir.SecretRef, u *use) []Entry {
	cred := c.s.Secrets.ByRef[ref]
	if cred == nil || cred.Pair == nil {
		return nil
	}
	object := objectOf(cred.Origin, string(ref))
	p := cred.Pair
	leaf := Entry{Kind: u.kind, Object: object, Name: secret.Title(p.Leaf), NotBefore: p.Leaf.NotBefore, NotAfter: p.Leaf.NotAfter, Fingerprint: p.Fingerprint}
	leaf.Hosts, leaf.ref = u.hosts, string(ref)
	out := []Entry{leaf}
	for n, issuer := range p.Issuers {
		e := ofCertificate(Intermediate, object, issuer)
		e.ref = fmt.Sprintf("%s#%d", ref, n)
		out = append(out, e)
	}
	return out
}

func bundle(ref ir.TrustRef, b *ir.TrustBundle) []Entry {
	if b == nil || b.Bundle == nil {
		return nil
	}
	object := objectOf(b.Origin, string(ref))
	var out []Entry
	for n := range b.Bundle.Len() {
		c := b.Bundle.Certificates[n]
		e := ofCertificate(Anchor, object, c)
		e.ref = "trust:" + string(ref) + "#" + e.Name + "#" + string(c.SubjectKeyId)
		e.Covered = succeeded(c, b.Bundle)
		if slices.ContainsFunc(b.Bundle.Paths(), c.Equal) {
			e.Kind = Intermediate
		}
		out = append(out, e)
	}
	for _, l := range b.CRLs {
		if l.NextUpdate.IsZero() {
			continue
		}
		out = append(out, Entry{Kind: List, Object: object, Name: l.Issuer, NotBefore: l.ThisUpdate, NotAfter: l.NextUpdate, Fingerprint: l.Digest,
			ref: "crl:" + string(ref) + "#" + l.Issuer})
	}
	return out
}

// publicBundle is how many CAs make a bundle one of a machine's or a browser's, whose members come and
// go without anybody's doing.
const publicBundle = 40

// succeeded reports whether a CA's end alarms nobody: a younger one that lives longer has its name, up
// to digits, or the bundle is a public one.
func succeeded(c *x509.Certificate, b *secret.Bundle) bool {
	if b.Len() >= publicBundle {
		return true
	}
	return slices.ContainsFunc(b.Certificates, func(o *x509.Certificate) bool {
		return o.NotAfter.After(c.NotAfter) && o.NotBefore.After(c.NotBefore) && bytes.Equal(withoutDigits(o.RawSubject), withoutDigits(c.RawSubject))
	})
}

func withoutDigits(der []byte) []byte {
	name := []byte(secret.Subject(&x509.Certificate{RawSubject: der}))
	return bytes.Trim(bytes.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, name), " -")
}

// OfCertificate makes an entry of a certificate, judged at now.
func OfCertificate(k Kind, object string, c *x509.Certificate, now time.Time) Entry {
	e := ofCertificate(k, object, c)
	e.Judge(now)
	return e
}

func ofCertificate(k Kind, object string, c *x509.Certificate) Entry {
	return Entry{Kind: k, Object: object, Name: secret.Title(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Fingerprint: secret.Fingerprint(c)}
}

func objectOf(o ir.Origin, ref string) string {
	if s := o.Object.String(); s != "" && o.Field == "" {
		return s
	}
	if paths, isFiles := strings.CutPrefix(ref, "file:"); isFiles {
		return "file " + strings.ReplaceAll(paths, "|", ", ")
	}
	return cmp.Or(o.Object.String(), ref)
}

// Compare marks the entries of served whose source holds something else: fresh is what the source
// evaluates to as it stands.
func Compare(served, fresh []Entry) {
	type key struct {
		kind Kind
		ref  string
	}
	now := map[key]*Entry{}
	for i := range fresh {
		now[key{fresh[i].Kind, fresh[i].ref}] = &fresh[i]
	}
	for i := range served {
		e := &served[i]
		if e.ref == "" || e.Kind == Intermediate {
			continue
		}
		f := now[key{e.Kind, e.ref}]
		switch {
		case f == nil:
			e.Source = "gone"
		case f.Fingerprint == e.Fingerprint:
			continue
		case f.NotBefore.After(e.NotBefore):
			e.Source = "newer"
		case f.NotBefore.Before(e.NotBefore):
			e.Source = "older"
		default:
			e.Source = "other"
		}
		if f != nil {
			e.SourceNotAfter = &f.NotAfter
		}
	}
}

// Findings says what somebody must do about: what ends within the time given, and what differs from
// its source. They are in the order of the entries.
func Findings(es []Entry, within time.Duration, now time.Time) []diag.Diagnostic {
	var out []diag.Diagnostic
	for _, e := range es {
		about := fmt.Sprintf("%s %s (%s)", e.Kind, e.Name, e.Object)
		if e.Source != "" {
			what := map[string]string{"newer": "holds a newer one", "older": "holds an older one", "other": "holds another one", "gone": "does not hold it any more or holds it broken"}[e.Source]
			out = append(out, diag.New(diag.NewerThanServed, diag.Object{}, "", about+" is served, but its source "+what, "Look at hakone status and hakone check DIR."))
		}
		if e.Ends(within, now) {
			out = append(out, diag.New(diag.ExpiresWithin, diag.Object{}, "", fmt.Sprintf("%s expires on %s", about, e.NotAfter.UTC().Format(time.RFC3339)), "Renew it."))
		}
	}
	return out
}
