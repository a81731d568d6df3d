// Package manifest reads manifests: the YAML and JSON text in which Kubernetes, Gateway API, Istio
// and Hakone objects are written down. It turns text into objects of package resource and into
// diagnostics that name line, field and remedy.
//
// It is pure: no file, clock or logger. It reads strictly, against the upstream Go types and Protocol
// Buffer descriptors; every fault of an object is reported, and a faulty object is left out whole. It
// refuses to know what objects mean together. The way of a text is
//
//	Split → Chunk → Parser.Parse: YAML nodes → check against a shape → JSON → upstream type
//
// Begin reading at Parser.
package manifest

import (
	"maps"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// Bounds of what is read. They protect the process from accidents (a log file named .yaml, an alias
// bomb), so they are far above what a configuration needs.
const (
	MaxFileSize  = 16 << 20 // bytes of one file
	maxDocuments = 100_000  // documents in one file
	maxNesting   = 100      // levels of mappings and sequences in one document
	maxAliased   = 100_000  // nodes that one document repeats by aliases and merge keys
)

// Set parses the named texts as one folder. It is meant for tests and tools that have no folder;
// package file does the same with files, bounds and a cache.
func Set(texts map[string]string) (*resource.Set, []diag.Diagnostic) {
	p := NewParser()
	b := &resource.Builder{AssumeNamespaces: true}
	var ds []diag.Diagnostic
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		chunks, bad := Split(name, []byte(texts[name]))
		ds = append(ds, bad...)
		document := 0
		for _, c := range chunks {
			parsed := p.Parse(c)
			ds = append(ds, parsed.AddTo(b, name, c.Line, document)...)
			document += parsed.Documents
		}
	}
	set, dup := b.Build()
	return set, diag.Compact(append(ds, dup...))
}
