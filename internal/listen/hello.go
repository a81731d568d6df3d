package listen

import (
	"errors"
	"slices"
	"strings"
)

// TLS record types and handshake types that the peek knows (RFC 8446 sections 5.1 and 4).
const (
	recordAlert     = 21
	recordHandshake = 22
	typeClientHello = 1
)

// Extension numbers (IANA TLS ExtensionType Values).
const (
	extServerName        = 0
	extSupportedGroups   = 10
	extSignatureAlgs     = 13
	extALPN              = 16
	extSessionTicket     = 35
	extPreSharedKey      = 41
	extSupportedVersions = 43
	extKeyShare          = 51
	extECH               = 0xfe0d
)

// Hello holds the facts of a ClientHello (RFC 8446 section 4.1.2). GREASE values (RFC 8701) are left
// out of every list. Nothing in it refers to the connection's buffers.
type Hello struct {
	ServerName       string   // SNI in lower case; "" if none was sent
	LegacyVersion    uint16   // the version field of the message
	Versions         []uint16 // offered, highest first; from LegacyVersion if the extension is missing
	Suites           []uint16 // in the client's order
	Groups           []uint16
	KeyShares        []uint16 // groups for which a share was sent
	SignatureSchemes []uint16
	ALPN             []string
	Ticket           bool // a session ticket or a pre-shared key was offered
	ECH              bool // the encrypted_client_hello extension is there; many clients send a meaningless one
	Records          int  // TLS records that the message came in
	JA4              string
}

// MaxVersion returns the highest offered version, 0 if none is known.
func (h *Hello) MaxVersion() uint16 {
	if len(h.Versions) == 0 {
		return 0
	}
	return h.Versions[0]
}

// MinVersion returns the lowest offered version, 0 if none is known. Without the supported_versions
// extension a client only states its maximum, and MinVersion equals it.
func (h *Hello) MinVersion() uint16 {
	if len(h.Versions) == 0 {
		return 0
	}
	return h.Versions[len(h.Versions)-1]
}

// errHello is what a malformed message fails with; the detail says where.
var errHello = errors.New("malformed ClientHello")

// helloError is errHello with the place.
type helloError string

func (e helloError) Error() string { return "malformed ClientHello: " + string(e) }
func (e helloError) Unwrap() error { return errHello }

// rawHello is a hello while it is parsed, with what JA4 needs.
type rawHello struct {
	Hello
	extensions []uint16 // in order, GREASE left out
	hasSNI     bool
	firstALPN  []byte
}

// ParseHello reads a complete ClientHello handshake message, header included. It is as strict as
// crypto/tls about what it reads, and ignores extensions that it does not know. The error says which
// part is malformed.
func ParseHello(msg []byte) (*Hello, error) {
	s := cursor(msg)
	typ, ok1 := s.u8()
	body, ok2 := s.vec24()
	if !ok1 || !ok2 || typ != typeClientHello || len(s) != 0 {
		return nil, helloError("the message header")
	}
	h := &rawHello{}
	var ok bool
	if h.LegacyVersion, ok = body.u16(); !ok {
		return nil, helloError("the version")
	}
	if _, ok = body.take(32); !ok {
		return nil, helloError("the random")
	}
	if _, ok = body.vec8(); !ok {
		return nil, helloError("the session ID")
	}
	suites, ok := body.vec16()
	if !ok || len(suites)%2 != 0 {
		return nil, helloError("the cipher suites")
	}
	h.Suites = suites.list16()
	if _, ok = body.vec8(); !ok {
		return nil, helloError("the compression methods")
	}
	if err := h.parseExtensions(body); err != nil {
		return nil, err
	}
	if len(h.Versions) == 0 && h.LegacyVersion != 0 {
		h.Versions = []uint16{min(h.LegacyVersion, 0x0303)}
	}
	h.JA4 = h.ja4()
	return &h.Hello, nil
}

// parseExtensions reads the extension block, which TLS 1.2 and older may leave out altogether.
func (h *rawHello) parseExtensions(body cursor) error {
	if len(body) == 0 {
		return nil
	}
	exts, ok := body.vec16()
	if !ok || len(body) != 0 {
		return helloError("the extension block")
	}
	// A bit per type: 64 KiB hold 16,000 extensions, and a search among them for each would cost a
	// stranger's hello as much as a hundred handshakes.
	var seen [1 << 16 / 64]uint64
	for len(exts) > 0 {
		typ, ok1 := exts.u16()
		data, ok2 := exts.vec16()
		if !ok1 || !ok2 {
			return helloError("an extension's length")
		}
		if seen[typ>>6]&(1<<(typ&63)) != 0 {
			return helloError("an extension comes twice")
		}
		seen[typ>>6] |= 1 << (typ & 63)
		if !isGREASE(typ) {
			h.extensions = append(h.extensions, typ)
		}
		if typ == extPreSharedKey && len(exts) != 0 {
			return helloError("pre_shared_key is not the last extension")
		}
		if err := h.parseExtension(typ, data); err != nil {
			return err
		}
	}
	return nil
}

// parseExtension reads one extension's data.
func (h *rawHello) parseExtension(typ uint16, data cursor) error {
	var list cursor
	ok := true
	switch typ {
	case extServerName:
		return h.parseServerName(data)
	case extALPN:
		return h.parseALPN(data)
	case extKeyShare:
		return h.parseKeyShares(data)
	case extSupportedGroups:
		list, ok = data.nonEmpty16()
		h.Groups = list.list16()
	case extSignatureAlgs:
		list, ok = data.nonEmpty16()
		h.SignatureSchemes = list.list16()
	case extSupportedVersions:
		list, ok = data.vec8()
		ok = ok && len(data) == 0 && len(list) > 0 && len(list)%2 == 0
		h.Versions = list.list16()
		slices.SortFunc(h.Versions, func(a, b uint16) int { return int(b) - int(a) })
		h.Versions = slices.Compact(h.Versions)
	case extSessionTicket:
		h.Ticket = h.Ticket || len(data) > 0
	case extPreSharedKey:
		h.Ticket = true
	case extECH:
		h.ECH = true
	}
	if !ok {
		return helloError(extensionName(typ))
	}
	return nil
}

// extensionName names the extensions whose faults are reported.
func extensionName(typ uint16) string {
	switch typ {
	case extSupportedGroups:
		return "the supported_groups extension"
	case extSignatureAlgs:
		return "the signature_algorithms extension"
	case extSupportedVersions:
		return "the supported_versions extension"
	}
	return "an extension"
}

// parseServerName reads the server_name extension (RFC 6066 section 3).
func (h *rawHello) parseServerName(data cursor) error {
	const where = "the server_name extension"
	names, ok := data.vec16()
	if !ok || len(names) == 0 || len(data) != 0 {
		return helloError(where)
	}
	for len(names) > 0 {
		kind, ok1 := names.u8()
		name, ok2 := names.vec16()
		switch {
		case !ok1 || !ok2 || len(name) == 0:
			return helloError(where)
		case kind != 0:
			continue
		case h.hasSNI:
			return helloError(where + " holds two names")
		case name[len(name)-1] == '.':
			return helloError(where + " holds a name with a trailing dot, which RFC 6066 forbids")
		}
		h.hasSNI = true
		h.ServerName = strings.ToLower(string(name))
	}
	return nil
}

// parseALPN reads the application_layer_protocol_negotiation extension (RFC 7301 section 3.1).
func (h *rawHello) parseALPN(data cursor) error {
	const where = helloError("the application_layer_protocol_negotiation extension")
	list, ok := data.vec16()
	if !ok || len(list) == 0 || len(data) != 0 {
		return where
	}
	for len(list) > 0 {
		name, ok := list.vec8()
		if !ok || len(name) == 0 {
			return where
		}
		if len(name) == 2 && isGREASE(uint16(name[0])<<8|uint16(name[1])) {
			continue
		}
		if h.firstALPN == nil {
			h.firstALPN = name
		}
		h.ALPN = append(h.ALPN, string(name))
	}
	return nil
}

// parseKeyShares reads the groups of the key_share extension (RFC 8446 section 4.2.8).
func (h *rawHello) parseKeyShares(data cursor) error {
	const where = helloError("the key_share extension")
	list, ok := data.vec16()
	if !ok || len(data) != 0 {
		return where
	}
	for len(list) > 0 {
		group, ok1 := list.u16()
		share, ok2 := list.vec16()
		if !ok1 || !ok2 || len(share) == 0 {
			return where
		}
		if !isGREASE(group) {
			h.KeyShares = append(h.KeyShares, group)
		}
	}
	return nil
}

// isGREASE reports whether v is one of the reserved values of RFC 8701.
func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// cursor is the unread rest of a message. Its methods take from the front and report whether there
// was enough.
type cursor []byte

func (s *cursor) take(n int) (cursor, bool) {
	if len(*s) < n {
		return nil, false
	}
	out := (*s)[:n:n]
	*s = (*s)[n:]
	return out, true
}

func (s *cursor) uint(n int) (int, bool) {
	b, ok := s.take(n)
	v := 0
	for _, x := range b {
		v = v<<8 | int(x)
	}
	return v, ok
}

func (s *cursor) u8() (byte, bool) {
	v, ok := s.uint(1)
	return byte(v), ok
}

func (s *cursor) u16() (uint16, bool) {
	v, ok := s.uint(2)
	return uint16(v), ok
}

// vec takes a vector whose length stands before it in n bytes.
func (s *cursor) vec(n int) (cursor, bool) {
	size, ok := s.uint(n)
	if !ok {
		return nil, false
	}
	return s.take(size)
}

func (s *cursor) vec8() (cursor, bool)  { return s.vec(1) }
func (s *cursor) vec16() (cursor, bool) { return s.vec(2) }
func (s *cursor) vec24() (cursor, bool) { return s.vec(3) }

// nonEmpty16 takes a vector of 16-bit values that is not empty and fills the rest of s.
func (s *cursor) nonEmpty16() (cursor, bool) {
	list, ok := s.vec16()
	return list, ok && len(list) > 0 && len(list)%2 == 0 && len(*s) == 0
}

// list16 returns the 16-bit values of s, GREASE left out.
func (s cursor) list16() []uint16 {
	if len(s) < 2 {
		return nil
	}
	out := make([]uint16, 0, len(s)/2)
	for len(s) >= 2 {
		v := uint16(s[0])<<8 | uint16(s[1])
		if !isGREASE(v) {
			out = append(out, v)
		}
		s = s[2:]
	}
	return out
}
