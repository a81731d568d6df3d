package logstore

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Record is one kept record: either Access or Handshake is set. What it points to is overwritten by the
// next one of the same reader.
type Record struct {
	End       time.Time // when the answer, or the handshake, ended
	Access    *telemetry.Access
	Handshake *telemetry.Handshake
}

// A record is laid out so: its size with these bytes (u32), when it ended (i64, nanoseconds of Unix
// time), its kind, its key (a string), and then its other fields in the order in which the functions
// below have them; numbers as varints, strings behind their length. Fields are only ever added at the
// end: an older reader passes over what it does not know, a newer one takes what is missing as empty.
const (
	recordHead = 4 + 8 + 1
	maxRecord  = 256 << 10

	kindAccess    = 1
	kindHandshake = 2
)

// maxField bounds what is kept of one field of a peer, in bytes, and maxList the items of a list.
const (
	maxField = 4096
	maxList  = 64
)

var errRecord = errors.New("a record is not as it was written")

type text interface{ ~string | ~[]byte }

func putText[T text](b []byte, s T) []byte {
	if len(s) > maxField {
		s = s[:maxField]
	}
	if len(s) < 0x80 {
		b = append(b, byte(len(s)))
	} else {
		b = binary.AppendUvarint(b, uint64(len(s)))
	}
	return append(b, s...)
}

func putNumber(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return binary.AppendUvarint(b, v)
}

func putAddr(b []byte, a netip.Addr) []byte {
	a = a.Unmap()
	switch {
	case a.Is4():
		four := a.As4()
		return append(append(b, 4), four[:]...)
	case a.Is6():
		sixteen := a.As16()
		return append(append(b, 16), sixteen[:]...)
	}
	return append(b, 0)
}

func putAddrPort(b []byte, a netip.AddrPort) []byte {
	return putNumber(putAddr(b, a.Addr()), uint64(a.Port()))
}

func putDuration(b []byte, d time.Duration) []byte { return putNumber(b, uint64(max(d, 0))) }

func putList(b []byte, list []uint16) []byte {
	list = list[:min(len(list), maxList)]
	b = putNumber(b, uint64(len(list)))
	for _, v := range list {
		b = putNumber(b, uint64(v))
	}
	return b
}

// putHead begins a record; end completes it.
func putHead(b []byte, end int64, kind byte) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(end))
	return append(b, kind)
}

func putEnd(b []byte, from int) []byte {
	binary.LittleEndian.PutUint32(b[from:], uint32(len(b)-from))
	return b
}

const (
	flagResumed = 1 << iota
	flagGRPC
	flagTicket
)

func putAccess(b []byte, a *telemetry.Access) []byte {
	from := len(b)
	b = putHead(b, a.Start.UnixNano()+int64(a.Duration), kindAccess)
	b = putText(b, a.ID)
	b = putDuration(b, a.Duration)
	b = putNumber(b, a.Conn)
	b = putText(b, a.Listener)
	b = putText(b, a.Chain)
	b = putText(b, a.Route)
	b = putText(b, a.Origin)
	b = putText(b, a.Upstream)
	b = putText(b, a.Endpoint)
	b = putAddrPort(b, a.Remote)
	b = putAddrPort(b, a.Local)
	b = putAddr(b, a.Client)
	b = putText(b, a.Proto)
	b = putText(b, a.Scheme)
	b = putText(b, a.Method)
	b = putText(b, a.Protocol)
	b = putText(b, a.Authority)
	b = putText(b, a.Target)
	b = putText(b, a.Path)
	b = putText(b, a.UserAgent)
	b = putText(b, a.Referer)
	b = putText(b, a.XFF)
	b = putNumber(b, uint64(a.Stream))
	b = putNumber(b, uint64(a.Attempts))
	b = putText(b, a.UpstreamProto)
	var flags uint64
	if a.Resumed {
		flags |= flagResumed
	}
	if a.GRPC {
		flags |= flagGRPC
	}
	b = putNumber(b, flags)
	b = putNumber(b, uint64(a.GRPCStatus+1))
	b = putNumber(b, uint64(a.Status))
	b = putNumber(b, uint64(a.Code))
	b = putText(b, a.Detail)
	b = putText(b, a.Flags)
	b = putText(b, a.ContentType)
	b = putNumber(b, uint64(a.BytesReceived))
	b = putNumber(b, uint64(a.HeadReceived))
	b = putNumber(b, uint64(a.BytesSent))
	b = putNumber(b, uint64(a.HeadSent))
	b = putDuration(b, a.UpstreamTime)
	b = putDuration(b, a.HeadTime)
	b = putText(b, a.SNI)
	b = putText(b, a.JA4)
	b = putNumber(b, uint64(a.TLSVersion))
	b = putNumber(b, uint64(a.TLSSuite))
	b = putNumber(b, uint64(a.TLSGroup))
	b = putText(b, a.PeerHash)
	b = putText(b, a.PeerSubject)
	b = putText(b, a.PeerOffered)
	b = putText(b, a.Policy)
	b = putText(b, a.PolicyVerdict)
	b = putNumber(b, uint64(a.PolicyCode))
	b = putNumber(b, uint64(a.UpstreamTLSVersion))
	b = putNumber(b, uint64(a.UpstreamTLSSuite))
	b = putText(b, a.Pool)
	b = putText(b, a.Server)
	b = putNumber(b, uint64(a.UpstreamStatus))
	b = putEgress(b, a)
	return putEnd(b, from)
}

func putHandshake(b []byte, h *telemetry.Handshake) []byte {
	from := len(b)
	b = putHead(b, h.Time.UnixNano()+int64(h.Duration), kindHandshake)
	b = putText(b, "")
	b = putDuration(b, h.Duration)
	b = putNumber(b, h.Conn)
	b = putText(b, h.Side)
	b = putText(b, h.Listener)
	b = putText(b, h.Chain)
	b = putText(b, h.Origin)
	b = putText(b, h.Class)
	b = putAddrPort(b, h.Remote)
	b = putAddrPort(b, h.Local)
	b = putText(b, h.Hello.SNI)
	b = putList(b, h.Hello.Versions)
	suites, groups := h.Hello.Suites, h.Hello.Groups
	if h.Code == 0 { // long lists help only where something was refused
		suites, groups = nil, nil
	}
	b = putList(b, suites)
	b = putList(b, groups)
	alpn := h.Hello.ALPN[:min(len(h.Hello.ALPN), maxList)]
	b = putNumber(b, uint64(len(alpn)))
	for _, p := range alpn {
		b = putText(b, p)
	}
	b = putText(b, h.Hello.JA4)
	var flags uint64
	if h.Resumed {
		flags |= flagResumed
	}
	if h.Hello.Ticket {
		flags |= flagTicket
	}
	b = putNumber(b, flags)
	b = putNumber(b, uint64(max(h.Hello.Records, 0)))
	b = putNumber(b, uint64(h.Version))
	b = putNumber(b, uint64(h.Suite))
	b = putNumber(b, uint64(h.Group))
	b = putText(b, h.ALPN)
	b = putText(b, h.Cert)
	b = putText(b, h.PeerSubject)
	b = putText(b, h.PeerHash)
	b = putText(b, h.PeerOffered)
	b = putNumber(b, uint64(h.Code))
	b = putText(b, h.Err)
	b = putText(b, h.Detail)
	b = putEgressHandshake(b, h)
	return putEnd(b, from)
}

// split returns the first record of raw and the rest; an error says that raw is damaged from here on.
func split(raw []byte) (record, rest []byte, err error) {
	if len(raw) < recordHead {
		return nil, nil, errRecord
	}
	n := int(binary.LittleEndian.Uint32(raw))
	if n < recordHead || n > len(raw) || n > maxRecord {
		return nil, nil, errRecord
	}
	return raw[:n], raw[n:], nil
}

func endOf(record []byte) int64 { return int64(binary.LittleEndian.Uint64(record[4:])) }
func kindOf(record []byte) byte { return record[12] }

// keyOf returns a record's key without decoding the rest.
func keyOf(record []byte) []byte {
	d := decoder{b: record[recordHead:]}
	return d.bytes()
}

// connOf returns the number of a record's connection.
func connOf(record []byte) uint64 {
	d := decoder{b: record[recordHead:]}
	d.bytes()
	d.number()
	return d.number()
}

// decoder reads fields. What is missing at the end is empty; bad is set by what cannot be.
type decoder struct {
	b     []byte
	bad   bool
	words *words
}

func (d *decoder) number() uint64 {
	if len(d.b) == 0 {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes returns a string as bytes of the block.
func (d *decoder) bytes() []byte {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	s := d.b[:n:n]
	d.b = d.b[n:]
	return s
}

// word returns a string of which few differ.
func (d *decoder) word() string { return d.words.get(d.bytes()) }

func (d *decoder) duration() time.Duration { return time.Duration(d.number() & (1<<63 - 1)) }

func (d *decoder) addr() netip.Addr {
	switch s := d.bytes(); len(s) {
	case 4:
		return netip.AddrFrom4([4]byte(s))
	case 16:
		return netip.AddrFrom16([16]byte(s))
	case 0:
	default:
		d.bad = true
	}
	return netip.Addr{}
}

func (d *decoder) addrPort() netip.AddrPort {
	a := d.addr()
	port := uint16(d.number())
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, port)
}

func (d *decoder) list() []uint16 {
	n := d.number()
	if n > maxList {
		d.bad, d.b = true, nil
		return nil
	}
	var out []uint16
	for range n {
		out = append(out, uint16(d.number()))
	}
	return out
}

// words keeps strings, so that equal ones are made once. The zero value is ready.
type words struct{ known map[string]string }

// maxWords bounds how many different strings are kept.
const maxWords = 8192

func (w *words) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if w == nil {
		return string(b)
	}
	if s, ok := w.known[string(b)]; ok {
		return s
	}
	if w.known == nil || len(w.known) >= maxWords {
		w.known = make(map[string]string)
	}
	s := string(b)
	w.known[s] = s
	return s
}

// readAccess fills a from a record. Byte slices are the record's own.
func readAccess(record []byte, a *telemetry.Access, w *words) error {
	d := decoder{b: record[recordHead:], words: w}
	*a = telemetry.Access{}
	a.ID = d.bytes()
	a.Duration = d.duration()
	a.Start = time.Unix(0, endOf(record)-int64(a.Duration))
	a.Conn = d.number()
	a.Listener, a.Chain, a.Route, a.Origin = d.word(), d.word(), d.word(), d.word()
	a.Upstream, a.Endpoint = d.word(), d.word()
	a.Remote, a.Local, a.Client = d.addrPort(), d.addrPort(), d.addr()
	a.Proto, a.Scheme = d.word(), d.word()
	a.Method, a.Protocol, a.Authority, a.Target, a.Path = d.bytes(), d.bytes(), d.bytes(), d.bytes(), d.bytes()
	a.UserAgent, a.Referer, a.XFF = d.bytes(), d.bytes(), d.bytes()
	a.Stream, a.Attempts = uint32(d.number()), int(d.number())
	a.UpstreamProto = d.word()
	flags := d.number()
	a.Resumed, a.GRPC = flags&flagResumed != 0, flags&flagGRPC != 0
	a.GRPCStatus = int(d.number()) - 1
	a.Status, a.Code = int(d.number()), diag.Code(d.number())
	a.Detail, a.Flags, a.ContentType = d.word(), d.word(), d.bytes()
	a.BytesReceived, a.HeadReceived, a.BytesSent, a.HeadSent = int64(d.number()), int64(d.number()), int64(d.number()), int64(d.number())
	a.UpstreamTime, a.HeadTime = d.duration(), d.duration()
	a.SNI, a.JA4 = d.word(), d.word()
	a.TLSVersion, a.TLSSuite, a.TLSGroup = uint16(d.number()), uint16(d.number()), uint16(d.number())
	a.PeerHash, a.PeerSubject, a.PeerOffered = d.word(), d.word(), d.word()
	a.Policy, a.PolicyVerdict, a.PolicyCode = d.word(), d.word(), diag.Code(d.number())
	a.UpstreamTLSVersion, a.UpstreamTLSSuite = uint16(d.number()), uint16(d.number())
	a.Pool, a.Server = d.word(), d.word()
	a.UpstreamStatus = int(d.number())
	readEgress(&d, a)
	if d.bad {
		return errRecord
	}
	return nil
}

// readHandshake fills h from a record.
func readHandshake(record []byte, h *telemetry.Handshake, w *words) error {
	d := decoder{b: record[recordHead:], words: w}
	*h = telemetry.Handshake{}
	d.bytes()
	h.Duration = d.duration()
	h.Time = time.Unix(0, endOf(record)-int64(h.Duration))
	h.Conn = d.number()
	h.Side = telemetry.Side(d.word())
	h.Listener, h.Chain, h.Origin, h.Class = d.word(), d.word(), d.word(), d.word()
	h.Remote, h.Local = d.addrPort(), d.addrPort()
	h.Hello.SNI = d.word()
	h.Hello.Versions, h.Hello.Suites, h.Hello.Groups = d.list(), d.list(), d.list()
	n := d.number()
	if n > maxList {
		return errRecord
	}
	for range n {
		h.Hello.ALPN = append(h.Hello.ALPN, d.word())
	}
	h.Hello.JA4 = d.word()
	flags := d.number()
	h.Resumed, h.Hello.Ticket = flags&flagResumed != 0, flags&flagTicket != 0
	h.Hello.Records = int(d.number() & (1<<31 - 1))
	h.Version, h.Suite, h.Group = uint16(d.number()), uint16(d.number()), uint16(d.number())
	h.ALPN, h.Cert = d.word(), d.word()
	h.PeerSubject, h.PeerHash, h.PeerOffered = d.word(), d.word(), d.word()
	h.Code = diag.Code(d.number())
	h.Err, h.Detail = d.word(), d.word()
	readEgressHandshake(&d, h)
	if d.bad {
		return errRecord
	}
	return nil
}
