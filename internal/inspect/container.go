package inspect

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

var manifestMark = regexp.MustCompile(`(?m)^(kind|apiVersion|data|stringData):`)

// container reads JSON and YAML that hold texts: Secrets, ConfigMaps, API bodies. It reports whether
// data was one.
func (r *reader) container(s spot, data []byte, depth int) bool {
	if depth > 2 {
		return false
	}
	if data[0] == '{' || data[0] == '[' || data[0] == '"' {
		var v any
		if json.Unmarshal(data, &v) == nil {
			r.value(s, v, depth)
			return true
		}
		return false
	}
	if !manifestMark.Match(data) || bytes.HasPrefix(data, []byte("-----BEGIN")) {
		return false
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	found := false
	for range maxItems {
		var v map[string]any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return found
		}
		found = true
		r.value(s, v, depth)
	}
	return found
}

// value walks through a decoded document.
func (r *reader) value(s spot, v any, depth int) {
	switch v := v.(type) {
	case string:
		s.form = ""
		r.bytes(s, []byte(v), depth+1)
	case []any:
		for _, e := range v {
			r.value(s, e, depth)
		}
	case map[string]any:
		kind, _ := v["kind"].(string)
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.SortFunc(keys, entryOrder)
		for _, k := range keys {
			inner, isMap := v[k].(map[string]any)
			text, isText := v[k].(string)
			switch {
			case k == "data" && isMap && kind == "Secret":
				r.entries(s, inner, true, depth)
			case (k == "data" || k == "stringData" || k == "binaryData") && isMap:
				r.entries(s, inner, k == "binaryData", depth)
			case k == "items":
				r.value(s, v[k], depth)
			case isText && kind == "" && (wellKnown(k) || strings.Contains(text, "BEGIN")):
				r.entries(s, map[string]any{k: text}, false, depth)
			}
		}
	}
}

// entries reads the parts of a Secret. Those of well-known names must hold something.
func (r *reader) entries(s spot, data map[string]any, encoded bool, depth int) {
	keys := make([]string, 0, len(data))
	for k := range data {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, entryOrder)
	for _, k := range keys {
		text, ok := data[k].(string)
		if !ok {
			continue
		}
		part := s
		part.entry, part.quiet = k, !wellKnown(k)
		content := []byte(text)
		if encoded {
			if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil {
				content = decoded
			}
		}
		items, said := len(r.report.Items), len(r.report.Findings)
		r.bytes(part, content, depth+1)
		if items == len(r.report.Items) && said == len(r.report.Findings) {
			r.unrecognised(part, content)
		}
	}
}

// entryOrder puts certificates before keys before the rest.
func entryOrder(a, b string) int {
	rank := func(k string) int {
		switch {
		case k == "tls.crt", k == "cert", k == "certificate":
			return 0
		case k == "tls.key", k == "key", k == "private_key":
			return 1
		}
		return 2
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

func wellKnown(entry string) bool {
	switch entry {
	case "tls.crt", "tls.key", "ca.crt", "ca.crl", "cert", "key", "cacert", "crl", "certificate", "private_key", "tls.ocsp-staple":
		return true
	}
	return false
}

// Bounds on what a PKCS #12 container may make us compute.
const (
	maxRounds    = 5_000_000
	pkcs12Within = 20 * time.Second
)

// pkcs12 opens a container with the password given, else without one.
func (r *reader) pkcs12(s spot, der []byte) {
	s.form = "PKCS #12"
	if rounds(der, 0) > maxRounds {
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, diag.PKCS12Unusable, "the PKCS #12 container asks for an absurd number of rounds of its password function", "Write it again: openssl pkcs12 -in FILE -nodes -out FILE.pem.")
		return
	}
	password := ""
	if r.opts.Password != nil {
		password = string(r.opts.Password.Expose())
	}
	type opened struct {
		items []*Item
		err   error
	}
	done := make(chan opened, 1)
	go func() {
		items, err := openPKCS12(der, password)
		done <- opened{items, err}
	}()
	var o opened
	timer := time.NewTimer(pkcs12Within)
	defer timer.Stop()
	select {
	case o = <-done:
	case <-timer.C:
		o.err = fmt.Errorf("it was not opened within %s", pkcs12Within)
	}
	switch {
	case errors.Is(o.err, pkcs12.ErrIncorrectPassword), errors.Is(o.err, pkcs12.ErrDecryption):
		r.add(s, &Item{Kind: KindBroken, Encrypted: true})
		what := "the PKCS #12 container has a password"
		if r.opts.Password != nil {
			what = "the password does not open the PKCS #12 container"
		}
		r.tell(s, diag.PKCS12Password, what, "Give it with --password-file FILE (- for standard input).")
	case o.err != nil:
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, diag.PKCS12Unusable, fmt.Sprintf("the PKCS #12 container cannot be read: %v", o.err), "Write it again: openssl pkcs12 -in FILE -nodes -out FILE.pem (with -legacy for old ones).")
	default:
		for _, i := range o.items {
			r.add(s, i)
		}
	}
}

// openPKCS12 returns what is in a container. The library is another's: a panic of it is an error here.
func openPKCS12(der []byte, password string) (items []*Item, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it is malformed")
		}
	}()
	key, leaf, chain, err := pkcs12.DecodeChain(der, password)
	if err != nil {
		if certs, trustErr := pkcs12.DecodeTrustStore(der, password); trustErr == nil {
			for _, c := range certs {
				items = append(items, certificateItem(c))
			}
			return items, nil
		}
		return nil, err
	}
	items = append(items, certificateItem(leaf))
	for _, c := range chain {
		items = append(items, certificateItem(c))
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return items, nil
	}
	if k, err := secret.ParseKey(pkcs8); err == nil {
		items = append(items, keyItem(k, pkcs8))
	}
	return items, nil
}

// rounds returns the largest number that follows a salt anywhere in the structure: the count of a
// password function.
func rounds(der []byte, depth int) int {
	if depth > 16 {
		return 0
	}
	most, salted := 0, false
	input := cryptobyte.String(der)
	for !input.Empty() {
		var element cryptobyte.String
		var tag asn1.Tag
		if !input.ReadAnyASN1(&element, &tag) {
			return most
		}
		switch {
		case tag == asn1.INTEGER && salted:
			n := 0
			for _, b := range element[:min(len(element), 5)] {
				n = n<<8 | int(b)
			}
			most = max(most, n)
		case tag == asn1.OCTET_STRING || tag&0x20 != 0:
			most = max(most, rounds(element, depth+1))
		}
		salted = tag == asn1.OCTET_STRING || salted && tag == asn1.INTEGER
	}
	return most
}
