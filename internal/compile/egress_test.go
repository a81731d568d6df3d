package compile

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/test/golden"
)

// wayOut is a proxy, a pool behind it and a forward proxy; %CA% is the CA that the proxy intercepts with.
const wayOut = `apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: corp, namespace: egress}
spec: {urls: ["https://192.0.2.1:3128"], hosts: ["*"], interception: {caRef: {name: corp-ca}}, credentialsRef: {name: login}}
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: p, namespace: egress}
spec: {tls: {}, origins: [{name: a, address: a.example.com}]}
---
apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: h, namespace: egress}
spec: {hosts: [h.example.net], certificateRefs: [{name: cert}], poolRef: {name: p}}
---
apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: out, namespace: egress}
spec: {listeners: [{name: a, port: 3128, bind: 127.0.0.1}], authentication: {htpasswdRef: {name: users}}}
---
apiVersion: v1
kind: Secret
metadata: {name: corp-ca, namespace: egress}
data: {ca.crt: "${%CA%.crt}"}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: egress}
stringData: {username: u, password: "%PASSWORD%"}
---
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: egress}
stringData: {auth: "carl:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: egress}
data: {tls.crt: "${httpbin.crt}", tls.key: "${httpbin.key}"}
`

// A CA or password that changes is no change of routes and upstreams: only of trust or of secrets.
func TestChangedCAsAndLoginsLeaveTheConfigAlone(t *testing.T) {
	compiled := func(ca, password string) map[string]string {
		set, bad := manifest.Set(map[string]string{"a.yaml": golden.Fill(strings.NewReplacer("%CA%", ca, "%PASSWORD%", password).Replace(wayOut))})
		if len(bad) != 0 {
			t.Fatal(bad)
		}
		s, ds := compileSet(set, 0, nil)
		if len(ds) != 0 {
			t.Fatal(ds)
		}
		if text := dumpOf(t, s); strings.Contains(text, password) || strings.Contains(text, "W6ph5Mm5") {
			t.Error("the dump holds a password or hash")
		}
		return map[string]string{"config": string(s.Config.Revision), "secrets": string(s.Secrets.Revision), "trust": string(s.Trust.Revision), "all": string(s.Hash())}
	}
	first, ca, password := compiled("one-ca", "first-password"), compiled("two-ca", "first-password"), compiled("one-ca", "second-password")
	for _, c := range []struct {
		next    map[string]string
		changes string
	}{{ca, "trust"}, {password, "secrets"}} {
		for part := range first {
			if changed := first[part] != c.next[part]; changed != (part == c.changes || part == "all") {
				t.Errorf("a change of %s: %s changed %t", c.changes, part, changed)
			}
		}
	}
}
