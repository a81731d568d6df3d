// Package credential finds certificates with their keys, and trust, for the translators of both APIs:
// in Secrets and ConfigMaps of every format that Istio reads, and in files that manifests name.
//
// What is found goes into the translator's Fragment, under a reference that is equal whichever API
// asked. What is missing or broken goes there too, without a pair or bundle and with the reason, so
// that the hosts which need it refuse while all others serve; diagnostics name both the object at
// fault and the field that refers to it. The package judges no certificate's age or names (see
// package certlint) and checks no ReferenceGrant. Begin reading at Finder.
package credential

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Finder looks up credentials and trust for one translation. It is owned by one goroutine.
type Finder struct {
	set    *resource.Set
	ctx    translate.Context
	out    *translate.Fragment
	cache  *Cache
	parsed map[resource.Key]*parsed
	told   map[told]bool
}

// told says which half of which object has had its diagnostics.
type told struct {
	key   resource.Key
	trust bool
}

// New returns a Finder that reads set and writes into out. The cache may be nil.
func New(set *resource.Set, ctx translate.Context, out *translate.Fragment, cache *Cache) *Finder {
	return &Finder{set: set, ctx: ctx, out: out, cache: cache, parsed: map[resource.Key]*parsed{}, told: map[told]bool{}}
}

// Places returns the namespaces in which a credentialName is looked up, in this order: that of the
// gateway process (--namespace), then the referring object's own.
func (f *Finder) Places(own string) []string {
	if f.ctx.Namespace == "" || f.ctx.Namespace == own {
		return []string{own}
	}
	return []string{f.ctx.Namespace, own}
}

// Pair looks a Secret with certificate and key up, in the first of places that has one of the name.
// The reference is valid in every case; false means that the credential is missing or broken, which
// has been reported for the field from. places must not be empty.
func (f *Finder) Pair(places []string, name string, from ir.Origin) (ir.SecretRef, bool) {
	s := f.findSecret(places, name)
	if s == nil {
		message := f.missing("secret", resource.KindSecret, places, name)
		f.report(diag.SecretNotFound, from, message, f.createSecret(places, name))
		c := &ir.Credential{Origin: from, Code: diag.CredentialMissing, Detail: message}
		var names []string
		for _, ns := range places {
			c.Sought = append(c.Sought, secretRef(ns, name))
			names = append(names, ns+"/"+name)
		}
		// Named by all places: of what is missing, two namespaces must not share one.
		ref := ir.SecretRef(strings.Join(names, "|"))
		f.out.Secrets[ref] = c
		return ref, false
	}
	ref, p, origin := secretRef(s.Namespace, s.Name), f.secretContent(s), ir.Origin{Object: s.Object()}
	f.tell(s.Key, false, p.findings, p.pairErr)
	if p.pairErr != nil {
		message, fix := fmt.Sprintf("%s cannot be used: %s", s.Object(), p.pairErr), p.pairErr.Fix
		if holdsNoCertificate(s.Type) {
			message = fmt.Sprintf("%s has the type %s, which holds no certificate", s.Object(), s.Type)
			fix = "Name a Secret of type kubernetes.io/tls, or an Opaque one with tls.crt and tls.key."
		}
		f.report(diag.SecretInvalid, from, message, fix)
		f.out.Secrets[ref] = &ir.Credential{Origin: origin, Code: diag.CredentialMissing, Detail: p.pairErr.Error(), Cause: p.pairErr.Code}
		return ref, false
	}
	f.out.Secrets[ref] = &ir.Credential{Origin: origin, Pair: p.pair}
	return ref, true
}

// holdsNoCertificate reports whether Secrets of a type are for something else than a certificate with
// its key.
func holdsNoCertificate(secretType string) bool {
	switch corev1.SecretType(secretType) {
	case corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg, corev1.SecretTypeBasicAuth, corev1.SecretTypeSSHAuth,
		corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken:
		return true
	}
	return false
}

// PairFiles is Pair for files named in a manifest (serverCertificate and privateKey). The fields that
// name them are from and keyFrom.
func (f *Finder) PairFiles(cert, key string, from, keyFrom ir.Origin) (ir.SecretRef, bool) {
	ref := ir.SecretRef("file:" + cert + "|" + key)
	certPEM, ok1 := f.file(cert, from)
	keyPEM, ok2 := f.file(key, keyFrom)
	if !ok1 || !ok2 {
		f.out.Secrets[ref] = &ir.Credential{Origin: from, Code: diag.CredentialMissing,
			Detail: fmt.Sprintf("certificate file %q or key file %q cannot be read", cert, key)}
		return ref, false
	}
	p := f.parseFiles(map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM})
	for _, found := range p.findings {
		f.finding(found, from)
	}
	if p.pairErr != nil {
		where := from
		if p.pairErr.Key == "tls.key" {
			where = keyFrom
		}
		f.report(p.pairErr.Code, where, fmt.Sprintf("files %q (tls.crt) and %q (tls.key): %s", cert, key, p.pairErr), p.pairErr.Fix)
		f.out.Secrets[ref] = &ir.Credential{Origin: from, Code: diag.CredentialMissing, Detail: p.pairErr.Error(), Cause: p.pairErr.Code}
		return ref, false
	}
	f.out.Secrets[ref] = &ir.Credential{Origin: from, Pair: p.pair}
	return ref, true
}

// file returns the content of a file that the home has read.
func (f *Finder) file(path string, from ir.Origin) ([]byte, bool) {
	data, ok := f.ctx.Files[path]
	if !ok {
		f.report(diag.FileReferenceUnread, from, fmt.Sprintf("file %q cannot be read here", path),
			"Put the file there, correct the path, or use credentialName.")
	}
	return data, ok
}

func (f *Finder) findSecret(places []string, name string) *resource.Secret {
	for _, ns := range places {
		if s := f.set.Secret(ns, name); s != nil {
			return s
		}
	}
	return nil
}

// mendIt is the fix where the object stands there and was not accepted.
const mendIt = "Mend what is reported there."

// missing says in one sentence that no object of the name is in any of places, and what is near.
func (f *Finder) missing(what, kind string, places []string, name string) string {
	for _, ns := range places {
		if stands := f.unaccepted(kind, ns, name); stands != "" {
			return fmt.Sprintf("%s %s/%s %s", what, ns, name, stands)
		}
	}
	message := fmt.Sprintf("%s %q does not exist in namespace %s", what, name, strings.Join(places, " nor in "))
	var elsewhere []string
	for _, s := range f.set.Secrets() {
		if kind == resource.KindSecret && s.Name == name {
			elsewhere = append(elsewhere, s.Namespace)
		}
	}
	if len(elsewhere) > 0 {
		slices.Sort(elsewhere)
		message += "; one of this name is in " + strings.Join(elsewhere, ", ")
	}
	return message
}

// unaccepted is resource.Set.Unaccepted for a core kind.
func (f *Finder) unaccepted(kind, namespace, name string) string {
	return f.set.Unaccepted(resource.Key{Kind: kind, Namespace: namespace, Name: name})
}

func (f *Finder) createSecret(places []string, name string) string {
	for _, ns := range places {
		if f.unaccepted(resource.KindSecret, ns, name) != "" {
			return mendIt
		}
	}
	namespace := places[0]
	return fmt.Sprintf("Create it: kubectl create -n %s secret tls %s --key=KEY --cert=CERT (for a folder with --dry-run=client -o yaml).", namespace, name)
}

func secretRef(namespace, name string) ir.SecretRef { return ir.SecretRef(namespace + "/" + name) }

// tell reports what is wrong with one half of an object, at the object, once.
func (f *Finder) tell(key resource.Key, trust bool, found []secret.Finding, err *secret.Error) {
	if t := (told{key, trust}); f.told[t] {
		return
	} else {
		f.told[t] = true
	}
	for _, x := range found {
		f.out.Diagnostics = append(f.out.Diagnostics, x.Diagnostic(key.Object(), ""))
	}
	if err != nil {
		f.out.Diagnostics = append(f.out.Diagnostics, err.Diagnostic(key.Object(), ""))
	}
}

// finding reports a finding about a file at the field that names it.
func (f *Finder) finding(x secret.Finding, from ir.Origin) {
	f.out.Diagnostics = append(f.out.Diagnostics, x.Diagnostic(from.Object, from.Field))
}

func (f *Finder) report(code diag.Code, from ir.Origin, message, fix string) {
	f.out.Report(code, from.Object, from.Field, message, fix)
}
