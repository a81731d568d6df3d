package resource

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Sensitive is a value of a Secret. However it is printed, logged or marshalled, it says
// "[redacted]"; convert it to []byte to use it. Never change the bytes.
type Sensitive []byte

// String implements fmt.Stringer.
func (Sensitive) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Sensitive) GoString() string { return redacted }

// Format implements fmt.Formatter, so that no verb (%x, %q, %d) prints the bytes.
func (Sensitive) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText implements encoding.TextMarshaler; JSON and YAML encoders use it.
func (Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Sensitive) LogValue() slog.Value { return slog.StringValue(redacted) }
