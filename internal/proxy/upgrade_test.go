//lint:file-ignore SA1019 x/net's HTTP/2 takes single connections, which net/http does not

package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// offering is TLS material that trusts anybody and offers by ALPN what it is asked to.
type offering struct{}

func (offering) Handshake(ctx context.Context, conn net.Conn, _ string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"http/1.1"}}
	switch speak {
	case ir.UpstreamHTTP2:
		config.NextProtos = []string{"h2"}
	case ir.UpstreamAuto:
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	tc := tls.Client(conn, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, &telemetry.Handshake{Code: diag.UpstreamTLSFailed, Err: err.Error()}
	}
	return tc, &telemetry.Handshake{ALPN: tc.ConnectionState().NegotiatedProtocol}
}

func (offering) ReadError(error) (diag.Code, string, bool) { return 0, "", false }

// TestUpgradeAsksForHTTP1 opens WebSockets to an upstream that speaks both versions, HTTP/2 without extended
// CONNECT: where its protocol is not declared they go over HTTP/1.1, and other requests stay with HTTP/2.
func TestUpgradeAsksForHTTP1(t *testing.T) {
	config := selfSigned()
	o := newOrigin(t, func(c net.Conn, _ *bufio.Reader) {
		tc := tls.Server(c, config)
		if tc.Handshake() != nil {
			return
		}
		if tc.ConnectionState().NegotiatedProtocol == "h2" {
			(&xhttp2.Server{}).ServeConn(tc, &xhttp2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.Proto)
			})})
			return
		}
		r := bufio.NewReader(tc)
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "websocket" {
			return
		}
		_, _ = io.WriteString(tc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+
			string(webSocketAccept([]byte(req.Header.Get("Sec-Websocket-Key"))))+"\r\n\r\n")
		_, _ = io.Copy(tc, r)
	})
	for _, protocol := range []ir.UpstreamProtocol{ir.UpstreamAuto, ir.UpstreamSame} {
		t.Run(string(protocol), func(t *testing.T) {
			g := start(t, setup{backend: o.addr, protocol: protocol, upTLS: offering{}})
			c := g.client(h2c)
			plain := func() {
				t.Helper()
				resp, err := c.Get(g.url(h2c, "/"))
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if a := g.record(); string(body) != "HTTP/2.0" || a.UpstreamProto != "HTTP/2" || string(a.Protocol) != "" {
					t.Errorf("the upstream was asked in %q, record %+v", body, a.Access)
				}
			}
			plain()

			one := g.dial()
			r := bufio.NewReader(one)
			_, _ = io.WriteString(one, "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nhello")
			if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
				t.Fatalf("%q", head)
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(r, got); string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
			}
			one.Close()
			if a := g.record(); a.UpstreamProto != "HTTP/1.1" || a.Status != 101 {
				t.Errorf("record %+v", a.Access)
			}

			req := message.Request{Method: []byte("CONNECT"), Protocol: []byte("websocket"), Authority: []byte("a.test"), Path: []byte("/chat"), Body: message.Body{Kind: message.Chunked}}
			s, err := g.muxClient().Open(&req, false)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var resp message.Response
			if err := s.ReadResponse(&resp); err != nil || resp.Status != 200 {
				t.Fatalf("answer %+v, %v", resp, err)
			}
			_ = s.Write([]byte("hello"), true)
			if _, err := io.ReadFull(&streamPipe{s: s}, got); err != nil || string(got) != "hello" {
				t.Errorf("%q, %v", got, err)
			}
			if a := g.record(); a.UpstreamProto != "HTTP/1.1" || a.Status != 200 || string(a.Method) != "CONNECT" || string(a.Protocol) != "websocket" {
				t.Errorf("record %+v", a.Access)
			}
			plain()
		})
	}
}
