package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Link is what is kept of one certificate of a verified chain, to find out later whether it has been
// revoked. Digests are the first 16 bytes of SHA-256.
type Link struct {
	Serial *big.Int // nil for an anchor that nothing known has issued
	Issuer [16]byte // of its issuer's name
	Key    [16]byte // of SubjectPublicKeyInfo
}

func short(b []byte) [16]byte {
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// Links returns what is to be kept of a chain that the verifier accepted, leaf first.
func (v *Verifier) Links(chain []*x509.Certificate) []Link {
	out := make([]Link, len(chain))
	for i, c := range chain {
		out[i] = Link{Issuer: short(c.RawIssuer), Key: short(c.RawSubjectPublicKeyInfo)}
		if v.issuerOf(chain, i) != nil {
			out[i].Serial = c.SerialNumber
		}
	}
	return out
}

// String is the link in some seventy bytes: "serial.issuer.key".
func (l Link) String() string {
	serial := ""
	if l.Serial != nil {
		serial = l.Serial.Text(16)
	}
	return serial + "." + base64.RawURLEncoding.EncodeToString(l.Issuer[:]) + "." + base64.RawURLEncoding.EncodeToString(l.Key[:])
}

// ParseLink reads what String wrote; false for anything else.
func ParseLink(s string) (Link, bool) {
	serial, rest, _ := strings.Cut(s, ".")
	issuer, key, _ := strings.Cut(rest, ".")
	var l Link
	if serial != "" {
		n, ok := new(big.Int).SetString(serial, 16)
		if !ok {
			return Link{}, false
		}
		l.Serial = n
	}
	name, err1 := base64.RawURLEncoding.DecodeString(issuer)
	spki, err2 := base64.RawURLEncoding.DecodeString(key)
	if err1 != nil || err2 != nil || len(name) != 16 || len(spki) != 16 {
		return Link{}, false
	}
	l.Issuer, l.Key = [16]byte(name), [16]byte(spki)
	return l, true
}

// Recall judges the revocation of a client whose chain left links, without its certificates: by the policy
// itself and by configured lists, which decide as they do about the chain. Nothing is fetched: what was
// found out so when the links were made still holds. The code is 0 if the client is not refused.
func (v *Verifier) Recall(links []Link, now time.Time) (diag.Code, string) {
	c := clientCauses()
	if len(links) == 0 {
		return c.unknown, "it is not known which CAs issued the certificate"
	}
	if v.bad.serials[serialText(links[0].Serial)] {
		return c.local, "the policy lists its serial number"
	}
	for i, l := range links {
		for key := range v.bad.keys {
			if [16]byte(key[:16]) == l.Key {
				return c.local, "the policy lists the key of the " + placeWords(i)
			}
		}
	}
	how := v.policy.Revocation
	fetches := v.policy.Online != nil && (how.OCSP || how.FetchCRL)
	var unjudged refusal
	for i, l := range links {
		anchor := i == len(links)-1
		if i > 0 && how.LeafOnly {
			break
		}
		if l.Serial == nil || anchor && len(v.policy.CRLs) == 0 {
			continue
		}
		list, r := v.recalled(links, i, now)
		if r.code == c.revoked {
			return r.code, r.detail
		}
		if list == nil && r.code == 0 {
			r = refusal{c.unknown, fmt.Sprintf("it cannot be found out whether the %s is revoked: there are no lists, and nothing is fetched", placeWords(i))}
		}
		if unjudged.code == 0 && (!fetches || anchor) {
			unjudged = r
		}
	}
	if v.policy.CRLMode == CRLSoft {
		return 0, ""
	}
	return unjudged.code, unjudged.detail
}

// recalled looks one link up in the lists of its issuer's name. A list of another CA of that name may say
// that it is revoked; that it is not, a known anchor has to have signed.
func (v *Verifier) recalled(links []Link, i int, now time.Time) (*secret.CRL, refusal) {
	if len(v.policy.CRLs) == 0 {
		return nil, refusal{}
	}
	c, l := clientCauses(), links[i]
	issuer := v.anchorOf(links, i)
	var best *secret.CRL
	for at, list := range v.policy.CRLs {
		if v.crls.names[at] != l.Issuer {
			continue
		}
		if _, ok := list.Lookup(l.Serial); ok {
			return list, refusal{c.revoked, fmt.Sprintf("the list of %q names the %s", list.Issuer, placeWords(i))}
		}
		if issuer != nil && !v.crls.signedBy(at, issuer) {
			continue
		}
		if best == nil || list.ThisUpdate.After(best.ThisUpdate) {
			best = list
		}
	}
	if best == nil {
		return nil, refusal{c.crlMissing, "no list was issued by the CA of the " + placeWords(i)}
	}
	return best, usable(best, issuer, placeWords(i), c, now)
}

// anchorOf returns the anchor that issued a link, nil where another CA did.
func (v *Verifier) anchorOf(links []Link, i int) *x509.Certificate {
	if i+1 < len(links)-1 {
		return nil
	}
	anchors := v.policy.Roots.Anchors()
	at := slices.IndexFunc(anchors, func(a *x509.Certificate) bool {
		return short(a.RawSubject) == links[i].Issuer && (i+1 == len(links) || short(a.RawSubjectPublicKeyInfo) == links[i+1].Key)
	})
	if at < 0 {
		return nil
	}
	return anchors[at]
}

func serialText(n *big.Int) string {
	if n == nil {
		return ""
	}
	return n.Text(16)
}

func placeWords(i int) string {
	if i == 0 {
		return "client certificate"
	}
	return fmt.Sprintf("CA certificate %d above it", i)
}
