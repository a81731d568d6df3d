package upstream

// idleList orders destinations without users by how long they have had none. It costs no allocation: a destination
// comes and goes with each request. The zero value is empty.
type idleList struct {
	first, last *destination // the longest unused first
	n           int
}

// push adds a destination that is not in the list.
func (l *idleList) push(x *destination) {
	x.before, x.after, x.idle = l.last, nil, true
	if l.last != nil {
		l.last.after = x
	} else {
		l.first = x
	}
	l.last = x
	l.n++
}

// remove takes a destination out, if it is in the list.
func (l *idleList) remove(x *destination) {
	if !x.idle {
		return
	}
	if x.before != nil {
		x.before.after = x.after
	} else {
		l.first = x.after
	}
	if x.after != nil {
		x.after.before = x.before
	} else {
		l.last = x.before
	}
	x.before, x.after, x.idle = nil, nil, false
	l.n--
}
