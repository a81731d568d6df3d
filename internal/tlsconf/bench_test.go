package tlsconf

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// BenchmarkHandshake compares the pipeline with bare crypto/tls; both include the client's work.
func BenchmarkHandshake(b *testing.B) {
	ca := testca.New(b, testca.Spec{})
	leaf, alice := ca.Issue(testca.Spec{DNS: []string{"a.test"}}), ca.Issue(testca.Spec{CommonName: "alice"})
	pair, _, err := secret.ParseKeyPair(leaf.ChainPEM(), leaf.KeyPEM())
	if err != nil {
		b.Fatal(err)
	}
	pattern, err := hostname.Parse("a.test")
	if err != nil {
		b.Fatal(err)
	}
	for _, mutual := range []bool{false, true} {
		settings := &ir.TLS{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ALPN: []string{"http/1.1"}, Certificates: []ir.SecretRef{"x"}}
		bare := &tls.Config{Certificates: []tls.Certificate{leaf.TLS()}, NextProtos: []string{"http/1.1"}}
		client := client(ca, "a.test")
		if mutual {
			settings.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthRequire, Trust: "ca"}
			bare.ClientAuth, bare.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
			client.Certificates = []tls.Certificate{alice.TLS()}
		}
		name := map[bool]string{false: "", true: "mTLS "}[mutual]
		term := Build(&ir.Listener{Name: "*:443", Chains: []*ir.Chain{{Name: "c", Hosts: []hostname.Pattern{pattern}, TLS: settings}}},
			&ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"x": {Pair: pair}}},
			&ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ca": {Bundle: secret.NewBundle(ca.Cert)}}}, NewState(nil), nil, Options{})
		b.Run(name+"pipeline", func(b *testing.B) {
			shakes(b, client, func(c *net.TCPConn) *tls.Conn {
				return term.Handshake(listen.NewConn(c, 1, &listen.Spec{})).Conn
			})
		})
		b.Run(name+"bare", func(b *testing.B) {
			shakes(b, client, func(c *net.TCPConn) *tls.Conn { return tls.Server(c, bare) })
		})
	}
}

func shakes(b *testing.B, config *tls.Config, server func(*net.TCPConn) *tls.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s := server(c.(*net.TCPConn))
			_, _ = io.WriteString(s, "ok")
			s.Close()
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		c, err := tls.Dial("tcp", ln.Addr().String(), config)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
	ln.Close()
	<-done
}
