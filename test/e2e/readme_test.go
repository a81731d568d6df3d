//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestREADMEGRPC serves the manifests of the README's section on gRPC, with the echo service in the place
// of the greeter.
func TestREADMEGRPC(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "## HTTP/2 and gRPC")
	_, block, found := strings.Cut(section, "```yaml\n")
	block, _, ended := strings.Cut(block, "```")
	if !ok || !found || !ended || !strings.Contains(block, "helloworld.Greeter") {
		t.Fatal("the README has no such manifests any more")
	}
	w := &grpcWorld{s: newSite(t, "greeter.example.com")}
	w.echo, w.addr = startEcho(t)
	w.g = gateway.Start(t, gateway.Options{Endpoints: []string{"greeter.default:50051=" + w.addr}, Files: map[string]string{
		"secret.yaml":  testca.SecretYAML("default", "greeter-credential", w.s.leaf.SecretData(testca.FormatTLS, nil, nil)),
		"greeter.yaml": strings.ReplaceAll(block, "helloworld.Greeter", echoService),
	}})
	w.conn = w.dial(t, "greeter.example.com")
	if got, err := call(w.conn, 5*time.Second, []byte("hello"), nil); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if r := w.g.Run("check", w.g.Dir); r.Code != 0 && r.Code != 3 || strings.Contains(r.Out, "error") {
		t.Errorf("check: %d\n%s", r.Code, r.Out)
	}
	err = w.conn.Invoke(t.Context(), "/other.Service/Unary", &message{}, &message{})
	wantCode(t, "another service", err, codes.Unimplemented)
}
