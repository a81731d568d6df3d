// Package squidconf reads squid.conf and says the same in our own kinds: a ForwardProxy, an UpstreamProxy for each
// parent, Secrets and ConfigMaps for the files that it names. Every line is accounted for: honoured, without
// effect, or named as dangerous or impossible.
//
// What cannot be said never opens what was closed: an allowing rule that asks something unknown is left out, a
// denying one denies more. Begin reading at Import; lines are made of text in parse.go, and each directive has a
// row in directives.go.
package squidconf

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Outcome is what becomes of a line.
type Outcome string

// Outcomes.
const (
	Honoured  Outcome = "honoured"
	NoEffect  Outcome = "no effect"
	Dangerous Outcome = "dangerous" // honoured, and worth a second look
	Refused   Outcome = "refused"   // cannot be said; what it would have opened is closed
)

// Line is a line of the configuration with what becomes of it.
type Line struct {
	File    string
	Number  int
	Text    string // as written, comments and continuations apart
	Outcome Outcome
	Code    diag.Code // 0 for lines that are simply honoured
	Note    string    // where it went, or why not
	Fix     string
}

// Options say how to import.
type Options struct {
	Name      string // of the ForwardProxy; "": from visible_hostname, else "squid"
	Namespace string // "": default

	// Open reads a file that the configuration names: an include, a list of values, certificates, passwords.
	Open func(path string) ([]byte, error)

	// Glob returns the files of a pattern, of which include may have some. nil: patterns are refused.
	Glob func(pattern string) ([]string, error)
}

// Result is what an import leads to.
type Result struct {
	Lines    []Line
	Flags    []string // of "hakone run": what squid.conf says of the process
	Shut     string   // an ACL: access rule 1 denies everything by it, because of lines that cannot be said; "": there is no such rule
	manifest []any
	extra    []string // documents that are text already
}

// Import reads a configuration. The error is about the file as a whole; what is wrong with a line is in the
// result.
func Import(file string, o Options) (*Result, error) {
	text, err := o.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	r := &reader{c: newConverter(o, file, nil)}
	r.c.shut = true
	r.file(file, bytes.TrimPrefix(text, []byte("\ufeff")), 0)
	read := r.c.result.Lines
	c := newConverter(o, file, read)
	c.shut = r.c.closes
	c.convert(r.statements)
	if c.closes && !c.shut { // again, with a rule before all others
		c = newConverter(o, file, read)
		c.shut = true
		c.convert(r.statements)
	}
	return &c.result, nil
}

func newConverter(o Options, file string, lines []Line) *converter {
	return &converter{opts: o, folder: path.Dir(file), result: Result{Lines: slices.Clone(lines)}, defined: map[string]bool{}, bad: map[string]bool{}, peers: map[string]*peer{}, objects: map[string]string{},
		taken: map[string]bool{}, ports: map[string]string{}, formats: map[string]string{}, table: directives()}
}

// convert converts all lines: ports first, since ACLs name them, and ACLs before rules, since Squid lets a rule
// ask for what later lines add to an ACL.
func (c *converter) convert(statements []statement) {
	if c.shut {
		name := c.unique("not-imported", c.defined)
		c.acls = append(c.acls, v1alpha1.ACL{Name: name, Type: "src", Values: []string{"all"}})
		c.defined[name] = true
		c.result.Shut = name
		c.access.add(v1alpha1.AccessRule{Action: "Deny", ACLs: []string{name}})
	}
	each := func(f func(name string) bool, do func(*statement)) {
		for i := range statements {
			if st := &statements[i]; f(st.words[0]) {
				c.line = &c.result.Lines[st.line]
				do(st)
			}
		}
	}
	isPort := func(name string) bool { return name == "http_port" || name == "https_port" }
	isACL := func(name string) bool { return name == "acl" }
	each(isPort, c.directive)
	each(isACL, func(st *statement) {
		if len(st.words) > 2 && strings.HasPrefix(st.words[2], "proxy_auth") {
			c.users = true
		}
	})
	each(func(name string) bool { return name == "auth_param" }, c.directive)
	each(isACL, c.acl)
	c.verify()
	each(func(name string) bool { return !isPort(name) && !isACL(name) && name != "auth_param" }, c.directive)
	c.finish()
}

// Worst returns the worst outcome of all lines: Honoured, NoEffect, Dangerous or Refused.
func (r *Result) Worst() Outcome {
	order := []Outcome{Honoured, NoEffect, Dangerous, Refused}
	worst := 0
	for _, l := range r.Lines {
		worst = max(worst, slices.Index(order, l.Outcome))
	}
	return order[worst]
}

// Manifests returns the objects as YAML documents.
func (r *Result) Manifests() ([]byte, error) {
	var docs []string
	for _, object := range r.manifest {
		b, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("write manifest: %w", err)
		}
		docs = append(docs, withoutStatus(string(b)))
	}
	return []byte(strings.Join(append(docs, r.extra...), "---\n")), nil
}

// withoutStatus leaves out what only a cluster writes.
func withoutStatus(doc string) string {
	var out []string
	skip := false
	for _, line := range strings.SplitAfter(doc, "\n") {
		if !strings.HasPrefix(line, " ") {
			skip = strings.HasPrefix(line, "status:")
		}
		if !skip && strings.TrimSpace(line) != "creationTimestamp: null" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// converter holds the state of one import.
type converter struct {
	opts   Options
	folder string // of the configuration
	table  map[string]directive
	result Result
	line   *Line // being converted

	proxy    v1alpha1.ForwardProxy
	acls     []v1alpha1.ACL
	aclLines []int           // of each of acls, in Result.Lines
	defined  map[string]bool // names of acls
	bad      map[string]bool // ACLs that cannot be asked
	groups   int             // ACLs of our own that join others
	users    bool            // an ACL asks who the user is

	access, always, never, certErrors, caching rules

	peers    map[string]*peer
	parents  []string // names of peers in order
	hostname string
	ports    map[string]string // names of listeners by what myportname calls them
	formats  map[string]string // ours, by the name that logformat gives
	noCache  bool
	logs     bool              // access_log was given
	objects  map[string]string // names of Secrets and ConfigMaps by kind and files
	taken    map[string]bool   // names of objects and listeners, by kind and name

	closes bool // a line would have closed something that cannot be said
	shut   bool // the first access rule denies everything for that
}

// peer is a cache_peer with its access rules.
type peer struct {
	object v1alpha1.UpstreamProxy
	rules  rules
}

func (c *converter) spec() *v1alpha1.ForwardProxySpec { return &c.proxy.Spec }

func (c *converter) interception() *v1alpha1.Interception {
	s := c.spec()
	if s.Interception == nil {
		s.Interception = &v1alpha1.Interception{}
	}
	return s.Interception
}

func (c *converter) upstream() *v1alpha1.ForwardUpstream {
	s := c.spec()
	if s.Upstream == nil {
		s.Upstream = &v1alpha1.ForwardUpstream{}
	}
	return s.Upstream
}

func (c *converter) cache() *v1alpha1.Cache {
	s := c.spec()
	if s.Cache == nil {
		s.Cache = &v1alpha1.Cache{MemoryBytes: 256 << 20, MaxObjectBytes: 4 << 20}
	}
	return s.Cache
}

func (c *converter) headers() *v1alpha1.ForwardHeaders {
	s := c.spec()
	if s.Headers == nil {
		s.Headers = &v1alpha1.ForwardHeaders{}
	}
	return s.Headers
}

// honour notes where the line went, also if parts of it have no effect.
func (c *converter) honour(format string, args ...any) {
	if c.line.Outcome == "" || c.line.Outcome == NoEffect {
		c.line.Outcome, c.line.Code = Honoured, 0
	}
	c.note(format, args...)
}

func (c *converter) noEffect(format string, args ...any) {
	if c.line.Outcome == "" {
		c.line.Outcome, c.line.Code = NoEffect, diag.ImportNoEffect
	}
	c.note(format, args...)
}

// warn names what is dangerous about a line that is honoured.
func (c *converter) warn(fix, format string, args ...any) {
	if c.line.Outcome != Refused {
		c.line.Outcome, c.line.Code, c.line.Fix = Dangerous, diag.ImportDangerous, fix
	}
	c.note(format, args...)
}

// refuse says why the line cannot be honoured.
func (c *converter) refuse(fix, format string, args ...any) {
	c.line.Outcome, c.line.Code, c.line.Fix = Refused, diag.ImportRefused, fix
	c.note(format, args...)
}

// refuseClosing is refuse for a line without which more would be let through: everything is denied until somebody
// has looked at it.
func (c *converter) refuseClosing(fix, format string, args ...any) {
	c.closes = true
	c.refuse(fix, format, args...)
	if c.shut {
		c.note("spec.access[0] denies everything until that is settled")
	}
}

func (c *converter) note(format string, args ...any) {
	if c.line.Note != "" {
		c.line.Note += "; "
	}
	c.line.Note += fmt.Sprintf(format, args...)
}

// flag adds a flag of "hakone run".
func (c *converter) flag(flag string) {
	if !slices.Contains(c.result.Flags, flag) {
		c.result.Flags = append(c.result.Flags, flag)
	}
	c.honour("hakone run %s", flag)
}

// finish makes the objects.
func (c *converter) finish() {
	name := c.opts.Name
	if name == "" {
		name = objectName(c.hostname)
	}
	if name == "" {
		name = "squid"
	}
	p := &c.proxy
	p.TypeMeta = metav1.TypeMeta{APIVersion: "hakone.dev/v1alpha1", Kind: "ForwardProxy"}
	p.ObjectMeta = metav1.ObjectMeta{Name: name, Namespace: c.opts.Namespace}
	s := c.spec()
	if a := s.Authentication; a != nil && a.HtpasswdRef == nil {
		s.Authentication = nil
	}
	s.Access = c.access.list()
	if len(s.Access) == 0 {
		s.Access = []v1alpha1.AccessRule{{Action: "Deny", ACLs: []string{"all"}}} // as Squid without http_access
	}
	if i := s.Interception; i != nil {
		i.CertificateErrors = c.certErrors.list()
	}
	for _, acls := range c.onlyAllowing(&c.always) {
		s.Direct = append(s.Direct, v1alpha1.AccessRule{Action: "Allow", ACLs: acls})
	}
	for _, acls := range c.onlyAllowing(&c.never) {
		s.Direct = append(s.Direct, v1alpha1.AccessRule{Action: "Deny", ACLs: acls})
	}
	if i := s.Interception; i != nil && i.CARef.Name == "" {
		s.Interception = nil // no port intercepts
	}
	if s.Interception != nil && s.Interception.Rules == nil {
		s.Interception.Rules = []v1alpha1.InterceptionRule{{Action: "Splice", ACLs: []string{"all"}}}
	}
	if c.noCache {
		s.Cache = nil
	} else {
		c.cache().Rules = c.caching.list() // Squid keeps answers unless told otherwise
	}
	if !c.logs {
		c.result.Flags = append(c.result.Flags, "--access-log-format=squid") // the format of Squid's own log, which is written by itself
	}
	c.sendToPeers()
	s.ACLs = c.acls
	for _, name := range c.parents {
		c.result.manifest = append(c.result.manifest, c.peers[name].object)
	}
	c.result.manifest = append([]any{*p}, c.result.manifest...)
}

// sendToPeers turns cache_peer with cache_peer_access into rules.
func (c *converter) sendToPeers() {
	s := c.spec()
	var everything v1alpha1.ProxyRule
	for _, name := range c.parents {
		ref := v1alpha1.LocalReference{Name: c.peers[name].object.Name}
		if !c.peers[name].rules.given {
			everything.ProxyRefs = append(everything.ProxyRefs, ref)
			continue
		}
		for _, acls := range c.onlyAllowing(&c.peers[name].rules) {
			s.Proxies = append(s.Proxies, v1alpha1.ProxyRule{ProxyRefs: []v1alpha1.LocalReference{ref}, ACLs: acls})
		}
	}
	if len(everything.ProxyRefs) > 0 {
		s.Proxies = append(s.Proxies, everything)
	}
}

// objectName makes a name that Kubernetes takes.
func objectName(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			b.WriteRune(r)
		} else {
			b.WriteByte('-')
		}
	}
	return shortened(strings.Trim(strings.ReplaceAll(b.String(), "..", "."), "-."))
}
