package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
)

// Result is what a command printed and its exit code.
type Result struct {
	Out, Err string
	Code     int
}

// Command runs the program with arguments, environment and standard input.
func Command(tb testing.TB, env []string, stdin string, args ...string) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(tb), args...)
	cmd.Env = append(environment(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	r := Result{Out: out.String(), Err: errOut.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		tb.Fatalf("hakone %s did not end\n%s%s", strings.Join(args, " "), r.Out, r.Err)
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		tb.Fatalf("hakone %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// Run runs a command against this gateway.
func (g *Gateway) Run(args ...string) Result {
	g.tb.Helper()
	return g.RunInput("", args...)
}

// RunInput is Run with standard input.
func (g *Gateway) RunInput(stdin string, args ...string) Result {
	g.tb.Helper()
	return Command(g.tb, []string{"HAKONE_ADMIN=" + g.Admin}, stdin, args...)
}

// client speaks to the admin address.
func (g *Gateway) client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if path, ok := strings.CutPrefix(g.Admin, "unix:"); ok {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", g.Admin)
		}}}
}

// Ask sends a request to the admin address and returns status and body. The body, if any, is JSON.
func (g *Gateway) Ask(method, path, body string) (int, string) {
	g.tb.Helper()
	req, err := http.NewRequest(method, g.base()+path, strings.NewReader(body))
	if err != nil {
		g.tb.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client().Do(req)
	if err != nil {
		g.tb.Fatalf("admin %s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.tb.Fatalf("admin %s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}

func (g *Gateway) get(path string) (int, string, error) {
	resp, err := g.client().Get(g.base() + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Get returns what the admin address answers with 200.
func (g *Gateway) Get(path string) string {
	g.tb.Helper()
	status, body, err := g.get(path)
	if err != nil || status != http.StatusOK {
		g.tb.Fatalf("admin %s: status %d, %v\n%s", path, status, err, body)
	}
	return body
}

// Status returns what "hakone status" shows.
func (g *Gateway) Status() admin.Status {
	g.tb.Helper()
	// Codes and severities are written as text; only what tests compare is read.
	var st struct {
		admin.Status
		Listeners   []json.RawMessage `json:"listeners"`
		Diagnostics []json.RawMessage `json:"diagnostics"`
	}
	if err := json.Unmarshal([]byte(g.Get("/status")), &st); err != nil {
		g.tb.Fatalf("read status: %v", err)
	}
	return st.Status
}

// Change makes a change and waits until a generation after it serves.
func (g *Gateway) Change(change func()) {
	g.tb.Helper()
	before := g.Status().Epoch
	change()
	g.AwaitEpoch(before)
}

// AwaitEpoch waits until a generation later than the given one serves.
func (g *Gateway) AwaitEpoch(before uint64) {
	g.tb.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if g.Status().Epoch > before {
			return
		}
	}
	g.tb.Fatalf("no generation after %d was applied", before)
}

// base is the beginning of the admin address's URLs.
func (g *Gateway) base() string {
	if strings.HasPrefix(g.Admin, "unix:") {
		return "http://hakone"
	}
	return "http://" + g.Admin
}
