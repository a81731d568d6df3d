package compile

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/tlsname"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/gatewayapi"
	"github.com/hakone-gateway/hakone/internal/translate/istio"
	"github.com/hakone-gateway/hakone/internal/translate/native"
	"github.com/hakone-gateway/hakone/test/golden"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/*.txtar")

// TestGolden reads each testdata/*.txtar: a sentence on the rule, *.yaml, optionally a section
// "floor" (TLS_MIN_VERSION), and the snapshot and diagnostics that translators and Compile make of it.
func TestGolden(t *testing.T) {
	golden.Run(t, *update, 10, []string{"snapshot", "diagnostics"}, func(t *testing.T, c golden.Case) map[string]string {
		var floor uint16
		texts := map[string]string{}
		for name, text := range c.Inputs {
			switch {
			case name == "floor":
				floor, _ = tlsname.ParseVersion(strings.TrimSpace(text))
			case strings.HasSuffix(name, ".yaml"):
				texts[name] = text
			default:
				t.Errorf("section %q is of no use", name)
			}
		}
		set, bad := manifest.Set(texts)
		for _, d := range bad {
			t.Errorf("the input is at fault: %s", d)
		}
		s, ds := compileSet(set, floor, nil)
		again, _ := compileSet(set, floor, func(f []*translate.Fragment) { slices.Reverse(f) })
		if dumpOf(t, s) != dumpOf(t, again) {
			t.Error("the order of fragments changes the snapshot")
		}
		got := map[string]string{"snapshot": brief(s)}
		for _, d := range set.Place(ds) {
			if d.Severity > diag.Info {
				got["diagnostics"] += d.String() + "\n"
			}
		}
		return got
	})
}

// compileSet runs the translators and Compile; arrange may reorder the fragments.
func compileSet(set *resource.Set, floor uint16, arrange func([]*translate.Fragment)) (*ir.Snapshot, []diag.Diagnostic) {
	ctx := translate.Context{
		Labels: map[string]string{"istio": "ingressgateway"}, Namespace: "istio-system", ClusterDomain: "cluster.local",
		AssumeClasses: []string{"istio", "hakone"}, ControllerName: "hakone.dev/gateway-controller",
		EndpointFlags: map[string][]string{"web.default:80": {"127.0.0.1:8000"}},
	}
	gateway, _ := gatewayapi.Translate(set, ctx, nil)
	fragments := []*translate.Fragment{istio.Translate(set, ctx, nil), gateway, native.Translate(set, ctx, nil)}
	if arrange != nil {
		arrange(fragments)
	}
	return Compile(Input{Fragments: fragments, MinVersion: floor})
}

func dumpOf(t testing.TB, s *ir.Snapshot) string {
	t.Helper()
	b, err := json.Marshal(s.Dump())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// brief writes what Compile decides, and leaves out what translators do. Classes are numbered in the
// order of their appearance.
func brief(s *ir.Snapshot) string {
	var b strings.Builder
	classes := map[ir.Revision]int{}
	settings := func(x *ir.TLS) string {
		if classes[x.Class] == 0 {
			classes[x.Class] = len(classes) + 1
		}
		text := fmt.Sprintf("TLS %s to %s, class %d", tlsname.Version(x.MinVersion), tlsname.Version(x.MaxVersion), classes[x.Class])
		for _, id := range x.CipherSuites {
			text += " " + tlsname.Suite(id)
		}
		for _, id := range x.Groups {
			text += " " + id.String()
		}
		text = fmt.Sprintf("%s, %v, clients %s %s", text, x.Certificates, x.ClientAuth.Mode, x.ClientAuth.Trust)
		if a := x.ClientAuth; a.Policies != nil {
			text += fmt.Sprintf("%v", a.Policies)
			if a.Reject != "" {
				text += " reject " + string(a.Reject)
			}
		}
		return text
	}
	for _, l := range s.Config.Listeners {
		fmt.Fprintf(&b, "listener %s TLS %t", l.Name, l.TLS)
		if l.Forward != nil {
			fmt.Fprintf(&b, " %s of forward proxy %s", l.Forward.Mode, l.Forward.Policy)
		}
		b.WriteByte('\n')
		for _, c := range l.Chains {
			fmt.Fprintf(&b, "  chain %s %v\n", c.Name, c.Hosts)
			if c.TLS != nil {
				fmt.Fprintf(&b, "    %s\n", settings(c.TLS))
			}
			for _, h := range c.HostTLS {
				fmt.Fprintf(&b, "    %s: %s\n", h.Host, settings(h.TLS))
			}
			for _, a := range c.Access {
				fmt.Fprintf(&b, "    access %s%s", a.Host, a.Path)
				if a.Route != nil {
					fmt.Fprintf(&b, " of %s %s", a.Route.Object, a.Route.Section)
					for _, p := range a.Route.Paths {
						fmt.Fprintf(&b, " also %s", p.Path)
					}
				}
				if len(a.Except) > 0 {
					fmt.Fprintf(&b, " but %v", a.Except)
				}
				fmt.Fprintf(&b, ": %s\n", a.Policy)
			}
			for _, vh := range c.VirtualHosts {
				for _, r := range vh.Routes {
					fmt.Fprintf(&b, "    route %v %s", vh.Hosts, r.Name)
					if r.Cache != nil {
						b.WriteString(" kept by " + r.Cache.Name)
					}
					b.WriteByte('\n')
					for _, to := range r.Forward {
						for _, v := range to.Pull {
							fmt.Fprintf(&b, "      %s for %s\n", v.Upstream, v.Host)
						}
					}
				}
			}
		}
	}
	for _, u := range s.Config.Upstreams {
		fmt.Fprintf(&b, "upstream %s %s", u.Name, u.Protocol)
		if u.GRPCWeb {
			b.WriteString(" gRPC-Web")
		}
		if u.Origins != nil && u.Origins.Fallback != "" {
			b.WriteString(", else " + u.Origins.Fallback)
		}
		if u.Origins != nil && u.TLS != nil {
			fmt.Fprintf(&b, ", presents %q to %d", u.TLS.Certificate, len(s.Endpoints.ByUpstream[u.Name]))
		}
		if u.Via != nil {
			fmt.Fprintf(&b, " via %v", u.Via.Proxies)
		}
		if u.TLS != nil && u.TLS.Interceptors != nil {
			fmt.Fprintf(&b, " interceptors %v", u.TLS.Interceptors)
		}
		b.WriteByte('\n')
	}
	for _, p := range s.Config.Proxies {
		fmt.Fprintf(&b, "proxy %s %v", p.Name, p.Hosts)
		if p.Fault != nil {
			b.WriteString(": " + p.Fault.Detail)
		}
		b.WriteByte('\n')
	}
	for _, f := range s.Config.Forwards {
		fmt.Fprintf(&b, "forward %s known only %t %d", f.Name, f.KnownOnly, len(f.Known))
		if f.Interception != nil {
			fmt.Fprintf(&b, " leaves: %s", settings(&f.Interception.TLS))
		}
		fmt.Fprintf(&b, " interceptors %v\n", f.Template.TLS.Interceptors)
		for _, k := range f.Known {
			fmt.Fprintf(&b, "  knows %s %d %s of %s\n", k.Host, k.Port, k.Upstream, k.Origin.Object)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(s.Secrets.Logins)) {
		fmt.Fprintf(&b, "login %s\n", ref)
	}
	for _, ref := range slices.Sorted(maps.Keys(s.Secrets.Passwords)) {
		fmt.Fprintf(&b, "passwords %s\n", ref)
	}
	for _, ref := range slices.Sorted(maps.Keys(s.Secrets.ByRef)) {
		if c := s.Secrets.ByRef[ref]; c.Pair == nil {
			fmt.Fprintf(&b, "secret %s: %s %s\n", ref, c.Code, c.Detail)
		} else {
			fmt.Fprintf(&b, "secret %s\n", ref)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(s.Trust.ByRef)) {
		fmt.Fprintf(&b, "trust %s\n", ref)
	}
	return b.String()
}
