package forward

import (
	"crypto/x509"
	"io"
)

// Bounds of what is read of a server while a rule waits for its certificate.
const maxPeek = 64 << 10

// readServer reads what a TLS server sends until its certificate is complete, or it is clear that none will be seen:
// TLS 1.3 encrypts it, a resumed session has none. What was read is returned; it goes to the client.
func readServer(r io.Reader) (read []byte, chain []*x509.Certificate) {
	buf := make([]byte, 0, 4096)
	var f serverFlight
	for len(buf) < maxPeek {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		m, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+m]
		found, done := f.look(buf)
		if done || err != nil {
			return buf, found
		}
	}
	return buf, nil
}

// serverFlight is what has been seen of the first records of a server. Each byte is looked at once, in however small
// pieces they come.
type serverFlight struct {
	next int    // where the next record begins
	msgs []byte // handshake messages without record headers
	at   int    // where the next message begins in msgs
	over bool   // something else than handshake messages in the clear follows
}

// look finds the certificates in what a server has sent so far (RFC 5246 section 7.4.2), of which b is all. done says
// that more bytes would tell nothing more.
func (f *serverFlight) look(b []byte) (chain []*x509.Certificate, done bool) {
	for !f.over && len(b)-f.next >= 5 {
		record := b[f.next:]
		size := int(record[3])<<8 | int(record[4])
		if record[0] != 22 || size == 0 || size > 16<<10+256 {
			f.over = true // ChangeCipherSpec of TLS 1.3 or of a resumed session, an alert, or no TLS
			break
		}
		if len(record) < 5+size {
			break
		}
		f.msgs = append(f.msgs, record[5:5+size]...)
		f.next += 5 + size
	}
	for len(f.msgs)-f.at >= 4 {
		msg := f.msgs[f.at:]
		size := int(msg[1])<<16 | int(msg[2])<<8 | int(msg[3])
		if size > maxPeek {
			return nil, true
		}
		if len(msg) < 4+size {
			return nil, f.over
		}
		body := msg[4 : 4+size]
		switch msg[0] {
		case 2: // ServerHello
			if isTLS13(body) {
				return nil, true
			}
		case 11: // Certificate
			return parseChain(body), true
		case 14: // ServerHelloDone: an anonymous suite
			return nil, true
		}
		f.at += 4 + size
	}
	return nil, f.over
}

// isTLS13 looks for supported_versions in a ServerHello (RFC 8446 section 4.1.3).
func isTLS13(b []byte) bool {
	if len(b) < 35 {
		return false
	}
	b = b[34:]
	id := int(b[0])
	if len(b) < 1+id+3 {
		return false
	}
	b = b[1+id+3:]
	if len(b) < 2 {
		return false
	}
	b = b[2:]
	for len(b) >= 4 {
		typ, size := int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3])
		if len(b) < 4+size {
			return false
		}
		if typ == 43 {
			return true
		}
		b = b[4+size:]
	}
	return false
}

// parseChain reads a Certificate message of TLS 1.2 and before. What does not parse ends it.
func parseChain(b []byte) []*x509.Certificate {
	if len(b) < 3 {
		return nil
	}
	b = b[3:]
	var out []*x509.Certificate
	for len(b) >= 3 && len(out) < 16 {
		size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
		if len(b) < 3+size {
			return out
		}
		c, err := x509.ParseCertificate(b[3 : 3+size])
		if err != nil {
			return out
		}
		out = append(out, c)
		b = b[3+size:]
	}
	return out
}
