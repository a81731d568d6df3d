package tlsconf

import (
	"errors"
	"fmt"
	"net"
	"reflect"
)

// alertName returns the IANA name of an alert, "unassigned" for unknown ones.
func alertName(n uint8) string {
	switch n {
	case 0:
		return "close_notify"
	case 10:
		return "unexpected_message"
	case 20:
		return "bad_record_mac"
	case 22:
		return "record_overflow"
	case 40:
		return "handshake_failure"
	case 42:
		return "bad_certificate"
	case 43:
		return "unsupported_certificate"
	case 44:
		return "certificate_revoked"
	case 45:
		return "certificate_expired"
	case 46:
		return "certificate_unknown"
	case 47:
		return "illegal_parameter"
	case 48:
		return "unknown_ca"
	case 49:
		return "access_denied"
	case 50:
		return "decode_error"
	case 51:
		return "decrypt_error"
	case 70:
		return "protocol_version"
	case 71:
		return "insufficient_security"
	case 80:
		return "internal_error"
	case 86:
		return "inappropriate_fallback"
	case 90:
		return "user_canceled"
	case 109:
		return "missing_extension"
	case 110:
		return "unsupported_extension"
	case 112:
		return "unrecognized_name"
	case 113:
		return "bad_certificate_status_response"
	case 115:
		return "unknown_psk_identity"
	case 116:
		return "certificate_required"
	case 120:
		return "no_application_protocol"
	case 121:
		return "ech_required"
	}
	return "unassigned"
}

// alertWords returns "alert 48 (unknown_ca)".
func alertWords(n uint8) string { return fmt.Sprintf("alert %d (%s)", n, alertName(n)) }

// receivedAlert returns the alert that the peer sent. crypto/tls wraps it as a number of an unexported
// type in a net.OpError, so it is read by kind; a test holds every release to that.
func receivedAlert(err error) (uint8, bool) { return alertOf(err, "remote error") }

// sentAlert returns the alert that crypto/tls sent where that is all the error says.
func sentAlert(err error) (uint8, bool) { return alertOf(err, "local error") }

func alertOf(err error, op string) (uint8, bool) {
	var oe *net.OpError
	if !errors.As(err, &oe) || oe.Op != op || oe.Err == nil {
		return 0, false
	}
	v := reflect.ValueOf(oe.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}
