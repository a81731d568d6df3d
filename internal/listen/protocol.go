package listen

import (
	"bytes"
	"errors"
	"strconv"
	"syscall"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Protocol names what the first bytes of a connection look like.
type Protocol string

// Protocols.
const (
	ProtocolNone     Protocol = ""
	ProtocolTLS      Protocol = "TLS"
	ProtocolSSL2     Protocol = "SSL 2"
	ProtocolHTTP     Protocol = "HTTP/1"
	ProtocolHTTP2    Protocol = "HTTP/2"
	ProtocolPROXY    Protocol = "the PROXY protocol"
	ProtocolSSH      Protocol = "SSH"
	ProtocolSMTP     Protocol = "SMTP"
	ProtocolFTP      Protocol = "FTP, POP3 or IMAP"
	ProtocolRDP      Protocol = "RDP"
	ProtocolPostgres Protocol = "PostgreSQL"
	ProtocolSOCKS    Protocol = "SOCKS"
	ProtocolMQTT     Protocol = "MQTT"
	ProtocolAMQP     Protocol = "AMQP"
	ProtocolRedis    Protocol = "Redis"
	ProtocolUnknown  Protocol = "unknown"
)

// signature is a protocol's fixed beginning.
type signature struct {
	prefix string
	proto  Protocol
}

// signatures is fixed; the first that fits wins.
var signatures = [...]signature{
	{"PRI * HTTP/2.0\r\n", ProtocolHTTP2},
	{"PROXY ", ProtocolPROXY},
	{"\r\n\r\n\x00\r\nQUIT\n", ProtocolPROXY},
	{"SSH-", ProtocolSSH},
	{"EHLO ", ProtocolSMTP},
	{"HELO ", ProtocolSMTP},
	{"USER ", ProtocolFTP},
	{"CAPA\r\n", ProtocolFTP},
	{"AMQP", ProtocolAMQP},
	{"*1\r\n$", ProtocolRedis},
	{"*2\r\n$", ProtocolRedis},
	{"*3\r\n$", ProtocolRedis},
	{"\x00\x00\x00\x08\x04\xd2\x16", ProtocolPostgres},
	{"\x03\x00\x00", ProtocolRDP},
	{"\x05\x01\x00", ProtocolSOCKS},
	{"\x05\x02\x00", ProtocolSOCKS},
	{"\x04\x01", ProtocolSOCKS},
}

// Sniff names the protocol that b, the first bytes of a connection, belongs to. more says that b is
// too short to tell; the name is then a guess.
func Sniff(b []byte) (proto Protocol, more bool) {
	if len(b) == 0 {
		return ProtocolNone, true
	}
	if b[0] == recordHandshake || b[0] == recordAlert {
		if len(b) < 2 {
			return ProtocolTLS, true
		}
		if b[1] == 3 {
			return ProtocolTLS, false
		}
		return ProtocolUnknown, false
	}
	if b[0]&0x80 != 0 {
		if len(b) < 3 {
			return ProtocolUnknown, true
		}
		if b[2] == typeClientHello {
			return ProtocolSSL2, false
		}
		return ProtocolUnknown, false
	}
	for _, s := range signatures {
		if len(b) < len(s.prefix) && s.prefix[:len(b)] == string(b) {
			more = true
		} else if bytes.HasPrefix(b, []byte(s.prefix)) {
			return s.proto, false
		}
	}
	if b[0] == 0x10 { // CONNECT, a length byte, then the protocol's name with its length
		if len(b) < 8 {
			return ProtocolUnknown, true
		}
		if string(b[2:8]) == "\x00\x04MQTT" {
			return ProtocolMQTT, false
		}
	}
	http, httpMore := looksLikeHTTP(b)
	switch {
	case http && !httpMore:
		return ProtocolHTTP, false
	case http || more:
		return ProtocolUnknown, true
	}
	return ProtocolUnknown, false
}

// maxMethod is the longest method that is taken for HTTP.
const maxMethod = 24

// looksLikeHTTP reports whether b begins with an upper-case word and a space, followed by a target:
// "/", "*" or a letter.
func looksLikeHTTP(b []byte) (http, more bool) {
	for i, c := range b {
		switch {
		case i > 0 && c == ' ':
			if i+1 == len(b) {
				return true, true
			}
			t := b[i+1]
			return t == '/' || t == '*' || alnum(t) || t == '[', false
		case i >= maxMethod || (c < 'A' || c > 'Z') && c != '-' && c != '_':
			return false, false
		}
	}
	return true, true
}

// LooksLikeTLS reports whether b, the first bytes on a port that speaks no TLS, begin a ClientHello.
// The plain driver then records TLSOnPlaintextPort and sends TLSOnPlaintextAnswer.
func LooksLikeTLS(b []byte) bool {
	return len(b) >= 3 && b[0] == recordHandshake && b[1] == 3 && b[2] <= 4
}

// TLSOnPlaintextAnswer is what a TLS client on a plain HTTP port is sent before the connection is
// closed: an HTTP answer. A TLS alert would claim that there is TLS here; to HTTP bytes clients say
// "server gave HTTP response to HTTPS client" (Go) or "wrong version number" (OpenSSL), which names
// the fault.
func TLSOnPlaintextAnswer() []byte {
	return plainAnswer("This port speaks HTTP. Use http:// instead.\n")
}

// PlaintextOnTLSAnswer is what an HTTP client without TLS is sent on a TLS port. head is the beginning
// of its request: HEAD gets no body.
func PlaintextOnTLSAnswer(head []byte) []byte {
	const text = "This port speaks HTTPS. Use https:// instead.\n"
	if bytes.HasPrefix(head, []byte("PRI * HTTP/2")) {
		return http2Answer(text)
	}
	return withoutBody(head, plainAnswer(text))
}

// http2Answer is plainAnswer in HTTP/2, to the first stream of a client with prior knowledge, which has sent
// its request with the preface: SETTINGS, HEADERS with status 400, DATA, GOAWAY (RFC 9113 section 6).
func http2Answer(text string) []byte {
	frame := func(b []byte, kind, flags, stream byte, payload []byte) []byte {
		b = append(b, 0, byte(len(payload)>>8), byte(len(payload)), kind, flags, 0, 0, 0, stream)
		return append(b, payload...)
	}
	b := frame(nil, 4, 0, 0, nil)
	b = frame(b, 1, 4, 1, []byte{0x8c}) // ":status: 400" is entry 12 of HPACK's static table
	b = frame(b, 0, 1, 1, []byte(text))
	return frame(b, 7, 0, 0, append([]byte{0, 0, 0, 1, 0, 0, 0, 0}, text...))
}

// withoutBody leaves the body out of an answer to HEAD.
func withoutBody(head, answer []byte) []byte {
	if bytes.HasPrefix(head, []byte("HEAD ")) {
		end := bytes.Index(answer, []byte("\r\n\r\n"))
		return answer[:end+4]
	}
	return answer
}

// NoProxyHeaderAnswer is what a client is sent that came without the PROXY header that its port demands: an
// HTTP answer or a TLS alert, for those who speak that; nothing for others, nor for those who may be a
// balancer.
func NoProxyHeaderAnswer(e *PeekError) []byte {
	switch {
	case e.Code != diag.ProxyHeaderMissing:
		return nil
	case e.Protocol == ProtocolHTTP:
		return withoutBody(e.Head, plainAnswer("This port is for load balancers that send a PROXY protocol header. Connect to the load balancer instead.\n"))
	case e.Protocol == ProtocolTLS:
		return Alert(alertHandshakeFailure)
	}
	return nil
}

// alertHandshakeFailure is alert 40 (RFC 8446 section 6.2).
const alertHandshakeFailure = 40

// OtherProtocolAnswer is what a client is sent that speaks another protocol, beginning with head, on a port
// that speaks what speaks says ("HTTP", "HTTP proxy requests"): a word in its own protocol where that has one for it.
func OtherProtocolAnswer(head []byte, speaks string) (Protocol, []byte) {
	proto, _ := Sniff(head)
	text := "This port speaks " + speaks + "."
	switch proto {
	case ProtocolSSH: // RFC 4253 section 4.2: lines before the version are shown
		return proto, []byte(text + "\r\n")
	case ProtocolSMTP:
		return proto, []byte("554 5.3.2 " + text + "\r\n") // RFC 5321 section 3.1
	case ProtocolFTP:
		if bytes.HasPrefix(head, []byte("CAPA")) {
			return proto, []byte("-ERR " + text + "\r\n") // RFC 1939
		}
		return proto, []byte("530 " + text + "\r\n") // RFC 959
	case ProtocolRedis:
		return proto, []byte("-ERR " + text + "\r\n")
	case ProtocolPostgres:
		return proto, []byte("N") // no TLS here
	case ProtocolSOCKS:
		if head[0] == 5 {
			return proto, []byte{5, 0xff} // RFC 1928 section 3: no acceptable method
		}
		return proto, []byte{0, 91, 0, 0, 0, 0, 0, 0} // SOCKS 4: rejected
	case ProtocolAMQP:
		return proto, []byte("AMQP\x00\x00\x09\x01") // the version that would be spoken, and the end
	case ProtocolPROXY:
		return proto, plainAnswer("This port takes no PROXY protocol header: switch it off at the load balancer, or on here.\n")
	}
	return proto, nil
}

// TLSOnProxyAnswer is what a TLS client on a forward proxy's plain port is sent.
func TLSOnProxyAnswer() []byte {
	return plainAnswer("This port is a forward proxy without TLS of its own. Write http:// before the proxy's address: HTTPS_PROXY=http://proxy:port\n")
}

func plainAnswer(text string) []byte {
	return []byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(text)) + "\r\n\r\n" + text)
}

// Alert returns a fatal alert record in the clear (RFC 8446 section 6), for refusals that come before
// crypto/tls has run.
func Alert(description uint8) []byte {
	return []byte{recordAlert, 3, 3, 0, 2, 2, description}
}

// isReset reports whether the peer reset the connection.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
