package translate

import (
	"fmt"
	"net/url"
	"strings"
)

// CheckPath says what is wrong with a path that requests are compared with, exactly or by segments, or
// "". Requests are matched by their normalised path, in which none of what is refused here can stand.
func CheckPath(p string) string {
	if !strings.HasPrefix(p, "/") {
		return "does not begin with a slash"
	}
	lower := strings.ToLower(p)
	for _, never := range []string{"//", "/./", "/../", "%2f", "%00", "#", "?"} {
		if strings.Contains(lower, never) {
			return fmt.Sprintf("contains %q, which no matched path does", never)
		}
	}
	if strings.HasSuffix(lower, "/..") || strings.HasSuffix(lower, "/.") {
		return "ends in a dot segment, which no matched path does"
	}
	if _, err := url.PathUnescape(p); err != nil {
		return "has a broken percent escape"
	}
	return ""
}
