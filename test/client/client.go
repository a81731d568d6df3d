// Package client runs the real clients of the end-to-end tests, curl and openssl s_client, and tells
// what they said. A missing program fails the test.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a client may take.
const patience = 30 * time.Second

// Answer is what curl got. Exit is curl's exit code and Err what it complained about.
type Answer struct {
	Status int
	Head   string // all heads, interim ones too
	Body   string
	Exit   int
	Err    string
}

// Field returns the value of a field of the last head, "" if it is not there.
func (a Answer) Field(name string) string {
	heads := strings.Split(strings.TrimSpace(a.Head), "\r\n\r\n")
	for line := range strings.SplitSeq(heads[len(heads)-1], "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Curl runs curl for a URL of host at addr, as with --resolve. args are curl's further arguments.
func Curl(tb testing.TB, addr, url string, args ...string) Answer {
	tb.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	scheme, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	dir := tb.TempDir()
	head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
	all := append([]string{"-sS", "--noproxy", "*", "-D", head, "-o", body, "-w", "%{http_code}", "--resolve", host + ":" + port + ":127.0.0.1"}, args...)
	out, errOut, exit := run(tb, nil, "curl", append(all, fmt.Sprintf("%s://%s:%s/%s", scheme, host, port, path))...)
	a := Answer{Exit: exit, Err: strings.TrimSpace(errOut)}
	a.Status, _ = strconv.Atoi(strings.TrimSpace(out))
	if b, err := os.ReadFile(head); err == nil {
		a.Head = string(b)
	}
	if b, err := os.ReadFile(body); err == nil {
		a.Body = string(b)
	}
	return a
}

// run runs a program; a nil stdin is empty.
func run(tb testing.TB, stdin []byte, name string, args ...string) (stdout, stderr string, exit int) {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatalf("%s is needed by this test: %v (tools/setup.sh installs it)", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		tb.Fatalf("%s %s did not end in %s\n%s%s", name, strings.Join(args, " "), patience, out.String(), errOut.String())
	case errors.As(err, &failed):
		exit = failed.ExitCode()
	case err != nil:
		tb.Fatalf("%s: %v", name, err)
	}
	return out.String(), errOut.String(), exit
}

// Shake is what openssl s_client told about a connection.
type Shake struct {
	Text     string // everything it printed
	Exit     int
	Protocol string // as in "TLSv1.3", "" if no handshake was completed
	Cipher   string
	Reused   bool
	Subject  string // of the server's certificate
	Alert    int    // number of the alert that came, 0 for none
}

// SClient runs openssl s_client against addr. input is sent after the handshake; then the connection
// is read to its end, so that an alert after the handshake is seen. Without input only the handshake
// is made.
func SClient(tb testing.TB, addr, input string, args ...string) Shake {
	tb.Helper()
	all := append([]string{"s_client", "-connect", addr, "-nocommands"}, args...)
	if input != "" {
		all = append(all, "-ign_eof")
	}
	out, errOut, exit := run(tb, []byte(input), "openssl", all...)
	return read(out+errOut, exit)
}

// patterns of what s_client prints.
type patterns struct{ protocol, established, subject, alert *regexp.Regexp }

func read(text string, exit int) Shake {
	p := patterns{
		protocol:    regexp.MustCompile(`(?m)^\s*Protocol\s*: (\S+)$`),
		established: regexp.MustCompile(`(?m)^(New|Reused), (\S+), Cipher is (\S+)$`),
		subject:     regexp.MustCompile(`(?m)^subject=(.*)$`),
		alert:       regexp.MustCompile(`SSL alert number (\d+)`),
	}
	s := Shake{Text: text, Exit: exit}
	if m := p.established.FindStringSubmatch(text); m != nil && m[3] != "(NONE)" {
		s.Reused, s.Protocol, s.Cipher = m[1] == "Reused", m[2], m[3]
		// "New, TLSv1.0, Cipher is …" names the suite's version; the session block has the connection's.
		if m := p.protocol.FindStringSubmatch(text); m != nil {
			s.Protocol = m[1]
		}
	}
	if m := p.subject.FindStringSubmatch(text); m != nil {
		s.Subject = m[1]
	}
	if m := p.alert.FindStringSubmatch(text); m != nil {
		s.Alert, _ = strconv.Atoi(m[1])
	}
	return s
}
