package ca

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Events of the journal.
const (
	eventCertificate = "certificate" // issued: Certificate and what is in it
	eventReady       = "ready"       // the authority may hand out certificates
	eventRevoked     = "revoked"     // Serial, Reason
	eventReleased    = "released"    // Serial: certificateHold has ended
	eventList        = "crl"         // Number is used for the list of Issuer
	eventRotation    = "rotation"    // Step is done, with Generation
)

// line is one line of the journal. The certificate comes last: reading cuts it off before it decodes
// JSON.
type line struct {
	N           uint64    `json:"n"`    // from 1
	Prev        string    `json:"prev"` // SHA-256 of the line before, without its end of line; zeros for the first
	At          time.Time `json:"at"`
	Event       string    `json:"event"`
	By          string    `json:"by,omitempty"`
	ID          string    `json:"id,omitempty"`
	Serial      string    `json:"serial,omitempty"`
	Issuer      string    `json:"issuer,omitempty"`
	Profile     Profile   `json:"profile,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	Names       []string  `json:"names,omitempty"`
	NotBefore   int64     `json:"notBefore,omitempty"` // seconds since 1970
	NotAfter    int64     `json:"notAfter,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Key         string    `json:"key,omitempty"` // SHA-256 of the public key, where it was compromised
	Number      uint64    `json:"number,omitempty"`
	ThisUpdate  int64     `json:"thisUpdate,omitempty"`
	NextUpdate  int64     `json:"nextUpdate,omitempty"`
	Step        Step      `json:"step,omitempty"`
	Generation  int       `json:"generation,omitempty"`
	Certificate string    `json:"certificate,omitempty"` // DER in base64
}

// certificateMark is where a line's certificate begins. JSON escapes quotation marks, so it cannot stand
// inside another value.
const certificateMark = `,"certificate":"`

// maxLine bounds a line: a certificate of 100 names of 253 letters, with their copy in names, is less.
const maxLine = 256 << 10

// head is the end of the journal as it stood when the last line was written. What stands behind it in the
// file has not been handed out; what is missing before it has been lost.
type head struct {
	N    uint64 `json:"n"`
	Size int64  `json:"size"` // bytes
	Hash string `json:"hash"`
}

// tip is how far the journal was read.
type tip struct {
	n    uint64
	size int64
	hash [sha256.Size]byte
}

func (t tip) head() head { return head{t.n, t.size, hex.EncodeToString(t.hash[:])} }

// errTorn says that the last line has no end.
var errTorn = errors.New("torn")

// replay reads lines from r, which stands at t, and gives each to take, with its place and length in the
// file. It returns how far it came; errTorn if bytes without an end of line follow; an error that names
// the line if one does not fit.
func replay(r io.Reader, t tip, take func(l line, at int64, length int) error) (tip, error) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		raw, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(raw) == 0:
			return t, nil
		case errors.Is(err, io.EOF):
			return t, errTorn
		case errors.Is(err, bufio.ErrBufferFull):
			return t, fmt.Errorf("line %d is longer than %d bytes", t.n+1, maxLine)
		case err != nil:
			return t, fmt.Errorf("read line %d: %w", t.n+1, err)
		}
		l, err := parseLine(raw[:len(raw)-1])
		if err != nil {
			return t, fmt.Errorf("line %d cannot be read: %w", t.n+1, err)
		}
		if l.N != t.n+1 || l.Prev != hex.EncodeToString(t.hash[:]) {
			return t, fmt.Errorf("line %d does not continue the one before: a line was changed, removed or put in", t.n+1)
		}
		if err := take(l, t.size, len(raw)-1); err != nil {
			return t, fmt.Errorf("line %d: %w", t.n+1, err)
		}
		t = tip{t.n + 1, t.size + int64(len(raw)), sha256.Sum256(raw[:len(raw)-1])}
	}
}

// parseLine decodes a line without its certificate, which stays base64 in Certificate only for the
// authority's own (they have an ID).
func parseLine(raw []byte) (line, error) {
	var l line
	meta, cert, found := bytes.Cut(raw, []byte(certificateMark))
	if found {
		// A line of its own in memory: raw belongs to the reader.
		meta = append(bytes.Clone(meta), '}')
	}
	if err := json.Unmarshal(meta, &l); err != nil {
		return l, errors.New("it is no JSON object")
	}
	if found {
		cert, ok := bytes.CutSuffix(cert, []byte(`"}`))
		if !ok {
			return l, errors.New("something stands behind its certificate")
		}
		if l.ID != "" {
			l.Certificate = string(cert)
		}
	}
	return l, nil
}

// fullCertificate returns the DER of a line as it stands in the file.
func fullCertificate(raw []byte) ([]byte, error) {
	_, cert, found := bytes.Cut(raw, []byte(certificateMark))
	cert, ok := bytes.CutSuffix(cert, []byte(`"}`))
	if !found || !ok {
		return nil, errors.New("the line holds no certificate")
	}
	return base64.StdEncoding.DecodeString(string(cert))
}

// load reads the whole journal into a fresh index.
func (a *Authority) load() error {
	mark, err := a.store.Mark(a.name)
	if err != nil {
		return err
	}
	// The head first: the journal only grows, so it is never shorter than a head that was read before.
	noted, hasHead, err := a.readHead()
	if err != nil {
		return err
	}
	r, err := a.store.Journal(a.name, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	idx := newIndex()
	fits := noted.N == 0
	end, err := replay(r, tip{}, func(l line, at int64, length int) error {
		if hasHead && l.N == noted.N+1 {
			fits = fits || l.Prev == noted.Hash
		}
		return idx.take(l, at, length)
	})
	fits = fits || end.n == noted.N && end.head() == noted
	switch {
	case hasHead && (end.n < noted.N || !fits):
		why := err
		if why == nil || errors.Is(why, errTorn) {
			why = fmt.Errorf("it ends after line %d, and line %d was written", end.n, noted.N)
		}
		return a.journalBroken(why)
	case err != nil && !errors.Is(err, errTorn) && !hasHead:
		return a.journalBroken(err)
	case err != nil:
		// Behind the head: nothing of it was handed out. The next line is written over it.
		a.torn = true
	}
	a.headMissing = !hasHead && end.n > 0
	a.idx, a.tip, a.mark = idx, end, mark
	return nil
}

func (a *Authority) journalBroken(err error) error {
	return failWith(err, diag.AuthorityJournalBroken, "Restore the authority from a backup.", "the journal of authority %q in %s is broken", a.name, a.store)
}

func (a *Authority) readHead() (head, bool, error) {
	b, err := a.store.Get(a.name, entryHead)
	if errors.Is(err, fs.ErrNotExist) {
		return head{}, false, nil
	}
	if err != nil {
		return head{}, false, err
	}
	var h head
	if err := json.Unmarshal(b, &h); err != nil {
		return head{}, false, a.journalBroken(fmt.Errorf("%s, where its end is noted, is damaged", entryHead))
	}
	return h, true, nil
}

// catchUp reads what others appended since. The caller holds mu for writing. Without the store's lock a
// line may be in the middle of being written, so only who holds it can tell that one is broken.
func (a *Authority) catchUp(locked bool) error {
	mark, err := a.store.Mark(a.name)
	if err != nil || mark == a.mark {
		return err
	}
	r, err := a.store.Journal(a.name, a.tip.size)
	if err != nil {
		return err
	}
	defer r.Close()
	end, err := replay(r, a.tip, a.idx.take)
	a.tip = end
	switch {
	case errors.Is(err, errTorn), err != nil && !locked:
		return nil
	case err != nil:
		return a.journalBroken(err)
	}
	a.mark = mark
	return nil
}

// write appends lines and returns when they are on the disk. The caller holds mu and the store's lock,
// and has caught up.
func (a *Authority) write(lines ...line) error {
	var data []byte
	at := a.tip
	now := a.now().UTC().Truncate(time.Second)
	type place struct {
		at     int64
		length int
	}
	places := make([]place, len(lines))
	for i := range lines {
		l := &lines[i]
		l.N, l.Prev, l.At, l.By = at.n+1, hex.EncodeToString(at.hash[:]), now, a.options.By
		raw, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("encode line of the journal: %w", err)
		}
		if len(raw) >= maxLine {
			return fail(diag.IssueInvalid, "Ask for fewer or shorter names.", "the certificate would need a line of %d bytes in the journal, and %d are the bound", len(raw), maxLine)
		}
		places[i] = place{at.size, len(raw)}
		at = tip{at.n + 1, at.size + int64(len(raw)) + 1, sha256.Sum256(raw)}
		data = append(append(data, raw...), '\n')
	}
	if err := a.store.Append(a.name, a.tip.size, data); err != nil {
		return err
	}
	for i, l := range lines {
		if err := a.idx.take(l, places[i].at, places[i].length); err != nil {
			return fmt.Errorf("index line %d of the journal: %w", l.N, err)
		}
	}
	a.tip, a.torn = at, false
	b, err := json.Marshal(at.head())
	if err != nil {
		return fmt.Errorf("encode end of the journal: %w", err)
	}
	if err := a.store.Put(a.name, entryHead, append(b, '\n')); err != nil {
		return err
	}
	a.headMissing = false
	a.mark, err = a.store.Mark(a.name)
	return err
}

// raw reads one line of the file.
func (a *Authority) raw(at int64, length int) ([]byte, error) {
	r, err := a.store.Journal(a.name, at)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, broken(err, "the journal of authority %q cannot be read", a.name)
	}
	return b, nil
}

// VerifyJournal reads the whole journal again and checks every hash and every certificate's fingerprint
// and signature. The error is an *Error that names the line.
func (a *Authority) VerifyJournal() (JournalInfo, error) {
	if err := a.refresh(); err != nil {
		return JournalInfo{}, err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	r, err := a.store.Journal(a.name, 0)
	if err != nil {
		return JournalInfo{}, err
	}
	defer r.Close()
	end, err := replay(io.LimitReader(r, a.tip.size), tip{}, func(l line, at int64, length int) error {
		if l.Event != eventCertificate {
			return nil
		}
		raw, err := a.raw(at, length)
		if err != nil {
			return err
		}
		return a.checkLine(l, raw)
	})
	if err == nil && end != a.tip {
		err = errors.New("it ends earlier than when it was opened")
	}
	if err != nil {
		return JournalInfo{}, a.journalBroken(err)
	}
	return a.journalInfo(), nil
}

// checkLine compares a line with the certificate in it.
func (a *Authority) checkLine(l line, raw []byte) error {
	der, err := fullCertificate(raw)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(der)
	if hex.EncodeToString(sum[:]) != l.Fingerprint {
		return errors.New("the certificate is not the one whose fingerprint is noted")
	}
	c, err := parseCertificate(der)
	if err != nil {
		return err
	}
	if serialText(c.SerialNumber) != l.Serial {
		return errors.New("the certificate has another serial number than is noted")
	}
	issuer := a.idx.cas[l.Issuer]
	if issuer == nil {
		return fmt.Errorf("its issuer %q is not in the journal", l.Issuer)
	}
	return issuer.cert.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
}

func (a *Authority) journalInfo() JournalInfo {
	h := a.tip.head()
	return JournalInfo{Lines: h.N, Bytes: h.Size, Head: h.Hash}
}
