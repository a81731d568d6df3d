package ca

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Reasons of a revocation that matter here (RFC 5280 section 5.3.1).
const (
	reasonKeyCompromise = 1
	reasonHold          = 6
)

// Reasons returns the words of RFC 5280 that Revoke takes.
func Reasons() []string {
	var out []string
	for code := range 11 {
		if code != 7 && code != 8 {
			out = append(out, reasonText(code))
		}
	}
	return out
}

func reasonText(code int) string { return secret.Revocation{Reason: code}.ReasonText() }

// parseReason reads a reason's word without regard to case and hyphens, or its number; "" is unspecified.
func parseReason(s string) (int, error) {
	clean := strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(s))
	if clean == "" {
		return 0, nil
	}
	for code := range 11 {
		if code != 7 && code != 8 && (clean == strings.ToLower(reasonText(code)) || clean == strconv.Itoa(code)) {
			return code, nil
		}
	}
	return 0, fail(diag.RevocationReason, "Use one of "+strings.Join(Reasons(), ", ")+".", "%q is no reason of a revocation", s)
}

// Revoke revokes what refs (as Find takes them) name, all or nothing, and publishes a new CRL of each CA
// concerned. What is revoked already is an error, except that certificateHold may be made final.
func (a *Authority) Revoke(ctx context.Context, reason string, refs ...string) ([]Entry, error) {
	code, err := parseReason(reason)
	if err != nil {
		return nil, err
	}
	return a.standing(ctx, refs, func(r *record) (line, error) {
		if r.revoked != 0 && (r.reason != reasonHold || code == reasonHold) {
			return line{}, fail(diag.CertAlreadyRevoked, "Nothing to do.", "%s (%x) was revoked on %s: %s", r.subject, r.serial, stamp(r.revoked).Format("2006-01-02"), reasonText(int(r.reason)))
		}
		if r.profile == profileRoot {
			return line{}, fail(diag.IssueInvalid, "Rotate it, and take it out of the trust bundles.", "%s is a root; nobody above it could say that it is revoked", r.subject)
		}
		l := line{Event: eventRevoked, Serial: hex.EncodeToString(r.serial[:]), Issuer: r.issuer.id, Reason: reasonText(code)}
		if code == reasonKeyCompromise {
			c, err := a.certificate(r)
			if err != nil {
				return line{}, err
			}
			sum, err := spkiDigest(c.PublicKey)
			if err != nil {
				return line{}, err
			}
			l.Key = hex.EncodeToString(sum[:])
		}
		return l, nil
	})
}

// Release makes valid again what was revoked with certificateHold, and publishes new CRLs.
func (a *Authority) Release(ctx context.Context, refs ...string) ([]Entry, error) {
	return a.standing(ctx, refs, func(r *record) (line, error) {
		if r.revoked == 0 || r.reason != reasonHold {
			return line{}, fail(diag.RevocationReason, "Issue a new certificate.", "%s (%x) is not on hold, and only certificateHold can be released", r.subject, r.serial)
		}
		return line{Event: eventReleased, Serial: hex.EncodeToString(r.serial[:]), Issuer: r.issuer.id}, nil
	})
}

// standing changes what some certificates are worth.
func (a *Authority) standing(ctx context.Context, refs []string, change func(*record) (line, error)) ([]Entry, error) {
	if len(refs) == 0 {
		return nil, fail(diag.IssueInvalid, "Give a serial number, a fingerprint or a file.", "no certificate is named")
	}
	var out []Entry
	err := a.change(ctx, func() error {
		var lines []line
		var serials []serial
		seen := map[serial]bool{}
		for _, ref := range refs {
			r, err := a.find(ref)
			if err != nil {
				return err
			}
			if seen[r.serial] {
				continue
			}
			seen[r.serial] = true
			l, err := change(r)
			if err != nil {
				return err
			}
			lines, serials = append(lines, l), append(serials, r.serial)
		}
		if err := a.write(lines...); err != nil {
			return err
		}
		cas := map[string]bool{}
		for _, s := range serials {
			r := a.idx.find(s)
			out, cas[r.issuer.id] = append(out, r.entry()), true
		}
		for id := range cas {
			// The revocation stands whatever becomes of the list; a CA whose key is kept elsewhere publishes later.
			if _, err := a.publish(id); err != nil {
				return fmt.Errorf("revoked, but the new list of %s could not be published: %w", id, err)
			}
		}
		return a.exports()
	})
	return out, err
}
