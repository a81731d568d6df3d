package authz

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

func pattern(t testing.TB, s string) hostname.Pattern {
	t.Helper()
	p, err := hostname.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// normalise does what the front does to a target; false: it refuses.
func normalise(t testing.TB, target string) ([]byte, bool) {
	t.Helper()
	buf := []byte(target)
	end, path, query, rewrite := semantics.ScanTarget(buf, 0)
	if end != len(buf) || path != 0 {
		return nil, false
	}
	var req message.Request
	if fault := semantics.SetPath(&req, buf, query, rewrite); fault != "" {
		return nil, false
	}
	return bytes.Clone(req.Path), true
}

// chain makes a chain whose rules are given as "POLICY HOST PATH [-EXCEPT…]"; policies whose name begins with
// "open" are Open, those with "cased" distinguish case.
func chain(t testing.TB, rules ...string) (*ir.Chain, []*ir.AccessPolicy) {
	t.Helper()
	c := &ir.Chain{}
	known := map[string]bool{}
	var policies []*ir.AccessPolicy
	for _, line := range rules {
		f := strings.Fields(line)
		r := ir.AccessRule{Policy: f[0], Host: hostname.Any()}
		if f[1] != "*" {
			r.Host = pattern(t, f[1])
		}
		for _, p := range f[2:] {
			if e, ok := strings.CutPrefix(p, "-"); ok {
				r.Except = append(r.Except, e)
			} else {
				r.Path = p
			}
		}
		c.Access = append(c.Access, r)
		if !known[r.Policy] {
			known[r.Policy] = true
			policies = append(policies, &ir.AccessPolicy{Name: r.Policy, Open: strings.HasPrefix(r.Policy, "open"), CaseSensitive: strings.HasPrefix(r.Policy, "cased"), Trust: "none"})
		}
	}
	return c, policies
}

// deciders returns the names of the policies that decide about a path.
func deciders(x *Index, host, path string, route *ir.Route) string {
	list, disguised := x.deciding(nil, &Request{Host: []byte(host), Path: []byte(path), Route: route})
	var out []string
	for _, n := range list {
		out = append(out, x.rules[n].name)
	}
	if disguised {
		out = append(out, "disguised")
	}
	return strings.Join(out, " ")
}

// Whatever an origin would serve as /test1 is decided by the policy of /test1.
func TestPathsThatOriginsReadAsProtected(t *testing.T) {
	c, ps := chain(t, "test1 h.test /test1")
	x := NewIndex(c, ps)
	for _, target := range []string{
		"/test1", "/%74est1", "/%74%65%73%74%31", "//test1", "///test1", "/x/../test1", "/./test1", "/test1;a", "/test1;a=b;c", "/;x/test1", "/test1/", "/test1//",
		"/TEST1", "/Test1/x", "/test1/x", "/test1?a", "/test1/../test1", "/test1/.", "/test1/x/..", "/test1.", "/test1./x", "/test1...", "/test1%20", "/test1%20/x", "/test1.%20",
		"/test1::$DATA", "/test1:$I30:$INDEX_ALLOCATION/x", "/test1%3A$i30:$INDEX_ALLOCATION", "/test1%3A%3A$DATA", "/%2574est1", "/x%252f..%252ftest1", "/x%255c..%255ctest1", "/%252ftest1", "/%255Ctest1", "/test1%252fx", "/test1%255cx", "/test1%3ba",
		"/test1%253ba", "/test1%3Fx", "/test1%23x", "/test1%2500.html", "/te%C5%BFt1", "/%C1%B4est1", "/%25C1%25B4est1", "/%E0%81%B4est1", "/;/test1", "/;a;b/;c/test1;d/e", "/%3b/test1",
		"/test1;a/..%3B", "/test1/..%253Bx", "/%2574est1/..%253Bx", "/test1%c0%afx", "/%252e/test1",
		"/test1%0a", "/test1%250A", "/test1%0d%0a/x", "/x%0a/test1", "/x%250d/test1/y", "/test1%09", "/test1%7f",
	} {
		path, ok := normalise(t, target)
		if !ok {
			t.Errorf("%s is refused by the front, so it shows nothing", target)
			continue
		}
		if got := strings.Fields(deciders(x, "h.test", string(path), nil)); len(got) == 0 || got[0] != "test1" {
			t.Errorf("%s (%s) is decided by %q", target, path, got)
		}
	}
}

// What the front refuses needs no policy.
func TestPathsThatTheFrontRefuses(t *testing.T) {
	for _, target := range []string{"/test1%2f..", "/x/..%2ftest1", "/%2Ftest1", "/x/..;/test1", "/..;a/test1", "/x\\test1", "/%5ctest1", "/test1%00", "/test1%", "/%u0074est1", "/../test1", "/test1#x", "test1"} {
		if path, ok := normalise(t, target); ok {
			t.Errorf("%s passes as %s", target, path)
		}
	}
}

func TestPathsThatAreOpen(t *testing.T) {
	c, ps := chain(t, "test1 h.test /test1")
	x := NewIndex(c, ps)
	for _, target := range []string{"/", "/test10", "/test", "/test1x", "/x/test1", "/test1-", "/testI", "/te/st1", "/test1%2Bx", "/x?/test1", "/te.st1", "/.test1", "/x/../test2", "/test1.html", "/%C3%A9", "/x;/test1/y"} {
		path, ok := normalise(t, target)
		if !ok {
			t.Errorf("%s is refused by the front", target)
			continue
		}
		if got := deciders(x, "h.test", string(path), nil); got != "" {
			t.Errorf("%s (%s) is decided by %q", target, path, got)
		}
	}
	if got := deciders(x, "h.test", "*", nil); got != "" {
		t.Errorf("* is decided by %q", got)
	}
	if got := deciders(x, "other.test", "/test1", nil); got != "" {
		t.Errorf("another host is decided by %q", got)
	}
}

func TestTheMostSpecificDecides(t *testing.T) {
	object := ir.Route{Section: "a"}
	object.Origin.Object.Kind, object.Origin.Object.Name = "HTTPRoute", "r"
	c, ps := chain(t, "deep a.test /api/v1", "open a.test /api/v1/health", "api a.test /api -/api/free", "cased a.test /Case", "wide *.test /api", "wild *.test", "any * -/pub")
	// Chain.Access is ordered: the longest path first.
	c.Access[0], c.Access[1] = c.Access[1], c.Access[0]
	x := NewIndex(c, ps)
	for _, k := range []struct{ host, path, want string }{
		{"a.test", "/api/v1/x", "deep"},
		{"a.test", "/api/v1/health", "open"},
		{"a.test", "/api/v1/HEALTH", "deep open"},   // a case-sensitive origin has another resource there
		{"a.test", "/api/v1/health;x", "deep open"}, // so has one that knows no parameters
		{"a.test", "/api/v1/health/%252e%252e/x", "open deep api cased wide wild any disguised"},
		{"a.test", "/api", "api"},
		{"a.test", "/api/free", "wide"},
		{"a.test", "/api/free%2574", "api"},
		{"a.test", "/api/%2566ree", "api wide"},
		{"a.test", "/Case/x", "cased"},
		{"a.test", "/case/x", "wild"},
		{"a.test", "/other", "wild"},
		{"b.c.test", "/api/x", "wide"},
		{"test", "/x", "any"},
		{"test", "/pub/x", ""},
		{"test", "/PUB/x", "any"},
		{"test", "/pub;x", "any"},
		{"test", "*", "any"},
		{"", "/", "any"},
		{"test", "/pub/" + strings.Repeat("x", maxOdd) + ";", "any disguised"},
		{"test", "/pub/" + strings.Repeat("x", maxOdd), ""},
	} {
		if got := deciders(x, k.host, k.path, nil); got != k.want {
			t.Errorf("%s%s is decided by %q, want %q", k.host, k.path, got, k.want)
		}
	}

	c, ps = chain(t, "open a.test", "rule a.test", "host a.test")
	c.Access[0].Route = &ir.RouteTarget{Object: object.Origin.Object, Section: "a"}
	c.Access[1].Route = &ir.RouteTarget{Object: object.Origin.Object}
	x = NewIndex(c, ps)
	other := object
	other.Section = "b"
	stranger := ir.Route{}
	for _, k := range []struct {
		route *ir.Route
		want  string
	}{{&object, "open"}, {&other, "rule"}, {&stranger, "host"}, {nil, "host"}} {
		if got := deciders(x, "a.test", "/x", k.route); got != k.want {
			t.Errorf("with route %+v %q decides, want %q", k.route, got, k.want)
		}
	}
}

// A rule whose policy is not in the set lets nobody in.
func TestMissingPolicyDenies(t *testing.T) {
	c, _ := chain(t, "gone h.test")
	x := NewIndex(c, nil)
	set := NewSet(nil, nil, nil, Settings{}, nil)
	if d := set.Decide(x, &Request{Host: []byte("h.test"), Path: []byte("/"), Now: time.Now()}); d.Allowed() || d.Name != "gone" {
		t.Errorf("decided %+v", d)
	}
}

// Any path that some reading takes below the protected one is decided by a policy.
func FuzzProtectedUnderEveryReading(f *testing.F) {
	for _, s := range []string{"/test1", "/%2574est1", "/x%252f..%252ftest1", "/te%C5%BFt1/;x", "/..%253b/test1"} {
		f.Add(s)
	}
	c, ps := chain(f, "test1 h.test /test1")
	x := NewIndex(c, ps)
	f.Fuzz(func(t *testing.T, target string) {
		path, ok := normalise(t, target)
		if !ok {
			return
		}
		covered := deciders(x, "h.test", string(path), nil) != ""
		for _, kind := range readings() {
			read, hidden := kind.apply(path)
			folded := appendFold(nil, read)
			if (hidden || below(folded, "/test1")) && !covered {
				t.Errorf("%q is read as %q by %+v, and no policy decides", path, read, kind)
			}
			if !bytes.HasPrefix(read, []byte("/")) || bytes.Contains(read, []byte("//")) || len(read) > len(path)+1 {
				t.Errorf("%q is read as %q by %+v", path, read, kind)
			}
		}
	})
}
