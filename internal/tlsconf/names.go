package tlsconf

import (
	"strings"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// names finds the most specific pattern that covers a host: a hash lookup for exact names, one per
// label for wildcards. The zero value is empty. It is read-only once built.
type names[T any] struct {
	exact  map[string]T
	suffix map[string]T // ".example.com"
	any    T
	hasAny bool
}

// add sets the value of a pattern, unless it has one.
func (n *names[T]) add(p hostname.Pattern, v T) {
	switch {
	case p.IsAny():
		if !n.hasAny {
			n.any, n.hasAny = v, true
		}
	case p.IsWildcard():
		if n.suffix == nil {
			n.suffix = map[string]T{}
		}
		if _, ok := n.suffix[p.Suffix()]; !ok {
			n.suffix[p.Suffix()] = v
		}
	case p.IsExact():
		if n.exact == nil {
			n.exact = map[string]T{}
		}
		if _, ok := n.exact[p.String()]; !ok {
			n.exact[p.String()] = v
		}
	}
}

// find returns the value of the most specific pattern for host; "" is covered by "*" alone.
func (n *names[T]) find(host string) (T, bool) {
	if host != "" {
		if v, ok := n.exact[host]; ok {
			return v, true
		}
		if len(n.suffix) > 0 {
			// A wildcard stands for at least one label, so the search begins behind the first.
			for i := strings.IndexByte(host[1:], '.') + 1; i > 0; {
				if v, ok := n.suffix[host[i:]]; ok {
					return v, true
				}
				next := strings.IndexByte(host[i+1:], '.')
				if next < 0 {
					break
				}
				i += 1 + next
			}
		}
	}
	return n.any, n.hasAny
}

// chainIndex finds the chain of a server name.
type chainIndex struct {
	names[*chainEntry]
	byChain map[string]*chainEntry
}

// chainEntry is a chain with the settings that policies narrow for parts of its hosts.
type chainEntry struct {
	chain  *ir.Chain
	narrow names[*ir.TLS]
}

// newChainIndex indexes the listener's chains. Of two chains with the same pattern, which compile does
// not let through, the first by name wins.
func newChainIndex(l *ir.Listener) *chainIndex {
	idx := &chainIndex{byChain: make(map[string]*chainEntry, len(l.Chains))}
	for _, chain := range l.Chains {
		e := &chainEntry{chain: chain}
		idx.byChain[chain.Name] = e
		for _, h := range chain.HostTLS {
			e.narrow.add(h.Host, h.TLS)
		}
		for _, p := range chain.Hosts {
			idx.add(p, e)
		}
	}
	return idx
}

// settings returns the TLS settings for a host of the chain.
func (e *chainEntry) settings(host string) *ir.TLS {
	if settings, ok := e.narrow.find(host); ok {
		return settings
	}
	return e.chain.TLS
}
