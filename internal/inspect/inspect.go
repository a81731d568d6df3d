// Package inspect reads whatever somebody holds to be a certificate, key, chain, request, PKCS #12
// container, revocation list or OCSP response, broken ones too, says what it is, and judges it.
//
// It reads more than package secret does on purpose: literal \n instead of line ends, base64 of
// base64, UTF-16, wrong PEM labels, Secrets as YAML or JSON. What had to be mended is a finding of its
// own, so nobody takes the input for good. Findings never quote key material, and no input makes the
// package panic or take long. It refuses to know where input comes from (Remote apart, which asks a
// server) and reads no clock. Begin reading at Read.
package inspect

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// MaxInput is how many bytes of one input are read.
const MaxInput = 10 << 20

// Bounds against inputs that unfold.
const (
	maxDepth = 6
	maxItems = 4096
)

// Kind is what an item is.
type Kind string

// Kinds.
const (
	KindCertificate Kind = "certificate"
	KindRequest     Kind = "certificate request"
	KindKey         Kind = "private key"
	KindPublicKey   Kind = "public key"
	KindCRL         Kind = "revocation list"
	KindOCSP        Kind = "OCSP response"
	KindBroken      Kind = "broken"
)

// Input is one thing to look at. Entry names a part of it that the caller has taken out, such as an
// entry of a Secret, where only those of well-known names must hold something; usually it is empty.
type Input struct {
	Name  string // file, URL, namespace/name; "-" for standard input
	Entry string
	Data  []byte
}

// Options say how to judge. The zero value judges at the zero time, which finds everything not yet
// valid: set Now.
type Options struct {
	Now      time.Time
	Password *secret.Bytes      // of PKCS #12 containers; nil: tried without
	Hosts    []hostname.Pattern // that the certificate is to serve
	Client   bool               // the certificate is a client's, whatever its usages say
	CAs      *secret.Bundle     // private CAs that are trusted; nil: none
	System   *x509.CertPool     // the machine's roots; nil: not asked
	Trusted  bool               // say so where no chain leads to CAs or System
}

// Item is one thing that was found in the input. Fields that do not apply are empty.
type Item struct {
	Kind  Kind   `json:"kind"`
	File  string `json:"file,omitempty"`
	Entry string `json:"entry,omitempty"`
	Line  int    `json:"line,omitempty"`
	Form  string `json:"form"` // PEM, DER, PKCS #12 …

	Subject     string   `json:"subject,omitempty"`
	Issuer      string   `json:"issuer,omitempty"`
	Serial      string   `json:"serial,omitempty"` // lower-case hex
	Version     int      `json:"version,omitempty"`
	Names       []string `json:"names,omitempty"` // DNS:, IP:, email:, URI:
	NotBefore   *Time    `json:"notBefore,omitempty"`
	NotAfter    *Time    `json:"notAfter,omitempty"`
	Key         string   `json:"key,omitempty"`       // RSA-2048
	Signature   string   `json:"signature,omitempty"` // SHA256-RSA
	CA          bool     `json:"ca,omitempty"`
	PathLength  *int     `json:"pathLength,omitempty"`
	Usages      []string `json:"usages,omitempty"`
	Constraints []string `json:"constraints,omitempty"`
	Fingerprint string   `json:"fingerprint,omitempty"` // SHA-256, lower-case hex
	SPKI        string   `json:"spki,omitempty"`        // SHA-256 of the public key, base64
	KeyID       string   `json:"keyId,omitempty"`
	IssuerKeyID string   `json:"issuerKeyId,omitempty"`
	Issuers     []string `json:"issuers,omitempty"` // where the issuer's certificate is
	CRLs        []string `json:"crls,omitempty"`
	Responders  []string `json:"responders,omitempty"`
	Encrypted   bool     `json:"encrypted,omitempty"`
	BelongsTo   string   `json:"belongsTo,omitempty"` // of a key: subject of its certificate or request

	Number     string `json:"number,omitempty"` // of a revocation list
	Entries    *int   `json:"entries,omitempty"`
	Status     string `json:"status,omitempty"` // of an OCSP response
	ThisUpdate *Time  `json:"thisUpdate,omitempty"`
	NextUpdate *Time  `json:"nextUpdate,omitempty"`

	cert    *x509.Certificate
	request *x509.CertificateRequest
	crl     *x509.RevocationList
	ocsp    *ocsp.Response
	public  any
	raw     secret.Bytes // DER
	label   string       // of a PEM block that holds it
}

// Time is a time as RFC 3339 in UTC.
type Time time.Time

// MarshalText writes RFC 3339.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(time.RFC3339)), nil
}

func at(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	u := Time(t)
	return &u
}

// Place names where the item is: file, entry, line.
func (i *Item) Place() string { return place(i.File, i.Entry, i.Line) }

func place(file, entry string, line int) string {
	s := file
	if entry != "" {
		s += "[" + entry + "]"
	}
	if line > 1 {
		s += fmt.Sprintf(":%d", line)
	}
	return s
}

// Certificate returns the parsed certificate, or nil.
func (i *Item) Certificate() *x509.Certificate { return i.cert }

// Request returns the parsed request, or nil.
func (i *Item) Request() *x509.CertificateRequest { return i.request }

// Signer returns the private key, or nil for other items.
func (i *Item) Signer() crypto.Signer {
	if i.Kind != KindKey || i.Encrypted {
		return nil
	}
	k, _ := secret.ParseKey(i.raw.Expose())
	return k
}

// Report is all that was found, and what there is to say about it.
type Report struct {
	Items    []*Item           `json:"items"`
	Findings []diag.Diagnostic `json:"findings"`
}

// Read looks at inputs together: a key in one may belong to a certificate in another. Items stand in
// the order of the inputs; findings in that of what they are about.
func Read(inputs []Input, opts Options) *Report {
	r := &reader{opts: opts, report: &Report{Items: []*Item{}, Findings: []diag.Diagnostic{}}}
	for _, in := range inputs {
		before, said := len(r.report.Items), len(r.report.Findings)
		s := spot{file: in.Name, entry: in.Entry, line: 1, quiet: in.Entry != "" && !wellKnown(in.Entry)}
		r.bytes(s, in.Data, 0)
		if before == len(r.report.Items) && said == len(r.report.Findings) {
			r.unrecognised(s, in.Data)
		}
	}
	judge(r.report, opts)
	return r.report
}

// reader collects items and what had to be mended.
type reader struct {
	opts   Options
	report *Report
}

// spot is where something stands.
type spot struct {
	file, entry string
	line        int
	form        string // of what holds it; "" where nothing does
	quiet       bool   // nothing known here is no finding
}

func (s spot) at(line int) spot { s.line = line; return s }

func (r *reader) tell(s spot, code diag.Code, message, fix string) {
	r.say(s, code, code.Severity(), message, fix)
}

func (r *reader) say(s spot, code diag.Code, sev diag.Severity, message, fix string) {
	r.report.Findings = append(r.report.Findings, finding(s, code, sev, message, fix))
}

func finding(s spot, code diag.Code, sev diag.Severity, message, fix string) diag.Diagnostic {
	return diag.Diagnostic{Code: code, Severity: sev, Position: diag.Position{File: s.file, Line: s.line}, Field: s.entry, Message: message, Fix: fix}
}

// add takes an item in, and reports whether there was room.
func (r *reader) add(s spot, i *Item) bool {
	if len(r.report.Items) >= maxItems {
		return false
	}
	i.File, i.Entry, i.Line = s.file, s.entry, s.line
	if i.Form == "" {
		i.Form = s.form
	}
	r.report.Items = append(r.report.Items, i)
	return true
}
