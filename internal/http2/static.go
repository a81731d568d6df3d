package http2

import (
	"github.com/hakone-gateway/hakone/internal/message"
)

// pseudo tells the pseudo-header fields (RFC 9113 section 8.3, RFC 8441) and regular ones apart.
type pseudo uint8

const (
	regular pseudo = iota
	pseudoMethod
	pseudoPath
	pseudoScheme
	pseudoAuthority
	pseudoProtocol
	pseudoStatus
	pseudoUnknown
	numPseudo
)

// pseudoOf names a field name that begins with ":".
func pseudoOf(name []byte) pseudo {
	switch string(name) {
	case ":method":
		return pseudoMethod
	case ":path":
		return pseudoPath
	case ":scheme":
		return pseudoScheme
	case ":authority":
		return pseudoAuthority
	case ":protocol":
		return pseudoProtocol
	case ":status":
		return pseudoStatus
	}
	return pseudoUnknown
}

// staticEntry is a row of RFC 7541 appendix A.
type staticEntry struct {
	name, value []byte
	judgement
}

// static is indexed from 1, and fixed after construction.
var static = func() (t [numStatic + 1]staticEntry) {
	for i, row := range staticRows {
		name := []byte(row[0])
		t[i+1] = staticEntry{name, []byte(row[1]), judgeName(name)}
	}
	return t
}()

const numStatic uint32 = uint32(len(staticRows))

var staticRows = [...][2]string{
	{":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"}, {":scheme", "http"}, {":scheme", "https"},
	{":status", "200"}, {":status", "204"}, {":status", "206"}, {":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"},
	{"accept-charset", ""}, {"accept-encoding", "gzip, deflate"}, {"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""},
	{"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""}, {"content-disposition", ""},
	{"content-encoding", ""}, {"content-language", ""}, {"content-length", ""}, {"content-location", ""}, {"content-range", ""}, {"content-type", ""},
	{"cookie", ""}, {"date", ""}, {"etag", ""}, {"expect", ""}, {"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""},
	{"if-modified-since", ""}, {"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""},
	{"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""}, {"referer", ""},
	{"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""}, {"strict-transport-security", ""}, {"transfer-encoding", ""},
	{"user-agent", ""}, {"vary", ""}, {"via", ""}, {"www-authenticate", ""},
}

// staticNames finds the first row of a regular name: known ones by their number, others in an
// open-addressed table. Fixed after construction.
var staticNames = func() (t struct {
	known  [64]uint8
	others [128]uint8
}) {
	for i := numStatic; i > 0; i-- {
		switch e := &static[i]; {
		case e.pseudo != regular:
		case e.id != message.Other:
			t.known[e.id] = uint8(i)
		default:
			h := hashStatic(e.name)
			for t.others[h] != 0 {
				h = (h + 1) % uint8(len(t.others))
			}
			t.others[h] = uint8(i)
		}
	}
	return t
}()

func hashStatic(name []byte) uint8 {
	return (name[0]*31 + name[len(name)-1]*7 + uint8(len(name))) % 128
}

// staticName returns the index of the first row with a regular name in lower case, or 0.
func staticName(id message.Name, name []byte) uint32 {
	if id != message.Other {
		return uint32(staticNames.known[id])
	}
	for h := hashStatic(name); ; h = (h + 1) % uint8(len(staticNames.others)) {
		i := staticNames.others[h]
		if i == 0 || string(static[i].name) == string(name) {
			return uint32(i)
		}
	}
}
