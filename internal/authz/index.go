package authz

import (
	"bytes"
	"strings"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Index finds the rules of one chain that cover a request. It holds no policies, so that these change
// without it. It is immutable and safe for concurrent use.
type Index struct {
	rules    []rule // as Chain.Access
	exact    map[string]*site
	wildcard map[string]*site // by suffix, with its leading dot
	any      *site
	longest  int  // of the suffixes
	byPath   bool // some rule does not hold for every path
	kinds    []reading
}

// rule is a compiled ir.AccessRule.
type rule struct {
	slot  int // of the policy in the Set; -1: there is none, and the rule lets nobody in
	name  string
	open  bool
	cased bool
	path  string
	route *ir.RouteTarget

	// Paths left out, for each reading as it stands and folded.
	except [][]exception

	// The same of the paths of route. Those that are matched exactly stand for themselves alone.
	routed [][]exception
}

type exception struct {
	plain, folded string
	exact         bool
}

// site holds the rules of one host pattern.
type site struct {
	rules  []int32  // ascending
	tables []*table // one per reading; the same pointer where they do not differ
}

// table finds rules by path. The lists are ascending.
type table struct {
	depth  int                // segments of the longest path
	plain  map[string][]int32 // by path
	folded map[string][]int32 // by folded path: rules of policies that do not distinguish case
	cased  map[string][]int32 // by path: of those that do
}

// NewIndex compiles the rules of a chain. policies are those of its configuration. It returns nil for a
// chain without rules.
func NewIndex(chain *ir.Chain, policies []*ir.AccessPolicy) *Index {
	if len(chain.Access) == 0 {
		return nil
	}
	slots := make(map[string]int, len(policies))
	for i, p := range policies {
		slots[p.Name] = i
	}
	kinds := readings()
	x := &Index{exact: map[string]*site{}, wildcard: map[string]*site{}, kinds: kinds}
	for i := range chain.Access {
		a := &chain.Access[i]
		r := rule{slot: -1, name: a.Policy, path: a.Path, route: a.Route}
		if slot, ok := slots[a.Policy]; ok {
			r.slot, r.open, r.cased = slot, policies[slot].Open, policies[slot].CaseSensitive
		}
		r.except = exceptions(a.Except, kinds)
		r.routed = routed(a.Route, kinds)
		x.byPath = x.byPath || a.Path != "" || len(a.Except) > 0 || r.routed != nil
		x.rules = append(x.rules, r)
		s := x.site(a)
		s.rules = append(s.rules, int32(i))
	}
	for _, s := range x.exact {
		s.compile(x.rules, kinds)
	}
	for _, s := range x.wildcard {
		s.compile(x.rules, kinds)
	}
	if x.any != nil {
		x.any.compile(x.rules, kinds)
	}
	return x
}

// site returns the site of a rule's host, making it.
func (x *Index) site(a *ir.AccessRule) *site {
	in := func(m map[string]*site, key string) *site {
		if m[key] == nil {
			m[key] = &site{}
		}
		return m[key]
	}
	switch {
	case a.Host.IsExact():
		return in(x.exact, a.Host.String())
	case a.Host.IsWildcard():
		x.longest = max(x.longest, len(a.Host.Suffix()))
		return in(x.wildcard, a.Host.Suffix())
	}
	if x.any == nil { // "*", and what is no pattern: a rule that covers too much is safer than none
		x.any = &site{}
	}
	return x.any
}

func exceptions(paths []string, kinds []reading) [][]exception {
	if len(paths) == 0 {
		return nil
	}
	out := make([][]exception, len(kinds))
	for i, kind := range kinds {
		for _, p := range paths {
			read := pathKey(kind, p)
			out[i] = append(out[i], exception{plain: read, folded: string(appendFold(nil, []byte(read)))})
		}
	}
	return out
}

// routed are the paths of a rule's route under every reading; nil where there are none.
func routed(t *ir.RouteTarget, kinds []reading) [][]exception {
	if t == nil || len(t.Paths) == 0 {
		return nil
	}
	var paths []string
	for _, p := range t.Paths {
		paths = append(paths, p.Path)
	}
	out := exceptions(paths, kinds)
	for i := range out {
		for j := range out[i] {
			out[i][j].exact = t.Paths[j].Exact
		}
	}
	return out
}

// pathKey is a configured path as a reading understands it, without a slash at the end: "" is every path.
func pathKey(kind reading, path string) string {
	if path == "" || path == "/" {
		return ""
	}
	if kind == (reading{}) {
		return strings.TrimSuffix(path, "/")
	}
	read, _ := kind.apply([]byte(path))
	return strings.TrimSuffix(string(read), "/")
}

// compile makes the tables.
func (s *site) compile(rules []rule, kinds []reading) {
	for i, kind := range kinds {
		same := i > 0
		t := &table{plain: map[string][]int32{}, folded: map[string][]int32{}, cased: map[string][]int32{}}
		for _, n := range s.rules {
			r := &rules[n]
			key := pathKey(kind, r.path)
			same = same && key == pathKey(reading{}, r.path)
			t.depth = max(t.depth, strings.Count(key, "/"))
			t.plain[key] = append(t.plain[key], n)
			if r.cased {
				t.cased[key] = append(t.cased[key], n)
			} else {
				folded := string(appendFold(nil, []byte(key)))
				t.folded[folded] = append(t.folded[folded], n)
				t.depth = max(t.depth, strings.Count(folded, "/"))
			}
		}
		if same {
			t = s.tables[0]
		}
		s.tables = append(s.tables, t)
	}
}

// sites calls f with the sites that cover a host (lower case, no port), the narrowest first, until it
// returns false.
func (x *Index) sites(host []byte, f func(*site) bool) {
	if s := x.exact[string(host)]; s != nil && !f(s) {
		return
	}
	if len(x.wildcard) > 0 {
		for at := 0; ; {
			i := bytes.IndexByte(host[min(at+1, len(host)):], '.')
			if i < 0 {
				break
			}
			at += 1 + i
			if len(host)-at > x.longest {
				continue
			}
			if s := x.wildcard[string(host[at:])]; s != nil && !f(s) {
				return
			}
		}
	}
	if x.any != nil {
		f(x.any)
	}
}

// query is one way to look for the deciding rule.
type query struct {
	kind   int // index of the reading
	fold   bool
	path   []byte // as the reading understands it, without a slash at the end
	folded []byte // the same folded, if fold
	route  *ir.Route
	sent   []byte // the path as routing saw it
}

// first returns the index of the deciding rule among those of one site, or best if none precedes it.
func (x *Index) first(s *site, q *query, best int32) int32 {
	t := s.tables[q.kind]
	if !q.fold {
		return x.walk(t.plain, t.depth, q.path, q, best)
	}
	if len(t.folded) > 0 {
		best = x.walk(t.folded, t.depth, q.folded, q, best)
	}
	if len(t.cased) > 0 {
		best = x.walk(t.cased, t.depth, q.path, q, best)
	}
	return best
}

// walk looks up the path and everything above it.
func (x *Index) walk(m map[string][]int32, depth int, path []byte, q *query, best int32) int32 {
	end := 0
	for level := 0; ; level++ {
		for _, n := range m[string(path[:end])] {
			if n >= best {
				break
			}
			if x.rules[n].covers(q) {
				best = n
				break
			}
		}
		if level == depth || end == len(path) {
			return best
		}
		if i := bytes.IndexByte(path[end+1:], '/'); i >= 0 {
			end += 1 + i
		} else {
			end = len(path)
		}
	}
}

// covers reports whether a rule whose path fits holds for the rest of the request too.
func (r *rule) covers(q *query) bool {
	if t := r.route; t != nil && (q.route == nil || q.route.Origin.Object != t.Object || t.Section != "" && t.Section != q.route.Section) && !r.reads(q) {
		return false
	}
	if r.except == nil {
		return true
	}
	for _, e := range r.except[q.kind] {
		if q.fold && !r.cased {
			if below(q.folded, e.folded) {
				return false
			}
		} else if below(q.path, e.plain) {
			return false
		}
	}
	return true
}

// reads reports whether a reading makes of the path one that the rule's route matches, which the path as it
// stands is not: routing has not seen it.
func (r *rule) reads(q *query) bool {
	if r.routed == nil || q.kind == 0 && !q.fold {
		return false
	}
	for i := range r.routed[q.kind] {
		e := &r.routed[q.kind][i]
		path, top := q.path, e.plain
		if q.fold && !r.cased {
			path, top = q.folded, e.folded
		}
		if e.holds(path, top) && !r.routed[0][i].seen(q.sent) {
			return true
		}
	}
	return false
}

// holds reports whether a path of the origin's is the route's; a slash at the end makes no difference.
func (e *exception) holds(path []byte, top string) bool {
	return below(path, top) && (!e.exact || len(path) <= len(top)+1)
}

// seen reports whether routing compared the path as it was sent with the route's.
func (e *exception) seen(sent []byte) bool {
	if e.exact {
		return string(sent) == e.plain
	}
	return below(sent, e.plain)
}

// below reports whether a path is another one or lies below it, by whole segments.
func below(path []byte, top string) bool {
	return len(path) >= len(top) && string(path[:len(top)]) == top && (len(path) == len(top) || path[len(top)] == '/')
}
