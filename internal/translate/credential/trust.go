package credential

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Source names one object that holds CA certificates, for references that are exact.
type Source struct {
	Kind      string // resource.KindSecret or resource.KindConfigMap
	Namespace string
	Name      string
	Entry     string    // that holds the CAs; empty: ca.crt or cacert
	From      ir.Origin // the field that refers to it
}

// TrustBeside looks up the CA that belongs to a credential, as Istio does: in the Secret NAME-cacert,
// else in the Secret NAME itself (ca.crt or cacert). Revocation lists of both are used. false means
// that there is none or that it is broken; the reference then refuses every peer. Both have been
// reported for the field from.
func (f *Finder) TrustBeside(places []string, name string, from ir.Origin) (ir.TrustRef, bool) {
	beside, own := f.findSecret(places, name+"-cacert"), f.findSecret(places, name)
	var held []holder
	if beside != nil {
		held = append(held, f.secretHolder(beside))
	}
	if own != nil {
		if h := f.secretHolder(own); beside == nil || len(h.p.crls) > 0 || h.p.trustErr != nil && h.p.trustErr.Code == diag.CRLInvalid {
			if beside != nil {
				h.crlsOnly, h.ref = true, "crl:"+h.ref
			}
			held = append(held, h)
		}
	}
	if len(held) == 0 {
		return f.noTrust(secretTrustRef(places[0], name), from,
			f.missing("secret", resource.KindSecret, places, name+"-cacert")+", and no secret "+name+" is there to hold the CA itself")
	}
	return f.join(held, from)
}

// TrustNamed looks up caCertCredentialName: a Secret or else a ConfigMap of that name, in the first of
// places that has one. Results are as for TrustBeside.
func (f *Finder) TrustNamed(places []string, name string, from ir.Origin) (ir.TrustRef, bool) {
	for _, ns := range places {
		if s := f.set.Secret(ns, name); s != nil {
			return f.join([]holder{f.secretHolder(s)}, from)
		}
		if m := f.set.ConfigMap(ns, name); m != nil {
			return f.join([]holder{f.configMapHolder(m)}, from)
		}
	}
	return f.noTrust(secretTrustRef(places[0], name), from, f.missing("secret or ConfigMap", resource.KindSecret, places, name))
}

// Trust joins the CAs of all sources into one bundle, which exists if at least one source is usable;
// the others have been reported. If none is, the reference refuses every peer. sources must not be
// empty.
func (f *Finder) Trust(sources []Source) (ir.TrustRef, bool) {
	var held []holder
	for _, src := range sources {
		h, found := f.exact(src)
		if !found {
			state, fix := f.unaccepted(src.Kind, src.Namespace, src.Name), mendIt
			if state == "" {
				state, fix = "with CA certificates does not exist", fmt.Sprintf("Create it with an entry %s.", cmp.Or(src.Entry, "ca.crt"))
			}
			f.report(diag.CANotFound, src.From, fmt.Sprintf("%s %s/%s %s", src.Kind, src.Namespace, src.Name, state), fix)
			continue
		}
		f.tellTrust(h)
		if message, code, fix := h.fault(); message != "" {
			f.report(code, src.From, message, fix)
			continue
		}
		held = append(held, h)
	}
	if len(held) == 0 {
		var refs []string
		for _, src := range sources {
			refs = append(refs, string(src.ref()))
		}
		ref := ir.TrustRef(strings.Join(refs, "+"))
		f.out.Trust[ref] = &ir.TrustBundle{Origin: sources[0].From, Code: diag.TrustMissing, Detail: "none of the CA references is usable"}
		return ref, false
	}
	return f.join(held, sources[0].From)
}

// TrustFiles is TrustBeside for files named in a manifest (caCertificates and, unless empty, caCrl).
func (f *Finder) TrustFiles(ca, crl string, from, crlFrom ir.Origin) (ir.TrustRef, bool) {
	ref := ir.TrustRef("file:" + ca)
	data := map[string][]byte{}
	caPEM, ok := f.file(ca, from)
	data["ca.crt"] = caPEM
	if crl != "" {
		ref += ir.TrustRef("|" + crl)
		list, read := f.file(crl, crlFrom)
		data["ca.crl"] = list
		ok = ok && read
	}
	if !ok {
		f.out.Trust[ref] = &ir.TrustBundle{Origin: from, Code: diag.TrustMissing, Detail: "the CA file or its revocation list cannot be read"}
		return ref, false
	}
	p := f.parseFiles(data)
	err := p.trustErr
	switch {
	case len(caPEM) == 0:
		err = &secret.Error{Finding: secret.Finding{Code: diag.CAInvalid, Message: "the file is empty", Fix: "Put PEM certificates into it."}}
	case crl != "" && len(data["ca.crl"]) == 0:
		err = &secret.Error{Finding: secret.Finding{Code: diag.CRLInvalid, Key: "ca.crl", Message: "the file is empty", Fix: "Put a PEM or DER revocation list into it."}}
	}
	if err != nil {
		where, path := from, ca
		if err.Code == diag.CRLInvalid {
			where, path = crlFrom, crl
		}
		f.report(err.Code, where, fmt.Sprintf("file %q: %s", path, err), err.Fix)
		f.out.Trust[ref] = &ir.TrustBundle{Origin: from, Code: diag.TrustMissing, Detail: err.Error()}
		return ref, false
	}
	for _, x := range p.trustFindings {
		f.finding(x, from)
	}
	f.out.Trust[ref] = newBundle(from, p.bundle, p.crls)
	return ref, true
}

// NoTrust notes that client certificates are demanded and no CA is named at all: every client is
// refused. The field from is where one is missed.
func (f *Finder) NoTrust(name string, from ir.Origin, message string) ir.TrustRef {
	ref, _ := f.noTrust(ir.TrustRef(name), from, message)
	return ref
}

func (f *Finder) noTrust(ref ir.TrustRef, from ir.Origin, message string) (ir.TrustRef, bool) {
	f.report(diag.CANotFound, from, message, "Add ca.crt (or cacert) to the secret, or create the secret NAME-cacert.")
	f.out.Trust[ref] = &ir.TrustBundle{Origin: from, Code: diag.TrustMissing, Detail: message}
	return ref, false
}

// holder is an object with a CA, or one that should have one.
type holder struct {
	key      resource.Key
	ref      ir.TrustRef
	p        *parsed
	crlsOnly bool // only its revocation lists count
	entry    string
	has      []string // names of the entries that there are, for messages
}

func (f *Finder) secretHolder(s *resource.Secret) holder {
	return holder{key: s.Key, ref: secretTrustRef(s.Namespace, s.Name), p: f.secretContent(s)}
}

func (f *Finder) configMapHolder(m *resource.ConfigMap) holder {
	return holder{key: m.Key, ref: trustRef(resource.KindConfigMap, m.Namespace, m.Name), p: f.configMapContent(m)}
}

func (f *Finder) exact(src Source) (holder, bool) {
	switch src.Kind {
	case resource.KindSecret:
		if s := f.set.Secret(src.Namespace, src.Name); s != nil {
			if src.Entry != "" {
				return holder{key: s.Key, ref: src.ref(), entry: src.Entry, has: slices.Sorted(maps.Keys(s.Data)),
					p: f.entryContent(src.Entry, func(k string) ([]byte, bool) { return secretEntry(s, k) })}, true
			}
			return f.secretHolder(s), true
		}
	case resource.KindConfigMap:
		if m := f.set.ConfigMap(src.Namespace, src.Name); m != nil {
			if src.Entry != "" {
				return holder{key: m.Key, ref: src.ref(), entry: src.Entry, has: slices.Sorted(maps.Keys(m.Data)),
					p: f.entryContent(src.Entry, func(k string) ([]byte, bool) { return configMapEntry(m, k) })}, true
			}
			return f.configMapHolder(m), true
		}
	}
	return holder{}, false
}

// ref returns the reference of a source that is used alone.
func (s Source) ref() ir.TrustRef {
	ref := trustRef(s.Kind, s.Namespace, s.Name)
	if s.Entry != "" {
		ref += ir.TrustRef("#" + s.Entry)
	}
	return ref
}

// fault says why the holder gives no trust; empty if it does.
func (h holder) fault() (message string, code diag.Code, fix string) {
	switch {
	case h.p.trustErr != nil:
		code = h.p.trustErr.Code
		if code != diag.CRLInvalid {
			code = diag.CAInvalid
		}
		return fmt.Sprintf("%s gives no usable trust: %s", h.key.Object(), h.p.trustErr), code, h.p.trustErr.Fix
	case h.p.bundle == nil && h.entry != "":
		fix = "Put PEM certificates there, or correct the key."
		if len(h.has) > 0 {
			fix = fmt.Sprintf("Put PEM certificates there, or correct the key: it has %s.", strings.Join(h.has, ", "))
		}
		return fmt.Sprintf("%s has no entry %q with a CA", h.key.Object(), h.entry), diag.CANotFound, fix
	case h.p.bundle == nil && !h.crlsOnly:
		return fmt.Sprintf("%s holds no CA (neither ca.crt nor cacert)", h.key.Object()), diag.CANotFound,
			"Add ca.crt (or cacert) with the CA's certificate."
	}
	return "", 0, ""
}

func (f *Finder) tellTrust(h holder) { f.tell(h.key, true, h.p.trustFindings, h.p.trustErr) }

// join makes one bundle of all holders. Any fault spoils it: who names a revocation list must not get
// trust without it.
func (f *Finder) join(held []holder, from ir.Origin) (ir.TrustRef, bool) {
	var refs []string
	var bundles []*secret.Bundle
	var crls []*secret.CRL
	var fault string
	for _, h := range held {
		refs = append(refs, string(h.ref))
		f.tellTrust(h)
		if message, code, fix := h.fault(); message != "" {
			f.report(code, from, message, fix)
			fault = message
			continue
		}
		if !h.crlsOnly {
			bundles = append(bundles, h.p.bundle)
		}
		crls = append(crls, h.p.crls...)
	}
	ref := ir.TrustRef(strings.Join(refs, "+"))
	origin := ir.Origin{Object: held[0].key.Object()}
	if fault != "" {
		f.out.Trust[ref] = &ir.TrustBundle{Origin: origin, Code: diag.TrustMissing, Detail: fault}
		return ref, false
	}
	bundle := bundles[0]
	if len(bundles) > 1 {
		bundle = secret.Merge(bundles...)
	}
	f.out.Trust[ref] = newBundle(origin, bundle, crls)
	return ref, true
}

func newBundle(origin ir.Origin, bundle *secret.Bundle, crls []*secret.CRL) *ir.TrustBundle {
	digests := []string{bundle.Digest}
	for _, c := range crls {
		digests = append(digests, c.Digest)
	}
	return &ir.TrustBundle{Origin: origin, Revision: ir.HashOf(digests), Bundle: bundle, CRLs: crls}
}

func secretTrustRef(namespace, name string) ir.TrustRef {
	return trustRef(resource.KindSecret, namespace, name)
}

// trustRef tells a ConfigMap from a Secret of the same name.
func trustRef(kind, namespace, name string) ir.TrustRef {
	if kind == resource.KindConfigMap {
		return ir.TrustRef("configmap:" + namespace + "/" + name)
	}
	return ir.TrustRef(namespace + "/" + name)
}
