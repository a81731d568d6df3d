//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/corpus"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
)

// TestCorpus sends every case of the codec's corpus over TLS, and looks at what raw upstreams receive, one
// of HTTP/1.1 and one of HTTP/2. After each case a harmless request follows on a connection of its own:
// what reaches the upstream with it, or before it, would be somebody else's bytes.
func TestCorpus(t *testing.T) {
	t.Parallel()
	cases, err := corpus.Read(os.DirFS("../../internal/http1/testdata/corpus"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 100 {
		t.Errorf("%d cases, want at least 100", len(cases))
	}
	byFile := map[string][]corpus.Case{}
	for _, c := range cases {
		byFile[c.File] = append(byFile[c.File], c)
	}
	for file, cases := range byFile {
		for _, toHTTP2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s to HTTP/%d", file, number(toHTTP2)), func(t *testing.T) {
				t.Parallel()
				runCorpus(t, cases, toHTTP2)
			})
		}
	}
}

// number is the version of HTTP.
func number(http2 bool) int {
	if http2 {
		return 2
	}
	return 1
}

// corpusWorld is a gateway on ports 443 and 80 in front of a raw upstream that answers everything with 200.
func corpusWorld(t *testing.T, toHTTP2 bool) *corpusRun {
	t.Helper()
	var up *rawupstream.Upstream
	port := "http"
	if toHTTP2 {
		port = "http2"
		up = rawupstream.StartHTTP2(t, nil, func(m *rawupstream.Message, c *rawupstream.HTTP2Conn) {
			if strings.HasPrefix(m.Head, "HEAD ") || m.Opened {
				c.Head(m.Stream, true, ":status", "200")
				if m.Opened {
					_, _ = io.Copy(io.Discard, c.Tunnel(m.Stream))
				}
				return
			}
			c.Reply(m.Stream, "ok")
		})
	} else {
		up = rawupstream.Start(t, func(_ *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
			return rawupstream.Reply(c, 200, "", "")
		})
	}
	s := newSite(t, "a.test")
	plainServer := "  - port:\n      number: 80\n      name: web\n      protocol: HTTP\n    hosts:\n    - \"*\"\n"
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "*", secret: "site"}) + plainServer,
		"route.yaml": routeAll("all", "*", "backend"), "secret.yaml": secretTLS("site", s.leaf), "service.yaml": service("backend", port)},
		Endpoints: []string{"backend.default:8000=" + up.Addr}, Args: []string{"--http2-reset-burst", "-1", "--http2-control-burst", "-1"}})
	return &corpusRun{t: t, g: g, up: up, site: s, http2: toHTTP2}
}

// service is a Service whose port 8000 has a name.
func service(name, port string) string {
	return "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\nspec:\n  ports:\n  - name: " + port + "\n    port: 8000\n"
}

func runCorpus(t *testing.T, cases []corpus.Case, toHTTP2 bool) {
	r := corpusWorld(t, toHTTP2)
	for _, c := range cases {
		for how, send := range map[string]func(*client.Conn, []byte){"at once": atOnce, "in pieces": inPieces} {
			if err := r.run(c, send); err != nil {
				t.Errorf("%s:%d %s (%s), sent %s: %v", c.File, c.Line, c.Name, c.Note, how, err)
			}
		}
	}
	t.Logf("%d cases, %d requests at the upstream over %d connections", len(cases), r.up.Count(), r.up.Connections())
}

type corpusRun struct {
	t     *testing.T
	g     *gateway.Gateway
	up    *rawupstream.Upstream
	site  site
	http2 bool // the upstream speaks it
	n     int
}

func (r *corpusRun) dial() *client.Conn {
	return client.DialTLS(r.t, r.g.Addr(443), r.site.config("a.test"))
}

// atOnce and inPieces send a case; the gateway may answer and close before it has read all.
func atOnce(c *client.Conn, b []byte) { _, _ = c.Write(b) }

// inPieces sends the first head, and once that may have reached the upstream the rest, a few bytes a
// record.
func inPieces(c *client.Conn, b []byte) {
	if _, body, ok := bytes.Cut(b, []byte("\r\n\r\n")); ok {
		_, _ = c.Write(b[:len(b)-len(body)])
		time.Sleep(10 * time.Millisecond)
		b = body
	}
	for len(b) > 0 {
		n := min(len(b), max(3, len(b)/64))
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}

func (r *corpusRun) run(c corpus.Case, send func(*client.Conn, []byte)) error {
	from, mark := r.up.Count(), r.g.Mark()
	conn := r.dial()
	go send(conn, c.Send)
	err := r.answers(conn, c, mark)
	conn.Close()
	if err != nil {
		return err
	}
	got, err := r.canary(from)
	if err != nil {
		return err
	}
	return r.compare(c, got)
}

// compare holds what reached the upstream against the outcomes of a case.
// That a message was cut is seen when its connection ends, which may be one or two cases later: what was
// expected and cut is none here, and anything else that is no whole message has another error.
func (r *corpusRun) compare(c corpus.Case, got []*rawupstream.Message) error {
	got = slices.DeleteFunc(slices.Clone(got), wasCut)
	for i, want := range c.Want {
		if want.Kind != corpus.Forward || !forwards(want) {
			continue
		}
		cut := i+1 < len(c.Want) && c.Want[i+1].Kind == corpus.Refuse
		if len(got) == 0 {
			if cut {
				continue // the body was refused before anything was sent on
			}
			return fmt.Errorf("outcome %d: nothing reached the upstream", i)
		}
		m := got[0]
		switch {
		case cut && m.Err == nil && string(m.Body) != string(want.Body):
			return fmt.Errorf("outcome %d: a refused body reached the upstream whole: %q %q", i, m.Head, m.Body)
		case r.head(m.Head) != r.head(string(want.Head)):
			return fmt.Errorf("outcome %d: the upstream received\n %q\n want %q", i, r.head(m.Head), r.head(string(want.Head)))
		case !cut && (m.Err != nil || string(m.Body) != string(want.Body)):
			return fmt.Errorf("outcome %d: the upstream received body %q, %v; want %q", i, m.Body, m.Err, want.Body)
		case cut && m.Err == nil && len(want.Body) == 0 && !completes(want):
			return fmt.Errorf("outcome %d: a refused request reached the upstream whole: %q", i, m.Head)
		}
		got = got[1:]
	}
	if len(got) > 0 {
		return fmt.Errorf("%d further requests reached the upstream, first %q %q %v", len(got), got[0].Head, got[0].Body, got[0].Err)
	}
	return nil
}

// wasCut reports whether a message broke off.
func wasCut(m *rawupstream.Message) bool {
	var reset http2.StreamError
	return errors.Is(m.Err, io.ErrUnexpectedEOF) || errors.Is(m.Err, syscall.ECONNRESET) || errors.As(m.Err, &reset)
}

// head is a head without the fields that the gateway adds, and for an upstream of HTTP/2 in the form of
// rawupstream's record, without what HTTP/2 has no use for.
func (r *corpusRun) head(head string) string {
	head = plain(head)
	if !r.http2 {
		return head
	}
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")
	var host string
	var fields, cookies []string
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		switch name = strings.ToLower(name); name {
		case "host":
			host = value
		case "cookie":
			cookies = append(cookies, value)
		case "content-length", "transfer-encoding", "connection", "upgrade", "sec-websocket-key":
		default:
			fields = append(fields, name+": "+value+"\r\n")
		}
	}
	if cookies != nil {
		fields = append(fields, "cookie: "+strings.Join(cookies, "; ")+"\r\n")
	}
	return lines[0] + "\r\nHost: " + host + "\r\n" + strings.Join(fields, "") + "\r\n"
}

// forwards says whether the codec's good message is one that a gateway passes on.
func forwards(o corpus.Outcome) bool {
	return !strings.HasPrefix(string(o.Head), "CONNECT ") && !strings.HasPrefix(string(o.Head), "TRACE ")
}

// completes says whether a head stands for a whole message without further bytes.
func completes(o corpus.Outcome) bool {
	head := strings.ToLower(string(o.Head))
	return !strings.Contains(head, "\r\ntransfer-encoding:") && (!strings.Contains(head, "\r\ncontent-length:") || strings.Contains(head, "\r\ncontent-length: 0\r\n"))
}

// answers reads what comes back and compares it with the outcomes.
func (r *corpusRun) answers(conn *client.Conn, c corpus.Case, mark gateway.Mark) error {
	for i, want := range c.Want {
		if want.Kind == corpus.More {
			_ = conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
			if b, err := conn.R.Peek(1); err == nil {
				return fmt.Errorf("outcome %d: answered with %q…, want that more is awaited", i, b)
			}
			return nil
		}
		resp, _, err := conn.TryReceive("GET")
		for err == nil && resp.StatusCode == 100 {
			resp, _, err = conn.TryReceive("GET")
		}
		if err != nil {
			return fmt.Errorf("outcome %d: no answer: %w", i, err)
		}
		if want.Kind == corpus.Forward && i+1 < len(c.Want) && c.Want[i+1].Kind == corpus.Refuse && resp.StatusCode != 200 {
			return r.refused(conn, resp, c.Want[i+1], mark) // one answer for head and body
		}
		switch {
		case want.Kind == corpus.Refuse:
			return r.refused(conn, resp, want, mark)
		case !forwards(want):
			if resp.StatusCode != 405 {
				return fmt.Errorf("outcome %d: status %d, want 405", i, resp.StatusCode)
			}
		case resp.StatusCode == 101 && r.http2 && strings.Contains(string(want.Head), "\r\nUpgrade: websocket\r\n"):
			return nil // an upstream of HTTP/2 that does not want one says so by its status
		case resp.StatusCode != 200:
			return fmt.Errorf("outcome %d: status %d, want it forwarded", i, resp.StatusCode)
		}
	}
	return nil
}

// refused judges the answer to a refused message: status, code, and the end of the connection.
func (r *corpusRun) refused(conn *client.Conn, resp *http.Response, want corpus.Outcome, mark gateway.Mark) error {
	if resp.StatusCode != want.Status || !resp.Close || !strings.Contains(resp.Header.Get("Proxy-Status"), want.Code.String()) {
		return fmt.Errorf("answer %d, close %v, Proxy-Status %q; want %d %s and the connection closed", resp.StatusCode, resp.Close, resp.Header.Get("Proxy-Status"), want.Status, want.Code)
	}
	conn.Closed()
	line := r.g.AwaitLine(mark, "kind", "request", "id", resp.Header.Get("X-Request-Id"))
	if line.S("code") != want.Code.String() || line.N("status") != float64(want.Status) || line.S("detail") == "" {
		return fmt.Errorf("access log: %v", line)
	}
	return nil
}

// canary sends a harmless request and returns what the upstream received before it.
func (r *corpusRun) canary(from int) ([]*rawupstream.Message, error) {
	r.n++
	path := fmt.Sprintf("/canary-%d", r.n)
	conn := r.dial()
	defer conn.Close()
	if resp, _ := conn.Get("a.test", path); resp.StatusCode != 200 {
		return nil, fmt.Errorf("the request after it got %d", resp.StatusCode)
	}
	return r.before(from, path)
}

// before returns what the upstream received since from but the harmless request for path, which must be there.
func (r *corpusRun) before(from int, path string) ([]*rawupstream.Message, error) {
	got := r.up.Since(from)
	at := slices.IndexFunc(got, func(m *rawupstream.Message) bool { return m.Path() == path })
	if at < 0 {
		return nil, fmt.Errorf("the request after it did not reach the upstream; that received %d others", len(got))
	}
	if want := "GET " + path + " HTTP/1.1\r\nHost: a.test\r\n\r\n"; r.head(got[at].Head) != want || len(got[at].Body) != 0 || got[at].Err != nil {
		return nil, fmt.Errorf("the request after it reached the upstream as %q %q %v", got[at].Head, got[at].Body, got[at].Err)
	}
	// A cut message is noticed when its connection ends, which may be after the canary.
	return slices.Delete(slices.Clone(got), at, at+1), nil
}

// plain is a head without the fields that the gateway adds or replaces.
func plain(head string) string {
	var b strings.Builder
	for line := range strings.SplitAfterSeq(head, "\r\n") {
		name, _, _ := strings.Cut(strings.ToLower(line), ":")
		if !slices.Contains([]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-client-cert", "x-request-id", "x-real-ip",
			"forwarded", "client-cert", "client-cert-chain"}, name) {
			b.WriteString(line)
		}
	}
	return b.String()
}
