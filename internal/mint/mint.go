// Package mint makes certificates while clients wait: leaves of an interception CA for destinations whose
// TLS a forward proxy looks into, mimicking what the destination showed.
//
// It holds the CA's key pair, the keys of leaves (one per type, changed from time to time, so that a leaf
// costs one signature), and made leaves: in memory, the least recently used going first, and on disk,
// both bounded in bytes. It refuses to know connections, rules and whether a destination deserves a good
// certificate: the caller says by which authority it shall be signed. Begin reading at Authority and Want;
// DESIGN.md tells the life of a leaf.
package mint

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Key types of leaves.
const (
	KeyECDSA = "ecdsa" // P-256
	KeyRSA   = "rsa"   // 2048 bits
	KeyMimic = "mimic" // as the destination's: RSA 2048, P-256 or P-384
)

// Options are the settings of an Authority. Zero values mean the defaults named here.
type Options struct {
	KeyType     string        // default KeyECDSA
	Validity    time.Duration // of leaves; default 24 h
	MemoryBytes int64         // of leaves in memory; default 32 MiB
	DiskPath    string        // folder of kept leaves; "": none
	DiskBytes   int64         // default 64 MiB

	Skew    time.Duration // how far clients' clocks may be behind; default 1 h
	KeyLife time.Duration // after which a new key for leaves is made; default 24 h

	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default discards
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Validity, 24*time.Hour)
	set(&o.Skew, time.Hour)
	set(&o.KeyLife, 24*time.Hour)
	if o.KeyType == "" {
		o.KeyType = KeyECDSA
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 32 << 20
	}
	if o.DiskBytes == 0 {
		o.DiskBytes = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Error is why no leaf was made. Detail is a sentence for logs and pages.
type Error struct {
	Code   diag.Code // MintNameNotPermitted, MintCAUnusable, MintCAExpired or MintFailed
	Detail string
	Err    error // may be nil
}

// Error returns the sentence with its cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Authority makes leaves. It is safe for concurrent use.
type Authority struct {
	// Fixed after construction.
	opts   Options
	pair   *secret.KeyPair
	issuer issuer
	limits limits
	fault  *Error // the CA can never sign
	cache  *cache
	disk   *disk // nil: none
	keys   *keyrings

	distrusted func() (issuer, error) // the authority that nobody trusts, made when it is first needed

	stats counters
	warn  sync.Once // of an authority near its end
}

// counters count since the start.
type counters struct {
	minted, hits, diskHits, refused atomic.Uint64
}

// New returns the Authority of a CA. If the pair is nil or cannot sign, Fault says why and Leaf makes only
// what others sign (Untrusted, Self). Close it when nobody asks any more.
func New(pair *secret.KeyPair, opts Options) *Authority {
	a := &Authority{opts: opts.withDefaults(), pair: pair}
	if a.fault = unusable(pair); a.fault == nil {
		a.issuer = issuer{cert: pair.Leaf, key: pair.Signer(), chain: served(pair)}
		a.limits = newLimits(pair)
	}
	a.cache = newCache(a.opts.MemoryBytes)
	a.keys = newKeyrings(a.opts.KeyLife, a.opts.Now)
	a.distrusted = sync.OnceValues(a.newDistrusted)
	if a.opts.DiskPath != "" {
		a.disk = openDisk(a.opts, pair)
		a.keys.disk = a.disk
	}
	return a
}

// Close ends what writes to the disk. Leaf may still be called.
func (a *Authority) Close() {
	if a.disk != nil {
		a.disk.close()
	}
}

// CA returns the CA's certificate; nil if there is none.
func (a *Authority) CA() *x509.Certificate {
	if a.pair == nil {
		return nil
	}
	return a.pair.Leaf
}

// Permits reports whether name constraints let the CA sign for a host: a name in lower case, or an address.
func (a *Authority) Permits(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return a.limits.permits(nil, []netip.Addr{ip}) == nil
	}
	return a.limits.permits([]string{host}, nil) == nil
}

// Fault returns why the CA signs nothing now; nil if it does. It says MintCAUnusable or MintCAExpired.
func (a *Authority) Fault() *Error {
	if a.fault != nil {
		return a.fault
	}
	ca, now := a.pair.Leaf, a.opts.Now()
	switch {
	case now.After(ca.NotAfter):
		return &Error{Code: diag.MintCAExpired, Detail: fmt.Sprintf("the interception CA %s expired at %s", secret.Subject(ca), ca.NotAfter.UTC().Format(time.RFC3339))}
	case now.Before(ca.NotBefore):
		return &Error{Code: diag.MintCAExpired, Detail: fmt.Sprintf("the interception CA %s is valid only from %s", secret.Subject(ca), ca.NotBefore.UTC().Format(time.RFC3339))}
	}
	return nil
}

// unusable says why a pair can never sign leaves for servers.
func unusable(pair *secret.KeyPair) *Error {
	fail := func(format string, args ...any) *Error {
		return &Error{Code: diag.MintCAUnusable, Detail: fmt.Sprintf(format, args...)}
	}
	if pair == nil {
		return fail("there is no interception CA")
	}
	ca := pair.Leaf
	name := secret.Subject(ca)
	switch {
	case !ca.BasicConstraintsValid || !ca.IsCA:
		return fail("the certificate %s is no CA (basic constraints)", name)
	case ca.KeyUsage != 0 && ca.KeyUsage&x509.KeyUsageCertSign == 0:
		return fail("the CA %s lacks the key usage keyCertSign", name)
	case len(ca.ExtKeyUsage)+len(ca.UnknownExtKeyUsage) > 0 && !forServers(ca.ExtKeyUsage):
		return fail("the CA %s is limited to purposes without server authentication (extended key usage)", name)
	}
	return nil
}

func forServers(usages []x509.ExtKeyUsage) bool {
	for _, u := range usages {
		if u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// served returns what goes with a leaf: the CA and what is above it, without roots, which clients have.
func served(pair *secret.KeyPair) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range append([]*x509.Certificate{pair.Leaf}, pair.Issuers...) {
		if string(c.RawSubject) != string(c.RawIssuer) {
			out = append(out, c)
		}
	}
	return out
}

// Stats are numbers of an Authority since its start, and what it holds now.
type Stats struct {
	Minted, Hits, DiskHits, Refused uint64
	Leaves                          int   // in memory
	Bytes                           int64 // estimated
	DiskLeaves                      int
	DiskBytes                       int64
	DiskFailing                     bool // the last write failed
	DiskBroken, DiskDropped         uint64
	Expires                         time.Time // of the CA; zero without one
}

// Stats returns the numbers.
func (a *Authority) Stats() Stats {
	s := Stats{Minted: a.stats.minted.Load(), Hits: a.stats.hits.Load(), DiskHits: a.stats.diskHits.Load(), Refused: a.stats.refused.Load()}
	s.Leaves, s.Bytes = a.cache.size()
	if a.disk != nil {
		a.disk.addStats(&s)
	}
	if a.pair != nil {
		s.Expires = a.pair.Leaf.NotAfter
	}
	return s
}
