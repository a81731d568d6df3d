package proxy

import (
	"bytes"
	"errors"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// What follows is for upstreams that are origin pools. Others pay for it with a comparison or two.

// steered returns the pool that serves a request for u, and prepares what it wants to know.
func (x *exchange) steered(u *upstream.Upstream) *upstream.Upstream {
	u = u.Serving()
	x.choice = upstream.Choice{Address: x.Client}
	if !x.Client.IsValid() {
		x.choice.Address = x.Peer.Remote.Addr().Unmap()
	}
	f := &x.Request.Fields
	proto, ok := f.Get(message.XForwardedProto) // the forwarded step has removed what is not to be believed
	x.choice.Secure = ok && string(proto) == "https" || !ok && x.client.scheme() == "https"
	if name := u.AffinityCookie(); name != "" {
		x.choice.Cookie = cookie(f, name)
	}
	x.access.Pool = u.PoolName()
	return u
}

// cookie returns the value of the first cookie of that name (RFC 6265 section 5.4), nil for none.
func cookie(f *message.Fields, name string) []byte {
	for i := range f.Len() {
		if f.At(i).ID != message.Cookie {
			continue
		}
		for rest := f.At(i).Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte(";"))
			pair = bytes.TrimLeft(pair, " \t")
			if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name {
				return pair[len(name)+1:]
			}
		}
	}
	return nil
}

// noteConn records which connection the request goes out on.
func (x *exchange) noteConn(c *upstream.Conn) {
	a := &x.access
	if a.Endpoint = c.Endpoint.Text; !c.Endpoint.Address.IsValid() && c.Via == nil { // a name: which of its addresses it was
		a.Endpoint = c.RemoteAddr().String()
	}
	x.noteWay(c.Via)
	a.UpstreamTLSVersion, a.UpstreamTLSSuite = c.Version, c.Suite
	if c.Endpoint.Watched() {
		a.Server = c.Endpoint.Server()
	}
}

// noteWay records through which proxy a request goes, or was to go.
func (x *exchange) noteWay(w *upstream.Way) {
	if w != nil {
		a := &x.access
		a.Proxy, a.ProxyAddress, a.ConnectStatus = w.Proxy, w.Address, w.Status
		a.InnerSubject, a.InnerIssuer, a.Intercepted = w.Subject, w.Issuer, w.Intercepted
	}
}

// sendHead sends the head, with the Host that the origin wants.
func (x *exchange) sendHead(end bool) error {
	req := x.Request
	host := x.up.lent().Endpoint.HostHeader()
	if host == nil {
		return x.up.head(req, end)
	}
	asked := req.Authority
	req.Authority = host
	err := x.up.head(req, end)
	req.Authority = asked
	return err
}

// bind adds the cookie to an answer that keeps the client at its origin.
func (x *exchange) bind() {
	lease := x.up.lent()
	if !lease.Endpoint.Watched() {
		return
	}
	if v := lease.SetCookie(&x.choice); v != "" {
		x.resp.Fields.AddString("Set-Cookie", v)
	}
}

// noteOutcome tells an origin's passive health what became of a try. What the client caused does not count, nor
// does a kept connection that died, nor a stream that was not taken: the request goes out again.
func (x *exchange) noteOutcome(t *tries, err error) {
	if x.up == nil || !x.up.lent().Endpoint.Watched() {
		return
	}
	e := x.up.lent().Endpoint
	if err == nil {
		e.Answered(x.resp.Status)
		return
	}
	var client *clientError
	var never *unopened
	var refused *http1.Error
	why := x.task.watch.why()
	switch {
	case errors.As(err, &client), errors.As(err, &never), errors.Is(err, mux.ErrRefused), x.upload != nil && x.upload.failed() != nil,
		x.overdue(), x.client.cutOff.Load(), x.staleConnection(t, err):
	case why == endTime && x.call.deadline != 0: // the client's own time, or the route's: nobody can tell
	case why == endTime:
		e.Failed(&upstream.Error{Code: diag.UpstreamTimeout, Detail: e.Text + " did not answer in time"})
	case why != 0:
	case errors.As(err, &refused):
		e.Failed(&upstream.Error{Code: refused.Code, Detail: e.Text + ": " + refused.Detail})
	default:
		e.Failed(x.up.explain(err))
	}
}
