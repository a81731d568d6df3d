// Package secret holds the value types for keys, certificates, trust bundles and revocation lists.
//
// They are made only by parsing, so whoever holds one holds something usable, and those with key
// material in them cannot print it: every way into a string yields "[redacted]" or a fingerprint.
// What is wrong with the bytes comes back as an *Error or a Finding, both coded, one sentence and a
// fix each, ready to become a diagnostic.
//
// The package refuses to know where the bytes came from, who they are for, what time it is and
// whether a certificate is a good one (see package certlint) or to be trusted (see package trust).
// Begin reading at FromData, ParseKeyPair and ParseBundle.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"

	"github.com/hakone-gateway/hakone/internal/diag"
)

const redacted = "[redacted]"

// Bytes is key material. No formatting verb, logger or encoder prints it; Expose is the only way
// out. The zero value is empty.
type Bytes struct {
	// A function, because fmt and other printers read unexported fields of structs without asking
	// their methods, and follow pointers; nothing can look into a function.
	get func() []byte
}

// NewBytes wraps b, which it does not copy: the caller gives it away.
func NewBytes(b []byte) Bytes { return Bytes{func() []byte { return b }} }

// Expose returns the bytes themselves. They must not be changed.
func (b Bytes) Expose() []byte {
	if b.get == nil {
		return nil
	}
	return b.get()
}

// Len returns the number of bytes.
func (b Bytes) Len() int { return len(b.Expose()) }

// Equal compares in constant time for equal lengths.
func (b Bytes) Equal(other Bytes) bool {
	return subtle.ConstantTimeCompare(b.Expose(), other.Expose()) == 1
}

// String returns "[redacted]".
func (b Bytes) String() string { return redacted }

// GoString returns "[redacted]".
func (b Bytes) GoString() string { return redacted }

// Format writes "[redacted]" for every verb and flag.
func (b Bytes) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText returns "[redacted]", so JSON, YAML and XML hold nothing else.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary returns "[redacted]", so encoding/gob holds nothing else.
func (b Bytes) MarshalBinary() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (b Bytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// Finding is something worth telling about bytes that are usable all the same. Key is the entry of
// the secret it is about ("tls.crt"), empty where that is not known.
type Finding struct {
	Code     diag.Code
	Severity diag.Severity
	Key      string
	Message  string // one sentence, without final full stop
	Fix      string
}

// Diagnostic turns the finding into a diagnostic about obj; field is the path to the secret's data
// or to the reference (empty: "data[KEY]").
func (f Finding) Diagnostic(obj diag.Object, field string) diag.Diagnostic {
	if field == "" && f.Key != "" {
		field = fmt.Sprintf("data[%s]", f.Key)
	}
	d := diag.New(f.Code, obj, field, f.Message, f.Fix)
	d.Severity = f.Severity
	return d
}

func finding(code diag.Code, key, message, fix string) Finding {
	return Finding{Code: code, Severity: code.Severity(), Key: key, Message: message, Fix: fix}
}

// Error says why bytes cannot be used. Every error of this package is one; none holds key material.
type Error struct {
	Finding
	Err error // the cause in Go's words, nil where there is none
}

// Error returns the sentence and its cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Diagnostic turns the error into a diagnostic, as Finding.Diagnostic does, with the cause added.
func (e *Error) Diagnostic(obj diag.Object, field string) diag.Diagnostic {
	d := e.Finding.Diagnostic(obj, field)
	d.Message = e.Error()
	return d
}

func fail(code diag.Code, key, message, fix string) *Error {
	return &Error{Finding: finding(code, key, message, fix)}
}

func failWith(err error, code diag.Code, key, message, fix string) *Error {
	return &Error{Finding: finding(code, key, message, fix), Err: err}
}

// digest hashes parts with their lengths, so that no two lists of parts collide.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:", len(p))
		_, _ = h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
