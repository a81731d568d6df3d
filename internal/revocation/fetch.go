package revocation

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

const (
	// listTimeout and answerTimeout bound one fetch, redirects included.
	listTimeout, answerTimeout = 30 * time.Second, 10 * time.Second
	// maxRedirects is how many redirects are followed.
	maxRedirects = 3
	// maxAnswer bounds an OCSP answer, in bytes.
	maxAnswer = 64 << 10
)

// result is the outcome of a fetch, as metrics name it.
type result string

const (
	resultOK          result = "ok"
	resultUnchanged   result = "unchanged"
	resultDisk        result = "disk"
	resultUnreachable result = "unreachable"
	resultStatus      result = "status"
	resultForbidden   result = "forbidden"
	resultTooLarge    result = "too_large"
	resultInvalid     result = "invalid"
	resultOverload    result = "overload"
)

// fault is a fetch that failed.
type fault struct {
	result result
	detail string
}

// Error returns a sentence for logs.
func (f *fault) Error() string { return f.detail }

func faulty(r result, format string, args ...any) *fault {
	return &fault{r, fmt.Sprintf(format, args...)}
}

// validator is what a conditional request compares (RFC 9110 section 8.8).
type validator struct{ url, etag, modified string }

// errForbidden is why an address is not asked.
var errForbidden = errors.New("its address may not be asked")

// newClient returns the client that asks. It keeps no cookies, uses no proxy and follows few redirects,
// to plain HTTP alone; whatever name led there, addresses that no CA's server can have are not connected
// to.
func newClient(o Options) *http.Client {
	transport := o.Transport
	if transport == nil {
		dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil || !allowed(a.Addr(), o.Public) {
				return errForbidden
			}
			return nil
		}}
		transport = &http.Transport{DialContext: dialer.DialContext, DisableCompression: true, MaxConnsPerHost: maxPerHost, MaxIdleConns: 32, IdleConnTimeout: 30 * time.Second,
			ResponseHeaderTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10}
	}
	return &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) > maxRedirects:
			return errors.New("too many redirects")
		case len(usableURLs([]string{r.URL.String()}, 1)) == 0:
			return errors.New("a redirect leads to something else than plain HTTP")
		}
		return nil
	}}
}

// allowed reports whether an address may be asked. Private ones may unless only public ones shall: the
// CAs of companies publish there. Link-local ones never may: clouds serve credentials there.
func allowed(a netip.Addr, publicOnly bool) bool {
	a = a.WithZone("").Unmap()
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}),
		a == netip.MustParseAddr("fd00:ec2::254"):
		return false
	case publicOnly && (a.IsLoopback() || a.IsPrivate() || within(a, notPublic())):
		return false
	}
	if inner, ok := embedded(a); ok {
		return allowed(inner, publicOnly)
	}
	return true
}

// notPublic are the networks beyond private ones that no public server has (RFC 6890): shared address
// space, protocol assignments, benchmarks, what is reserved, NAT64 inside a network (RFC 8215), Teredo, and
// what was site-local.
func notPublic() []string {
	return []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:2::/48", "fec0::/10"}
}

func within(a netip.Addr, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return netip.MustParsePrefix(p).Contains(a) })
}

// embedded returns the IPv4 address that a gateway makes of an IPv6 address: NAT64 (RFC 6052, also with a
// prefix of RFC 8215, which has it at the end), SIIT, 6to4, and what RFC 4291 calls IPv4-compatible.
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case !a.Is6(), a.IsLoopback():
		return a, false
	case within(a, []string{"64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96"}):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case within(a, []string{"2002::/16"}):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return a, false
}

// obtain finds the answer to a question, on disk or by the network; old is what is known. An answer may
// come with a fault: it is verified, but stale.
func (s *Service) obtain(ctx context.Context, q question, old *answer, disk bool) (*answer, *fault) {
	if old == nil && disk {
		if a := s.fromDisk(q); a != nil {
			s.counts.add(q.kind, resultDisk)
			if a.kept = true; a.stale(time.Now()) == "" {
				return a, nil
			}
			old = a
		}
	}
	var first *fault
	for _, u := range q.urls {
		a, f := s.fetch(ctx, q, u, old)
		if f == nil {
			return a, nil
		}
		s.counts.add(q.kind, f.result)
		if ctx.Err() != nil {
			return old, f
		}
		if first == nil || first.result != resultInvalid && f.result == resultInvalid {
			first = f
		}
		if a != nil && (old == nil || a.this.After(old.this)) {
			old = a
		}
	}
	return old, first
}

// fetch asks one address and verifies what it says.
func (s *Service) fetch(ctx context.Context, q question, address string, old *answer) (*answer, *fault) {
	var data []byte
	var v validator
	var f *fault
	if q.kind == kindCRL {
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		if data, v, f = s.fetchList(ctx, address, old); f != nil {
			return nil, f
		}
		if data == nil {
			return s.unchanged(q, old)
		}
	} else {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		if data, f = s.fetchAnswer(ctx, q, address); f != nil {
			return nil, f
		}
	}
	a, err := verify(q, data)
	if err != nil {
		return nil, faulty(resultInvalid, "what %s serves cannot be used: %v", address, err)
	}
	a.validator = v
	if old != nil && a.this.Before(old.this) {
		return s.unchanged(q, old) // an old answer played again, or a cache on the way
	}
	if why := a.stale(time.Now()); why != "" {
		return a, faulty(resultInvalid, "what %s serves cannot be used: %s", address, why)
	}
	s.counts.add(q.kind, resultOK)
	if s.disk != nil {
		if err := s.disk.write(q, data); err != nil {
			s.opts.Logger.Warn("an answer about revocation could not be kept on disk", "err", err)
		}
	}
	return a, nil
}

// unchanged is the outcome where the address has nothing newer than old.
func (s *Service) unchanged(q question, old *answer) (*answer, *fault) {
	if why := old.stale(time.Now()); why != "" {
		return old, faulty(resultInvalid, "nothing newer is served: %s", why)
	}
	s.counts.add(q.kind, resultUnchanged)
	if old.kept {
		same := *old
		same.kept = false
		old = &same
	}
	return old, nil
}

// verify reads an answer and checks whose it is. It may be stale.
func verify(q question, data []byte) (*answer, error) {
	if q.kind == kindOCSP {
		o, err := trust.ParseOCSP(data, q.cert, q.issuer, time.Now())
		if err != nil {
			return nil, err
		}
		return &answer{ocsp: o, der: data, this: o.ThisUpdate, next: o.NextUpdate}, nil
	}
	l, err := secret.ParseFetchedCRL(data)
	if err != nil {
		return nil, err
	}
	if err := l.SignedBy(q.issuer); err != nil {
		return nil, fmt.Errorf("the list of %q was not issued by %q: %w", l.Issuer, secret.Subject(q.issuer), err)
	}
	return &answer{list: l, this: l.ThisUpdate, next: l.NextUpdate, size: int64(len(data))}, nil
}

// fetchList gets a list; no data and no fault mean that it is as it was.
func (s *Service) fetchList(ctx context.Context, address string, old *answer) ([]byte, validator, *fault) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, validator{}, faulty(resultUnreachable, "%s cannot be asked: %v", address, err)
	}
	r.Header.Set("Accept", "application/pkix-crl, */*")
	if old != nil && old.validator.url == address {
		if old.validator.etag != "" {
			r.Header.Set("If-None-Match", old.validator.etag)
		}
		if old.validator.modified != "" {
			r.Header.Set("If-Modified-Since", old.validator.modified)
		}
	}
	data, resp, f := s.do(r, s.opts.MaxList, address)
	if f != nil {
		return nil, validator{}, f
	}
	switch {
	case resp.StatusCode == http.StatusNotModified && old != nil:
		return nil, old.validator, nil
	case resp.StatusCode != http.StatusOK:
		return nil, validator{}, faulty(resultStatus, "%s answers %d", address, resp.StatusCode)
	}
	return data, validator{address, resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")}, nil
}

// fetchAnswer asks a responder, by POST and, where it does not take that, by GET (RFC 6960 appendix A).
func (s *Service) fetchAnswer(ctx context.Context, q question, address string) ([]byte, *fault) {
	body, err := trust.OCSPRequest(q.cert, q.issuer)
	if err != nil {
		return nil, faulty(resultInvalid, "no request can be made: %v", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, faulty(resultUnreachable, "%s cannot be asked: %v", address, err)
	}
	r.Header.Set("Content-Type", "application/ocsp-request")
	r.Header.Set("Accept", "application/ocsp-response")
	data, resp, f := s.do(r, maxAnswer, address)
	if f != nil || resp.StatusCode == http.StatusOK {
		return data, f
	}
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
	default:
		return nil, faulty(resultStatus, "%s answers %d", address, resp.StatusCode)
	}
	get := strings.TrimSuffix(address, "/") + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(body))
	if r, err = http.NewRequestWithContext(ctx, http.MethodGet, get, nil); err != nil {
		return nil, faulty(resultStatus, "%s answers %d", address, resp.StatusCode)
	}
	r.Header.Set("Accept", "application/ocsp-response")
	data, second, f := s.do(r, maxAnswer, address)
	if f != nil || second.StatusCode == http.StatusOK {
		return data, f
	}
	return nil, faulty(resultStatus, "%s answers %d to POST and %d to GET", address, resp.StatusCode, second.StatusCode)
}

// do sends a request and reads at most most bytes of a body with status 200.
func (s *Service) do(r *http.Request, most int64, address string) ([]byte, *http.Response, *fault) {
	r.Header.Set("User-Agent", "hakone")
	resp, err := s.client.Do(r)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address, which is said already
		}
		if errors.Is(err, errForbidden) {
			return nil, nil, faulty(resultForbidden, "%s may not be asked: its address is link-local, multicast or, with --revocation-addresses public, not public", address)
		}
		return nil, nil, faulty(resultUnreachable, "%s does not answer: %v", address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		return nil, resp, nil
	}
	if resp.ContentLength > most {
		return nil, nil, faulty(resultTooLarge, "what %s serves has %d bytes; %d are taken", address, resp.ContentLength, most)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, nil, faulty(resultUnreachable, "%s broke off: %v", address, err)
	case int64(len(data)) > most:
		return nil, nil, faulty(resultTooLarge, "what %s serves has more than %d bytes", address, most)
	case len(data) == 0:
		return nil, nil, faulty(resultInvalid, "what %s serves is empty", address)
	}
	return data, resp, nil
}
