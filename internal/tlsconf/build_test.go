package tlsconf

import (
	"crypto/tls"
	"fmt"
	"io"
	"testing"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestBuildReuse has 10,000 hosts, and shows that they share configurations and that rotation rebuilds
// none of them.
func TestBuildReuse(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	pair := keyPair(t, ca.Issue(testca.Spec{}))
	for i := range 10_000 {
		s := w.host(t, fmt.Sprintf("h%d.test", i))
		ref := ir.SecretRef(fmt.Sprintf("test/%d", i))
		s.Certificates = []ir.SecretRef{ref}
		w.secrets.ByRef[ref] = &ir.Credential{Pair: pair}
		if i%2 == 1 {
			w.clients(s, ir.ClientAuthRequire, ca)
			s.ClientAuth.Trust = "test/shared"
		}
	}
	w.trust.ByRef["test/shared"] = w.trust.ByRef["test/ca of h1.test"]
	state := NewState(nil)
	first := Build(w.listener, w.secrets, w.trust, state, nil, Options{})
	configs := func(term *Terminator) map[*tls.Config]bool {
		out := map[*tls.Config]bool{}
		for _, p := range term.policies {
			out[p.class.config] = true
		}
		return out
	}
	if got := configs(first); len(got) != 2 || len(first.policies) != 10_000 {
		t.Fatalf("%d configurations for %d settings of 2 kinds", len(got), len(first.policies))
	}
	rotated := &ir.Secrets{ByRef: w.secrets.ByRef}
	if allocs := testing.AllocsPerRun(10, func() { Build(w.listener, rotated, w.trust, state, first, Options{}) }); allocs > 2 {
		t.Errorf("rotating a secret allocates %v times", allocs)
	}
	next := w.clone()
	second := Build(next.listener, next.secrets, next.trust, state, first, Options{})
	for c := range configs(second) {
		if !configs(first)[c] {
			t.Error("an equal listener got a new configuration")
		}
	}
}

// TestNames finds the most specific pattern.
func TestNames(t *testing.T) {
	var n names[string]
	for _, p := range []string{"a.test", "*.a.test", "*.test", "*.b.c.test"} {
		pattern, err := hostname.Parse(p)
		if err != nil {
			t.Fatal(err)
		}
		n.add(pattern, p)
		n.add(pattern, "second")
	}
	check := func(host, want string) {
		t.Helper()
		if got, ok := n.find(host); got != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
	check("a.test", "a.test")
	check("x.a.test", "*.a.test")
	check("y.x.a.test", "*.a.test")
	check("b.test", "*.test")
	check("x.b.c.test", "*.b.c.test")
	check("b.c.test", "*.test")
	for _, none := range []string{"test", "", ".", ".test", "a.test.", "..", "x", "a.example"} {
		check(none, "")
	}
	n.add(hostname.Any(), "*")
	check("a.example", "*")
	check("", "*")
	check("b.test", "*.test")
}

// TestIndex counts the connections of each chain and closes them.
func TestIndex(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	w.host(t, "b.test", ca.Issue(testca.Spec{DNS: []string{"b.test"}}))
	g := w.serve(t)
	conns := map[string]*tls.Conn{}
	for _, name := range []string{"a.test", "b.test"} {
		c, err := tls.Dial("tcp", g.addr, client(ca, name))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		g.record()
		conns[name] = c
	}
	if got := g.state.Index().Count(); got["test/gw/a.test"] != 1 || got["test/gw/b.test"] != 1 || len(got) != 2 {
		t.Errorf("counts %v", got)
	}
	if n := g.state.Index().CloseAll(); n != 2 {
		t.Errorf("closed %d", n)
	}
	for _, c := range conns {
		_, _ = io.Copy(io.Discard, c) // ends
	}
	if got := g.state.Index().Count(); len(got) != 0 {
		t.Errorf("counts %v after closing", got)
	}
}
