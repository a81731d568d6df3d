//go:build e2e

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
)

// TestConformance runs connectconformance in server mode: its clients speak Connect, gRPC and gRPC-Web to
// its servers through the gateway.
func TestConformance(t *testing.T) {
	t.Parallel()
	const plain = "features: {supports_tls: false, supports_message_receive_limit: false}\n"
	const tls = "exclude_cases:\n- use_tls: false\n"
	// What grpc-go answers to a wrong number of messages is another code than the suite wants, without a gateway too.
	known := []string{"**/unary/multiple-requests", "**/unary/no-request", "**/server-stream/multiple-requests", "**/server-stream/no-request"}
	for _, c := range []struct {
		name   string
		config string
		behind behind
		known  []string
		passed int
	}{
		{"plain", plain, behind{Server: "referenceserver"}, nil, 1776},
		{"plain to TLS", plain, behind{Server: "referenceserver", TLS: true}, nil, 1776},
		{"plain to h2c", plain, behind{Server: "referenceserver", Port: "http2"}, nil, 1776},
		{"TLS and client certificates", "features: {supports_tls_client_certs: true, supports_half_duplex_bidi_over_http1: true}\n" + tls, behind{Server: "referenceserver"}, nil, 1830},
		{"grpc-go", "features: {versions: [HTTP_VERSION_2], protocols: [PROTOCOL_GRPC], codecs: [CODEC_PROTO], supports_tls: false}\n",
			behind{Server: "grpcserver", Port: "grpc"}, known, 370},
		{"gRPC-Web to gRPC", "features: {protocols: [PROTOCOL_GRPC_WEB], codecs: [CODEC_PROTO], supports_tls: false}\n",
			behind{Server: "grpcserver", Port: "grpc-web"}, known, 335},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := gateway.Folder(t)
			c.behind.Hakone, c.behind.Logs = gateway.Binary(t), dir
			c.behind.Server = program.Suite(t, c.behind.Server)
			runConformance(t, c.config, c.behind, c.known, c.passed)
		})
	}
}

// conformanceLimit is how long the suite may take; it takes about 12 s without a gateway.
const conformanceLimit = 90 * time.Second

func runConformance(t *testing.T, config string, b behind, known []string, want int) {
	t.Helper()
	conf := filepath.Join(b.Logs, "conf.yaml")
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--mode", "server", "--conf", conf, "--max-servers", "2"}
	for _, k := range known {
		args = append(args, "--known-failing", k)
	}
	r := program.Run(t, program.Command{Path: program.Suite(t, "connectconformance"), Args: append(args, "--", self),
		Env: []string{behindEnv + "=" + string(settings)}, Limit: conformanceLimit})
	total, passed, failed := conformanceScore(r.Out)
	t.Logf("connectconformance: %d of %d passed in %.1f s", passed, total, r.Took.Seconds())
	if passed != want || failed != 0 || r.Code != 0 {
		t.Errorf("want %d passed and 0 failed, got %d and %d, exit %d\n%s\n%s", want, passed, failed, r.Code, program.Tail(r.Out, 20000), program.Tail(r.Err, 4000))
		keepLogs(t, b.Logs)
	}
	ended, _ := filepath.Glob(filepath.Join(b.Logs, "*.ended"))
	for _, path := range ended {
		text, _ := os.ReadFile(path)
		log, _ := os.ReadFile(strings.TrimSuffix(path, ".ended") + ".log")
		t.Errorf("a gateway did not end in order: %s\n%s", text, program.Tail(string(log), 2000))
	}
}

// conformanceScore reads the suite's last lines.
func conformanceScore(out string) (total, passed, failed int) {
	number := func(pattern string) int {
		m := regexp.MustCompile(pattern).FindStringSubmatch(out)
		if m == nil {
			return -1
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return number(`Total cases: (\d+)`), number(`(\d+) passed`), number(`passed, (\d+) failed`)
}

// keepLogs shows what the gateways refused.
func keepLogs(t *testing.T, dir string) {
	t.Helper()
	logs, _ := filepath.Glob(filepath.Join(dir, "gw-*.log"))
	for _, path := range logs {
		b, _ := os.ReadFile(path)
		var shown []string
		for line := range strings.SplitSeq(string(b), "\n") {
			if !strings.HasPrefix(line, "{") || strings.Contains(line, `"code":"HK`) {
				shown = append(shown, line)
			}
		}
		t.Logf("%s:\n%s", filepath.Base(path), program.Tail(strings.Join(shown, "\n"), 3000))
	}
}
