package logstore

import (
	"cmp"
	"slices"
)

// entry is a record that waits to be written.
type entry struct {
	end    int64
	record []byte
}

// maxShift is over how many records one is carried to its place before all are sorted anew.
const maxShift = 256

// merge returns the records of several buffers, by time, and how many there are. Within a buffer nearly
// all are in order already; a buffer that is alone and all in order is returned as it is.
func (s *Store) merge(buffers [][]byte, size int) ([]byte, int) {
	for _, b := range buffers {
		if len(b) != size {
			continue
		}
		if n, ok := inOrder(b); ok {
			return b, n
		}
	}
	s.gather(buffers)
	s.sorted = slices.Grow(s.sorted[:0], size)
	for i := range s.entries {
		s.sorted = append(s.sorted, s.entries[i].record...)
	}
	return s.sorted, len(s.entries)
}

// inOrder returns the number of records of a buffer, and whether each ended after the one before.
func inOrder(b []byte) (n int, ok bool) {
	for last := int64(0); len(b) > 0; n++ {
		r, rest, err := split(b)
		if err != nil || n > 0 && endOf(r) < last {
			return n, false
		}
		b, last = rest, endOf(r)
	}
	return n, true
}

// gather fills s.entries, by time.
func (s *Store) gather(buffers [][]byte) {
	s.entries = s.entries[:0]
	type head struct {
		end  int64
		rest []byte // begins with the record that ended then
	}
	heads := make([]head, 0, len(buffers))
	for _, b := range buffers {
		if len(b) > 0 {
			heads = append(heads, head{endOf(b), b})
		}
	}
	sorted := true
	last := int64(0)
	for len(heads) > 0 {
		first := 0
		for i := 1; i < len(heads); i++ {
			if heads[i].end < heads[first].end {
				first = i
			}
		}
		h := &heads[first]
		r, rest, err := split(h.rest)
		if err != nil { // we wrote it a moment ago
			s.dropped.Add(1)
			heads = slices.Delete(heads, first, first+1)
			continue
		}
		sorted = sorted && (len(s.entries) == 0 || h.end >= last)
		last = h.end
		s.entries = append(s.entries, entry{h.end, r})
		if len(rest) == 0 {
			heads = slices.Delete(heads, first, first+1)
			continue
		}
		h.rest, h.end = rest, endOf(rest)
	}
	if !sorted {
		order(s.entries)
	}
}

// order sorts entries of which few are out of place, and those by little.
func order(e []entry) {
	for i := 1; i < len(e); i++ {
		if e[i].end >= e[i-1].end {
			continue
		}
		x, k := e[i], i
		for ; k > 0 && e[k-1].end > x.end; k-- {
			if i-k == maxShift {
				e[k] = x
				slices.SortStableFunc(e, func(a, b entry) int { return cmp.Compare(a.end, b.end) })
				return
			}
			e[k] = e[k-1]
		}
		e[k] = x
	}
}
