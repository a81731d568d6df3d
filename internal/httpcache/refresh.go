package httpcache

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// option is one of refresh_pattern's.
type option uint16

const (
	overrideExpire option = 1 << iota
	overrideLastMod
	reloadIntoIMS
	ignoreReload
	ignoreNoStore
	ignorePrivate
	refreshIMS
	storeStale
)

var options = map[string]option{
	"override-expire": overrideExpire, "override-lastmod": overrideLastMod, "reload-into-ims": reloadIntoIMS, "ignore-reload": ignoreReload,
	"ignore-no-store": ignoreNoStore, "ignore-private": ignorePrivate, "refresh-ims": refreshIMS, "store-stale": storeStale,
}

// rule is one refresh_pattern. Times are in seconds.
type rule struct {
	pattern  *regexp.Regexp
	min, max int64
	percent  int64
	options  option
	maxStale int64 // -1: not given
}

func (r *rule) has(o option) bool { return r != nil && r.options&o != 0 }

// Verify reports what is wrong with a rule, nil if nothing is.
func Verify(r *ir.RefreshRule) error {
	_, err := compileRule(r)
	return err
}

func compileRule(r *ir.RefreshRule) (*rule, error) {
	re, err := regexp.Compile(r.Pattern)
	if err != nil {
		return nil, fmt.Errorf("refresh pattern %q: %w", r.Pattern, err)
	}
	out := &rule{pattern: re, min: int64(r.Min / time.Second), max: int64(r.Max / time.Second), percent: int64(r.Percent), maxStale: -1}
	for _, text := range r.Options {
		name, value, valued := strings.Cut(text, "=")
		if name == "max-stale" && valued {
			n, err := strconv.ParseInt(value, 10, 31)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("refresh pattern %q: max-stale=%q is no number of seconds", r.Pattern, value)
			}
			out.maxStale = n
			continue
		}
		o, ok := options[text]
		if !ok {
			return nil, fmt.Errorf("refresh pattern %q: there is no option %q", r.Pattern, text)
		}
		out.options |= o
	}
	return out, nil
}

// rule returns the first rule that matches a URL, nil for none.
func (c *Cache) rule(key []byte) *rule {
	for _, r := range c.rules {
		if r.pattern.Match(key) {
			return r
		}
	}
	return nil
}
