package listen

import (
	"bytes"
	"errors"
	"syscall"
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
	answer := plainAnswer("This port speaks HTTPS. Use https:// instead.\n")
	if bytes.HasPrefix(head, []byte("HEAD ")) {
		end := bytes.Index(answer, []byte("\r\n\r\n"))
		return answer[:end+4]
	}
	return answer
}

func plainAnswer(text string) []byte {
	return []byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: " +
		string(appendCount(nil, len(text))) + "\r\n\r\n" + text)
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
