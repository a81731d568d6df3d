package upstream

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// A cookie of affinity is a list of sessions, one for each pool behind a host, separated by dots. A session
// names pool and origin and when it was made, sealed under a key of this process, so that clients can neither
// choose an origin nor learn which one they have, nor that two of them share one.
const (
	sessionPlain = 24                               // bytes: tag of the pool, tag of the origin, Unix seconds
	sessionText  = ((12+sessionPlain+16)*8 + 5) / 6 // in base64, without padding
	maxSessions  = 4                                // in one cookie
	maxCookie    = maxSessions*(sessionText+1) - 1  // bytes that are looked at
)

// sealer seals sessions. Its key lives as long as the process.
type sealer struct{ aead cipher.AEAD }

func newSealer() *sealer {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has a length that AES knows
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return &sealer{aead}
}

// seal returns a session as text.
func (s *sealer) seal(pool, origin uint64, at time.Time) string {
	var plain [sessionPlain]byte
	binary.BigEndian.PutUint64(plain[0:], pool)
	binary.BigEndian.PutUint64(plain[8:], origin)
	binary.BigEndian.PutUint64(plain[16:], uint64(at.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain[:], nil))
}

// open reads what seal made. What a client made up is none.
func (s *sealer) open(value []byte) (pool, origin uint64, at time.Time, ok bool) {
	if len(value) != sessionText {
		return 0, 0, time.Time{}, false
	}
	var buf, plain [64]byte
	n, err := base64.RawURLEncoding.Decode(buf[:], value)
	if err != nil {
		return 0, 0, time.Time{}, false
	}
	out, err := s.aead.Open(plain[:0], nil, buf[:n], nil)
	if err != nil || len(out) != sessionPlain {
		return 0, 0, time.Time{}, false
	}
	return binary.BigEndian.Uint64(out), binary.BigEndian.Uint64(out[8:]), time.Unix(int64(binary.BigEndian.Uint64(out[16:])), 0), true
}

// AffinityCookie returns the name of the cookie that the pool keeps clients by, "" for none.
func (u *Upstream) AffinityCookie() string {
	if u.origins == nil {
		return ""
	}
	if a := u.origins.settings.Load().Affinity; a != nil && !a.ByAddress {
		return a.Cookie
	}
	return ""
}

// sessions calls f for each session of a cookie that was made here.
func (u *Upstream) sessions(cookie []byte, f func(text []byte, pool, origin uint64, at time.Time)) {
	for n, rest := 0, cookie; n < maxSessions && len(rest) > 0; n++ {
		var text []byte
		text, rest, _ = bytes.Cut(rest, []byte("."))
		if pool, origin, at, ok := u.registry.sealer.open(text); ok {
			f(text, pool, origin, at)
		}
	}
}

// recall finds the session with this pool in the cookie of a request.
func (u *Upstream) recall(c *Choice, a *ir.Affinity, now int64) {
	if c.pool == u.origins.tag {
		return
	}
	c.pool, c.named, c.known = u.origins.tag, 0, false
	u.sessions(c.Cookie, func(_ []byte, pool, origin uint64, at time.Time) {
		if pool == c.pool && (a.TTL <= 0 || now < at.Add(a.TTL).UnixNano()) {
			c.named, c.known = origin, true
		}
	})
}

// sticky returns the endpoint of the client's session. Without one, or where another origin may take it over,
// it returns nil; final says that there is none for the request.
func (u *Upstream) sticky(l *lineup, q *Query, c *Choice, a *ir.Affinity, now int64, not *Endpoint) (e *Endpoint, final bool) {
	u.recall(c, a, now)
	c.kept = false
	if !c.known {
		return nil, false
	}
	var m *member
	for i := range l.members {
		if l.members[i].origin.tag == c.named {
			m = &l.members[i]
			break
		}
	}
	switch {
	case m == nil || len(m.endpoints) == 0 && !m.pending,
		m.server.Disabled && !m.origin.draining(now):
		return nil, false
	}
	c.kept = a.Failover == "temporary"
	healthy := m.origin.healthy(now)
	switch {
	case a.Failover == "none" && !healthy:
		code, detail := m.origin.why(now)
		q.refused = &Error{Code: diag.AffinityOriginGone, Detail: fmt.Sprintf("the client's origin %s of pool %s is not healthy: %s %s", m.server.Name, u.origins.name, code, detail)}
		return nil, true
	case a.Failover == "none":
		if e = m.endpoint(now, not); e == nil {
			e = m.endpoint(now, nil) // there is no other for this client
		}
		return e, e != nil
	case not != nil && not.origin == m.origin:
	case healthy && m.rank(now, nil) != rankCooling, !healthy && l.healthy(now) == 0:
		return m.endpoint(now, not), false
	}
	return nil, false
}

// SetCookie returns the value of the Set-Cookie field by which an answer keeps the client at the origin that it
// comes from, "" where none is needed: it has such a cookie, or the session stays with another origin.
func (c *Conn) SetCookie(choice *Choice) string {
	o, u := c.Endpoint.origin, c.up
	if o == nil || u.origins == nil {
		return ""
	}
	a := u.origins.settings.Load().Affinity
	if a == nil || a.ByAddress || a.Cookie == "" || choice.kept || choice.known && choice.pool == u.origins.tag && choice.named == o.tag {
		return ""
	}
	now := time.Now()
	s := a.Cookie + "=" + u.registry.sealer.seal(u.origins.tag, o.tag, now)
	others := 1
	u.sessions(choice.Cookie, func(text []byte, pool, _ uint64, at time.Time) {
		if pool != u.origins.tag && others < maxSessions && (a.TTL <= 0 || now.Before(at.Add(a.TTL))) {
			s += "." + string(text)
			others++
		}
	})
	s += "; Path=/; HttpOnly"
	if a.TTL > 0 {
		s += "; Max-Age=" + strconv.FormatInt(int64(a.TTL/time.Second), 10)
	}
	secure := choice.Secure
	switch a.Secure {
	case "Always":
		secure = true
	case "Never":
		secure = false
	}
	site := a.SameSite
	if site == "" || site == "Auto" {
		if site = ""; choice.Secure {
			site = "Lax"
		}
	}
	if secure {
		s += "; Secure"
	}
	if site != "" {
		s += "; SameSite=" + site
	}
	return s
}
