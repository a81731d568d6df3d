package ca

import (
	"context"
	"crypto"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// maxCached bounds the answers that are kept; one takes about 1.2 KB.
const maxCached = 16384

// responder answers OCSP requests about one authority's certificates. Each of its CAs has appointed a key
// of its own for that (RFC 6960 section 4.2.2.2), which lives two weeks at most.
type responder struct {
	authority *Authority
	tries     tries

	mu sync.Mutex
	// guarded by mu
	issuers   map[string]string // issuerKey → CA's ID
	seen      int               // CAs that are in issuers
	delegates map[string]*delegate
	cache     map[string]cached // DER of a CertID → answer
}

// delegate is a key that signs answers for a CA. It is fixed after construction.
type delegate struct {
	cert    *x509.Certificate
	keyHash []byte
	signer  func() crypto.Signer
}

type cached struct {
	der        []byte
	this, next time.Time
	revoked    int64
	reason     int8
	delegate   *delegate
}

func newResponder(a *Authority) *responder {
	return &responder{authority: a, issuers: map[string]string{}, delegates: map[string]*delegate{}, cache: map[string]cached{}}
}

// ca returns the CA that a request speaks of, or "".
func (r *responder) ca(key string) (string, error) {
	a := r.authority
	if err := a.refresh(); err != nil {
		return "", err
	}
	a.mu.RLock()
	all := make([]*caCert, len(a.idx.order))
	for i, id := range a.idx.order {
		all[i] = a.idx.cas[id]
	}
	a.mu.RUnlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	// CAs are only ever added.
	for _, c := range all[min(r.seen, len(all)):] {
		r.seen++
		if c.role == roleCross {
			continue // the same name and key as its root
		}
		keys, err := issuerKeys(c.cert)
		if err != nil {
			return "", err
		}
		for _, k := range keys {
			r.issuers[k] = c.id
		}
	}
	return r.issuers[key], nil
}

// answered is an answer with the times that caches need.
type answered struct {
	der        []byte
	this, next time.Time
	revoked    bool
}

// answer answers about certificates of one CA. Without a nonce, what was signed for the same certificate
// is given again for half of its life.
func (r *responder) answer(ctx context.Context, id string, q *ocspRequest) (answered, error) {
	d, err := r.delegate(ctx, id)
	if err != nil {
		return answered{}, err
	}
	a := r.authority
	now := a.now().UTC().Truncate(time.Second)
	out := answer{nonce: q.nonce, this: now, next: now.Add(a.config.OCSPLifetime), signer: d.signer(), delegate: d.cert, keyHash: d.keyHash}
	if out.next.After(d.cert.NotAfter) {
		out.next = d.cert.NotAfter
	}
	one := cached{delegate: d, this: out.this, next: out.next}
	a.mu.RLock()
	for _, c := range q.certs {
		s := standing{cert: c}
		if rec := a.idx.bySerialNumber(c.serial); rec != nil && rec.issuer.id == id {
			s.known = true
			if rec.revoked != 0 {
				s.revoked, s.reason = stamp(rec.revoked), int(rec.reason)
			}
			one.revoked, one.reason = rec.revoked, rec.reason
		}
		out.certs = append(out.certs, s)
	}
	a.mu.RUnlock()
	simple := len(q.certs) == 1 && q.nonce == nil && out.certs[0].known
	if simple {
		if c, ok := r.kept(string(q.certs[0].raw), one, now); ok {
			return answered{c.der, c.this, c.next, c.revoked != 0}, nil
		}
	}
	if one.der, err = out.build(); err != nil {
		return answered{}, fmt.Errorf("sign OCSP answer: %w", err)
	}
	if simple {
		r.keep(string(q.certs[0].raw), one)
	}
	return answered{one.der, one.this, one.next, one.revoked != 0}, nil
}

// kept returns an answer of the cache if it still says what is so.
func (r *responder) kept(key string, want cached, now time.Time) (cached, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.cache[key]
	if !ok || c.delegate != want.delegate || c.revoked != want.revoked || c.reason != want.reason || now.Before(c.this) || now.After(c.this.Add(c.next.Sub(c.this)/2)) {
		return c, false
	}
	return c, true
}

func (r *responder) keep(key string, c cached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cache) >= maxCached {
		for k := range r.cache { // any one: the order of a map is random
			delete(r.cache, k)
			break
		}
	}
	r.cache[key] = c
}

// delegate returns the key that answers for a CA, and appoints a new one when half of its life is over.
func (r *responder) delegate(ctx context.Context, id string) (*delegate, error) {
	r.mu.Lock()
	d := r.delegates[id]
	r.mu.Unlock()
	now := r.authority.now()
	if d != nil && !d.old(now) {
		return d, nil
	}
	err := r.tries.do(ctx, "answers of "+id, r.authority.now, func(ctx context.Context) error {
		fresh, err := r.authority.appoint(ctx, id)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.delegates[id] = fresh
		r.mu.Unlock()
		if fresh.old(r.authority.now()) {
			return errNotRenewed
		}
		return nil
	})
	r.mu.Lock()
	d = r.delegates[id]
	r.mu.Unlock()
	if d != nil && now.Before(d.cert.NotAfter) {
		return d, nil
	}
	return nil, err
}

// errNotRenewed says that there is a delegate, which cannot be renewed although that is due.
var errNotRenewed = errors.New("the responder's certificate could not be renewed")

// old reports whether half of a delegate's life is over.
func (d *delegate) old(now time.Time) bool {
	return !now.Before(d.cert.NotBefore.Add(d.cert.NotAfter.Sub(d.cert.NotBefore) / 2))
}

// list is Authority.CRL for anybody who asks: a list that cannot be made is not tried again soon.
func (r *responder) list(ctx context.Context, id string) (*List, error) {
	a := r.authority
	if err := a.refresh(); err != nil {
		return nil, err
	}
	a.mu.RLock()
	id, err := a.listOf(id)
	var l *List
	if err == nil {
		l = a.fresh(id)
	}
	a.mu.RUnlock()
	if l != nil || err != nil {
		return l, err
	}
	if err := r.tries.do(ctx, "list of "+id, a.now, func(ctx context.Context) error {
		_, err := a.CRL(ctx, id)
		return err
	}); err != nil {
		return nil, err
	}
	return a.LastCRL(id)
}

// appoint returns the delegate of a CA from the store, or makes one.
func (a *Authority) appoint(ctx context.Context, id string) (*delegate, error) {
	var out *delegate
	err := a.change(ctx, func() error {
		d, err := a.appointed(id)
		if err != nil {
			return err
		}
		if d != nil {
			out = d
			return nil
		}
		parent := a.idx.cas[id]
		p, err := newPlan(Request{Profile: OCSP})
		if err != nil {
			return err
		}
		p.subject = pkix.Name{CommonName: fmt.Sprintf("OCSP responder of %s %s", a.name, id)}
		if p.rawSubject, err = asn1.Marshal(p.subject.ToRDNSequence()); err != nil {
			return fmt.Errorf("encode subject: %w", err)
		}
		key, err := a.makeKey("ocsp-"+id, ECDSAP256)
		if err != nil {
			return err
		}
		p.public = key.Public()
		issued, err := a.sign(p, parent)
		if err != nil {
			return err
		}
		if err := a.store.Put(a.name, "ocsp-"+id+suffixCert, issued.CertificatePEM()); err != nil {
			return err
		}
		out, err = newDelegate(issued.Certificate, key)
		return err
	})
	return out, err
}

// appointed returns the delegate in the store if it will do, or nil. The caller holds mu.
func (a *Authority) appointed(id string) (*delegate, error) {
	name := "ocsp-" + id
	text, err := a.store.Get(a.name, name+suffixCert)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil // made anew
	}
	rec, now := a.idx.bySerialNumber(c.SerialNumber), a.now()
	if rec == nil || rec.revoked != 0 || rec.issuer.id != id || now.Before(c.NotBefore) {
		return nil, nil
	}
	half := now.After(c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2))
	if _, err := a.signer(id); half && (err == nil || now.After(c.NotAfter)) {
		return nil, nil
	}
	sealed, err := a.store.Get(a.name, name+suffixKey)
	if err != nil {
		return nil, nil
	}
	key, err := openKey(sealed, a.options.Passphrase, name+suffixKey)
	if err != nil || !samePublic(key.Public(), c.PublicKey) {
		return nil, nil
	}
	return newDelegate(c, key)
}

func newDelegate(c *x509.Certificate, key crypto.Signer) (*delegate, error) {
	bits, err := keyBits(c.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, failWith(err, diag.AuthorityKey, "Remove the ocsp- files; they are made again.", "the responder's certificate cannot be used")
	}
	sum := sha1.Sum(bits) // RFC 6960 section 4.2.1 asks for it; it only names the key
	return &delegate{cert: c, keyHash: sum[:], signer: func() crypto.Signer { return key }}, nil
}
