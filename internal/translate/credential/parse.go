package credential

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// pairEntries and trustEntries are the entries of a Secret or ConfigMap that are read.
var (
	pairEntries  = [...]string{"tls.crt", "tls.key", "cert", "key", "tls.ocsp-staple"}
	trustEntries = [...]string{"ca.crt", "cacert", "ca.crl", "crl"}
)

// WithPairOf returns s with the certificate and key of good: everything else, the CA above all, stays
// as s has it.
func WithPairOf(s, good *resource.Secret) *resource.Secret {
	merged := *s
	merged.Data = make(map[string]resource.Sensitive, len(s.Data))
	for k, v := range s.Data {
		if !slices.Contains(pairEntries[:], k) {
			merged.Data[k] = v
		}
	}
	for _, k := range pairEntries {
		if v, ok := good.Data[k]; ok {
			merged.Data[k] = v
		}
	}
	merged.Version = s.Version + "+" + good.Version // the content is of neither
	return &merged
}

// secretContent reads a Secret of any of the formats, once.
func (f *Finder) secretContent(s *resource.Secret) *parsed {
	return f.once(s.Key, func() *parsed {
		data := make(map[string][]byte, len(s.Data))
		for k, v := range s.Data {
			data[k] = v
		}
		return f.cache.get(contentKey(&s.Meta, data), func() *parsed { return parseData(data) })
	})
}

// configMapContent reads the CA entries of a ConfigMap, once.
func (f *Finder) configMapContent(m *resource.ConfigMap) *parsed {
	return f.once(m.Key, func() *parsed {
		data := map[string][]byte{}
		for _, k := range trustEntries {
			if v, ok := configMapEntry(m, k); ok {
				data[k] = v
			}
		}
		return f.cache.get(contentKey(&m.Meta, data), func() *parsed { return parseData(data) })
	})
}

// entryContent reads the CAs of one entry of an object, with the object's revocation lists. entry returns
// an entry, and whether it is there.
func (f *Finder) entryContent(name string, entry func(string) ([]byte, bool)) *parsed {
	cas, _ := entry(name)
	data := map[string][]byte{"ca.crt": cas}
	for _, k := range []string{"ca.crl", "crl"} {
		if v, ok := entry(k); ok && k != name {
			data[k] = v
		}
	}
	return f.parseFiles(data).speakingOf(name)
}

// speakingOf returns p, which is shared, with name in place of ca.crt in what is said about the CA.
func (p *parsed) speakingOf(name string) *parsed {
	if p.trustErr == nil && len(p.trustFindings) == 0 {
		return p
	}
	named := func(x secret.Finding) secret.Finding {
		if x.Key == "ca.crt" {
			x.Key, x.Message, x.Fix = name, strings.ReplaceAll(x.Message, "ca.crt", name), strings.ReplaceAll(x.Fix, "ca.crt", name)
		}
		return x
	}
	own := *p
	if p.trustErr != nil {
		err := *p.trustErr
		err.Finding = named(err.Finding)
		own.trustErr = &err
	}
	own.trustFindings = slices.Clone(p.trustFindings)
	for i, x := range own.trustFindings {
		own.trustFindings[i] = named(x)
	}
	return &own
}

// configMapEntry returns an entry of a ConfigMap, and whether it is there.
func configMapEntry(m *resource.ConfigMap, name string) ([]byte, bool) {
	if v, ok := m.Data[name]; ok {
		return []byte(v), true
	}
	v, ok := m.BinaryData[name]
	return v, ok
}

// secretEntry is configMapEntry of a Secret.
func secretEntry(s *resource.Secret, name string) ([]byte, bool) {
	v, ok := s.Data[name]
	return v, ok
}

func (f *Finder) once(key resource.Key, parse func() *parsed) *parsed {
	p := f.parsed[key]
	if p == nil {
		p = parse()
		f.parsed[key] = p
	}
	return p
}

func parseData(data map[string][]byte) *parsed {
	p := &parsed{}
	m, found, err := secret.FromData(data)
	if err == nil {
		p.findings = found
		p.pair, found, err = m.KeyPair()
		p.findings = append(p.findings, found...)
	} else {
		// Half a key pair does not make the CA beside it unusable.
		m = trustMaterial(data)
	}
	p.pairErr = asError(err)
	p.parseTrust(m)
	if e := emptyList(data); e != nil && p.trustErr == nil {
		p.bundle, p.crls, p.trustErr = nil, nil, e
	}
	return p
}

// emptyList refuses an entry for revocation lists that is there and holds nothing: whoever made it counts
// on a list.
func emptyList(data map[string][]byte) *secret.Error {
	for _, k := range [...]string{"ca.crl", "crl"} {
		if v, ok := data[k]; ok && len(bytes.TrimSpace(v)) == 0 {
			return &secret.Error{Finding: secret.Finding{Code: diag.CRLInvalid, Severity: diag.Error, Key: k,
				Message: "the entry for revocation lists is empty", Fix: "Put a PEM or DER revocation list there, or remove the entry."}}
		}
	}
	return nil
}

// trustMaterial returns the CA part alone; empty if there is none.
func trustMaterial(data map[string][]byte) secret.Material {
	rest := map[string][]byte{}
	for _, k := range trustEntries {
		if len(data[k]) > 0 {
			rest[k] = data[k]
		}
	}
	m, _, err := secret.FromData(rest)
	if err != nil {
		m = secret.Material{}
	}
	return m
}

// parseTrust reads CA and CRLs. A list that bears the name of one of the CAs and is signed by none of
// them is refused: whoever put it there counts on it.
func (p *parsed) parseTrust(m secret.Material) {
	bundle, found, err := m.Bundle()
	p.bundle, p.trustFindings, p.trustErr = bundle, found, asError(err)
	if p.trustErr != nil {
		return
	}
	crls, err := m.CRLs()
	if err != nil {
		p.bundle, p.trustErr = nil, asError(err)
		return
	}
	for _, crl := range crls {
		if e := forged(crl, bundle); e != nil {
			p.bundle, p.trustErr = nil, e
			return
		}
	}
	p.crls = crls
}

func forged(crl *secret.CRL, bundle *secret.Bundle) *secret.Error {
	named := false
	for i := range bundle.Len() {
		ca := bundle.Certificates[i]
		if !slices.Equal(ca.RawSubject, crl.RawIssuer) {
			continue
		}
		if crl.SignedBy(ca) == nil {
			return nil
		}
		named = true
	}
	if !named {
		return nil
	}
	return &secret.Error{Finding: secret.Finding{Code: diag.CRLInvalid, Severity: diag.Error, Key: "ca.crl",
		Message: fmt.Sprintf("the revocation list of %s is signed by none of the CAs of that name", crl.Issuer),
		Fix:     "Put the list that this CA issued beside it: openssl ca -gencrl -out crl.pem."}}
}

// parseFiles reads the bytes of certificate files as a Secret of the tls format.
func (f *Finder) parseFiles(data map[string][]byte) *parsed {
	return f.cache.get(contentKey(nil, data), func() *parsed { return parseData(data) })
}

// asError returns err as the coded error that package secret promises; nil for nil.
func asError(err error) *secret.Error {
	if err == nil {
		return nil
	}
	var e *secret.Error
	if errors.As(err, &e) {
		return e
	}
	return &secret.Error{Finding: secret.Finding{Code: diag.SecretInvalid, Severity: diag.Error, Message: err.Error()}}
}
