package inspect

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// pemMark finds BEGIN and END lines, also those whose dashes a word processor has changed.
var pemMark = regexp.MustCompile(`[-–—]{2,}\s*(BEGIN|END)[ \t]+([A-Z0-9 #]{2,60}?)\s*[-–—]{2,}`)

// pem reads every block, whatever has happened to it.
func (r *reader) pem(s spot, data []byte) {
	marks := pemMark.FindAllSubmatchIndex(data, 2*maxItems)
	base, line, seen := s.line, s.line, 0
	for i, m := range marks {
		line += bytes.Count(data[seen:m[0]], []byte("\n"))
		seen = m[0]
		kind, label := string(data[m[2]:m[3]]), string(data[m[4]:m[5]])
		if kind != "BEGIN" {
			continue
		}
		end, closed := len(data), false
		if i+1 < len(marks) {
			end = marks[i+1][0]
			closed = string(data[marks[i+1][2]:marks[i+1][3]]) == "END"
		}
		whole := data[m[0]:end]
		if closed {
			whole = data[m[0]:marks[i+1][1]]
		}
		spot := s.at(line)
		if base == 1 && len(marks) <= 2 {
			spot = s.at(1)
		}
		r.block(spot, block{label: label, body: data[m[1]:end], whole: whole, closed: closed, indented: m[0] > 0 && data[m[0]-1] != '\n'})
	}
}

// block is one PEM block as it stands.
type block struct {
	label    string
	body     []byte // between the lines
	whole    []byte
	closed   bool // it has an END line
	indented bool
}

func (r *reader) block(s spot, b block) {
	s.form = "PEM"
	if strings.Contains(string(b.body[:min(len(b.body), 400)]), "ENCRYPTED") || b.label == "ENCRYPTED PRIVATE KEY" {
		r.encrypted(s)
		return
	}
	if b.label == "OPENSSH PRIVATE KEY" {
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, diag.KeyUnparsable, "this is an OpenSSH key", "Convert it: ssh-keygen -p -m PKCS8 -N '' -f KEY.")
		return
	}
	if b.label == "DH PARAMETERS" || b.label == "EC PARAMETERS" {
		return
	}
	der, bad := bodyBytes(b.body)
	switch {
	case bad > 0:
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, brokenCode(b.label), fmt.Sprintf("the PEM block %q has a character on its line %d that is not base64", b.label, bad), "Copy the whole block again.")
		return
	case len(der) == 0:
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, diag.InputTruncated, fmt.Sprintf("the PEM block %q is empty", b.label), "Copy the whole block again.")
		return
	}
	whole := !b.closed && derLength(der) == len(der)
	if p, _ := pem.Decode(b.whole); p == nil || !bytes.Equal(p.Bytes, der) || b.indented {
		switch {
		case whole:
			r.tell(s, diag.InputRepaired, fmt.Sprintf("the PEM block %q has no END line", b.label), plainFix)
		case b.closed:
			r.tell(s, diag.InputRepaired, fmt.Sprintf("the PEM block %q is written in a way that other programs do not read: %s", b.label, oddity(b)), plainFix)
		}
	}
	if r.stated(s, der, b.label) {
		return
	}
	r.one(s, der, b.label)
}

// stated tells of a block that ends too early.
func (r *reader) stated(s spot, der []byte, label string) bool {
	if n := derLength(der); der[0] == 0x30 && n > len(der) {
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, diag.InputTruncated, fmt.Sprintf("the PEM block %q ends in the middle: %d of %d bytes are there", label, len(der), n), "Copy the whole block again.")
		return true
	}
	return false
}

// oddity says in words why a block that could be read is not plain PEM.
func oddity(b block) string {
	switch {
	case !bytes.HasPrefix(b.whole, []byte("-----BEGIN ")) || !bytes.Contains(b.whole, []byte("-----END ")) || !bytes.HasSuffix(b.whole, []byte("-----")):
		return "its dashes are not five hyphens"
	case !bytes.Contains(bytes.TrimSpace(b.body), []byte("\n")):
		return "it stands on one line"
	case b.indented:
		return "it does not start at the beginning of a line"
	case !bytes.Contains(b.whole, []byte("-----END "+b.label+"-----")):
		return "BEGIN and END have different labels"
	}
	return "there are other characters between its lines"
}

// bodyBytes decodes base64 leniently: blanks, quotes and marks of quotation are passed over. bad is
// the line of the first character that cannot be meant, counted from the BEGIN line, else 0.
func bodyBytes(body []byte) (der []byte, bad int) {
	var plain []byte
	for n, line := range bytes.Split(body, []byte("\n")) {
		line = bytes.Trim(line, " \t\r\"'`,>|\\")
		if bytes.IndexByte(line, ':') > 0 { // a header, as "Bag Attributes" or "Proc-Type: 4"
			continue
		}
		for _, c := range line {
			switch {
			case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '+', c == '/':
				plain = append(plain, c)
			case c == '-':
				plain = append(plain, '+')
			case c == '_':
				plain = append(plain, '/')
			case c == '=' || c == ' ' || c == '\t' || c == '\r':
			default:
				return nil, n + 1
			}
		}
	}
	if len(plain)%4 == 1 {
		plain = plain[:len(plain)-1]
	}
	der = make([]byte, base64.RawStdEncoding.DecodedLen(len(plain)))
	n, err := base64.RawStdEncoding.Decode(der, plain)
	if err != nil {
		return nil, 1
	}
	return der[:n], 0
}

func brokenCode(label string) diag.Code {
	switch {
	case strings.HasSuffix(label, "PRIVATE KEY"):
		return diag.KeyUnparsable
	case strings.Contains(label, "REQUEST"):
		return diag.CSRInvalid
	case strings.Contains(label, "CRL"):
		return diag.CRLInvalid
	}
	return diag.CertUnparsable
}

func (r *reader) encrypted(s spot) {
	r.add(s, &Item{Kind: KindKey, Encrypted: true})
	r.tell(s, diag.KeyEncrypted, "the private key is encrypted with a passphrase; nothing can be said about it, and a gateway cannot use it", "Decrypt it: openssl pkey -in KEY -out KEY.pem.")
}

// PEM writes everything usable of the report again as plain PEM, keys as PKCS #8.
func (r *Report) PEM() []byte {
	var out bytes.Buffer
	for _, i := range r.Items {
		if i.raw.Len() == 0 {
			continue
		}
		_ = pem.Encode(&out, &pem.Block{Type: i.label, Bytes: i.raw.Expose()})
	}
	return out.Bytes()
}
