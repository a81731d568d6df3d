package server

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/certlint"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Lint judges every certificate of a snapshot at a time: those that listeners serve, those that
// upstreams are shown, and the CAs.
func Lint(s *ir.Snapshot, now time.Time) []diag.Diagnostic {
	uses := usesOf(s)
	var bundles []*secret.Bundle
	var pairs []*secret.KeyPair
	for _, b := range s.Trust.ByRef {
		if b.Bundle != nil {
			bundles = append(bundles, b.Bundle)
		}
	}
	for _, c := range s.Secrets.ByRef {
		if c.Pair != nil {
			pairs = append(pairs, c.Pair)
		}
	}
	known := certlint.NewKnown(bundles, pairs)
	system, _ := x509.SystemCertPool() // nil is fine: then chains are judged without the machine's roots
	var ds []diag.Diagnostic
	for ref, c := range s.Secrets.ByRef {
		u := uses[ref]
		if c.Pair == nil || u == nil || c.Withdrawn {
			continue
		}
		in := certlint.Input{Pair: c.Pair, Hosts: u.hosts, Client: u.client && !u.server, Known: known, System: system}
		for _, other := range u.beside {
			if b := s.Secrets.ByRef[other]; b != nil && b.Pair != nil && b != c {
				in.Beside = append(in.Beside, b.Pair)
			}
		}
		for _, f := range certlint.Leaf(in, now) {
			ds = append(ds, f.Diagnostic(c.Origin.Object, fieldOf(f, c.Origin)))
		}
	}
	for _, b := range s.Trust.ByRef {
		if b.Bundle == nil {
			continue
		}
		for _, f := range slices.Concat(certlint.Bundle(b.Bundle, now), certlint.CRLs(b.CRLs, b.Bundle, now)) {
			ds = append(ds, f.Diagnostic(b.Origin.Object, fieldOf(f, b.Origin)))
		}
	}
	return diag.Compact(append(ds, lintInterception(s, now)...))
}

// use says what a credential is for.
type use struct {
	server, client bool
	hosts          []hostname.Pattern
	beside         []ir.SecretRef
}

func usesOf(s *ir.Snapshot) map[ir.SecretRef]*use {
	uses := map[ir.SecretRef]*use{}
	get := func(ref ir.SecretRef) *use {
		u := uses[ref]
		if u == nil {
			u = &use{}
			uses[ref] = u
		}
		return u
	}
	for _, l := range s.Config.Listeners {
		for _, c := range l.Chains {
			if c.TLS == nil {
				continue
			}
			for _, ref := range c.TLS.Certificates {
				u := get(ref)
				u.server = true
				u.hosts = append(u.hosts, c.Hosts...)
				u.beside = append(u.beside, c.TLS.Certificates...)
			}
		}
	}
	for _, up := range s.Config.Upstreams {
		if up.TLS != nil && up.TLS.Certificate != "" {
			get(up.TLS.Certificate).client = true
		}
	}
	usesOfEgress(s, get)
	return uses
}

// fieldOf names the entry of a Secret or ConfigMap that a finding is about.
func fieldOf(f secret.Finding, origin ir.Origin) string {
	if origin.Field == "" && f.Key != "" {
		return "data[" + f.Key + "]"
	}
	return origin.Field
}
