package credential

import (
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// TrustListed is Trust with the revocation lists of lists beside those of the sources themselves. A list
// that is missing or cannot be used spoils the trust: who names one must not get trust without it.
func (f *Finder) TrustListed(sources, lists []Source) (ir.TrustRef, bool) {
	ref, ok := f.Trust(sources)
	if len(lists) == 0 || !ok {
		return ref, ok
	}
	base := f.out.Trust[ref]
	var crls []*secret.CRL
	fault := ""
	for _, src := range lists {
		ref += "+crl:" + src.ref()
		found, e := f.lists(src, base.Bundle)
		if e != nil {
			message := fmt.Sprintf("%s %s/%s: %s", src.Kind, src.Namespace, src.Name, e.Message)
			f.report(e.Code, src.From, message, e.Fix)
			fault = message
			continue
		}
		crls = append(crls, found...)
	}
	if fault != "" {
		f.out.Trust[ref] = &ir.TrustBundle{Origin: base.Origin, Code: diag.TrustMissing, Detail: fault}
		return ref, false
	}
	f.out.Trust[ref] = newBundle(base.Origin, base.Bundle, distinct(append(slices.Clone(base.CRLs), crls...)))
	return ref, true
}

// distinct leaves out lists that stand there twice.
func distinct(crls []*secret.CRL) []*secret.CRL {
	seen := map[string]bool{}
	return slices.DeleteFunc(crls, func(c *secret.CRL) bool {
		again := seen[c.Digest]
		seen[c.Digest] = true
		return again
	})
}

// lists reads the revocation lists of one object.
func (f *Finder) lists(src Source, bundle *secret.Bundle) ([]*secret.CRL, *secret.Error) {
	entry, there := f.entries(src)
	fail := func(message, fix string) *secret.Error {
		return &secret.Error{Finding: secret.Finding{Code: diag.CRLInvalid, Severity: diag.Error, Message: message, Fix: fix}}
	}
	if !there {
		state, fix := f.unaccepted(src.Kind, src.Namespace, src.Name), mendIt
		if state == "" {
			state, fix = "with revocation lists does not exist", "Create it with an entry ca.crl."
		}
		return nil, fail("the object "+state, fix)
	}
	names := []string{"ca.crl", "crl.pem", "crl"}
	if src.Entry != "" {
		names = []string{src.Entry}
	}
	for _, name := range names {
		data := entry(name)
		if len(data) == 0 {
			continue
		}
		crls, err := secret.ParseCRLs(data)
		if e := asError(err); e != nil {
			return nil, e
		}
		if len(crls) == 0 {
			return nil, fail(fmt.Sprintf("the entry %s holds no revocation list", name), "Put a PEM or DER list there: openssl ca -gencrl -out crl.pem.")
		}
		for _, c := range crls {
			if e := forged(c, bundle); e != nil {
				return nil, e
			}
		}
		return crls, nil
	}
	if src.Entry != "" {
		return nil, fail(fmt.Sprintf("there is no entry %q", src.Entry), "Put a PEM or DER revocation list there, or correct the key.")
	}
	return nil, fail("there is neither ca.crl nor crl.pem in it", "Put a PEM or DER revocation list into ca.crl, or name its entry with key.")
}

// entries returns how the entries of an object are read; false if there is no such object.
func (f *Finder) entries(src Source) (func(string) []byte, bool) {
	switch src.Kind {
	case resource.KindSecret:
		if s := f.set.Secret(src.Namespace, src.Name); s != nil {
			return func(k string) []byte { return s.Data[k] }, true
		}
	case resource.KindConfigMap:
		if m := f.set.ConfigMap(src.Namespace, src.Name); m != nil {
			return func(k string) []byte { v, _ := configMapEntry(m, k); return v }, true
		}
	}
	return nil, false
}
