package server

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/translate"
)

const plainGateway = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [a.test]
`

// A running process issues and revokes for commands, publishes what a command revokes beside it, lists
// what of the authority expires, and tells nobody a key.
func TestRunServesAnAuthority(t *testing.T) {
	dir := t.TempDir()
	store := ca.Dir(filepath.Join(dir, "ca"))
	if _, _, err := ca.Create(t.Context(), store, "default", ca.Setup{Subject: pkix.Name{CommonName: "Root"}, Key: ca.Ed25519}, ca.Options{}); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, dir: t.TempDir()}
	socket := "unix:" + filepath.Join(dir, "admin.sock")
	r.client = admin.NewClient(socket, "", nil)
	r.write("a.yaml", plainGateway)
	ready, done := make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		done <- Run(ctx, Config{
			Folders: []string{r.dir}, Address: "127.0.0.1", PortMap: map[uint16]uint16{80: freePort(t)}, Admin: socket, DrainTimeout: time.Second, AccessLog: AccessLog{Format: "off"},
			Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Ready: func(admin.Status) { close(ready) },
			Settings:  control.Settings{Context: translate.Context{Labels: map[string]string{"istio": "ingressgateway"}, Namespace: "istio-system"}},
			Authority: Authority{Dir: store.String(), Listen: "127.0.0.1:0"},
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("%v\n%s", err, r.log.String())
	}
	remote := r.client.Authority("default")
	out, _, err := remote.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}})
	if err != nil || out.Key.Len() == 0 || out.Entry.By != "admin" {
		t.Fatalf("%+v, %v", out, err)
	}
	var refused *ca.Error
	if _, found, err := remote.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"*"}}); !errors.As(err, &refused) || refused.Code != diag.CertRefused || len(found) == 0 {
		t.Errorf("%v %v", found, err)
	}
	if _, err := r.client.Authority("other").Info(t.Context()); !errors.As(err, &refused) || refused.Code != diag.AuthorityNotFound {
		t.Error(err)
	}
	if strings.Contains(r.log.String(), "PRIVATE") || !strings.Contains(r.log.String(), "path=/authority/default/issue") {
		t.Errorf("log:\n%s", r.log.String())
	}

	// Another process revokes; the list that is served is the new one at once.
	beside, err := ca.Open(t.Context(), store, "default", ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := beside.Revoke(t.Context(), "superseded", out.Entry.Serial); err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`msg=authority .*address=(\S+)`).FindStringSubmatch(r.log.String())
	if found == nil {
		t.Fatal(r.log.String())
	}
	resp, err := http.Get("http://" + found[1] + "/crl/default.crl")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := x509.ParseRevocationList(b); err != nil || len(l.RevokedCertificateEntries) != 1 {
		t.Errorf("%v: %s", err, b)
	}

	var c admin.Calendar
	if err := r.client.Get(t.Context(), "/certificates/calendar", &c); err != nil {
		t.Fatal(err)
	}
	kinds := map[calendar.Kind]int{}
	for _, e := range c.Entries {
		kinds[e.Kind]++
	}
	if kinds[calendar.Authority] != 2 || kinds[calendar.List] != 2 {
		t.Errorf("%v", kinds)
	}
	if m := r.page("/metrics"); !strings.Contains(m, `CN=Root Issuing CA`) {
		t.Error("no metric of the issuer's end")
	}
}

func TestAuthorityFlagsAreChecked(t *testing.T) {
	for want, a := range map[string]Authority{
		"nothing to serve": {Listen: "127.0.0.1:0"}, "cannot both": {Dir: "x", Namespace: "y"}, "passphrase": {Dir: t.TempDir(), PassphraseFile: "/nonexistent"}, "address of the authority": {Dir: t.TempDir(), Listen: "256.0.0.1:1"},
	} {
		_, err := openAuthority(t.Context(), Config{Authority: a, Folders: []string{t.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
		var bad *ConfigError
		if !errors.As(err, &bad) || !strings.Contains(bad.Error(), want) || bad.Fix == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
	// A directory without an authority is no fault: one may be made later.
	if a, err := openAuthority(t.Context(), Config{Authority: Authority{Dir: t.TempDir()}, Logger: slog.New(slog.DiscardHandler)}); err != nil || a == nil {
		t.Error(err)
	}
}
