package acl

import (
	"regexp"
	"slices"
	"strings"
)

// patterns are regular expressions, joined to one when all are there.
type patterns struct {
	get     func(f *Facts, have func(string) bool) bool
	fold    bool
	sources []string
	size    int // of sources together
	re      *regexp.Regexp
}

// subject says what patterns are asked about.
type subject func(opts []string) func(f *Facts, have func(string) bool) bool

func patternKind(about subject) func(*builder, []string, []string) matcher {
	return func(b *builder, opts, values []string) matcher {
		p := &patterns{get: about(opts), fold: folds(opts)}
		p.add(b, values)
		return p
	}
}

// folds reports whether the last of -i and +i ignores case.
func folds(opts []string) bool {
	fold := false
	for _, o := range opts {
		if o == "-i" {
			fold = true
		} else if o == "+i" {
			fold = false
		}
	}
	return fold
}

// maxProgram bounds one joined expression: RE2's time is linear in the text, its space in this.
const maxProgram = 1 << 20

func (p *patterns) add(b *builder, values []string) {
	fold := p.fold
	for _, v := range values {
		if v == "-i" || v == "+i" {
			fold = v == "-i"
			continue
		}
		src, warn, err := Translate(v)
		if err != nil {
			b.fatal("write a POSIX extended regular expression", "the pattern %s cannot be used: %v", v, err)
			continue
		}
		for _, w := range warn {
			b.warn("write what is meant in POSIX's words", "in the pattern %s, %s", v, w)
		}
		// A point stands for a line end, too, as in POSIX: a URL may hold an escaped one.
		if fold {
			src = "(?is:" + src + ")"
		} else {
			src = "(?s:" + src + ")"
		}
		if p.size += len(src); p.size > maxProgram {
			b.fatal("use dstdomain for lists of names", "its patterns are longer than %d bytes together", maxProgram)
			return
		}
		p.sources = append(p.sources, src)
	}
	b.join(p)
}

// join has patterns joined when no more are added, however many lines they came in.
func (b *builder) join(p *patterns) {
	if !slices.ContainsFunc(b.unjoined, func(u unjoined) bool { return u.patterns == p }) {
		b.unjoined = append(b.unjoined, unjoined{p, b.name, b.index})
	}
}

// unjoined are patterns with the ACL that they are of.
type unjoined struct {
	*patterns
	name  string
	index int
}

// joinAll makes the one expression of each.
func (b *builder) joinAll() {
	for _, p := range b.unjoined {
		if len(p.sources) == 0 {
			continue
		}
		re, err := regexp.Compile(strings.Join(p.sources, "|"))
		if err != nil {
			b.name, b.index = p.name, p.index
			b.fatal("write shorter patterns, or dstdomain for lists of names", "its patterns cannot be joined: %v", err)
			continue
		}
		p.re = re
	}
}

func (p *patterns) match(f *Facts) verdict {
	if p.re == nil {
		return no
	}
	return truth(p.get(f, p.re.MatchString))
}

func patternHost([]string) func(*Facts, func(string) bool) bool {
	return func(f *Facts, have func(string) bool) bool { return f.Host != "" && have(f.Host) }
}

func patternClientNames(opts []string) func(*Facts, func(string) bool) bool {
	get := toClientNames(opts)
	return func(f *Facts, have func(string) bool) bool {
		found, _ := get(f, have)
		return found
	}
}

func patternServerNames(opts []string) func(*Facts, func(string) bool) bool {
	get := toServerNames(opts)
	return func(f *Facts, have func(string) bool) bool {
		found, _ := get(f, have)
		return found
	}
}

// patternURL asks about the URL with its escapes undone, as Squid does.
func patternURL([]string) func(*Facts, func(string) bool) bool {
	return func(f *Facts, have func(string) bool) bool { return f.URL != "" && have(unescape(f.URL)) }
}

func patternPath([]string) func(*Facts, func(string) bool) bool {
	return func(f *Facts, have func(string) bool) bool { return f.Path != "" && have(unescape(f.Path)) }
}

func patternField(name string, reply bool) subject {
	return func([]string) func(*Facts, func(string) bool) bool {
		return func(f *Facts, have func(string) bool) bool {
			get := f.Header
			if reply {
				get = f.Reply
			}
			if get == nil {
				return false
			}
			v, ok := get(name)
			return ok && have(v)
		}
	}
}

// fieldKind is req_header and rep_header: the first value is the field's name.
func fieldKind(reply bool) func(*builder, []string, []string) matcher {
	return func(b *builder, opts, values []string) matcher {
		if len(values) < 2 {
			b.fatal("write the field's name and a pattern", "it needs the name of a header field and a pattern")
			return nil
		}
		p := &patterns{get: patternField(values[0], reply)(opts), fold: folds(opts)}
		p.add(b, values[1:])
		return p
	}
}

// unescape undoes %XX. What is no escape stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			h, l := unhex(s[i+1]), unhex(s[i+2])
			if h >= 0 && l >= 0 && h|l != 0 {
				out.WriteByte(byte(h<<4 | l))
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
