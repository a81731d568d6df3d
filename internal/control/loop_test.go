package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/golden"
)

func TestEqualSnapshotIsNotAppliedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		r.publish(gateway, secretOf("httpbin"))
		r.publish("---\n# only its place changed\n", gateway, secretOf("httpbin"))
		if n, _ := r.applied(); n != 1 || r.tries() != 1 {
			t.Errorf("%d generations, %d prepared, want 1", n, r.tries())
		}
	})
}

func TestRotationChangesSecretsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		_, before := r.applied()
		r.publish(gateway, secretOf("edwards"))
		n, after := r.applied()
		if n != 2 || after.Config != before.Config || after.Endpoints != before.Endpoints || after.Trust != before.Trust {
			t.Errorf("%d generations; a rotation must leave the other families as they are", n)
		}
		if after.Secrets == before.Secrets || r.served().Pair == nil {
			t.Error("the secret was not rotated")
		}
		if r.logged("secret was rotated", "istio-system/cert", "default/gw/https", r.served().Pair.Fingerprint) != 1 {
			t.Errorf("the rotation is not in the log:\n%s", r.text())
		}
		if r.generation(1).Security {
			t.Error("a rotation withdraws nothing")
		}
	})
}

func TestDeletedSecretServesForTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		r.publish(gateway)
		if c := r.served(); c.Pair == nil || !c.Withdrawn {
			t.Fatalf("within the grace: %+v", c)
		}
		if r.logged("secret was deleted", "istio-system/cert") != 1 {
			t.Errorf("the deletion is not in the log:\n%s", r.text())
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if c := r.served(); c.Pair == nil {
			t.Fatal("the grace ended too early")
		}
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if c := r.served(); c.Pair != nil || c.Code != diag.CredentialWithdrawn {
			t.Fatalf("after the grace: %+v", c)
		}
		if r.logged("secret is gone", "code=HK2301") != 1 {
			t.Errorf("the end of the grace is not in the log:\n%s", r.text())
		}
		r.publish(gateway, mixed)
		if c := r.served(); c.Pair != nil {
			t.Error("a broken secret brought the withdrawn pair back")
		}
		r.publish(gateway, secretOf("edwards"))
		if c := r.served(); c.Pair == nil || c.Withdrawn || r.logged("secret is there") != 1 {
			t.Errorf("recreated: %+v\n%s", c, r.text())
		}
	})
}

func TestSecretRecreatedWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		for range 3 {
			r.publish(gateway)
			time.Sleep(9 * time.Second)
			r.publish(gateway, secretOf("httpbin"))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if c := r.served(); c.Pair == nil || c.Withdrawn {
			t.Errorf("%+v", c)
		}
		if n := r.logged("secret was deleted"); n != 3 {
			t.Errorf("%d graces began, want 3", n)
		}
	})
}

func TestSecretOfTheGatewaysNamespaceHasAGraceToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := strings.ReplaceAll(secretOf("httpbin"), "namespace: istio-system", "namespace: default")
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, own)
		r.publish(gateway)
		if c := r.served(); c.Pair == nil || !c.Withdrawn {
			t.Fatalf("within the grace: %+v", c)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if c := r.served(); c.Code != diag.CredentialWithdrawn {
			t.Fatalf("after the grace: %+v", c)
		}
	})
}

// A broken pair is the exception of decision 3: it serves its last good version until it is mended.
func TestBrokenPairServesItsLastGoodVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		good := r.served().Pair.Fingerprint
		r.publish(gateway, mixed)
		time.Sleep(time.Hour)
		synctest.Wait()
		if c := r.served(); c.Pair == nil || c.Pair.Fingerprint != good || c.Withdrawn {
			t.Errorf("%+v", c)
		}
		if len(Failed(r.loop.State().Diagnostics)) == 0 {
			t.Error("nothing is said of the broken secret")
		}
		r.publish(gateway)
		if c := r.served(); c.Pair == nil || !c.Withdrawn {
			t.Errorf("broken, then deleted: %+v", c)
		}
	})
}

func TestSecretMissingFromTheStartIsNeverServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway)
		if c := r.served(); c.Pair != nil || c.Code != diag.CredentialMissing {
			t.Errorf("%+v", c)
		}
		r.publish(gateway, mixed)
		if c := r.served(); c.Pair != nil {
			t.Errorf("%+v", c)
		}
	})
}

func TestCAHasNoGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mutual := strings.Replace(gateway, "mode: SIMPLE", "mode: MUTUAL", 1)
		withCA := strings.Replace(secretOf("httpbin"), "\ndata: {", "\ndata: {ca.crt: \"${ca.crt}\", ", 1)
		r := start(t, Options{})
		defer r.end()
		r.publish(mutual, withCA)
		_, s := r.applied()
		auth := s.Config.Listeners[0].Chains[0].TLS.ClientAuth
		if auth.Mode != ir.ClientAuthRequire || s.Trust.ByRef[auth.Trust].Bundle == nil {
			t.Fatalf("%+v, %+v", auth, s.Trust.ByRef[auth.Trust])
		}
		r.publish(mutual, secretOf("httpbin"))
		n, s := r.applied()
		auth = s.Config.Listeners[0].Chains[0].TLS.ClientAuth
		if b := s.Trust.ByRef[auth.Trust]; auth.Mode != ir.ClientAuthRequire || b != nil && b.Bundle != nil {
			t.Errorf("the CA is gone, but clients are judged by %+v %+v", auth, b)
		}
		if !r.generation(n - 1).Security {
			t.Error("withdrawing a CA is a change of security")
		}
	})
}

func TestRefusedPortIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Wait: true})
		defer r.end()
		r.set(func() { r.refuse = true })
		r.publish(gateway, secretOf("httpbin"))
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if r.tries() != 2 {
			t.Fatalf("%d tries after 5 s, want 2", r.tries())
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if r.tries() < 10 || r.tries() > 20 {
			t.Errorf("%d tries in ten minutes", r.tries())
		}
		if n := r.logged("listener does not serve"); n != 1 {
			t.Errorf("%d lines about one refused port", n)
		}
		r.set(func() { r.refuse = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := r.loop.State(); !st.Usable() {
			t.Fatal("the port is free and does not serve")
		}
		if r.logged("msg=applied") != 2 {
			t.Errorf("log:\n%s", r.text())
		}
		n := r.tries()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if r.tries() != n {
			t.Error("a listener that serves is applied again")
		}
	})
}

func TestFailedPrepareIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		r.set(func() { r.fail = errors.New("no memory") })
		r.publish(gateway, secretOf("edwards"))
		if n, _ := r.applied(); n != 1 {
			t.Fatal("a failed generation counts as applied")
		}
		r.set(func() { r.fail = nil })
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n, _ := r.applied(); n != 2 {
			t.Error("the generation was not tried again")
		}
	})
}

func TestNoListenerEndsTheStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		text   string
		refuse bool
	}{{"nothing declared", "", false}, {"nothing bound", gateway, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, Options{})
				r.set(func() { r.refuse = c.refuse })
				r.publish(c.text)
				if err := <-r.done; !errors.Is(err, ErrNoListener) {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

func TestWaitStaysWithoutAListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Wait: true})
		defer r.end()
		r.publish("")
		time.Sleep(time.Minute)
		r.publish(gateway, secretOf("httpbin"))
		if st := r.loop.State(); !st.Usable() {
			t.Error("the listener that came later does not serve")
		}
	})
}

// Only the first set may end the process: later ones keep what serves, or wait.
func TestLaterSetWithoutListenerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		r.publish("")
		if n, s := r.applied(); n != 2 || len(s.Config.Listeners) != 0 {
			t.Errorf("%d generations: deleted objects go on serving", n)
		}
	})
}

func TestDiagnosticsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		for range 3 {
			r.publish(gateway)
		}
		if n := r.logged("code=HK5104"); n != 1 {
			t.Fatalf("a finding was logged %d times", n)
		}
		r.publish(gateway, secretOf("httpbin"))
		r.publish(gateway)
		if n := r.logged("code=HK5104"); n != 2 {
			t.Errorf("a finding that went and came back was logged %d times, want 2", n)
		}
	})
}

func TestObjectThatBrokeServesItsLastGoodVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		broken := strings.Replace(gateway, "hosts: [httpbin.example.com], tls", "hoosts: [httpbin.example.com], tls", 1)
		for range 2 {
			r.publish(broken, secretOf("edwards"))
			st := r.loop.State()
			if len(st.Kept) != 1 || st.Kept[0].Name != "gw" || !st.Usable() {
				t.Fatalf("kept %v", st.Kept)
			}
		}
		if n, _ := r.applied(); n != 2 || r.logged("last good version goes on serving", "name=gw") == 0 {
			t.Error("the rest of the reload was not applied, or nothing was said")
		}
		r.publish(strings.Replace(gateway, "hosts: [httpbin.example.com], tls", "hosts: [new.example.com], tls", 1), secretOf("edwards"))
		_, s := r.applied()
		if st := r.loop.State(); len(st.Kept) != 0 || s.Config.Listeners[0].Chains[0].Hosts[0].String() != "new.example.com" {
			t.Errorf("the mended object does not serve; kept %v", st.Kept)
		}
	})
}

func TestCertificateFilesAreWatched(t *testing.T) {
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(certName, keyName string) {
		t.Helper()
		c, _ := golden.Certificate(certName)
		_, k := golden.Certificate(keyName)
		if err := errors.Join(os.WriteFile(crt, c, 0o600), os.WriteFile(key, k, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("httpbin", "httpbin")
	text := strings.Replace(gateway, "credentialName: cert", "serverCertificate: "+crt+", privateKey: "+key, 1)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(text)
		first := r.served().Pair.Fingerprint
		look := func() *ir.Credential {
			time.Sleep(filesEvery + time.Second)
			synctest.Wait()
			return r.served()
		}
		look()
		if r.tries() != 1 {
			t.Fatalf("files that did not change were applied %d times", r.tries())
		}
		write("edwards", "edwards")
		second := look()
		if second.Pair.Fingerprint == first {
			t.Error("the new certificate does not serve")
		}
		write("edwards", "httpbin")
		if c := look(); c.Pair == nil || c.Pair.Fingerprint != second.Pair.Fingerprint {
			t.Errorf("a pair that does not fit serves its last good version, not %+v", c)
		}
		os.Remove(key)
		if c := look(); c.Pair == nil || !c.Withdrawn {
			t.Errorf("a deleted file has the grace of a secret: %+v", c)
		}
		time.Sleep(10 * time.Second)
		if c := look(); c.Pair != nil || c.Code != diag.CredentialWithdrawn {
			t.Errorf("after the grace: %+v", c)
		}
		write("httpbin", "httpbin")
		if c := look(); c.Pair == nil || c.Pair.Fingerprint != first {
			t.Errorf("recreated: %+v", c)
		}
	})
}

func TestCertificatesAreJudgedAgainAsTheyAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		r := start(t, Options{Lint: func(_ *ir.Snapshot, now time.Time) []diag.Diagnostic {
			if now.Sub(begin) < 90*time.Minute {
				return nil
			}
			return []diag.Diagnostic{diag.New(diag.CertExpiresSoon, diag.Object{Kind: "Secret", Namespace: "istio-system", Name: "cert"}, "", "expires soon", "Renew it.")}
		}})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		if n := r.logged("code=HK5504"); n != 1 {
			t.Errorf("the finding was logged %d times", n)
		}
		if r.tries() != 1 {
			t.Error("judging applies nothing")
		}
	})
}

// second is another Gateway, on another port.
const second = `
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw2, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com, httpbin.example.com]}]
`

func TestApplyNamesAddressesAndHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		if r.logged("msg=listening", "listener=", "address=127.0.0.1:443", "hosts=1") != 1 || r.logged("msg=applied", "listeners=1", "hosts=1", "127.0.0.1:443") != 1 {
			t.Errorf("start\n%s", r.text())
		}
		r.publish(gateway, secretOf("httpbin"), second)
		if r.logged("msg=listening") != 2 || r.logged("msg=listening", "hosts=2") != 1 || r.logged("msg=applied", "listeners=2", "hosts=2") != 1 ||
			r.logged("hosts are new", "a.example.com", "httpbin.example.com") != 1 {
			t.Errorf("a second listener\n%s", r.text())
		}
		r.set(func() { r.refuse = true })
		r.publish(strings.Replace(gateway, "example.com], tls", "example.org], tls", 1), secretOf("httpbin"), second)
		if r.logged("hosts are served no longer", "[httpbin.example.com]") != 1 || r.logged("hosts are new", "[httpbin.example.org]") != 1 || r.logged("msg=applied", "listeners=0", "hosts=0") != 1 {
			t.Errorf("renamed and refused\n%s", r.text())
		}
		r.set(func() { r.refuse = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.logged("msg=listening") != 4 {
			t.Errorf("a listener that could be bound at last is news\n%s", r.text())
		}
	})
}
