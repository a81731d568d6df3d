package gatewayapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/test/golden"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden reads each testdata/*.txtar: a sentence on the rule with a link to the specification,
// input.yaml, and what comes of it. Placeholders such as ${httpbin.crt} stand for the base64 of
// certificates that are the same in every run. A section "complete" says that the set is all there
// is, as in a cluster.
func TestGolden(t *testing.T) {
	golden.Run(t, *update, 20, []string{"fragment", "status", "diagnostics"}, func(t *testing.T, c golden.Case) map[string]string {
		if !strings.Contains(c.Comment, "https://") {
			t.Error("the golden has no link to the specification")
		}
		ctx := testContext()
		texts := map[string]string{}
		for name, text := range c.Inputs {
			switch {
			case name == "complete":
				ctx.Complete = true
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
		fragment, status := Translate(set, ctx, nil)
		again, _ := Translate(set, ctx, nil)
		got := map[string]string{"fragment": dumpFragment(t, fragment), "status": dumpStatus(status)}
		if got["fragment"] != dumpFragment(t, again) {
			t.Error("two translations of one set differ")
		}
		for _, d := range fragment.Diagnostics {
			got["diagnostics"] += d.String() + "\n"
		}
		return got
	})
}

func testContext() translate.Context {
	return translate.Context{
		Namespace: "istio-system", AssumeClasses: []string{"istio", "hakone"}, ControllerName: "hakone.dev/gateway-controller",
		EndpointFlags: map[string][]string{"httpbin.default:8000": {"127.0.0.1:8000"}, "helloworld.default:5000": {"127.0.0.1:5000"}},
	}
}

func dumpFragment(t *testing.T, f *translate.Fragment) string {
	var b strings.Builder
	line := func(format string, v any) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, format, withoutOrigin(data))
	}
	for _, l := range f.Listeners {
		fmt.Fprintf(&b, "listener %s on %q port %d, %s %s\n", l.Chain.Name, l.Bind, l.Port, l.Chain.Origin, l.Section)
		line("  hosts %s\n", l.Chain.Hosts)
		if l.Refused != "" {
			fmt.Fprintf(&b, "  refused: %s\n", l.Refused)
			continue
		}
		if l.TLS {
			line("  tls %s\n", l.Chain.TLS)
			fmt.Fprintf(&b, "  client authentication from %s\n", l.Chain.TLS.ClientAuth.Origin)
		}
		for _, v := range l.Chain.VirtualHosts {
			fmt.Fprintf(&b, "  host %s\n", v.Hosts[0])
			for _, r := range v.Routes {
				line("    %s\n", r)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Upstreams)) {
		line("upstream %s", f.Upstreams[name])
		line(" %s\n", f.Endpoints[name])
	}
	for _, ref := range slices.Sorted(maps.Keys(f.Secrets)) {
		c := f.Secrets[ref]
		if c.Pair != nil {
			fmt.Fprintf(&b, "secret %s: %s %s\n", ref, c.Pair.KeyType(), c.Pair.Fingerprint)
		} else {
			fmt.Fprintf(&b, "secret %s: none, %s %s\n", ref, c.Code, c.Detail)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(f.Trust)) {
		c := f.Trust[ref]
		if c.Bundle != nil {
			fmt.Fprintf(&b, "trust %s: %d anchors, %s\n", ref, c.Bundle.Len(), c.Bundle.Digest)
		} else {
			fmt.Fprintf(&b, "trust %s: none, %s %s\n", ref, c.Code, c.Detail)
		}
	}
	return b.String()
}

// withoutOrigin removes origins from JSON: positions in the input say more, and diagnostics show them.
func withoutOrigin(data []byte) string {
	origin := regexp.MustCompile(`"origin":\{"object":\{[^{}]*\}(,"field":"[^"]*")?\},?`)
	return strings.ReplaceAll(origin.ReplaceAllString(string(data), ""), ",}", "}")
}

func dumpStatus(s *Status) string {
	var b strings.Builder
	conditions := func(indent string, list []Condition) {
		for _, c := range list {
			fmt.Fprintf(&b, "%s%s=%t %s %s %s\n", indent, c.Type, c.True, c.Reason, c.Code, c.Message)
		}
	}
	for _, c := range s.Classes {
		fmt.Fprintln(&b, c.Object)
		conditions("  ", []Condition{c.Accepted})
	}
	for _, g := range s.Gateways {
		fmt.Fprintf(&b, "%s %s\n", g.Object, g.Address)
		conditions("  ", g.Conditions)
		for _, l := range g.Listeners {
			fmt.Fprintf(&b, "  listener %s kinds %v attached %d serves %t\n", l.Name, l.SupportedKinds, l.AttachedRoutes, l.Serves)
			conditions("    ", l.Conditions)
		}
	}
	for _, r := range s.Routes {
		fmt.Fprintln(&b, r.Object)
		for _, p := range r.Parents {
			fmt.Fprintf(&b, "  parent %s/%s section %q port %d\n", deref(p.Ref.Namespace), p.Ref.Name, deref(p.Ref.SectionName), deref(p.Ref.Port))
			conditions("    ", p.Conditions)
		}
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}
