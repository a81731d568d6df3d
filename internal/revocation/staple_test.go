package revocation

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// pair makes what a secret holds: leaf and issuer.
func (w *world) pair(p *testca.Pair, withIssuer bool) *secret.KeyPair {
	w.t.Helper()
	chain := p.CertPEM()
	if withIssuer {
		chain = append(chain, w.ca.CertPEM()...)
	}
	k, _, err := secret.ParseKeyPair(chain, p.KeyPEM())
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// stapling runs one.
func (w *world) stapling() *Stapling {
	s := NewStapling(w.Service)
	w.with(s.Run)
	return s
}

func one(t *Stapling) StapleState {
	all := t.State()
	if len(all) != 1 {
		return StapleState{State: "not one"}
	}
	return all[0]
}

func TestStapling(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		s := w.stapling()
		p := w.pair(w.leaf, true)
		if got := s.Staple(p); got != p.TLS() {
			t.Error("a pair not told of is served as it is")
		}
		w.net.is(slow(time.Second, w.ocsp(testca.OCSPSpec{}, nil)))
		s.Follow([]*secret.KeyPair{p, p})
		time.Sleep(updatePause)
		if got := s.Staple(p); len(got.OCSPStaple) != 0 || one(s).State != StaplePending || one(s).Code != 0 {
			t.Errorf("%+v", one(s))
		}
		time.Sleep(2 * time.Second)
		first := s.Staple(p)
		if a, err := trust.ParseOCSP(first.OCSPStaple, w.leaf.Cert, w.ca.Cert, time.Now()); err != nil || a.Standing != trust.Good || one(s).State != StapleGood {
			t.Fatalf("%v %+v", err, one(s))
		}
		if first.PrivateKey == nil || !bytes.Equal(first.Certificate[0], w.leaf.Cert.Raw) || len(p.TLS().OCSPStaple) != 0 {
			t.Error("the pair itself must not change, and be served whole")
		}
		// It is renewed although nobody asks, and stays when the responder goes, to its end.
		w.net.is(w.ocsp(testca.OCSPSpec{}, nil))
		time.Sleep(2 * time.Hour)
		if again := s.Staple(p); bytes.Equal(again.OCSPStaple, first.OCSPStaple) {
			t.Error("the staple was not renewed")
		}
		w.net.is(down)
		time.Sleep(20 * time.Hour)
		if len(s.Staple(p).OCSPStaple) == 0 || one(s).State != StapleGood {
			t.Errorf("%+v", one(s))
		}
		time.Sleep(5 * time.Hour)
		if len(s.Staple(p).OCSPStaple) != 0 || one(s).State != StapleUnavailable || one(s).Code != diag.StapleFailed {
			t.Errorf("%+v", one(s))
		}
		w.net.is(w.ocsp(testca.OCSPSpec{Revoked: true, Reason: 1}, nil))
		time.Sleep(lastRetry)
		if st := one(s); len(s.Staple(p).OCSPStaple) != 0 || st.State != StapleRevoked || st.Code != diag.OwnCertRevoked {
			t.Errorf("%+v", st)
		}
		s.Follow(nil)
		time.Sleep(time.Second)
		n := w.net.count()
		time.Sleep(100 * time.Hour)
		if w.net.count() > n+1 || len(s.State()) != 0 {
			t.Errorf("what is not served any more was asked for %d times", w.net.count()-n)
		}
	})
}

func TestStaplesOfSecretsAndMustStaple(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		own := testca.OCSPSpec{ThisUpdate: time.Now(), NextUpdate: time.Now().Add(2 * time.Hour)}
		silent := w.ca.Issue(testca.Spec{MustStaple: true})
		tests := []struct {
			name   string
			pair   *secret.KeyPair
			state  string
			code   diag.Code
			staple bool
		}{
			{"nothing to ask", w.pair(w.ca.Issue(testca.Spec{}), true), StapleNoResponder, 0, false},
			{"no issuer", w.pair(w.leaf, false), StapleNoResponder, 0, false},
			{"must, no issuer", w.pair(w.ca.Issue(testca.Spec{MustStaple: true, Responders: []string{responderURL}}), false), StapleNoResponder, diag.StapleMissing, false},
			{"must, nobody to ask", w.pair(silent, true), StapleNoResponder, diag.StapleMissing, false},
			{"must, of the secret", w.pair(silent, true).WithStaple(w.ca.OCSP(silent.Cert, own)), StapleGood, 0, true},
			{"of the secret, ended", w.pair(silent, true).WithStaple(w.ca.OCSP(silent.Cert, testca.OCSPSpec{NextUpdate: time.Now().Add(-time.Minute)})), StapleNoResponder, diag.StapleMissing, false},
			{"of the secret, junk", w.pair(w.leaf, true).WithStaple([]byte{0x30, 0}), StapleGood, 0, true}, // fetched instead
			{"of the secret, junk, not to be checked", w.pair(silent, false).WithStaple([]byte{0x30, 0}), StapleNoResponder, diag.StapleMissing, false},
			{"of the secret, not to be checked", w.pair(silent, false).WithStaple(w.ca.OCSP(silent.Cert, testca.OCSPSpec{NextUpdate: time.Now().Add(48 * time.Hour)})), StapleGood, 0, true},
			{"of the secret, not to be checked, ended", w.pair(silent, false).WithStaple(w.ca.OCSP(silent.Cert, testca.OCSPSpec{NextUpdate: time.Now().Add(-time.Minute)})), StapleNoResponder, diag.StapleMissing, false},
		}
		for _, tc := range tests {
			s := w.stapling()
			s.Follow([]*secret.KeyPair{tc.pair})
			time.Sleep(time.Second)
			st := one(s)
			if st.State != tc.state || st.Code != tc.code || (len(s.Staple(tc.pair).OCSPStaple) > 0) != tc.staple {
				t.Errorf("%s: %+v, stapled %v", tc.name, st, len(s.Staple(tc.pair).OCSPStaple) > 0)
			}
		}
	})
}

// A staple that nobody renews is served to its end, also where its signature cannot be checked.
func TestAnUncheckedStapleEnds(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		leaf := w.ca.Issue(testca.Spec{})
		p := w.pair(leaf, false).WithStaple(w.ca.OCSP(leaf.Cert, testca.OCSPSpec{NextUpdate: time.Now().Add(2 * time.Hour)}))
		s := w.stapling()
		s.Follow([]*secret.KeyPair{p})
		time.Sleep(time.Hour)
		if len(s.Staple(p).OCSPStaple) == 0 || one(s).State != StapleGood {
			t.Errorf("%+v", one(s))
		}
		time.Sleep(2 * time.Hour)
		if len(s.Staple(p).OCSPStaple) != 0 || one(s).State != StapleUnavailable {
			t.Errorf("%+v", one(s))
		}
	})
}

func TestDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var w1 *world
	inWorld(t, Options{Dir: dir}, func(w *world) {
		w1 = w
		if w.check(hardOCSP).Standing != trust.Good || w.check(hardCRL).Standing != trust.Good {
			t.Fatal("not good")
		}
	})
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}
	// After a restart answers are there without a network, and are asked for soon all the same.
	again := func(test func(w *world)) {
		inWorld(t, Options{Dir: dir}, func(w *world) {
			w.ca, w.leaf = w1.ca, w1.leaf
			w.net.is(down)
			test(w)
		})
	}
	again(func(w *world) {
		if f := w.check(hardOCSP); f.Standing != trust.Good {
			t.Errorf("%+v", f)
		}
		if f := w.check(hardCRL); f.Standing != trust.Good || w.net.count() != 0 {
			t.Errorf("%+v, asked %d times", f, w.net.count())
		}
		time.Sleep(leastPause + time.Second)
		w.check(hardCRL)
		synctest.Wait()
		if w.net.count() == 0 || w.State().Fetches[FetchResult{"crl", "disk"}] != 1 {
			t.Errorf("asked %d times, %+v", w.net.count(), w.State())
		}
	})
	// What others have put there instead is not believed, nor what has ended.
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name()), testca.New(t, testca.Spec{}).CRL(testca.CRLSpec{}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again(func(w *world) {
		if w.check(hardOCSP).Standing != trust.Unknown || w.check(hardCRL).Standing != trust.Unknown {
			t.Error("a foreign file is believed")
		}
	})
	if _, err := New(Options{Dir: filepath.Join(dir, files[0].Name(), "x")}); err == nil {
		t.Error("a directory that cannot be used must not be passed over")
	}
}

func TestDiskIsPruned(t *testing.T) {
	dir := t.TempDir()
	d, err := openDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"a.crl": time.Hour, "b.ocsp": oldestFile + time.Hour, ".tmp-1": 2 * time.Hour, ".tmp-2": 0, "notes.txt": 9000 * time.Hour} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	d.prune(time.Now())
	for name, stays := range map[string]bool{"a.crl": true, "b.ocsp": false, ".tmp-1": false, ".tmp-2": true, "notes.txt": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}
