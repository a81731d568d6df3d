//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/testca"
)

// load is a number of clients that ask for one path all the time, half of them on kept connections
// and half on a new one for each request. A kept connection that the gateway closes is a failure too.
type load struct {
	t       *testing.T
	stopped atomic.Bool
	wg      sync.WaitGroup

	done, fresh atomic.Int64
	mu          sync.Mutex // guards failures
	failures    []string
}

// startLoad starts clients; status is what each answer must have.
func startLoad(t *testing.T, addr, host, path string, status int, config *tls.Config) *load {
	t.Helper()
	l := &load{t: t}
	for i := range 4 {
		kept := i%2 == 0
		l.wg.Go(func() { l.client(addr, host, path, status, config, kept) })
	}
	t.Cleanup(func() { l.stopped.Store(true); l.wg.Wait() })
	for end := time.Now().Add(20 * time.Second); l.done.Load() < 8 && l.failed() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the load did not get going")
		}
	}
	return l
}

func (l *load) client(addr, host, path string, status int, config *tls.Config, kept bool) {
	dials := 0
	transport := &http.Transport{DisableKeepAlives: !kept, TLSClientConfig: config.Clone(), MaxIdleConnsPerHost: 1,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			dials++
			return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
		}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for !l.stopped.Load() {
		req, err := http.NewRequest(http.MethodGet, "https://"+host+path, nil)
		if err != nil {
			l.fail(err.Error())
			return
		}
		resp, err := client.Do(req)
		switch {
		case err != nil:
			l.fail(fmt.Sprintf("kept=%v: %v", kept, err))
		case resp.StatusCode != status:
			l.fail(fmt.Sprintf("kept=%v: status %d", kept, resp.StatusCode))
		}
		if err == nil {
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				l.fail(fmt.Sprintf("kept=%v: body: %v", kept, err))
			}
			resp.Body.Close()
		}
		l.done.Add(1)
		if !kept {
			l.fresh.Add(1)
		}
		time.Sleep(3 * time.Millisecond) // enough requests to meet every moment of a change, and a machine that others can use
	}
	if kept && dials != 1 {
		l.fail(fmt.Sprintf("a kept connection was dropped: %d dials", dials))
	}
}

func (l *load) fail(what string) {
	l.mu.Lock()
	l.failures = append(l.failures, what)
	l.mu.Unlock()
}

func (l *load) failed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.failures...)
}

// more waits until so many further requests were answered.
func (l *load) more(n int64) {
	l.t.Helper()
	want := l.done.Load() + n
	for end := time.Now().Add(20 * time.Second); l.done.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatal("the load got stuck")
		}
	}
}

// stop ends the load and fails the test for every request that failed.
func (l *load) stop() {
	l.t.Helper()
	l.stopped.Store(true)
	l.wg.Wait()
	if f := l.failed(); len(f) > 0 {
		l.t.Errorf("%d of %d requests failed, first: %s", len(f), l.done.Load(), f[0])
	}
	l.t.Logf("%d requests, %d of them on connections of their own, %d failed", l.done.Load(), l.fresh.Load(), len(l.failed()))
}

// walkTrust trusts both sets of the walk.
func walkTrust(s *testca.Seed, name string) *tls.Config {
	return trustAny(name, s.Pair(testca.Set1, "example.com"), s.Pair(testca.Set2, "example.com"))
}
