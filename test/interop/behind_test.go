//go:build e2e

package interop

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// behindEnv makes the test's own program the server of the conformance suite; its value is a behind.
const behindEnv = "HAKONE_TEST_BEHIND"

// behind is one server of the conformance suite with a gateway in front of it. The suite starts it for
// each set of settings: it reads a ServerCompatRequest from standard input, starts both, answers with the
// gateway's address, and ends both when it is told to.
type behind struct {
	Hakone string // path of the program under test
	Server string // path of the suite's server
	TLS    bool   // speak TLS to the server, whatever the clients speak
	Port   string // name of the server's port, which says what is spoken to it: http, http2, grpc, grpc-web; "" as the clients do
	Logs   string // folder for what the gateways write
}

// Field numbers of ServerCompatRequest, ServerCompatResponse and TLSCreds.
const (
	reqVersion, reqTLS, reqClientCert, reqCreds protowire.Number = 2, 4, 5, 7
	respHost, respPort, respPEM                 protowire.Number = 1, 2, 3
	credsCert, credsKey                         protowire.Number = 1, 2
)

// compat is what is told about the server that is wanted.
type compat struct {
	http1            bool
	tls              bool
	clientCA         []byte
	cert, key        []byte
	rest             []byte // the other fields, as they came
	upstreamPort     int
	upstreamCA       []byte
	dir, admin, name string
	port             int
}

// serveBehind runs until SIGTERM. It returns the exit code.
func serveBehind(settings string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var b behind
	err := json.Unmarshal([]byte(settings), &b)
	if err == nil {
		err = b.run(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "server behind the gateway: %v\n", err)
		return 1
	}
	return 0
}

func (b *behind) run(ctx context.Context) error {
	message, err := readMessage(os.Stdin)
	if err != nil {
		return fmt.Errorf("read request of the suite: %w", err)
	}
	c, err := parseCompat(message)
	if err != nil {
		return err
	}
	server, err := b.startServer(c)
	if err != nil {
		return err
	}
	defer end(server)
	gateway, err := b.startGateway(c)
	if err != nil {
		return err
	}
	var resp []byte
	resp = protowire.AppendString(protowire.AppendTag(resp, respHost, protowire.BytesType), "127.0.0.1")
	resp = protowire.AppendVarint(protowire.AppendTag(resp, respPort, protowire.VarintType), uint64(c.port))
	if c.tls {
		resp = protowire.AppendBytes(protowire.AppendTag(resp, respPEM, protowire.BytesType), c.cert)
	}
	if err := writeMessage(os.Stdout, resp); err != nil {
		return errors.Join(err, end(gateway))
	}
	<-ctx.Done()
	if err := end(gateway); err != nil { // kept where the test looks for it: the suite does not ask how its servers ended
		return os.WriteFile(filepath.Join(b.Logs, c.name+".ended"), []byte(err.Error()), 0o600)
	}
	return nil
}

// startServer starts the suite's server with the settings that it has behind a gateway.
func (b *behind) startServer(c *compat) (*exec.Cmd, error) {
	req := bytes.Clone(c.rest)
	version := uint64(2)
	if (b.Port == "" && c.http1) || b.Port == "http" {
		version = 1
	}
	req = protowire.AppendVarint(protowire.AppendTag(req, reqVersion, protowire.VarintType), version)
	if b.TLS {
		req = protowire.AppendVarint(protowire.AppendTag(req, reqTLS, protowire.VarintType), 1)
	}
	cmd := exec.Command(b.Server)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the suite's server: %w", err)
	}
	answer, err := func() ([]byte, error) {
		if err := writeMessage(in, req); err != nil {
			return nil, err
		}
		if err := in.Close(); err != nil {
			return nil, err
		}
		return readMessage(out)
	}()
	if err == nil {
		err = fields(answer, func(n protowire.Number, v uint64, b []byte) {
			switch n {
			case respPort:
				c.upstreamPort = int(v)
			case respPEM:
				c.upstreamCA = b
			}
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("answer of the suite's server: %w", err), end(cmd))
	}
	return cmd, nil
}

// startGateway writes manifests and starts the program under test on them.
func (b *behind) startGateway(c *compat) (*exec.Cmd, error) {
	dir, err := os.MkdirTemp(b.Logs, "gw-")
	if err != nil {
		return nil, err
	}
	c.dir, c.name = filepath.Join(dir, "manifests"), filepath.Base(dir)
	c.admin = filepath.Join(dir, "a.sock")
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "all.yaml"), []byte(b.manifests(c)), 0o600); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c.port = ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(b.Logs, c.name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(b.Hakone, "run", "--config", c.dir, "--address", "127.0.0.1", "--admin", "unix:"+c.admin, "--drain-timeout", "3s",
		"--port-map", fmt.Sprintf("8000=%d", c.port), "--endpoint", fmt.Sprintf("reference.default:8000=127.0.0.1:%d", c.upstreamPort))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the gateway: %w", err)
	}
	if err := awaitReady(c.admin); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, text), end(cmd))
	}
	return cmd, nil
}

func awaitReady(socket string) error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		resp, err := client.Get("http://hakone/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("the gateway did not become ready")
}

// end asks a process to end and waits; one that does not within five seconds is killed.
func end(cmd *exec.Cmd) error {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(5 * time.Second):
		_ = cmd.Process.Kill()
		<-done
		return fmt.Errorf("%s did not end on SIGTERM", filepath.Base(cmd.Path))
	}
}

// manifests are what a user would write to put the server behind a gateway.
func (b *behind) manifests(c *compat) string {
	var out strings.Builder
	out.WriteString("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: gw\nspec:\n  gatewayClassName: istio\n  listeners:\n" +
		"  - name: all\n    port: 8000\n")
	if c.tls {
		out.WriteString("    protocol: HTTPS\n    tls:\n      certificateRefs:\n      - name: creds\n")
		if c.clientCA != nil {
			out.WriteString("      options:\n        gateway.istio.io/tls-terminate-mode: MUTUAL\n")
		}
	} else {
		out.WriteString("    protocol: HTTP\n")
	}
	port := b.Port
	if port == "" {
		port = map[bool]string{true: "http", false: "http2"}[c.http1]
	}
	out.WriteString("---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: all\nspec:\n  parentRefs:\n  - name: gw\n" +
		"  rules:\n  - backendRefs:\n    - name: reference\n      port: 8000\n" +
		"---\napiVersion: v1\nkind: Service\nmetadata:\n  name: reference\nspec:\n  ports:\n  - name: " + port + "\n    port: 8000\n")
	if c.tls {
		out.WriteString("---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: creds\ntype: kubernetes.io/tls\ndata:\n")
		for _, d := range []struct {
			name string
			text []byte
		}{{"tls.crt", c.cert}, {"tls.key", c.key}, {"ca.crt", c.clientCA}} {
			if d.text != nil {
				out.WriteString("  " + d.name + ": " + base64.StdEncoding.EncodeToString(d.text) + "\n")
			}
		}
	}
	if b.TLS {
		out.WriteString("---\n" + originate("reference", "localhost", c.upstreamCA))
	}
	return out.String()
}

// parseCompat reads a ServerCompatRequest.
func parseCompat(message []byte) (*compat, error) {
	c := &compat{}
	var creds []byte
	err := fields(message, func(n protowire.Number, v uint64, b []byte) {
		switch n {
		case reqVersion:
			c.http1 = v == 1
		case reqTLS:
			c.tls = v == 1
		case reqClientCert:
			c.clientCA = b
		case reqCreds:
			creds = b
		default:
			if b != nil {
				c.rest = protowire.AppendBytes(protowire.AppendTag(c.rest, n, protowire.BytesType), b)
			} else {
				c.rest = protowire.AppendVarint(protowire.AppendTag(c.rest, n, protowire.VarintType), v)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return c, fields(creds, func(n protowire.Number, _ uint64, b []byte) {
		switch n {
		case credsCert:
			c.cert = b
		case credsKey:
			c.key = b
		}
	})
}

// fields calls f for each field of a message that has only numbers (b is nil) and bytes.
func fields(message []byte, f func(n protowire.Number, v uint64, b []byte)) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("message of the suite: %w", protowire.ParseError(n))
		}
		message = message[n:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(message)
		default:
			return fmt.Errorf("message of the suite: field %d has kind %d", number, kind)
		}
		if n < 0 {
			return fmt.Errorf("message of the suite: %w", protowire.ParseError(n))
		}
		f(number, v, b)
		message = message[n:]
	}
	return nil
}

// readMessage reads a message behind its length of four bytes.
func readMessage(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeMessage(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	return err
}
