//go:build e2e

package interop

import (
	"net"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// grpcHost is in the certificate of grpc-go's own test server, and so what its client asks for.
const grpcHost = "x.test.example.com"

// TestGRPC runs grpc-go's interoperability tests over TLS, with h2c and with TLS to its server.
// pick_first_unary is left out: it fails without a gateway too. So are those that need a cloud.
func TestGRPC(t *testing.T) {
	t.Parallel()
	cases := []string{"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
		"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service"}
	doneLine := regexp.MustCompile(`INFO: .*\b(?i:done)\b`)
	s := newSite(t, grpcHost, testca.Spec{})
	for _, c := range []struct {
		name string
		tls  bool
	}{{"h2c", false}, {"TLS", true}} {
		t.Run("to "+c.name, func(t *testing.T) {
			t.Parallel()
			b := startGRPC(t, s, c.tls)
			g := s.start(t, b, false)
			passed := 0
			begin := time.Now()
			for _, name := range cases {
				r := program.Run(t, program.Command{Path: program.Suite(t, "grpc-interop-client"), Limit: 20 * time.Second,
					Env: []string{"GRPC_GO_LOG_SEVERITY_LEVEL=info"}, Args: []string{
						"-server_host", "127.0.0.1", "-server_port", strconv.Itoa(g.Port(443)), "-server_host_override", grpcHost,
						"-use_tls", "-use_test_ca", "-ca_file", s.caFile, "-test_case", name}})
				if r.Code != 0 || !doneLine.MatchString(r.Err) {
					t.Errorf("%s: exit %d\n%s", name, r.Code, program.Tail(r.Out+r.Err, 2000))
					continue
				}
				passed++
			}
			t.Logf("grpc-go interop to %s: %d of %d passed in %.1f s", c.name, passed, len(cases), time.Since(begin).Seconds())
			if passed != 14 {
				t.Errorf("%d passed, want 14", passed)
			}
		})
	}
}

// startGRPC starts grpc-go's server.
func startGRPC(t *testing.T, s site, tls bool) backend {
	t.Helper()
	port := gateway.FreePort(t)
	b := backend{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), port: "grpc"}
	args := []string{"-port", strconv.Itoa(port)}
	if tls {
		b.ca, b.name = s.ca, grpcHost
		cert, key := s.leaf.Write(gateway.Folder(t), "server")
		args = append(args, "-use_tls", "-tls_cert_file", cert, "-tls_key_file", key)
	}
	log := program.Start(t, program.Command{Path: program.Suite(t, "grpc-interop-server"), Args: args})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", b.addr); err == nil {
			c.Close()
			return b
		}
		if time.Now().After(end) {
			t.Fatalf("grpc-go's server does not listen\n%s", log())
		}
	}
}
