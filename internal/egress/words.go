package egress

import (
	"strconv"
	"strings"
)

func portText(p uint16) string { return strconv.Itoa(int(p)) }

func quote(s string) string { return strconv.Quote(clip(s, maxText)) }

// clip bounds what peers may have made long.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}
