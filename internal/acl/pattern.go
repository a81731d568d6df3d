package acl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// patterns are regular expressions, joined to one.
type patterns struct {
	get     func(f *Facts, have func(string) bool) bool
	fold    bool
	sources []string
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
	size := 0
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
		if fold {
			src = "(?i:" + src + ")"
		} else {
			src = "(?:" + src + ")"
		}
		if size += len(src); size > maxProgram {
			b.fatal("use dstdomain for lists of names", "its patterns are longer than %d bytes together", maxProgram)
			return
		}
		p.sources = append(p.sources, src)
	}
	if len(p.sources) == 0 {
		return
	}
	re, err := regexp.Compile(strings.Join(p.sources, "|"))
	if err != nil {
		b.fatal("write shorter patterns, or dstdomain for lists of names", "its patterns cannot be joined: %v", err)
		return
	}
	p.re = re
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

// Translate writes a POSIX extended regular expression, with what GNU adds, in the syntax of package regexp
// (RE2). Warnings tell what most probably is not meant: escapes of Perl, which stand for letters in POSIX.
func Translate(posix string) (re2 string, warnings []string, err error) {
	t := translator{in: posix}
	if err := t.run(); err != nil {
		return "", nil, err
	}
	if _, err := regexp.Compile(t.out.String()); err != nil {
		return "", nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return t.out.String(), t.warnings, nil
}

type translator struct {
	in       string
	at       int
	out      strings.Builder
	warnings []string
}

func (t *translator) run() error {
	for t.at < len(t.in) {
		c := t.in[t.at]
		switch {
		case c == '\\':
			if err := t.escape(); err != nil {
				return err
			}
		case c == '[':
			if err := t.bracket(); err != nil {
				return err
			}
		case c == '(' && strings.HasPrefix(t.in[t.at:], "(?"):
			return fmt.Errorf("(? is Perl's syntax, which POSIX does not have; ignore case with the option -i")
		case (c == '*' || c == '+' || c == '?') && t.at > 0 && strings.IndexByte("*+?", t.in[t.at-1]) >= 0 && !t.escaped(t.at-1):
			// A repeated repetition means the widest of them; RE2 would take ? for laziness.
			if err := t.repeatAgain(c); err != nil {
				return err
			}
		default:
			t.out.WriteByte(c)
			t.at++
		}
	}
	return nil
}

// escaped reports whether the byte at i follows an odd number of backslashes.
func (t *translator) escaped(i int) bool {
	n := 0
	for i--; i >= 0 && t.in[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

// repeatAgain joins a repetition to the one before it: any two of *, + and ? but ++ and ?? make *.
func (t *translator) repeatAgain(c byte) error {
	s := t.out.String()
	prev := s[len(s)-1]
	t.at++
	if c == prev {
		return nil
	}
	t.out.Reset()
	t.out.WriteString(s[:len(s)-1] + "*")
	return nil
}

func (t *translator) escape() error {
	if t.at+1 >= len(t.in) {
		return fmt.Errorf("it ends in a backslash")
	}
	c := t.in[t.at+1]
	t.at += 2
	switch {
	case c == '<' || c == '>':
		t.out.WriteString(`\b`)
	case c == '`':
		t.out.WriteString(`\A`)
	case c == '\'':
		t.out.WriteString(`\z`)
	case strings.IndexByte("wWsSbB", c) >= 0:
		t.out.WriteByte('\\')
		t.out.WriteByte(c)
	case c >= '1' && c <= '9':
		return fmt.Errorf("\\%c refers back to a group, which cannot be done in linear time", c)
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '0':
		if strings.IndexByte("dDnrtfv", c) >= 0 {
			t.warnings = append(t.warnings, fmt.Sprintf("\\%c stands for the letter %c, as in POSIX", c, c))
		}
		t.out.WriteByte(c)
	default:
		t.out.WriteString(regexp.QuoteMeta(string(rune(c))))
	}
	return nil
}

// bracket copies a bracket expression, in which POSIX knows no escapes.
func (t *translator) bracket() error {
	t.at++
	t.out.WriteByte('[')
	if t.at < len(t.in) && t.in[t.at] == '^' {
		t.out.WriteByte('^')
		t.at++
	}
	for first := true; t.at < len(t.in); first = false {
		rest := t.in[t.at:]
		switch {
		case rest[0] == ']' && !first:
			t.out.WriteByte(']')
			t.at++
			return nil
		case strings.HasPrefix(rest, "[:"):
			end := strings.Index(rest, ":]")
			if end < 0 {
				return fmt.Errorf("[: is not closed")
			}
			t.out.WriteString(rest[:end+2])
			t.at += end + 2
		case strings.HasPrefix(rest, "[.") || strings.HasPrefix(rest, "[="):
			return fmt.Errorf("collating elements ([. and [=) cannot be used")
		case rest[0] == '\\':
			if len(rest) > 1 && strings.IndexByte("dws", rest[1]) >= 0 {
				t.warnings = append(t.warnings, fmt.Sprintf("\\%c within [] stands for a backslash or the letter %c, as in POSIX", rest[1], rest[1]))
			}
			t.out.WriteString(`\\`)
			t.at++
		case rest[0] == '[' || rest[0] == ']' || rest[0] == '^':
			t.out.WriteByte('\\')
			t.out.WriteByte(rest[0])
			t.at++
		default:
			t.out.WriteByte(rest[0])
			t.at++
		}
	}
	return fmt.Errorf("[ is not closed")
}

// users is proxy_auth: the verified user, any or some.
type users struct {
	any  bool
	fold bool
	set  map[string]struct{}
}

func makeUsers(b *builder, opts, values []string) matcher {
	u := &users{set: map[string]struct{}{}, fold: folds(opts)}
	u.add(b, values)
	return u
}

func (u *users) add(_ *builder, values []string) {
	for _, v := range values {
		if v == "REQUIRED" {
			u.any = true
			continue
		}
		if u.fold {
			v = strings.ToLower(v)
		}
		u.set[v] = struct{}{}
	}
}

func (u *users) match(f *Facts) verdict {
	if !f.Authenticated {
		return unauthenticated
	}
	if u.any {
		return yes
	}
	name := f.User
	if u.fold {
		name = strings.ToLower(name)
	}
	_, ok := u.set[name]
	return truth(ok)
}

// userPattern is proxy_auth_regex.
type userPattern struct{ *patterns }

func makeUserPattern(b *builder, opts, values []string) matcher {
	u := userPattern{&patterns{fold: folds(opts), get: func(f *Facts, have func(string) bool) bool { return have(f.User) }}}
	if i := slices.Index(values, "REQUIRED"); i >= 0 {
		values = append(slices.Clone(values[:i]), values[i+1:]...)
		values = append(values, ".")
	}
	u.add(b, values)
	return u
}

func (u userPattern) match(f *Facts) verdict {
	if !f.Authenticated {
		return unauthenticated
	}
	return u.patterns.match(f)
}

// encrypted is connections_encrypted.
type encrypted struct{}

func makeEncrypted(*builder, []string, []string) matcher { return encrypted{} }

func (encrypted) match(f *Facts) verdict { return truth(f.Encrypted) }

// steps is at_step.
type steps [4]bool

func makeSteps(b *builder, _, values []string) matcher {
	s := &steps{}
	s.add(b, values)
	return s
}

func (s *steps) add(b *builder, values []string) {
	for _, v := range values {
		switch v {
		case "SslBump1":
			s[1] = true
		case "SslBump2":
			s[2] = true
		case "SslBump3":
			s[3] = true
		default:
			b.fatal("use SslBump1, SslBump2 and SslBump3", "%q is no step", v)
		}
	}
}

func (s *steps) match(f *Facts) verdict { return truth(f.Step >= 1 && f.Step <= 3 && s[f.Step]) }
