package manifest

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"go.yaml.in/yaml/v3"
)

// maxSearched is the size, in bytes, up to which a text that does not parse is searched for the line
// at fault. It bounds the search to some ten million bytes parsed.
const maxSearched = 128 << 10

// breaks finds the line, from 1, at which a text stops being YAML: the one behind the longest run of
// lines that parses by itself. The parser names the line at which the enclosing mapping begins, or the
// end of the text. 0 means that it was not looked for. The remark, if not empty, says what is odd about
// the line's indentation.
func breaks(text []byte) (line int, remark string) {
	rows := bytes.SplitAfter(text, []byte("\n"))
	if len(text) > maxSearched {
		return 0, ""
	}
	ends := make([]int, len(rows)+1) // ends[n]: bytes in the first n lines
	for i, r := range rows {
		ends[i+1] = ends[i] + len(r)
	}
	parses := func(n int) bool {
		var doc yaml.Node
		return yaml.Unmarshal(text[:ends[n]], &doc) == nil
	}
	// Prefixes that end inside a bracket or quote fail though nothing is wrong, so it is the longest
	// good one that counts, and no binary search finds it. Steps of a square root do in two rounds.
	step := int(math.Sqrt(float64(len(rows)))) + 1
	good := (len(rows) - 1) / step * step
	for good > 0 && !parses(good) {
		good -= step
	}
	good = max(good, 0)
	for n := min(good+2*step, len(rows)-1); n > good; n-- {
		if parses(n) {
			good = n
			break
		}
	}
	for good < len(rows)-1 && !substantial(rows[good]) {
		good++
	}
	return good + 1, oddIndent(rows[:good], rows[good])
}

// oddIndent says that a line is indented like none of the lines above that it could belong to.
func oddIndent(above [][]byte, row []byte) string {
	own := indentOf(row)
	var open []int
	for _, r := range slices.Backward(above) {
		if !substantial(r) {
			continue
		}
		at := indentOf(r)
		if len(open) > 0 && at >= slices.Min(open) {
			continue
		}
		if body := r[at:]; len(body) > 1 && body[0] == '-' && body[1] == ' ' {
			open = append(open, at+len(body)-len(bytes.TrimLeft(body[1:], " "))) // the item's own keys
		}
		open = append(open, at)
		if at == 0 {
			break
		}
	}
	if len(open) == 0 || own >= slices.Max(open) || slices.Contains(open, own) {
		return ""
	}
	slices.Sort(open)
	return fmt.Sprintf(" The line is indented by %d; the lines above that it could stand beside are indented by %s.", own, numbers(slices.Compact(open)))
}

// indentOf returns how many spaces a line begins with.
func indentOf(row []byte) int { return len(row) - len(bytes.TrimLeft(row, " ")) }

func numbers(list []int) string {
	out := ""
	for i, n := range list {
		switch {
		case i == 0:
		case i == len(list)-1:
			out += " or "
		default:
			out += ", "
		}
		out += fmt.Sprint(n)
	}
	return out
}
