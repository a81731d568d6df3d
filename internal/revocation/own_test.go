package revocation

import (
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// A revocation by an authority of this process holds as soon as it is told of, although the good answer
// would be kept for long; who asks hard waits for the new one, and findings hold only briefly.
func TestForget(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		if f := w.check(hardOCSP); f.Standing != trust.Good || time.Until(f.Until) <= briefly {
			t.Fatalf("%+v", f)
		}
		w.Forget(w.ca.Cert)
		if f := w.check(hardOCSP); f.Standing != trust.Good || time.Until(f.Until) > briefly {
			t.Errorf("an issuer of this process: %+v", f)
		}
		w.net.is(slow(time.Second, w.ocsp(testca.OCSPSpec{Revoked: true}, nil)))
		w.Forget(w.ca.Cert)
		begin := time.Now()
		if f := w.check(hardOCSP); f.Standing != trust.Revoked || time.Since(begin) != time.Second {
			t.Errorf("after a revocation: %+v after %v", f, time.Since(begin))
		}
		w.net.is(down)
		w.leaf = w.ca.Issue(testca.Spec{Responders: []string{responderURL}})
		w.net.is(w.ocsp(testca.OCSPSpec{}, nil))
		if f := w.check(hardOCSP); f.Standing != trust.Good {
			t.Fatalf("%+v", f)
		}
		w.net.is(down)
		w.Forget(w.ca.Cert)
		if f := w.check(hardOCSP); f.Standing != trust.Unknown {
			t.Errorf("what was good before the change, and cannot be asked: %+v", f)
		}
		if f := w.check(softOCSP); f.Standing != trust.Good {
			t.Errorf("softly the old answer is better than none: %+v", f)
		}
	})
}

// An answer that was on its way while the authority changed does not count as new.
func TestForgetWhileAsking(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.net.is(slow(time.Second, w.ocsp(testca.OCSPSpec{}, nil)))
		w.check(softOCSP)
		time.Sleep(time.Second / 2)
		w.net.is(w.ocsp(testca.OCSPSpec{Revoked: true}, nil))
		w.Forget(w.ca.Cert)
		if f := w.check(hardOCSP); f.Standing != trust.Revoked {
			t.Errorf("%+v", f)
		}
	})
}
