package squidconf

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Bounds of what is read. Squid's own bound for includes within includes is 16.
const (
	maxDepth = 16
	maxLines = 100_000  // of all files together
	maxFile  = 64 << 20 // bytes of one file
)

// blank are the characters between words. Others that Unicode calls spaces belong to words, as in Squid.
const blank = " \t\v\f"

// statement is a line with a directive that counts.
type statement struct {
	line   int // in Result.Lines
	text   string
	words  []string
	quoted bool // read with configuration_includes_quoted_values on
}

// reader makes statements of files. Later converters only read what it has left.
type reader struct {
	c          *converter
	statements []statement
	quoted     bool // configuration_includes_quoted_values as of the line at hand
	full       bool // maxLines is reached
}

// file reads a file's lines.
func (r *reader) file(name string, text []byte, depth int) {
	c := r.c
	var open []condition
	for _, raw := range joined(string(text)) {
		if r.full {
			return
		}
		raw.text = macros(raw.text)
		words, err := split(raw.text, r.quoted, false)
		if len(words) == 0 && err == nil {
			continue
		}
		if err == nil {
			err = writable(words)
		}
		c.result.Lines = append(c.result.Lines, Line{File: name, Number: raw.number, Text: strings.Trim(withoutComment(raw.text), blank)})
		index := len(c.result.Lines) - 1
		c.line = &c.result.Lines[index]
		skipped := slices.ContainsFunc(open, func(o condition) bool { return !o.holds })
		switch {
		case len(c.result.Lines) >= maxLines:
			r.full = true
			c.refuseClosing("Put lists into files that acl lines name.", "only %d lines are read", maxLines)
		case err != nil:
			c.refuseClosing("Correct the line; squid -k parse shows the same.", "%v", err)
			c.line.Code = diag.ImportSyntax
		case words[0] == "if" && len(words) > 1:
			open = append(open, condition{line: index, holds: r.condition(words[1:])})
		case words[0] == "else" && len(open) > 0:
			open[len(open)-1].holds = !open[len(open)-1].holds && !open[len(open)-1].unknown
			c.noEffect("a condition")
		case words[0] == "endif" && len(open) > 0:
			open = open[:len(open)-1]
			c.noEffect("a condition")
		case skipped:
			c.noEffect("inside a condition that does not hold")
		case words[0] == "include":
			r.include(words[1:], depth)
		case words[0] == "configuration_includes_quoted_values":
			r.quoted = len(words) > 1 && words[1] == "on"
			c.honour("words of later lines are read so")
		default:
			r.statements = append(r.statements, statement{line: index, text: raw.text, words: words, quoted: r.quoted})
		}
	}
	for _, o := range open {
		c.line = &c.result.Lines[o.line]
		c.refuseClosing("Write endif where the condition ends.", "the condition does not end")
		c.line.Code = diag.ImportSyntax
	}
}

// condition is an if block that is open.
type condition struct {
	line    int
	holds   bool
	unknown bool // neither side counts
}

// condition judges "true", "false" or "A = B".
func (r *reader) condition(words []string) bool {
	c := r.c
	expression := strings.Join(words, " ")
	left, right, equation := strings.Cut(expression, "=")
	a, err1 := strconv.Atoi(strings.Trim(left, blank))
	b, err2 := strconv.Atoi(strings.Trim(right, blank))
	switch {
	case expression == "true", equation && err1 == nil && err2 == nil && a == b:
		c.noEffect("a condition that holds")
		return true
	case expression == "false", equation && err1 == nil && err2 == nil:
		c.noEffect("a condition that does not hold: its lines are left out")
		return false
	}
	c.refuseClosing("Write true, false or NUMBER = NUMBER.", "%s is no condition", expression)
	return false
}

// macros puts values in the place of those that Squid has about its processes: there is one, the first.
func macros(text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	return strings.NewReplacer("${process_number}", "1", "${process_name}", "squid1", "${service_name}", "squid").Replace(text)
}

// include reads the files that are named, patterns in order. What is not found may hold lines that deny, so that
// it closes.
func (r *reader) include(files []string, depth int) {
	c := r.c
	index := len(c.result.Lines) - 1
	if depth >= maxDepth {
		c.refuseClosing("Include files less deeply.", "includes are nested more than %d deep", maxDepth)
		return
	}
	if len(files) == 0 {
		c.refuse("Name a file.", "the line names no file")
		return
	}
	var found []string
	for _, f := range files {
		f = c.path(strings.Trim(f, `"'`))
		if !strings.ContainsAny(f, "*?[") {
			found = append(found, f)
			continue
		}
		if c.opts.Glob == nil {
			c.refuseClosing("Name the files one by one.", "%s: patterns are not followed", f)
			continue
		}
		list, err := c.opts.Glob(f)
		if err != nil || len(list) == 0 {
			c.refuseClosing("Run the import where the files are, or remove the line.", "no file is called %s", f)
			continue
		}
		slices.Sort(list)
		found = append(found, list...)
	}
	for _, f := range found {
		text, err := c.read(f)
		if err != nil {
			c.line = &c.result.Lines[index]
			c.refuseClosing("Run the import where the file can be read.", "%s cannot be read: %v", f, err)
			continue
		}
		c.line = &c.result.Lines[index]
		c.honour("%s: its lines follow", f)
		r.file(f, text, depth+1) // the list of lines may move
	}
}

// path returns where a file is: names that are not absolute begin at the folder of the configuration.
func (c *converter) path(file string) string {
	if path.IsAbs(file) {
		return file
	}
	return path.Join(c.folder, file)
}

// read reads a file within bounds.
func (c *converter) read(file string) ([]byte, error) {
	b, err := c.opts.Open(c.path(file))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("it has more than %d MiB", maxFile>>20)
	}
	return bytes.TrimPrefix(b, []byte("\ufeff")), nil
}

// rawLine is a line with its continuations.
type rawLine struct {
	number int // of its first line in the file
	text   string
}

// joined returns the lines of a text without those of comments alone. A line that ends in a backslash goes on
// with the next that is neither empty nor a comment, whose indentation is dropped; only then comments at ends are
// looked for (in split), so that a comment which ends in a backslash takes the next line with it, as in Squid.
func joined(text string) []rawLine {
	var out []rawLine
	var parts strings.Builder
	number, open := 0, false
	end := func() {
		if open {
			out = append(out, rawLine{number, strings.TrimRight(parts.String(), blank)})
			parts.Reset()
			open = false
		}
	}
	i := 0
	for line := range strings.Lines(text) {
		i++
		line = strings.TrimSuffix(line, "\n")
		if cr := strings.IndexByte(line, '\r'); cr >= 0 {
			line = line[:cr]
		}
		line = strings.TrimLeft(line, blank)
		if line == "" || line[0] == '#' {
			continue
		}
		if !open {
			number, open = i, true
		}
		part, more := strings.CutSuffix(line, `\`)
		parts.WriteString(part)
		if !more {
			end()
		}
	}
	end()
	return out
}

// split makes words of a line and ends at a word that begins with #. Where quoted, words in quotes are one, without
// them, and parameters("FILE") becomes "FILE" with its quotes, as the names of files are written elsewhere. In
// patterns, a blank after a backslash belongs to the word.
func split(line string, quoted, patterns bool) ([]string, error) {
	var out []string
	for rest := strings.TrimLeft(line, blank); rest != "" && rest[0] != '#'; rest = strings.TrimLeft(rest, blank) {
		if quoted {
			word, after, is, err := quotedWord(rest)
			if err != nil {
				return nil, err
			}
			if is {
				out, rest = append(out, word), after
				continue
			}
		}
		end := wordEnd(rest, patterns)
		out, rest = append(out, rest[:end]), rest[end:]
	}
	return out, nil
}

func wordEnd(rest string, patterns bool) int {
	for i := 0; i < len(rest); i++ {
		switch {
		case patterns && rest[i] == '\\':
			i++
		case strings.IndexByte(blank, rest[i]) >= 0:
			return i
		}
	}
	return len(rest)
}

// quotedWord reads a word in quotes or parameters("FILE").
func quotedWord(text string) (word, rest string, is bool, err error) {
	inner, file := strings.CutPrefix(text, "parameters(")
	if inner == "" || inner[0] != '"' && inner[0] != '\'' {
		if file {
			return "", "", false, fmt.Errorf("parameters() holds no name in quotes")
		}
		return "", "", false, nil
	}
	var b strings.Builder
	i := 1
	for ; i < len(inner) && inner[i] != inner[0]; i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
			if at := strings.IndexByte("nrt", inner[i]); at >= 0 {
				b.WriteByte("\n\r\t"[at])
				continue
			}
		}
		b.WriteByte(inner[i])
	}
	if i >= len(inner) {
		return "", "", false, fmt.Errorf("a quoted word does not end")
	}
	rest = inner[i+1:]
	if file {
		if rest, is = strings.CutPrefix(strings.TrimLeft(rest, blank), ")"); !is {
			return "", "", false, fmt.Errorf("parameters() does not end")
		}
		return `"` + b.String() + `"`, rest, true, nil
	}
	return b.String(), rest, true, nil
}

// values returns words with the lines of files in the place of "FILE": a line is one word, also if it holds
// blanks. ok is false if a file cannot be read, which is then told.
func (c *converter) values(words []string) (out []string, ok bool) {
	ok = true
	for _, w := range words {
		if w == "" || w[0] != '"' && w[0] != '\'' {
			out = append(out, w)
			continue
		}
		file := w[1:]
		if i := strings.IndexAny(file, `"'`); i >= 0 {
			file = file[:i]
		}
		text, err := c.read(file)
		if err != nil {
			c.refuse("Run the import where the file can be read.", "%s cannot be read: %v", file, err)
			ok = false
			continue
		}
		from := len(out)
		for line := range strings.Lines(string(text)) {
			line = strings.Trim(withoutComment(strings.TrimRight(line, "\r\n")), blank)
			if line != "" && line[0] != '#' {
				out = append(out, line)
			}
		}
		if err := writable(out[from:]); err != nil {
			c.refuse("Correct the line in the file.", "%s: %v", file, err)
			out, ok = out[:from], false
		}
	}
	return out, ok
}

// writable reports what cannot stand in a manifest: control characters, and bytes that are not UTF-8.
func writable(words []string) error {
	for _, w := range words {
		control := strings.ContainsFunc(w, func(r rune) bool { return r != '\t' && unicode.IsControl(r) || r == 0xfffe || r == 0xffff })
		if control || !utf8.ValidString(w) {
			return fmt.Errorf("%q has a control character, or bytes that are not UTF-8", w)
		}
	}
	return nil
}

// withoutComment cuts a comment: a # after a blank.
func withoutComment(line string) string {
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && strings.IndexByte(blank, line[i-1]) >= 0 {
			return line[:i]
		}
	}
	return line
}
