package hakone

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hakone-gateway/hakone/"

// rooms is the import table of ARCHITECTURE.md: what each room may import of this module. A room's
// sub-packages count as the room. To change an arrow, write a decision first.
var rooms = map[string][]string{
	// words
	"internal/certname": nil, "internal/diag": nil, "internal/hostname": nil, "internal/message": nil, "internal/tlsname": nil,
	"internal/secret": {"internal/diag"},
	"api/v1alpha1":    nil,
	// the snapshot
	"internal/ir": {"internal/diag", "internal/hostname", "internal/secret"},
	// questions of forward proxies' rules: verified by the control side, asked by the data side
	"internal/acl": {"internal/diag", "internal/hostname", "internal/ir"},
	// control side
	"internal/resource":  {"api/v1alpha1", "internal/diag", "internal/secret"},
	"internal/source":    {"api/v1alpha1", "internal/diag", "internal/resource", "internal/secret"},
	"internal/translate": {"api/v1alpha1", "internal/acl", "internal/certname", "internal/diag", "internal/hostname", "internal/ir", "internal/resource", "internal/secret", "internal/semantics", "internal/tlsname"}, // semantics: one meaning of a path
	"internal/compile":   {"internal/diag", "internal/hostname", "internal/ir", "internal/translate", "internal/tlsname"},
	"internal/certlint":  {"internal/diag", "internal/hostname", "internal/ir", "internal/secret"},
	"internal/calendar":  {"internal/diag", "internal/ir", "internal/secret"},
	"internal/status":    {"internal/diag", "internal/ir", "internal/translate", "internal/resource"},
	"internal/control":   {"internal/compile", "internal/diag", "internal/ir", "internal/resource", "internal/translate", "internal/status", "internal/certlint", "internal/hostname"},
	// data side
	"internal/telemetry": {"internal/diag", "internal/ir", "internal/message", "internal/tlsname"},
	"internal/filter":    {"internal/diag", "internal/ir", "internal/message", "internal/tlsname"},
	"internal/semantics": {"internal/diag", "internal/message"},
	"internal/http1":     {"internal/diag", "internal/message", "internal/semantics"},
	"internal/http2":     {"internal/diag", "internal/message", "internal/semantics"},
	"internal/grpcweb":   {"internal/message"},
	"internal/trust":     {"internal/diag", "internal/ir", "internal/secret"},
	"internal/overload":  {"internal/diag"},
	"internal/listen":    {"internal/diag", "internal/telemetry", "internal/tlsname"},
	"internal/tlsconf": {"internal/authz", "internal/revocation", "internal/diag", "internal/filter", "internal/hostname", "internal/ir", "internal/listen", "internal/overload", "internal/secret", "internal/telemetry",
		"internal/tlsname", "internal/trust"},
	"internal/route":      {"internal/diag", "internal/filter", "internal/hostname", "internal/ir", "internal/message"},
	"internal/upstream":   {"internal/filter", "internal/hostname", "internal/message", "internal/revocation", "internal/trust", "internal/diag", "internal/http2", "internal/ir", "internal/telemetry", "internal/tlsconf"},
	"internal/revocation": {"internal/diag", "internal/ir", "internal/secret", "internal/telemetry", "internal/trust"},
	"internal/authz": {"internal/certname", "internal/diag", "internal/filter", "internal/hostname", "internal/ir", "internal/message", "internal/secret", "internal/semantics", "internal/telemetry",
		"internal/tlsname", "internal/trust"},
	"internal/logstore": {"internal/diag", "internal/ir", "internal/message", "internal/telemetry", "internal/tlsname"},
	// authority: knows neither side
	"internal/ca":        {"internal/certlint", "internal/certname", "internal/diag", "internal/hostname", "internal/secret", "internal/tlsname"},
	"internal/inspect":   {"internal/certlint", "internal/diag", "internal/hostname", "internal/secret", "internal/tlsname"}, // anybody's bytes; knows no side
	"internal/enroll":    {"internal/ca", "internal/certlint", "internal/diag", "internal/hostname", "internal/secret", "internal/tlsname"},
	"internal/mint":      {"internal/diag", "internal/ir", "internal/secret", "internal/telemetry", "internal/tlsname"},
	"internal/httpcache": {"internal/diag", "internal/ir", "internal/message", "internal/semantics", "internal/telemetry"},
	"internal/tcpproxy":  {"internal/diag", "internal/filter", "internal/hostname", "internal/ir", "internal/listen", "internal/overload", "internal/telemetry", "internal/upstream"},
	"internal/egress":    {"internal/diag", "internal/ir", "internal/telemetry"},
	"internal/forward": {"internal/acl", "internal/diag", "internal/filter", "internal/hostname", "internal/httpcache", "internal/ir", "internal/listen", "internal/message", "internal/mint", "internal/overload", "internal/proxy", "internal/route",
		"internal/secret", "internal/semantics", "internal/tcpproxy", "internal/telemetry", "internal/tlsconf", "internal/tlsname", "internal/trust", "internal/upstream"},
	"internal/proxy": {"internal/httpcache", "internal/authz", "internal/diag", "internal/filter", "internal/grpcweb", "internal/http1", "internal/http2", "internal/hostname", "internal/ir", "internal/listen", "internal/message", "internal/overload", "internal/route",
		"internal/semantics", "internal/telemetry", "internal/tlsconf", "internal/upstream"},
	"internal/dataplane": {"internal/forward", "internal/httpcache", "internal/mint", "internal/tcpproxy", "internal/authz", "internal/revocation", "internal/diag", "internal/filter", "internal/http2", "internal/ir", "internal/listen", "internal/overload", "internal/proxy", "internal/route", "internal/telemetry", "internal/tlsconf",
		"internal/tlsname", "internal/upstream"},
}

// upper are the rooms above all sides; they may import anything below them.
var upper = []string{"internal/trace", "internal/squidconf", "internal/admin", "internal/demo", "internal/cli", "internal/server", "cmd/hakone", "test", "tools"}

// TestArchitectureIsDescribed has every room of the table described in ARCHITECTURE.md, and no other.
func TestArchitectureIsDescribed(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n## Rooms\n"))
	text, _, _ = bytes.Cut(text, []byte("\n## "))
	described := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for i, name := range strings.Split(cells[1], "`") {
			if i%2 == 0 {
				continue
			}
			if name = strings.TrimSuffix(name, "/"); !strings.Contains(name, "/") && strings.Contains(cells[1], "internal/") {
				name = "internal/" + name
			}
			described[name] = true
		}
	}
	all := slices.Concat(slices.Collect(maps.Keys(rooms)), upper)
	for _, room := range all {
		if !described[room] && room != "tools" {
			t.Errorf("ARCHITECTURE.md does not say what %s holds", room)
		}
		delete(described, room)
	}
	for name := range described {
		t.Errorf("ARCHITECTURE.md describes %s, which is no room", name)
	}
}

// foreign modules that the data side and the words never import.
var foreign = []string{"k8s.io/", "sigs.k8s.io/", "istio.io/"}

func TestArchitecture(t *testing.T) {
	for dir, files := range packages(t) {
		room := roomOf(dir)
		allowed, known := rooms[room]
		isUpper := slices.ContainsFunc(upper, func(u string) bool { return room == u || strings.HasPrefix(dir, u) })
		if !known && !isUpper && dir != "." {
			t.Errorf("%s is in no room of the import table; see ARCHITECTURE.md", dir)
			continue
		}
		documented := false
		for _, f := range files {
			if f.syntax.Doc != nil && strings.TrimSpace(f.syntax.Doc.Text()) != "" {
				documented = true
			}
			f.checkSize(t)
			f.checkInit(t)
			if !isUpper && dir != "." {
				f.checkImports(t, room, allowed)
			}
		}
		if !documented && dir != "." {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

type file struct {
	path   string
	syntax *ast.File
	fset   *token.FileSet
	lines  int
}

func packages(t *testing.T) map[string][]file {
	t.Helper()
	out := map[string][]file{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, path, b, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		out[dir] = append(out[dir], file{path, syntax, fset, bytes.Count(b, []byte("\n"))})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// roomOf returns the room that a folder belongs to: "internal/filter/headers" is in "internal/filter".
func roomOf(dir string) string {
	parts := strings.SplitN(dir, "/", 3)
	if len(parts) < 2 {
		return dir
	}
	return parts[0] + "/" + parts[1]
}

func (f file) checkSize(t *testing.T) {
	t.Helper()
	if f.lines > 600 && !strings.Contains(f.path, "zz_generated") {
		t.Errorf("%s has %d lines; files stop at 600", f.path, f.lines)
	}
	for _, d := range f.syntax.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line
		if n > 100 && !strings.HasPrefix(filepath.Base(f.path), "catalogue") {
			t.Errorf("%s: func %s has %d lines; functions stop at 100", f.path, fn.Name.Name, n)
		}
	}
}

func (f file) checkInit(t *testing.T) {
	t.Helper()
	for _, d := range f.syntax.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			t.Errorf("%s has an init function; construct things where they are wired", f.path)
		}
	}
}

func (f file) checkImports(t *testing.T, room string, allowed []string) {
	t.Helper()
	control := slices.Contains([]string{"api/v1alpha1", "internal/resource", "internal/source", "internal/translate", "internal/status", "internal/control"}, room)
	for _, spec := range f.syntax.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !control && slices.ContainsFunc(foreign, func(p string) bool { return strings.HasPrefix(path, p) }) {
			t.Errorf("%s imports %s; only the control side knows these APIs", f.path, path)
		}
		inner, ours := strings.CutPrefix(path, module)
		if !ours {
			continue
		}
		target := roomOf(inner)
		if target != room && !slices.Contains(allowed, target) {
			t.Errorf("%s imports %s; room %s may not (ARCHITECTURE.md)", f.path, target, room)
		}
	}
}
