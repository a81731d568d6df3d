package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/egress"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

func egressReport(now time.Time) *admin.Egress {
	l := egress.New(egress.Options{})
	event := func(ago time.Duration, e telemetry.EgressEvent) {
		e.Time, e.Host, e.Port = now.Add(-ago), "www.example.com", 443
		l.Egress(&e)
	}
	event(time.Hour, telemetry.EgressEvent{Decision: "bump", Rule: "ssl_bump rule 2 (bump all)"})
	event(time.Minute, telemetry.EgressEvent{Proxy: "corp/squid", Subject: "CN=www.example.com", Issuer: "CN=Company CA", IssuerKey: "aa", Intercepted: true})
	event(3*time.Second, telemetry.EgressEvent{Proxy: "corp/squid", Subject: "CN=www.example.com", Issuer: "CN=Mallory", IssuerKey: "bb", Code: diag.InterceptionUnknownCA, Detail: "not signed by it"})
	until := now.Add(4 * time.Second)
	return &admin.Egress{Report: l.Report("", now), Proxies: []upstream.ProxyStatus{{Name: "corp/squid", Intercept: true, Addresses: []upstream.ProxyAddressStatus{
		{Address: "10.0.0.8:3128", Healthy: true, Open: 2, Connects: 7, Failures: map[diag.Code]int64{diag.ProxyDenied: 1, diag.ProxyTimeout: 2}},
		{Address: "proxy.corp.example:8443", TLS: true, Code: diag.ProxyUnreachable, Detail: "nothing listens", Until: &until},
	}}}}
}

func TestWriteEgress(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	writeEgress(&out, egressReport(now))
	want := `PROXY       ADDRESS                          HEALTH   PROBED  OPEN  CONNECTS  FAILURES  REASON
corp/squid  http://10.0.0.8:3128             healthy  -       2     7         3         -
corp/squid  https://proxy.corp.example:8443  out      -       0     0         0         HK3308 nothing listens (asked again in 4s)

HOST                 HERE    BY          ON THE WAY  ISSUER      GOOD  FAILED  LAST    LAST FAILURE
www.example.com:443  bumped  corp/squid  bumped      CN=Mallory  1     1       3s ago  HK3322 interception_unknown_ca

! HK6030 egress_issuer_changed: www.example.com, through corp/squid (3s ago, 0 more)
  the certificate is issued by "CN=Mallory" (key bb), until now by "CN=Company CA" (key aa); it was refused: HK3322 interception_unknown_ca
`
	if got := squeeze(out.String()); !strings.HasPrefix(got, squeeze(want)) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	writeEgress(&out, &admin.Egress{Report: egress.New(egress.Options{}).Report("", now)})
	if out.String() != "no destination outside has been asked for\n" {
		t.Error(out.String())
	}
}

func TestWriteEgressStory(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	writeEgressStory(&out, egressReport(now))
	for _, want := range []string{
		"www.example.com:443  (first seen 1h0m0s ago, last 3s ago)", "bumped by ssl_bump rule 2 (bump all), 1 times", "through corp/squid, bumped, 1 good, 1 failed",
		"CN=Mallory, key sha256:bb, refused", "CN=Company CA, key sha256:aa, accepted by the proxy's interception CA", "HK3322 interception_unknown_ca through corp/squid, 1 times", "fix: Put the proxy's present CA",
		"http://10.0.0.8:3128", "! HK6030",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestStoryOfAProxy(t *testing.T) {
	var out bytes.Buffer
	raw := `{"requests":[{"ts":"t","kind":"request","id":"x","method":"GET","scheme":"https","host":"a.example","target":"/","status":200,"upstream":"u","proxy":"corp/squid","proxy_address":"10.0.0.8:3128","connect_status":200,"inner_subject":"CN=a.example","inner_issuer":"CN=Company CA","intercepted":true}],
	 "handshakes":[{"ts":"t","kind":"handshake","side":"upstream","listener":"out","proxy":"corp/squid","sni":"a.example","tls":"1.3","client_subject":"CN=a.example","issuer":"CN=Company CA"}]}`
	if err := writeStory(&out, []byte(raw), "text"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"corp/squid, at 10.0.0.8:3128, answered CONNECT with 200", "certificate CN=a.example, issued by CN=Company CA, made by the proxy", "TLS with out through the proxy corp/squid"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
