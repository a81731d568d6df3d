package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// trusting is TLS material that trusts anybody, and takes every read error for a refused certificate.
type trusting struct{ refused bool }

func (*trusting) Handshake(ctx context.Context, conn net.Conn, _ string, _ ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	tc := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"})
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, &telemetry.Handshake{Code: diag.UpstreamTLSFailed, Err: err.Error()}
	}
	return tc, &telemetry.Handshake{}
}

func (m *trusting) ReadError(err error) (diag.Code, string, bool) {
	return diag.UpstreamRequiresCert, err.Error(), m.refused && strings.Contains(err.Error(), "certificate required")
}

// TestTLSUpstream keeps TLS connections, session tickets and all, and drops one that spoke unasked:
// neither shows on the socket alone.
func TestTLSUpstream(t *testing.T) {
	t.Parallel()
	var unasked atomic.Bool
	config := selfSigned()
	o := newOrigin(t, func(c net.Conn, _ *bufio.Reader) {
		tc := tls.Server(c, config)
		r := bufio.NewReader(tc)
		for readHead(r) != "" {
			answer := sized("x")
			if unasked.Load() { // in a record of its own, so that it stays inside crypto/tls
				_, _ = io.WriteString(tc, answer)
				answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
			}
			if _, err := io.WriteString(tc, answer); err != nil {
				return
			}
		}
	})
	g := start(t, setup{backend: o.addr, upTLS: &trusting{}})
	c := g.dial()
	r := bufio.NewReader(c)
	for range 5 {
		if resp, body := roundTrip(t, c, r, "POST", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nb"); resp.StatusCode != 200 || body != "x" {
			t.Fatalf("got %d %q", resp.StatusCode, body)
		}
	}
	if n := o.conns.Load(); n != 1 {
		t.Errorf("the upstream saw %d connections, want 1", n)
	}
	unasked.Store(true)
	for range 5 {
		if resp, body := roundTrip(t, c, r, "GET", get); resp.StatusCode != 200 || body != "x" {
			t.Fatalf("got %d %q", resp.StatusCode, body)
		}
		time.Sleep(20 * time.Millisecond) // what comes after the next request was sent nobody can tell from its answer
	}
}

// TestUpstreamWantsCertificate meets a TLS 1.3 server that refuses the lack of a certificate, which
// shows only in the first read.
func TestUpstreamWantsCertificate(t *testing.T) {
	config := selfSigned()
	config.ClientAuth = tls.RequireAnyClientCert
	o := newOrigin(t, func(c net.Conn, _ *bufio.Reader) {
		if tls.Server(c, config).Handshake() != nil {
			_, _ = io.Copy(io.Discard, c) // closing with bytes unread would reset
		}
	})
	g := start(t, setup{backend: o.addr, upTLS: &trusting{refused: true}})
	if got := readAnswer(t, g.dial(), get); !strings.HasPrefix(got, "HTTP/1.1 502 ") {
		t.Errorf("got %q", got)
	}
	if a := g.record(); a.Code != diag.UpstreamRequiresCert {
		t.Errorf("record has %s %q", a.Code, a.Detail)
	}
}
