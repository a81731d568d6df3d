// Package diag holds the words in which Hakone tells people that something is wrong: coded
// diagnostics about a user's configuration, and the reasons of refused handshakes and requests.
//
// Every code (HKnnnn) stands once, in the catalogue of this package; documentation, the command
// "hakone explain" and metric labels are made from that table. The package refuses to know how a
// fault was found and where it is printed. Begin reading at Code and Diagnostic.
package diag

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Severity says how much a diagnostic matters. The zero value is Info.
type Severity uint8

// Severities, in rising order.
const (
	Info    Severity = iota // worth knowing; nothing to do
	Warning                 // works, but not as well or not as asked
	Error                   // the object, or the named part of it, is left out
)

// String returns "info", "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	}
	return "info"
}

// MarshalText writes the severity as String does.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Severity) UnmarshalText(b []byte) error {
	for _, known := range []Severity{Info, Warning, Error} {
		if known.String() == string(b) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("no severity %q; there are info, warning and error", b)
}

// Object names a configuration object. Namespace is empty for cluster-scoped kinds.
type Object struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// String returns "Kind namespace/name", without the namespace where there is none.
func (o Object) String() string {
	switch {
	case o.Name == "" && o.Kind == "":
		return ""
	case o.Namespace == "":
		return strings.TrimSpace(o.Kind + " " + o.Name)
	}
	return strings.TrimSpace(o.Kind + " " + o.Namespace + "/" + o.Name)
}

// Position is a place in a configuration file. Line counts from 1; 0 means that it is not known.
type Position struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// String returns "file:line", "file", or "".
func (p Position) String() string {
	if p.File == "" || p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Diagnostic is one finding about the configuration. Message is one sentence that names what is
// wrong; Fix is one sentence or command that mends it (empty where there is nothing to do). Field is
// the path inside the object, as in "spec.servers[0].tls.credentialName".
type Diagnostic struct {
	Code     Code
	Severity Severity
	Object   Object
	Position Position
	Field    string
	Message  string
	Fix      string
}

// flat is a diagnostic as JSON has it: one level, for jq and its like.
type flat struct {
	Code     Code     `json:"code"`
	Slug     string   `json:"slug"`
	Severity Severity `json:"severity"`
	Object
	Position
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

// MarshalJSON writes one flat object: code, slug, severity, kind, namespace, name, file, line, field,
// message, fix.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	return json.Marshal(flat{d.Code, d.Code.Slug(), d.Severity, d.Object, d.Position, d.Field, d.Message, d.Fix})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Diagnostic) UnmarshalJSON(b []byte) error {
	var f flat
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*d = Diagnostic{f.Code, f.Severity, f.Object, f.Position, f.Field, f.Message, f.Fix}
	return nil
}

// String renders the diagnostic on one line, for logs.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", d.Severity, d.Code)
	if o := d.Object.String(); o != "" {
		b.WriteString(" " + o)
	}
	if p := d.Position.String(); p != "" {
		b.WriteString(" (" + p + ")")
	}
	if d.Field != "" {
		b.WriteString(" " + d.Field)
	}
	b.WriteString(": " + d.Message)
	if d.Fix != "" {
		b.WriteString(" — fix: " + d.Fix)
	}
	return b.String()
}

// New returns a diagnostic of the code's own severity. Give the object and field; the position is
// filled in later from the object's source (see Locate in package resource).
func New(code Code, obj Object, field, message, fix string) Diagnostic {
	return Diagnostic{Code: code, Severity: code.Severity(), Object: obj, Field: field, Message: message, Fix: fix}
}

// Sort orders diagnostics so that equal findings give equal output: worst first, of these causes before effects (see stage), then by object,
// field, code, position and message.
func Sort(ds []Diagnostic) {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(b.Severity, a.Severity),
			cmp.Compare(stage(a), stage(b)),
			strings.Compare(a.Object.Namespace, b.Object.Namespace),
			strings.Compare(a.Object.Kind, b.Object.Kind),
			strings.Compare(a.Object.Name, b.Object.Name),
			strings.Compare(a.Field, b.Field),
			cmp.Compare(a.Code, b.Code),
			strings.Compare(a.Position.File, b.Position.File),
			cmp.Compare(a.Position.Line, b.Position.Line),
			strings.Compare(a.Message, b.Message),
		)
	})
}

// stage orders causes before effects: what stands in the files and cannot be read, what each object lacks,
// and what is told of the whole.
func stage(d Diagnostic) int {
	switch {
	case d.Code/100 == 50:
		return 0
	case d.Object == (Object{}):
		return 2
	}
	return 1
}

// Compact sorts diagnostics and drops exact repeats.
func Compact(ds []Diagnostic) []Diagnostic {
	Sort(ds)
	return slices.Compact(ds)
}

// Worst returns the highest severity among ds, and false if ds is empty.
func Worst(ds []Diagnostic) (Severity, bool) {
	w := Info
	for _, d := range ds {
		w = max(w, d.Severity)
	}
	return w, len(ds) > 0
}
