package ca

import (
	"context"
	"errors"
	"net/http"
	"time"
)

var errPending = errors.New("this build does not hold it yet")

type Authority struct{}
type Service struct{}
type Store interface{}
type KeyKind string
type Profile string

const (
	RSA2048   KeyKind = "rsa-2048"
	RSA3072   KeyKind = "rsa-3072"
	RSA4096   KeyKind = "rsa-4096"
	ECDSAP256 KeyKind = "ecdsa-p256"
	ECDSAP384 KeyKind = "ecdsa-p384"
	Ed25519   KeyKind = "ed25519"

	Server       Profile = "server"
	Client       Profile = "client"
	Origin       Profile = "origin"
	Node         Profile = "node"
	Intermediate Profile = "intermediate"
	OCSP         Profile = "ocsp"
)

// ParseKeyKind reads "ecdsa-p256", "rsa-2048" and their like, and "rsa", "ecdsa".
func ParseKeyKind(s string) (KeyKind, error) { return "", errPending }

// ParseProfile reads a profile's name.
func ParseProfile(s string) (Profile, error) { return "", errPending }

// Dir is the store of a directory; it need not exist yet.
func Dir(path string) Store { return nil }

// Secrets is the store of Secret manifests in a folder.
func Secrets(folder, namespace string) Store { return nil }

// Names lists the authorities of a store.
func Names(s Store) ([]string, error) { return nil, errPending }

// Create makes an authority. Open opens it.
func Create(ctx context.Context, s Store, name string, setup Setup, o Options) (*Authority, []Finding, error) {
	return nil, nil, errPending
}
func Open(ctx context.Context, s Store, name string, o Options) (*Authority, error) {
	return nil, errPending
}

func (a *Authority) Name() string        { return "" }
func (a *Authority) Info() (Info, error) { return Info{}, errPending }
func (a *Authority) Issue(ctx context.Context, r Request) (*Issued, []Finding, error) {
	return nil, nil, errPending
}

// Sign takes a CSR in PEM or DER.
func (a *Authority) Sign(ctx context.Context, csr []byte, r Request) (*Issued, []Finding, error) {
	return nil, nil, errPending
}

// Renew takes what Find takes.
func (a *Authority) Renew(ctx context.Context, ref string, r Renewal) (*Issued, []Finding, error) {
	return nil, nil, errPending
}

// Revoke revokes and publishes a new CRL. refs are what Find takes. reason: "" or RFC 5280's words.
func (a *Authority) Revoke(ctx context.Context, reason string, refs ...string) ([]Entry, error) {
	return nil, errPending
}

// Release ends certificateHold.
func (a *Authority) Release(ctx context.Context, refs ...string) ([]Entry, error) {
	return nil, errPending
}

// Find takes a serial number (hex, with or without colons), a SHA-256 fingerprint, an ID ("issuer-1"), or a PEM certificate.
func (a *Authority) Find(ref string) (Entry, error)                           { return Entry{}, errPending }
func (a *Authority) Get(ref string) (*Issued, error)                          { return nil, errPending } // without Key
func (a *Authority) List(f Filter) ([]Entry, error)                           { return nil, errPending }
func (a *Authority) CRL(ctx context.Context, id string) (*List, error)        { return nil, errPending } // id "": the issuing CA; made anew when due
func (a *Authority) PublishCRL(ctx context.Context, id string) (*List, error) { return nil, errPending } // always a new number
func (a *Authority) Rotate(ctx context.Context, s Step, o RotateOptions) (Rotation, []Finding, error) {
	return Rotation{}, nil, errPending
}
func (a *Authority) BundlePEM() ([]byte, error)                             { return nil, errPending }
func (a *Authority) BundleConfigMap(namespace, name string) ([]byte, error) { return nil, errPending }
func (a *Authority) CRLBundlePEM(ctx context.Context) ([]byte, error)       { return nil, errPending } // all CAs of the trust bundle
func (a *Authority) VerifyJournal() (JournalInfo, error)                    { return JournalInfo{}, errPending }
func (i *Issued) ChainPEM() []byte                                          { return nil }
func (i *Issued) CertificatePEM() []byte                                    { return nil }

// NewService serves the authorities of a store over HTTP (/ocsp, /crl/, /ca/) and keeps them fresh in Run.
func NewService(ctx context.Context, s Store, o Options) (*Service, error) { return nil, errPending }
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request)        {}
func (s *Service) Run(ctx context.Context) error                           { return errPending }
func (s *Service) Authority(name string) (*Authority, error)               { return nil, errPending }

var _ = time.Now
