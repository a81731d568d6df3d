package ca

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// CRL returns the newest revocation list of a CA ("" is the one that issues), and makes a new one if there
// is none, if half of its life is over, or if something was revoked since.
func (a *Authority) CRL(ctx context.Context, id string) (*List, error) {
	if err := a.refresh(); err != nil {
		return nil, err
	}
	a.mu.RLock()
	id, err := a.listOf(id)
	if err == nil {
		if l := a.fresh(id); l != nil {
			a.mu.RUnlock()
			return l, nil
		}
	}
	a.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	var out *List
	err = a.change(ctx, func() error {
		// Somebody else may have been faster.
		if out = a.fresh(id); out != nil {
			return nil
		}
		var err error
		if out, err = a.publish(id); err != nil {
			return err
		}
		return a.exports()
	})
	return out, err
}

// PublishCRL makes a new list with the next number, due or not.
func (a *Authority) PublishCRL(ctx context.Context, id string) (*List, error) {
	return a.PublishCRLFor(ctx, id, 0)
}

// PublishCRLFor is PublishCRL for a list that lives as long as is said, once: those that follow it live as
// long as the authority's lists do. 0 is that too.
func (a *Authority) PublishCRLFor(ctx context.Context, id string, life time.Duration) (*List, error) {
	if life < 0 || life > 0 && life < minCRLLife || life > maxCRLLife {
		return nil, fail(diag.IssueInvalid, "Give a time from an hour to a year.", "a revocation list cannot live %s", life)
	}
	var out *List
	err := a.change(ctx, func() error {
		id, err := a.listOf(id)
		if err != nil {
			return err
		}
		if out, err = a.publishFor(id, life); err != nil {
			return err
		}
		return a.exports()
	})
	return out, err
}

// LastCRL returns the list as it was published last, whatever its age; nil if there is none.
func (a *Authority) LastCRL(id string) (*List, error) {
	if err := a.refresh(); err != nil {
		return nil, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	id, err := a.listOf(id)
	if err != nil {
		return nil, err
	}
	return a.published(id)
}

// listOf returns the ID of a CA that signs lists. The caller holds mu.
func (a *Authority) listOf(id string) (string, error) {
	if id == "" {
		return a.issuing().id, nil
	}
	c := a.idx.cas[id]
	if c == nil || c.role == roleCross {
		return "", fail(diag.CertNotIssuedHere, "Use the ID of a root or issuer, as hakone ca show lists them.", "authority %q has no CA %q that publishes lists", a.name, id)
	}
	return id, nil
}

// published reads the list as it is in the store, or nil. The caller holds mu.
func (a *Authority) published(id string) (*List, error) {
	st := a.idx.lists[id]
	if l, ok := a.lists.Load(id); ok && st != nil && l.(*List).Number == st.number {
		return l.(*List), nil
	}
	der, err := a.store.Get(a.name, id+suffixList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	number, entries, err := peekList(der)
	if err != nil || st == nil || !number.IsUint64() || number.Uint64() != st.number {
		// The number was taken, and the process ended before the list was there.
		return nil, nil
	}
	l := &List{CA: id, Number: st.number, ThisUpdate: stamp(st.thisUpdate), NextUpdate: stamp(st.nextUpdate), Entries: entries, DER: der}
	a.lists.Store(id, l)
	return l, nil
}

// fresh returns the published list if it need not be made anew. The caller holds mu.
func (a *Authority) fresh(id string) *List {
	st := a.idx.lists[id]
	if st == nil || st.due || a.now().Unix() >= st.thisUpdate+(st.nextUpdate-st.thisUpdate)/2 {
		return nil
	}
	l, err := a.published(id)
	if err != nil {
		return nil
	}
	return l
}

// How long a single list may live.
const (
	minCRLLife = time.Hour
	maxCRLLife = 366 * day
)

func (a *Authority) publish(id string) (*List, error) { return a.publishFor(id, 0) }

// publishFor makes a list: the number goes into the journal first, so that it is never used twice. The caller
// holds mu and the lock.
func (a *Authority) publishFor(id string, life time.Duration) (*List, error) {
	if life == 0 {
		life = a.config.CRLLifetime
	}
	c := a.idx.cas[id]
	key, err := a.signer(id)
	if err != nil {
		return nil, err
	}
	now := a.now().UTC().Truncate(time.Second)
	number := uint64(1)
	if st := a.idx.lists[id]; st != nil {
		number = st.number + 1
		// Clocks go back; lists do not.
		if prev := stamp(st.thisUpdate); now.Before(prev) && prev.Sub(now) < a.config.CRLLifetime {
			now = prev
		}
	}
	out := &List{CA: id, Number: number, ThisUpdate: now, NextUpdate: now.Add(life)}
	entries := a.revoked(c, now)
	out.Entries = len(entries)
	if err := a.write(line{Event: eventList, Issuer: id, Number: number, ThisUpdate: out.ThisUpdate.Unix(), NextUpdate: out.NextUpdate.Unix()}); err != nil {
		return nil, err
	}
	out.DER, err = x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: new(big.Int).SetUint64(number), ThisUpdate: out.ThisUpdate, NextUpdate: out.NextUpdate,
		RevokedCertificateEntries: entries}, c.cert, key)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list of %s: %w", id, err)
	}
	if err := a.store.Put(a.name, id+suffixList, out.DER); err != nil {
		return nil, err
	}
	a.lists.Store(id, out)
	a.logger.Info("revocation list published", "authority", a.name, "ca", id, "number", number, "entries", out.Entries, "nextUpdate", out.NextUpdate)
	return out, nil
}

// revoked returns the entries of a CA's list. A certificate that has expired stays until a list after its
// end has named it (RFC 5280 section 3.3).
func (a *Authority) revoked(c *caCert, now time.Time) []x509.RevocationListEntry {
	var out []x509.RevocationListEntry
	gone := now.Add(-a.config.CRLLifetime).Unix()
	for i := range a.idx.records {
		r := &a.idx.records[i]
		if r.revoked == 0 || r.issuer != c || r.notAfter < gone {
			continue
		}
		out = append(out, x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(r.serial[:]), RevocationTime: stamp(r.revoked), ReasonCode: int(r.reason)})
	}
	return out
}

// peekList reads number and count of a list without its entries.
func peekList(der []byte) (*big.Int, int, error) {
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, 0, err
	}
	if l.Number == nil {
		return nil, 0, asn1.StructuralError{Msg: "the list has no number"}
	}
	return l.Number, len(l.RevokedCertificateEntries), nil
}

// exports writes what others read beside the journal: the trust bundle and the lists of its CAs, so that
// a gateway can name the directory or the Secret as it is. The caller holds mu and the lock.
func (a *Authority) exports() error {
	if err := a.store.Put(a.name, entryBundle, a.bundle()); err != nil {
		return err
	}
	var lists []byte
	for _, id := range a.listing() {
		l, err := a.published(id)
		if err == nil && l == nil {
			var missing *Error
			if l, err = a.publish(id); errors.As(err, &missing) && missing.Code == diag.AuthorityKey {
				err = nil // a root whose key is kept elsewhere
			}
		}
		if err != nil {
			return err
		}
		if l != nil {
			lists = append(lists, pem.EncodeToMemory(&pem.Block{Type: labelList, Bytes: l.DER})...)
		}
	}
	if len(lists) == 0 {
		return nil
	}
	return a.store.Put(a.name, entryLists, lists)
}

// listing returns the CAs that publish lists: roots and issuers that are trusted or have certificates that
// are still valid. The caller holds mu.
func (a *Authority) listing() []string {
	var out []string
	now := a.now()
	for _, id := range a.idx.order {
		c := a.idx.cas[id]
		if c.role == roleCross || now.After(c.cert.NotAfter) {
			continue
		}
		if a.idx.retired[c.generation] {
			if n, _ := a.alive(c.generation); n == 0 {
				continue
			}
		}
		out = append(out, id)
	}
	return out
}

// bundle returns the trust bundle: every root that is not retired, the one that issues first. The caller
// holds mu.
func (a *Authority) bundle() []byte {
	var out []byte
	for _, c := range a.trusted() {
		out = append(out, certPEM(c.cert)...)
	}
	return out
}

func (a *Authority) trusted() []*caCert {
	out := []*caCert{a.idx.root(a.idx.generation)}
	for _, id := range a.idx.order {
		if c := a.idx.cas[id]; c.role == roleRoot && c.generation != a.idx.generation && !a.idx.retired[c.generation] && (c.generation == a.idx.old || c.generation == a.idx.next) {
			out = append(out, c)
		}
	}
	return out
}

// BundlePEM returns the trust bundle: the root, and during a rotation both.
func (a *Authority) BundlePEM() ([]byte, error) {
	if err := a.refresh(); err != nil {
		return nil, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.bundle(), nil
}

// CRLBundlePEM returns the newest lists of all CAs of the trust bundle and below it, made anew where they
// are due: what a client that checks whole chains needs.
func (a *Authority) CRLBundlePEM(ctx context.Context) ([]byte, error) {
	if err := a.Freshen(ctx); err != nil {
		return nil, err
	}
	b, err := a.store.Get(a.name, entryLists)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Freshen makes every list anew that is due.
func (a *Authority) Freshen(ctx context.Context) error {
	if err := a.refresh(); err != nil {
		return err
	}
	a.mu.RLock()
	ids := a.listing()
	a.mu.RUnlock()
	var errs []error
	for _, id := range ids {
		if _, err := a.CRL(ctx, id); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
