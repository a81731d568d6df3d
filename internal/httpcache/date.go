package httpcache

// parseDate reads an HTTP date (RFC 9110 section 5.6.7): the three formats, and what differs from them in
// case, separators or the number of digits. It returns Unix seconds; ok is false for other zones than GMT
// and UTC, and for what is no date.
func parseDate(b []byte) (unix int64, ok bool) {
	var d date
	if !d.scan(b) {
		return 0, false
	}
	return d.unix()
}

// date is what was found in a text so far; -1: not yet.
type date struct{ day, month, year, clock int }

// scan takes the text apart into words and numbers.
func (d *date) scan(b []byte) bool {
	d.day, d.month, d.year, d.clock = -1, -1, -1, -1
	if len(b) > 64 {
		return false
	}
	for i := 0; i < len(b); {
		c := b[i]
		start := i
		switch {
		case c >= '0' && c <= '9':
			for i < len(b) && (b[i] >= '0' && b[i] <= '9' || (b[i] == ':' || b[i] == '.') && i+1 < len(b) && b[i+1] >= '0' && b[i+1] <= '9') {
				i++
			}
			if !d.number(b[start:i]) {
				return false
			}
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			for i < len(b) && b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z' {
				i++
			}
			if !d.word(b[start:i], start == 0) {
				return false
			}
		case c == ' ' || c == ',' || c == '-' && i > 0 || c == '\t':
			i++
		default:
			return false
		}
	}
	return d.day > 0 && d.month >= 0 && d.year >= 0 && d.clock >= 0
}

// number takes a day, a year or a time of day.
func (d *date) number(b []byte) bool {
	var parts [3]int
	n, digits := 0, 0
	for _, c := range b {
		if c == ':' || c == '.' {
			if n++; n > 2 || digits == 0 {
				return false
			}
			digits = 0
			continue
		}
		if digits++; digits > 4 {
			return false
		}
		parts[n] = parts[n]*10 + int(c-'0')
	}
	switch {
	case n == 2 && d.clock < 0:
		if parts[0] > 23 || parts[1] > 59 || parts[2] > 60 {
			return false
		}
		d.clock = parts[0]*3600 + parts[1]*60 + parts[2]
	case n > 0:
		return false
	case d.day < 0 && digits <= 2:
		d.day = parts[0]
	case d.year < 0 && (digits == 2 || digits == 4):
		if d.year = parts[0]; digits == 2 { // 1970 to 2069
			if d.year += 1900; parts[0] < 70 {
				d.year += 100
			}
		}
	default:
		return false
	}
	return true
}

// word takes a month, a zone or, where the text begins, a day of the week.
func (d *date) word(b []byte, first bool) bool {
	if len(b) >= 3 {
		key := [3]byte{b[0] | 0x20, b[1] | 0x20, b[2] | 0x20}
		for i := 0; i < 12; i++ {
			if string(key[:]) == "janfebmaraprmayjunjulaugsepoctnovdec"[3*i:3*i+3] && d.month < 0 && !first {
				d.month = i
				return len(b) == 3
			}
		}
		if k := string(key[:]); len(b) == 3 && (k == "gmt" || k == "utc") && d.clock >= 0 {
			return true
		}
	}
	return first && len(b) <= 9
}

// unix returns seconds since 1970; ok is false for days that there are not.
func (d *date) unix() (int64, bool) {
	leap := d.year%4 == 0 && (d.year%100 != 0 || d.year%400 == 0)
	days := [12]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	if leap {
		days[1] = 29
	}
	if d.day < 1 || d.day > days[d.month] || d.year < 1601 {
		return 0, false
	}
	y := d.year - 1
	n := y*365 + y/4 - y/100 + y/400 - 719162 // days from 1970-01-01 to the year's first
	for i := range d.month {
		n += days[i]
	}
	return int64(n+d.day-1)*86400 + int64(d.clock), true
}
