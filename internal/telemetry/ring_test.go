package telemetry

import (
	"reflect"
	"testing"
)

// TestRingOwnsWhatItKeeps has every field that lies in a request's buffers copied: the next request overwrites those.
func TestRingOwnsWhatItKeeps(t *testing.T) {
	var a Access
	buffer := []byte("old")
	v := reflect.ValueOf(&a).Elem()
	for i := range v.NumField() {
		if v.Field(i).Type() == reflect.TypeFor[[]byte]() {
			v.Field(i).SetBytes(buffer)
		}
	}
	r := newRing(1, 1)
	r.access(&a)
	copy(buffer, "new")
	r.requests(func(kept *Access) {
		v := reflect.ValueOf(kept).Elem()
		for i := range v.NumField() {
			if f := v.Field(i); f.Type() == reflect.TypeFor[[]byte]() && string(f.Bytes()) != "old" {
				t.Errorf("%s is %q", v.Type().Field(i).Name, f.Bytes())
			}
		}
	})
}
