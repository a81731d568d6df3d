package manifest

import (
	"math"
	"slices"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// protoShapes makes shapes of Protocol Buffer messages, as protojson reads them. It is used only
// while a Parser is made.
type protoShapes map[protoreflect.FullName]*shape

func (b protoShapes) message(md protoreflect.MessageDescriptor) *shape {
	if s, ok := b[md.FullName()]; ok {
		return s
	}
	s := &shape{}
	b[md.FullName()] = s
	switch md.FullName() {
	case "google.protobuf.Duration":
		s.form = formDuration
		return s
	case "google.protobuf.Timestamp":
		s.form, s.check = formText, checkTime
		return s
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Any":
		return s
	case "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue",
		"google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value",
		"google.protobuf.FloatValue", "google.protobuf.DoubleValue":
		*s = *b.single(md.Fields().ByName("value"))
		return s
	}
	s.form = formObject
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		f := &field{name: fd.JSONName(), shape: b.field(fd), nonzero: true, required: isRequired(fd)}
		if text := fd.TextName(); text != f.name {
			f.alias = text
		}
		if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
			f.group = string(o.Name())
		}
		s.add(f)
	}
	return s
}

func (b protoShapes) field(fd protoreflect.FieldDescriptor) *shape {
	switch {
	case fd.IsMap():
		return &shape{form: formMap, elem: b.single(fd.MapValue())}
	case fd.IsList():
		return &shape{form: formList, elem: b.single(fd)}
	}
	return b.single(fd)
}

func (b protoShapes) single(fd protoreflect.FieldDescriptor) *shape {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return b.message(fd.Message())
	case protoreflect.EnumKind:
		s := &shape{form: formText}
		values := fd.Enum().Values()
		for i := range values.Len() {
			s.enum = append(s.enum, string(values.Get(i).Name()))
		}
		return s
	case protoreflect.BoolKind:
		return &shape{form: formBool}
	case protoreflect.StringKind:
		return &shape{form: formText}
	case protoreflect.BytesKind:
		return &shape{form: formText, check: checkBase64}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &shape{form: formNumber}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return &shape{form: formInt, max: math.MaxUint32}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return &shape{form: formInt, min: math.MinInt32, max: math.MaxInt32}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return &shape{form: formInt, max: math.MaxInt64}
	}
	return &shape{form: formInt, min: math.MinInt64, max: math.MaxInt64}
}

// isRequired reports whether the API declares the field REQUIRED.
func isRequired(fd protoreflect.FieldDescriptor) bool {
	behaviors, _ := proto.GetExtension(fd.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.Contains(behaviors, annotations.FieldBehavior_REQUIRED)
}
