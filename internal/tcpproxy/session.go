package tcpproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter/requestid"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Alerts that a client is sent whose TLS would have been passed through (RFC 8446 section 6.2).
const (
	alertInternalError    = 80
	alertUnrecognizedName = 112
)

// session is one connection. It belongs to the goroutine that serves it, but for the atomic.
type session struct {
	p      *Proxy
	d      Downstream
	tables []*Table
	table  *Table // that was chosen

	asked  Asked
	hello  *listen.Hello // of a plain connection that was looked at
	access telemetry.Access
	relay  atomic.Pointer[relay] // once it runs
}

// serve is a connection's way. It ends with the record.
func (s *session) serve() {
	a := &s.access
	c := s.d.Raw
	a.Start, a.Conn, a.Listener, a.Remote, a.Local = c.Accepted(), c.ID(), c.Spec().Name, c.Remote(), c.Local()
	a.Client, a.Proto, a.Scheme, a.Result, a.Hierarchy = a.Remote.Addr(), telemetry.ProtoTCP, "tcp", "TCP_TUNNEL", "HIER_NONE"
	a.ID = requestid.Append(nil)
	s.look()
	s.connectAndRelay()
	s.tell()
	a.Duration = time.Since(a.Start)
	s.p.opts.Sink.Access(a)
}

// look finds out what the connection asks for.
func (s *session) look() {
	c := s.d.Raw
	s.asked.Source, s.asked.Destination = c.Remote().Addr(), c.Local()
	if slices.ContainsFunc(s.tables, func(t *Table) bool { return t.nets }) { // it costs a system call
		if dst, ok := c.OriginalDestination(); ok {
			s.asked.Destination = dst
			s.access.Hierarchy = "ORIGINAL_DST"
		}
	}
	if h := s.d.Handshake; h != nil {
		s.asked.Name = h.Hello.SNI
		s.access.SNI, s.access.JA4 = h.Hello.SNI, h.Hello.JA4
		s.access.TLSVersion, s.access.TLSSuite, s.access.TLSGroup, s.access.Resumed = h.Version, h.Suite, h.Group, h.Resumed
		s.access.PeerHash, s.access.PeerSubject, s.access.PeerOffered = h.PeerHash, h.PeerSubject, h.PeerOffered
		return
	}
	if !slices.ContainsFunc(s.tables, func(t *Table) bool { return t.names }) {
		return
	}
	if c.SetReadDeadline(time.Now().Add(s.p.opts.Limits.Peek)) != nil {
		return // the relay will say so
	}
	if hello, err := c.PeekHello(); err == nil { // else it has no name: what was read is passed on
		s.hello, s.asked.Name = hello, hello.ServerName
		s.access.SNI, s.access.JA4 = strings.Clone(hello.ServerName), strings.Clone(hello.JA4)
	}
	_ = c.SetReadDeadline(time.Time{})
}

// choose finds the route of the connection.
func (s *session) choose() *Route {
	for _, t := range s.tables {
		if r := t.Choose(s.asked); r != nil {
			s.table = t
			return r
		}
	}
	return nil
}

// connectAndRelay does the work and fills in the record.
func (s *session) connectAndRelay() {
	a := &s.access
	r := s.choose()
	a.Chain = s.table.Chain.Name
	if r == nil {
		a.Origin = s.table.Chain.Origin.String()
		s.refuse(diag.TCPNoRoute, s.table.miss(s.asked), alertUnrecognizedName)
		return
	}
	a.Route, a.Origin = r.IR.Name, r.origin
	if r.fault != nil {
		s.refuse(r.fault.Code, r.fault.Detail, alertInternalError)
		return
	}
	b := r.pick()
	a.Upstream = b.ir.Upstream
	if b.fault != nil {
		s.refuse(b.fault.Code, b.fault.Detail, alertInternalError)
		return
	}
	u, release, err := s.destination(b.up)
	if err != nil {
		s.refuse(err.Code, err.Error(), alertInternalError)
		return
	}
	if release != nil {
		defer release()
	}
	began := time.Now()
	stream, failure := u.Connect(s.p.ctx, upstream.Query{Host: s.asked.Name, Shard: uint32(s.d.Raw.ID())})
	a.UpstreamTime, a.Attempts = time.Since(began), 1
	if failure != nil {
		s.unconnected(failure)
		return
	}
	a.Endpoint, a.UpstreamTLSVersion, a.UpstreamTLSSuite = stream.Endpoint.Text, stream.Version, stream.Suite
	a.Proxy, a.ProxyAddress, a.ConnectStatus = stream.Proxy, stream.ProxyAddress, stream.ConnectStatus
	switch {
	case a.Proxy != "":
		a.Hierarchy = "FIRSTUP_PARENT"
	case a.Hierarchy == "HIER_NONE":
		a.Hierarchy = "HIER_DIRECT"
	}
	s.run(stream, r)
}

// destination returns the upstream to connect to: u, or what a connection names where u is Dynamic: its server
// name, else the address that it was captured on the way to.
func (s *session) destination(u *upstream.Upstream) (*upstream.Upstream, func(), *upstream.Error) {
	dyn := u.Settings.Dynamic
	if dyn == nil {
		return u, nil, nil
	}
	meant, captured := s.d.Raw.OriginalDestination()
	port := dyn.Port
	if port == 0 && captured {
		port = meant.Port()
	}
	if s.asked.Name != "" {
		if to, release := u.Toward(s.asked.Name, port); to != nil {
			return to, release, nil
		}
	}
	switch {
	case dyn.Original && captured:
		if to, release := u.Toward(meant.Addr().String(), meant.Port()); to != nil {
			return to, release, nil
		}
		return nil, nil, &upstream.Error{Code: diag.TCPNoRoute, Detail: "upstream " + u.Name + " does not take the destination " + meant.String()}
	case dyn.Original && s.asked.Name == "":
		return nil, nil, &upstream.Error{Code: diag.ForwardNoDestination, Detail: "the connection names no host and was addressed to the listener itself"}
	case s.asked.Name == "":
		return nil, nil, &upstream.Error{Code: diag.SNIMissing, Detail: "the destination is what the server name says, and the client sent none"}
	}
	return nil, nil, &upstream.Error{Code: diag.TCPNoRoute, Detail: fmt.Sprintf("upstream %s does not take the destination %q", u.Name, s.asked.Name)}
}

// unconnected refuses because there is no connection to the upstream.
func (s *session) unconnected(err error) {
	a := &s.access
	var failure *upstream.Error
	if !errors.As(err, &failure) {
		s.refuse(diag.UpstreamConnectFailed, err.Error(), alertInternalError)
		return
	}
	if failure.Endpoint.IsValid() {
		a.Endpoint = failure.Endpoint.String()
	}
	code, detail := failure.Code, failure.Error()
	if s.p.ctx.Err() != nil {
		code, detail = diag.Draining, cutDetail
	}
	s.refuse(code, detail, alertInternalError)
}

// cutDetail is the detail of what ends with the time for draining.
const cutDetail = "cut at the end of --drain-timeout"

// Bounds of reading on after a refusal, so that an alert arrives.
const (
	lingerBytes = 64 << 10
	lingerTime  = 500 * time.Millisecond
)

// refuse closes the connection: TLS that would have been passed through gets an alert, others a reset, so that
// nobody takes it for an empty answer.
func (s *session) refuse(code diag.Code, detail string, alert uint8) {
	s.access.Code, s.access.Detail = code, detail
	s.access.Result = "NONE_NONE"
	c := s.d.Raw
	if s.d.Stream == nil && (s.hello != nil || s.d.Handshake != nil) {
		_ = c.SetWriteDeadline(time.Now().Add(lingerTime))
		if _, err := c.Write(listen.Alert(alert)); err == nil {
			_ = c.CloseLinger(lingerBytes, lingerTime)
			return
		}
	}
	if s.d.Stream != nil {
		reset(s.d.Stream)
	}
	reset(c)
}

// run relays to the end.
func (s *session) run(stream *upstream.Stream, route *Route) {
	a := &s.access
	var client net.Conn = s.d.Raw
	if s.d.Stream != nil {
		client = s.d.Stream
	}
	opts := Options{Idle: route.idle(), Write: s.p.opts.Limits.Write, Pipes: s.p.pipes}
	if opts.Idle == 0 {
		opts.Idle = s.p.opts.Limits.Idle
	}
	var why atomic.Pointer[string] // of being withdrawn; set by the relay's timer, which may run as the relay ends
	if s.d.Withdrawn != nil {
		opts.Withdrawn = func() diag.Code {
			code, detail := s.d.Withdrawn()
			if code == diag.Draining { // open connections finish on what they began with
				return 0
			}
			if code != 0 {
				why.Store(&detail)
			}
			return code
		}
	}
	r := newRelay(client, stream, opts)
	s.relay.Store(r)
	if s.p.ctx.Err() != nil { // whoever ends it after this finds the relay
		r.end(diag.Draining, false)
	}
	r.run(context.Background())
	s.relay.Store(nil)
	_ = s.d.Raw.Close() // also where what was closed is TLS over it
	a.BytesReceived, a.BytesSent = r.up.count.Load(), r.down.count.Load()
	if a.Code = diag.Code(r.reason.Load()); a.Code == 0 {
		return
	}
	a.Detail = r.detail(why.Load())
	if a.Code == diag.TCPIdle {
		a.Result += "_TIMEDOUT"
	} else if a.Code == diag.TCPClientReset {
		a.Result += "_ABORTED"
	}
}

// detail is the sentence on why a relay ended. It is called after the end. withdrawn is what was said where the client
// would not be let in any more, nil for nothing.
func (r *relay) detail(withdrawn *string) string {
	code := diag.Code(r.reason.Load())
	switch code {
	case diag.TCPIdle:
		return "nothing moved for " + r.idle.String()
	case diag.TCPClientSlow, diag.TCPUpstreamSlow:
		return "nothing of what waits was taken for " + r.write.String()
	case diag.Draining:
		return cutDetail
	}
	if err := r.err.Load(); err != nil {
		return (*err).Error()
	}
	if withdrawn != nil {
		return *withdrawn
	}
	return ""
}

// shed ends a connection because the process is short of something.
func (s *session) shed(code diag.Code) {
	if r := s.relay.Load(); r != nil {
		r.end(code, true)
	}
}

// longestIdle returns n of the sessions whose relays have been idle for longest.
func longestIdle(list []*session, n int) []*session {
	type idler struct {
		s  *session
		at time.Time
	}
	var idle []idler
	for _, s := range list {
		if r := s.relay.Load(); r != nil {
			idle = append(idle, idler{s, r.base.Add(time.Duration(r.moved.Load()))})
		}
	}
	slices.SortFunc(idle, func(a, b idler) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	out := make([]*session, 0, n)
	for _, i := range idle[:min(n, len(idle))] {
		out = append(out, i.s)
	}
	return out
}

// tell fills in what logs of requests have a field for: whom the client wanted.
func (s *session) tell() {
	a := &s.access
	host := s.asked.Name
	if host == "" {
		host = s.asked.Destination.Addr().String()
	}
	a.Authority = []byte(hostname.WithPort(host, s.asked.Destination.Port()))
	a.Method, a.Target = []byte("CONNECT"), a.Authority
	a.Flags = flags(a.Code)
}

// flags returns Envoy's response flags for a reason.
func flags(code diag.Code) string {
	switch {
	case code == 0:
		return ""
	case code == diag.TCPNoRoute, code == diag.RouteInvalid:
		return "NR"
	case code == diag.TCPClientReset:
		return "DC"
	case code == diag.TCPUpstreamReset:
		return "UC"
	case code == diag.TCPIdle, code == diag.TCPClientSlow, code == diag.TCPUpstreamSlow:
		return "SI"
	case code == diag.UpstreamNoEndpoints:
		return "UH"
	case code == diag.UpstreamDNS:
		return "DF"
	case code == diag.UpstreamPoolOverflow, code == diag.UpstreamRequestLimit:
		return "UO"
	case code >= 3100 && code < 3400:
		return "UF"
	}
	return ""
}
