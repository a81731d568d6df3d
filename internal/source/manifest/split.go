package manifest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Chunk is the text of one YAML document, or a whole JSON file. Text is never changed. Line is the
// line of the file at which the text begins, from 1.
type Chunk struct {
	Text []byte
	Line int
	JSON bool
}

// Split cuts a file into documents, so that a fault in one does not hide the others. Documents
// without content (comments only) are left out. The file's name says whether it is JSON.
//
// A line that begins with "---" or "..." and a space or line end is a document marker wherever it
// stands (YAML 1.2 section 9.1), even inside a scalar; so a split by lines is exact.
func Split(name string, text []byte) ([]Chunk, []diag.Diagnostic) {
	fault := func(message, fix string) []diag.Diagnostic {
		d := diag.New(diag.YAMLSyntax, diag.Object{}, "", message, fix)
		d.Position = diag.Position{File: name, Line: 1}
		return []diag.Diagnostic{d}
	}
	if bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}) {
		return nil, fault("The file is written in UTF-16.", "Save it as UTF-8.")
	}
	text = bytes.TrimPrefix(text, []byte{0xef, 0xbb, 0xbf})
	if strings.EqualFold(extension(name), ".json") {
		if len(bytes.TrimSpace(text)) == 0 {
			return nil, nil
		}
		return []Chunk{{Text: text, Line: 1, JSON: true}}, nil
	}
	var chunks []Chunk
	start, startLine, content := 0, 1, false
	flush := func(end int) {
		if content {
			chunks = append(chunks, Chunk{Text: text[start:end], Line: startLine})
		}
	}
	for at, line := 0, 1; at < len(text); line++ {
		end := bytes.IndexByte(text[at:], '\n')
		next := at + end + 1
		if end < 0 {
			next = len(text)
		}
		row := text[at:next]
		switch {
		case marker(row, "---"):
			flush(at)
			// "--- # comment" and "--- {a: b}" are content of the new document.
			start, startLine, content = at+3, line, substantial(row[3:])
		case marker(row, "..."):
			flush(at)
			start, startLine, content = next, line+1, false
		case !content && row[0] != '%' && substantial(row):
			content = true
		case !content && row[0] == '%':
			start, startLine = next, line+1 // a directive; its effect (tag handles) is not for manifests
		}
		at = next
		if len(chunks) > maxDocuments {
			return chunks[:maxDocuments], fault(fmt.Sprintf("The file holds more than %d documents; the rest is not read.", maxDocuments),
				"Split the file.")
		}
	}
	flush(len(text))
	return chunks, nil
}

// marker reports whether row begins with a document marker.
func marker(row []byte, m string) bool {
	if !bytes.HasPrefix(row, []byte(m)) {
		return false
	}
	return len(row) == 3 || row[3] == ' ' || row[3] == '\t' || row[3] == '\n' || row[3] == '\r'
}

// substantial reports whether a line holds more than white space and a comment.
func substantial(row []byte) bool {
	row = bytes.TrimSpace(row)
	return len(row) > 0 && row[0] != '#'
}

// extension returns the name from its last dot on, or "".
func extension(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[i:]
	}
	return ""
}
