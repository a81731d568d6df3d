package ca

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"
)

// What another process revokes is told within about a second; what is issued is not told.
func TestWatch(t *testing.T) {
	store := Dir(t.TempDir())
	other, _, err := Create(t.Context(), store, "default", Setup{Subject: pkix.Name{CommonName: "Root"}, Key: Ed25519}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewService(t.Context(), store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan []*x509.Certificate, 8)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx, func(cas []*x509.Certificate) { told <- cas })
	}()
	defer func() { stop(); <-done }()
	next := func(what string) []*x509.Certificate {
		select {
		case cas := <-told:
			return cas
		case <-time.After(10 * time.Second):
			t.Fatal(what + " was not told")
			return nil
		}
	}
	if cas := next("the first sight"); len(cas) != 2 {
		t.Errorf("%d CAs", len(cas))
	}
	out, _, err := other.Issue(t.Context(), Request{Profile: Client, Subject: pkix.Name{CommonName: "alice"}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * watchEvery)
	if len(told) != 0 {
		t.Error("an issue was told")
	}
	if _, err := other.Revoke(t.Context(), "", out.Entry.Serial); err != nil {
		t.Fatal(err)
	}
	next("the revocation")
}
