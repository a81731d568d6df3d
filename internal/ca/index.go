package ca

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// serial is a serial number of this package: 128 random bits.
type serial [16]byte

// record is what is kept in memory of a certificate: about 250 bytes. The certificate itself stays in the
// journal.
type record struct {
	serial      serial
	fingerprint [32]byte
	at          int64 // of its line in the journal
	length      int32
	issuer      *caCert // nil for a root's own line while it is being read
	profile     Profile
	reason      int8 // RFC 5280 section 5.3.1
	notBefore   int64
	notAfter    int64
	issued      int64
	revoked     int64 // seconds since 1970; 0: not
	subject     string
	names       string // each followed by a line end
	by          string
	id          string
}

// caCert is a certificate of the authority itself. It is fixed once its line is read.
type caCert struct {
	id         string // root-G, issuer-G, cross-G-by-H
	role       string // root, issuer, cross
	generation int    // of the key that is certified
	cert       *x509.Certificate
}

// crlState is what the journal says of a CA's revocation lists.
type crlState struct {
	number     uint64
	thisUpdate int64
	nextUpdate int64
	due        bool // something was revoked or released since
}

// index is what the journal says, made by take from its lines in order.
type index struct {
	records     []record
	bySerial    map[serial]int32
	cas         map[string]*caCert
	order       []string // IDs of cas
	lists       map[string]*crlState
	compromised map[string]bool // SHA-256 of public keys, hex
	standings   int             // revocations and releases so far
	words       map[string]string

	ready      bool
	created    int64
	generation int // that issues
	next       int // prepared, 0 for none
	old        int // switched from and not retired, 0 for none
	retired    map[int]bool
}

func newIndex() *index {
	return &index{bySerial: map[serial]int32{}, cas: map[string]*caCert{}, lists: map[string]*crlState{}, compromised: map[string]bool{},
		words: map[string]string{}, retired: map[int]bool{}}
}

// take applies a line.
func (x *index) take(l line, at int64, length int) error {
	switch l.Event {
	case eventCertificate:
		return x.certificate(l, at, length)
	case eventReady:
		x.ready, x.generation, x.created = true, 1, l.At.Unix()
	case eventRevoked, eventReleased:
		return x.revocation(l)
	case eventList:
		x.lists[l.Issuer] = &crlState{number: l.Number, thisUpdate: l.ThisUpdate, nextUpdate: l.NextUpdate}
	case eventRotation:
		return x.rotation(l)
	default:
		return fmt.Errorf("the event %q is not known; a newer version may have written it", l.Event)
	}
	return nil
}

func (x *index) certificate(l line, at int64, length int) error {
	s, err := parseSerial(l.Serial)
	if err != nil {
		return err
	}
	if _, dup := x.bySerial[s]; dup {
		return fmt.Errorf("the serial number %s is there already", l.Serial)
	}
	r := record{serial: s, at: at, length: int32(length), profile: Profile(x.word(string(l.Profile))), notBefore: l.NotBefore, notAfter: l.NotAfter,
		issued: l.At.Unix(), subject: l.Subject, by: x.word(l.By), id: l.ID}
	if len(l.Fingerprint) != 2*len(r.fingerprint) {
		return errors.New("the fingerprint is no SHA-256")
	}
	if _, err := hex.Decode(r.fingerprint[:], []byte(l.Fingerprint)); err != nil {
		return errors.New("the fingerprint is no SHA-256")
	}
	if len(l.Names) > 0 {
		r.names = strings.Join(l.Names, "\n") + "\n"
	}
	if l.ID != "" {
		if err := x.own(l); err != nil {
			return err
		}
	}
	if r.issuer = x.cas[l.Issuer]; r.issuer == nil {
		return fmt.Errorf("its issuer %q is not in the journal before it", l.Issuer)
	}
	x.bySerial[s] = int32(len(x.records))
	x.records = append(x.records, r)
	return nil
}

// own adds a certificate of the authority itself.
func (x *index) own(l line) error {
	role, rest, _ := strings.Cut(l.ID, "-")
	generation, _, _ := strings.Cut(rest, "-")
	n, err := strconv.Atoi(generation)
	if err != nil || role != roleRoot && role != roleIssuer && role != roleCross {
		return fmt.Errorf("%q is no ID of a CA", l.ID)
	}
	der, err := base64.StdEncoding.DecodeString(l.Certificate)
	if err != nil {
		return errors.New("its certificate is no base64")
	}
	c, err := parseCertificate(der)
	if err != nil {
		return err
	}
	x.cas[l.ID] = &caCert{l.ID, role, n, c}
	x.order = append(x.order, l.ID)
	return nil
}

func (x *index) revocation(l line) error {
	s, err := parseSerial(l.Serial)
	if err != nil {
		return err
	}
	i, ok := x.bySerial[s]
	if !ok {
		return fmt.Errorf("it revokes %s, which is not in the journal before it", l.Serial)
	}
	r := &x.records[i]
	if l.Event == eventReleased {
		r.revoked, r.reason = 0, 0
	} else {
		code, err := parseReason(l.Reason)
		if err != nil {
			return err
		}
		if r.revoked == 0 {
			r.revoked = l.At.Unix()
		}
		r.reason = int8(code)
		if l.Key != "" {
			x.compromised[l.Key] = true
		}
	}
	x.list(r.issuer.id).due = true
	x.standings++
	return nil
}

func (x *index) list(id string) *crlState {
	s := x.lists[id]
	if s == nil {
		s = &crlState{due: true}
		x.lists[id] = s
	}
	return s
}

func (x *index) rotation(l line) error {
	switch l.Step {
	case Prepare:
		x.next = l.Generation
	case Switch:
		x.old, x.generation, x.next = x.generation, l.Generation, 0
	case Retire:
		x.retired[l.Generation] = true
		x.old = 0
	default:
		return fmt.Errorf("the step %q of a rotation is not known", l.Step)
	}
	return nil
}

// word keeps one copy of a text that comes again and again.
func (x *index) word(s string) string {
	if w, ok := x.words[s]; ok {
		return w
	}
	x.words[s] = s
	return s
}

// find returns the record of a serial number, or nil.
func (x *index) find(s serial) *record {
	if i, ok := x.bySerial[s]; ok {
		return &x.records[i]
	}
	return nil
}

func (r *record) entry() Entry {
	e := Entry{Serial: hex.EncodeToString(r.serial[:]), Fingerprint: hex.EncodeToString(r.fingerprint[:]), Profile: r.profile, Subject: r.subject,
		Issuer: r.issuer.id, NotBefore: stamp(r.notBefore), NotAfter: stamp(r.notAfter), IssuedAt: stamp(r.issued), By: r.by, ID: r.id}
	if r.names != "" {
		e.Names = strings.Split(strings.TrimSuffix(r.names, "\n"), "\n")
	}
	if r.revoked != 0 {
		t := stamp(r.revoked)
		e.RevokedAt, e.Reason = &t, reasonText(int(r.reason))
	}
	return e
}

// state is Entry.State without making an Entry.
func (r *record) state(now int64) string {
	switch {
	case r.revoked != 0:
		return "revoked"
	case now > r.notAfter:
		return "expired"
	case now < r.notBefore:
		return "pending"
	}
	return "valid"
}

// own reports whether the certificate serves the authority itself.
func (r *record) own() bool { return r.id != "" || r.profile == OCSP }

func stamp(unix int64) time.Time { return time.Unix(unix, 0).UTC() }

func parseSerial(s string) (serial, error) {
	var out serial
	if len(s) == 2*len(out) {
		if _, err := hex.Decode(out[:], []byte(s)); err == nil {
			return out, nil
		}
	}
	return out, fmt.Errorf("%q is no serial number of 32 hexadecimal digits", s)
}

func serialText(n *big.Int) string { return fmt.Sprintf("%032x", n) }

func parseCertificate(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate of the journal: %w", err)
	}
	return c, nil
}
