package ir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Dump is the canonical form of a snapshot: references and fingerprints, never keys. The same content
// gives the same bytes, whatever home or order it came from.
type Dump struct {
	Config    *Config     `json:"config"`
	Endpoints *Endpoints  `json:"endpoints"`
	Secrets   SecretsDump `json:"secrets"`
	Trust     TrustDump   `json:"trust"`
}

// SecretsDump lists credentials by reference.
type SecretsDump struct {
	Revision    Revision         `json:"revision"`
	Credentials []CredentialDump `json:"credentials"`

	Logins    []LoginDump     `json:"logins,omitempty"`
	Passwords []PasswordsDump `json:"passwords,omitempty"`
}

// LoginDump is what may be told of a login.
type LoginDump struct {
	Ref       SecretRef `json:"ref"`
	Origin    Origin    `json:"origin"`
	User      string    `json:"user,omitempty"`
	Digest    string    `json:"digest,omitempty"`
	Withdrawn bool      `json:"withdrawn,omitempty"`
	Fault     *Fault    `json:"fault,omitempty"`
}

// PasswordsDump is what may be told of an htpasswd entry: who may log in.
type PasswordsDump struct {
	Ref       SecretRef `json:"ref"`
	Origin    Origin    `json:"origin"`
	Users     []string  `json:"users,omitempty"`
	Digest    string    `json:"digest,omitempty"`
	Withdrawn bool      `json:"withdrawn,omitempty"`
	Fault     *Fault    `json:"fault,omitempty"`
}

// CredentialDump is what may be told of a credential.
type CredentialDump struct {
	Ref         SecretRef  `json:"ref"`
	Origin      Origin     `json:"origin"`
	Fingerprint string     `json:"fingerprint,omitempty"` // SHA-256 of the leaf, hex
	KeyType     string     `json:"keyType,omitempty"`
	Subject     string     `json:"subject,omitempty"`
	Names       []string   `json:"names,omitempty"`
	NotBefore   *time.Time `json:"notBefore,omitempty"`
	NotAfter    *time.Time `json:"notAfter,omitempty"`
	ChainLength int        `json:"chainLength,omitempty"`
	Withdrawn   bool       `json:"withdrawn,omitempty"`
	Code        string     `json:"code,omitempty"`
	Detail      string     `json:"detail,omitempty"`
}

// TrustDump lists trust bundles by reference.
type TrustDump struct {
	Revision Revision          `json:"revision"`
	Bundles  []TrustBundleDump `json:"bundles"`
}

// TrustBundleDump is what may be told of a trust bundle.
type TrustBundleDump struct {
	Ref      TrustRef     `json:"ref"`
	Origin   Origin       `json:"origin"`
	Revision Revision     `json:"revision"`
	Anchors  []AnchorDump `json:"anchors,omitempty"`
	CRLs     int          `json:"crls,omitempty"`
	Code     string       `json:"code,omitempty"`
	Detail   string       `json:"detail,omitempty"`
}

// AnchorDump is one CA certificate.
type AnchorDump struct {
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint"`
	NotAfter    time.Time `json:"notAfter"`
}

// Dump returns the canonical form of s.
func (s *Snapshot) Dump() *Dump {
	d := &Dump{Config: s.Config, Endpoints: s.Endpoints}
	d.Secrets = s.Secrets.dump()
	d.Trust = s.Trust.dump()
	return d
}

// Hash returns the revision of the whole snapshot.
func (s *Snapshot) Hash() Revision {
	return HashOf([]Revision{s.Config.Revision, s.Endpoints.Revision, s.Secrets.Revision, s.Trust.Revision})
}

// Seal computes the revisions of the four families. It is called once, by compile, before the
// snapshot is published.
func (s *Snapshot) Seal() {
	s.Config.Revision, s.Endpoints.Revision = "", ""
	s.Config.Revision = HashOf(s.Config)
	s.Endpoints.Revision = HashOf(s.Endpoints)
	s.Secrets.Revision = s.Secrets.revision()
	s.Trust.Revision = HashOf(s.Trust.dump().Bundles)
}

// HashOf returns the revision of anything that encodes as canonical JSON. It panics if v does not
// encode, which is a fault of the program.
func HashOf(v any) Revision {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("ir: encode %T: %v", v, err))
	}
	sum := sha256.Sum256(b)
	return Revision(hex.EncodeToString(sum[:8]))
}

func (s *Secrets) dump() SecretsDump {
	d := SecretsDump{Revision: s.Revision, Credentials: []CredentialDump{}}
	for _, ref := range sortedKeys(s.ByRef) {
		c := s.ByRef[ref]
		e := CredentialDump{Ref: ref, Origin: c.Origin, Code: c.Code.String(), Detail: c.Detail, Withdrawn: c.Withdrawn}
		if p := c.Pair; p != nil {
			e.Fingerprint, e.KeyType, e.ChainLength = p.Fingerprint, p.KeyType(), len(p.Chain)
			e.Subject = p.Leaf.Subject.String()
			e.Names = append(slices.Clone(p.Leaf.DNSNames), ipStrings(p.Leaf.IPAddresses)...)
			e.NotBefore, e.NotAfter = &p.Leaf.NotBefore, &p.Leaf.NotAfter
		}
		d.Credentials = append(d.Credentials, e)
	}
	for _, ref := range sortedKeys(s.Logins) {
		l := s.Logins[ref]
		d.Logins = append(d.Logins, LoginDump{ref, l.Origin, l.User, l.Digest, l.Withdrawn, l.Fault})
	}
	for _, ref := range sortedKeys(s.Passwords) {
		p := s.Passwords[ref]
		d.Passwords = append(d.Passwords, PasswordsDump{ref, p.Origin, sortedKeys(p.Users), p.Digest, p.Withdrawn, p.Fault})
	}
	return d
}

// revision covers credentials, and logins and passwords where there are some.
func (s *Secrets) revision() Revision {
	d := s.dump()
	if len(d.Logins)+len(d.Passwords) == 0 {
		return HashOf(d.Credentials)
	}
	d.Revision = ""
	return HashOf(d)
}

func (t *Trust) dump() TrustDump {
	d := TrustDump{Revision: t.Revision, Bundles: []TrustBundleDump{}}
	for _, ref := range sortedKeys(t.ByRef) {
		b := t.ByRef[ref]
		e := TrustBundleDump{Ref: ref, Origin: b.Origin, Revision: b.Revision, CRLs: len(b.CRLs), Code: b.Code.String(), Detail: b.Detail}
		if b.Bundle != nil {
			for _, c := range b.Bundle.Certificates {
				sum := sha256.Sum256(c.Raw)
				e.Anchors = append(e.Anchors, AnchorDump{c.Subject.String(), hex.EncodeToString(sum[:]), c.NotAfter})
			}
		}
		d.Bundles = append(d.Bundles, e)
	}
	return d
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func ipStrings[T fmt.Stringer](ips []T) []string {
	var out []string
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return out
}
