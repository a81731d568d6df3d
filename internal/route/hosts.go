package route

import (
	"bytes"
	"strings"

	"github.com/hakone-gateway/hakone/internal/hostname"
)

// hosts finds the value of the most specific pattern that covers a name. Names are in lower case,
// without port and trailing dot; the empty name is covered by "*" alone.
type hosts[T any] struct {
	exact    map[string]T
	wildcard map[string]T // by suffix, with its leading dot
	any      T
	hasAny   bool

	shortest, longest int // lengths of the suffixes in wildcard
}

// add gives a pattern its value, unless it has one.
func (h *hosts[T]) add(p hostname.Pattern, v T) {
	switch {
	case p.IsAny():
		if !h.hasAny {
			h.any, h.hasAny = v, true
		}
	case p.IsExact():
		if h.exact == nil {
			h.exact = map[string]T{}
		}
		if _, taken := h.exact[p.String()]; !taken {
			h.exact[p.String()] = v
		}
	case p.IsWildcard():
		s := p.Suffix()
		if h.wildcard == nil {
			h.wildcard, h.shortest = map[string]T{}, len(s)
		}
		h.shortest, h.longest = min(h.shortest, len(s)), max(h.longest, len(s))
		if _, taken := h.wildcard[s]; !taken {
			h.wildcard[s] = v
		}
	}
}

func (h *hosts[T]) find(name []byte) (T, bool) {
	if v, ok := h.exact[string(name)]; ok {
		return v, true
	}
	if len(h.wildcard) > 0 {
		for at := 0; ; {
			i := bytes.IndexByte(name[min(at+1, len(name)):], '.')
			if i < 0 {
				break
			}
			at += 1 + i
			if n := len(name) - at; n > h.longest {
				continue
			} else if n < h.shortest {
				break
			}
			if v, ok := h.wildcard[string(name[at:])]; ok {
				return v, true
			}
		}
	}
	return h.any, h.hasAny
}

func (h *hosts[T]) findString(name string) (T, bool) {
	if v, ok := h.exact[name]; ok {
		return v, true
	}
	if len(h.wildcard) > 0 {
		for at := 0; ; {
			i := strings.IndexByte(name[min(at+1, len(name)):], '.')
			if i < 0 {
				break
			}
			at += 1 + i
			if v, ok := h.wildcard[name[at:]]; ok {
				return v, true
			}
		}
	}
	return h.any, h.hasAny
}
