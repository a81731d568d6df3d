package ca_test

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Clients that trust only the old root, only the new one, or both, accept servers of both populations for
// as long as the rotation lasts. Go and openssl agree on it.
func TestRotationServesBothPopulations(t *testing.T) {
	for name, setup := range map[string]ca.Setup{
		"with issuer": {Key: ca.ECDSAP256}, "root only": {Key: ca.Ed25519, RootOnly: true}, "RSA, constrained": {Key: ca.RSA2048, Constraints: ca.Constraints{PermittedDNS: []string{"test"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := newClock()
			a := create(t, ca.Dir(t.TempDir()), setup, ca.Options{Now: now.now})
			issue := func() *ca.Issued {
				out, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}})
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			step := func(s ca.Step, stage string, o ca.RotateOptions) {
				t.Helper()
				for range 2 { // again changes nothing
					r, found, err := a.Rotate(t.Context(), s, o)
					if err != nil || len(found) > 0 || r.Stage != stage {
						t.Fatalf("%s: %+v %v %v", s, r, found, err)
					}
				}
			}
			bundle := func() []byte {
				b, err := a.BundlePEM()
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			accepts := func(what string, i *ca.Issued, roots []byte, want bool) {
				t.Helper()
				if err := verifies(i, pool(t, roots), now.t); (err == nil) != want {
					t.Errorf("%s: %v", what, err)
				}
				dir := t.TempDir()
				put := func(n string, b []byte) {
					if err := os.WriteFile(filepath.Join(dir, n), b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				put("roots", roots)
				put("leaf", i.CertificatePEM())
				put("chain", append([]byte("\n"), i.ChainPEM()...))
				if out, err := opensslFails(dir, "verify", "-attime", "1772400000", "-CAfile", "roots", "-untrusted", "chain", "leaf"); (err == nil) != want {
					t.Errorf("%s: openssl: %s", what, out)
				}
			}
			old := bundle()
			before := issue()
			step(ca.Prepare, "prepared", ca.RotateOptions{})
			both := bundle()
			if !bytes.HasPrefix(both, old) || bytes.Count(both, []byte("BEGIN CERT")) != 2 {
				t.Fatalf("bundle:\n%s", both)
			}
			fresh := bytes.TrimPrefix(both, old)
			accepts("before the switch, old bundle", issue(), old, true)
			step(ca.Switch, "switched", ca.RotateOptions{})
			after := issue()
			oldAgain, err := a.Get(before.Entry.Serial)
			if err != nil {
				t.Fatal(err)
			}
			accepts("new server, old bundle", after, old, true)
			accepts("new server, new bundle", after, fresh, true)
			accepts("new server, both", after, both, true)
			accepts("old server as it was, old bundle", before, old, true)
			accepts("old server as it was, both", before, both, true)
			accepts("old server as it was, new bundle", before, fresh, false)
			accepts("old server with the chain of today, new bundle", oldAgain, fresh, true)
			accepts("old server with the chain of today, old bundle", oldAgain, old, true)

			if _, _, err := a.Rotate(t.Context(), ca.Prepare, ca.RotateOptions{}); code(err) != diag.RotationOrder {
				t.Error(err)
			}
			if _, _, err := a.Rotate(t.Context(), ca.Retire, ca.RotateOptions{}); code(err) != diag.RotationNotOver {
				t.Error(err)
			}
			now.t = now.t.Add(91 * day)
			step(ca.Retire, "steady", ca.RotateOptions{})
			if got := bundle(); !bytes.Equal(got, fresh) {
				t.Errorf("bundle after it:\n%s", got)
			}
			if got := issue(); verifies(got, pool(t, fresh), now.t) != nil || len(got.Chain) > 2 {
				t.Error("the chain is longer than it need be, or does not verify")
			}
			step(ca.Prepare, "prepared", ca.RotateOptions{Key: ca.ECDSAP384, Subject: pkix.Name{CommonName: "Third"}})
		})
	}
}

func TestRotationOrder(t *testing.T) {
	a := create(t, ca.Dir(t.TempDir()), ca.Setup{RootOnly: true, PathLength: 0}, ca.Options{})
	for _, s := range []ca.Step{ca.Switch, ca.Retire} {
		if _, _, err := a.Rotate(t.Context(), s, ca.RotateOptions{}); code(err) != diag.RotationOrder {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, _, err := a.Rotate(t.Context(), "back", ca.RotateOptions{}); code(err) != diag.IssueInvalid {
		t.Error(err)
	}
	if _, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []ca.Step{ca.Prepare, ca.Switch} {
		if _, _, err := a.Rotate(t.Context(), s, ca.RotateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if r, found, err := a.Rotate(t.Context(), ca.Retire, ca.RotateOptions{Force: true}); err != nil || r.Stage != "steady" || slugs(found) != "rotation_not_over/warning" {
		t.Errorf("%+v %v %v", r, found, err)
	}
}

// dying is a store whose process dies at a chosen write: the write is half done, and nothing works after.
type dying struct {
	ca.Store
	left int
}

var errDead = errors.New("dead")

func (d *dying) Put(authority, entry string, data []byte) error {
	if d.left--; d.left < 0 {
		return errDead
	}
	return d.Store.Put(authority, entry, data)
}

func (d *dying) Append(authority string, at int64, data []byte) error {
	if d.left--; d.left < 0 {
		if d.left == -1 && len(data) > 0 {
			_ = d.Store.Append(authority, at, data[:len(data)/2]) // dies in any case
		}
		return errDead
	}
	return d.Store.Append(authority, at, data)
}

// Whatever write a process dies at, repeating what it did finishes it, and nothing that was there before
// is lost.
func TestEveryStepSurvivesDeathAtEveryWrite(t *testing.T) {
	setup := ca.Setup{Subject: pkix.Name{CommonName: "R"}, Key: ca.Ed25519}
	rotate := func(s ca.Step) func(context.Context, *ca.Authority, string) error {
		return func(ctx context.Context, a *ca.Authority, _ string) error {
			_, _, err := a.Rotate(ctx, s, ca.RotateOptions{Force: true})
			return err
		}
	}
	steps := []struct {
		name string
		do   func(ctx context.Context, a *ca.Authority, serial string) error
	}{
		{"issue", func(ctx context.Context, a *ca.Authority, _ string) error {
			_, _, err := a.Issue(ctx, ca.Request{Profile: ca.Client, Names: []string{"x.test"}, Key: ca.Ed25519})
			return err
		}},
		{"revoke", func(ctx context.Context, a *ca.Authority, serial string) error {
			_, err := a.Revoke(ctx, "superseded", serial)
			if code(err) == diag.CertAlreadyRevoked { // before it died
				_, err = a.CRL(ctx, "")
			}
			return err
		}},
		{"prepare", rotate(ca.Prepare)}, {"switch", rotate(ca.Switch)}, {"retire", rotate(ca.Retire)},
	}
	for kind, store := range map[string]func(string) ca.Store{"directory": func(d string) ca.Store { return ca.Dir(d) }, "secrets": func(d string) ca.Store { return ca.Secrets(d, "x") }} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := store(t.TempDir())
			deaths := 0
			die := func(f func(ca.Store) error) {
				for n := 0; ; n++ {
					err := f(&dying{s, n})
					if err == nil {
						return
					}
					if deaths++; !errors.Is(err, errDead) || n > 60 {
						t.Fatal(err)
					}
				}
			}
			die(func(s ca.Store) error {
				_, _, err := ca.Create(t.Context(), s, "default", setup, ca.Options{})
				if code(err) == diag.AuthorityExists {
					return nil // it died between the last line and noting where the journal ends
				}
				return err
			})
			a, err := ca.Open(t.Context(), s, "default", ca.Options{})
			if err != nil {
				t.Fatal(err)
			}
			first, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Client, Names: []string{"first.test"}})
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range steps {
				die(func(s ca.Store) error {
					a, err := ca.Open(t.Context(), s, "default", ca.Options{})
					if err != nil {
						t.Fatalf("%s: %v", step.name, err)
					}
					return step.do(t.Context(), a, first.Entry.Serial)
				})
			}
			end, err := ca.Open(t.Context(), s, "default", ca.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := end.VerifyJournal(); err != nil {
				t.Error(err)
			}
			info, err := end.Info()
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, c := range info.CAs {
				ids = append(ids, c.ID)
			}
			if got := strings.Join(ids, " "); got != "root-1 issuer-1 root-2 issuer-2 cross-2-by-1 cross-1-by-2" || info.Rotation.Stage != "steady" || info.Issuing != "issuer-2" {
				t.Errorf("%s; %+v", got, info.Rotation)
			}
			if e, err := end.Find(first.Entry.Serial); err != nil || e.Reason != "superseded" {
				t.Errorf("%+v %v", e, err)
			}
			if deaths < 20 {
				t.Errorf("it died only %d times", deaths)
			}
		})
	}
}
