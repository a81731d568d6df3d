package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// tracer follows one URL.
type tracer struct {
	o        Options
	p        *Picture
	sessions *sessions
}

// errEnded ends a trace: the finding was made.
var errEnded = errors.New("the trace ended")

// run draws the picture of one URL.
func (t *tracer) run(ctx context.Context) *Picture {
	begun := t.o.Now()
	t.p = &Picture{URL: redact(t.o.URL), Time: begun.UTC(), Findings: []diag.Diagnostic{}}
	var wg sync.WaitGroup
	var direct *Hop
	if t.o.Proxy != nil {
		t.p.Proxy = redact(t.o.Proxy.URL)
		if t.o.Direct != DirectNever && t.o.URL.Scheme == "https" {
			wg.Go(func() { direct = t.directly(ctx) })
		}
	}
	start := time.Now()
	conn, err := t.reach(ctx)
	if err == nil {
		t.ask(ctx, conn)
		conn.Close()
		if last := t.p.Hops[len(t.p.Hops)-1]; last.TLS != nil {
			last.TLS.Tickets = t.sessions.count(t.o.URL.Hostname())
		}
		if t.o.Again {
			t.again(ctx)
		}
	}
	t.p.Took = Took(time.Since(start))
	wg.Wait()
	if direct != nil {
		t.compare(direct)
	}
	return t.p
}

// redact returns a URL without its password.
func redact(u *url.URL) string { return u.Redacted() }

// portOf returns the URL's port, or its scheme's.
func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

func hostPort(u *url.URL) string { return net.JoinHostPort(u.Hostname(), portOf(u)) }

// reach connects: to the destination, or to the proxy and through it. What is returned carries HTTP.
func (t *tracer) reach(ctx context.Context) (net.Conn, error) {
	dest := &Hop{Name: "destination", Target: hostPort(t.o.URL)}
	if t.o.Proxy == nil {
		t.p.Hops = append(t.p.Hops, dest)
		conn, err := t.connect(ctx, dest, t.p)
		if err != nil || t.o.URL.Scheme != "https" {
			return conn, err
		}
		secured, err := t.secure(ctx, conn, dest, t.destination(true))
		if errors.Is(err, errSilent) && t.expectsPROXY(ctx, dest) {
			return nil, errEnded
		}
		return t.settled(secured, err, dest)
	}
	via := t.o.Proxy
	hop := &Hop{Name: "proxy", Target: hostPort(via.URL)}
	t.p.Hops = append(t.p.Hops, hop)
	conn, err := t.connect(ctx, hop, t.p)
	if err != nil {
		return nil, err
	}
	if via.URL.Scheme == "https" {
		secured, err := t.secure(ctx, conn, hop, t.proxyPeer())
		if conn, err = t.settled(secured, err, hop); err != nil {
			return nil, err
		}
	}
	if t.o.URL.Scheme != "https" {
		return conn, nil // the proxy is asked in absolute form
	}
	conn, err = t.tunnel(conn, hop)
	if err != nil {
		return nil, err
	}
	dest.Inside = hop.Target
	t.p.Hops = append(t.p.Hops, dest)
	secured, err := t.secure(ctx, conn, dest, t.destination(false))
	return t.settled(secured, err, dest)
}

// connect resolves and connects to a hop's target.
func (t *tracer) connect(ctx context.Context, h *Hop, p *Picture) (net.Conn, error) {
	host, port, err := net.SplitHostPort(h.Target)
	if err != nil {
		return nil, err
	}
	proxy := h.Name == "proxy"
	h.DNS = &DNS{Host: host}
	if to := t.o.ConnectTo[h.Target]; to != "" {
		h.DNS.Override = "--connect-to " + to
		if host, port, err = net.SplitHostPort(to); err != nil {
			return nil, err
		}
		h.DNS.Host = host
	}
	begun := time.Now()
	lookup, cancel := context.WithTimeout(ctx, t.o.Timeout)
	defer cancel()
	if to := t.o.Resolve[net.JoinHostPort(host, port)]; to != "" {
		h.DNS.Override, h.DNS.Addresses = "--resolve", []string{to}
	} else if ip := net.ParseIP(host); ip != nil && h.DNS.Override == "" {
		h.DNS = nil
	} else if ip != nil {
		h.DNS.Addresses = []string{host}
	} else if h.DNS.Addresses, err = net.DefaultResolver.LookupHost(lookup, host); err != nil {
		h.DNS.Error, h.DNS.Took = plainError(err), Took(time.Since(begun))
		code := diag.UpstreamDNS
		if proxy {
			code = diag.ProxyUnreachable
		}
		p.find(code, fmt.Sprintf("%s has no address: %s", host, plainError(err)), "Correct the name, or ask the DNS server that knows it; --resolve HOST:PORT:ADDRESS goes without.")
		return nil, errEnded
	}
	addresses := []string{host}
	if h.DNS != nil {
		h.DNS.Took = Took(time.Since(begun))
		addresses = h.DNS.Addresses
	}
	return t.dial(ctx, h, p, addresses, port)
}

// dial tries addresses in order.
func (t *tracer) dial(ctx context.Context, h *Hop, p *Picture, addresses []string, port string) (net.Conn, error) {
	h.TCP = &TCP{}
	begun := time.Now()
	var last error
	for _, a := range addresses[:min(len(addresses), 8)] {
		to := net.JoinHostPort(a, port)
		conn, err := (&net.Dialer{Timeout: t.o.Timeout}).DialContext(ctx, "tcp", to)
		if err == nil {
			h.TCP.Local, h.TCP.Remote, h.TCP.Took = conn.LocalAddr().String(), conn.RemoteAddr().String(), Took(time.Since(begun))
			return conn, nil
		}
		h.TCP.Tried = append(h.TCP.Tried, to+": "+plainError(err))
		last = err
	}
	h.TCP.Took = Took(time.Since(begun))
	h.TCP.Error = plainError(last)
	code, fix := diag.UpstreamConnectFailed, ""
	switch {
	case h.Name == "proxy":
		code = diag.ProxyUnreachable
	case errors.Is(last, syscall.ECONNREFUSED):
		code = diag.UpstreamConnectRefused
	case isTimeout(last):
		code = diag.UpstreamConnectTimeout
	}
	p.find(code, fmt.Sprintf("no connection to %s: %s", h.Target, h.TCP.Error), fix)
	return nil, errEnded
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// plainError puts an error of the network into few words.
func plainError(err error) string {
	var dns *net.DNSError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns):
		return dns.Err
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	case isTimeout(err):
		return "no answer in time"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}

// recorded keeps the first bytes of both directions.
type recorded struct {
	net.Conn
	in, out []byte
	closed  bool // the peer ended the connection
}

// keepFirst bounds what is kept: a ClientHello, or an error page.
const keepFirst = 8 << 10

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.in = append(r.in, p[:min(n, max(0, keepFirst-len(r.in)))]...)
	if err != nil && !isTimeout(err) {
		r.closed = true
	}
	return n, err
}

func (r *recorded) Write(p []byte) (int, error) {
	r.out = append(r.out, p[:min(len(p), max(0, keepFirst-len(r.out)))]...)
	return r.Conn.Write(p)
}

// prefixed is a connection whose first bytes were read already.
type prefixed struct {
	net.Conn
	first *bytes.Reader
}

func (c *prefixed) Read(p []byte) (int, error) {
	if c.first.Len() > 0 {
		return c.first.Read(p)
	}
	return c.Conn.Read(p)
}

// expectsPROXY tries whether a silent server speaks after a PROXY header (the PROXY protocol, version 1).
func (t *tracer) expectsPROXY(ctx context.Context, h *Hop) bool {
	other := &Hop{Name: h.Name, Target: h.Target}
	conn, err := t.connect(ctx, other, &Picture{})
	if err != nil {
		return false
	}
	defer conn.Close()
	local, ok1 := conn.LocalAddr().(*net.TCPAddr)
	remote, ok2 := conn.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return false
	}
	family := "TCP6"
	if local.IP.To4() != nil {
		family = "TCP4"
	}
	if _, err := fmt.Fprintf(conn, "PROXY %s %s %s %d %d\r\n", family, local.IP, remote.IP, local.Port, remote.Port); err != nil {
		return false
	}
	quiet := *t
	quiet.p = &Picture{}
	secured, err := quiet.secure(ctx, conn, other, t.destination(true))
	if err == nil {
		secured.Close()
	}
	if other.TLS == nil || len(other.TLS.Chain) == 0 {
		return false
	}
	t.p.Findings = slices.DeleteFunc(t.p.Findings, func(d diag.Diagnostic) bool {
		return d.Code == diag.UpstreamClosedEarly || d.Code == diag.UpstreamTLSFailed
	})
	t.p.find(diag.UpstreamClosedEarly, h.Target+" closes connections that do not begin with a PROXY header, and speaks TLS after one: it expects the PROXY protocol, as behind a load balancer",
		"Connect through the load balancer, or switch the PROXY protocol off at the listener (proxyProtocol).")
	return true
}
