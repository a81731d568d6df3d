package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Roles of the authority's own certificates.
const (
	roleRoot   = "root"
	roleIssuer = "issuer"
	roleCross  = "cross"
)

// Authority is an open authority. Methods are safe for concurrent use, also beside other processes that
// have the same one open. It holds no file open and needs no closing.
type Authority struct {
	// fixed after construction
	store   Store
	name    string
	options Options
	logger  *slog.Logger
	config  config
	turn    chan struct{} // of one; held by who changes the authority

	lists sync.Map // CA → *List as it was published last

	mu sync.RWMutex
	// guarded by mu
	idx         *index
	tip         tip
	mark        Mark
	torn        bool // bytes without an end of line stand behind the tip
	headMissing bool
	keys        map[string]func() crypto.Signer // behind functions, so that no printer finds them
}

// config is authority.json: what was asked for at Create.
type config struct {
	Version        int             `json:"version"`
	Name           string          `json:"name"`
	Subject        []byte          `json:"subject"` // DER of the root's name
	Key            KeyKind         `json:"key"`
	RootValidity   time.Duration   `json:"rootValidity"` // nanoseconds
	IssuerValidity time.Duration   `json:"issuerValidity"`
	RootOnly       bool            `json:"rootOnly,omitempty"`
	PathLength     int             `json:"pathLength,omitempty"`
	Constraints    Constraints     `json:"constraints"`
	URL            string          `json:"url,omitempty"`
	CRLLifetime    time.Duration   `json:"crlLifetime"`
	OCSPLifetime   time.Duration   `json:"ocspLifetime"`
	Encrypted      bool            `json:"encrypted,omitempty"`
	Extra          json.RawMessage `json:"extra,omitempty"`
}

// Defaults of a Setup, and what lists and answers may live.
const (
	day                   = 24 * time.Hour
	defaultRootValidity   = 9125 * day
	defaultIssuerValidity = 7300 * day
	defaultCRLLifetime    = 7 * day
	defaultOCSPLifetime   = 12 * time.Hour
	backdate              = 5 * time.Minute // of notBefore, for clocks that are behind
	lockWait              = 10 * time.Second
)

func newAuthority(s Store, name string, o Options) *Authority {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LockWait <= 0 {
		o.LockWait = lockWait
	}
	return &Authority{store: s, name: name, options: o, logger: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), idx: newIndex(), turn: make(chan struct{}, 1), keys: map[string]func() crypto.Signer{}}
}

// Open opens the authority of that name and reads its journal. A torn last line is dropped, which Info
// tells. The error is an *Error: AuthorityNotFound, AuthorityJournalBroken or AuthorityStore.
func Open(ctx context.Context, s Store, name string, o Options) (*Authority, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	a := newAuthority(s, name, o)
	missing := fail(diag.AuthorityNotFound, "Make it with hakone ca init, or correct the directory and the name.", "there is no authority %q in %s%s", name, s, others(s))
	b, err := s.Get(name, entryConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &a.config); err != nil || a.config.Version != 1 {
		return nil, fail(diag.AuthorityStore, "Restore the file from a backup, or use the version of hakone that made it.", "%s of authority %q is damaged or of another version", entryConfig, name)
	}
	if err := a.load(); err != nil {
		return nil, err
	}
	if a.torn {
		// Another process may be in the middle of a line; with the lock it is not.
		a.torn = false
		release, err := a.lock(ctx)
		if err != nil {
			return nil, err
		}
		err = a.load()
		release()
		if err != nil {
			return nil, err
		}
	}
	if !a.idx.ready {
		return nil, missing
	}
	return a, nil
}

func others(s Store) string {
	names, err := s.Authorities()
	if err != nil || len(names) == 0 {
		return ""
	}
	return " (it has " + strings.Join(names, ", ") + ")"
}

// Name returns the authority's name.
func (a *Authority) Name() string { return a.name }

// URL returns where the authority says that it is served, or "".
func (a *Authority) URL() string { return a.config.URL }

func (a *Authority) now() time.Time { return a.options.Now() }

func (a *Authority) lock(ctx context.Context) (func(), error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.options.LockWait, fmt.Errorf("waited %s", a.options.LockWait))
	defer cancel()
	return a.store.Lock(ctx, a.name)
}

// change runs f as the only one who changes the authority, on what it is now. Waiting for its turn and for
// other processes keeps nobody from reading.
func (a *Authority) change(ctx context.Context, f func() error) error {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return failWith(ctx.Err(), diag.AuthorityLocked, "Try again.", "the authority %q is busy", a.name)
	}
	defer func() { <-a.turn }()
	release, err := a.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.catchUp(true); err != nil {
		return err
	}
	return f()
}

// refresh reads what other processes did. It costs a look at the file if they did nothing.
func (a *Authority) refresh() error {
	mark, err := a.store.Mark(a.name)
	if err != nil {
		return err
	}
	a.mu.RLock()
	same := mark == a.mark
	a.mu.RUnlock()
	if same {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.catchUp(false)
}

// signer returns the key of a CA. The caller holds mu for writing.
func (a *Authority) signer(id string) (crypto.Signer, error) {
	if k, ok := a.keys[id]; ok {
		return k(), nil
	}
	c := a.idx.cas[id]
	if c == nil {
		return nil, fail(diag.AuthorityKey, "Use root-1, issuer-1 and so on.", "authority %q has no CA %q", a.name, id)
	}
	where := fmt.Sprintf("the key %s%s of authority %q", id, suffixKey, a.name)
	b, err := a.store.Get(a.name, id+suffixKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(diag.AuthorityKey, "Put it back, or use another CA; a root's key that is kept elsewhere is needed only for intermediates, its CRL and rotation.", "%s is not in %s", where, a.store)
	}
	if err != nil {
		return nil, err
	}
	k, err := openKey(b, a.options.Passphrase, where)
	if err != nil {
		return nil, err
	}
	if !samePublic(k.Public(), c.cert.PublicKey) {
		return nil, fail(diag.AuthorityKey, "Restore the right key.", "%s belongs to another certificate", where)
	}
	a.keys[id] = func() crypto.Signer { return k }
	return k, nil
}

func samePublic(a, b any) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// issuing returns the CA that leaves come from. The caller holds mu.
func (a *Authority) issuing() *caCert { return a.idx.issuer(a.idx.generation) }

// issuer returns the CA of a generation that issues leaves: its issuer, or its root where there is none.
func (x *index) issuer(generation int) *caCert {
	if c := x.cas[fmt.Sprintf("%s-%d", roleIssuer, generation)]; c != nil {
		return c
	}
	return x.root(generation)
}

func (x *index) root(generation int) *caCert {
	return x.cas[fmt.Sprintf("%s-%d", roleRoot, generation)]
}

// chain returns the certificates between a leaf of ca and the roots: ca itself unless it is a root, and
// during a rotation its root as the other one vouches for it, so that those who trust only one verify.
func (x *index) chain(ca *caCert) []*x509.Certificate {
	var out []*x509.Certificate
	if ca.role != roleRoot {
		out = append(out, ca.cert)
	}
	if x.old == 0 {
		return out
	}
	id := crossID(x.generation, x.old)
	if ca.generation == x.old {
		id = crossID(x.old, x.generation)
	}
	if cross := x.cas[id]; cross != nil {
		out = append(out, cross.cert)
	}
	return out
}

func crossID(of, by int) string { return fmt.Sprintf("%s-%d-by-%d", roleCross, of, by) }

// newSerial draws a serial number that was never used. The caller holds mu.
func (a *Authority) newSerial() (*big.Int, error) {
	for range 8 {
		var s serial
		_, _ = rand.Read(s[:]) // never fails
		if s != (serial{}) && a.idx.find(s) == nil {
			return new(big.Int).SetBytes(s[:]), nil
		}
	}
	return nil, fail(diag.AuthorityStore, "Look at the machine's source of random numbers.", "random serial numbers repeat themselves")
}

// Find returns what was issued, by serial number (hexadecimal, with or without colons and leading zeros),
// SHA-256 fingerprint, the ID of a CA ("issuer-1"), or a certificate in PEM.
func (a *Authority) Find(ref string) (Entry, error) {
	if err := a.refresh(); err != nil {
		return Entry{}, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	r, err := a.find(ref)
	if err != nil {
		return Entry{}, err
	}
	return r.entry(), nil
}

// find is Find for who holds mu.
func (a *Authority) find(ref string) (*record, error) {
	unknown := func(what string) error {
		return fail(diag.CertNotIssuedHere, "List what was issued: hakone cert ls.", "authority %q has issued no certificate %s", a.name, what)
	}
	if strings.Contains(ref, "-----BEGIN") {
		block, _ := pem.Decode([]byte(ref))
		if block == nil || block.Type != labelCert {
			return nil, fail(diag.IssueInvalid, "Give a PEM file with a certificate.", "there is no certificate in the PEM text")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, failWith(err, diag.IssueInvalid, "Give a PEM file with a certificate.", "the certificate cannot be parsed")
		}
		r, fp := a.idx.bySerialNumber(c.SerialNumber), secret.Fingerprint(c)
		// A serial number alone may be another authority's.
		if r == nil || r.entry().Fingerprint != fp {
			return nil, unknown("with the fingerprint " + fp)
		}
		return r, nil
	}
	clean := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimSpace(ref)))
	clean = strings.TrimPrefix(strings.TrimPrefix(clean, "sha256"), "0x")
	if clean == "" {
		return nil, fail(diag.IssueInvalid, "Give a serial number, a fingerprint or a file.", "no certificate is named")
	}
	if c := a.idx.cas[clean]; c != nil {
		return a.idx.bySerialNumber(c.cert.SerialNumber), nil
	}
	n, ok := new(big.Int).SetString(clean, 16)
	if !ok {
		return nil, fail(diag.IssueInvalid, "Give a serial number or a SHA-256 fingerprint in hexadecimal, the ID of a CA, or a file.", "%q names no certificate", ref)
	}
	if len(clean) == 64 {
		want := n.FillBytes(make([]byte, 32))
		for i := range a.idx.records {
			if r := &a.idx.records[i]; bytes.Equal(r.fingerprint[:], want) {
				return r, nil
			}
		}
	} else if r := a.idx.bySerialNumber(n); r != nil {
		return r, nil
	}
	return nil, unknown(fmt.Sprintf("%q", ref))
}

func (x *index) bySerialNumber(n *big.Int) *record {
	var s serial
	if n == nil || n.Sign() <= 0 || n.BitLen() > 8*len(s) {
		return nil
	}
	n.FillBytes(s[:])
	return x.find(s)
}

// certificate reads a record's certificate from the journal. The caller holds mu.
func (a *Authority) certificate(r *record) (*x509.Certificate, error) {
	raw, err := a.raw(r.at, int(r.length))
	if err != nil {
		return nil, err
	}
	der, err := fullCertificate(raw)
	if err != nil {
		return nil, a.journalBroken(err)
	}
	c, err := parseCertificate(der)
	if err != nil {
		return nil, a.journalBroken(err)
	}
	if sha256.Sum256(c.Raw) != r.fingerprint {
		return nil, a.journalBroken(fmt.Errorf("the certificate %x is not the one whose fingerprint is noted", r.serial))
	}
	return c, nil
}

// Get returns a certificate with its chain, without its key, by what Find takes.
func (a *Authority) Get(ref string) (*Issued, error) {
	if err := a.refresh(); err != nil {
		return nil, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	r, err := a.find(ref)
	if err != nil {
		return nil, err
	}
	c, err := a.certificate(r)
	if err != nil {
		return nil, err
	}
	chain := []*x509.Certificate{c}
	if r.issuer.role != roleRoot || r.id == "" {
		chain = append(chain, a.idx.chain(r.issuer)...)
	}
	return &Issued{Entry: r.entry(), Certificate: c, Chain: chain}, nil
}

// List returns the entries that f chooses, the newest first.
func (a *Authority) List(f Filter) ([]Entry, error) {
	if err := a.refresh(); err != nil {
		return nil, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	now := a.now().Unix()
	text := strings.ToLower(f.Text)
	var out []Entry
	for i := range slices.Backward(a.idx.records) {
		r := &a.idx.records[i]
		if !f.Own && r.own() || f.Profile != "" && r.profile != f.Profile || !f.Expires.IsZero() && r.notAfter > f.Expires.Unix() {
			continue
		}
		if text != "" && !strings.Contains(strings.ToLower(r.subject), text) && !strings.Contains(r.names, text) &&
			!strings.Contains(fmt.Sprintf("%x %x", r.serial, r.fingerprint), text) {
			continue
		}
		if f.State != "" && r.state(now) != f.State {
			continue
		}
		if out = append(out, r.entry()); f.Limit > 0 && len(out) == f.Limit {
			break
		}
	}
	return out, nil
}

// checkURL refuses what cannot stand in certificates as the place of CRL and OCSP.
func checkURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fail(diag.AuthoritySetup, "Write it as http://ca.example.net:8080.", "%q cannot be the authority's URL", s)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}
