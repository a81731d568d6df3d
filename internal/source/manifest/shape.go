package manifest

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

// form is what a value looks like when written down.
type form uint8

const (
	formAny       form = iota // whatever there is
	formObject                // fixed fields
	formMap                   // any keys, equal values
	formList                  // sequence of equal items
	formText                  // string
	formBool                  // true or false
	formInt                   // whole number between min and max
	formNumber                // any number
	formIntOrText             // port number or name
	formQuantity              // number or string such as 100Mi
	formDuration              // google.protobuf.Duration, written as Go's time.ParseDuration reads
)

// shape describes how a type is written down: made from Go types by reflection, or from Protocol
// Buffer descriptors. A shape is immutable once its Parser is made.
type shape struct {
	form     form
	elem     *shape   // of formMap and formList
	fields   []*field // of formObject, in declared order
	byName   map[string]*field
	min, max int64 // of formInt

	enum      []string            // allowed values; nil for any
	open      bool                // values with a slash are allowed beside enum ("example.com/protocol")
	check     func(string) string // returns what the value must be, or ""; only for formText
	sensitive bool                // values must never be shown
	sparse    bool                // values of formMap may be empty
}

// field is one field of an object. alias is a second spelling, as in credential_name.
type field struct {
	name, alias string
	shape       *shape
	required    bool
	nonzero     bool   // a required field must not be "", 0 or [] either
	group       string // oneof: at most one field of a group may be set
}

// names returns the canonical field names.
func (s *shape) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

// add appends a field.
func (s *shape) add(f *field) {
	if s.byName == nil {
		s.byName = map[string]*field{}
	}
	s.fields = append(s.fields, f)
	s.byName[f.name] = f
	if f.alias != "" {
		s.byName[f.alias] = f
	}
}

// shapes makes shapes of Go types. It is used only while a Parser is made.
type shapes struct {
	memo  map[reflect.Type]*shape
	rules map[reflect.Type]rule
	exact map[fieldID]fieldRule
}

// of returns the shape of a Go type as encoding/json reads it.
func (b *shapes) of(t reflect.Type) *shape {
	if s, ok := b.memo[t]; ok {
		return s
	}
	s := &shape{}
	b.memo[t] = s // before the fields: types may contain themselves
	b.fill(s, t)
	if r, ok := b.rules[t]; ok {
		r.apply(s)
	}
	return s
}

func (b *shapes) fill(s *shape, t reflect.Type) {
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		s.form, s.check = formText, checkTime
		return
	case reflect.TypeFor[metav1.Duration]():
		s.form = formText
		return
	case reflect.TypeFor[intstr.IntOrString]():
		s.form = formIntOrText
		return
	case reflect.TypeFor[resource.Quantity]():
		s.form = formQuantity
		return
	case reflect.TypeFor[metav1.FieldsV1](), reflect.TypeFor[runtime.RawExtension]():
		return
	}
	if p := reflect.PointerTo(t); p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return // written as the type pleases; its own decoder judges it
	}
	switch t.Kind() {
	case reflect.Pointer:
		*s = *b.of(t.Elem())
	case reflect.String:
		s.form = formText
	case reflect.Bool:
		s.form = formBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.form = formInt
		s.max = 1<<(t.Bits()-1) - 1
		s.min = -s.max - 1
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		s.form, s.max = formInt, 1<<t.Bits()-1
	case reflect.Float32, reflect.Float64:
		s.form = formNumber
	case reflect.Map:
		s.form, s.elem, s.sparse = formMap, b.of(t.Elem()), true
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			s.form, s.check = formText, checkBase64
			return
		}
		s.form, s.elem = formList, b.of(t.Elem())
	case reflect.Struct:
		s.form = formObject
		b.structFields(s, t)
	}
}

// structFields adds the fields of a struct type, those of embedded structs among them.
func (b *shapes) structFields(s *shape, t reflect.Type) {
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "-" || !sf.IsExported() {
			continue
		}
		if sf.Anonymous && name == "" {
			b.structFields(s, sf.Type)
			continue
		}
		if name == "" {
			name = sf.Name
		}
		f := &field{name: name, shape: b.of(sf.Type), required: declaresRequired(t, sf, options)}
		if name == "status" && s.byName["metadata"] != nil {
			f.shape, f.required = &shape{}, false // written by controllers, never read
		}
		if r, ok := b.exact[fieldID{t, name}]; ok {
			f.required, f.nonzero = f.required || r.required || r.nonzero, r.nonzero
			own := *f.shape
			r.rule.apply(&own)
			if own.elem != nil {
				elem := *own.elem
				r.elem.apply(&elem)
				own.elem = &elem
			}
			f.shape = &own
		}
		s.add(f)
	}
}

// declaresRequired says whether a field without omitempty is required: so it is in the packages that
// are written for generated CRDs; core types predate that convention.
func declaresRequired(t reflect.Type, sf reflect.StructField, options string) bool {
	switch t.PkgPath() {
	case reflect.TypeFor[gatewayv1.Gateway]().PkgPath(), reflect.TypeFor[v1alpha1.TLSPolicy]().PkgPath():
		return !strings.Contains(options, "omit") && sf.Type.Kind() != reflect.Pointer
	}
	return false
}

// secretShape is the shape of a Secret, whose values are never to be shown.
func secretShape(b *shapes) *shape {
	s := b.of(reflect.TypeFor[corev1.Secret]())
	for _, name := range []string{"data", "stringData"} {
		f := s.byName[name]
		elem := *f.shape.elem
		elem.sensitive = true
		f.shape = &shape{form: formMap, elem: &elem, sensitive: true, sparse: true}
	}
	return s
}

func checkBase64(v string) string {
	if _, err := base64.StdEncoding.DecodeString(v); err != nil {
		return "base64 text (for plain text use stringData)"
	}
	return ""
}

func checkTime(v string) string {
	if _, err := time.Parse(time.RFC3339, v); err != nil {
		return "a time such as 2026-01-02T15:04:05Z"
	}
	return ""
}
