package revocation

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

var (
	hardOCSP = ir.Revocation{Hard: true, OCSP: true}
	softOCSP = ir.Revocation{OCSP: true}
	hardCRL  = ir.Revocation{Hard: true, FetchCRL: true}
	hardBoth = ir.Revocation{Hard: true, OCSP: true, FetchCRL: true}
)

func TestSoftNeverWaits(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.net.is(slow(5*time.Second, w.ocsp(testca.OCSPSpec{Revoked: true}, nil)))
		begin := time.Now()
		if f := w.check(softOCSP); f.Standing != trust.Unknown || time.Since(begin) != 0 || f.Until.Sub(begin) != briefly {
			t.Errorf("%+v after %v", f, time.Since(begin))
		}
		time.Sleep(6 * time.Second)
		if f := w.check(softOCSP); f.Standing != trust.Revoked || !f.OCSP {
			t.Errorf("%+v", f)
		}
		if n := w.net.count(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestHardWaitsForABoundedTime(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.net.is(slow(2*time.Second, w.ocsp(testca.OCSPSpec{}, nil)))
		begin := time.Now()
		if f := w.check(hardOCSP); f.Standing != trust.Good || time.Since(begin) != 2*time.Second {
			t.Errorf("%+v after %v", f, time.Since(begin))
		}
		w.leaf = w.ca.Issue(testca.Spec{Responders: []string{responderURL}})
		w.net.is(slow(8*time.Second, w.ocsp(testca.OCSPSpec{}, nil)))
		begin = time.Now()
		if f := w.check(hardOCSP); f.Standing != trust.Unknown || time.Since(begin) != DefaultWait || !strings.Contains(f.Detail, "waited 3s") {
			t.Errorf("%+v after %v", f, time.Since(begin))
		}
		time.Sleep(6 * time.Second) // the fetch goes on
		begin = time.Now()
		if f := w.check(hardOCSP); f.Standing != trust.Good || time.Since(begin) != 0 {
			t.Errorf("%+v after %v", f, time.Since(begin))
		}
	})
}

func TestOneQuestionIsFetchedOnce(t *testing.T) {
	inWorld(t, Options{Workers: 8}, func(w *world) {
		w.net.is(slow(time.Second, w.ocsp(testca.OCSPSpec{}, nil)))
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if f := w.check(hardOCSP); f.Standing != trust.Good {
					t.Errorf("%+v", f)
				}
			})
		}
		wg.Wait()
		if n := w.net.count(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		for i := range 6 {
			leaf := w.ca.Issue(testca.Spec{Responders: []string{responderURL}})
			wg.Go(func() {
				if f := w.Check(leaf.Cert, w.ca.Cert, hardOCSP, time.Now()); f.Standing != trust.Good {
					t.Errorf("%d: %+v", i, f)
				}
			})
		}
		wg.Wait()
		if w.net.most != 3 { // less than half of the workers: all ask one host
			t.Errorf("%d fetches at once, want 3", w.net.most)
		}
	})
}

// Responders that never answer take neither all workers nor all places that wait, so others are asked at once.
func TestASlowHostKeepsNobodyWaiting(t *testing.T) {
	inWorld(t, Options{Workers: 8}, func(w *world) {
		w.net.is(func(r *http.Request) (*http.Response, error) {
			switch host := strings.TrimSuffix(strings.ToLower(r.URL.Hostname()), "."); {
			case host == "slow.test":
				return slow(time.Hour, down)(r)
			case strings.HasPrefix(host, "off"):
				return down(r)
			}
			return w.ocsp(testca.OCSPSpec{}, nil)(r)
		})
		for i := range 2 * maxWaiting {
			cert := &x509.Certificate{SerialNumber: big.NewInt(int64(i)), OCSPServer: []string{"http://SLOW.test:" + strconv.Itoa(80+i%2) + "/ocsp"}}
			w.Check(cert, w.ca.Cert, softOCSP, time.Now())
		}
		// Also where it is only the second that is asked.
		for i := range 8 {
			cert := &x509.Certificate{SerialNumber: big.NewInt(int64(i)), OCSPServer: []string{"http://off" + strconv.Itoa(i) + ".test/ocsp", "http://slow.test./ocsp"}}
			w.Check(cert, w.ca.Cert, softOCSP, time.Now())
		}
		synctest.Wait()
		w.net.mu.Lock()
		most := w.net.most
		w.net.mu.Unlock()
		if most > 3 {
			t.Errorf("%d fetches of one host at once", most)
		}
		begin := time.Now()
		if f := w.check(hardOCSP); f.Standing != trust.Good || time.Since(begin) != 0 {
			t.Errorf("%+v after %v", f, time.Since(begin))
		}
		// What waited has its turn when the host is well again.
		w.net.is(w.ocsp(testca.OCSPSpec{}, nil))
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.turns.lines) + len(w.turns.busy) + w.turns.waiting; n != 0 {
			t.Errorf("%+v", w.turns)
		}
	})
}

func TestFailuresAreRememberedAndMended(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.net.is(down)
		for range 100 {
			if f := w.check(hardOCSP); f.Standing != trust.Unknown || f.Invalid || !strings.Contains(f.Detail, "connection refused") {
				t.Fatalf("%+v", f)
			}
		}
		if n := w.net.count(); n != 1 {
			t.Errorf("asked %d times in a row", n)
		}
		for range 3600 {
			time.Sleep(time.Second)
			w.check(softOCSP)
		}
		if n := w.net.count(); n < 15 || n > 30 {
			t.Errorf("asked %d times in an hour", n)
		}
		w.net.is(w.ocsp(testca.OCSPSpec{}, nil))
		time.Sleep(lastRetry)
		w.check(softOCSP)
		synctest.Wait()
		if f := w.check(hardOCSP); f.Standing != trust.Good {
			t.Errorf("%+v", f)
		}
		if s := w.State(); s.Fetches[FetchResult{"ocsp", "ok"}] != 1 || s.Fetches[FetchResult{"ocsp", "unreachable"}] < 15 || s.Kinds["ocsp"].Failing != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAnswersAreRenewedWhileTheyAreUsed(t *testing.T) {
	inWorld(t, Options{Refresh: 1000 * time.Hour}, func(w *world) {
		fresh := func(r *http.Request) (*http.Response, error) {
			return w.ocsp(testca.OCSPSpec{ThisUpdate: time.Now(), NextUpdate: time.Now().Add(100 * time.Minute)}, nil)(r)
		}
		w.net.is(fresh)
		for range 10 * 100 { // ten lives
			if f := w.check(hardOCSP); f.Standing != trust.Good || !f.Until.After(time.Now()) {
				t.Fatalf("%+v", f)
			}
			time.Sleep(time.Minute)
		}
		if n := w.net.count(); n < 11 || n > 21 {
			t.Errorf("asked %d times; 1/2 to 9/10 of a life is 11 to 20", n)
		}
		// The responder is down: what is there is good to its end, and no longer.
		w.net.is(down)
		last := w.entries[w.entry0()].answer.next
		for time.Now().Before(last) {
			if f := w.check(hardOCSP); f.Standing != trust.Good {
				t.Fatalf("%+v, %v before the end", f, time.Until(last))
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Second)
		if f := w.check(hardOCSP); f.Standing != trust.Unknown || !f.Invalid || !strings.Contains(f.Detail, "renewal") || !strings.Contains(f.Detail, "refused") {
			t.Errorf("%+v", f)
		}
		w.net.is(fresh)
		time.Sleep(lastRetry)
		n := w.net.count()
		w.check(softOCSP)
		time.Sleep(100 * time.Hour)
		if m := w.net.count(); m > n+3 {
			t.Errorf("asked %d times more although nobody used it", m-n)
		}
	})
}

// entry0 returns the only key.
func (s *Service) entry0() key {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.entries {
		return k
	}
	return key{}
}

func TestOneRevocationIsNoticedWithinRefresh(t *testing.T) {
	inWorld(t, Options{Refresh: 10 * time.Minute}, func(w *world) {
		revoked := map[string]bool{}
		w.net.is(w.ocsp(testca.OCSPSpec{}, revoked))
		if f := w.check(hardOCSP); f.Standing != trust.Good || time.Until(f.Until) > 10*time.Minute {
			t.Errorf("%+v", f)
		}
		revoked[w.leaf.Cert.SerialNumber.String()] = true
		for range 11 {
			time.Sleep(time.Minute)
			w.check(softOCSP)
		}
		if f := w.check(softOCSP); f.Standing != trust.Revoked {
			t.Errorf("%+v", f)
		}
	})
}

func TestLists(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		other := w.ca.Issue(testca.Spec{CRLs: []string{listURL}})
		limited := w.ca.Issue(testca.Spec{CRLs: []string{"ldap://x/y", "http://pki.test/other.crl", listURL}})
		twin := testca.New(t, testca.Spec{})
		list := func(s testca.CRLSpec) func(*http.Request) (*http.Response, error) {
			data := w.ca.CRL(s)
			return func(r *http.Request) (*http.Response, error) {
				if r.URL.String() != listURL {
					return response(404, nil), nil
				}
				if r.Header.Get("If-None-Match") == `"7"` {
					return response(304, nil), nil
				}
				return response(200, data, "ETag", `"7"`), nil
			}
		}
		w.net.is(list(testca.CRLSpec{Revoked: []*x509.Certificate{other.Cert}}))
		if f := w.check(hardCRL); f.Standing != trust.Good || f.OCSP {
			t.Errorf("%+v", f)
		}
		if f := w.Check(other.Cert, w.ca.Cert, hardCRL, time.Now()); f.Standing != trust.Revoked || f.OCSP || !strings.Contains(f.Detail, listURL) {
			t.Errorf("%+v", f)
		}
		if n := w.net.count(); n != 1 {
			t.Errorf("a list of one CA was fetched %d times", n)
		}
		if f := w.Check(limited.Cert, w.ca.Cert, hardCRL, time.Now()); f.Standing != trust.Good || w.net.count() != 3 {
			t.Errorf("%+v after %v", f, w.net.asked)
		}
		for range 120 {
			time.Sleep(time.Minute)
			w.check(softOCSP)
			w.check(ir.Revocation{FetchCRL: true})
		}
		if s := w.State(); s.Fetches[FetchResult{"crl", "unchanged"}] < 1 || s.Kinds["crl"].Bytes == 0 || s.Kinds["crl"].Oldest == 0 {
			t.Errorf("%+v", s)
		}
		// The list of another CA with the same name is no list.
		if f := w.Check(w.leaf.Cert, twin.Cert, hardCRL, time.Now()); f.Standing != trust.Unknown || !f.Invalid || !strings.Contains(f.Detail, "not issued by") {
			t.Errorf("%+v", f)
		}
	})
}

// A list that is stale proves nothing, but whom it names is revoked; an older one replaces none.
func TestStaleAndReplayedLists(t *testing.T) {
	inWorld(t, Options{Refresh: time.Minute}, func(w *world) {
		gone := w.ca.Issue(testca.Spec{CRLs: []string{listURL}})
		now := time.Now()
		old := w.ca.CRL(testca.CRLSpec{ThisUpdate: now.Add(-48 * time.Hour), NextUpdate: now.Add(48 * time.Hour)})
		stale := w.ca.CRL(testca.CRLSpec{ThisUpdate: now.Add(-72 * time.Hour), NextUpdate: now.Add(-time.Hour), Revoked: []*x509.Certificate{gone.Cert}})
		serve := func(data []byte) func(*http.Request) (*http.Response, error) {
			return func(*http.Request) (*http.Response, error) { return response(200, data), nil }
		}
		w.net.is(serve(stale))
		if f := w.check(hardCRL); f.Standing != trust.Unknown || !f.Invalid || f.OCSP || !strings.Contains(f.Detail, "renewal") {
			t.Errorf("%+v", f)
		}
		if f := w.Check(gone.Cert, w.ca.Cert, hardCRL, time.Now()); f.Standing != trust.Revoked {
			t.Errorf("%+v", f)
		}
		w.net.is(serve(w.ca.CRL(testca.CRLSpec{ThisUpdate: now, NextUpdate: now.Add(48 * time.Hour), Revoked: []*x509.Certificate{gone.Cert}})))
		time.Sleep(lastRetry)
		w.check(hardCRL)
		w.net.is(serve(old))
		for range 10 {
			time.Sleep(time.Minute)
			if f := w.Check(gone.Cert, w.ca.Cert, hardCRL, time.Now()); f.Standing != trust.Revoked {
				t.Fatalf("an older list was played again: %+v", f)
			}
		}
		if s := w.State(); s.Fetches[FetchResult{"crl", "unchanged"}] < 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatCannotBeUsed(t *testing.T) {
	page := []byte("<html>captive portal</html>")
	tests := []struct {
		name   string
		serve  func(*http.Request) (*http.Response, error)
		result string
		words  string
	}{
		{"a page", func(*http.Request) (*http.Response, error) { return response(200, page), nil }, "invalid", "cannot be used"},
		{"nothing", func(*http.Request) (*http.Response, error) { return response(200, nil), nil }, "invalid", "empty"},
		{"an error", func(*http.Request) (*http.Response, error) { return response(503, page), nil }, "status", "503"},
		{"too much", func(*http.Request) (*http.Response, error) { return response(200, make([]byte, 2000)), nil }, "too_large", "1000"},
		{"too much without saying so", func(*http.Request) (*http.Response, error) {
			r := response(200, make([]byte, 2000))
			r.ContentLength = -1
			return r, nil
		}, "too_large", "more than 1000"},
		{"a redirect to https", func(*http.Request) (*http.Response, error) {
			return response(302, nil, "Location", "https://pki.test/ca.crl"), nil
		}, "unreachable", "plain HTTP"},
		{"redirects for ever", func(*http.Request) (*http.Response, error) {
			return response(302, nil, "Location", listURL), nil
		}, "unreachable", "too many redirects"},
		{"silence", slow(time.Hour, down), "unreachable", "does not answer"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, Options{MaxList: 1000, Wait: time.Minute}, func(w *world) {
				w.net.is(tc.serve)
				f := w.check(hardCRL)
				if f.Standing != trust.Unknown || f.Invalid != (tc.result == "invalid") || !strings.Contains(f.Detail, tc.words) {
					t.Errorf("%+v, want %q", f, tc.words)
				}
				if s := w.State(); s.Fetches[FetchResult{"crl", tc.result}] != 1 {
					t.Errorf("%+v", s.Fetches)
				}
				if n := w.net.count(); n > maxRedirects+1 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

func TestOCSPByGET(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		w.net.is(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				return response(405, nil), nil
			}
			return response(200, w.ca.OCSP(w.leaf.Cert, testca.OCSPSpec{})), nil
		})
		if f := w.check(hardOCSP); f.Standing != trust.Good || w.net.count() != 2 || !strings.HasPrefix(w.net.asked[1], "GET "+responderURL+"/MF") {
			t.Errorf("%+v, asked %v", f, w.net.asked)
		}
	})
}

func TestListsHelpWhereRespondersDoNot(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		list := w.ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{w.leaf.Cert}})
		w.net.is(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				return slow(time.Hour, down)(r)
			}
			return response(200, list), nil
		})
		begin := time.Now()
		if f := w.check(hardBoth); f.Standing != trust.Revoked || f.OCSP || time.Since(begin) != 0 {
			t.Errorf("%+v after %v", f, time.Since(begin))
		}
		none := w.ca.Issue(testca.Spec{CRLs: []string{"https://pki.test/x", "ldap://x", "http://user:pw@pki.test/"}})
		if f := w.Check(none.Cert, w.ca.Cert, hardBoth, time.Now()); f.Standing != trust.Unknown || !strings.Contains(f.Detail, "no OCSP responder") || !strings.Contains(f.Detail, "no CRL distribution point") {
			t.Errorf("%+v", f)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	inWorld(t, Options{MaxEntries: 10}, func(w *world) {
		for i := range 40 {
			leaf := w.ca.Issue(testca.Spec{Responders: []string{fmt.Sprintf("http://%d.test/", i)}})
			if f := w.Check(leaf.Cert, w.ca.Cert, hardOCSP, time.Now()); f.Standing != trust.Good {
				t.Fatalf("%+v", f)
			}
		}
		if s := w.State(); s.Kinds["ocsp"].Answers != 10 {
			t.Errorf("%+v", s)
		}
	})
	inWorld(t, Options{MaxBytes: 1500}, func(w *world) {
		for i := range 20 {
			leaf := w.ca.Issue(testca.Spec{CRLs: []string{fmt.Sprintf("http://%d.test/x.crl", i)}})
			if f := w.Check(leaf.Cert, w.ca.Cert, hardCRL, time.Now()); f.Standing != trust.Good {
				t.Fatalf("%+v", f)
			}
		}
		if s := w.State(); s.Kinds["crl"].Bytes > 1500 || s.Kinds["crl"].Answers < 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestOverloadAnswersAtOnce(t *testing.T) {
	inWorld(t, Options{Workers: 1}, func(w *world) {
		w.net.is(slow(time.Hour, down))
		issuer := w.ca.Cert
		for i := range maxWaiting + 10 {
			cert := &x509.Certificate{SerialNumber: w.leaf.Cert.SerialNumber, OCSPServer: []string{fmt.Sprintf("http://%d.test/", i)}}
			w.Check(cert, issuer, softOCSP, time.Now())
			synctest.Wait()
		}
		begin := time.Now()
		f := w.Check(w.leaf.Cert, issuer, hardOCSP, time.Now())
		if f.Standing != trust.Unknown || time.Since(begin) != 0 || !strings.Contains(f.Detail, "too many") {
			t.Errorf("%+v after %v", f, time.Since(begin))
		}
	})
}
