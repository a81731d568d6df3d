package upstream

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Way says through which proxy a connection went. It is frozen.
type Way struct {
	Proxy   string        // "namespace/name" of the UpstreamProxy
	Address string        // the address that was used, as the UpstreamProxy names it: "10.0.0.8:3128"; "" if none was
	Status  int           // the proxy's answer to CONNECT; 0: there was none
	Time    time.Duration // until that answer

	// Of TLS with the destination; "" without.
	Subject     string // of the certificate that it showed
	Issuer      string // subject of that one's issuer
	Intercepted bool   // the proxy's interception CA vouches for it
}

// Stream is a connection of its own to an endpoint, for bytes that are not HTTP. Bytes that arrive early are not
// lost. It counts among the connections and the active requests of its upstream until Close.
type Stream struct {
	net.Conn

	// Fixed after construction.
	TCP           *net.TCPConn // the same connection, if nothing stands between and nothing was read: splice(2) can use it; else nil
	Endpoint      *Endpoint
	Proxy         string // "namespace/name" of the UpstreamProxy, "" if it is direct
	ProxyAddress  string
	ConnectStatus int
	Version       uint16 // of TLS to the destination; 0: none
	Suite         uint16

	c    *Conn
	once sync.Once
}

// Connect makes a connection to an endpoint for the caller alone: TCP, or TLS if the settings say so, through a
// proxy where they do. It waits at most for the connect timeout and for DNS, and ctx ends that earlier. Of q only Host and
// NotEndpoint are looked at. The error is an *Error.
func (u *Upstream) Connect(ctx context.Context, q Query) (*Stream, error) {
	t := u.tls.Load()
	if u.Settings.TLS != nil && t.tls == nil {
		return nil, &Error{Code: diag.UpstreamCredentialMissing, Detail: "the TLS settings of upstream " + u.Name + " have no usable material"}
	}
	q.asked = q.Host
	if !u.NeedsHost() {
		q.Host = ""
	}
	e := u.choose(&q, q.NotEndpoint)
	if e == nil && q.refused == nil {
		if err := u.awaitEndpoints(ctx); err != nil {
			return nil, err
		}
		e = u.choose(&q, q.NotEndpoint)
	}
	switch {
	case q.refused != nil:
		return nil, q.refused
	case e == nil && u.origins != nil:
		return nil, u.unavailable()
	case e == nil:
		return nil, &Error{Code: diag.UpstreamNoEndpoints, Detail: "upstream " + u.Name + " has no endpoint"}
	}
	s, err := u.stream(ctx, e, t, &q)
	if err == nil {
		return s, nil
	}
	other := u.pick(&q, e)
	if other == nil || other == e || err.Code == diag.UpstreamPoolOverflow || ctx.Err() != nil {
		return nil, err
	}
	if s, err = u.stream(ctx, other, t, &q); err != nil {
		return nil, err
	}
	return s, nil
}

// stream makes a Stream to e.
func (u *Upstream) stream(ctx context.Context, e *Endpoint, t *originator, q *Query) (*Stream, *Error) {
	for !u.limit.try() {
		if !u.evict() {
			u.limit.overflows.Add(1)
			return nil, &Error{Code: diag.UpstreamPoolOverflow, Detail: "upstream " + u.Name + " has its maximum of connections"}
		}
	}
	c, err := u.openRaw(ctx, e, t, q.Host)
	if err != nil {
		return nil, err
	}
	e.begun()
	s := &Stream{Conn: c.Conn, Endpoint: e, Version: c.Version, Suite: c.Suite, c: c}
	if c.Via != nil {
		s.Proxy, s.ProxyAddress, s.ConnectStatus = c.Via.Proxy, c.Via.Address, c.Via.Status
	}
	if c.Conn == net.Conn(c.wire) {
		s.TCP = c.wire.TCPConn
	}
	return s, nil
}

// CloseWrite ends the sending direction: close_notify where there is TLS, else a FIN.
func (s *Stream) CloseWrite() error { return s.c.CloseWrite() }

// Close ends the connection. A second call does nothing.
func (s *Stream) Close() (err error) {
	s.once.Do(func() {
		s.Endpoint.ended()
		err = s.c.discard()
	})
	return err
}
