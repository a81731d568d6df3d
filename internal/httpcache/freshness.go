package httpcache

import (
	"bytes"
	"time"

	"github.com/hakone-gateway/hakone/internal/message"
)

// Heuristic freshness without a rule of the configuration (RFC 9111 section 4.2.2).
const (
	heuristicPercent = 10
	heuristicMax     = 24 * 3600 // seconds
)

// maxStale bounds the use of stale answers while an origin fails, where neither side bounds it, in seconds.
const maxStale = 7 * 24 * 3600

// facts is what an answer's head says to a cache.
type facts struct {
	control    responseControl
	targeted   bool // control came from a field for us alone
	expires    []byte
	hasExpires bool
	date       int64 // Unix seconds
	lastMod    int64 // Unix seconds; 0: none
	etag       []byte
	vary       []byte // names in lower case, separated by commas
	varyNames  int
	varyAll    bool // it varies by more than requests tell, or by more than is compared
	age        int64
	badAge     bool
	cookie     bool
	location   []byte // Content-Location
}

// read takes the facts from the fields of an answer that came at now.
func (c *Cache) read(f *message.Fields, now time.Time) facts {
	x := facts{control: newResponseControl(), date: now.Unix()}
	var cdn, surrogate []byte
	var ages int
	for i := range f.Len() {
		l := f.At(i)
		switch {
		case l.ID == message.Date:
			if t, ok := parseDate(l.Value); ok {
				x.date = t
			}
		case l.ID == message.SetCookie:
			x.cookie = true
		case l.ID != message.Other:
		case is(l.Name, "cache-control"):
			x.control.add(l.Value)
		case is(l.Name, "expires"):
			if !x.hasExpires {
				x.expires, x.hasExpires = l.Value, true
			}
		case is(l.Name, "etag"):
			x.etag = l.Value
		case is(l.Name, "last-modified"):
			if t, ok := parseDate(l.Value); ok && t > 0 {
				x.lastMod = t
			}
		case is(l.Name, "vary"):
			x.addVary(l.Value)
		case is(l.Name, "age"):
			ages++
			var ok bool
			if x.age, ok = seconds(l.Value); !ok || ages > 1 {
				x.badAge = true
			}
		case is(l.Name, "content-location"):
			x.location = l.Value
		case is(l.Name, "cdn-cache-control"):
			cdn = join(cdn, l.Value)
		case is(l.Name, "surrogate-control"):
			surrogate = join(surrogate, l.Value)
		}
	}
	if c.edge {
		x.targeted = cdn != nil && x.control.targeted(cdn) || surrogate != nil && x.control.surrogate(surrogate, Device)
	}
	return x
}

// Device is our name in Surrogate-Capability and Surrogate-Control.
const Device = "hakone"

func join(a, b []byte) []byte {
	if a == nil {
		return b
	}
	return append(append(append([]byte(nil), a...), ','), b...)
}

// maxVaryNames bounds the fields that an answer may vary by: every look at it compares them all.
const maxVaryNames = 32

func (x *facts) addVary(line []byte) {
	for len(line) > 0 {
		var name []byte
		name, line, _ = bytes.Cut(line, []byte(","))
		if name = bytes.Trim(name, " \t"); len(name) == 0 {
			continue
		}
		if x.varyNames++; string(name) == "*" || x.varyNames > maxVaryNames {
			x.varyAll = true
			return
		}
		if len(x.vary) > 0 {
			x.vary = append(x.vary, ',')
		}
		x.vary = append(x.vary, bytes.ToLower(name)...)
	}
}

// explicit returns the lifetime that the answer names, in seconds; ok is false if it names none.
func (c *Cache) explicit(x *facts) (life int64, ok bool) {
	k := &x.control
	switch {
	case k.sMaxAge >= 0 && !c.private:
		return k.sMaxAge, true
	case k.invalid:
		return 0, true
	case k.maxAge >= 0:
		return k.maxAge, true
	case x.targeted, !x.hasExpires:
		return 0, false
	}
	t, valid := parseDate(x.expires)
	if !valid { // "0" above all: in the past (section 5.3)
		return 0, true
	}
	return t - x.date, true
}

// verdict is what becomes of an answer.
type verdict struct {
	store     bool
	lifetime  int64 // seconds; 0 or less: stale from the beginning
	heuristic bool
}

// judge decides whether an answer to q may be stored, and how long it is fresh (sections 3 and 4.2).
func (c *Cache) judge(q *Query, status int, x *facts) verdict {
	k := &x.control
	r := c.rule(q.Key)
	understood := known(status)
	noStore := k.noStore && !(k.mustUnderstand && understood) && !r.has(ignoreNoStore)
	switch {
	case status < 200, status == 206, status == 304, noStore, k.mustUnderstand && !understood, x.varyAll,
		k.private && !c.private && !r.has(ignorePrivate),
		c.personal(q, x):
		return verdict{}
	}
	life, explicit := c.explicit(x)
	v := verdict{lifetime: life}
	if !explicit {
		if !k.public && !heuristic(status) && !(k.private && c.private) || x.cookie {
			return verdict{}
		}
		if status >= 400 && status != 410 {
			r = nil // a rule says how pages age, not how long an error lasts
		}
		v.lifetime, v.heuristic = c.guess(x, r), true
	} else if r.has(overrideExpire) {
		v.lifetime = max(v.lifetime, r.min)
	}
	if x.badAge { // whoever wrote that may mean any age
		v.lifetime = 0
	}
	useful := v.lifetime > 0 || len(x.etag) > 0 || x.lastMod > 0 || k.staleWhile > 0 || k.staleIfError > 0 || r.has(storeStale)
	v.store = useful && (!q.postish() || explicit && v.lifetime > 0)
	return v
}

// personal reports whether an answer is only for who asked, as far as is known (section 3.5).
func (c *Cache) personal(q *Query, x *facts) bool {
	k := &x.control
	return (q.authorized || q.Identified) && !c.private && !k.public && !k.mustRevalidate && k.sMaxAge < 0
}

func (q *Query) postish() bool { return !q.get() && !q.head() }

// guess returns the heuristic lifetime, as Squid's refresh_pattern does where there is a rule.
func (c *Cache) guess(x *facts, r *rule) int64 {
	delta := x.date - x.lastMod
	if r == nil {
		if x.lastMod == 0 || delta <= 0 {
			return 0
		}
		return min(delta*heuristicPercent/100, heuristicMax)
	}
	if x.lastMod == 0 || delta <= 0 {
		return min(r.min, r.max)
	}
	life := delta * r.percent / 100
	if r.has(overrideLastMod) {
		life = max(life, r.min)
	}
	return min(life, r.max)
}

// heuristic reports whether answers of a status may be stored without being told how long they are fresh (RFC
// 9110 section 15.1).
func heuristic(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// known reports whether a status is one whose demands on caches are understood here.
func known(status int) bool {
	return message.StatusText(status) != "" && status != 206 && status != 304
}

// born returns when an answer would have been made, had it been with us all the time, in Unix milliseconds
// (section 4.2.3).
func born(x *facts, asked, came time.Time) int64 {
	apparent := max(0, came.Unix()-x.date) * 1000
	corrected := x.age*1000 + came.Sub(asked).Milliseconds()
	return came.UnixMilli() - max(apparent, corrected)
}
