package translate

import (
	"slices"
	"strings"
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
		if d := distance(name, strings.ToLower(c)); d < least && d < len(name) {
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

// distance is the Levenshtein distance in bytes, where a swap of neighbours counts as one change.
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
