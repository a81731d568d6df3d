package squidconf

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// maxDepth bounds includes within includes; Squid's bound is 16.
const maxDepth = 16

// file converts a file's lines.
func (c *converter) file(name string, text []byte, depth int) {
	var conditions []bool // of open if blocks: whether their lines count
	for _, raw := range joined(string(text)) {
		words, err := split(raw.text)
		if len(words) == 0 && err == nil {
			continue
		}
		c.result.Lines = append(c.result.Lines, Line{File: name, Number: raw.number, Text: strings.TrimSpace(raw.text)})
		c.line = &c.result.Lines[len(c.result.Lines)-1]
		switch {
		case err != nil:
			c.line.Outcome, c.line.Code, c.line.Note, c.line.Fix = Refused, diag.ImportSyntax, err.Error(), "Correct the line; squid -k parse shows the same."
		case words[0] == "if" && len(words) > 1:
			conditions = append(conditions, words[1] == "true" || words[1] == "1")
			c.noEffect("a condition; lines of the other side are left out")
		case words[0] == "else" && len(conditions) > 0:
			conditions[len(conditions)-1] = !conditions[len(conditions)-1]
			c.noEffect("a condition")
		case words[0] == "endif" && len(conditions) > 0:
			conditions = conditions[:len(conditions)-1]
			c.noEffect("a condition")
		case slices.Contains(conditions, false):
			c.noEffect("inside a condition that does not hold")
		case words[0] == "include":
			c.include(words[1:], name, depth)
		default:
			c.directive(words)
		}
	}
}

// include converts the files that are named. Patterns are for the shell: they are refused, since a file that is
// missed would open what it closes.
func (c *converter) include(files []string, from string, depth int) {
	line := c.line
	if depth >= maxDepth {
		c.refuse("Include files less deeply.", "includes are nested more than %d deep", maxDepth)
		return
	}
	for _, f := range files {
		if strings.ContainsAny(f, "*?[") {
			c.refuse("Name the files one by one.", "include with a pattern is not followed")
			return
		}
		if !path.IsAbs(f) {
			f = path.Join(path.Dir(from), f)
		}
		text, err := c.opts.Open(f)
		if err != nil {
			c.refuse("Run the import where the file can be read.", "%s cannot be read: %v", f, err)
			return
		}
		index := len(c.result.Lines) - 1
		c.honour("its lines follow")
		c.file(f, text, depth+1)
		line = &c.result.Lines[index] // the list may have moved
	}
	c.line = line
}

// rawLine is a line with its continuations.
type rawLine struct {
	number int
	text   string
}

// joined returns the lines of a text, those that end with a backslash with the next, without comments.
func joined(text string) []rawLine {
	var out []rawLine
	var open bool
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if t := strings.TrimSpace(line); strings.HasPrefix(t, "#") {
			continue
		}
		line = withoutComment(line)
		more := strings.HasSuffix(line, `\`)
		line = strings.TrimSuffix(line, `\`)
		if open {
			out[len(out)-1].text += " " + strings.TrimSpace(line)
		} else {
			out = append(out, rawLine{i + 1, line})
		}
		open = more
	}
	return out
}

// withoutComment cuts a comment: a # at the beginning of a word. Regular expressions may hold one elsewhere.
func withoutComment(line string) string {
	quoted := false
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == '#' && !quoted && i > 0 && (line[i-1] == ' ' || line[i-1] == '\t'):
			return line[:i]
		}
	}
	return line
}

// split makes words of a line. Words in double quotes keep them, since a quoted word is a file's name in some
// places.
func split(line string) ([]string, error) {
	var out []string
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		end := strings.IndexAny(rest, " \t")
		if rest[0] == '"' {
			end = strings.IndexByte(rest[1:], '"')
			if end < 0 {
				return nil, fmt.Errorf("a quoted word does not end")
			}
			end += 2
		}
		if end < 0 {
			end = len(rest)
		}
		out, rest = append(out, rest[:end]), rest[end:]
	}
	return out, nil
}

// values returns words with those of files in the place of "FILE" and parameters("FILE").
func (c *converter) values(words []string) []string {
	var out []string
	for _, w := range words {
		file, ok := strings.CutPrefix(w, `"`)
		if p, is := strings.CutPrefix(w, `parameters("`); is {
			file, ok = strings.TrimSuffix(p, ")"), true
		}
		if !ok {
			out = append(out, w)
			continue
		}
		file = strings.TrimSuffix(file, `"`)
		text, err := c.opts.Open(file)
		if err != nil {
			c.refuse("Run the import where the file can be read.", "%s cannot be read: %v", file, err)
			continue
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			out = append(out, strings.Fields(withoutComment(line))...)
		}
	}
	return out
}
