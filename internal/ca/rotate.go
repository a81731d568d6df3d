package ca

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Rotate takes a step of changing the root. A step that is done already changes nothing and is no error;
// one that was cut off is finished. The findings tell what the step could not do for everybody.
func (a *Authority) Rotate(ctx context.Context, s Step, o RotateOptions) (Rotation, []Finding, error) {
	var out Rotation
	var found []Finding
	err := a.change(ctx, func() error {
		var err error
		switch s {
		case Prepare:
			found, err = a.prepare(o)
		case Switch:
			err = a.switchOver()
		case Retire:
			found, err = a.retire(o)
		default:
			err = fail(diag.IssueInvalid, "Use prepare, switch or retire.", "%q is no step of a rotation", s)
		}
		if err == nil {
			err = a.exports()
		}
		out = a.rotation()
		return err
	})
	return out, found, err
}

// rotation tells how far it has come. The caller holds mu.
func (a *Authority) rotation() Rotation {
	r := Rotation{Stage: "steady", Generation: a.idx.generation, Old: a.idx.old, Next: a.idx.next}
	switch {
	case r.Next != 0:
		r.Stage = "prepared"
	case r.Old != 0:
		r.Stage = "switched"
		var until time.Time
		if r.OldValid, until = a.alive(r.Old); r.OldValid > 0 {
			r.OldUntil = &until
		}
	}
	return r
}

// alive counts certificates of a generation that are valid and not the authority's own, and tells when the
// last of them ends. The caller holds mu.
func (a *Authority) alive(generation int) (int, time.Time) {
	n, last, now := 0, int64(0), a.now().Unix()
	for i := range a.idx.records {
		r := &a.idx.records[i]
		if !r.own() && r.issuer.generation == generation && r.revoked == 0 && r.notAfter > now {
			n, last = n+1, max(last, r.notAfter)
		}
	}
	return n, stamp(last)
}

// maxSerials is how many serial numbers a sentence lists.
const maxSerials = 10

// aliveSerials lists the serial numbers of what alive counts, at most maxSerials. The caller holds mu.
func (a *Authority) aliveSerials(generation int) string {
	var out []string
	now := a.now().Unix()
	for i := range a.idx.records {
		r := &a.idx.records[i]
		if r.own() || r.issuer.generation != generation || r.revoked != 0 || r.notAfter <= now {
			continue
		}
		if len(out) == maxSerials {
			out = append(out, fmt.Sprintf("… (all: hakone cert ls --issuer %s --state valid)", r.issuer.id))
			break
		}
		out = append(out, hex.EncodeToString(r.serial[:]))
	}
	return strings.Join(out, " ")
}

// prepare makes the next generation and lets the two roots vouch for each other.
func (a *Authority) prepare(o RotateOptions) ([]Finding, error) {
	x := a.idx
	if x.old != 0 {
		return nil, fail(diag.RotationOrder, "Retire the old root first: hakone ca rotate retire.", "the last rotation of authority %q is not over: root-%d is still in the trust bundle", a.name, x.old)
	}
	now, next := x.generation, x.generation+1
	if _, err := a.signer(x.root(now).id); err != nil {
		return nil, err // before anything is made
	}
	if x.next == 0 {
		kind := o.Key
		if kind == "" {
			kind = a.config.Key
		}
		kind, err := ParseKeyKind(string(kind))
		if err != nil {
			return nil, err
		}
		if err := checkSubject(o.Subject, 64-len(issuerSuffix)); err != nil {
			return nil, err
		}
		subject := o.Subject.ToRDNSequence()
		if len(subject) == 0 {
			subject = nil
		} else if o.Subject.CommonName == "" {
			return nil, fail(diag.AuthoritySetup, "Give one.", "the new root's subject has no common name")
		}
		if err := a.newGeneration(next, kind, subject); err != nil {
			return nil, err
		}
	}
	var found []Finding
	for _, pair := range [][2]int{{next, now}, {now, next}} {
		f, err := a.crossSign(x.root(pair[0]), x.root(pair[1]))
		if err != nil {
			return found, err
		}
		found = append(found, f...)
	}
	if x.next != 0 {
		return found, nil
	}
	return found, a.write(line{Event: eventRotation, Step: Prepare, Generation: next})
}

// crossSign lets one root vouch for another's key and name.
func (a *Authority) crossSign(of, by *caCert) ([]Finding, error) {
	id := crossID(of.generation, by.generation)
	if a.idx.cas[id] != nil {
		return nil, nil
	}
	impossible := func(why string) ([]Finding, error) {
		return []Finding{{Code: diag.CrossSignImpossible, Severity: diag.Warning, Fix: "Bring the new trust bundle everywhere before you switch.",
			Message: fmt.Sprintf("%s cannot vouch for %s: %s", by.id, of.id, why)}}, nil
	}
	below := a.config.PathLength // CAs between the cross-signed root and a leaf
	if !a.config.RootOnly {
		below++
	}
	if most := by.cert.MaxPathLen; most >= 0 && most < below+1 {
		return impossible(fmt.Sprintf("its path length is %d, and %d is needed", most, below+1))
	}
	if a.now().After(by.cert.NotAfter) {
		return impossible("it has expired")
	}
	key, err := a.signer(by.id)
	if err != nil {
		return nil, err
	}
	from := a.now().UTC().Truncate(time.Second).Add(-backdate)
	until := of.cert.NotAfter
	if by.cert.NotAfter.Before(until) {
		until = by.cert.NotAfter
	}
	t := &x509.Certificate{RawSubject: of.cert.RawSubject, NotBefore: from, NotAfter: until, BasicConstraintsValid: true, IsCA: true, MaxPathLen: of.cert.MaxPathLen,
		MaxPathLenZero: of.cert.MaxPathLen == 0, KeyUsage: of.cert.KeyUsage}
	if err := constraintsOf(of.cert).put(t); err != nil {
		return nil, err
	}
	return nil, a.issueOwn(id, profileCross, t, of.cert.PublicKey, by, key)
}

// switchOver lets the prepared generation issue.
func (a *Authority) switchOver() error {
	switch {
	case a.idx.next == 0 && a.idx.old != 0:
		return nil // done
	case a.idx.next == 0:
		return fail(diag.RotationOrder, "Prepare first: hakone ca rotate prepare; then bring the trust bundle to everybody.", "no new root of authority %q is prepared", a.name)
	}
	return a.write(line{Event: eventRotation, Step: Switch, Generation: a.idx.next})
}

// retire takes the old root out of the trust bundle.
func (a *Authority) retire(o RotateOptions) ([]Finding, error) {
	old := a.idx.old
	switch {
	case old == 0 && a.idx.next != 0:
		return nil, fail(diag.RotationOrder, "Switch first: hakone ca rotate switch.", "the new root of authority %q is prepared, and the old one still issues", a.name)
	case old == 0 && len(a.idx.retired) > 0:
		return nil, nil // done
	case old == 0:
		return nil, fail(diag.RotationOrder, "Prepare first: hakone ca rotate prepare.", "authority %q has only one root", a.name)
	}
	var found []Finding
	if n, until := a.alive(old); n > 0 {
		words := fmt.Sprintf("%d certificates of root-%d are still valid, the last until %s", n, old, until.Format(time.DateOnly))
		dead := "hakone cert revoke --reason superseded " + a.aliveSerials(old)
		if !o.Force {
			return nil, fail(diag.RotationNotOver, fmt.Sprintf("Renew those that are in use (hakone cert renew SERIAL), then revoke what was replaced: %s. Or wait, or say --force.", dead),
				"%s: whoever takes the new trust bundle would refuse them", words)
		}
		found = append(found, Finding{Code: diag.RotationNotOver, Severity: diag.Warning, Message: words + ", and are refused by whoever takes the new trust bundle",
			Fix: "Nothing to do for those that were replaced, beyond revoking them: " + dead + "."})
	}
	return found, a.write(line{Event: eventRotation, Step: Retire, Generation: old})
}

// Info tells everything about the authority but its keys.
func (a *Authority) Info() (Info, error) {
	if err := a.refresh(); err != nil {
		return Info{}, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	now := a.now()
	out := Info{Name: a.name, Store: a.store.String(), Created: stamp(a.idx.created), URL: a.config.URL, Key: a.config.Key, Encrypted: a.config.Encrypted,
		Constraints: a.config.Constraints, Issuing: a.issuing().id, Rotation: a.rotation(), Journal: a.journalInfo()}
	trusted := map[string]bool{}
	for _, c := range a.trusted() {
		trusted[c.id] = true
	}
	for i := range a.idx.records {
		r := &a.idx.records[i]
		switch {
		case r.id != "":
			c := a.idx.cas[r.id]
			info := CAInfo{Entry: r.entry(), KeyType: secret.KeyType(c.cert.PublicKey), Trusted: trusted[r.id], Issuing: r.id == out.Issuing, Certificate: c.cert, PEM: string(certPEM(c.cert))}
			if c.role != roleCross {
				if l, err := a.published(r.id); err == nil && l != nil {
					brief := *l
					brief.DER = nil
					info.List = &brief
				}
			}
			out.CAs = append(out.CAs, info)
		case r.own():
		default:
			out.Counts.Issued++
			switch r.state(now.Unix()) {
			case "valid":
				out.Counts.Valid++
			case "expired":
				out.Counts.Expired++
			case "revoked":
				out.Counts.Revoked++
			}
		}
	}
	out.Findings = a.findings(now)
	return out, nil
}

// findings judges the authority itself. The caller holds mu.
func (a *Authority) findings(now time.Time) []Finding {
	var out []Finding
	add := func(code diag.Code, fix, format string, args ...any) {
		out = append(out, Finding{Code: code, Severity: code.Severity(), Message: fmt.Sprintf(format, args...), Fix: fix})
	}
	if a.torn {
		add(diag.AuthorityJournalTorn, "Nothing to do.", "the journal's last line is torn and is dropped; nothing of it was handed out")
	}
	if a.headMissing {
		add(diag.AuthorityJournalTorn, "Compare with a backup that the journal is complete; the next change notes its end again.", "%s is missing, so nothing says where the journal ends", entryHead)
	}
	for _, e := range a.store.Exposed(a.name) {
		add(diag.AuthorityKeyExposed, "chmod 600 the file (700 a directory); if others use this machine, treat the key as exposed.", "others can read or replace a key of the authority: %s", e)
	}
	issuing := a.issuing()
	if err := a.usable(issuing); err != nil {
		add(diag.IssuerExpired, "Rotate the root: hakone ca rotate prepare, then switch.", "%s", err)
		return out
	}
	life := issuing.cert.NotAfter.Sub(issuing.cert.NotBefore)
	if left := issuing.cert.NotAfter.Sub(now); left < life/5 && a.idx.next == 0 {
		add(diag.CertExpiresSoon, "Rotate the root: hakone ca rotate prepare, then switch.", "%s ends on %s, in %d days; what it issues ends with it", issuing.id, issuing.cert.NotAfter.UTC().Format(time.DateOnly), left/day)
	}
	return out
}
