package demo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
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
	plain      int       // the port for plain HTTP, instead of the TLS port
	proxy      int       // the port of the proxy to ask, which is the gateway; the URL has no port then
	direct     int       // the port of a backend, asked without the gateway: nothing is recorded
	command    []string  // one of hakone's own commands instead, whose output holds wants
	wants      []string
	status     int       // 0: the handshake is refused
	code       diag.Code // the reason that must be recorded, 0 for none
	says       string
}

// args are curl's arguments for a step.
func (p *step) args(s *stage) []string {
	scheme := "https"
	if p.http || p.plain != 0 {
		scheme = "http"
	}
	var a []string
	if !p.noCA && scheme == "https" {
		a = append(a, "--cacert", s.ca)
	}
	if p.client[0] != "" {
		a = append(a, "--cert", p.client[0], "--key", p.client[1])
	}
	if p.tlsMax != "" {
		a = append(a, "--tlsv1.0", "--tls-max", p.tlsMax, "--ciphers", "ALL:@SECLEVEL=0")
	}
	if strings.Contains(p.path, "/../") {
		a = append(a, "--path-as-is")
	}
	if p.proxy != 0 {
		return append(a, "--proxy", fmt.Sprintf("127.0.0.1:%d", p.proxy), fmt.Sprintf("%s://%s%s", scheme, p.host, p.path))
	}
	return append(a, fmt.Sprintf("%s://%s:%d%s", scheme, p.host, p.port(s), p.path))
}

// port is what the client connects to, without a proxy.
func (p *step) port(s *stage) int { return cmp.Or(p.direct, p.plain, s.port) }

// line is the step as a person types it.
func (p *step) line(s *stage) string {
	if p.command != nil {
		return s.opts.Program + " " + strings.Join(p.command, " ")
	}
	words := []string{"curl", "-i"}
	for _, a := range p.args(s) {
		if strings.ContainsAny(a, " @;") {
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
	steps := s.opts.Scene.steps(s)
	for i := range steps {
		p := &steps[i]
		if p.command != nil {
			if s.opts.Command != nil && !s.runCommand(ctx, p) {
				failed++
			}
			continue
		}
		s.tap.reset()
		var status int
		var trouble error
		if curl != "" {
			status, trouble = p.runCurl(ctx, s, curl)
		} else {
			status, trouble = p.runBuiltin(ctx, s)
		}
		code := p.code
		if p.direct == 0 {
			code = s.tap.wait(p.code, 3*time.Second)
		}
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

// runCommand runs one of hakone's own commands and reports whether it said what it should.
func (s *stage) runCommand(ctx context.Context, p *step) bool {
	args := append(slices.Clone(p.command), "--admin", s.admin())
	var out, errOut bytes.Buffer
	ok := false
	// What the gateway records is there a moment after the answer.
	for end := time.Now().Add(5 * time.Second); !ok && time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		out.Reset()
		errOut.Reset()
		ok = s.opts.Command(ctx, args, &out, &errOut) == 0 && holds(out.String(), p.wants)
		if ok {
			break
		}
	}
	mark := "✓"
	if !ok {
		mark = "✗"
	}
	fmt.Fprintf(s.opts.Out, "  %s %s\n", mark, p.line(s))
	for line := range strings.Lines(out.String() + errOut.String()) {
		fmt.Fprintf(s.opts.Out, "      %s", line)
	}
	return ok
}

func holds(text string, wants []string) bool {
	return !slices.ContainsFunc(wants, func(w string) bool { return !strings.Contains(text, w) })
}

// runCurl returns the HTTP status, 0 without one, and what curl complained about.
func (p *step) runCurl(ctx context.Context, s *stage, curl string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := []string{"-sS", "-o", os.DevNull, "-w", "%{http_code}"}
	if p.proxy == 0 {
		args = append(args, "--noproxy", "*", "--resolve", fmt.Sprintf("%s:%d:127.0.0.1", p.host, p.port(s)))
	}
	args = append(args, p.args(s)...)
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
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(cmp.Or(p.proxy, p.port(s)))))
		}}
	if p.proxy != 0 {
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.proxy))})
	}
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
