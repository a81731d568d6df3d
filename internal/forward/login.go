package forward

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Bounds of what is remembered of logins, and of guessing: an address that has sent maxWrong wrong passwords
// within wrongFor is not listened to until that is over.
const (
	maxLogins  = 8192
	maxWrong   = 20
	wrongFor   = time.Minute
	maxGuesser = 8192
	verifyWait = 10 * time.Second

	maxPassword = 256 // bytes: what SHA-crypt costs grows with the password
)

// logins remembers verified passwords, as keyed hashes, and who guesses.
type logins struct {
	now func() time.Time
	key [32]byte      // of the hashes; of this process alone
	run chan struct{} // holds one per verification at work: at most one per two cores

	mu    sync.Mutex // guards what follows
	good  map[[32]byte]time.Time
	wrong map[netip.Addr]*guesses
}

type guesses struct {
	n     int
	until time.Time
}

func (l *logins) init(now func() time.Time) {
	l.now, l.good, l.wrong = now, map[[32]byte]time.Time{}, map[netip.Addr]*guesses{}
	_, _ = rand.Read(l.key[:]) // never fails
	l.run = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
}

// verify says whether credentials of the scheme Basic are good: the user's name, or why not. It waits for the
// hash to be computed where it has not been lately, off the path of others and no more than verifyWait for its turn.
func (l *logins) verify(field string, p *ir.Passwords, ttl time.Duration, client netip.Addr) (user string, code diag.Code, detail string) {
	user, password, ok := basic(field)
	if !ok {
		return "", diag.ForwardAuthFailed, "the credentials are not of the scheme Basic"
	}
	if ttl == 0 {
		ttl = 2 * time.Hour
	}
	stored, known := p.Users[user]
	id := l.id(p.Digest, user, password)
	now := l.now()
	l.mu.Lock()
	until, verified := l.good[id]
	l.mu.Unlock()
	if verified && now.Before(until) {
		return user, 0, ""
	}
	if l.limited(client, now) {
		return "", diag.ForwardAuthLimited, limitedDetail
	}
	turn := time.NewTimer(verifyWait)
	defer turn.Stop()
	select {
	case l.run <- struct{}{}:
	case <-turn.C:
		return "", diag.ForwardAuthLimited, "too many passwords are being verified"
	}
	if l.limited(client, now) { // others of the address were wrong while this one waited
		<-l.run
		return "", diag.ForwardAuthLimited, limitedDetail
	}
	good := false
	if known {
		good = matches(stored.Expose(), []byte(password))
	} else {
		l.waste(p, password)
	}
	<-l.run
	l.mu.Lock()
	defer l.mu.Unlock()
	if good {
		if len(l.good) >= maxLogins {
			l.forget(now)
		}
		l.good[id] = now.Add(ttl)
		return user, 0, ""
	}
	g := l.wrong[client]
	if g == nil || now.After(g.until) {
		if len(l.wrong) >= maxGuesser {
			for a, old := range l.wrong {
				if delete(l.wrong, a); now.After(old.until) || len(l.wrong) < maxGuesser {
					break
				}
			}
		}
		g = &guesses{until: now.Add(wrongFor)}
		l.wrong[client] = g
	}
	g.n++
	return "", diag.ForwardAuthFailed, "user name or password is wrong"
}

// limitedDetail is why a guesser is not listened to.
const limitedDetail = "the address has sent many wrong passwords within a minute"

// limited reports whether an address guesses.
func (l *logins) limited(client netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.wrong[client]
	return g != nil && g.n >= maxWrong && now.Before(g.until)
}

// waste takes as long for an unknown user as for a known one.
func (l *logins) waste(p *ir.Passwords, password string) {
	for _, stored := range p.Users {
		_ = matches(stored.Expose(), []byte(password))
		return
	}
}

// forget makes room.
func (l *logins) forget(now time.Time) {
	want := len(l.good)/8 + 1
	for pass := range 2 {
		for k, until := range l.good {
			if pass == 1 || now.After(until) {
				delete(l.good, k)
				if want--; want <= 0 {
					return
				}
			}
		}
	}
}

// id is what a verified login is remembered by. It depends on the whole entry: a changed file forgets all.
func (l *logins) id(digest, user, password string) (out [32]byte) {
	h := hmac.New(sha256.New, l.key[:])
	h.Write([]byte(digest + "\x00" + user + "\x00" + password))
	h.Sum(out[:0])
	return out
}

// basic reads credentials of the scheme Basic (RFC 7617).
func basic(field string) (user, password string, ok bool) {
	scheme, token, found := strings.Cut(strings.TrimSpace(field), " ")
	if !found || !strings.EqualFold(scheme, "Basic") || len(token) > 4096 {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token))
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(raw), ":")
	return user, password, ok && user != "" && len(password) <= maxPassword
}
