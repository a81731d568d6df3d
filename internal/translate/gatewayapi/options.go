package gatewayapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/tlsname"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Options of a listener's tls that are understood. The first two are Istio's; Istio has none for
// versions. The API leaves options to implementations.
const (
	optionTerminateMode = "gateway.istio.io/tls-terminate-mode" // SIMPLE, MUTUAL or OPTIONAL_MUTUAL
	optionCipherSuites  = "gateway.istio.io/tls-cipher-suites"  // names separated by commas
	optionMinVersion    = "hakone.dev/min-tls-version"          // 1.0 to 1.3
	optionMaxVersion    = "hakone.dev/max-tls-version"
)

// options applies tls.options to a listener and returns the client authentication that they ask for.
// validated says that spec.tls.frontend decides about client certificates on this port; a mode of its
// own beside it would be a second answer to one question, so such a listener is refused.
func (t *translator) options(l *listener, validated bool) ir.ClientAuthMode {
	mode := ir.ClientAuthNone
	for _, key := range slices.Sorted(maps.Keys(l.spec.TLS.Options)) {
		value := strings.TrimSpace(string(l.spec.TLS.Options[key]))
		field := fmt.Sprintf("%s.tls.options[%s]", l.field, key)
		if l.terminate == nil {
			return mode
		}
		switch string(key) {
		case optionTerminateMode:
			mode = t.terminateMode(l, field, value, validated)
		case optionCipherSuites:
			t.cipherSuites(l, field, value)
		case optionMinVersion:
			if v := t.version(l, field, value); v != 0 {
				l.terminate.MinVersion = v
			}
		case optionMaxVersion:
			if v := t.version(l, field, value); v != 0 {
				l.terminate.MaxVersion = v
			}
		default:
			t.withoutEffect(&l.gateway.Meta, field, fmt.Sprintf("option %s is not known here", key))
		}
	}
	return mode
}

func (t *translator) terminateMode(l *listener, field, value string, validated bool) ir.ClientAuthMode {
	var mode ir.ClientAuthMode
	switch value {
	case "SIMPLE":
		mode = ir.ClientAuthNone
	case "MUTUAL":
		mode = ir.ClientAuthRequire
	case "OPTIONAL_MUTUAL":
		mode = ir.ClientAuthOptional
	default:
		t.refuseTLS(l, field, fmt.Sprintf("mode %q is not one of SIMPLE, MUTUAL, OPTIONAL_MUTUAL", value), "Use one of them.")
		return ir.ClientAuthNone
	}
	if validated {
		t.refuseTLS(l, field, "spec.tls.frontend and this option both decide about client certificates", "Remove the option.")
	}
	return mode
}

// version reads a TLS version; one that is not known refuses the listener.
func (t *translator) version(l *listener, field, value string) uint16 {
	v, ok := tlsname.ParseVersion(value)
	if !ok {
		t.refuseTLS(l, field, fmt.Sprintf("TLS version %q is not one of 1.0, 1.1, 1.2, 1.3", value), "Use one of them.")
	}
	return v
}

// cipherSuites reads the suites for TLS 1.2 and below. A list of which nothing can be offered refuses
// the listener: the defaults are not what was asked for.
func (t *translator) cipherSuites(l *listener, field, value string) {
	var suites []uint16
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		id, verdict := tlsname.ParseSuite(name)
		switch verdict {
		case tlsname.Offerable:
			if !slices.Contains(suites, id) {
				suites = append(suites, id)
			}
		case tlsname.TLS13:
			t.report(&l.gateway.Meta, diag.TLSSettingIneffective, field, fmt.Sprintf("%s belongs to TLS 1.3, whose suites are always on", name), "Remove it from the list.")
		case tlsname.Unsupported:
			t.report(&l.gateway.Meta, diag.CipherNotSupported, field, fmt.Sprintf("cipher suite %s cannot be offered", name), "Remove it from the list.")
		default:
			t.report(&l.gateway.Meta, diag.CipherUnknown, field, fmt.Sprintf("cipher suite %q is not known", name), translate.SuiteFix(name))
		}
	}
	if len(suites) == 0 {
		t.refuseTLS(l, field, "none of the cipher suites can be offered", "Name at least one suite such as ECDHE-ECDSA-AES128-GCM-SHA256.")
		return
	}
	l.terminate.CipherSuites = suites
}
