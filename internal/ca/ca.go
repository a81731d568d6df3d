// Package ca is a certificate authority that lives in a directory or in Kubernetes Secrets: it issues,
// signs, renews and revokes, keeps a journal of all that, and answers about revocation (CRL, OCSP).
//
// The journal is the truth: an append-only file of JSON lines, each holding the SHA-256 of the one
// before. A certificate leaves this package only after its line is on the disk, so a process that dies at
// any moment loses nothing that was handed out. Everything else in the store is keys, the configuration,
// or can be made again from the journal. Several processes may work on one store: each change takes the
// store's lock, reads what others appended, and then appends its own.
//
// The package refuses to know the gateway: who calls it, and where what it issues will serve. It reads
// the clock only through Options.Now. Begin reading at Authority, then journal.go; DESIGN.md has the
// files and the order of writes.
package ca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net"
	"time"

	"github.com/hakone-gateway/hakone/internal/secret"
)

// DefaultName is the authority that is meant where none is named.
const DefaultName = "default"

// Finding is something worth telling about a request. One of severity Error means that nothing was
// issued; Warning and Info stand beside what was.
type Finding = secret.Finding

// Options are what an authority is opened with. The zero value serves.
type Options struct {
	Passphrase secret.Bytes     // opens and, at Create and Rotate, closes the key files; empty: keys are not encrypted
	Now        func() time.Time // nil: time.Now
	Logger     *slog.Logger     // nil: nothing is logged
	By         string           // who does it, written into the journal: "cli", "admin"
	LockWait   time.Duration    // how long a change waits for another process; 0: 10 s
}

// Setup says what authority Create makes.
type Setup struct {
	Subject pkix.Name // CommonName is needed; the issuer gets " Issuing CA" behind it
	Key     KeyKind   // of root and issuer; empty: ECDSAP256
	// Validity of the two; 0: 9125 and 7300 days, so that certificates of 15 years fit under them.
	RootValidity, IssuerValidity time.Duration
	RootOnly                     bool        // no issuer: the root itself issues
	PathLength                   int         // CAs that may stand below the issuer (or the only root); 0: none
	Constraints                  Constraints // of every name issued, RFC 5280 section 4.2.1.10
	URL                          string      // where the authority is served, "http://ca.example.net:8080"; empty: certificates name no CRL and OCSP
	CRLLifetime                  time.Duration
	OCSPLifetime                 time.Duration
}

// Constraints bound the names below a CA. A DNS domain covers itself and what is below it.
type Constraints struct {
	PermittedDNS []string `json:"permittedDNS,omitempty"`
	ExcludedDNS  []string `json:"excludedDNS,omitempty"`
	PermittedIP  []string `json:"permittedIP,omitempty"` // CIDR
	ExcludedIP   []string `json:"excludedIP,omitempty"`
}

// Request says what to issue. Zero fields take the profile's defaults and, in Sign, what the CSR asks.
type Request struct {
	Profile  Profile
	Subject  pkix.Name // in Sign: replaces the CSR's if it is not empty
	Names    []string  // host names, wildcards, IP addresses, e-mail addresses and URIs in any order; in Sign they replace the CSR's
	Validity time.Duration
	Key      KeyKind // of the new key, Issue only; empty: ECDSAP256
	// CommonName is not filled in from Names, nor the other way round: what is asked for is what is issued.

	PathLength  int         // profile intermediate
	Constraints Constraints // profile intermediate
}

// Renewal says how to renew. The zero value keeps names, profile and length of life, and makes a new key
// of the same kind.
type Renewal struct {
	Validity time.Duration
	Key      KeyKind // of the new key; empty: as before
	SameKey  bool    // certify the old key again
	CSR      []byte  // PEM or DER: certify this key; its names are not looked at
}

// Issued is what the authority hands out.
type Issued struct {
	Entry       Entry
	Certificate *x509.Certificate
	Chain       []*x509.Certificate // the certificate first, then its issuers without the root; during a rotation with the cross-signed root
	Key         secret.Bytes        // PKCS #8 as PEM; empty where the caller keeps the key
}

// Entry is one certificate of the journal.
type Entry struct {
	Serial      string     `json:"serial"` // lower-case hex
	Fingerprint string     `json:"fingerprint"`
	Profile     Profile    `json:"profile"`
	Issuer      string     `json:"issuer"` // the CA's ID, as "issuer-1"
	Subject     string     `json:"subject"`
	Names       []string   `json:"names,omitempty"`
	NotBefore   time.Time  `json:"notBefore"`
	NotAfter    time.Time  `json:"notAfter"`
	IssuedAt    time.Time  `json:"issuedAt"`
	By          string     `json:"by,omitempty"`
	RevokedAt   *time.Time `json:"revokedAt,omitempty"`
	Reason      string     `json:"reason,omitempty"` // RFC 5280 section 5.3.1, as "keyCompromise"
	ID          string     `json:"id,omitempty"`     // of the authority's own certificates: "root-1", "issuer-1", "cross-2-by-1"
}

// Title names the certificate for people: its subject, or its first name where that is empty.
func (e Entry) Title() string {
	if e.Subject == "(empty)" && len(e.Names) > 0 {
		return e.Names[0]
	}
	return e.Subject
}

// State returns "valid", "expired", "revoked" or "pending" (not valid yet) at a time.
func (e Entry) State(now time.Time) string {
	switch {
	case e.RevokedAt != nil:
		return "revoked"
	case now.After(e.NotAfter):
		return "expired"
	case now.Before(e.NotBefore):
		return "pending"
	}
	return "valid"
}

// Filter chooses entries. Zero fields choose all.
type Filter struct {
	State   string // valid, expired, revoked, pending
	Profile Profile
	Text    string // part of subject, a name, the serial number or the fingerprint
	Expires time.Time
	Own     bool // with the authority's own certificates
	Limit   int  // at most so many, the newest first; 0: all
}

// List is a revocation list of one CA.
type List struct {
	CA         string    `json:"ca"`
	Number     uint64    `json:"number"`
	ThisUpdate time.Time `json:"thisUpdate"`
	NextUpdate time.Time `json:"nextUpdate"`
	Entries    int       `json:"entries"`
	DER        []byte    `json:"der"`
}

// Info is what "hakone ca show" shows.
type Info struct {
	Name        string      `json:"name"`
	Store       string      `json:"store"`
	Created     time.Time   `json:"created"`
	URL         string      `json:"url,omitempty"`
	Key         KeyKind     `json:"key"`
	Encrypted   bool        `json:"encrypted"`
	Constraints Constraints `json:"constraints"`
	Issuing     string      `json:"issuing"` // the CA that issues, as "issuer-1"
	Rotation    Rotation    `json:"rotation"`
	CAs         []CAInfo    `json:"cas"`
	Journal     JournalInfo `json:"journal"`
	Counts      Counts      `json:"counts"`
	Findings    []Finding   `json:"findings,omitempty"`
}

// CAInfo is one certificate of the authority itself.
type CAInfo struct {
	Entry
	KeyType     string            `json:"keyType"`
	Trusted     bool              `json:"trusted"` // in the trust bundle
	Issuing     bool              `json:"issuing"`
	List        *List             `json:"crl,omitempty"` // the newest, without its bytes
	Certificate *x509.Certificate `json:"-"`
	PEM         string            `json:"pem"`
}

// JournalInfo is how much the journal holds.
type JournalInfo struct {
	Lines uint64 `json:"lines"`
	Bytes int64  `json:"bytes"`
	Head  string `json:"head"` // SHA-256 of the last line
}

// Counts are of certificates that are not the authority's own.
type Counts struct {
	Issued  int `json:"issued"`
	Valid   int `json:"valid"`
	Expired int `json:"expired"`
	Revoked int `json:"revoked"`
}

// Rotation is how far the change from one root to the next has come.
type Rotation struct {
	Stage      string `json:"stage"`         // steady, prepared, switched
	Generation int    `json:"generation"`    // that issues
	Old        int    `json:"old,omitempty"` // switched: the one that is to retire
	Next       int    `json:"next,omitempty"`
	// OldValid counts certificates of Old that are still valid, the last of them until OldUntil.
	OldValid int        `json:"oldValid,omitempty"`
	OldUntil *time.Time `json:"oldUntil,omitempty"`
}

// Step is one of the three of a rotation.
type Step string

// Steps of a rotation, in order. Each may be repeated, and is finished by repeating it if it was cut off.
const (
	Prepare Step = "prepare" // a new root and issuer, cross-signed both ways; both roots in the trust bundle
	Switch  Step = "switch"  // certificates come from the new issuer
	Retire  Step = "retire"  // the old root leaves the trust bundle
)

// RotateOptions go with a step.
type RotateOptions struct {
	Force   bool    // Retire although certificates of the old root are still valid
	Key     KeyKind // Prepare: of the new root and issuer; empty: as before
	Subject pkix.Name
}

func networks(cidrs []string) ([]*net.IPNet, error) {
	out := make([]*net.IPNet, 0, len(cidrs))
	for _, s := range cidrs {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}
