package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
)

// maxBlocks bounds how many PEM blocks one entry may hold; the system bundle has about 150.
const maxBlocks = 4096

// block is one PEM block, or the place where one is broken (der is nil).
type block struct {
	label  string
	header map[string]string
	der    []byte
	line   int // of its BEGIN, counted from 1
}

func (b block) isCertificate() bool {
	return b.label == "CERTIFICATE" || b.label == "X509 CERTIFICATE"
}

func (b block) isKey() bool { return strings.HasSuffix(b.label, "PRIVATE KEY") }

func (b block) isCRL() bool { return b.label == "X509 CRL" || b.label == "CRL" }

// encrypted reports whether the block is a key under a passphrase.
func (b block) encrypted() bool {
	return b.label == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.header["Proc-Type"], "ENCRYPTED")
}

const (
	pemBegin = "-----BEGIN "
	pemDash  = "-----"
)

// blocks finds every PEM block in data. pem.Decode walks over broken blocks silently; here they are
// returned with a nil der. Text around blocks, a byte order mark, CRLF, trailing blanks and a missing
// line end between two blocks are tolerated.
func blocks(data []byte) []block {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data = bytes.ReplaceAll(data, []byte(pemDash+pemBegin), []byte(pemDash+"\n"+pemBegin))
	var out []block
	line, done := 1, 0
	for len(out) < maxBlocks {
		at := nextBegin(data, done)
		if at < 0 {
			break
		}
		line += bytes.Count(data[done:at], []byte("\n"))
		end := nextBegin(data, at+len(pemBegin))
		if end < 0 {
			end = len(data)
		}
		b := block{line: line}
		if p, _ := pem.Decode(data[at:end]); p != nil {
			b.label, b.header, b.der = p.Type, p.Headers, p.Bytes
		} else {
			b.label = beginLabel(data[at:end])
		}
		out = append(out, b)
		line += bytes.Count(data[at:end], []byte("\n"))
		done = end
	}
	return out
}

// nextBegin returns the place of the next BEGIN at the start of a line, or -1.
func nextBegin(data []byte, from int) int {
	for from < len(data) {
		i := bytes.Index(data[from:], []byte(pemBegin))
		if i < 0 {
			return -1
		}
		at := from + i
		if at == 0 || data[at-1] == '\n' {
			return at
		}
		from = at + len(pemBegin)
	}
	return -1
}

// beginLabel reads the label of a block that does not decode.
func beginLabel(data []byte) string {
	first, _, _ := bytes.Cut(data[len(pemBegin):], []byte("\n"))
	label, _, _ := bytes.Cut(first, []byte(pemDash))
	if len(label) > 40 {
		label = label[:40]
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(label)), "?")
}

// guess says in words what data without a usable PEM block most likely is, and how to mend it.
func guess(data []byte, want string) (what, fix string) {
	trimmed := bytes.TrimSpace(data)
	switch {
	case len(trimmed) == 0:
		return "is empty", fmt.Sprintf("Put the PEM %s into it.", want)
	case trimmed[0] == 0x30 && len(trimmed) > 1 && (trimmed[1] >= 0x80 || len(trimmed) < 130):
		return "is DER, not PEM", fmt.Sprintf("Convert it: openssl %s -inform DER -in FILE -out FILE.pem.", opensslCommand(want))
	}
	if indented := bytes.Contains(data, []byte(pemBegin)); indented {
		return "has a PEM block that does not start at the beginning of a line", "Remove the characters before -----BEGIN."
	}
	plain := bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, trimmed)
	if decoded, err := base64.StdEncoding.DecodeString(string(plain)); err == nil {
		switch {
		case bytes.Contains(decoded, []byte(pemBegin)):
			return "is base64 of PEM: it was encoded twice", "Encode once under data, or put the PEM text itself under stringData."
		case len(decoded) > 1 && decoded[0] == 0x30:
			return "is bare base64 without its BEGIN and END lines", "Paste the whole PEM block, with both lines."
		}
	}
	return "holds no PEM block", fmt.Sprintf("Paste the whole PEM %s, from -----BEGIN to the last dash of -----END.", want)
}

func opensslCommand(want string) string {
	switch want {
	case "private key":
		return "pkey"
	case "revocation list":
		return "crl"
	}
	return "x509"
}
