package http1

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

const framingNames = message.NameSet(1<<message.ContentLength | 1<<message.TransferEncoding)

// parseFraming reads Content-Length and Transfer-Encoding (RFC 9112 section 6). Without either the
// result is NoBody. Whatever two implementations could frame differently is refused.
func parseFraming(s side, f *message.Fields, proto message.Proto, twice repeated) (message.Body, error) {
	length, sized := f.Get(message.ContentLength)
	coding, coded := f.Get(message.TransferEncoding)
	switch {
	case sized && coded:
		return message.Body{}, s.refuse(diag.RequestAmbiguousBody, "Content-Length and Transfer-Encoding together")
	case coded && proto == message.HTTP10:
		return message.Body{}, s.refuse(diag.RequestAmbiguousBody, "Transfer-Encoding in HTTP/1.0")
	case coded && twice.Has(message.TransferEncoding):
		return message.Body{}, s.refuse(diag.RequestAmbiguousBody, "more than one Transfer-Encoding")
	case coded:
		if message.EqualFold(coding, []byte("chunked")) {
			return message.Body{Kind: message.Chunked}, nil
		}
		return message.Body{}, badCoding(s, coding)
	case sized && twice.Has(message.ContentLength):
		return message.Body{}, s.refuse(diag.RequestAmbiguousBody, "more than one Content-Length")
	case sized:
		n, ok := semantics.Length(length)
		if !ok {
			return message.Body{}, s.refuse(diag.RequestAmbiguousBody, "Content-Length is not one decimal number")
		}
		return message.Body{Kind: message.Sized, Length: n}, nil
	}
	return message.Body{}, nil
}

// badCoding tells an honest list of codings we do not know (501) from one whose framing is in doubt
// (400): chunked twice, not last or with parameters, names that contain "chunked", identity, or no list.
func badCoding(s side, value []byte) error {
	ambiguous := s.refuse(diag.RequestAmbiguousBody, "Transfer-Encoding whose last coding is not plainly chunked")
	for rest := value; rest != nil; {
		var item []byte
		item, rest = semantics.NextItem(rest)
		if message.EqualFold(item, []byte("chunked")) && rest == nil {
			break
		}
		if !semantics.IsToken(item) || containsFold(item, "chunk") || message.EqualFold(item, []byte("identity")) {
			return ambiguous
		}
	}
	return s.refuse(diag.RequestTransferCode, "transfer coding other than chunked")
}

func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if message.EqualFold(b[i:i+len(word)], []byte(word)) {
			return true
		}
	}
	return false
}

// connectionOptions are the options of Connection that mean something to us.
type connectionOptions uint8

const (
	optionClose connectionOptions = 1 << iota
	optionKeepAlive
	optionUpgrade
)

// persists applies RFC 9112 section 9.3.
func (o connectionOptions) persists(proto message.Proto) bool {
	return o&optionClose == 0 && (proto == message.HTTP11 || o&optionKeepAlive != 0)
}

// maxOptions bounds the options of one message, since each is a field name to be searched for.
const maxOptions = 32

// parseConnection reads all Connection lines. A request that nominates an end-to-end field, to make us
// drop what we or a hop before us vouch for, is refused.
func parseConnection(s side, f *message.Fields) (o connectionOptions, err error) {
	count := 0
	for i := 0; i < f.Len(); i++ {
		line := f.At(i)
		if line.ID != message.Connection {
			continue
		}
		for rest := line.Value; rest != nil; {
			var option []byte
			option, rest = semantics.NextItem(rest)
			if count++; count > maxOptions {
				return 0, s.refuse(diag.RequestBadField, "more connection options than the limit")
			}
			switch {
			case len(option) == 0:
			case message.EqualFold(option, []byte("close")):
				o |= optionClose
			case message.EqualFold(option, []byte("keep-alive")):
				o |= optionKeepAlive
			case message.EqualFold(option, []byte("upgrade")):
				o |= optionUpgrade
			case !semantics.IsToken(option):
				return 0, s.refuse(diag.RequestBadField, "Connection is not a list of names")
			case s == downstream && endToEnd(option):
				return 0, s.refuse(diag.RequestBadField, "Connection nominates an end-to-end field")
			}
		}
	}
	return o, nil
}
