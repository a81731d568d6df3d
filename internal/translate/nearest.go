package translate

import (
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Nearest returns the candidate that a name was most likely meant to be, or "": at most one slip per
// three letters, case aside, and the same digits, for app1 and app2 are two things. Of equals the first
// in alphabetical order is taken.
func Nearest(name string, candidates []string) string {
	digits := digitsOf(name)
	same := slices.DeleteFunc(slices.Clone(candidates), func(c string) bool { return digitsOf(c) != digits })
	return NearestOfAll(name, same)
}

// NearestOfAll is Nearest where digits are letters like any other.
func NearestOfAll(name string, candidates []string) string {
	name = strings.ToLower(name)
	best, least := "", max(1, len(name)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if d := diag.Distance(name, strings.ToLower(c), least); d < least && d < len(name) {
			best, least = c, d
		}
	}
	return best
}

func digitsOf(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
