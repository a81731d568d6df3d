package acl

import (
	"strings"
	"time"
)

// kind is one type of ACL.
type kind struct {
	flags   []string // options that it takes
	empty   bool     // needs no value
	auth    bool     // asks who the user is
	perLine bool     // several of one name are not one list

	// make builds the matcher; problems go to the builder, nil where nothing could be built.
	make func(b *builder, opts, values []string) matcher
}

// regexFlags are the options of all types with patterns.
func regexFlags(more ...string) []string { return append([]string{"-i", "+i"}, more...) }

// kinds are the types by name.
func kinds() map[string]kind {
	names := []string{"--client-requested", "--server-provided", "--consensus"}
	out := map[string]kind{
		"src":       {make: addressKind(fromClient)},
		"localip":   {make: addressKind(fromLocal)},
		"dst":       {flags: []string{"-n"}, make: addressKind(fromDest)},
		"port":      {make: portKind(func(f *Facts) uint16 { return f.Port })},
		"localport": {make: portKind(func(f *Facts) uint16 { return f.Local.Port() })},

		"dstdomain":        {flags: []string{"-n"}, make: domainKind(toHost)},
		"srcdomain":        {flags: []string{"-n"}, make: domainKind(toClientNames)},
		"ssl::server_name": {flags: names, make: domainKind(toServerNames)},

		"method":     {make: wordKind(true, func(f *Facts) string { return f.Method })},
		"proto":      {make: wordKind(true, func(f *Facts) string { return f.Scheme })},
		"myportname": {make: wordKind(false, func(f *Facts) string { return f.Listener })},

		"dstdom_regex":           {flags: regexFlags("-n"), make: patternKind(patternHost)},
		"srcdom_regex":           {flags: regexFlags("-n"), make: patternKind(patternClientNames)},
		"ssl::server_name_regex": {flags: regexFlags(names...), make: patternKind(patternServerNames)},
		"url_regex":              {flags: regexFlags(), make: patternKind(patternURL)},
		"urlpath_regex":          {flags: regexFlags(), make: patternKind(patternPath)},
		"browser":                {flags: regexFlags(), make: patternKind(patternField("User-Agent", false))},
		"referer_regex":          {flags: regexFlags(), make: patternKind(patternField("Referer", false))},
		"req_mime_type":          {flags: regexFlags(), make: patternKind(patternField("Content-Type", false))},
		"rep_mime_type":          {flags: regexFlags(), make: patternKind(patternField("Content-Type", true))},
		"req_header":             {flags: regexFlags(), perLine: true, make: fieldKind(false)},
		"rep_header":             {flags: regexFlags(), perLine: true, make: fieldKind(true)},

		"proxy_auth":       {flags: []string{"-i", "+i"}, auth: true, make: makeUsers},
		"proxy_auth_regex": {flags: regexFlags(), auth: true, make: makeUserPattern},
		"user_cert":        {perLine: true, make: certificateKind(false)},
		"ca_cert":          {perLine: true, make: certificateKind(true)},

		"at_step":                 {make: makeSteps},
		"ssl_error":               {make: makeErrors},
		"server_cert_fingerprint": {flags: []string{"-sha1"}, make: makeFingerprints},
		"connections_encrypted":   {empty: true, make: makeEncrypted},

		"time":        {perLine: true, make: makeTime},
		"maxconn":     {make: makeMaxconn},
		"http_status": {make: makeStatus},
		"any-of":      {perLine: true, make: groupKind(false)},
		"all-of":      {perLine: true, make: groupKind(true)},
	}
	return out
}

// words compares one word of the facts.
type words struct {
	get  func(*Facts) string
	fold bool
	set  map[string]struct{}
}

func wordKind(fold bool, get func(*Facts) string) func(*builder, []string, []string) matcher {
	return func(b *builder, _, values []string) matcher {
		w := &words{get: get, fold: fold, set: map[string]struct{}{}}
		w.add(b, values)
		return w
	}
}

func (w *words) add(_ *builder, values []string) {
	for _, v := range values {
		if w.fold {
			v = strings.ToUpper(v)
		}
		w.set[v] = struct{}{}
	}
}

func (w *words) match(f *Facts) verdict {
	v := w.get(f)
	if v == "" {
		return no
	}
	if w.fold {
		v = strings.ToUpper(v) // no copy where it is upper case already
	}
	_, ok := w.set[v]
	return truth(ok)
}

// group asks several questions: any-of or all-of.
type group struct {
	all   bool
	names []string
	refs  []ref // linked when all are built

	name  string
	index int
}

func groupKind(all bool) func(*builder, []string, []string) matcher {
	return func(_ *builder, _, values []string) matcher { return &group{all: all, names: values} }
}

func (g *group) match(f *Facts) verdict {
	out := truth(g.all)
	for _, r := range g.refs {
		v := r.q.match(f)
		if v == unauthenticated {
			if g.all {
				return v
			}
			out = v
			continue
		}
		if (v == yes) != r.negate {
			if !g.all {
				return yes
			}
		} else if g.all {
			return no
		}
	}
	return out
}

// link resolves the names in groups and refuses circles.
func (b *builder) link() {
	for _, g := range b.groups {
		b.name, b.index = g.name, g.index
		for _, n := range g.names {
			bare, negate := strings.CutPrefix(n, "!")
			q := b.set.acls[bare]
			if q == nil {
				b.fatal("define it, or correct the name", "it names the ACL %q, which does not exist", bare)
				continue
			}
			g.refs = append(g.refs, ref{q, negate})
		}
	}
	for _, g := range b.groups {
		if b.reaches(g, b.set.acls[g.name], len(b.groups)) {
			b.name, b.index = g.name, g.index
			b.fatal("take one of them out of the circle", "it contains itself, directly or through others")
			g.refs = nil
		}
	}
}

// reaches reports whether q is among what g asks, at most depth groups down.
func (b *builder) reaches(g *group, q *question, depth int) bool {
	for _, r := range g.refs {
		if r.q == q {
			return true
		}
		for _, m := range r.q.parts {
			if inner, ok := m.(*group); ok && depth > 0 && b.reaches(inner, q, depth-1) {
				return true
			}
		}
	}
	return false
}

// hours is one line of type time.
type hours struct {
	days     uint8 // bit per time.Weekday
	from, to int   // minutes of the day
}

func makeTime(b *builder, _, values []string) matcher {
	h := &hours{to: 24 * 60}
	for _, v := range values {
		if strings.Contains(v, ":") {
			from, to, ok := strings.Cut(v, "-")
			a, aok := minutes(from)
			z, zok := minutes(to)
			switch {
			case !ok || !aok || !zok:
				b.fatal("write it as 09:00-17:30", "%q is no range of times", v)
				return nil
			case a >= z:
				b.fatal("write two lines: one until 24:00, one from 00:00", "the range %s does not end after it begins", v)
				return nil
			}
			h.from, h.to = a, z
			continue
		}
		for _, c := range v {
			day, ok := map[rune]uint8{'S': 1, 'M': 2, 'T': 4, 'W': 8, 'H': 16, 'F': 32, 'A': 64, 'D': 62}[c]
			if !ok {
				b.fatal("use S M T W H F A (Sunday to Saturday) and D (Monday to Friday)", "%q in %q is no day", c, v)
				return nil
			}
			h.days |= day
		}
	}
	if h.days == 0 {
		h.days = 127
	}
	return h
}

// minutes reads "9:30" as minutes of the day.
func minutes(s string) (int, bool) {
	if s == "24:00" {
		return 24 * 60, true
	}
	for _, layout := range []string{"15:04", "3:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Hour()*60 + t.Minute(), true
		}
	}
	return 0, false
}

func (h *hours) match(f *Facts) verdict {
	if f.Now.IsZero() {
		return no
	}
	m := f.Now.Hour()*60 + f.Now.Minute()
	return truth(h.days&(1<<f.Now.Weekday()) != 0 && m >= h.from && m < h.to)
}
