package revocation

import (
	"net/url"
	"slices"
	"strings"
)

// turns is what waits to be fetched. Hosts take turns, and none has more than a share of the workers in
// progress: a responder that is slow, or down, keeps nobody from asking another. Its methods are called
// with Service.mu held.
type turns struct {
	share int // of one host, in progress
	most  int // that wait, in all

	waiting int
	lines   []*line        // that are not empty; the first has its turn next
	busy    map[string]int // by host: in progress
}

// line is what waits for one host, in order.
type line struct {
	host    string
	entries []*entry
}

// newTurns shares workers among hosts: less than half of them for one.
func newTurns(workers int) turns {
	return turns{share: min(max((workers-1)/2, 1), maxPerHost), most: maxWaiting, busy: map[string]int{}}
}

// push has an entry wait, or returns false if too many do: in all, or for its host, for which no more than
// a quarter of all may.
func (t *turns) push(e *entry) bool {
	if t.waiting >= t.most {
		return false
	}
	if e.hosts == nil {
		e.hosts = hosts(e.urls)
	}
	host := e.hosts[0]
	i := slices.IndexFunc(t.lines, func(l *line) bool { return l.host == host })
	if i < 0 {
		i = len(t.lines)
		t.lines = append(t.lines, &line{host: host})
	}
	l := t.lines[i]
	if len(l.entries) >= t.most/4 {
		return false
	}
	l.entries = append(l.entries, e)
	t.waiting++
	return true
}

// pop returns the entry whose turn it is, nil if none may be fetched now. A question with several
// addresses needs room at all of them: the later ones are asked when the first fail.
func (t *turns) pop() *entry {
	for i, l := range t.lines {
		e := l.entries[0]
		if slices.ContainsFunc(e.hosts, func(h string) bool { return t.busy[h] >= t.share }) {
			continue
		}
		for _, h := range e.hosts {
			t.busy[h]++
		}
		t.waiting--
		l.entries[0] = nil
		l.entries = l.entries[1:]
		t.lines = slices.Delete(t.lines, i, i+1)
		if len(l.entries) > 0 {
			t.lines = append(t.lines, l)
		}
		return e
	}
	return nil
}

// done gives back what pop took.
func (t *turns) done(e *entry) {
	for _, h := range e.hosts {
		if t.busy[h]--; t.busy[h] <= 0 {
			delete(t.busy, h)
		}
	}
}

// hosts returns the hosts of usable addresses, each once.
func hosts(urls []string) []string {
	out := make([]string, 0, len(urls))
	for _, s := range urls {
		host := s
		if u, err := url.Parse(s); err == nil {
			host = strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		}
		if !slices.Contains(out, host) {
			out = append(out, host)
		}
	}
	return out
}
