package trace

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/listen"
)

// maxHead bounds the head of a proxy's answer.
const maxHead = 64 << 10

// authorization returns the Proxy-Authorization of a proxy; "" for none.
func (p *Proxy) authorization() string {
	if p.URL.User == nil {
		return ""
	}
	password, _ := p.URL.User.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.URL.User.Username()+":"+password))
}

// tunnel asks the proxy for the destination. The connection that it returns is the destination's.
func (t *tracer) tunnel(conn net.Conn, h *Hop) (net.Conn, error) {
	via := t.o.Proxy
	c := &Connect{Target: hostPort(t.o.URL), Login: via.authorization() != ""}
	h.Connect = c
	begun := time.Now()
	fail := func(code diag.Code, format string, args ...any) (net.Conn, error) {
		conn.Close()
		c.Error, c.Took = fmt.Sprintf(format, args...), Took(time.Since(begun))
		t.p.find(code, c.Error, "")
		return nil, errEnded
	}
	var b strings.Builder
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\nUser-Agent: hakone-trace\r\n", c.Target)
	if c.Login {
		fmt.Fprintf(&b, "Proxy-Authorization: %s\r\n", via.authorization())
	}
	for name, value := range via.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	if err := conn.SetDeadline(begun.Add(t.o.Timeout)); err != nil {
		return fail(diag.ProxyClosed, "the proxy is gone: %s", plainError(err))
	}
	if _, err := io.WriteString(conn, b.String()+"\r\n"); err != nil {
		return fail(diag.ProxyClosed, "the proxy closed the connection before CONNECT was sent: %s", plainError(err))
	}
	seen := &recorded{Conn: conn}
	r := bufio.NewReader(io.LimitReader(seen, maxHead))
	answer, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		code, words := notAnAnswer(seen, err)
		return fail(code, "%s", words)
	}
	c.Status, c.Reason, c.Took = answer.StatusCode, http.StatusText(answer.StatusCode), Took(time.Since(begun))
	c.Fields = interesting(answer.Header)
	if answer.StatusCode/100 != 2 {
		conn.Close()
		code := connectCode(answer.StatusCode)
		words := fmt.Sprintf("the proxy %s answered CONNECT %s with %d %s", h.Target, c.Target, c.Status, c.Reason)
		if own := c.Fields["Proxy-Status"]; own != "" {
			words += " (" + own + ")"
		}
		t.p.find(code, words, "")
		return nil, errEnded
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fail(diag.ProxyClosed, "the proxy is gone: %s", plainError(err))
	}
	first := make([]byte, r.Buffered())
	if _, err := io.ReadFull(r, first); err != nil {
		return fail(diag.ProxyClosed, "the proxy is gone: %s", plainError(err))
	}
	return &prefixed{Conn: conn, first: bytes.NewReader(first)}, nil
}

// connectCode returns the reason for a status of CONNECT.
func connectCode(status int) diag.Code {
	switch status {
	case 407:
		return diag.ProxyAuthRequired
	case 403:
		return diag.ProxyDenied
	case 502, 503, 504:
		return diag.ProxyCannotReach
	case 400, 405, 501:
		return diag.ProxyRejectedRequest
	}
	return diag.ProxyOtherAnswer
}

// notAnAnswer says what came instead of an answer.
func notAnAnswer(seen *recorded, err error) (diag.Code, string) {
	proto, _ := listen.Sniff(seen.in)
	switch {
	case proto == listen.ProtocolTLS:
		return diag.ProxySpeaksTLS, "the proxy answered CONNECT with a TLS record: its port wants TLS first"
	case len(seen.in) == 0 && isTimeout(err):
		return diag.ProxyTimeout, "the proxy did not answer CONNECT in time"
	case len(seen.in) == 0:
		return diag.ProxyClosed, "the proxy closed the connection instead of answering CONNECT; a port that wants TLS first, or a PROXY header, does so too"
	case !bytes.HasPrefix(seen.in, []byte("HTTP/")):
		return diag.ProxyNotHTTP, fmt.Sprintf("what answers CONNECT is no HTTP: %q", seen.in[:min(len(seen.in), 24)])
	}
	return diag.ProxyNotHTTP, "the proxy's answer to CONNECT is broken: " + plainError(err)
}
