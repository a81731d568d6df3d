package ca_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/ca"
)

// lockedStore counts how often authorities are locked.
type lockedStore struct {
	ca.Store
	n atomic.Int64
}

func (s *lockedStore) Lock(ctx context.Context, authority string) (func(), error) {
	s.n.Add(1)
	return s.Store.Lock(ctx, authority)
}

// What cannot be signed, as the key is kept elsewhere, is tried once in a while, not for each that asks:
// each try holds up those who issue.
func TestFailuresAreRemembered(t *testing.T) {
	r := serve(t)
	store := &lockedStore{Store: ca.Dir(r.dir)}
	service, err := ca.NewService(t.Context(), store, ca.Options{Now: r.now.now})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(service)
	defer srv.Close()
	key := filepath.Join(r.dir, "default", "issuer-1.key")
	elsewhere := filepath.Join(t.TempDir(), "key")
	if err := os.Rename(key, elsewhere); err != nil {
		t.Fatal(err)
	}
	r.now.t = r.now.t.Add(5 * day) // the list is due
	for _, path := range []string{"/ocsp/" + r.ask(t, 5), "/crl/default-issuer-1.crl"} {
		crowd := func() {
			var wg sync.WaitGroup
			for range 30 {
				wg.Go(func() { get(t, srv.URL+path) })
			}
			wg.Wait()
		}
		before := store.n.Load()
		crowd()
		if n := store.n.Load() - before; n != 1 {
			t.Errorf("%s: the authority was locked %d times, want once", path, n)
		}
		r.now.t = r.now.t.Add(31 * time.Second)
		crowd()
		if n := store.n.Load() - before; n != 2 {
			t.Errorf("%s: later the authority was locked %d times in all, want twice", path, n)
		}
	}
	// The list that is due is served as long as it lives, and with the key everything is there again.
	if g := get(t, srv.URL+"/crl/default-issuer-1.crl"); g.status != http.StatusOK {
		t.Error(g.status)
	}
	if err := os.Rename(elsewhere, key); err != nil {
		t.Fatal(err)
	}
	r.now.t = r.now.t.Add(31 * time.Second)
	if a := r.read(t, get(t, srv.URL+"/ocsp/"+r.ask(t, 5))); a.Status != ocsp.Good {
		t.Error(a.Status)
	}
	// A responder's certificate of which half is over goes on answering without trying each time.
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	r.now.t = r.now.t.Add(10 * day)
	second, err := ca.NewService(t.Context(), store, ca.Options{Now: r.now.now})
	if err != nil {
		t.Fatal(err)
	}
	again := httptest.NewServer(second)
	defer again.Close()
	before := store.n.Load()
	for range 20 {
		if a := r.read(t, get(t, again.URL+"/ocsp/"+r.ask(t, 5))); a.Status != ocsp.Good {
			t.Fatal(a.Status)
		}
	}
	if n := store.n.Load() - before; n != 1 {
		t.Errorf("with half of its life over, the authority was locked %d times", n)
	}
}
