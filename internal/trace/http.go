package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// maxBody bounds what is read of an answer's body.
const maxBody = 256 << 10

// fields are the header fields that tell of the way an answer took.
var fields = [...]string{"Server", "Via", "Location", "Cache-Status", "Age", "X-Cache", "X-Cache-Lookup", "X-Squid-Error", "Proxy-Status", "Proxy-Authenticate", "Www-Authenticate",
	"Strict-Transport-Security", "Alt-Svc", "Content-Type", "Retry-After", "X-Request-Id"}

// interesting picks those fields.
func interesting(h http.Header) map[string]string {
	out := map[string]string{}
	for _, name := range fields {
		if v := h.Values(name); len(v) > 0 {
			out[name] = bounded(strings.Join(v, ", "), 400)
		}
	}
	return out
}

func bounded(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// ask sends the request over conn, which carries nothing else.
func (t *tracer) ask(ctx context.Context, conn net.Conn) {
	given := false
	once := func(context.Context, string, string) (net.Conn, error) {
		if given {
			return nil, errors.New("the connection ended")
		}
		given = true
		if s, ok := conn.(*securedConn); ok {
			return s.Conn, nil
		}
		return conn, nil
	}
	transport := &http.Transport{DialContext: once, DialTLSContext: once, ForceAttemptHTTP2: true, DisableCompression: true, ResponseHeaderTimeout: t.o.Timeout,
		MaxResponseHeaderBytes: maxHead}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 3*t.o.Timeout)
	defer cancel()
	target := *t.o.URL
	target.User, target.Fragment = nil, ""
	req, err := http.NewRequestWithContext(ctx, t.o.Method, target.String(), nil)
	if err != nil {
		t.p.find(diag.UpstreamProtocolError, "the request cannot be made: "+err.Error(), "Correct URL and --method.")
		return
	}
	req.Header.Set("User-Agent", "hakone-trace")
	req.Header.Set("Accept", "*/*")
	if u := t.o.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	if t.o.Proxy != nil && t.o.URL.Scheme == "http" {
		// The proxy is asked in absolute form; the transport gets its connection as that to the proxy.
		transport.Proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: t.o.Proxy.URL.Host}, nil }
		if a := t.o.Proxy.authorization(); a != "" {
			req.Header.Set("Proxy-Authorization", a)
		}
	}
	a := &Answer{}
	t.p.Answer = a
	begun := time.Now()
	seen := &recorded{Conn: conn}
	if _, secured := conn.(*securedConn); !secured {
		conn = seen
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.askFailed(a, seen, err, begun)
		return
	}
	defer resp.Body.Close()
	a.First = Took(time.Since(begun))
	a.Proto, a.Status, a.Reason = resp.Proto, resp.StatusCode, http.StatusText(resp.StatusCode)
	a.Fields = interesting(resp.Header)
	a.id = resp.Header.Get("X-Request-Id")
	if resp.StatusCode/100 == 3 {
		a.location = resp.Header.Get("Location")
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	a.Bytes, a.Took = int64(len(body)), Took(time.Since(begun))
	if strings.Contains(resp.Header.Get("Content-Type"), "html") {
		a.Title = title(body)
	}
	if err != nil {
		a.Error = plainError(err)
		t.p.find(diag.UpstreamBodyTruncated, "the answer's body broke off: "+a.Error, "")
	}
	t.judgeAnswer(a, resp.Header, body)
}

// askFailed finds the reason for no answer.
func (t *tracer) askFailed(a *Answer, seen *recorded, err error, begun time.Time) {
	a.Took = Took(time.Since(begun))
	a.Error = bounded(plainError(err), 200)
	code, words := diag.UpstreamProtocolError, "the answer is no HTTP: "+a.Error
	alert, isAlert := alertOf(err)
	last := t.p.Hops[len(t.p.Hops)-1]
	switch {
	case !isTimeout(err) && last.TLS != nil && last.TLS.WantsCert && last.TLS.Ours == "":
		// Under TLS 1.3 it comes after the handshake, and what follows it may overtake it.
		code, words = diag.UpstreamRequiresCert, "the server asked for a client certificate, got none, and ended the connection"
		a.Error = words
	case isAlert && last.TLS != nil && last.TLS.Ours != "":
		code, words = diag.UpstreamRejectedCert, fmt.Sprintf("the server refused our certificate %s with alert %d", last.TLS.Ours, alert)
	case len(seen.in) >= 3 && (seen.in[0] == 21 || seen.in[0] == 22) && seen.in[1] == 3:
		code, words = diag.UpstreamSpeaksTLS, "the request was sent in the clear, and a TLS record came back: the port speaks TLS"
	case isTimeout(err):
		code, words = diag.UpstreamTimeout, "there was no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(a.Error, "closed"), strings.Contains(a.Error, "reset"):
		code, words = diag.UpstreamClosedEarly, "the connection ended before an answer: "+a.Error
		if t.o.URL.Scheme == "http" {
			words += "; ports that speak TLS, or that expect a PROXY header, do so too"
		}
	}
	fix := ""
	if code == diag.UpstreamSpeaksTLS {
		fix = "Write https:// in the URL."
		if t.o.Proxy != nil {
			code, fix = diag.ProxySpeaksTLS, ""
		}
	}
	t.p.find(code, words, fix)
}

// judgeAnswer tells what an answer says of the gateways on its way.
func (t *tracer) judgeAnswer(a *Answer, h http.Header, body []byte) {
	if c := reasonIn(h.Get("Proxy-Status")); c != 0 {
		e, _ := diag.Lookup(c)
		t.p.find(c, fmt.Sprintf("a Hakone on the way refused the request with %d: %s", a.Status, e.Title), "")
	} else if s := h.Get("X-Squid-Error"); s != "" {
		t.p.tell(diag.Warning, 0, fmt.Sprintf("a Squid on the way answered instead of the destination: %s", bounded(s, 100)), "Read the page that it sent, and its access log.")
	}
	if a.Status == 400 && t.o.URL.Scheme == "http" && (bytes.Contains(body, []byte("HTTPS port")) || bytes.Contains(body, []byte("speaks HTTPS")) || bytes.Contains(body, []byte("HTTP request to an HTTPS server"))) {
		t.p.find(diag.UpstreamSpeaksTLS, "the server says that this port speaks HTTPS", "Write https:// in the URL.")
	}
	if bytes.Contains(body, []byte("PROXY")) && a.Status == 400 {
		t.p.find(diag.UpstreamProtocolError, "the server says that it expects the PROXY protocol", "Connect through the load balancer, or switch the PROXY protocol off at the listener.")
	}
}

var codeIn = regexp.MustCompile(`\bHK\d{4}\b`)

// reasonIn returns Hakone's code in a Proxy-Status field; 0 for none.
func reasonIn(field string) diag.Code {
	if !strings.Contains(field, "hakone") {
		return 0
	}
	c, err := diag.ParseCode(codeIn.FindString(field))
	if err != nil {
		return 0
	}
	return c
}

var titleIn = regexp.MustCompile(`(?is)<title[^>]*>([^<]{0,300})`)

// title returns the title of an HTML page.
func title(body []byte) string {
	m := titleIn.FindSubmatch(body)
	if m == nil {
		return ""
	}
	return bounded(strings.Join(strings.Fields(html.UnescapeString(string(m[1]))), " "), 200)
}

// again connects a second time, to see whether the session is resumed.
func (t *tracer) again(ctx context.Context) {
	if t.p.Hops[len(t.p.Hops)-1].TLS == nil {
		return
	}
	second := &tracer{o: t.o, p: &Picture{}, sessions: t.sessions}
	conn, err := second.reach(ctx)
	if err == nil {
		conn.Close()
	}
	if hops := second.p.Hops; len(hops) > 0 {
		t.p.Again = hops[len(hops)-1].TLS
	}
}
