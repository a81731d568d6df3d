package inspect

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"

	"github.com/hakone-gateway/hakone/internal/diag"
)

const plainFix = "Write it again as plain PEM: hakone cert inspect --repair FILE > FILE.pem."

// bytes unwraps data until it is PEM or DER.
func (r *reader) bytes(s spot, data []byte, depth int) {
	if len(data) > MaxInput {
		r.tell(s, diag.InputTooLarge, fmt.Sprintf("the input is larger than %d MiB", MaxInput>>20), "Give the file that holds the certificate, not the archive around it.")
		return
	}
	if depth > maxDepth || len(bytes.TrimSpace(data)) == 0 {
		return
	}
	if text, what := unicodeText(data); what != "" {
		r.tell(s, diag.InputRepaired, "the text is "+what+", which most programs do not read as PEM", plainFix)
		data = text
	}
	trimmed := bytes.TrimSpace(data)
	switch {
	case isDER(data):
		r.sequence(s, data)
	case isDER(trimmed):
		r.sequence(s, trimmed)
	case r.container(s, trimmed, depth):
	case escapedPEM(data):
		r.tell(s, diag.InputRepaired, `line ends are written as the two characters \n, as in JSON`, plainFix)
		r.bytes(s, unescape(data), depth+1)
	case pemMark.Match(data):
		r.pem(s, data)
	default:
		r.encoded(s, trimmed, depth)
	}
}

// encoded tries base64 and hexadecimal.
func (r *reader) encoded(s spot, text []byte, depth int) {
	text = bytes.Trim(text, "\"'`")
	if inner := unhex(text); inner != nil && isDER(inner) {
		r.tell(s, diag.InputRepaired, "the input is the hexadecimal text of DER", plainFix)
		r.bytes(s, inner, depth+1)
		return
	}
	inner := unbase64(text)
	if inner == nil {
		return
	}
	before := len(r.report.Items)
	at := len(r.report.Findings)
	r.bytes(s, inner, depth+1)
	if len(r.report.Items) == before && len(r.report.Findings) == at {
		return
	}
	what := "the input is bare base64 without its BEGIN and END lines"
	if !isDER(inner) {
		what = "the input is base64 of what should stand there itself"
		if !bytes.Contains(inner, []byte("BEGIN")) && unbase64(bytes.TrimSpace(inner)) != nil {
			what = "the input is base64 of base64"
		}
	}
	said := append([]diag.Diagnostic{finding(s, diag.InputRepaired, diag.Warning, what, plainFix)}, r.report.Findings[at:]...)
	r.report.Findings = append(r.report.Findings[:at:at], said...)
}

// unicodeText turns UTF-16 and marked UTF-8 into UTF-8; what is "" where there is nothing to do.
func unicodeText(data []byte) (text []byte, what string) {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return data[3:], "UTF-8 with a byte order mark"
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		return fromUTF16(data[2:], false), "UTF-16"
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		return fromUTF16(data[2:], true), "UTF-16"
	case len(data) > 8 && data[1] == 0 && data[3] == 0 && data[5] == 0 && data[0] != 0:
		return fromUTF16(data, false), "UTF-16 without a byte order mark"
	case len(data) > 8 && data[0] == 0 && data[2] == 0 && data[4] == 0 && data[1] != 0:
		return fromUTF16(data, true), "UTF-16 without a byte order mark"
	}
	return data, ""
}

func fromUTF16(data []byte, bigEndian bool) []byte {
	units := make([]uint16, 0, len(data)/2)
	for i := 0; i+1 < len(data); i += 2 {
		lo, hi := data[i], data[i+1]
		if bigEndian {
			lo, hi = hi, lo
		}
		units = append(units, uint16(hi)<<8|uint16(lo))
	}
	return []byte(string(utf16.Decode(units)))
}

// escapedPEM reports whether the text has a PEM block whose line ends are spelt out.
func escapedPEM(data []byte) bool {
	return bytes.Contains(data, []byte("BEGIN")) && bytes.Contains(data, []byte(`\n`))
}

var escapes = regexp.MustCompile(`(\\r)?\\n`)

func unescape(data []byte) []byte {
	return escapes.ReplaceAll(data, []byte("\n"))
}

// unbase64 decodes standard and URL alphabets, with and without padding and line ends; nil if it is
// something else.
func unbase64(text []byte) []byte {
	plain := make([]byte, 0, len(text))
	for _, c := range text {
		switch {
		case c == '\n' || c == '\r' || c == ' ' || c == '\t' || c == '=':
		case c == '-':
			plain = append(plain, '+')
		case c == '_':
			plain = append(plain, '/')
		default:
			plain = append(plain, c)
		}
	}
	if len(plain) < 16 {
		return nil
	}
	out, err := base64.RawStdEncoding.DecodeString(string(plain))
	if err != nil {
		return nil
	}
	return out
}

func unhex(text []byte) []byte {
	if len(text) < 8 || text[0] != '3' {
		return nil
	}
	plain := bytes.Map(func(c rune) rune {
		if strings.ContainsRune(" \t\r\n:", c) {
			return -1
		}
		return c
	}, text)
	out, err := hex.DecodeString(string(plain))
	if err != nil {
		return nil
	}
	return out
}

// unrecognised says what the input resembles.
func (r *reader) unrecognised(s spot, data []byte) {
	if s.quiet {
		return
	}
	what, fix := resembles(bytes.TrimSpace(data))
	r.tell(s, diag.InputUnrecognised, "the input "+what, fix)
}

func resembles(data []byte) (what, fix string) {
	const again = "Give a certificate, key, request, PKCS #12 container, revocation list or OCSP response, as PEM or DER."
	lower := bytes.ToLower(data[:min(len(data), 512)])
	switch {
	case len(data) == 0:
		return "is empty", "Put the PEM text into it."
	case bytes.HasPrefix(lower, []byte("ssh-")) || bytes.HasPrefix(lower, []byte("ecdsa-sha2-")):
		return "is an SSH public key, which is no X.509", again
	case bytes.HasPrefix(lower, []byte("putty-user-key-file")):
		return "is a PuTTY key", "Convert it: puttygen FILE -O private-openssh, then ssh-keygen -p -m PKCS8 -N '' -f KEY."
	case bytes.HasPrefix(data, []byte("\xfe\xed\xfe\xed")):
		return "is a Java keystore (JKS)", "Convert it: keytool -importkeystore -srckeystore FILE -destkeystore FILE.p12 -deststoretype pkcs12."
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return "is a ZIP archive", "Unpack it, and give the file in it."
	case bytes.HasPrefix(data, []byte("\x1f\x8b")):
		return "is compressed with gzip", "Unpack it: gzip -d FILE."
	case bytes.HasPrefix(lower, []byte("<!doctype html")) || bytes.HasPrefix(lower, []byte("<html")):
		return "is an HTML page, perhaps a download that asked to log in", "Download it again."
	case bytes.HasPrefix(lower, []byte("certificate:")):
		return "is what openssl x509 -text prints, without the PEM block below it", "Give the file itself, or print it with openssl x509 -in FILE."
	case data[0] == 0x30 && len(data) > 1 && data[1] == 0x80:
		return "is BER of indefinite length, not DER", "Convert it: openssl pkcs12 -in FILE -nodes -out FILE.pem, or openssl pkcs7 -print_certs."
	}
	return "holds nothing that is known here", again
}
