package telemetry

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// requestSquid appends a request in Squid's native format, "%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un
// %Sh/%<a %mt", without line feed. old writes result tags as Squid 4 does, which has NONE where later ones have
// NONE_NONE.
func (e *encoder) requestSquid(b []byte, a *Access, old bool) []byte {
	b = appendSeconds(b, a.Start.Add(a.Duration))
	b = append(b, ' ')
	b = appendPadded(b, a.Duration.Milliseconds(), 6)
	b = append(b, ' ')
	b = appendClient(b, a)
	b = append(b, ' ')
	b = append(b, resultTag(a, old)...)
	b = append(b, '/')
	b = appendStatus(b, a.Status)
	b = append(b, ' ')
	sent, kind := a.HeadSent+a.BytesSent, mediaType(a.ContentType)
	if a.Result == "NONE_NONE" && string(a.Method) == "CONNECT" { // Squid does not count the page about a tunnel that came to nothing
		sent, kind = 0, nil
	}
	b = strconv.AppendInt(b, sent, 10)
	b = append(b, ' ')
	b = appendWord(b, a.Method)
	b = append(b, ' ')
	b = appendURL(b, a)
	b = append(b, ' ')
	b = appendWord(b, a.User)
	b = append(b, ' ')
	b = append(b, hierarchy(a)...)
	b = append(b, '/')
	b = appendWord(b, serverOf(a))
	b = append(b, ' ')
	return appendWord(b, kind)
}

// requestCommon appends a request in the common log format, "%>a - %un [%tl] "%rm %ru HTTP/%rv" %>Hs %<st
// %Ss:%Sh", or with combined also Referer and User-Agent, as Squid writes them.
func (e *encoder) requestCommon(b []byte, a *Access, combined bool) []byte {
	b = appendClient(b, a)
	b = append(b, " - "...)
	b = appendWord(b, a.User)
	b = append(b, " ["...)
	b = a.Start.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	b = appendBare(b, a.Method)
	b = append(b, ' ')
	b = appendURL(b, a)
	b = append(b, ' ')
	b = appendBare(b, a.Proto)
	b = append(b, `" `...)
	b = appendStatus(b, a.Status)
	b = append(b, ' ')
	b = strconv.AppendInt(b, a.HeadSent+a.BytesSent, 10)
	if combined {
		b = appendQuoted(b, a.Referer)
		b = appendQuoted(b, a.UserAgent)
	}
	b = append(b, ' ')
	b = append(b, resultTag(a, false)...)
	b = append(b, ':')
	return append(b, hierarchy(a)...)
}

// handshakeSquid appends a refused handshake as Squid shows a transaction without a request: an error in the
// place of the URL, here with the reason.
func (e *encoder) handshakeSquid(b []byte, h *Handshake, old bool) []byte {
	b = appendSeconds(b, h.Time.Add(h.Duration))
	b = append(b, ' ')
	b = appendPadded(b, h.Duration.Milliseconds(), 6)
	b = append(b, ' ')
	if h.Remote.IsValid() {
		b = h.Remote.Addr().Unmap().AppendTo(b)
	} else {
		b = append(b, '-')
	}
	tag := " NONE_NONE/000 0 - error:"
	if old {
		tag = " NONE/000 0 - error:"
	}
	b = append(append(b, tag...), strings.ReplaceAll(e.codes.slug[h.Code], "_", "-")...)
	return append(b, " - HIER_NONE/- -"...)
}

// appendSeconds appends a time as seconds since 1970 with milliseconds.
func appendSeconds(b []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	b = strconv.AppendInt(b, ms/1000, 10)
	ms %= 1000
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

// appendPadded appends a number with spaces before it up to a width.
func appendPadded(b []byte, v int64, width int) []byte {
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], max(v, 0), 10)
	for i := len(text); i < width; i++ {
		b = append(b, ' ')
	}
	return append(b, text...)
}

func appendStatus(b []byte, status int) []byte {
	if status < 100 || status > 999 {
		return append(b, "000"...)
	}
	return strconv.AppendInt(b, int64(status), 10)
}

func appendClient(b []byte, a *Access) []byte {
	switch {
	case a.Client.IsValid():
		return a.Client.Unmap().AppendTo(b)
	case a.Remote.IsValid():
		return a.Remote.Addr().Unmap().AppendTo(b)
	}
	return append(b, '-')
}

// appendWord is appendBare for values that must not hold spaces.
func appendWord[T text](b []byte, s T) []byte {
	if len(s) == 0 {
		return append(b, '-')
	}
	for i := range min(len(s), maxPeerField) {
		if s[i] == ' ' {
			b = append(b, "%20"...)
		} else {
			b = appendBare(b, s[i:i+1])
		}
	}
	return b
}

// appendURL appends what was asked for as an absolute URL, or host:port for CONNECT. What is after "?" is left
// out, as by Squid's strip_query_terms: it holds the secrets of others.
func appendURL(b []byte, a *Access) []byte {
	if len(a.URL) > 0 {
		return appendWord(b, withoutQuery(a.URL))
	}
	switch {
	case string(a.Method) == "CONNECT", len(a.Authority) == 0:
		return appendWord(b, a.Target)
	case !bytes.HasPrefix(a.Target, []byte("/")):
		return appendWord(b, withoutQuery(a.Target))
	}
	b = append(append(b, a.Scheme...), "://"...)
	return appendWord(appendWord(b, a.Authority), withoutQuery(a.Target))
}

// withoutQuery cuts a URL after its "?".
func withoutQuery(url []byte) []byte {
	if i := bytes.IndexByte(url, '?'); i >= 0 {
		return url[:i+1]
	}
	return url
}

// resultTag returns what the forward proxy or cache noted, or what comes nearest.
func resultTag(a *Access, old bool) string {
	tag := a.Result
	switch {
	case tag != "":
	case a.Status == 403 || a.Status == 407 || a.Status == 401 && a.Endpoint == "":
		tag = "TCP_DENIED"
	case a.Endpoint != "":
		tag = "TCP_MISS"
	default:
		tag = "NONE_NONE"
	}
	if a.Code == diag.ClientClosed && !strings.HasSuffix(tag, "_ABORTED") && tag != "NONE_NONE" {
		tag += "_ABORTED"
	}
	if old && strings.HasPrefix(tag, "NONE_NONE") {
		return "NONE" + tag[len("NONE_NONE"):]
	}
	return tag
}

func hierarchy(a *Access) string {
	switch {
	case a.Hierarchy != "":
		return a.Hierarchy
	case a.Proxy != "":
		return "FIRSTUP_PARENT"
	case a.Endpoint != "":
		return "HIER_DIRECT"
	}
	return "HIER_NONE"
}

// serverOf returns the address that the request went to, without port; "" for none.
func serverOf(a *Access) string {
	server := a.Endpoint
	if a.ProxyAddress != "" {
		server = a.ProxyAddress
	}
	if a.Hierarchy == "HIER_NONE" {
		return ""
	}
	if host, _, err := net.SplitHostPort(server); err == nil {
		return host
	}
	return server
}

// mediaType returns a content type without its parameters.
func mediaType(contentType []byte) []byte {
	kind, _, _ := bytes.Cut(contentType, []byte(";"))
	return bytes.TrimSpace(kind)
}
