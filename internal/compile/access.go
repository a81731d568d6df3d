package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// reach is how narrow the target is through which a policy covers a request. The narrower wins.
type reach int

const (
	reachGateway  reach = iota // a Gateway or EdgeHost
	reachListener              // a listener or server of it
	reachHost                  // hosts that the policy names itself
	reachRoute                 // a route
	reachRule                  // a named rule of a route
)

// placed is a rule with what decides on its place among others.
type placed struct {
	ir.AccessRule
	reach reach
	order int // of the policy in compiler.access
}

// compareRules orders rules from the most to the least specific.
func compareRules(a, b placed) int {
	return cmp.Or(cmp.Compare(len(b.Path), len(a.Path)), cmp.Compare(b.reach, a.reach), hostname.Compare(a.Host, b.Host),
		cmp.Compare(a.order, b.order), strings.Compare(a.Path, b.Path), compareTargets(a.Route, b.Route))
}

func compareTargets(a, b *ir.RouteTarget) int {
	if a == nil || b == nil {
		return cmp.Compare(boolInt(a != nil), boolInt(b != nil))
	}
	return cmp.Or(strings.Compare(a.Object.String(), b.Object.String()), strings.Compare(a.Section, b.Section))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// coverage finds what the policies cover. It is made once for each Compile, after merging.
type coverage struct {
	*compiler
	byName  map[string]*translate.Access
	used    []map[string]bool // for each policy the fields (targetRefs, hosts) that something was found for
	covers  []bool            // for each policy whether it covers anything
	against map[string]bool   // pairs of policies that were told to be rivals
	hosts   hostSet           // of the chain in work
}

// hostSet is the hosts of a chain, found by name: there may be thousands of them, and of policies too.
type hostSet struct {
	all    []hostname.Pattern
	exact  map[hostname.Pattern]bool
	others []hostname.Pattern // wildcards
}

func newHostSet(hosts []hostname.Pattern) hostSet {
	s := hostSet{all: hosts, exact: make(map[hostname.Pattern]bool, len(hosts))}
	for _, h := range hosts {
		if h.IsExact() {
			s.exact[h] = true
		} else {
			s.others = append(s.others, h)
		}
	}
	return s
}

// near returns the hosts that may have to do with one of names, in no order; all of them for no names.
func (s *hostSet) near(names []hostname.Pattern) []hostname.Pattern {
	if len(names) == 0 {
		return s.all
	}
	out := s.others[:len(s.others):len(s.others)]
	for _, n := range names {
		switch {
		case !n.IsExact():
			return s.all
		case s.exact[n]:
			out = append(out, n)
		}
	}
	return out
}

// cover gives every chain its rules and returns the policies, ordered by name. It runs after TLSPolicies
// have been applied to listeners.
func (c *compiler) cover(listeners []*ir.Listener) []*ir.AccessPolicy {
	if len(c.access) == 0 {
		return nil
	}
	slices.SortStableFunc(c.access, func(a, b translate.Access) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Policy.Name, b.Policy.Name))
	})
	v := &coverage{compiler: c, byName: map[string]*translate.Access{}, used: make([]map[string]bool, len(c.access)), covers: make([]bool, len(c.access)), against: map[string]bool{}}
	var out []*ir.AccessPolicy
	for i := range c.access {
		a := &c.access[i]
		v.byName[a.Policy.Name] = a
		v.used[i] = map[string]bool{}
		a.Policy.Revision = ""
		a.Policy.Revision = ir.HashOf(a.Policy)
		out = append(out, a.Policy)
	}
	owner := make(map[*ir.Chain]*translate.Listener, len(c.listeners))
	for _, l := range c.listeners {
		owner[l.Chain] = l
	}
	for _, l := range listeners {
		if l.Forward != nil {
			continue // it serves no hosts: whom it lets in is its own rules' affair
		}
		for _, chain := range l.Chains {
			v.chain(chain, owner[chain])
		}
	}
	v.unused()
	slices.SortFunc(out, func(a, b *ir.AccessPolicy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// chain gives one chain its rules, and its TLS what they ask of clients.
func (v *coverage) chain(chain *ir.Chain, from *translate.Listener) {
	v.hosts = newHostSet(chain.Hosts)
	var rules []placed
	for i := range v.access {
		rules = append(rules, v.rules(i, chain, from)...)
	}
	if len(rules) == 0 {
		return
	}
	if chain.TCP != nil {
		v.overTCP(chain, from, rules)
		return
	}
	slices.SortStableFunc(rules, compareRules)
	rules = slices.CompactFunc(rules, func(a, b placed) bool { return a.order == b.order && compareRules(a, b) == 0 })
	if chain.TLS == nil {
		if rules = v.plain(chain, from, rules); len(rules) == 0 {
			return
		}
	}
	v.rivals(rules)
	v.opened(rules)
	for _, r := range rules {
		chain.Access = append(chain.Access, r.AccessRule)
	}
	if chain.TLS != nil {
		v.ask(chain, from, rules)
	}
}

// rules returns where one policy holds in a chain.
func (v *coverage) rules(i int, chain *ir.Chain, from *translate.Listener) []placed {
	a := &v.access[i]
	var out []placed
	put := func(host hostname.Pattern, at reach, route *ir.RouteTarget) {
		paths := a.Paths
		if len(paths) == 0 {
			paths = []string{""}
		}
		for _, p := range paths {
			out = append(out, placed{ir.AccessRule{Policy: a.Policy.Name, Host: host, Path: p, Except: a.Except, Route: route}, at, i})
		}
		v.covers[i] = true
	}
	// narrowed calls put for the part of a host that the policy's own hosts admit.
	narrowed := func(host hostname.Pattern, at reach, route *ir.RouteTarget) {
		if len(a.Hosts) == 0 {
			put(host, at, route)
			return
		}
		for _, h := range a.Hosts {
			if both, ok := hostname.Intersect(h, host); ok {
				v.used[i]["host "+h.String()] = true
				put(both, max(at, reachHost), route)
			}
		}
	}
	if len(a.Targets) == 0 {
		for _, h := range v.hosts.near(a.Hosts) {
			narrowed(h, reachHost, nil)
		}
	}
	for _, t := range a.Targets {
		if !isRoute(t.Object.Kind) {
			if at, ok := targetsListener(t, from); ok {
				v.used[i][t.Field] = true
				for _, h := range v.hosts.near(a.Hosts) {
					narrowed(h, at, nil)
				}
			}
			continue
		}
		at := reachRoute
		if t.Section != "" {
			at = reachRule
		}
		for _, h := range routeHosts(t, chain) {
			v.used[i][t.Field] = true
			target := &ir.RouteTarget{Object: t.Object, Section: t.Section}
			if !a.Policy.Open {
				target.Paths = routePaths(t, chain, h)
			}
			narrowed(h, at, target)
		}
	}
	return out
}

func isRoute(kind string) bool {
	return kind == "HTTPRoute" || kind == "GRPCRoute" || kind == "VirtualService"
}

// targetsListener reports whether a target is a listener, or its gateway.
func targetsListener(t translate.AccessTarget, l *translate.Listener) (reach, bool) {
	if l == nil || l.Gateway != t.Object || t.Family != 0 && t.Family != l.Family {
		return 0, false
	}
	switch {
	case t.Section == "":
		return reachGateway, true
	case t.Section == l.Section, l.Chain.Name == l.Gateway.Namespace+"/"+l.Gateway.Name+"/"+t.Section:
		return reachListener, true
	}
	return 0, false
}

// routeHosts returns the hosts of a chain on which a target's routes are served.
func routeHosts(t translate.AccessTarget, chain *ir.Chain) []hostname.Pattern {
	var out []hostname.Pattern
	for _, vh := range chain.VirtualHosts {
		if !slices.ContainsFunc(vh.Routes, func(r *ir.Route) bool { return isOf(t, r) && !r.Match.Path.Unmatchable() }) {
			continue
		}
		for _, p := range vh.Hosts {
			for _, h := range chain.Hosts {
				if both, ok := hostname.Intersect(p, h); ok {
					out = append(out, both)
				}
			}
		}
	}
	slices.SortFunc(out, hostname.Compare)
	return slices.Compact(out)
}

// routePaths returns the paths that a target's routes match on a host, without those that match every
// path or a regular expression.
func routePaths(t translate.AccessTarget, chain *ir.Chain, host hostname.Pattern) []ir.RoutePath {
	var out []ir.RoutePath
	for _, vh := range chain.VirtualHosts {
		if !slices.ContainsFunc(vh.Hosts, func(p hostname.Pattern) bool { _, ok := hostname.Intersect(p, host); return ok }) {
			continue
		}
		for _, r := range vh.Routes {
			if !isOf(t, r) {
				continue
			}
			switch m := r.Match.Path; m.Kind {
			case ir.MatchExact:
				out = append(out, ir.RoutePath{Path: m.Value, Exact: true})
			case ir.MatchPrefix, ir.MatchSegmentPrefix:
				if p := strings.TrimRight(m.Value, "/"); p != "" {
					out = append(out, ir.RoutePath{Path: p})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b ir.RoutePath) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(boolInt(a.Exact), boolInt(b.Exact)))
	})
	return slices.Compact(out)
}

func isOf(t translate.AccessTarget, r *ir.Route) bool {
	return r.Origin.Object == t.Object && (t.Section == "" || t.Section == r.Section)
}

// plain keeps the rules of a listener without TLS: nobody gets in where they hold. It leaves out those
// of hosts that are only redirected.
func (v *coverage) plain(chain *ir.Chain, from *translate.Listener, rules []placed) []placed {
	told := map[int]bool{}
	return slices.DeleteFunc(rules, func(r placed) bool {
		if redirects(chain, r.AccessRule) {
			return true
		}
		p := v.access[r.order].Policy
		if !p.Open && !p.Audit && !told[r.order] && from != nil {
			told[r.order] = true
			what := "everything on host"
			if r.Path != "" {
				what = r.Path + " on host"
			}
			v.report(diag.AccessOverPlainHTTP, p.Origin.Object, "spec",
				fmt.Sprintf("%s %s is served by %s on port %d without TLS too, where no client can show a certificate; requests for it are denied there", what, r.Host, chain.Name, from.Port),
				"Redirect from that listener to https, or narrow the policy to the listener with TLS (targetRefs with sectionName).")
		}
		return false
	})
}

// redirects reports whether what a rule covers is only redirected, or not served at all.
func redirects(chain *ir.Chain, rule ir.AccessRule) bool {
	for _, vh := range chain.VirtualHosts {
		if !slices.ContainsFunc(vh.Hosts, func(h hostname.Pattern) bool { _, ok := hostname.Intersect(h, rule.Host); return ok }) {
			continue
		}
		for _, r := range vh.Routes {
			if t := rule.Route; t != nil && (r.Origin.Object != t.Object || t.Section != "" && t.Section != r.Section) {
				continue
			}
			if r.Redirect == nil && overlaps(r.Match.Path, rule.Path) {
				return false
			}
		}
	}
	return true
}

// overlaps reports whether a path that a match admits may be one that lies in, or is read as lying in, a
// rule's subtree. In doubt it is.
func overlaps(m ir.PathMatch, path string) bool {
	if path == "" {
		return true
	}
	own, rule := strings.ToLower(m.Value), strings.ToLower(path)
	switch m.Kind {
	case ir.MatchExact:
		return strings.ContainsAny(own, "%;.:") || own == rule || strings.HasPrefix(own, rule+"/")
	case ir.MatchSegmentPrefix, ir.MatchPrefix:
		return strings.ContainsAny(own, "%;.:") || strings.HasPrefix(own, rule) || strings.HasPrefix(rule, own)
	}
	return true
}

// rivals tells of rules that an older one of equal reach precedes.
func (v *coverage) rivals(rules []placed) {
	type place struct {
		host   hostname.Pattern
		reach  reach
		path   string
		object diag.Object
		rule   string
	}
	first := map[place]placed{}
	for _, b := range rules {
		at := place{host: b.Host, reach: b.reach, path: strings.ToLower(b.Path)}
		if b.Route != nil {
			at.object, at.rule = b.Route.Object, b.Route.Section
		}
		a, taken := first[at]
		if !taken {
			first[at] = b
			continue
		}
		older, younger := v.access[a.order].Policy, v.access[b.order].Policy
		if a.order == b.order || a.Path != b.Path && (older.CaseSensitive || younger.CaseSensitive) {
			continue
		}
		if key := older.Name + " " + younger.Name; v.against[key] {
			continue
		} else {
			v.against[key] = true
		}
		what := "every path"
		if b.Path != "" {
			what = b.Path
		}
		v.report(diag.AccessConflict, younger.Origin.Object, "spec",
			fmt.Sprintf("it covers %s on host %s like %s, which is older and decides", what, b.Host, older.Origin.Object), "Remove one of the two, or narrow one by targetRefs, hosts or paths.")
	}
}

// opened notes the Open policies of a chain that have something to open.
func (v *coverage) opened(rules []placed) {
	for i, open := range rules {
		if !v.access[open.order].Policy.Open {
			continue
		}
		for _, r := range rules[i+1:] {
			_, meets := hostname.Intersect(r.Host, open.Host)
			if meets && !v.access[r.order].Policy.Open && (r.Path == "" || open.Path == r.Path || strings.HasPrefix(open.Path, r.Path+"/")) {
				v.used[open.order]["opens"] = true
			}
		}
	}
}

// unused tells of policies, targets and hosts that nothing was found for.
func (v *coverage) unused() {
	const most = 100 // policies for which what was meant is looked for
	for i := range v.access {
		a := &v.access[i]
		hint := func(f func() string) string {
			if i >= most {
				return ""
			}
			return f()
		}
		obj := a.Policy.Origin.Object
		lost := false
		for _, t := range a.Targets {
			if !v.used[i][t.Field] {
				lost = true
				if message := v.unaccepted(t); message != "" {
					v.report(diag.AccessCoversNothing, obj, t.Field, message+", so nothing is protected through this target", mendThere)
					continue
				}
				message, near := v.absent(t)
				v.report(diag.AccessCoversNothing, obj, t.Field, message, hint(near)+"Correct the target; hakone dump listeners and hakone dump routes show what is served.")
			}
		}
		for _, h := range a.Hosts {
			if !v.used[i]["host "+h.String()] && !lost {
				lost = true
				if cause := v.unacceptedHost(h); cause != "" {
					v.report(diag.AccessCoversNothing, obj, "spec.hosts", fmt.Sprintf("no listener serves host %q, so the policy protects nothing there: %s", h, cause), mendThere)
					continue
				}
				v.report(diag.AccessCoversNothing, obj, "spec.hosts", fmt.Sprintf("no listener%s serves host %q, so the policy protects nothing there", ofTargets(a), h),
					hint(func() string { return v.nearHost(h) })+"Correct the host, or serve it: an EdgeHost, or a Gateway's listener.")
			}
		}
		switch {
		case !v.covers[i] && !lost:
			v.report(diag.AccessCoversNothing, obj, "spec", "nothing that is served is covered by the policy", "Correct spec.targetRefs and spec.hosts.")
		case a.Policy.Open && v.covers[i] && !v.used[i]["opens"]:
			v.report(diag.AccessOpensNothing, obj, "spec.action", "no broader policy asks for certificates where this one lets everybody in", "Remove the policy, or correct its hosts, paths or targets.")
		}
	}
}

func ofTargets(a *translate.Access) string {
	if len(a.Targets) == 0 {
		return ""
	}
	return " or route of the policy's targets"
}

// absent says what a target that nothing was found for lacks, and what was most likely meant.
func (v *coverage) absent(t translate.AccessTarget) (message string, near func() string) {
	name := t.Object.Namespace + "/" + t.Object.Name
	if isRoute(t.Object.Kind) {
		return v.absentRoute(t, name)
	}
	var gateways, sections []string
	elsewhere, serves := "", false
	for _, l := range v.listeners {
		switch {
		case l.Gateway.Kind != t.Object.Kind || t.Family != 0 && t.Family != l.Family:
		case l.Gateway == t.Object:
			serves = true
			sections = append(sections, l.Section)
		default:
			gateways = append(gateways, l.Gateway.Namespace+"/"+l.Gateway.Name)
			if l.Gateway.Name == t.Object.Name {
				elsewhere = l.Gateway.Namespace
			}
		}
	}
	switch {
	case serves && !slices.Contains(sections, t.Section) && t.Section != "":
		return fmt.Sprintf("%s has no listener or server %q, so nothing is protected through this target", t.Object, t.Section),
			func() string { return didYouMean("sectionName", t.Section, sections) }
	case serves:
		return fmt.Sprintf("%s serves none of the policy's hosts, or its listener is not served, so nothing is protected through this target", t.Object), func() string { return "" }
	case elsewhere != "":
		return fmt.Sprintf("there is no %s that serves anything", t.Object), func() string {
			return fmt.Sprintf("Did you mean the %s of namespace %s? ", t.Object.Kind, elsewhere)
		}
	}
	return fmt.Sprintf("there is no %s that serves anything, so nothing is protected through this target", t.Object),
		func() string { return didYouMean(t.Object.Kind, name, gateways) }
}

func (v *coverage) absentRoute(t translate.AccessTarget, name string) (string, func() string) {
	var routes, sections []string
	exists, never := false, ""
	for _, l := range v.listeners {
		for _, vh := range l.Chain.VirtualHosts {
			for _, r := range vh.Routes {
				switch o := r.Origin.Object; {
				case o == t.Object:
					exists = true
					if r.Section != "" {
						sections = append(sections, r.Section)
					}
					if r.Match.Path.Unmatchable() && (t.Section == "" || t.Section == r.Section) {
						never = r.Match.Path.Value
					}
				case o.Kind == t.Object.Kind:
					routes = append(routes, o.Namespace+"/"+o.Name)
				}
			}
		}
	}
	if never != "" {
		return fmt.Sprintf("%s can match no request, for paths begin with a slash and %q does not, so nothing is protected through this target", t.Object, never),
			func() string { return fmt.Sprintf("Write %q in the route. ", "/"+never) }
	}
	if exists && t.Section != "" && !slices.Contains(sections, t.Section) {
		return fmt.Sprintf("%s has no rule named %q, so nothing is protected through this target", t.Object, t.Section),
			func() string { return didYouMean("sectionName", t.Section, slices.Compact(sections)) }
	}
	return fmt.Sprintf("no listener serves a route of %s, so nothing is protected through this target", t.Object),
		func() string { return didYouMean(t.Object.Kind, name, routes) }
}

func (v *coverage) nearHost(h hostname.Pattern) string {
	var hosts []string
	for _, l := range v.listeners {
		for _, x := range l.Chain.Hosts {
			hosts = append(hosts, x.String())
		}
	}
	return didYouMean("host", h.String(), hosts)
}
