package tlsconf

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/test/testca"
)

// intercepting is a world whose certificates ca makes for whatever name comes; untrusted makes another CA
// sign.
type intercepting struct {
	*world
	ca, other *testca.Pair

	mu         sync.Mutex
	code       diag.Code // why the leaf is to be refused
	refuse     bool      // no leaf
	distrusted []diag.Code
}

func newIntercepting(t *testing.T) *intercepting {
	i := &intercepting{world: newWorld(), ca: testca.New(t, testca.Spec{CommonName: "Company CA"}), other: testca.New(t, testca.Spec{CommonName: "Nobody"})}
	f := &ir.Forward{Name: "egress/forward", Interception: &ir.Interception{TLS: ir.TLS{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone}}}}
	i.listener = Intercepting(i.listener, f)
	made := map[string]*secret.KeyPair{}
	i.opts.Mint = func(h *listen.Hello, _ *listen.Conn) (*secret.KeyPair, diag.Code, string) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.refuse {
			return nil, i.code, "the CA may not"
		}
		by := i.ca
		if i.code != 0 {
			by = i.other
		}
		key := h.ServerName + i.code.String()
		if made[key] == nil {
			made[key] = keyPair(t, by.Issue(testca.Spec{DNS: []string{h.ServerName}}))
		}
		return made[key], i.code, "the destination's certificate has expired"
	}
	i.opts.Distrusted = func(c *listen.Conn, rec *telemetry.Handshake) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.distrusted = append(i.distrusted, rec.Code)
	}
	return i
}

func (i *intercepting) set(code diag.Code, refuse bool) {
	i.mu.Lock()
	i.code, i.refuse = code, refuse
	i.mu.Unlock()
}

func TestIntercept(t *testing.T) {
	w := newIntercepting(t)
	g := w.serve(t)
	config := client(w.ca, "example.com")
	config.NextProtos = []string{"h2", "http/1.1"}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)

	for _, resumed := range []bool{false, true} {
		got := g.dial(config)
		if got.err != nil || got.state.DidResume != resumed || got.state.NegotiatedProtocol != "h2" {
			t.Fatalf("%v, resumed %v, want %v; ALPN %q", got.err, got.state.DidResume, resumed, got.state.NegotiatedProtocol)
		}
		if rec := g.record(); rec.Code != 0 || rec.Bump != "bump" || rec.Chain != "egress/forward" {
			t.Errorf("record %+v", rec)
		}
	}

	// A ticket of the good certificate does not open a connection that is to show a bad one.
	w.set(diag.UpstreamCertExpired, false)
	got := g.dial(config)
	if got.err == nil || got.state.DidResume {
		t.Errorf("a bad certificate was hidden by resumption: %v", got.err)
	}
	if rec := g.record(); rec.Code != diag.PeerRejectedCert || !strings.Contains(rec.Detail, "has expired") {
		t.Errorf("record %v %s", rec.Code, rec.Detail)
	}
	if len(w.distrusted) != 0 {
		t.Errorf("a certificate that is meant to be refused was told as distrust: %v", w.distrusted)
	}

	w.set(diag.MintNameNotPermitted, true)
	if got := g.dial(config); got.err == nil {
		t.Error("a handshake without certificate succeeded")
	}
	if rec := g.record(); rec.Code != diag.MintNameNotPermitted {
		t.Errorf("record %v %s", rec.Code, rec.Detail)
	}
}

func TestInterceptDistrusted(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newIntercepting(t)
		g := w.serve(t)
		config := client(w.other, "example.com")
		config.MaxVersion = version
		if got := g.dial(config); got.err == nil {
			t.Fatal("a client that does not trust the CA goes on")
		}
		rec := g.record()
		if rec.Code != diag.InterceptionDistrusted || !strings.Contains(rec.Detail, "Company CA") || rec.Bump != "bump" {
			t.Errorf("record %v %s", rec.Code, rec.Detail)
		}
		w.mu.Lock()
		if !slices.Equal(w.distrusted, []diag.Code{diag.InterceptionDistrusted}) {
			t.Errorf("told %v", w.distrusted)
		}
		w.mu.Unlock()
	}
}

func TestInterceptDistrustedByOpenSSL(t *testing.T) {
	w := newIntercepting(t)
	g := w.serve(t)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		run(t, "", "openssl", "s_client", "-connect", g.addr, "-servername", "example.com", "-verify_return_error", version)
		if rec := g.record(); rec.Code != diag.InterceptionDistrusted {
			t.Errorf("%s: %v %s", version, rec.Code, rec.Detail)
		}
	}
}

// TestInterceptInTunnel has TLS inside a TLS connection, and inside a plain one.
func TestInterceptInTunnel(t *testing.T) {
	w := newIntercepting(t)
	outerCA := testca.New(t, testca.Spec{})
	outer := newWorld()
	outer.host(t, "*", outerCA.Issue(testca.Spec{DNS: []string{"proxy.test"}}))
	plane := NewState(nil)
	inner := Build(w.listener, w.secrets, w.trust, plane, nil, w.opts)
	results := make(chan *Result, 1)
	tunnel := func(raw *listen.Conn, stream net.Conn) {
		if _, err := io.WriteString(stream, "HTTP/1.1 200 Established\r\n\r\n"); err != nil {
			t.Error(err)
		}
		first := make([]byte, 10) // arrived with the request, say
		n, err := io.ReadFull(stream, first)
		if err != nil {
			t.Error(err)
		}
		nested := listen.Nested(raw, stream, first[:n])
		nested.Attach("from above")
		res := inner.Handshake(nested)
		if nested.Attached() != "from above" {
			t.Error("what was attached is gone")
		}
		results <- res
		if res.Record.Code == 0 {
			io.Copy(res.Conn, res.Stream(nil)) // echo
			res.Conn.Close()
		}
	}
	talk := func(t *testing.T, conn net.Conn) {
		t.Helper()
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(conn, make([]byte, 28)); err != nil {
			t.Fatal(err)
		}
		in := tls.Client(conn, client(w.ca, "inside.test"))
		if err := in.Handshake(); err != nil {
			t.Fatal(err)
		}
		res := <-results
		if res.Record.Hello.SNI != "inside.test" || res.Record.Bump != "bump" || res.Raw.Parent() == nil {
			t.Errorf("record %+v", res.Record)
		}
		big := strings.Repeat("x", 100_000)
		go io.WriteString(in, big)
		got := make([]byte, len(big))
		if _, err := io.ReadFull(in, got); err != nil || string(got) != big {
			t.Errorf("echo: %v", err)
		}
		in.Close()
	}
	t.Run("over TLS", func(t *testing.T) {
		outer.after = func(res *Result) { tunnel(res.Raw, res.Stream(nil)) }
		g := outer.serve(t)
		conn, err := tls.Dial("tcp", g.addr, client(outerCA, "proxy.test"))
		if err != nil {
			t.Fatal(err)
		}
		talk(t, conn)
	})
	t.Run("in the clear", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			raw := listen.NewConn(c.(*net.TCPConn), 1, &listen.Spec{Name: "*:3128"})
			tunnel(raw, raw)
		}()
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		talk(t, conn)
	})
}

// TestInterceptWithoutName gives no tickets where no name tells destinations apart.
func TestInterceptWithoutName(t *testing.T) {
	w := newIntercepting(t)
	g := w.serve(t)
	config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for range 2 {
		if got := g.dial(config); got.err != nil || got.state.DidResume {
			t.Errorf("%v, resumed %v", got.err, got.state.DidResume)
		}
		g.record()
	}
}
