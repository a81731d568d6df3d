// Package forwarded tells upstreams about the client's side: X-Forwarded-For, -Proto, -Host and -Port,
// and on request X-Real-Ip and Forwarded (RFC 7239). What others say of that is removed unless they are
// believed. It is a standard step of every listener. Begin reading at New.
package forwarded

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Settings say whose word is taken and which of the rarer fields are sent.
type Settings struct {
	Trust     filter.Trust
	RealIP    bool // X-Real-Ip: the client's address
	Forwarded bool // Forwarded, beside the X-Forwarded fields
}

// identity are the fields by which hops speak of the client.
const identity = message.NameSet(1<<message.XForwardedFor | 1<<message.XForwardedProto | 1<<message.XForwardedHost |
	1<<message.XForwardedPort | 1<<message.XRealIP | 1<<message.Forwarded)

type step struct{ Settings }

// New returns the step. It runs before filters that change the authority.
func New(s Settings) filter.Filter { return &step{s} }

func (s *step) Request(x *filter.Exchange) filter.Result {
	f := &x.Request.Fields
	peer := x.Peer.Remote.Addr().Unmap()
	believed := s.Trust.Believes(peer)
	if !believed {
		f.DelSet(identity)
	}
	dropClaims(f, believed)
	client := s.Trust.Client(peer, f)
	x.Client = client
	var buf [64]byte
	appendFor(f, peer.AppendTo(buf[:0]))
	setMissing(f, message.XForwardedProto, append(buf[:0], x.Request.Scheme...))
	if len(x.Request.Authority) > 0 {
		setMissing(f, message.XForwardedHost, x.Request.Authority)
	}
	setMissing(f, message.XForwardedPort, strconv.AppendUint(buf[:0], uint64(port(x)), 10))
	if s.RealIP {
		f.SetID(message.XRealIP, client.AppendTo(buf[:0]))
	}
	if s.Forwarded {
		s.appendForwarded(x, peer)
	}
	return filter.Next
}

// port returns the port that the client used: where a declared port is bound elsewhere (--port-map) and
// the client named the bound one, that; else the declared one.
func port(x *filter.Exchange) uint16 {
	p := x.Peer
	bound, mapped := p.PortMap[p.ListenPort]
	if !mapped || bound != p.Local.Port() {
		return p.ListenPort
	}
	var buf [6]byte
	if bytes.HasSuffix(x.Request.Authority, strconv.AppendUint(append(buf[:0], ':'), uint64(bound), 10)) {
		return bound
	}
	return p.ListenPort
}

// dropClaims removes what else origins take for a hop's word: the fields above in a spelling that some
// read as theirs ("X_Forwarded_For"), from everybody; and other fields of their families
// ("X-Forwarded-Ssl", "X-Envoy-Internal") from peers that are not believed.
func dropClaims(f *message.Fields, believed bool) {
	for i := range f.Len() {
		if claim(f.At(i), believed) {
			f.DelFunc(func(l *message.Field) bool { return claim(l, believed) })
			return
		}
	}
}

func claim(l *message.Field, believed bool) bool {
	if l.ID != message.Other || len(l.Name) < 2 || l.Name[0]|0x20 != 'x' || l.Name[1] != '-' && l.Name[1] != '_' {
		return false
	}
	if !believed && (message.HasPrefixAlike(l.Name, "x-forwarded-") || message.HasPrefixAlike(l.Name, "x-envoy-")) {
		return true
	}
	id := message.Alias(l.Name)
	return id != message.Other && identity.Has(id)
}

func (s *step) Response(*filter.Exchange) filter.Result { return filter.Next }

// appendFor adds the peer behind those that believed proxies named. A line of its own means the same
// as a list item (RFC 9110 section 5.3), but many origins read one line only.
func appendFor(f *message.Fields, peer []byte) {
	last := -1
	if f.Names().Has(message.XForwardedFor) {
		for i := range f.Len() {
			if f.At(i).ID == message.XForwardedFor {
				last = i
			}
		}
	}
	if last < 0 {
		f.AddID(message.XForwardedFor, peer)
		return
	}
	old := f.At(last).Value
	b := append(f.Reserve(len(old)+2+len(peer)), old...)
	if len(old) > 0 {
		b = append(b, ", "...)
	}
	f.At(last).Value = append(b, peer...)
}

func setMissing(f *message.Fields, id message.Name, value []byte) {
	if !f.Has(id) {
		f.AddID(id, value)
	}
}

// appendForwarded adds an element of RFC 7239 section 4.
func (s *step) appendForwarded(x *filter.Exchange, peer netip.Addr) {
	var buf [512]byte
	b := append(buf[:0], "for="...)
	if peer.Is6() {
		b = append(peer.AppendTo(append(b, `"[`...)), `]"`...)
	} else {
		b = peer.AppendTo(b)
	}
	if len(x.Request.Authority) > 0 {
		b = append(append(append(b, `;host="`...), x.Request.Authority...), '"')
	}
	b = append(append(b, ";proto="...), x.Request.Scheme...)
	x.Request.Fields.AddID(message.Forwarded, b)
}
