package forward

import (
	"github.com/hakone-gateway/hakone/internal/ir"
)

// registry finds the hosts that the configuration names without walking all of them for each request.
type registry struct {
	exact map[string][]*ir.KnownHost
	wild  map[string][]*ir.KnownHost // by ".suffix"
	any   []*ir.KnownHost
}

// newRegistry indexes a list that is ordered, the most specific first.
func newRegistry(list []ir.KnownHost) registry {
	r := registry{exact: map[string][]*ir.KnownHost{}, wild: map[string][]*ir.KnownHost{}}
	for i := range list {
		switch k := &list[i]; {
		case k.Host.IsAny():
			r.any = append(r.any, k)
		case k.Host.IsWildcard():
			r.wild[k.Host.Suffix()] = append(r.wild[k.Host.Suffix()], k)
		default:
			r.exact[k.Host.String()] = append(r.exact[k.Host.String()], k)
		}
	}
	return r
}

// find returns the first entry for a host, in lower case, and port; nil if there is none.
func (r registry) find(host string, port uint16) *ir.KnownHost {
	if k := onPort(r.exact[host], port); k != nil {
		return k
	}
	if len(r.wild) > 0 {
		for i := range len(host) {
			if host[i] != '.' || i == 0 {
				continue
			}
			if k := onPort(r.wild[host[i:]], port); k != nil && k.Host.Match(host) {
				return k
			}
		}
	}
	return onPort(r.any, port)
}

func onPort(list []*ir.KnownHost, port uint16) *ir.KnownHost {
	for _, k := range list {
		if k.Port == 0 || k.Port == port {
			return k
		}
	}
	return nil
}
