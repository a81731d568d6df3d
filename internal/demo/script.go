package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// step is one client line with what it must lead to: an HTTP status, or a refused handshake.
type step struct {
	host, path string
	client     [2]string // certificate and key files, empty for none
	tlsMax     string    // "1.1" or ""
	http       bool      // plain HTTP to the TLS port
	noCA       bool      // do not trust the demo's CA
	status     int       // 0: the handshake is refused
	code       diag.Code // the reason that must be recorded, 0 for none
	says       string
}

func (s *stage) steps() []step {
	return []step{
		{host: httpbin, path: "/status/418", status: 418, says: "418, a teapot"},
		{host: helloworld, path: "/hello", status: 200, says: "200, another host and certificate on the same port"},
		{host: httpbin, path: "/nowhere", status: 404, code: diag.NoRoute, says: "404; the line here names the nearest route"},
		{host: partners, path: "/status/418", code: diag.ClientCertMissing, says: "refused: a client certificate is required (alert 116)"},
		{host: partners, path: "/headers", client: s.alice, status: 200, says: "200; the backend is told who alice is"},
		{host: partners, path: "/headers", client: s.mallory, code: diag.ClientCertUnknownCA, says: "refused: another CA of the same name"},
		{host: httpbin, path: "/get", tlsMax: "1.1", code: diag.TLSVersionTooLow, says: "refused: TLS 1.1 is below the floor (alert 70)"},
		{host: "unknown." + domain, path: "/", code: diag.SNIUnknown, says: "closed: no listener has this name"},
		{host: httpbin, path: "/get", http: true, status: 400, code: diag.PlaintextOnTLSPort, says: "400: plain HTTP on a TLS port"},
		{host: httpbin, path: "/get", noCA: true, code: diag.PeerUnknownCA, says: "the client does not trust the CA; this side knows why"},
	}
}

// args are curl's arguments for a step.
func (p *step) args(s *stage) []string {
	scheme := "https"
	if p.http {
		scheme = "http"
	}
	var a []string
	if !p.noCA && !p.http {
		a = append(a, "--cacert", s.ca)
	}
	if p.client[0] != "" {
		a = append(a, "--cert", p.client[0], "--key", p.client[1])
	}
	if p.tlsMax != "" {
		a = append(a, "--tlsv1.0", "--tls-max", p.tlsMax, "--ciphers", "ALL:@SECLEVEL=0")
	}
	return append(a, fmt.Sprintf("%s://%s:%d%s", scheme, p.host, s.port, p.path))
}

// line is the step as a person types it.
func (p *step) line(s *stage) string {
	words := []string{"curl", "-i"}
	for _, a := range p.args(s) {
		if strings.ContainsAny(a, " @") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// script runs every step with curl, or with a client of its own where curl is missing, and says what
// became of it.
func (s *stage) script(ctx context.Context) bool {
	curl, err := exec.LookPath("curl")
	if err != nil {
		fmt.Fprintln(s.opts.Out, "  curl is not installed: a built-in client sends the same requests")
	}
	failed := 0
	steps := s.steps()
	for i := range steps {
		p := &steps[i]
		s.tap.reset()
		var status int
		var trouble error
		if curl != "" {
			status, trouble = p.runCurl(ctx, s, curl)
		} else {
			status, trouble = p.runBuiltin(ctx, s)
		}
		code := s.tap.wait(p.code, 3*time.Second)
		ok := status == p.status && (p.status != 0 || trouble != nil) && code == p.code
		mark := "✓"
		if !ok {
			mark, failed = "✗", failed+1
		}
		got := "refused"
		if status != 0 {
			got = strconv.Itoa(status)
		}
		if code != 0 {
			got += " " + code.String() + " " + code.Slug()
		}
		fmt.Fprintf(s.opts.Out, "  %s %s\n      → %s\n", mark, p.line(s), got)
		if !ok {
			fmt.Fprintf(s.opts.Out, "      expected status %d, reason %q; the client said: %v\n", p.status, p.code.Slug(), trouble)
		}
	}
	fmt.Fprintf(s.opts.Out, "\n%d of %d lines did what they should, in %s\n", len(steps)-failed, len(steps), time.Since(s.began).Round(10*time.Millisecond))
	return failed == 0
}

// runCurl returns the HTTP status, 0 without one, and what curl complained about.
func (p *step) runCurl(ctx context.Context, s *stage, curl string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := append([]string{"-sS", "-o", os.DevNull, "-w", "%{http_code}", "--noproxy", "*",
		"--resolve", fmt.Sprintf("%s:%d:127.0.0.1", p.host, s.port)}, p.args(s)...)
	cmd := exec.CommandContext(ctx, curl, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	status, _ := strconv.Atoi(strings.TrimSpace(stdout.String()))
	if err != nil {
		return status, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return status, nil
}

// runBuiltin does the same with Go's client.
func (p *step) runBuiltin(ctx context.Context, s *stage) (int, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS10, ServerName: p.host}
	if !p.noCA {
		b, err := os.ReadFile(s.ca)
		if err != nil {
			return 0, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(b)
	}
	if p.tlsMax == "1.1" {
		config.MaxVersion = tls.VersionTLS11
	}
	if p.client[0] != "" {
		pair, err := tls.LoadX509KeyPair(p.client[0], p.client[1])
		if err != nil {
			return 0, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)))
		}}
	args := p.args(s)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[len(args)-1], nil)
	if err != nil {
		return 0, err
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
