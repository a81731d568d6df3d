package http2

import (
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Block is one complete header block: the fragments of HEADERS and its CONTINUATIONs in a row. The
// caller bounds its length.
type Block struct {
	Data   []byte
	Stream uint32 // put into errors of the message
	End    bool   // END_STREAM: no body follows
}

// Decoder decodes the header blocks of one connection, in the order in which they came (RFC 7541). It
// allocates only to refuse and while its table grows. Not safe for concurrent use.
//
// Errors are an *Error. With Stream 0 the connection cannot go on (COMPRESSION_ERROR), since both sides'
// tables differ from then on. Otherwise the message is malformed, its stream is to be reset with the
// error's HTTP2 code, and the tables are in step: a block is always decoded to its end, but what is over
// a limit, or behind a fault, is not kept. The time for a block is proportional to its length.
type Decoder struct {
	Scheme  string // of the connection, "http" or "https"; given to every request, whatever its :scheme
	Proxy   bool   // the connection leads to a forward proxy: Absolute and Scheme of a request are its :scheme
	Client  bool   // what is decoded are answers of an upstream: errors carry upstream codes
	Connect bool   // we announced SETTINGS_ENABLE_CONNECT_PROTOCOL: :protocol is taken (RFC 8441)

	table   dynamicTable
	bound   uint32 // what the table's size may be updated to
	shrink  bool   // the next block has to begin with an update of the size
	scratch []byte // of decoded names and values
}

// NewDecoder returns a decoder with a table of the size that holds before any SETTINGS, 4,096 bytes.
func NewDecoder() *Decoder {
	d := &Decoder{bound: DefaultHeaderTable}
	d.table.max = DefaultHeaderTable
	return d
}

// SetMaxTable bounds the table, in bytes. Call it when the peer has acknowledged our
// SETTINGS_HEADER_TABLE_SIZE. If the table is larger, the next block has to begin with an update (RFC
// 7541 section 4.2).
func (d *Decoder) SetMaxTable(bytes uint32) {
	d.bound = bytes
	d.shrink = d.table.max > bytes
}

// Discard decodes a block for the sake of the tables alone, as for a refused stream. Its error is one
// of the connection.
func (d *Decoder) Discard(data []byte) error {
	var l list
	l.fault = tooManyFields // whatever: nothing is kept behind a fault
	return d.walk(data, &l)
}

func compressionError(detail string) error {
	return &Error{diag.HTTP2Compression, CompressionError, 0, detail}
}

// keptScratch is the memory in bytes that a decoder keeps over a block.
const keptScratch = 4 << 10

// walk decodes a block into l.
func (d *Decoder) walk(data []byte, l *list) (err error) {
	i := 0
	if d.shrink || len(data) > 0 && data[0]&0xe0 == 0x20 {
		if i, err = d.updates(data); err != nil {
			return err
		}
	}
	for i < len(data) && err == nil {
		if c := data[i]; c&0x80 != 0 {
			var n uint32
			if c < 0xff {
				n, i = uint32(c&0x7f), i+1
			} else {
				var ok bool
				if n, i, ok = readInteger(data, i, 7); !ok {
					return compressionError("index cut off or too large")
				}
			}
			err = d.indexed(n, l)
			continue
		}
		i, err = d.literal(data, i, l)
	}
	if cap(d.scratch) > keptScratch {
		d.scratch = nil
	}
	return err
}

// updates reads the updates of the table's size at a block's begin (RFC 7541 section 6.3).
func (d *Decoder) updates(data []byte) (i int, err error) {
	for i < len(data) && data[i]&0xe0 == 0x20 {
		n, next, ok := readInteger(data, i, 5)
		switch {
		case !ok:
			return 0, compressionError("table size cut off or too large")
		case n > d.bound:
			return 0, compressionError("table size above SETTINGS_HEADER_TABLE_SIZE")
		}
		d.table.resize(n)
		d.shrink, i = false, next
	}
	if d.shrink {
		return 0, compressionError("table larger than the acknowledged SETTINGS_HEADER_TABLE_SIZE")
	}
	return i, nil
}

// indexed takes a field that stands in a table (RFC 7541 section 6.1).
func (d *Decoder) indexed(n uint32, l *list) error {
	if n-1 < numStatic {
		e := &static[n]
		l.line(e.judgement, none, e.name, e.value, true)
		return nil
	}
	e := d.table.get(n - numStatic - 1)
	if n == 0 || e == nil {
		return compressionError("index that is in no table")
	}
	name, value := d.table.text(e)
	l.line(e.judgement, e.valueFault, name, value, false)
	return nil
}

// literal takes a field whose value, and perhaps name, stands in the block (RFC 7541 section 6.2).
func (d *Decoder) literal(data []byte, i int, l *list) (int, error) {
	c := data[i]
	bits := uint(4)
	switch {
	case c&0x40 != 0:
		bits = 6
	case c&0x20 != 0:
		return 0, compressionError("update of the table's size behind a field")
	}
	n, i, ok := readInteger(data, i, bits)
	if !ok {
		return 0, compressionError("index cut off or too large")
	}
	d.scratch = d.scratch[:0]
	var j judgement
	var name []byte
	var err error
	switch {
	case n == 0:
		if name, i, err = d.text(data, i); err != nil {
			return 0, err
		}
		j = judgeName(name)
	case n <= numStatic:
		name, j = static[n].name, static[n].judgement
	default:
		e := d.table.get(n - numStatic - 1)
		if e == nil {
			return 0, compressionError("index that is in no table")
		}
		name, _ = d.table.text(e)
		at := len(d.scratch)
		d.scratch = append(d.scratch, name...) // the entry may go when this one is added
		name, j = d.scratch[at:], e.judgement
	}
	value, i, err := d.text(data, i)
	if err != nil {
		return 0, err
	}
	valueFault := judgeValue(value)
	if bits == 6 {
		d.table.add(j, valueFault, name, value)
	}
	l.sensitive = c&0xf0 == 0x10
	l.line(j, valueFault, name, value, false)
	l.sensitive = false
	return i, nil
}

// text reads a string (RFC 7541 section 5.2). The result points into data or scratch, which text appends
// to.
func (d *Decoder) text(data []byte, i int) (s []byte, next int, err error) {
	if i >= len(data) {
		return nil, 0, compressionError("string cut off")
	}
	coded := data[i]&0x80 != 0
	n, i, ok := readInteger(data, i, 7)
	if !ok || int(n) > len(data)-i {
		return nil, 0, compressionError("string longer than the block")
	}
	s, next = data[i:i+int(n):i+int(n)], i+int(n)
	if !coded {
		return s, next, nil
	}
	at, room := len(d.scratch), huffmanRoom(int(n))
	if cap(d.scratch)-at < room {
		d.scratch = append(make([]byte, 0, max(512, at+2*room)), d.scratch...)
	}
	decoded, ok := decodeHuffman(d.scratch[at:at+room], s)
	if !ok {
		return nil, 0, compressionError("invalid Huffman code")
	}
	d.scratch = d.scratch[:at+decoded]
	return d.scratch[at:], next, nil
}
