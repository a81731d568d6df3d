package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Bounds of a check: bytes of an answer's body that are looked at, and redirects.
const (
	checkBody      = 16 << 10
	checkRedirects = 3
	checkTimeout   = 5 * time.Second
)

// checked is the result of a check. Code is zero if it passed.
type checked struct {
	code   diag.Code
	detail string
	rtt    time.Duration
}

// check asks an origin how it is. Checks are not the data path: they use a connection each, made by the pool's
// own settings, so that they fail for the reason that requests would fail for.
func (r *Registry) check(ctx context.Context, p *plan) checked {
	timeout := p.monitor.Timeout
	if timeout <= 0 {
		timeout = checkTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	a := &asking{r: r, plan: p, timeout: timeout}
	err := a.ask(ctx)
	res := checked{rtt: time.Since(began)}
	if err != nil {
		res.code, res.detail = err.Code, err.Error()
	}
	return res
}

// asking is one check in progress.
type asking struct {
	r       *Registry
	plan    *plan
	timeout time.Duration
	ready   bool   // there was a connection
	proxy   string // that the connection goes through
}

func (a *asking) ask(ctx context.Context) *Error {
	if a.plan.monitor.Type == "tcp" {
		conn, err := a.dial(ctx)
		if err == nil {
			conn.Close()
		}
		return err
	}
	return a.request(ctx)
}

// port is where the origin is asked.
func (a *asking) port() uint16 {
	if p := a.plan.monitor.Port; p != 0 {
		return p
	}
	return a.plan.target.Port
}

// dial connects to the first of the origin's addresses that takes a connection.
func (a *asking) dial(ctx context.Context) (net.Conn, *Error) {
	host := a.plan.target.Host
	if u := a.plan.by; u.via != nil {
		l, direct, err := u.through(ctx, newTarget(host, a.port()))
		switch {
		case l != nil:
			a.proxy = l.way.Proxy
			return l.conn, nil
		case !direct:
			return nil, err
		}
	}
	var addrs []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{ip.Unmap()}
	} else if addrs, err = a.r.resolve(ctx, host); err != nil {
		return nil, &Error{Code: diag.UpstreamDNS, Detail: fmt.Sprintf("the name %q does not resolve", host), Err: err}
	}
	var first *Error
	for _, addr := range addrs {
		to := netip.AddrPortFrom(addr, a.port())
		conn, err := a.r.opt.Dial(ctx, "tcp", to.String())
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = connectError(to, err)
		}
	}
	return nil, first
}

// host is the Host that the origin is asked for.
func (a *asking) host() string {
	for _, h := range a.plan.monitor.Headers {
		if strings.EqualFold(h.Name, "Host") {
			return h.Value
		}
	}
	if h := a.plan.target.Server.HostHeader; h != "" {
		return h
	}
	host := a.plan.target.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.port() == 443 && a.plan.monitor.Type == "https" || a.port() == 80 && a.plan.monitor.Type == "http" {
		return host
	}
	return host + ":" + strconv.Itoa(int(a.port()))
}

// serverName is SNI and the name that the origin's certificate must have. Requests of clients bring a host
// where the origin's settings name none; here the check's Host stands for it.
func (a *asking) serverName() string {
	if n := a.plan.target.Server.VerifyName; n != "" {
		return n
	}
	if t := a.plan.by.Settings.TLS; t != nil && !follows(t) {
		return ""
	}
	u := url.URL{Host: a.host()}
	return strings.ToLower(u.Hostname())
}

// nameless reports whether the origin's address stands for a name that only requests bring.
func (a *asking) nameless() bool {
	s := a.plan.target.Server
	return s.VerifyName == "" && s.HostHeader == "" && !slices.ContainsFunc(a.plan.monitor.Headers, func(h ir.NameValue) bool { return strings.EqualFold(h.Name, "Host") })
}

// secure makes a TLS connection to the origin.
func (a *asking) secure(ctx context.Context) (net.Conn, *Error) {
	conn, failure := a.dial(ctx)
	if failure != nil {
		return nil, failure
	}
	t := a.plan.by.checkTLS()
	if t == nil {
		conn.Close()
		return nil, &Error{Code: diag.UpstreamCredentialMissing, Detail: "there is no TLS material for checks of upstream " + a.plan.by.Name}
	}
	secured, rec := handshakeVia(ctx, t, conn, a.proxy, a.serverName(), a.speak())
	if secured == nil {
		conn.Close()
		failure = &Error{Code: rec.Code, Detail: rec.Detail}
		if rec.Code == diag.UpstreamNameMismatch && a.nameless() {
			failure.Detail += "; requests bring the name of their host here, checks have none: give the origin a verifyName, or the monitor a Host header"
			return nil, failure
		}
		if rec.Err != "" {
			failure.Err = errors.New(rec.Err)
		}
		return nil, failure
	}
	return secured, nil
}

// speak is the protocol of the check: the pool's.
func (a *asking) speak() ir.UpstreamProtocol {
	switch p := a.plan.by.Settings.Protocol; p {
	case ir.UpstreamHTTP2:
		return p
	case ir.UpstreamAuto:
		if a.plan.monitor.Type == "https" {
			return p
		}
	}
	return ir.UpstreamHTTP1
}

// transport returns a client of HTTP that connects to the origin whatever it is asked for.
func (a *asking) transport() *http.Transport {
	p := new(http.Protocols)
	speak := a.speak()
	p.SetHTTP1(speak != ir.UpstreamHTTP2)
	p.SetHTTP2(speak != ir.UpstreamHTTP1)
	p.SetUnencryptedHTTP2(speak == ir.UpstreamHTTP2)
	return &http.Transport{
		Protocols: p, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext:    func(ctx context.Context, _, _ string) (net.Conn, error) { return a.noted(a.dial(ctx)) },
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return a.noted(a.secure(ctx)) },
	}
}

func (a *asking) noted(conn net.Conn, err *Error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	a.ready = true
	return conn, nil
}

// errElsewhere is a redirect that a check does not follow.
var errElsewhere = errors.New("redirected elsewhere")

// request sends the monitor's request and judges the answer.
func (a *asking) request(ctx context.Context) *Error {
	m := a.plan.monitor
	method, path := m.Method, m.Path
	if method == "" {
		method = http.MethodGet
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, method, m.Type+"://"+a.host()+path, nil)
	if err != nil {
		return &Error{Code: diag.UpstreamConnectFailed, Detail: "the monitor's request cannot be made: " + err.Error()}
	}
	req.Header.Set("User-Agent", "Hakone-Monitor/1")
	for _, h := range m.Headers {
		if !strings.EqualFold(h.Name, "Host") {
			req.Header.Set(h.Name, h.Value)
		}
	}
	t := a.transport()
	defer t.CloseIdleConnections()
	client := http.Client{Transport: t, CheckRedirect: a.redirected}
	resp, err := client.Do(req)
	if err != nil {
		return a.explain(ctx, err)
	}
	defer resp.Body.Close()
	if !expected(m.Codes, resp.StatusCode) {
		return &Error{Code: diag.CheckUnexpectedStatus, Detail: fmt.Sprintf("%s %s was answered %d", method, path, resp.StatusCode)}
	}
	if m.Body == "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, checkBody))
	if bytes.Contains(body, []byte(m.Body)) {
		return nil
	}
	if err != nil {
		return a.explain(ctx, err)
	}
	return &Error{Code: diag.CheckUnexpectedBody, Detail: fmt.Sprintf("the first %d bytes of the answer to %s %s do not hold %q", len(body), method, path, m.Body)}
}

// redirected follows redirects on the same origin, where the monitor does.
func (a *asking) redirected(req *http.Request, via []*http.Request) error {
	switch {
	case !a.plan.monitor.FollowRedirects:
		return http.ErrUseLastResponse
	case len(via) > checkRedirects:
		return &Error{Code: diag.CheckRedirect, Detail: fmt.Sprintf("more than %d redirects", checkRedirects), Err: errElsewhere}
	case req.URL.Scheme != via[0].URL.Scheme || !strings.EqualFold(req.URL.Host, via[0].URL.Host):
		return &Error{Code: diag.CheckRedirect, Detail: "redirected to " + req.URL.Scheme + "://" + req.URL.Host, Err: errElsewhere}
	}
	return nil
}

// explain names the cause of a request without an answer.
func (a *asking) explain(ctx context.Context, err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		if known.Err == errElsewhere {
			known.Err = nil
		}
		return known
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if t := a.plan.by.checkTLS(); t != nil && a.plan.monitor.Type == "https" {
		if code, detail, ok := t.ReadError(err); ok {
			return &Error{Code: code, Detail: detail}
		}
	}
	where := hostname.WithPort(a.plan.target.Host, a.port())
	switch {
	case ctx.Err() != nil && !a.ready:
		return &Error{Code: diag.UpstreamConnectTimeout, Detail: where + " did not accept the connection in " + a.timeout.String()}
	case ctx.Err() != nil:
		return &Error{Code: diag.UpstreamTimeout, Detail: fmt.Sprintf("%s did not answer in %s", where, a.timeout)}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Code: diag.UpstreamClosedEarly, Detail: where + " closed the connection without an answer"}
	}
	return &Error{Code: diag.UpstreamReset, Detail: "no answer from " + where, Err: err}
}

// expected reports whether a status is one of those; without any, 2xx is.
func expected(codes []ir.CodeRange, status int) bool {
	if len(codes) == 0 {
		return status >= 200 && status < 300
	}
	return slices.ContainsFunc(codes, func(c ir.CodeRange) bool { return c.From <= status && status <= c.To })
}
