package tlsconf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tlsSource reads files of this toolchain's crypto/tls.
func tlsSource(t *testing.T, names ...string) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "src/crypto/tls", n))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// TestTexts holds this release of Go to the texts by which errors are told apart: none that is looked
// for may be gone, and none of the handshake may be new.
func TestTexts(t *testing.T) {
	text := regexp.MustCompile(`(?:errors\.New|fmt\.Errorf)\("(tls: [^"]*)`)
	for _, side := range []struct {
		causes []cause
		own    []string // where every text must be known
		also   []string // where known texts may come from, too
		rest   []string // texts that fall to the general code
	}{
		{serverCauses(), []string{"handshake_server.go", "handshake_server_tls13.go"}, []string{"auth.go", "key_agreement.go", "common.go", "conn.go"},
			[]string{"tls: internal error", "tls: unsupported signing key type", "tls: unsupported decryption key type", "tls: Encrypted Client Hello", "tls: FIPS 140-3",
				"tls: client did not request an application protocol", "tls: CurvePreferences includes unsupported curve", "tls: early_data without",
				"tls: client offered TLS version older than TLS 1.3", "tls: client did not send a quic", "tls: client sent an unexpected quic",
				"tls: handshake buffer not empty", "tls: second client hello missing encrypted", "tls: client sent invalid encrypted", "tls: unexpected switch in encrypted",
				"tls: second client hello encrypted", "tls: failed to decrypt second client hello", "tls: client indicated early data in second"}},
		{upstreamCauses(), nil, []string{"handshake_client.go", "handshake_client_tls13.go", "key_agreement.go", "auth.go"}, nil},
	} {
		all := tlsSource(t, append(side.own, side.also...)...)
		for _, c := range side.causes {
			if !strings.Contains(all, `"`+c.prefix) {
				t.Errorf("crypto/tls no longer says %q", c.prefix)
			}
		}
		for _, m := range text.FindAllStringSubmatch(tlsSource(t, side.own...), -1) {
			known := false
			for _, c := range side.causes {
				known = known || strings.HasPrefix(m[1], c.prefix)
			}
			for _, r := range side.rest {
				known = known || strings.HasPrefix(m[1], r)
			}
			if !known {
				t.Errorf("crypto/tls says %q, which no cause covers", m[1])
			}
		}
	}
	if !strings.Contains(tlsSource(t, "common.go"), `"tls: received unexpected handshake message of type %T when waiting for %T"`) {
		t.Error("crypto/tls words unexpected messages differently")
	}
}

// uint8Alert stands for crypto/tls's unexported type.
type uint8Alert uint8

func (uint8Alert) Error() string { return "alert" }

// TestAlertOf reads numbers of alerts and nothing else. That crypto/tls really wraps them so is shown
// by every test that expects an alert.
func TestAlertOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want uint8
		ok   bool
	}{
		{&net.OpError{Op: "remote error", Err: uint8Alert(48)}, 48, true},
		{fmt.Errorf("wrapped: %w", &net.OpError{Op: "remote error", Err: uint8Alert(116)}), 116, true},
		{&net.OpError{Op: "local error", Err: uint8Alert(20)}, 0, false},
		{&net.OpError{Op: "remote error", Err: errors.New("x")}, 0, false},
		{&net.OpError{Op: "remote error"}, 0, false},
		{&net.OpError{Op: "read", Err: errors.New("x")}, 0, false},
		{nil, 0, false},
	} {
		if got, ok := receivedAlert(c.err); got != c.want || ok != c.ok {
			t.Errorf("%v: %d %v", c.err, got, ok)
		}
	}
}
