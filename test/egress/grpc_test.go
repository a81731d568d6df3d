//go:build e2e

package egress

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
	"github.com/hakone-gateway/hakone/test/testnet"
)

// calls is the host of the gRPC service.
const calls = "calls.test"

// grpcCases are cases of grpc-go's interoperability tests: unary calls, streams of each direction, deadlines,
// cancellation, and what comes in trailers.
var grpcCases = []string{"large_unary", "client_streaming", "server_streaming", "ping_pong", "timeout_on_sleeping_server",
	"cancel_after_begin", "cancel_after_first_response", "status_code_and_message", "custom_metadata"}

// TestGRPC calls a service that speaks TLS alone, in each of the three ways, directly and through an intercepting
// proxy that speaks HTTP/2: another Hakone, which has the company's place.
func TestGRPC(t *testing.T) {
	t.Parallel()
	for _, through := range []string{"directly", "through a parent"} {
		t.Run(through, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			service := w.net.Host()
			w.grpcServer(service)
			table := service.Address + " " + calls + "\n"
			w.hakone.Names(table)
			w.company.Names(table)
			files := w.directly()
			if through != "directly" {
				ca := testca.New(t, testca.Spec{CommonName: "Company proxy"})
				w.parent(ca)
				files = map[string]string{"egress.yaml": w.corp() + "---\n" + w.egress(), "company.yaml": w.companyCA(ca)}
			}
			w.start(files)
			w.workload.Names(w.hakone.Address + " " + calls + "\n")
			w.grpcWays()
			for _, l := range w.g.Lines() {
				if via := l.S("proxy"); l.S("kind") == "request" && l.N("status") == 200 && l.S("method") == "POST" && (via != "") != (through != "directly") {
					t.Errorf("a call went through %q: %v", via, l)
				}
			}
		})
	}
}

// grpcWays runs the cases in each way.
func (w *world) grpcWays() {
	w.Helper()
	done := regexp.MustCompile(`INFO: .*\b(?i:done)\b`)
	secure := []string{"-server_port", "443", "-use_tls", "-use_test_ca", "-ca_file", filepath.Join(w.dir, "mesh.crt"), "-server_host_override", calls}
	for _, way := range []struct {
		name string
		args []string
		env  string
	}{
		{"A", []string{"-server_port", "80"}, "HTTPS_PROXY="},
		{"B", secure, "HTTPS_PROXY="},
		{"C", secure, "HTTPS_PROXY=http://" + w.hakone.Address + ":3128"},
	} {
		for _, name := range grpcCases {
			r := program.Run(w, w.workload.On(program.Command{Path: program.Suite(w, "grpc-interop-client"), Env: []string{"GRPC_GO_LOG_SEVERITY_LEVEL=info", way.env},
				Args: append([]string{"-server_host", calls, "-test_case", name}, way.args...)}))
			if r.Code != 0 || !done.MatchString(r.Err) {
				w.Errorf("%s in way %s: exit %d\n%s", name, way.name, r.Code, program.Tail(r.Out+r.Err, 2000))
			}
		}
	}
}

// grpcServer runs grpc-go's server over TLS on a host.
func (w *world) grpcServer(h *testnet.Host) {
	w.Helper()
	cert, key := w.public.Issue(testca.Spec{DNS: []string{calls}}).Write(w.TempDir(), "server")
	log := program.Start(w, h.On(program.Command{Path: program.Suite(w, "grpc-interop-server"), Args: []string{"-port", "443", "-use_tls", "-tls_cert_file", cert, "-tls_key_file", key}}))
	w.await("grpc-go's server listens "+log(), func() bool {
		return program.Run(w, h.On(program.Command{Path: program.Find(w, "curl"), Args: []string{"-sk", "--max-time", "2", "-o", "/dev/null", "https://127.0.0.1/"}})).Code == 0
	})
}

// parent starts a Hakone in the company's place that intercepts everything with a CA.
func (w *world) parent(ca *testca.Pair) *gateway.Gateway {
	w.Helper()
	return gateway.Start(w, gateway.Options{Prefix: w.company.Prefix(), Env: w.anchors(), Files: map[string]string{
		"ca.yaml": testca.SecretYAML("default", "company-ca", ca.SecretData(testca.FormatTLS, nil, nil)),
		"proxy.yaml": strings.TrimSpace(`
apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: parent, namespace: default}
spec:
  listeners:
  - {name: proxy, port: 8080}
  interception:
    caRef: {name: company-ca}
`)}})
}

// anchors make a gateway believe the destinations' CA.
func (w *world) anchors() []string {
	return []string{fmt.Sprintf("SSL_CERT_FILE=%s", filepath.Join(w.dir, "public.crt")), "SSL_CERT_DIR=/nonexistent"}
}
