package squidconf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	internal "github.com/hakone-gateway/hakone/internal/acl"
)

func cacheMemory(c *converter, words []string) {
	size, err := parseSize(strings.Join(words, ""))
	if err != nil {
		c.refuse("Write a size such as 256 MB.", "%v", err)
		return
	}
	c.cache().MemoryBytes = size
	c.honour("spec.cache.memoryBytes")
}

func objectSize(c *converter, words []string) {
	size, err := parseSize(strings.Join(words, ""))
	if err != nil {
		c.refuse("Write a size such as 4 MB.", "%v", err)
		return
	}
	c.cache().MaxObjectBytes = max(size, 1)
	c.honour("spec.cache.maxObjectBytes")
}

// cacheDir reads "cache_dir ufs DIR MBYTES L1 L2".
func cacheDir(c *converter, words []string) {
	if len(words) < 3 {
		c.refuse("Write cache_dir ufs DIR MBYTES 16 256.", "the line is not complete")
		return
	}
	size, err := strconv.ParseInt(words[2], 10, 32)
	if err != nil || size < 0 {
		c.refuse("Write a number of megabytes.", "%q is no size", words[2])
		return
	}
	c.noEffect("answers are kept in memory alone, and fetched anew after a restart; cache_mem bounds them")
}

// refreshPattern reads "refresh_pattern [-i] REGEX MIN PERCENT% MAX [options]", with minutes.
func refreshPattern(c *converter, words []string) {
	var r v1alpha1.RefreshPattern
	if len(words) > 0 && words[0] == "-i" {
		r.IgnoreCase, words = true, words[1:]
	}
	if len(words) < 4 {
		c.refuse("Write refresh_pattern REGEX MIN PERCENT% MAX.", "the line is not complete")
		return
	}
	least, err1 := strconv.Atoi(words[1])
	percent, err2 := strconv.Atoi(strings.TrimSuffix(words[2], "%"))
	most, err3 := strconv.Atoi(words[3])
	if err1 != nil || err2 != nil || err3 != nil || least < 0 || percent < 0 || most < 0 {
		c.refuse("Write MIN and MAX as minutes and PERCENT as a number with %.", "%s are no times", strings.Join(words[1:4], " "))
		return
	}
	pattern, warnings, err := internal.Translate(words[0])
	if err != nil {
		c.refuse("Write the expression in RE2's syntax.", "%v", err)
		return
	}
	for _, w := range warnings {
		c.noEffect("%s", w)
	}
	if p := strings.ToLower(pattern); strings.HasPrefix(p, "^ftp:") || strings.HasPrefix(p, "^gopher:") {
		c.noEffect("%s is not spoken", strings.Trim(words[0], "^:"))
		return
	}
	r.Pattern, r.Percent = pattern, int32(percent)
	r.Min, r.Max = v1alpha1.Duration(fmt.Sprintf("%dm", least)), v1alpha1.Duration(fmt.Sprintf("%dm", most))
	known := []string{"override-expire", "override-lastmod", "reload-into-ims", "ignore-reload", "ignore-no-store", "ignore-private", "refresh-ims", "store-stale"}
	for _, o := range words[4:] {
		if slices.Contains(known, o) || strings.HasPrefix(o, "max-stale=") {
			r.Options = append(r.Options, o)
			if o == "ignore-private" || o == "ignore-no-store" {
				c.warn("Remove the option.", "%s keeps answers that are meant for one user alone", o)
			}
		} else {
			c.noEffect("option %s", o)
		}
	}
	c.cache().Refresh = append(c.cache().Refresh, r)
	c.honour("spec.cache.refresh[%d]", len(c.cache().Refresh)-1)
}

// authParam reads the settings of Basic authentication with basic_ncsa_auth.
func authParam(c *converter, words []string) {
	if len(words) < 2 || words[0] != "basic" {
		c.refuse("Use Basic over an https_port, or client certificates; keep Squid for Negotiate and NTLM.", "of the schemes only basic is there")
		return
	}
	if !c.users {
		c.noEffect("no ACL asks who the user is")
		return
	}
	s := c.spec()
	if s.Authentication == nil {
		s.Authentication = &v1alpha1.ProxyAuthentication{}
	}
	switch words[1] {
	case "program":
		if len(words) < 4 || !strings.HasSuffix(words[2], "basic_ncsa_auth") {
			c.refuse("Put the users into a file of htpasswd and use basic_ncsa_auth.", "the helper %s is not there", strings.Join(words[2:], " "))
			return
		}
		file := words[len(words)-1]
		name, _ := c.name("Secret", nameOf(file)+"-users", file)
		b, err := c.read(file)
		if err != nil {
			c.refuse("Run the import as somebody who may read the file.", "%s cannot be read: %v", file, err)
			return
		}
		c.write("Secret", name, "", map[string]string{"auth": string(b)})
		s.Authentication.HtpasswdRef = &v1alpha1.ObjectReference{Name: name}
		c.honour("spec.authentication.htpasswdRef")
	case "realm":
		s.Authentication.Realm = strings.Join(words[2:], " ")
		c.honour("spec.authentication.realm")
	case "credentialsttl":
		if d, ok := period(words[2:]); ok {
			s.Authentication.TTL = d
			c.honour("spec.authentication.ttl")
		}
	default:
		c.noEffect("%s", words[1])
	}
}

func visibleHostname(c *converter, words []string) {
	if len(words) != 1 {
		return
	}
	name := strings.Trim(words[0], `"'`)
	if objectName(name) != strings.ToLower(name) {
		c.refuse("Write a host name of letters, digits, hyphens and dots.", "%s is no host name; Via and pages have the object's name", name)
		return
	}
	c.hostname = name
	c.spec().VisibleHostname = name
	c.honour("spec.visibleHostname")
}

func via(c *converter, words []string) {
	on := len(words) == 1 && words[0] == "on"
	c.headers().Via = &on
	c.honour("spec.headers.via")
}

func forwardedFor(c *converter, words []string) {
	if len(words) == 1 && slices.Contains([]string{"on", "off", "transparent", "delete", "truncate"}, words[0]) {
		c.headers().ForwardedFor = words[0]
		c.honour("spec.headers.forwardedFor")
		return
	}
	c.refuse("Write on, off, transparent, delete or truncate.", "%s is none of the ways", strings.Join(words, " "))
}

// headerAccess reads "request_header_access NAME deny all".
func headerAccess(c *converter, words []string) {
	if len(words) == 3 && words[1] == "deny" && words[2] == "all" && words[0] != "All" && words[0] != "Other" {
		if strings.EqualFold(words[0], "Via") {
			via(c, []string{"off"})
			return
		}
		if strings.EqualFold(words[0], "X-Forwarded-For") {
			forwardedFor(c, []string{"delete"})
			return
		}
		c.headers().Remove = append(c.headers().Remove, words[0])
		c.honour("spec.headers.remove")
		return
	}
	if len(words) > 0 && (words[0] == "All" || words[0] == "Other") {
		if isAll(words[1:], "allow") {
			c.noEffect("fields are passed on unless they are removed")
			return
		}
		c.refuse("Name the fields that are to be removed, a line for each.", "fields cannot be removed by what they are not called")
		return
	}
	if len(words) >= 2 && words[1] == "allow" {
		c.noEffect("fields are passed on unless they are removed")
		return
	}
	c.refuse("Write request_header_access NAME deny all.", "a field is removed for everybody or for nobody here")
}

// accessLog reads "access_log [module:]PATH [format]".
func accessLog(c *converter, words []string) {
	c.logs = true
	if len(words) == 0 {
		return
	}
	if words[0] == "none" || slices.ContainsFunc(c.result.Flags, func(f string) bool { return strings.HasPrefix(f, "--access-log=") }) {
		c.noEffect("one log is written; --access-log-format off writes none")
		return
	}
	module, file, ok := strings.Cut(words[0], ":")
	if !ok {
		module, file = "daemon", words[0]
	}
	if module != "daemon" && module != "stdio" {
		c.refuse("Write to a file, and send that on.", "%s cannot be written to", words[0])
		return
	}
	format := "squid"
	for _, w := range words[1:] {
		w, given := strings.CutPrefix(w, "logformat=")
		switch {
		case c.formats[w] != "":
			format = c.formats[w]
		case w == "squid", w == "common", w == "combined":
			format = w
		case w == "referrer", w == "useragent":
			format = "combined"
		case given:
			c.note("the format %s is not known here", w)
		case c.known(w):
			c.note("every request is logged, whatever %s says", w)
		}
	}
	c.flag("--access-log=" + file)
	c.flag("--access-log-format=" + format)
}

// logFormat reads "logformat NAME SPECIFICATION". Squid's own formats under another name are taken over, also with
// words before or after; the others become json, which has more than any of them.
func logFormat(c *converter, words []string) {
	if len(words) < 2 {
		c.refuse("Write logformat NAME SPECIFICATION.", "the line is not complete")
		return
	}
	spec := strings.Join(words[1:], " ")
	format := "json"
	switch {
	case strings.Contains(spec, "%ts.%03tu") && strings.Contains(spec, "%Ss/%03>Hs") && strings.Contains(spec, "%rm %ru"):
		format = "squid"
	case strings.Contains(spec, "[%tl]") && strings.Contains(spec, "%{User-Agent}>h"):
		format = "combined"
	case strings.Contains(spec, "[%tl]") && strings.Contains(spec, "%rm %ru"):
		format = "common"
	}
	c.formats[words[0]] = format
	if format == "json" {
		c.noEffect("formats of one's own are not written; logs of this name are json, whose fields are in docs/logs.md")
		return
	}
	c.honour("the format %s, in Squid's own order of fields", format)
}

func contact(c *converter, words []string) {
	s := c.spec()
	if s.Pages == nil {
		s.Pages = &v1alpha1.ForwardPages{}
	}
	s.Pages.Contact = strings.Join(words, " ")
	c.honour("spec.pages.contact")
}

func connectTimeout(c *converter, words []string) {
	if d, ok := period(words); ok {
		c.upstream().ConnectTimeout = d
		c.honour("spec.upstream.connectTimeout")
		return
	}
	c.refuse("Write a time such as 1 minute.", "%s is no time", strings.Join(words, " "))
}

func timeoutFlag(name string) directive {
	return func(c *converter, words []string) {
		if d, ok := period(words); ok {
			c.flag("--" + name + "=" + string(d))
			return
		}
		c.refuse("Write a time such as 1 minute.", "%s is no time", strings.Join(words, " "))
	}
}

func sizeFlag(name string) directive {
	return func(c *converter, words []string) {
		size, err := parseSize(strings.Join(words, ""))
		if err != nil {
			c.refuse("Write a size such as 64 KB.", "%v", err)
			return
		}
		if strings.HasSuffix(name, "header") && (size < 256 || size > 16<<20) {
			c.refuse("Write a size from 256 bytes to 16 MB.", "heads of %d bytes are no bound here; 64 KB is", size)
			return
		}
		c.flag(fmt.Sprintf("--%s=%d", name, size))
	}
}

// period reads "2 hours", "30 seconds" or "1 minute 30 seconds".
func period(words []string) (v1alpha1.Duration, bool) {
	units := map[string]string{"second": "s", "minute": "m", "hour": "h", "millisecond": "ms", "microsecond": "us", "nanosecond": "ns"}
	out := ""
	for i := 0; i < len(words); i += 2 {
		n, err := strconv.ParseFloat(words[i], 64)
		if err != nil || n < 0 {
			return "", false
		}
		unit := "second"
		if i+1 < len(words) {
			unit = strings.TrimSuffix(words[i+1], "s")
		}
		if hours := map[string]float64{"day": 24, "week": 168, "fortnight": 336, "month": 720, "year": 8766, "decade": 87660}[unit]; hours > 0 {
			n *= hours
			unit = "hour"
		}
		if units[unit] == "" {
			return "", false
		}
		out += strconv.FormatFloat(n, 'f', -1, 64) + units[unit]
	}
	return v1alpha1.Duration(out), out != ""
}
