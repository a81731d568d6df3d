package dataplane

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestTrustChanges takes a CA away under open connections: those whose clients it judged are withdrawn,
// others and those of another listener go on, and new ones follow it at once.
func TestTrustChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Limits: proxy.Limits{WithdrawnGrace: time.Minute}})
	old, next := testca.New(t, testca.Spec{CommonName: "Old"}), testca.New(t, testca.Spec{CommonName: "Next"})
	alice, bob := old.Issue(testca.Spec{}), next.Issue(testca.Spec{})
	trusting := func(cas ...*testca.Pair) *ir.Snapshot {
		l := w.tls("a.test")
		l.Chains[0].TLS.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthRequire, Trust: "t/ca"}
		s := w.config(w.plain("a.test"), l)
		var certs []*x509.Certificate
		for _, ca := range cas {
			certs = append(certs, ca.Cert)
		}
		s.Trust = &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"t/ca": {Bundle: secret.NewBundle(certs...)}}}
		s.Seal()
		return s
	}
	a := w.apply(trusting(old, next))
	address := w.address(a, "*:443")
	as := func(p *testca.Pair) *tls.Config {
		c := w.config443("a.test").Clone()
		cert := p.TLS()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		return c
	}
	idle, first, second := dial(t, address, as(alice)), dial(t, address, as(alice)), dial(t, address, as(bob))
	plain := dial(t, w.address(a, "*:80"), nil)
	for _, c := range []*client{idle, first, second, plain} {
		if status, _ := c.get("a.test", "/"); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	first.send("a.test", "/?wait=300ms")
	time.Sleep(50 * time.Millisecond)
	w.apply(trusting(next))
	if resp, body := first.read(); resp.StatusCode != http.StatusOK || !strings.Contains(body, "a.test") {
		t.Errorf("the answer in progress: %d", resp.StatusCode)
	}
	if !idle.ended() || !first.ended() {
		t.Error("a withdrawn connection goes on")
	}
	for _, c := range []*client{second, plain} {
		if status, _ := c.get("a.test", "/"); status != http.StatusOK {
			t.Errorf("who was not concerned got %d", status)
		}
	}
	eventually(t, "two withdrawn", func() bool { return w.plane.Withdrawn()["*:443"] == 2 })
	refused, err := tls.Dial("tcp", address, as(alice))
	if err == nil {
		if _, err = io.ReadFull(refused, make([]byte, 1)); err == io.EOF {
			t.Error("closed without an alert")
		}
		refused.Close()
	}
	if err == nil {
		t.Error("a new connection of a withdrawn client was let in")
	}
}

// TestOneChoice shows that a handshake and a request choose the same chain and TLS settings for a name:
// they look it up in tables of their own.
func TestOneChoice(t *testing.T) {
	labels := []string{"a", "b", "c", "test", "example"}
	name := func() string {
		n := 1 + rand.IntN(4)
		parts := make([]string, n)
		for i := range parts {
			parts[i] = labels[rand.IntN(len(labels))]
		}
		return strings.Join(parts, ".")
	}
	for range 200 {
		l := &ir.Listener{Name: "*:443", TLS: true}
		taken := map[string]bool{}
		for range 1 + rand.IntN(6) {
			c := &ir.Chain{Name: "chain-" + name() + name(), TLS: &ir.TLS{Class: "0"}}
			for range 1 + rand.IntN(3) {
				text := name()
				switch rand.IntN(5) {
				case 0:
					text = "*"
				case 1, 2:
					text = "*." + text
				}
				p, err := hostname.Parse(text)
				if err != nil || taken[text] {
					continue
				}
				taken[text] = true
				c.Hosts = append(c.Hosts, p)
			}
			if narrow, err := hostname.Parse(name()); err == nil && rand.IntN(2) == 0 {
				c.HostTLS = []ir.HostTLS{{Host: narrow, TLS: &ir.TLS{Class: "1"}}}
			}
			l.Chains = append(l.Chains, c)
		}
		term := tlsconf.Build(l, &ir.Secrets{}, &ir.Trust{}, tlsconf.NewState(nil), nil, tlsconf.Options{})
		index := route.NewIndex(l, func(*ir.Route, *ir.Backend) ([]filter.Filter, error) { return nil, nil })
		for i := range 50 {
			host := name()
			if i < 5 {
				host = []string{"", ".", "a.test.", "192.0.2.1", "..a"}[i]
			}
			chain, settings, ok := term.Lookup(host)
			e := index.FindString(host)
			if ok != (e != nil) || ok && (e.Chain != chain || e.TLS(host) != settings) || e != index.Find([]byte(host)) {
				t.Fatalf("%q: the handshake chooses %v, a request %v", host, chain, e)
			}
		}
	}
}
