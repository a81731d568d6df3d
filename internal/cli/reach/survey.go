package reach

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Survey is the table of what a configuration lets in, and what of it nobody can have meant.
type Survey struct {
	Clients  []Client  `json:"clients"`
	Rows     []Row     `json:"rows"`
	Findings []Finding `json:"findings"`
	Probes   int       `json:"probes"` // requests that were decided
}

// Row is one place: a listener, host and path, and what each client gets there.
type Row struct {
	Listener  string   `json:"listener"`
	TLS       bool     `json:"tls"`
	Host      string   `json:"host"` // a pattern, or a name
	Method    string   `json:"method,omitempty"`
	Path      string   `json:"path"` // it and what lies below, as far as no other row says otherwise
	Policy    string   `json:"policy,omitempty"`
	Display   string   `json:"displayName,omitempty"`
	Route     string   `json:"route,omitempty"`
	Upstreams []string `json:"upstreams,omitempty"`
	Answers   []Answer `json:"answers"`          // one for each client
	Rules     bool     `json:"rules"`            // the policy's allow or deny decide further
	NoList    bool     `json:"noList,omitempty"` // the policy knows of no revocation

	query Query
	exact bool // only routes that match exactly this path name it
}

// Open reports whether the place can be had without a certificate.
func (r *Row) Open() bool { return r.Answers[0].Outcome == Allow }

// Finding is a way in that the policies do not see, or a place that nobody protects.
type Finding struct {
	Kind    string `json:"kind"` // hole, sideDoor, plain, open, audit
	Grave   bool   `json:"grave"`
	Host    string `json:"host"`
	Path    string `json:"path"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// Grave reports whether there is a way around a policy.
func (v *Survey) Grave() bool {
	return slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Grave })
}

// Bounds of a survey: beyond them rows are left out, and it says so.
const (
	maxRows  = 5000
	maxPaths = 200 // of one host
)

// Take surveys every host that is served, with every path that a policy or route names. Hosts of which
// no policy covers anything have no rows unless all is set; ways around policies are sought there too.
// The error says that the certificates of the clients cannot be made.
func Take(s *ir.Snapshot, now time.Time, all bool) (*Survey, error) {
	stand, x, err := shadowed(s, now, false)
	if err != nil {
		return nil, err
	}
	clients, err := x.clients()
	if err != nil {
		return nil, err
	}
	t := &taker{world: New(stand, now), survey: &Survey{Clients: clients, Rows: []Row{}, Findings: []Finding{}}, named: map[string]bool{}}
	for _, p := range s.Config.AccessPolicies {
		t.named[p.Name] = len(p.Allow)+len(p.Deny) > 0
	}
	for _, l := range t.world.listeners {
		for _, c := range l.ir.Chains {
			t.chain(l, c, all)
		}
	}
	t.judge()
	t.unlisted(s)
	return t.survey, nil
}

// unlisted marks the rows of policies that know of no revocation.
func (t *taker) unlisted(s *ir.Snapshot) {
	for _, p := range s.Config.AccessPolicies {
		r, b := p.Revocation, s.Trust.ByRef[p.Trust]
		if p.Open || p.Fault != nil || r.Hard || r.FetchCRL || r.OCSP || len(r.Serials)+len(r.SPKI) > 0 || b == nil || len(b.CRLs) > 0 && !r.NoCRL {
			continue
		}
		first := true
		for i := range t.survey.Rows {
			row := &t.survey.Rows[i]
			if row.Policy != p.Name {
				continue
			}
			row.NoList = true
			if first {
				first = false
				t.survey.Findings = append(t.survey.Findings, Finding{Kind: "revocation", Host: row.Host, Path: row.Path,
					Message: fmt.Sprintf("policy %s has no revocation list, so a revoked certificate is let in until it expires", p.Name), Fix: "Add spec.trust.crlRefs or spec.revocation."})
			}
		}
	}
}

type taker struct {
	world  *World
	survey *Survey
	named  map[string]bool // policies with rules on single certificates
	places []place         // everything that is served, also what has no row
}

// place is a host of a chain.
type place struct {
	listener *listener
	chain    *ir.Chain
	host     hostname.Pattern
}

func (t *taker) ask(listener string, q Query) Answer {
	t.survey.Probes++
	return t.world.Ask(listener, q)
}

// chain surveys the hosts of one chain.
func (t *taker) chain(l *listener, c *ir.Chain, all bool) {
	hosts := slices.Clone(c.Hosts)
	for _, a := range c.Access {
		hosts = append(hosts, a.Host)
	}
	for _, h := range c.HostTLS {
		hosts = append(hosts, h.Host)
	}
	for _, vh := range c.VirtualHosts {
		for _, p := range vh.Hosts {
			for _, h := range c.Hosts {
				if both, ok := hostname.Intersect(p, h); ok {
					hosts = append(hosts, both)
				}
			}
		}
	}
	slices.SortFunc(hosts, hostname.Compare)
	for _, h := range slices.Compact(hosts) {
		if l.index.FindString(sample(h)) == nil || l.index.FindString(sample(h)).Chain != c {
			continue // a narrower chain has it
		}
		t.places = append(t.places, place{l, c, h})
		covered := slices.ContainsFunc(c.Access, func(a ir.AccessRule) bool { return a.Host.Covers(h) })
		if covered || all {
			t.host(l, c, h)
		}
	}
}

// sample is a name that a pattern covers and that nothing else is likely to name.
func sample(h hostname.Pattern) string {
	switch {
	case h.IsAny():
		return "any-other-host.invalid"
	case h.IsWildcard():
		return "any-other" + h.Suffix()
	}
	return h.String()
}

// host adds the rows of one host: what policies name, and what routes name.
func (t *taker) host(l *listener, c *ir.Chain, h hostname.Pattern) {
	type at struct{ method, path string }
	var ats []at
	tree := map[string]bool{} // paths that stand for what is below them too
	add := func(method, path string) {
		if path == "" {
			path = "/"
		}
		if a := (at{method, path}); !slices.Contains(ats, a) && len(ats) < maxPaths {
			ats = append(ats, a)
		}
	}
	add("", "/")
	for _, a := range c.Access {
		if a.Host.Covers(h) {
			add("", a.Path)
			tree[a.Path] = true
			for _, e := range a.Except {
				add("", e)
			}
		}
	}
	for _, vh := range c.VirtualHosts {
		if !slices.ContainsFunc(vh.Hosts, func(p hostname.Pattern) bool { return p.Covers(h) }) {
			continue
		}
		for _, r := range vh.Routes {
			method := ""
			if m := r.Match.Method; m.Kind == ir.MatchExact && m.Value != "GET" {
				method = m.Value
			}
			switch m := r.Match.Path; m.Kind {
			case ir.MatchAny:
				add(method, "/")
			case ir.MatchExact, ir.MatchPrefix, ir.MatchSegmentPrefix:
				if strings.HasPrefix(m.Value, "/") {
					add(method, m.Value)
					tree[m.Value] = tree[m.Value] || m.Kind != ir.MatchExact
				}
			}
		}
		break
	}
	slices.SortFunc(ats, func(a, b at) int { return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.method, b.method)) })
	for _, a := range ats {
		if len(t.survey.Rows) >= maxRows {
			return
		}
		q := Query{Host: sample(h), Path: a.path, Method: a.method}
		row := Row{Listener: l.ir.Name, TLS: l.ir.TLS, Host: h.String(), Method: a.method, Path: a.path, query: q, exact: a.path != "/" && !tree[a.path]}
		for _, who := range t.survey.Clients {
			q.Presented = who.presented
			row.Answers = append(row.Answers, t.ask(l.ir.Name, q))
		}
		first := row.Answers[0]
		row.Policy, row.Display, row.Route, row.Upstreams, row.Rules = first.Policy, first.Display, first.Route, first.Upstreams, t.named[first.Policy]
		t.survey.Rows = append(t.survey.Rows, row)
	}
}

// judge looks for ways around the policies.
func (t *taker) judge() {
	told := map[string]bool{}
	find := func(f Finding) {
		if key := f.Kind + f.Host + f.Path + f.Message; !told[key] {
			told[key] = true
			t.survey.Findings = append(t.survey.Findings, f)
		}
	}
	closed := map[string]bool{} // "listener host": some path is closed
	for i := range t.survey.Rows {
		if r := &t.survey.Rows[i]; r.Answers[0].Outcome == Deny {
			closed[r.Listener+" "+r.Host] = true
		}
	}
	for i := range t.survey.Rows {
		r := &t.survey.Rows[i]
		first := r.Answers[0]
		switch {
		case first.Outcome == Deny:
			t.spellings(r, find)
			t.sideDoors(r, find)
		case first.Verdict == "audit":
			find(Finding{"audit", false, r.Host, r.Path, fmt.Sprintf("policy %s only watches (mode Audit): everybody is let in", r.Policy), "Set mode: Enforce once the log shows nobody who should get in."})
		case r.Open() && r.Policy == "" && closed[r.Listener+" "+r.Host]:
			find(Finding{"open", false, r.Host, r.Path, "no policy covers this path, on a host of which others are closed: everybody is let in", ""})
		}
	}
	grave := func(f Finding) int { return number(!f.Grave) }
	slices.SortStableFunc(t.survey.Findings, func(a, b Finding) int { return cmp.Compare(grave(a), grave(b)) })
}

// spellings asks for a closed place in the ways in which people have got around such policies.
func (t *taker) spellings(r *Row, find func(Finding)) {
	cased := false
	if p := t.world.set.Policy(r.Policy); p != nil {
		cased = p.IR().CaseSensitive
	}
	for _, path := range disguises(r.Path) {
		if cased && path == strings.ToUpper(r.Path) || r.exact && strings.HasSuffix(path, "/below") {
			continue // the policy says that this is another path
		}
		q := r.query
		q.Path = path
		a := t.ask(r.Listener, q)
		if a.Outcome == Allow && meet(t.world.places(a.Upstreams), t.world.places(r.Upstreams)) {
			find(Finding{"hole", true, r.Host, path, fmt.Sprintf("it is let in without a certificate, though %s is closed by policy %s and lenient origins read it as that", r.Path, r.Policy), "Do not set caseSensitive unless the origin is, and look for an Open policy or an exception that names it."})
		}
	}
}

// disguises are spellings of a path and of something below it that some origin takes for the same.
func disguises(path string) []string {
	if path == "/" {
		return []string{"//", "/./", "/x/..", "/%2e/", "/index.html", "/a/b"}
	}
	first := fmt.Sprintf("/%%%02x%s", path[1], path[2:])
	return []string{path + "/", path + "/below", "/" + path, "/." + path, "/x/.." + path, first, path + ";a", path + ";a=b/below", path + "//", path + "/.", path + "%2f", path + "%20", path + ".",
		strings.ToUpper(path), "/%2e" + path, path + "?x=y", "/;x" + path, strings.Replace(first, "%", "%25", 1)}
}

// sideDoors looks for other hosts and listeners that lead to the same origin and path without asking.
func (t *taker) sideDoors(r *Row, find func(Finding)) {
	target, origin := t.world.places(r.Upstreams), r.Answers[0].Origin
	if len(r.Upstreams) == 0 {
		return
	}
	for _, p := range t.places {
		same := p.listener.ir.Name == r.Listener && p.host.String() == r.Host // then by rewrites alone
		for _, path := range wayTo(p, origin) {
			if same && path == origin {
				continue
			}
			q := r.query
			q.Host, q.Path = sample(p.host), path
			a := t.ask(p.listener.ir.Name, q)
			if a.Outcome != Allow || !under(a.Origin, origin) || !meet(t.world.places(a.Upstreams), target) {
				continue
			}
			kind, by := "sideDoor", "port "+strings.TrimPrefix(p.listener.ir.Name, "*:")
			if !p.listener.ir.TLS {
				kind, by = "plain", by+" without TLS"
			}
			find(Finding{kind, true, p.host.String(), path, fmt.Sprintf("on %s it leads to %s of %s without a certificate, which on host %s is closed by policy %s", by, origin, strings.Join(a.Upstreams, ", "), r.Host, r.Policy),
				fmt.Sprintf("Add the host to spec.hosts of %s or remove the route %s, unless the origin tells the two hosts apart.", r.Policy, a.Route)})
			break
		}
	}
}

// wayTo returns paths by which a path of the origin may be asked for on a host: as it is, and through
// rewrites.
func wayTo(p place, origin string) []string {
	out := []string{origin}
	for _, vh := range p.chain.VirtualHosts {
		if !slices.ContainsFunc(vh.Hosts, func(h hostname.Pattern) bool { return h.Covers(p.host) }) {
			continue
		}
		for _, r := range vh.Routes {
			lists := [][]ir.Filter{r.Filters}
			for _, b := range r.Forward {
				lists = append(lists, b.Filters)
			}
			for _, f := range slices.Concat(lists...) {
				if f.Rewrite == nil {
					continue
				}
				switch w := f.Rewrite.Path; w.Kind {
				case ir.ReplaceFull:
					out = append(out, cmp.Or(r.Match.Path.Value, "/"))
				case ir.ReplacePrefix:
					if value := strings.TrimRight(w.Value, "/"); under(origin, value) {
						out = append(out, strings.TrimRight(w.Prefix, "/")+strings.TrimPrefix(origin, value))
					} else {
						out = append(out, cmp.Or(w.Prefix, "/"))
					}
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return !strings.HasPrefix(s, "/") })
}

// under reports whether a path is another one or lies below it.
func under(path, top string) bool {
	top = strings.TrimRight(top, "/")
	return path == top || strings.HasPrefix(path, top+"/") || path == "?"
}

func meet(a, b map[string]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}
