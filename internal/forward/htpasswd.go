package forward

import (
	"crypto/md5"  //nolint:gosec // the format's own
	"crypto/sha1" //nolint:gosec // the format's own
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// HashProblem returns why a hash of an htpasswd entry can never match, "" if it can: it is of no scheme that is
// known here, or costs too much to verify.
func HashProblem(stored []byte) string {
	s := string(stored)
	switch {
	case strings.HasPrefix(s, "$2"):
		cost, err := bcrypt.Cost(stored)
		if err != nil {
			return "the bcrypt hash is malformed"
		}
		if cost > maxBcrypt {
			return fmt.Sprintf("the bcrypt hash has cost %d; at most %d is verified", cost, maxBcrypt)
		}
	case strings.HasPrefix(s, "$5$"), strings.HasPrefix(s, "$6$"):
		_, rounds, _, ok := shaParts(s)
		if !ok {
			return "the SHA-crypt hash is malformed"
		}
		if rounds > maxRounds {
			return fmt.Sprintf("the SHA-crypt hash has %d rounds; at most %d are verified", rounds, maxRounds)
		}
	case strings.HasPrefix(s, "$apr1$"), strings.HasPrefix(s, "$1$"):
		if len(strings.Split(s, "$")) != 4 {
			return "the MD5 hash is malformed"
		}
	case strings.HasPrefix(s, "{SHA}"):
		if raw, err := base64.StdEncoding.DecodeString(s[5:]); err != nil || len(raw) != sha1.Size {
			return "the {SHA} hash is malformed"
		}
	default:
		return "the hash is neither bcrypt ($2y$), SHA-crypt ($5$, $6$), apr1 nor {SHA}"
	}
	return ""
}

// Bounds of what one verification may cost: about a second.
const (
	maxBcrypt = 14
	maxRounds = 1000000
)

// matches reports whether a password has the hash. It takes as long as the hash wants.
func matches(stored, password []byte) bool {
	s := string(stored)
	if HashProblem(stored) != "" {
		return false
	}
	var made string
	switch {
	case strings.HasPrefix(s, "$2"):
		return bcrypt.CompareHashAndPassword(stored, password) == nil
	case strings.HasPrefix(s, "$5$"), strings.HasPrefix(s, "$6$"):
		made = shaCrypt(s, password)
	case strings.HasPrefix(s, "$apr1$"):
		made = md5Crypt("$apr1$", strings.Split(s, "$")[2], password)
	case strings.HasPrefix(s, "$1$"):
		made = md5Crypt("$1$", strings.Split(s, "$")[2], password)
	case strings.HasPrefix(s, "{SHA}"):
		sum := sha1.Sum(password) //nolint:gosec // the format's own
		made = "{SHA}" + base64.StdEncoding.EncodeToString(sum[:])
	}
	return subtle.ConstantTimeCompare([]byte(made), stored) == 1
}

// crypt64 is the alphabet of crypt(3).
const crypt64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// append64 appends the low n*6 bits of three bytes.
func append64(dst []byte, a, b, c byte, n int) []byte {
	v := uint(a)<<16 | uint(b)<<8 | uint(c)
	for range n {
		dst = append(dst, crypt64[v&63])
		v >>= 6
	}
	return dst
}

// md5Crypt is the MD5 scheme of FreeBSD ($1$) and Apache ($apr1$).
func md5Crypt(magic, salt string, password []byte) string {
	salt = salt[:min(len(salt), 8)]
	inner := md5.New() //nolint:gosec // the format's own
	inner.Write(password)
	inner.Write([]byte(salt))
	inner.Write(password)
	alt := inner.Sum(nil)
	h := md5.New() //nolint:gosec // the format's own
	h.Write(password)
	h.Write([]byte(magic + salt))
	for n := len(password); n > 0; n -= 16 {
		h.Write(alt[:min(n, 16)])
	}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			h.Write([]byte{0})
		} else {
			h.Write(password[:1])
		}
	}
	sum := h.Sum(nil)
	for i := range 1000 {
		h.Reset()
		if i&1 == 1 {
			h.Write(password)
		} else {
			h.Write(sum)
		}
		if i%3 != 0 {
			h.Write([]byte(salt))
		}
		if i%7 != 0 {
			h.Write(password)
		}
		if i&1 == 1 {
			h.Write(sum)
		} else {
			h.Write(password)
		}
		sum = h.Sum(sum[:0])
	}
	out := []byte(magic + salt + "$")
	for i := range 4 {
		out = append64(out, sum[i], sum[i+6], sum[i+12], 4)
	}
	out = append64(out, sum[4], sum[10], sum[5], 4)
	out = append64(out, 0, 0, sum[11], 2)
	return string(out)
}

// shaParts takes "$6$rounds=N$salt$hash" apart.
func shaParts(s string) (prefix string, rounds int, salt string, ok bool) {
	prefix, rest := s[:3], s[3:]
	rounds = 5000
	if n, after, found := strings.Cut(strings.TrimPrefix(rest, "rounds="), "$"); found && strings.HasPrefix(rest, "rounds=") {
		v, err := strconv.Atoi(n)
		if err != nil {
			return "", 0, "", false
		}
		prefix += "rounds=" + n + "$"
		rounds, rest = min(max(v, 1000), 999999999), after
	}
	salt, sum, found := strings.Cut(rest, "$")
	if !found || sum == "" {
		return "", 0, "", false
	}
	return prefix, rounds, salt[:min(len(salt), 16)], true
}

// shaCrypt is Drepper's scheme with SHA-256 ($5$) or SHA-512 ($6$).
func shaCrypt(stored string, password []byte) string {
	prefix, rounds, salt, ok := shaParts(stored)
	if !ok {
		return ""
	}
	newHash := sha512.New
	if stored[1] == '5' {
		newHash = sha256.New
	}
	b := newHash()
	b.Write(password)
	b.Write([]byte(salt))
	b.Write(password)
	sumB := b.Sum(nil)
	a := newHash()
	a.Write(password)
	a.Write([]byte(salt))
	repeat(a, sumB, len(password))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			a.Write(sumB)
		} else {
			a.Write(password)
		}
	}
	sum := a.Sum(nil)
	dp := newHash()
	for range len(password) {
		dp.Write(password)
	}
	p := stretch(dp.Sum(nil), len(password))
	ds := newHash()
	for range 16 + int(sum[0]) {
		ds.Write([]byte(salt))
	}
	s := stretch(ds.Sum(nil), len(salt))
	c := newHash()
	for i := range rounds {
		c.Reset()
		if i&1 == 1 {
			c.Write(p)
		} else {
			c.Write(sum)
		}
		if i%3 != 0 {
			c.Write(s)
		}
		if i%7 != 0 {
			c.Write(p)
		}
		if i&1 == 1 {
			c.Write(sum)
		} else {
			c.Write(p)
		}
		sum = c.Sum(sum[:0])
	}
	return prefix + salt + "$" + string(shaOrder(sum))
}

// repeat writes n bytes of block, over and over.
func repeat(h hash.Hash, block []byte, n int) {
	for ; n > len(block); n -= len(block) {
		h.Write(block)
	}
	h.Write(block[:n])
}

// stretch returns n bytes of block, over and over.
func stretch(block []byte, n int) []byte {
	out := make([]byte, 0, n)
	for len(out) < n {
		out = append(out, block[:min(len(block), n-len(out))]...)
	}
	return out
}

// shaOrder writes a sum in the order that the scheme has.
func shaOrder(sum []byte) []byte {
	var out []byte
	third := len(sum) / 3 // 10 of SHA-256, 21 of SHA-512
	if len(sum) == sha256.Size {
		i, j, k := 0, third, 2*third
		for range third {
			out = append64(out, sum[i], sum[j], sum[k], 4)
			i, j, k = k+1, i+1, j+1
		}
		return append64(out, 0, sum[31], sum[30], 3)
	}
	i, j, k := 0, third, 2*third
	for range third {
		out = append64(out, sum[i], sum[j], sum[k], 4)
		i, j, k = j+1, k+1, i+1
	}
	return append64(out, 0, 0, sum[63], 2)
}
