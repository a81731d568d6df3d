package manifest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// document is a checked object on its way into a resource.
type document struct {
	meta   resource.Meta
	root   *yaml.Node
	shape  *shape
	faults []fault // added by build functions
}

// top returns a top-level field of the document, or nil.
func (d *document) top(name string) *yaml.Node { return child(d.root, name) }

// json returns a top-level field as JSON, or nil.
func (d *document) json(name string) []byte {
	n := d.top(name)
	if n == nil || isNull(n) {
		return nil
	}
	return appendJSON(nil, n, d.shape.byName[name].shape)
}

// decode reads a top-level field into dst, a pointer; without the field dst is left alone. The check
// against the shape went before, so an error here is a rule that the shape does not know.
func (d *document) decode(name string, dst any) {
	b := d.json(name)
	if b == nil {
		return
	}
	if err := json.Unmarshal(b, dst); err != nil {
		d.refuse(name, err)
	}
}

func (d *document) refuse(name string, err error) {
	d.faults = append(d.faults, fault{diag.BadValue, d.top(name).Line, name,
		fmt.Sprintf("%s cannot be read: %v.", name, err), "Correct the value named."})
}

// buildProto makes a resource whose spec is a Protocol Buffer message.
func buildProto[T proto.Message](d *document) resource.Resource {
	var zero T
	spec := zero.ProtoReflect().New().Interface().(T)
	if b := d.json("spec"); b != nil {
		if err := (protojson.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(b, spec); err != nil {
			// protojson varies its spaces on purpose; diagnostics must not.
			d.refuse("spec", fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\u00a0", " ")))
		}
	}
	return &resource.Object[T]{Meta: d.meta, Spec: spec}
}

// buildSpec returns a function that makes a resource whose spec is a Go struct, with defaults.
func buildSpec[T any](defaults func(*T)) func(*document) resource.Resource {
	return func(d *document) resource.Resource {
		spec := new(T)
		d.decode("spec", spec)
		defaults(spec)
		return &resource.Object[*T]{Meta: d.meta, Spec: spec}
	}
}

func noDefaults[T any](*T) {}

// buildSecret reads a Secret without passing its values through anything that might quote them in an
// error. stringData wins over data, as in the API server.
func buildSecret(d *document) resource.Resource {
	s := &resource.Secret{Meta: d.meta, Type: "Opaque", Data: map[string]resource.Sensitive{}}
	if t := d.top("type"); t != nil && t.Value != "" {
		s.Type = t.Value
	}
	eachEntry(d.top("data"), func(key string, value *yaml.Node) {
		if isNull(value) {
			s.Data[key] = resource.Sensitive{}
			return
		}
		b, err := base64.StdEncoding.DecodeString(value.Value)
		if err == nil { // else the check has reported it
			s.Data[key] = b
		}
	})
	eachEntry(d.top("stringData"), func(key string, value *yaml.Node) {
		if isNull(value) {
			s.Data[key] = resource.Sensitive{}
			return
		}
		s.Data[key] = resource.Sensitive(value.Value)
	})
	return s
}

func buildConfigMap(d *document) resource.Resource {
	m := &resource.ConfigMap{Meta: d.meta}
	d.decode("data", &m.Data)
	d.decode("binaryData", &m.BinaryData)
	return m
}

func buildNamespace(d *document) resource.Resource { return &resource.Namespace{Meta: d.meta} }

func buildEndpointSlice(d *document) resource.Resource {
	e := &resource.EndpointSlice{Meta: d.meta}
	d.decode("addressType", &e.AddressType)
	d.decode("endpoints", &e.Endpoints)
	d.decode("ports", &e.Ports)
	defaultEndpointSlice(e)
	return e
}

// child returns the value of a key of a mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// eachEntry calls f for the entries of a mapping; for anything else not at all.
func eachEntry(n *yaml.Node, f func(key string, value *yaml.Node)) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f(n.Content[i].Value, n.Content[i+1])
	}
}

// textOf returns a scalar's text, "" for anything else.
func textOf(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || isNull(n) {
		return ""
	}
	return n.Value
}

// textMap returns a mapping of texts, nil if there is none.
func textMap(n *yaml.Node) map[string]string {
	var m map[string]string
	eachEntry(n, func(key string, value *yaml.Node) {
		if m == nil {
			m = make(map[string]string, len(n.Content)/2)
		}
		m[key] = textOf(value)
	})
	return m
}
