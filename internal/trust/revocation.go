package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// inquiry is what one judgement is made with beside the certificates, and how long it may be
// remembered.
type inquiry struct {
	now    time.Time
	staple []byte // OCSP answer that the server stapled

	until time.Time // answers have to be asked again then; zero: none was used
	brief bool      // at once
}

// narrow takes an answer's end into account.
func (q *inquiry) narrow(until time.Time) {
	switch {
	case !until.After(q.now):
		q.brief = true
	case q.until.IsZero():
		q.until = until
	default:
		q.until = earliest(q.until, until)
	}
}

// revokedLocally is what a policy itself calls revoked.
type revokedLocally struct {
	serials map[string]bool
	keys    map[[sha256.Size]byte]bool
}

// newRevokedLocally reads a policy that AccessPolicy or ServerPolicy has checked.
func newRevokedLocally(r ir.Revocation) revokedLocally {
	l := revokedLocally{serials: map[string]bool{}, keys: map[[sha256.Size]byte]bool{}}
	for _, s := range r.Serials {
		l.serials[normalSerial(s)] = true
	}
	pins, _ := parsePins(r.SPKI, base64.StdEncoding.DecodeString)
	for _, p := range pins {
		l.keys[p] = true
	}
	return l
}

// find looks for the leaf's serial number, and for the key of any certificate of the chain: numbers are
// unique for one issuer only, keys are for all.
func (l revokedLocally) find(chain []*x509.Certificate, c causes) refusal {
	if l.serials[chain[0].SerialNumber.Text(16)] {
		return refusal{c.local, fmt.Sprintf("the %s is revoked by the policy: its serial number %s is listed", roleOf(0, chain[0], c), chain[0].SerialNumber.Text(16))}
	}
	if len(l.keys) == 0 {
		return refusal{}
	}
	for i, x := range chain {
		if sum := sha256.Sum256(x.RawSubjectPublicKeyInfo); l.keys[sum] {
			return refusal{c.local, fmt.Sprintf("the %s is revoked by the policy: its key %s is listed", roleOf(i, x, c), base64.StdEncoding.EncodeToString(sum[:]))}
		}
	}
	return refusal{}
}

// open is a certificate that no configured list decides about.
type open struct {
	at           int // its place in the chain
	cert, issuer *x509.Certificate
	anchor       bool    // lists alone are asked about it
	lists        refusal // why lists do not decide; zero where none are configured
}

// revoked judges every certificate of a chain that has an issuer: first by the policy itself, then by
// configured lists, a staple, and what can be fetched. All are asked whether they are revoked before
// one that cannot be judged decides, because revocation outweighs that.
func (v *Verifier) revoked(chain []*x509.Certificate, c causes, q *inquiry) ([]Warning, refusal) {
	p := &v.policy
	if r := v.bad.find(chain, c); r.code != 0 {
		return nil, r
	}
	how := p.Revocation
	if len(p.CRLs) == 0 && !how.Hard && !how.OCSP && !how.FetchCRL && !p.Staples {
		return nil, refusal{}
	}
	left, r := v.byLists(chain, c, q.now)
	if r.code != 0 {
		return nil, r
	}
	warnings, r := v.byStaple(chain, &left, c, q)
	if r.code != 0 {
		return nil, r
	}
	more, r := v.byAsking(left, c, q)
	if r.code != 0 {
		return nil, r
	}
	return append(warnings, more...), refusal{}
}

// byLists looks certificates up in their issuers' configured lists; the anchor too, if its own issuer is
// among the anchors. It returns those that lists do not decide about.
func (v *Verifier) byLists(chain []*x509.Certificate, c causes, now time.Time) ([]open, refusal) {
	var left []open
	for i, cert := range chain {
		if i > 0 && v.policy.Revocation.LeafOnly {
			break
		}
		issuer := v.issuerOf(chain, i)
		if issuer == nil {
			continue
		}
		anchor := i == len(chain)-1
		if len(v.policy.CRLs) == 0 {
			if !anchor {
				left = append(left, open{at: i, cert: cert, issuer: issuer})
			}
			continue
		}
		list, who := v.crls.newest(issuer), roleOf(i, cert, c)
		if list != nil {
			if entry, ok := list.Lookup(cert.SerialNumber); ok {
				return nil, refusal{c.revoked, fmt.Sprintf("the %s was revoked at %s (%s), by the list of %q of %s",
					who, stamp(entry.At), entry.ReasonText(), list.Issuer, stamp(list.ThisUpdate))}
			}
		}
		if r := usable(list, issuer, who, c, now); r.code != 0 {
			left = append(left, open{i, cert, issuer, anchor, r})
		}
	}
	return left, refusal{}
}

// byStaple judges the answer that a server stapled. If that is about the leaf and good, the leaf is taken
// from left. A certificate that demands a staple is refused without one that can be used, unless softly.
func (v *Verifier) byStaple(chain []*x509.Certificate, left *[]open, c causes, q *inquiry) ([]Warning, refusal) {
	if !v.policy.Staples || len(chain) < 2 {
		return nil, refusal{}
	}
	leaf, why := chain[0], "nothing was stapled"
	if len(q.staple) > 0 {
		answer, err := ParseOCSP(q.staple, leaf, chain[1], q.now)
		stale := answer.Stale(q.now)
		switch {
		case err != nil:
			why = "what was stapled does not count: " + err.Error()
		case answer.Standing == Revoked:
			return nil, refusal{c.ocspRevoked, fmt.Sprintf("the %s was revoked at %s (%s), by the OCSP answer that was stapled", roleOf(0, leaf, c), stamp(answer.At), answer.Reason)}
		case stale != "":
			why = "what was stapled does not count: " + stale
		case answer.Standing == Unknown:
			why = "what was stapled does not count: the responder does not know the certificate"
		default:
			q.narrow(answer.NextUpdate)
			if len(*left) > 0 && (*left)[0].at == 0 {
				*left = (*left)[1:]
			}
			return nil, refusal{}
		}
	}
	detail := fmt.Sprintf("the %s demands a stapled OCSP answer (RFC 7633), and %s", roleOf(0, leaf, c), why)
	switch {
	case !MustStaple(leaf) && len(q.staple) > 0:
		return []Warning{{c.ocspInvalid, why}}, refusal{}
	case !MustStaple(leaf):
		return nil, refusal{}
	case v.policy.Revocation.Hard:
		return nil, refusal{c.noStaple, detail}
	}
	return []Warning{{c.noStaple, detail}}, refusal{}
}

// byAsking asks Online about what is left, all at once where it may have to wait, and decides.
func (v *Verifier) byAsking(left []open, c causes, q *inquiry) ([]Warning, refusal) {
	p := &v.policy
	how := p.Revocation
	asks := p.Online != nil && (how.OCSP || how.FetchCRL)
	var findings []Finding
	if asks {
		if p.CRLMode == crlAged {
			how.Hard = false // of an open connection: nobody waits
		}
		findings = ask(p.Online, left, how, q.now)
	}
	var warnings []Warning
	var unjudged refusal
	for i, x := range left {
		r, clock := x.lists, x.lists.code == c.crlStale
		switch {
		case asks && !x.anchor:
			f := findings[i]
			q.narrow(f.Until)
			if f.Standing == Good {
				continue
			}
			if f.Standing == Revoked {
				return nil, revokedOnline(f, roleOf(x.at, x.cert, c), c)
			}
			r, clock = unknown(f, roleOf(x.at, x.cert, c), c), true
		case r.code == 0:
			r = refusal{c.unknown, fmt.Sprintf("it cannot be found out whether the %s is revoked: its issuer %q has no list here, and nothing is fetched", roleOf(x.at, x.cert, c), secret.Subject(x.issuer))}
		}
		if unjudged.code == 0 && (!clock || p.CRLMode != crlAged) {
			unjudged = r
		}
		warnings = append(warnings, Warning{r.code, r.detail})
	}
	if p.CRLMode == CRLSoft || unjudged.code == 0 {
		return warnings, refusal{}
	}
	return nil, unjudged
}

// ask returns what Online finds out, in order.
func ask(online Online, left []open, how ir.Revocation, now time.Time) []Finding {
	out := make([]Finding, len(left))
	var wg sync.WaitGroup
	for i, x := range left {
		if x.anchor {
			continue
		}
		if !how.Hard || i == len(left)-1 {
			out[i] = online.Check(x.cert, x.issuer, how, now)
			continue
		}
		wg.Go(func() { out[i] = online.Check(x.cert, x.issuer, how, now) })
	}
	wg.Wait()
	return out
}

func revokedOnline(f Finding, who string, c causes) refusal {
	if f.OCSP {
		return refusal{c.ocspRevoked, fmt.Sprintf("the %s was revoked at %s (%s): %s", who, stamp(f.At), f.Reason, f.Detail)}
	}
	return refusal{c.revoked, fmt.Sprintf("the %s was revoked at %s (%s): %s", who, stamp(f.At), f.Reason, f.Detail)}
}

func unknown(f Finding, who string, c causes) refusal {
	code := c.unknown
	switch {
	case f.Invalid && f.OCSP:
		code = c.ocspInvalid
	case f.Invalid:
		code = c.crlInvalid
	}
	return refusal{code, fmt.Sprintf("it cannot be found out whether the %s is revoked: %s", who, f.Detail)}
}
