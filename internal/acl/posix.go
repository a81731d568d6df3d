package acl

import (
	"fmt"
	"regexp"
	"strings"
)

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
