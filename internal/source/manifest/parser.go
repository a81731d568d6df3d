package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// Parser reads manifests. It is immutable: one may be shared by any number of goroutines. Making one
// takes a millisecond or so, because it studies the upstream types.
type Parser struct {
	kinds    map[groupKind]*kindSpec
	idle     map[string][]string // kinds without effect, by group
	policies map[string][]string // kinds that would deny or verify and are not enforced, by group
}

// NewParser returns a Parser of every kind that is known.
func NewParser() *Parser {
	return &Parser{kinds: knownKinds(), idle: withoutEffect(), policies: notEnforced()}
}

// Parsed is what became of a chunk. It does not know the chunk's file and lines there, so it can be
// kept and used again while the text stays the same. It is immutable.
type Parsed struct {
	Documents int // how many objects the text holds, good and bad; items of a List count each

	objects []resource.Resource // Place.Document counts within the chunk, Place.Line is 1
	faults  []objectFault
	broken  []objectFault // one for each object that was left out
}

type objectFault struct {
	fault
	key   resource.Key
	reach *v1alpha1.ClientCertificatePolicySpec // of broken: see reachOf
	hosts []string                              // of broken: see hostsOf
}

// Keys returns the objects that were read, in order.
func (p *Parsed) Keys() []resource.Key {
	keys := make([]resource.Key, len(p.objects))
	for i, r := range p.objects {
		keys[i] = r.Info().Key
	}
	return keys
}

// Lost returns the objects that were left out because of faults, as far as their names are known.
func (p *Parsed) Lost() []resource.Key {
	keys := make([]resource.Key, len(p.broken))
	for i, f := range p.broken {
		keys[i] = f.key
	}
	return keys
}

// Damaged reports whether anything in the text was left out because of a fault.
func (p *Parsed) Damaged() bool { return len(p.broken) > 0 }

// AddTo puts the objects into b, as read from a file in which the chunk begins at line (from 1) and
// its first document has the given index, and returns the diagnostics.
func (p *Parsed) AddTo(b *resource.Builder, file string, line, document int) []diag.Diagnostic {
	for _, r := range p.objects {
		r = r.Copy()
		m := r.Info()
		m.Place.File, m.Place.Line, m.Place.Document = file, line, document+m.Place.Document
		b.Add(r)
	}
	at := func(l int) diag.Position { return diag.Position{File: file, Line: line + max(l, 1) - 1} }
	for _, f := range p.broken {
		if f.key.Kind == "" || f.key.Name == "" {
			continue // nothing that could be recognised
		}
		b.Break(resource.Broken{Key: f.key, Position: at(f.line), Code: f.code, Reach: f.reach, Hosts: f.hosts})
	}
	ds := make([]diag.Diagnostic, 0, len(p.faults))
	for _, f := range p.faults {
		d := diag.New(f.code, f.key.Object(), f.field, f.message, f.fix)
		d.Position = at(f.line)
		ds = append(ds, d)
	}
	return ds
}

// Parse reads one chunk. It never fails: faults are in the result.
func (p *Parser) Parse(c Chunk) *Parsed {
	out := &Parsed{}
	if c.JSON {
		roots, bad := parseJSON(c.Text)
		for _, root := range roots {
			p.root(out, root)
		}
		if bad != nil {
			out.lose(resource.Key{}, *bad)
		}
		return out
	}
	if key, flat := p.flat(string(c.Text)); flat != nil {
		out.lose(key, *flat)
		return out
	}
	root, bad := parseYAML(c.Text)
	if bad != nil {
		key := p.guess(string(c.Text))
		out.lose(key, *bad)
		out.broken[len(out.broken)-1].reach = reachOfText(key, c.Text)
		return out
	}
	if root == nil {
		return out
	}
	p.root(out, root)
	if out.Documents == 1 && len(out.broken) == 1 && out.broken[0].key == (resource.Key{}) {
		key := p.guess(string(c.Text))
		out.broken[0].key, out.faults[0].key = key, key
	}
	return out
}

// lose counts a document that is left out whole.
func (out *Parsed) lose(key resource.Key, f fault) {
	out.Documents++
	out.faults = append(out.faults, objectFault{fault: f, key: key})
	out.broken = append(out.broken, objectFault{fault: f, key: key})
}

// root reads the root node of a document: an object, a List, or nothing.
func (p *Parser) root(out *Parsed, root *yaml.Node) {
	normal, faults := normalize(root)
	if normal == nil {
		out.lose(resource.Key{}, faults[0])
		return
	}
	if isNull(normal) {
		return
	}
	if normal.Kind != yaml.MappingNode {
		out.lose(resource.Key{}, fault{code: diag.WrongType, line: normal.Line, message: "The document is no object: it must be a mapping with apiVersion, kind and metadata.",
			fix: "Write an object, or move the file out of the folder."})
		return
	}
	if kind := textOf(child(normal, "kind")); strings.HasSuffix(kind, "List") {
		if items := child(normal, "items"); items != nil && items.Kind == yaml.SequenceNode {
			p.list(out, normal, items, faults)
			return
		}
	}
	p.object(out, normal, faults, "", "")
}

// list reads the items of a List. Those of a typed list, such as SecretList, need not repeat
// apiVersion and kind.
func (p *Parser) list(out *Parsed, root, items *yaml.Node, faults []fault) {
	version, kind := textOf(child(root, "apiVersion")), strings.TrimSuffix(textOf(child(root, "kind")), "List")
	for i, item := range items.Content {
		prefix := fmt.Sprintf("items[%d]", i)
		var own []fault
		for _, f := range faults {
			if rest, ok := strings.CutPrefix(f.field, prefix); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				f.field = strings.TrimPrefix(rest, ".")
				own = append(own, f)
			}
		}
		if item.Kind != yaml.MappingNode {
			out.lose(resource.Key{}, fault{code: diag.WrongType, line: item.Line, field: prefix,
				message: prefix + " is no object.", fix: "Write an object, or remove the item."})
			continue
		}
		p.object(out, item, own, version, kind)
	}
}

// object reads one object. version and kind stand in where the object has none.
func (p *Parser) object(out *Parsed, root *yaml.Node, faults []fault, version, kind string) {
	if v := textOf(child(root, "apiVersion")); v != "" {
		version = v
	}
	if k := textOf(child(root, "kind")); k != "" {
		kind = k
	}
	key := resource.Key{Kind: kind, Name: textOf(child(child(root, "metadata"), "name")), Namespace: textOf(child(child(root, "metadata"), "namespace"))}
	if version == "" || kind == "" {
		missing := "apiVersion"
		switch {
		case version == "" && kind == "":
			missing = "apiVersion and kind"
		case kind == "":
			missing = "kind"
		}
		out.lose(key, fault{code: diag.MissingField, line: root.Line, field: strings.Fields(missing)[0], message: "The document has no " + missing + ", so it is no Kubernetes object.",
			fix: "Add " + missing + ", or move the file out of the folder."})
		if meant, ok := p.unnamed(key, version, root); ok {
			lost := &out.broken[len(out.broken)-1]
			lost.key, lost.reach = meant, reachOf(meant, root)
		}
		return
	}
	if kind == resource.KindSecret {
		key, faults = discreet(key, faults)
		version = short(version)
	}
	group, v, ok := strings.Cut(version, "/")
	if !ok {
		group, v = "", version
	}
	key.Group = group
	spec := p.kinds[groupKind{group, kind}]
	if spec == nil {
		out.Documents++
		if group == resource.GroupGateway && kind == resource.KindBackendTLSPolicy {
			key = out.guard(key, root, faults)
		}
		f := p.stranger(group, kind, root)
		out.faults = append(out.faults, objectFault{fault: f, key: key})
		if meant, ok := p.misspelt(key, root); ok && f.code == diag.KindMisspelt {
			out.broken = append(out.broken, objectFault{fault: f, key: meant, reach: reachOf(meant, root), hosts: hostsOf(root)})
		}
		return
	}
	key.Namespace = namespaceOf(spec, key.Namespace)
	if !slices.Contains(spec.versions, v) {
		out.lose(key, fault{diag.UnknownVersion, lineOf(root, "apiVersion"), "apiVersion", fmt.Sprintf("%s is not known in version %s.", kind, quote(version)),
			"Use " + strings.Join(spec.apiVersions(), " or ") + "."})
		out.broken[len(out.broken)-1].reach = reachOf(key, root)
		return
	}
	p.accept(out, spec, key, root, faults)
}

// discreet takes out of a Secret's key and of the faults found before its kind was known whatever may
// be a secret pasted into the wrong place.
func discreet(key resource.Key, faults []fault) (resource.Key, []fault) {
	if key.Name != "" && !validName(key.Name) {
		key.Name = "(not shown)"
	}
	if key.Namespace != "" && !validNamespace(key.Namespace) {
		key.Namespace = "(not shown)"
	}
	own := slices.Clone(faults)
	for i := range own {
		if own[i].code == diag.DuplicateKey {
			own[i].message = "A key stands twice in one mapping."
		}
		segments := strings.Split(own[i].field, ".")
		for j := range segments {
			segments[j] = short(segments[j])
		}
		own[i].field = strings.Join(segments, ".")
	}
	return key, own
}

// accept checks an object of a known kind and puts it into the result if it has no faults.
func (p *Parser) accept(out *Parsed, spec *kindSpec, key resource.Key, root *yaml.Node, faults []fault) {
	discreet := spec.group == resource.GroupCore && spec.kind == resource.KindSecret
	faults = append(faults, check(root, spec.root, discreet)...)
	faults = append(faults, checkMetadata(root, spec)...)
	d := &document{root: root, shape: spec.root}
	if len(faults) == 0 {
		d.meta = metaOf(root, key, spec.root)
		d.meta.Place = resource.Place{Document: out.Documents, Line: 1, Lines: resource.NewLines(root)}
		r := spec.build(d)
		faults = d.faults
		if len(faults) == 0 {
			faults = verify(r)
		}
		if len(faults) == 0 {
			out.objects = append(out.objects, r)
		}
	}
	out.Documents++
	for i, f := range faults {
		if f.line == 0 { // of verify, which knows fields only
			f.line = d.meta.Place.Lines.Line(f.field)
		}
		out.faults = append(out.faults, objectFault{fault: f, key: key})
		if i == 0 {
			out.broken = append(out.broken, objectFault{fault: f, key: key, reach: reachOf(key, root), hosts: hostsOf(root)})
		}
	}
}

func namespaceOf(spec *kindSpec, namespace string) string {
	switch {
	case spec.cluster:
		return ""
	case namespace == "":
		return "default"
	}
	return namespace
}

// metaOf reads the metadata of a checked object.
func metaOf(root *yaml.Node, key resource.Key, s *shape) resource.Meta {
	md := child(root, "metadata")
	m := resource.Meta{Key: key, Labels: textMap(child(md, "labels")), Annotations: textMap(child(md, "annotations"))}
	if t, err := time.Parse(time.RFC3339, textOf(child(md, "creationTimestamp"))); err == nil {
		m.Created = t.UTC()
	}
	if g := child(md, "generation"); g != nil {
		m.Generation, _ = intOf(g)
	}
	m.Version = digest(root, s)
	return m
}

// digest returns 16 hex digits over the content of an object: everything but status and the metadata
// that only an API server writes.
func digest(root *yaml.Node, s *shape) string {
	content := *root
	content.Content = nil
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch k := root.Content[i]; k.Value {
		case "status", "apiVersion":
		case "metadata":
			md := *root.Content[i+1]
			md.Content = nil
			for j := 0; j+1 < len(root.Content[i+1].Content); j += 2 {
				switch mk := root.Content[i+1].Content[j]; mk.Value {
				case "name", "namespace", "labels", "annotations", "creationTimestamp":
					md.Content = append(md.Content, mk, root.Content[i+1].Content[j+1])
				}
			}
			content.Content = append(content.Content, k, &md)
		default:
			content.Content = append(content.Content, k, root.Content[i+1])
		}
	}
	sum := sha256.Sum256(appendJSON(nil, &content, s))
	return hex.EncodeToString(sum[:8])
}

// lineOf returns the line of a top-level field, or of the object.
func lineOf(root *yaml.Node, name string) int {
	if n := child(root, name); n != nil {
		return n.Line
	}
	return root.Line
}
