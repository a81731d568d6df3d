package egress

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func shown(proxy, issuer, key string, intercepted bool, code diag.Code) *telemetry.EgressEvent {
	return &telemetry.EgressEvent{Time: start, Host: "www.example.com", Port: 443, Proxy: proxy, Subject: "CN=www.example.com", Issuer: issuer, IssuerKey: key, Intercepted: intercepted, Code: code, Detail: "because"}
}

// codes lists the alerts of a ledger, the oldest first, each with how often it was met.
func codes(l *Ledger, now time.Time) (out []string) {
	for _, a := range slices.Backward(l.Report("", now).Alerts) {
		out = append(out, fmt.Sprintf("%d×%d", a.Code, a.Count))
	}
	return out
}

func TestAlerts(t *testing.T) {
	const company, public = "CN=Company CA", "CN=R10,O=Public"
	cases := []struct {
		name   string
		events []*telemetry.EgressEvent
		want   []string
	}{
		{"the same issuer", []*telemetry.EgressEvent{shown("p", company, "a", true, 0), shown("p", company, "a", true, 0)}, nil},
		{"another issuer", []*telemetry.EgressEvent{shown("", public, "a", false, 0), shown("", "CN=R11,O=Public", "b", false, 0), shown("", "CN=R11,O=Public", "b", false, 0)}, []string{"6030×1"}},
		{"there and back", []*telemetry.EgressEvent{shown("", public, "a", false, 0), shown("", "CN=R11", "b", false, 0), shown("", public, "a", false, 0), shown("", "CN=R11", "b", false, 0)}, []string{"6030×1"}},
		{"another key of the same name", []*telemetry.EgressEvent{shown("p", company, "a", true, 0), shown("p", company, "b", true, 0)}, []string{"6030×1"}},
		{"another way", []*telemetry.EgressEvent{shown("p", company, "a", true, 0), shown("", public, "b", false, 0)}, nil},
		{"refused, of another issuer", []*telemetry.EgressEvent{shown("p", company, "a", true, 0), shown("p", "CN=Mallory", "m", false, diag.InterceptionUnknownCA)}, []string{"6030×1"}},
		{"refused, and only the name is known", []*telemetry.EgressEvent{shown("p", company, "a", true, 0), shown("p", company, "n", false, diag.InterceptionExpired)}, nil},
		{"not intercepted any more", []*telemetry.EgressEvent{shown("p", company, "a", true, 0), shown("p", public, "b", false, 0)}, []string{"6030×1", "6031×1"}},
		{"intercepted now", []*telemetry.EgressEvent{shown("p", public, "b", false, 0), shown("p", company, "a", true, 0)}, []string{"6030×1", "6032×1"}},
		{"missing", []*telemetry.EgressEvent{shown("p", public, "b", false, diag.InterceptionMissing), shown("p", public, "b", false, diag.InterceptionMissing)}, []string{"6031×2"}},
		{"unexpected", []*telemetry.EgressEvent{shown("", company, "a", false, diag.UnexpectedInterception)}, []string{"6032×1"}},
		{"no TLS", []*telemetry.EgressEvent{shown("p", "", "", false, diag.ProxyDenied), shown("p", "", "", false, 0)}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			l := New(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			for _, e := range c.events {
				l.Egress(e)
			}
			if got := codes(l, start); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			if n := strings.Count(log.String(), "egress alert"); n != len(c.want) {
				t.Errorf("%d lines of log:\n%s", n, &log)
			}
			n := int64(0)
			for _, m := range l.Counts(start).Raised {
				n += m
			}
			if n != int64(len(c.want)) {
				t.Errorf("%d counted", n)
			}
		})
	}
}

func TestAlertsEnd(t *testing.T) {
	l := New(Options{Keep: time.Hour})
	l.Egress(shown("", "CN=A", "a", false, 0))
	l.Egress(shown("", "CN=B", "b", false, 0))
	if l.Acknowledge("other.example") != 0 || l.Acknowledge("WWW.example.com") != 1 || codes(l, start) != nil {
		t.Error("not acknowledged")
	}
	l.Egress(shown("", "CN=B", "b", false, 0)) // expected now
	if codes(l, start) != nil {
		t.Error("an issuer that was acknowledged alarms again")
	}
	l.Egress(shown("", "CN=C", "c", false, 0))
	if len(codes(l, start.Add(time.Hour))) != 1 || len(codes(l, start.Add(time.Hour+1))) != 0 {
		t.Error("it is not kept for an hour")
	}
	if c := l.Counts(start.Add(2 * time.Hour)); c.Open[diag.EgressIssuerChanged] != 0 || c.Raised[diag.EgressIssuerChanged] != 2 || c.Hosts != 1 {
		t.Errorf("%+v", c)
	}
}

func TestReport(t *testing.T) {
	l := New(Options{})
	l.Egress(&telemetry.EgressEvent{Time: start, Host: "B.example", Port: 443, Decision: "bump", Rule: "ssl_bump rule 2 (bump all)"})
	l.Egress(&telemetry.EgressEvent{Time: start.Add(time.Second), Host: "b.example", Port: 443, Decision: "bump", Rule: "ssl_bump rule 2 (bump all)"})
	l.Egress(&telemetry.EgressEvent{Time: start, Host: "b.example", Port: 443, Decision: "splice", Rule: "ssl_bump rule 1"})
	l.Egress(&telemetry.EgressEvent{Time: start, Host: "a.example", Port: 443, Proxy: "p", Code: diag.ProxyDenied, Detail: "403"})
	l.Egress(&telemetry.EgressEvent{Host: ""})
	r := l.Report("", start)
	if len(r.Hosts) != 2 || r.Hosts[0].Name != "a.example" || len(r.Hosts[1].Decisions) != 2 || r.Hosts[1].Decisions[0].Decision != "splice" || r.Hosts[1].Decisions[1].Count != 2 {
		t.Errorf("%+v", r.Hosts)
	}
	if f := r.Hosts[0].Failures; len(f) != 1 || f[0].Slug != "proxy_denied" || f[0].Fix == "" || r.Hosts[0].Ways[0].Failed != 1 {
		t.Errorf("%+v", f)
	}
	if one := l.Report("B.Example", start); len(one.Hosts) != 1 {
		t.Errorf("%+v", one.Hosts)
	}
}

// TestBounds: nothing grows beyond its bound, whatever peers make up.
func TestBounds(t *testing.T) {
	l := New(Options{Hosts: 100})
	long := strings.Repeat("x", 10_000)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 400 {
				e := shown(fmt.Sprint("p", i%40), fmt.Sprint(long, i), fmt.Sprint("k", g, i), i%2 == 0, diag.Code(3301+i%13)*diag.Code(i%3))
				e.Host, e.Detail = fmt.Sprint("h", i%300, ".example"), long
				l.Egress(e)
				l.Egress(&telemetry.EgressEvent{Time: start, Host: e.Host, Port: 443, Decision: "bump", Rule: fmt.Sprint(i)})
			}
		})
	}
	all.Wait()
	r := l.Report("", start)
	if len(r.Hosts) > 100 || len(r.Alerts) > maxAlerts || r.Lost == 0 {
		t.Errorf("%d hosts, %d alerts, %d lost", len(r.Hosts), len(r.Alerts), r.Lost)
	}
	for _, h := range r.Hosts {
		if len(h.Decisions) > maxDecisions || len(h.Issuers) > maxIssuers || len(h.Ways) > maxIssuers || len(h.Failures) > maxFailures {
			t.Fatalf("%d %d %d %d", len(h.Decisions), len(h.Issuers), len(h.Ways), len(h.Failures))
		}
		for _, i := range h.Issuers {
			if len(i.Issuer) > maxText {
				t.Fatal("a name is not cut")
			}
		}
	}
	for _, a := range r.Alerts {
		if len(a.Detail) > maxText {
			t.Fatal("a detail is not cut")
		}
	}
}
