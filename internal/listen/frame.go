package listen

// maxWire is the longest record on the wire: payload, header and what encryption adds (RFC 5246
// section 6.2.3; RFC 8446 allows less).
const maxWire = headerLen + maxRecord + 2048

// framer follows the records of a TLS connection, so that one Read never returns more than the rest of
// one record. crypto/tls reads into a buffer that doubles whenever what it holds reaches into the next
// record and that never shrinks: after an upload, 32 KiB and more would stay with every idle
// connection. It belongs to the goroutine that reads.
type framer struct {
	on     bool
	header [headerLen]byte
	have   int // bytes of header seen
	left   int // bytes of the record still to come
	seen   int // records begun since Delivered was called last
}

// limit shortens a buffer to what may be read into it now: the rest of the record, or one record of the
// usual size where its length is not known yet.
func (f *framer) limit(p []byte) []byte {
	switch {
	case !f.on:
		return p
	case f.left > 0:
		return p[:min(len(p), f.left)]
	}
	return p[:min(len(p), maxWire)]
}

// cut follows the bytes read and returns how many of them belong to the present record.
func (f *framer) cut(p []byte) int {
	if !f.on {
		return len(p)
	}
	n := 0
	if f.left == 0 {
		n = copy(f.header[f.have:], p)
		if f.have += n; f.have < headerLen {
			return n
		}
		f.have, f.left = 0, int(f.header[3])<<8|int(f.header[4])
		f.seen++
	}
	take := min(f.left, len(p)-n)
	f.left -= take
	return n + take
}

// stash keeps bytes of the next record for the next Read.
func (c *Conn) stash(p []byte) {
	if len(p) == 0 {
		return
	}
	if len(p) <= peekBuffer {
		c.pooled = getPeekBuffer()
		c.pending = append((*c.pooled)[:0], p...)
		return
	}
	c.pending = append([]byte(nil), p...)
}
