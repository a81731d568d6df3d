package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Bounds on the work that explaining one miss may cost, because peers can cause misses at will.
const (
	maxExplained = 500 // routes looked at
	maxQuoted    = 120 // bytes of a peer's value in a sentence
	maxCompared  = 64  // bytes of a host that is compared with others
	neighbours   = 4   // names looked at on either side in each order
)

// Nearest says for the access log why Match found nothing: which route came nearest and which of its
// conditions failed, or which known host is like the one asked for. It is slow and allocates; call it
// on a miss only. It never names anything but configuration and the request's own values.
func (t *Table) Nearest(req *message.Request) string {
	h, ok := t.byName.find(req.Host)
	if !ok {
		return t.known.miss(req.Host, t.Chain.Name)
	}
	if len(h.routes) == 0 {
		return fmt.Sprintf("host %s of %s has no routes", quote(req.Host), t.Chain.Name)
	}
	in := new(input)
	in.begin(req, &h.names)
	var best *Route
	bestScore := score{path: -1}
	for _, r := range h.routes[:min(len(h.routes), maxExplained)] {
		if s := r.score(in); s.better(bestScore) {
			best, bestScore = r, s
		}
	}
	return best.explain(in)
}

// score ranks a route that did not match: how much of the path agrees, then how many conditions hold.
type score struct{ path, conditions int }

func (s score) better(o score) bool {
	return s.path > o.path || s.path == o.path && s.conditions > o.conditions
}

// pathAgrees is the score of a path that matches.
const pathAgrees = 1 << 30

func (r *Route) score(in *input) score {
	s := score{path: pathAgrees}
	m := &r.match
	if !m.path.matches(in.req.Path) {
		s.path = common(m.path.literal, in.req.Path)
	}
	s.conditions = -m.failures(in)
	return s
}

// failures counts the conditions, the path apart, that do not hold.
func (m *match) failures(in *input) int {
	n := 0
	count := func(ok bool) {
		if !ok {
			n++
		}
	}
	count(m.method.kind == ir.MatchAny || m.method.matches(in.req.Method))
	count(m.scheme(in.req))
	count(m.authority.kind == ir.MatchAny || m.authority.matches(in.authority()))
	for i := range m.headers {
		count(m.headers[i].holds(in.header(m.headers[i].slot)))
	}
	for i := range m.query {
		count(m.query[i].holds(in.parameter(m.query[i].slot)))
	}
	return n
}

// conditions describes those of a route's conditions, the path apart, that hold and that fail.
func (r *Route) conditions(in *input) (held, failed []string) {
	m, c := &r.match, &r.IR.Match
	note := func(ok bool, what, got string) {
		if ok {
			held = append(held, what)
		} else {
			failed = append(failed, what+" did not: got "+got)
		}
	}
	if m.method.kind != ir.MatchAny {
		note(m.method.matches(in.req.Method), "method "+m.method.describe(c.Method.Value), quote(in.req.Method))
	}
	if c.Scheme.Kind != ir.MatchAny {
		note(m.scheme(in.req), "scheme "+c.Scheme.Value, in.req.Scheme)
	}
	if m.authority.kind != ir.MatchAny {
		note(m.authority.matches(in.authority()), "authority "+m.authority.describe(c.Authority.Value), quote(in.authority()))
	}
	fields := func(kind string, ms []fieldMatch, wanted []ir.FieldMatch, read func(int) ([]byte, bool)) {
		for i := range ms {
			v, ok := read(ms[i].slot)
			got := "none"
			if ok {
				got = quote(v)
			}
			what := kind + " " + wanted[i].Name + " " + ms[i].text.describe(wanted[i].Match.Value)
			if ms[i].invert {
				what = "without " + what
			}
			note(ms[i].holds(v, ok), what, got)
		}
	}
	fields("header", m.headers, c.Headers, in.header)
	fields("query parameter", m.query, c.Query, in.parameter)
	return held, failed
}

// explain is the sentence about the route that came nearest.
func (r *Route) explain(in *input) string {
	held, failed := r.conditions(in)
	path := "path " + r.match.path.describe(r.IR.Match.Path.Value)
	if r.match.path.matches(in.req.Path) {
		held = append([]string{path}, held...)
	} else {
		failed = append([]string{path + " did not: got " + quote(in.req.Path)}, failed...)
	}
	s := "nearest is route " + r.IR.Name + ": "
	if len(held) > 0 {
		s += strings.Join(held, ", ") + " matched, "
	}
	return s + strings.Join(failed, ", ")
}

func quote(b []byte) string {
	if len(b) > maxQuoted {
		return fmt.Sprintf("%q…", b[:maxQuoted])
	}
	return fmt.Sprintf("%q", b)
}

// nearby finds names like a given one, looking only at neighbours in two orders: by text, and by
// reversed text.
type nearby struct {
	forward, backward []string // backward: reversed
}

func newNearby(ps []hostname.Pattern) nearby {
	var n nearby
	for _, p := range ps {
		if !p.IsAny() {
			n.forward = append(n.forward, p.String())
			n.backward = append(n.backward, reversed(p.String()))
		}
	}
	slices.Sort(n.forward)
	slices.Sort(n.backward)
	return n
}

// miss is the sentence about a host that of does not have.
func (n *nearby) miss(host []byte, of string) string {
	s := fmt.Sprintf("host %s is not among those of %s", quote(host), of)
	if near := n.like(string(host)); near != "" {
		s += fmt.Sprintf("; the nearest is %q", near)
	}
	return s
}

// like returns the known pattern at the smallest edit distance, or "" if none is near.
func (n *nearby) like(name string) string {
	if len(name) == 0 || len(name) > maxCompared {
		return ""
	}
	best, distance := "", 1+max(2, len(name)/2)
	try := func(candidate string) {
		c := strings.TrimPrefix(candidate, "*.")
		if len(c)-len(name) >= distance || len(name)-len(c) >= distance {
			return
		}
		if d := edits(c, name); d < distance {
			best, distance = candidate, d
		}
	}
	for _, c := range around(n.forward, name) {
		try(c)
	}
	for _, c := range around(n.backward, reversed(name)) {
		try(reversed(c))
	}
	return best
}

func around(sorted []string, s string) []string {
	at, _ := slices.BinarySearch(sorted, s)
	return sorted[max(0, at-neighbours):min(len(sorted), at+neighbours)]
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
