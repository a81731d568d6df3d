package istio

import (
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
)

// hostIndex finds the servers of a gateway that share a host with a pattern, without walking ten
// thousand servers for each of ten thousand VirtualServices.
type hostIndex struct {
	all      []*server
	exact    map[string][]*server
	wildcard map[string][]*server // by ".suffix"
	any      []*server
}

func (x *hostIndex) add(s *server) {
	if x.exact == nil {
		x.exact, x.wildcard = map[string][]*server{}, map[string][]*server{}
	}
	x.all = append(x.all, s)
	for _, h := range s.hosts {
		switch p := h.pattern; {
		case p.IsAny():
			x.any = append(x.any, s)
		case p.IsWildcard():
			x.wildcard[p.Suffix()] = append(x.wildcard[p.Suffix()], s)
		default:
			x.exact[p.String()] = append(x.exact[p.String()], s)
		}
	}
}

// candidates returns the servers that may share a host with p; a server may come more than once.
func (x *hostIndex) candidates(p hostname.Pattern) []*server {
	if !p.IsExact() {
		return x.all
	}
	name := p.String()
	out := append([]*server(nil), x.exact[name]...)
	for i := range len(name) {
		if name[i] == '.' && i > 0 {
			out = append(out, x.wildcard[name[i:]]...)
		}
	}
	return append(out, x.any...)
}

// nearest returns the name among names that is most like want, and false if none is close.
func nearest(want string, names []string) (string, bool) {
	best, found := "", false
	least := len(want)/3 + 2
	for _, n := range names {
		if d := diag.Distance(strings.ToLower(want), strings.ToLower(n), least); d < least {
			best, least, found = n, d, true
		}
	}
	return best, found
}
