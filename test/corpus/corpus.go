// Package corpus reads the corpora of malformed and smuggling requests, those of HTTP/1.1 and those of
// HTTP/2, which the codecs' tests and the end-to-end suite run alike. It knows the files' form and nothing
// of HTTP.
//
// A file is a list of cases:
//
//	# RFC 9112 section 6.3: one line that names the rule or the source
//	case cl-te
//	send "POST / HTTP/1.1\r\nHost: a.test\r\n"
//	     "X: " "a" * 100 "\r\n\r\n"
//	expect refuse HK4004 400
//
// Text is in Go's quoted form; strings that follow each other, on one line or several, are joined, and
// "* N" repeats the one before it. A case has one or more expectations, in the order of the messages
// in what is sent:
//
//	expect refuse CODE STATUS    the message, or its body, is refused and the connection closed
//	expect forward TEXT...       the message is passed on with exactly this head
//	body TEXT...                 and this payload (none if left out)
//	expect more                  the message is incomplete: nothing is answered yet
//
// A case of HTTP/2 has, in place of send, the header list of one request, in its order:
//
//	field ":method" "POST"
//	field "x" "a" * 100          name and value; get and post stand for the usual four pseudo-headers
//	data "hello"                 DATA that ends the stream; without it HEADERS do
//	trailer "x-sum" "1"          trailers, behind the data
//
// The usual ones are :scheme https, :authority a.test, :path / and the method.
//
// The connection's scheme is https. A gateway that adds fields of its own adds them to these heads.
// Where a body is refused after its head was forwarded, the head is followed by no complete message.
//
// Begin reading at Read.
package corpus

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Kind is what shall happen to a message.
type Kind uint8

// Kinds of outcomes.
const (
	Refuse Kind = iota + 1
	Forward
	More
)

// Outcome is one expectation. Code and Status are set for Refuse, Head and Body for Forward.
type Outcome struct {
	Kind   Kind
	Code   diag.Code
	Status int
	Head   []byte
	Body   []byte
}

// Field is one line of a header list.
type Field struct{ Name, Value []byte }

// Case is one case. Want has at least one outcome. Either Send is set or Fields; Open says that HEADERS
// do not end the stream.
type Case struct {
	Name, Note string
	File       string
	Line       int
	Send       []byte
	Fields     []Field
	Open       bool
	Data       []byte
	Trailers   []Field
	Want       []Outcome
}

// Read reads all *.txt files of a directory, in the order of their names. The error names file and
// line; two cases of one name are an error.
func Read(dir fs.FS) ([]Case, error) {
	files, err := fs.Glob(dir, "*.txt")
	if err != nil {
		return nil, fmt.Errorf("list corpus: %w", err)
	}
	var all []Case
	names := map[string]bool{}
	for _, file := range files {
		text, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, fmt.Errorf("read corpus: %w", err)
		}
		cases, err := parse(file, string(text))
		if err != nil {
			return nil, err
		}
		for _, c := range cases {
			if names[c.Name] {
				return nil, fmt.Errorf("%s:%d: case %s stands twice", c.File, c.Line, c.Name)
			}
			names[c.Name] = true
		}
		all = append(all, cases...)
	}
	return all, nil
}

// reader holds the case being read and the text that further strings belong to.
type reader struct {
	cases []Case
	note  string
	text  *[]byte
}

func parse(file, text string) ([]Case, error) {
	var r reader
	number := 0
	for line := range strings.Lines(text) {
		number++
		if err := r.line(file, number, strings.TrimSpace(line)); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
	}
	for _, c := range r.cases {
		if (c.Send == nil) == (c.Fields == nil) || len(c.Want) == 0 || c.Note == "" {
			return nil, fmt.Errorf("%s:%d: case %s needs a note, send or field, and expect", file, c.Line, c.Name)
		}
	}
	return r.cases, nil
}

func (r *reader) line(file string, number int, line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "":
		return nil
	case line[0] == '#':
		r.note = strings.TrimSpace(line[1:])
		return nil
	case line[0] == '"':
		return r.strings(line)
	case word == "case":
		r.cases = append(r.cases, Case{Name: rest, Note: r.note, File: file, Line: number})
		r.note, r.text = "", nil
		return nil
	case len(r.cases) == 0:
		return fmt.Errorf("%q before the first case", word)
	}
	c := &r.cases[len(r.cases)-1]
	switch word {
	case "send":
		r.text = &c.Send
		return r.strings(rest)
	case "get", "post":
		c.Fields = append(c.Fields, Field{[]byte(":method"), []byte(strings.ToUpper(word))}, Field{[]byte(":scheme"), []byte("https")},
			Field{[]byte(":authority"), []byte("a.test")}, Field{[]byte(":path"), []byte("/")})
		return nil
	case "field":
		return r.field(&c.Fields, rest)
	case "trailer":
		c.Open = true
		return r.field(&c.Trailers, rest)
	case "data":
		c.Open, r.text = true, &c.Data
		return r.strings(rest)
	case "body":
		if len(c.Want) == 0 || c.Want[len(c.Want)-1].Kind != Forward {
			return fmt.Errorf("body without expect forward")
		}
		r.text = &c.Want[len(c.Want)-1].Body
		return r.strings(rest)
	case "expect":
		return r.expect(c, rest)
	}
	return fmt.Errorf("unknown word %q", word)
}

func (r *reader) expect(c *Case, rest string) error {
	kind, rest, _ := strings.Cut(rest, " ")
	r.text = nil
	switch kind {
	case "more":
		c.Want = append(c.Want, Outcome{Kind: More})
		return nil
	case "forward":
		c.Want = append(c.Want, Outcome{Kind: Forward})
		r.text = &c.Want[len(c.Want)-1].Head
		return r.strings(rest)
	case "refuse":
		code, status, _ := strings.Cut(rest, " ")
		parsed, err := diag.ParseCode(code)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(status)
		if err != nil {
			return fmt.Errorf("status %q: %w", status, err)
		}
		c.Want = append(c.Want, Outcome{Kind: Refuse, Code: parsed, Status: n})
		return nil
	}
	return fmt.Errorf("unknown expectation %q", kind)
}

// field reads a name, and begins the value.
func (r *reader) field(list *[]Field, rest string) error {
	var f Field
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return fmt.Errorf("name %.20q: %w", rest, err)
	}
	r.text = &f.Name
	if err := r.strings(quoted); err != nil {
		return err
	}
	*list = append(*list, f)
	r.text = &(*list)[len(*list)-1].Value
	return r.strings(rest[len(quoted):])
}

// strings appends quoted strings to the open text.
func (r *reader) strings(s string) error {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if r.text == nil {
			return fmt.Errorf("text that belongs to nothing")
		}
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return fmt.Errorf("text %.20q: %w", s, err)
		}
		plain, err := strconv.Unquote(quoted)
		if err != nil {
			return fmt.Errorf("text %s: %w", quoted, err)
		}
		s = strings.TrimSpace(s[len(quoted):])
		times := 1
		if after, ok := strings.CutPrefix(s, "*"); ok {
			word, rest, _ := strings.Cut(strings.TrimSpace(after), " ")
			if times, err = strconv.Atoi(word); err != nil {
				return fmt.Errorf("repetition: %w", err)
			}
			s = rest
		}
		*r.text = append(*r.text, strings.Repeat(plain, times)...)
	}
	return nil
}
