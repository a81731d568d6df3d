package revocation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// internet answers requests without a network, so that tests run in a bubble of fake time.
type internet struct {
	mu     sync.Mutex
	serve  func(*http.Request) (*http.Response, error)
	asked  []string // METHOD URL
	inside int      // in progress
	most   int
}

// RoundTrip implements http.RoundTripper.
func (i *internet) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked = append(i.asked, r.Method+" "+r.URL.String())
	i.inside++
	i.most = max(i.most, i.inside)
	serve := i.serve
	i.mu.Unlock()
	resp, err := serve(r)
	i.mu.Lock()
	i.inside--
	i.mu.Unlock()
	if err == nil {
		resp.Request = r
	}
	return resp, err
}

func (i *internet) is(serve func(*http.Request) (*http.Response, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serve = serve
}

func (i *internet) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

func response(status int, body []byte, header ...string) *http.Response {
	h := http.Header{}
	for n := 0; n+1 < len(header); n += 2 {
		h.Set(header[n], header[n+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
}

var errDown = errors.New("connection refused")

func down(*http.Request) (*http.Response, error) { return nil, errDown }

// slow answers after a while unless the request ends before.
func slow(d time.Duration, then func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(d):
			return then(r)
		}
	}
}

// world is a CA that publishes, and a service that asks it.
type world struct {
	t    *testing.T
	net  *internet
	ca   *testca.Pair
	leaf *testca.Pair
	*Service
	with func(run func(context.Context) error) // runs something until the test ends
}

const (
	listURL      = "http://pki.test/ca.crl"
	responderURL = "http://pki.test/ocsp"
)

// inWorld runs a test in a bubble, with the service running until it ends.
func inWorld(t *testing.T, opts Options, test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: &internet{}, ca: testca.New(t, testca.Spec{})}
		w.leaf = w.ca.Issue(testca.Spec{CRLs: []string{listURL}, Responders: []string{responderURL}, NotAfter: time.Now().Add(1000 * time.Hour)})
		w.net.is(w.ocsp(testca.OCSPSpec{}, nil))
		opts.Transport = w.net
		if opts.Logger == nil {
			opts.Logger = slog.New(slog.DiscardHandler)
		}
		var err error
		if w.Service, err = New(opts); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		w.with = func(run func(context.Context) error) { running.Go(func() { _ = run(ctx) }) }
		w.with(w.Run)
		test(w)
		stop()
		running.Wait()
	})
}

// ocsp serves answers about whatever is asked, relative to the time of asking, and lists.
func (w *world) ocsp(spec testca.OCSPSpec, revoked map[string]bool) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if path.Ext(r.URL.Path) == ".crl" {
			return response(200, w.ca.CRL(testca.CRLSpec{})), nil
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		req, err := ocsp.ParseRequest(b)
		if err != nil {
			return response(400, nil), nil
		}
		s := spec
		s.Revoked = s.Revoked || revoked[req.SerialNumber.String()]
		return response(200, w.ca.OCSP(&x509.Certificate{SerialNumber: req.SerialNumber}, s)), nil
	}
}

func (w *world) check(how ir.Revocation) trust.Finding {
	return w.Check(w.leaf.Cert, w.ca.Cert, how, time.Now())
}
