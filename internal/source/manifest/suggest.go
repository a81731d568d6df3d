package manifest

import (
	"slices"
	"strings"
	"unicode"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// nearest returns the candidate that word was most likely meant to be, or "". Case, underscores and
// hyphens count for nothing; else at most one slip per three letters is forgiven. Of equals the first
// in alphabetical order is taken. Failing that, it is the only candidate that begins or ends with the
// word (match for matches, Prefix for PathPrefix). Numbers are not guessed at.
func nearest(word string, candidates []string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
	}
	w := plain(word)
	if !strings.ContainsFunc(w, unicode.IsLetter) {
		return ""
	}
	best, bestCost := "", max(1, len(w)/3)+1
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if cost := diag.Distance(w, plain(c), bestCost); cost < bestCost && cost < max(len(w), len(c)) {
			best, bestCost = c, cost
		}
	}
	if best != "" || len(w) < 4 {
		return best
	}
	for _, c := range candidates {
		if p := plain(c); strings.HasPrefix(p, w) || strings.HasSuffix(p, w) {
			if best != "" {
				return ""
			}
			best = c
		}
	}
	return best
}

// longer returns the only candidate that goes on where the word in the singular ends (hostnames for hosts), or "".
func longer(word string, candidates []string) (found string) {
	stem := strings.ToLower(strings.TrimSuffix(word, "s"))
	if len(stem) < 4 {
		return ""
	}
	for _, c := range candidates {
		if strings.HasPrefix(strings.ToLower(c), stem) {
			if found != "" {
				return ""
			}
			found = c
		}
	}
	return found
}

// digitsOf returns the digits of a word.
func digitsOf(word string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return r
		}
		return -1
	}, word)
}

// alternatives says what could have stood in place of word, as a fix. A value with other digits is
// never proposed: one slip from TLSV1_4 stands TLSV1_0, which nobody should be led to.
func alternatives(word string, allowed []string, what string) string {
	fix := ""
	if n := nearest(word, allowed); n != "" && digitsOf(n) == digitsOf(word) {
		fix = "Did you mean " + quote(n) + "? "
	}
	return fix + what + ": " + enumerate(allowed) + "."
}

// enumerate joins words for a sentence; a long list is cut.
func enumerate(words []string) string {
	const most = 16
	tail := ""
	if len(words) > most {
		words, tail = words[:most], " …"
	}
	shown := slices.Clone(words)
	for i, w := range shown {
		if w == "" {
			shown[i] = `""`
		}
	}
	return strings.Join(shown, ", ") + tail
}

// short cuts a name that may be a secret pasted into the wrong place after 24 bytes.
func short(s string) string {
	const longest = 24
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}

// quote puts a word between quotes; what is long or strange is cut short, and user and password of a URL
// are left out.
func quote(s string) string {
	const longest = 60
	if i := strings.Index(s, "://"); i >= 0 {
		if at := strings.LastIndexByte(s, '@'); at > i { // passwords may hold a slash
			s = s[:i+3] + "[redacted]" + s[at:]
		}
	}
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s) + `"`
}
