package route

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Index finds, within one listener, the chain that a name belongs to: the one with the most specific
// pattern that covers it. Names are in lower case without port and trailing dot; "" is a client that
// named nothing. It is safe for concurrent use once its slots are filled.
type Index struct {
	Listener *ir.Listener
	Entries  []*Entry // one per chain, in the listener's order

	byName hosts[*Entry]
	known  nearby
}

// Entry is a chain in an Index.
type Entry struct {
	Chain *ir.Chain
	Table *Table

	Data any // slot for the caller: the chain's runtime

	tls hosts[*ir.TLS]
}

// NewIndex compiles a listener with all of its chains.
func NewIndex(l *ir.Listener, build Builder) *Index {
	x := &Index{Listener: l}
	var patterns []hostname.Pattern
	for _, c := range l.Chains {
		e := &Entry{Chain: c, Table: Compile(c, build)}
		for i := range c.HostTLS {
			e.tls.add(c.HostTLS[i].Host, c.HostTLS[i].TLS)
		}
		e.tls.add(hostname.Any(), c.TLS)
		x.Entries = append(x.Entries, e)
		for _, p := range c.Hosts {
			x.byName.add(p, e)
		}
		patterns = append(patterns, c.Hosts...)
	}
	x.known = newNearby(patterns)
	return x
}

// Nearest says for the access log that no chain has the host, and which known name is like it. It
// allocates; call it on a miss only.
func (x *Index) Nearest(host []byte) string { return x.known.miss(host, "listener "+x.Listener.Name) }

// Find returns the chain of a name, or nil.
func (x *Index) Find(name []byte) *Entry {
	e, _ := x.byName.find(name)
	return e
}

// FindString is Find for a string.
func (x *Index) FindString(name string) *Entry {
	e, _ := x.byName.findString(name)
	return e
}

// TLS returns the TLS settings of a name of this chain: the most specific of HostTLS, else the
// chain's own; nil for plain HTTP.
func (e *Entry) TLS(name string) *ir.TLS {
	t, _ := e.tls.findString(name)
	return t
}

// Choose returns the chain that answers a request for host on a connection whose client asked for
// sni (both as for Find; on plain HTTP there is no SNI, and tls is false). A non-zero code refuses:
//
//   - MisdirectedRequest if host belongs to another chain than sni, or to another TLS policy class of
//     the same chain (RFC 9110 section 15.5.20; Gateway API's listener isolation);
//   - NoHost if no chain of the listener has the host.
//
// Hosts of one chain and class may share a connection, as clients of HTTP/2 do where one certificate
// names both (RFC 9113 section 9.1.1). A name with a trailing dot is not the name without: crypto/tls
// lets no such sni in (RFC 6066 section 3), and a handshake under one has chosen no settings for it.
// Both names are judged by the present configuration, so a connection outlives changes that keep its
// name where it was.
func (x *Index) Choose(tls bool, sni string, host []byte) (*Entry, diag.Code) {
	e := x.Find(host)
	if e == nil {
		return nil, diag.NoHost
	}
	if !tls || string(host) == sni {
		return e, 0
	}
	own := x.FindString(sni)
	if own != e {
		return e, diag.MisdirectedRequest
	}
	if len(e.Chain.HostTLS) > 0 {
		mine, _ := e.tls.findString(sni)
		theirs, _ := e.tls.find(host)
		if mine != theirs && (mine == nil || theirs == nil || mine.Class != theirs.Class) {
			return e, diag.MisdirectedRequest
		}
	}
	return e, 0
}
