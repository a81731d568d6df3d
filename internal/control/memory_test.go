package control

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// misspelt is the secret of gateway as no YAML parser takes it for one.
const misspelt = `
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
type: kubernetes.io/tls
daata: {}
`

func codes(ds []diag.Diagnostic) map[diag.Code]bool {
	m := map[diag.Code]bool{}
	for _, d := range ds {
		m[d.Code] = true
	}
	return m
}

func TestBrokenSecretIsToldOnceAndMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		good := r.served().Pair.Fingerprint
		for range 3 {
			r.publish(gateway, mixed)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
		}
		st := r.loop.State()
		if len(st.Broken) != 1 || st.Broken[0].Ref != "istio-system/cert" || st.Broken[0].Fingerprint != good || st.Broken[0].Users[0] != "default/gw/https" {
			t.Fatalf("%+v", st.Broken)
		}
		if n := r.logged("level=WARN", "secret is broken, its last good certificate goes on serving", "secret=istio-system/cert", good, "default/gw/https", "code="+st.Broken[0].Code.String()); n != 1 {
			t.Errorf("told %d times\n%s", n, r.text())
		}
		r.publish(gateway, secretOf("edwards"))
		if st := r.loop.State(); len(st.Broken) != 0 || r.logged("secret is mended", "istio-system/cert", r.served().Pair.Fingerprint) != 1 {
			t.Errorf("%+v\n%s", st.Broken, r.text())
		}
	})
}

func TestSecretThatComesBackIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		r.publish(gateway)
		time.Sleep(9 * time.Second)
		r.publish(gateway, secretOf("httpbin"))
		if n := r.logged("secret is there again", "istio-system/cert"); n != 1 {
			t.Errorf("told %d times\n%s", n, r.text())
		}
		r.publish(gateway)
		r.publish(gateway, mixed)
		if r.logged("secret is mended") != 0 || r.logged("secret is broken") != 1 {
			t.Errorf("created again and broken\n%s", r.text())
		}
		time.Sleep(time.Minute)
		r.publish(gateway)
		if c := r.served(); c.Pair == nil || !c.Withdrawn {
			t.Errorf("a second deletion has a grace of its own: %+v", c)
		}
	})
}

// A second break, by syntax, must not repeat what was wrong in a text that is gone.
func TestSecondBreakBySyntaxForgetsTheFirst(t *testing.T) {
	withCA := func(s string) string { return strings.Replace(s, "\ndata: {", "\ndata: {ca.crt: \"${ca.crt}\", ", 1) }
	synctest.Test(t, func(t *testing.T) {
		mutual := strings.Replace(gateway, "mode: SIMPLE", "mode: MUTUAL", 1)
		r := start(t, Options{})
		defer r.end()
		r.publish(mutual, withCA(secretOf("httpbin")))
		good := r.served().Pair.Fingerprint
		r.publish(mutual, mixed) // the CA is withdrawn with it
		if found := codes(r.loop.State().Diagnostics); !found[diag.SecretInvalid] {
			t.Fatalf("%v", found)
		}
		for range 2 {
			r.publish(mutual, misspelt)
			st := r.loop.State()
			if found := codes(st.Diagnostics); found[diag.SecretInvalid] || found[diag.KeyMismatch] {
				t.Errorf("stale: %v", st.Diagnostics)
			}
			if len(st.Kept) != 1 || len(st.Broken) != 0 || r.served().Pair == nil || r.served().Pair.Fingerprint != good {
				t.Errorf("kept %v, broken %v, serves %+v", st.Kept, st.Broken, r.served())
			}
			_, s := r.applied()
			for ref, b := range s.Trust.ByRef {
				if b.Bundle != nil {
					t.Errorf("the withdrawn CA %s is back", ref)
				}
			}
		}
		if r.logged("secret is mended")+r.logged("object is mended") != 0 || r.logged("object is broken", "kind=Secret", "cause=", "fix=") != 1 {
			t.Errorf("log\n%s", r.text())
		}
		r.publish(mutual, withCA(secretOf("httpbin")))
		if r.logged("object is mended", "name=cert") != 1 || r.logged("secret is mended") != 0 {
			t.Errorf("log\n%s", r.text())
		}
	})
}

func TestBrokenObjectIsToldOnceAndMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		for range 2 {
			r.publish(strings.Replace(gateway, "selector:", "selecktor:", 1), secretOf("httpbin"))
		}
		if n := r.logged("object is broken, its last good version goes on serving", "name=gw", "at=a.yaml:", "code=HK", "fix="); n != 1 {
			t.Errorf("told %d times\n%s", n, r.text())
		}
		if st := r.loop.State(); st.Reloaded.IsZero() || st.Set == nil || st.Failed != nil {
			t.Errorf("%+v", st)
		}
		r.publish(gateway, secretOf("httpbin"))
		if n, _ := r.applied(); n != 1 || r.logged("object is mended", "name=gw") != 1 {
			t.Errorf("%d generations\n%s", n, r.text())
		}
		r.publish("")
		if r.logged("object is mended") != 1 {
			t.Error("deleted is not mended")
		}
	})
}

func TestGracesNameWhatIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		defer r.end()
		r.publish(gateway, secretOf("httpbin"))
		r.publish(gateway, mixed)
		if got := brokenSecrets(mustSnapshot(r), nil); got != nil {
			t.Errorf("%v", got)
		}
		r.publish(strings.Replace(gateway, "credentialName: cert", "credentialName: else", 1), mixed)
		if st := r.loop.State(); len(st.Broken) != 0 || r.logged("secret is mended") != 0 {
			t.Errorf("nobody refers to it any more: %+v\n%s", st.Broken, r.text())
		}
	})
}

func mustSnapshot(r *rig) *ir.Snapshot { _, s := r.applied(); return s }
