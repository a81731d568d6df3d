package native

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Defaults of a cache.
const (
	defaultCacheMemory = 256 << 20
	defaultCacheObject = 4 << 20
)

// cachePolicy translates one CachePolicy.
func (t *translator) cachePolicy(p *resource.CachePolicy) {
	out := translate.Cache{Order: p.Rank, Cache: t.cache(&p.Meta, "spec", &p.Spec.Cache)}
	for i, ref := range p.Spec.TargetRefs {
		target, fault := targetOf(&p.Meta, ref, fmt.Sprintf("spec.targetRefs[%d]", i))
		if fault != nil {
			t.out.Diagnostics = append(t.out.Diagnostics, *fault)
			continue
		}
		out.Targets = append(out.Targets, target)
	}
	if len(p.Spec.Rules) > 0 {
		t.report(&p.Meta, diag.FieldWithoutEffect, "spec.rules", "rules ask about ACLs of a ForwardProxy, and a CachePolicy has none", "Narrow targetRefs instead, or remove rules.")
	}
	if len(out.Targets) == 0 {
		t.report(&p.Meta, diag.CachePolicyCoversNothing, "spec.targetRefs", "none of the policy's targets can be used", "Correct spec.targetRefs.")
		return
	}
	t.out.Caches = append(t.out.Caches, out)
}

// cache reads what is kept, for how long. Rules are the caller's.
func (t *translator) cache(m *resource.Meta, field string, s *v1alpha1.Cache) *ir.Cache {
	out := &ir.Cache{Name: m.Object().String(), Origin: ir.Origin{Object: m.Object(), Field: field},
		MemoryBytes: cmp.Or(s.MemoryBytes, defaultCacheMemory), MaxObjectBytes: cmp.Or(s.MaxObjectBytes, defaultCacheObject),
		Private: s.Private}
	if out.MaxObjectBytes > out.MemoryBytes {
		if s.MaxObjectBytes != 0 {
			t.reportAs(diag.Warning, m, diag.BadValue, field+".maxObjectBytes", fmt.Sprintf("one answer of %d bytes cannot fit the cache's %d; that number holds instead", out.MaxObjectBytes, out.MemoryBytes), "Lower maxObjectBytes, or raise memoryBytes.")
		}
		out.MaxObjectBytes = out.MemoryBytes
	}
	switch {
	case s.DiskPath == "" && s.DiskBytes != 0:
		t.report(m, diag.FieldWithoutEffect, field+".diskBytes", "nothing is kept on disk", "Remove diskBytes.")
	case s.DiskPath != "":
		t.report(m, diag.FieldWithoutEffect, field+".diskPath", "answers are kept in memory alone, and fetched anew after a restart", "Remove diskPath and diskBytes, and give the cache its room with memoryBytes.")
	}
	for i := range s.Refresh {
		if r, ok := t.refresh(m, fmt.Sprintf("%s.refresh[%d]", field, i), &s.Refresh[i], s.Private); ok {
			out.Refresh = append(out.Refresh, r)
		}
	}
	for i, from := range s.PurgeFrom {
		p := prefix(from)
		if p == "" {
			t.report(m, diag.BadValue, fmt.Sprintf("%s.purgeFrom[%d]", field, i), fmt.Sprintf("%q is neither an address nor a network; nobody there may purge", from), "Write an address, or a network such as 10.0.0.0/8.")
			continue
		}
		if strings.HasSuffix(p, "/0") {
			t.reportAs(diag.Warning, m, diag.BadValue, fmt.Sprintf("%s.purgeFrom[%d]", field, i), "everybody may purge the cache", "Name the addresses of those who purge.")
		}
		out.PurgeFrom = append(out.PurgeFrom, p)
	}
	slices.Sort(out.PurgeFrom)
	out.PurgeFrom = slices.Compact(out.PurgeFrom)
	return out
}

// refresh reads one refresh_pattern. One that cannot be read is left out, so that answers are kept as they
// ask for themselves.
func (t *translator) refresh(m *resource.Meta, field string, s *v1alpha1.RefreshPattern, private bool) (ir.RefreshRule, bool) {
	out := ir.RefreshRule{Pattern: s.Pattern, Percent: int(s.Percent),
		Min: t.duration(m, diag.BadValue, field+".min", s.Min, 0, 0), Max: t.duration(m, diag.BadValue, field+".max", s.Max, 0, math.MaxInt64)}
	if s.Max == "" {
		out.Max = 0
	}
	if s.IgnoreCase {
		out.Pattern = "(?i)" + s.Pattern
	}
	if _, err := regexp.Compile(out.Pattern); err != nil {
		t.report(m, diag.BadValue, field+".pattern", fmt.Sprintf("%q is no regular expression of RE2; the rule is left out", s.Pattern), "Correct it: RE2 has neither backreferences nor lookaround.")
		return out, false
	}
	if s.Max != "" && out.Max < out.Min {
		t.reportAs(diag.Warning, m, diag.BadValue, field+".max", fmt.Sprintf("max %s is below min %s", short(out.Max), short(out.Min)), "Raise max, or lower min.")
	}
	for i, o := range s.Options {
		at := fmt.Sprintf("%s.options[%d]", field, i)
		name, value, has := strings.Cut(o, "=")
		switch name {
		case "override-expire", "override-lastmod", "reload-into-ims", "ignore-reload", "ignore-no-store", "refresh-ims", "store-stale":
		case "ignore-private":
			if !private {
				t.reportAs(diag.Warning, m, diag.BadValue, at, "answers that are for one user alone are kept and given to others", "Remove ignore-private, or narrow the pattern to URLs that are the same for everybody.")
			}
		case "max-stale":
			if n, err := strconv.Atoi(value); !has || err != nil || n < 0 {
				t.report(m, diag.BadValue, at, fmt.Sprintf("%q is not max-stale=SECONDS; it is left out", o), "Write max-stale=3600.")
				continue
			}
		case "ignore-must-revalidate", "ignore-auth":
			t.report(m, diag.FieldWithoutEffect, at, name+" is of older Squids; it does nothing", "Remove it.")
			continue
		default:
			fix := "Use override-expire, override-lastmod, reload-into-ims, ignore-reload, ignore-no-store, ignore-private, max-stale=N, refresh-ims or store-stale."
			if near := translate.Nearest(name, strings.Fields("override-expire override-lastmod reload-into-ims ignore-reload ignore-no-store ignore-private refresh-ims store-stale max-stale")); near != "" {
				fix = "Did you mean " + near + "?"
			}
			t.report(m, diag.UnknownEnum, at, fmt.Sprintf("%q is no option of a refresh pattern; it is left out", o), fix)
			continue
		}
		out.Options = append(out.Options, o)
	}
	return out, true
}
