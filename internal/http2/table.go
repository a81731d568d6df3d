package http2

// entryOverhead is what an entry costs beside its bytes (RFC 7541 section 4.1).
const entryOverhead = 32

// dynamicTable is the decoder's table of RFC 7541 section 2.3.2: a ring of entries, newest first, over
// bytes that are appended to one buffer. The zero value is empty and holds nothing until max is set.
type dynamicTable struct {
	entries []tableEntry // a ring; its length is a power of two
	newest  int          // index in entries
	count   int
	size    uint32 // RFC 7541 section 4.1
	max     uint32
	bytes   []byte // of the live entries, oldest first, behind those of evicted ones
	dropped uint32 // bytes that once stood before bytes, modulo 2^32
}

// tableEntry is an entry; its name and value follow each other from at on, counted with dropped.
type tableEntry struct {
	at, name, value uint32
	judgement
	valueFault fault
}

// get returns entry i, of which 0 is the newest; nil if there are not so many.
func (t *dynamicTable) get(i uint32) *tableEntry {
	if i >= uint32(t.count) {
		return nil
	}
	return &t.entries[(t.newest-int(i))&(len(t.entries)-1)]
}

// text returns the bytes of an entry, valid until the next add.
func (t *dynamicTable) text(e *tableEntry) (name, value []byte) {
	at := e.at - t.dropped
	b := t.bytes[at : at+e.name+e.value]
	return b[:e.name:e.name], b[e.name:]
}

// resize sets the bound in bytes and evicts what is over it.
func (t *dynamicTable) resize(max uint32) {
	t.max = max
	t.evict(0)
	if max == 0 {
		*t = dynamicTable{}
	}
}

// evict removes the oldest entries until need bytes fit.
func (t *dynamicTable) evict(need uint32) {
	for t.count > 0 && t.size+need > t.max {
		e := t.get(uint32(t.count - 1))
		t.size -= e.name + e.value + entryOverhead
		t.count--
	}
}

// add inserts an entry; one larger than the table empties it (RFC 7541 section 4.4). name and value do not
// point into the table.
func (t *dynamicTable) add(j judgement, valueFault fault, name, value []byte) {
	need := uint32(len(name) + len(value) + entryOverhead)
	if need > t.max {
		t.count, t.size = 0, 0
		return
	}
	t.evict(need)
	t.room(len(name) + len(value))
	at := t.dropped + uint32(len(t.bytes))
	t.bytes = append(append(t.bytes, name...), value...)
	if t.count == len(t.entries) {
		t.grow()
	}
	t.newest = (t.newest + 1) & (len(t.entries) - 1)
	t.entries[t.newest] = tableEntry{at, uint32(len(name)), uint32(len(value)), j, valueFault}
	t.count++
	t.size += need
}

// room makes place for n bytes behind the live ones. Those are moved to the front only when at least as
// much is free, so that a byte is moved about once.
func (t *dynamicTable) room(n int) {
	if cap(t.bytes)-len(t.bytes) >= n {
		return
	}
	live := t.bytes[len(t.bytes):]
	if t.count > 0 {
		live = t.bytes[t.get(uint32(t.count-1)).at-t.dropped:]
	}
	t.dropped += uint32(len(t.bytes) - len(live))
	to := t.bytes
	if need := 2 * (len(live) + n); cap(to) < need {
		to = make([]byte, 0, max(256, need))
	}
	t.bytes = append(to[:0], live...)
}

// grow doubles the ring.
func (t *dynamicTable) grow() {
	larger := make([]tableEntry, max(8, 2*len(t.entries)))
	for i := range t.count {
		larger[t.count-1-i] = *t.get(uint32(i))
	}
	t.entries, t.newest = larger, t.count-1
}
