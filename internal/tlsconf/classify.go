package tlsconf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// cause is what a text of crypto/tls means. crypto/tls has types for few of its errors, so the rest is
// told by text; TestTexts holds every release of Go to them.
type cause struct {
	prefix string
	code   diag.Code
	words  func(*shake, tls.ConnectionState) (diag.Code, string) // may refine the code; nil: fixed below
	detail string
}

// serverCauses are the errors of tls.Conn.Handshake on the server side.
func serverCauses() []cause {
	return []cause{
		{prefix: "tls: client offered only unsupported versions", code: diag.TLSVersionTooLow, words: (*shake).aboutVersion},
		{prefix: "tls: no cipher suite supported by both client and server", code: diag.NoCommonCipher, words: (*shake).aboutCipher},
		{prefix: "tls: no key exchanges supported by both client and server", code: diag.NoCommonGroup, words: (*shake).aboutGroups},
		{prefix: "tls: no supported elliptic curves offered", code: diag.NoCommonGroup, words: (*shake).aboutGroups},
		{prefix: "tls: client offered only incompatible point formats", code: diag.NoCommonGroup, detail: "the client accepts compressed curve points only"},
		{prefix: "tls: client requested unsupported application protocols", code: diag.NoCommonALPN, words: (*shake).aboutALPN},
		{prefix: "tls: peer doesn't support any of the certificate's signature algorithms", code: diag.NoCommonSignature, words: (*shake).aboutSignature},
		{prefix: "tls: certificate RSA key size too small for supported signature algorithms", code: diag.NoCommonSignature, words: (*shake).aboutSignature},
		{prefix: "tls: missing signature_algorithms from TLS 1.2 peer", code: diag.NoCommonSignature, words: (*shake).aboutSignature},
		{prefix: "tls: peer doesn't support the certificate custom signature algorithms", code: diag.NoCommonSignature, words: (*shake).aboutSignature},
		{prefix: "tls: failed to sign handshake", code: diag.HandshakeFailed, detail: "the host's key could not sign"},
		{prefix: "tls: failed to sign ECDHE parameters", code: diag.HandshakeFailed, detail: "the host's key could not sign"},
		{prefix: "tls: no certificates configured", code: diag.CredentialMissing, detail: "no certificate is known for this host"},

		{prefix: "tls: client didn't provide a certificate", code: diag.ClientCertMissing, words: (*shake).aboutMissing},
		{prefix: "tls: failed to parse client certificate", code: diag.ClientCertMalformed, detail: "the client's certificate cannot be parsed"},
		{prefix: "tls: client sent certificate containing RSA key larger than", code: diag.ClientCertMalformed, detail: "the client's certificate has an RSA key of more than 8192 bits"},
		{prefix: "tls: client certificate contains an unsupported public key", code: diag.ClientCertMalformed, detail: "the client's certificate has a key of a type that TLS does not use"},
		{prefix: "tls: invalid signature by the client certificate", code: diag.ClientCertNoPossession, words: (*shake).aboutPossession},
		{prefix: "tls: client certificate used with invalid signature algorithm", code: diag.ClientCertNoPossession, words: (*shake).aboutPossession},

		{prefix: "tls: too many ignored records", code: diag.TLSRecordFlood, detail: "the client sent too many records that carry nothing"},
		{prefix: "tls: client using inappropriate protocol fallback", code: diag.HandshakeFailed, detail: "the client fell back to a lower TLS version although both sides support a higher one (TLS_FALLBACK_SCSV)"},
		{prefix: "tls: client sent unexpected early data", code: diag.HandshakeFailed, detail: "the client sent 0-RTT data, which no ticket of ours allows; its ticket comes from another server"},
		{prefix: "tls: invalid PSK binder", code: diag.HandshakeFailed, detail: "the client offered a session ticket without knowing its secret"},
		{prefix: "tls: session supported extended_master_secret but client does not", code: diag.HandshakeFailed, detail: "the client resumes a session without the extended master secret that it had"},
		{prefix: "tls: handshake message of length", code: diag.HelloTooLarge, detail: "a handshake message exceeds the bound"},
		{prefix: "tls: client does not support uncompressed connections", code: diag.HelloMalformed, detail: "the client insists on compression"},
		{prefix: "tls: client used the legacy version field to negotiate TLS 1.3", code: diag.HelloMalformed, detail: "the client asks for TLS 1.3 in the wrong field"},
		{prefix: "tls: TLS 1.3 client supports illegal compression methods", code: diag.HelloMalformed, detail: "the client offers compression with TLS 1.3"},
		{prefix: "tls: initial handshake had non-empty renegotiation extension", code: diag.HelloMalformed, detail: "the client begins with a renegotiation"},
		{prefix: "tls: invalid client key share", code: diag.HelloMalformed, detail: "the client's key share is malformed"},
		{prefix: "tls: client didn't send one key share in second ClientHello", code: diag.HelloMalformed, detail: "the client's second hello is wrong"},
		{prefix: "tls: client sent unexpected key share in second ClientHello", code: diag.HelloMalformed, detail: "the client's second hello is wrong"},
		{prefix: "tls: client illegally modified second ClientHello", code: diag.HelloMalformed, detail: "the client's second hello is wrong"},
		{prefix: "tls: invalid or missing PSK binders", code: diag.HelloMalformed, detail: "the client's pre-shared keys lack binders"},
		{prefix: "tls: invalid ClientKeyExchange message", code: diag.HandshakeFailed, detail: "the client's key exchange is malformed"},
		{prefix: "tls: client's Finished message is incorrect", code: diag.HandshakeFailed, detail: "the two sides saw different handshakes; something in between changes them"},
		{prefix: "tls: invalid client finished hash", code: diag.HandshakeFailed, detail: "the two sides saw different handshakes; something in between changes them"},
	}
}

// classify finds the reason of a failed server handshake.
func (s *shake) classify(err error, cs tls.ConnectionState) (diag.Code, string) {
	var own *refusal
	if errors.As(err, &own) {
		return own.code, own.detail
	}
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) {
		verdict := s.policy.class.judge.VerifyClient(bad.UnverifiedCertificates, s.t.state.now())
		if verdict.Code != 0 {
			return verdict.Code, verdict.Detail
		}
		return diag.ClientCertInvalid, "the client's certificate does not verify: " + bad.Err.Error()
	}
	if code, detail, ok := ended(err); ok {
		return code, detail
	}
	if n, ok := receivedAlert(err); ok {
		return s.fromAlert(n)
	}
	if n, ok := sentAlert(err); ok {
		if plain, ok := s.conn.PlaintextAlert(); ok && n == 20 {
			return s.fromAlert(plain)
		}
		return diag.HandshakeFailed, "the client broke the protocol; it was sent " + alertWords(n)
	}
	var head tls.RecordHeaderError
	if errors.As(err, &head) {
		return diag.HandshakeFailed, "the client broke the record layer: " + head.Msg
	}
	text := err.Error()
	for _, c := range serverCauses() {
		if strings.HasPrefix(text, c.prefix) {
			if c.words != nil {
				return c.words(s, cs)
			}
			return c.code, c.detail
		}
	}
	if strings.HasSuffix(text, "when waiting for *tls.certificateVerifyMsg") {
		return s.aboutPossession(cs)
	}
	return diag.HandshakeFailed, "the TLS library ended the handshake"
}

// ended tells timeouts and closed connections.
func ended(err error) (diag.Code, string, bool) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return diag.HandshakeTimeout, "the handshake was not finished in time", true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return diag.ClosedInHandshake, "the peer closed the connection in the middle of the handshake", true
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return diag.ClosedInHandshake, "the peer reset the connection in the middle of the handshake", true
	case errors.Is(err, net.ErrClosed):
		return diag.ClosedInHandshake, "the connection was closed here in the middle of the handshake", true
	}
	return 0, "", false
}

// fromAlert finds the reason for a client's alert.
func (s *shake) fromAlert(n uint8) (diag.Code, string) {
	if code, detail, ok := distrust(n, s.served.chosen, s.minted); ok {
		return code, detail
	}
	return clientAlert(n, s.hello.ServerName, s.served.chosen, s.t.state.now())
}

// AfterHandshake returns the record for a connection that ended before its first request byte: err is
// what reading returned. The driver hands it to the sink beside the record of the good handshake,
// whose copy it is.
func (r *Result) AfterHandshake(err error) *telemetry.Handshake {
	rec := *r.Record
	rec.Err = err.Error()
	if n, ok := receivedAlert(err); ok {
		code, detail, ok := distrust(n, r.chosen, r.minted)
		if !ok {
			code, detail = clientAlert(n, rec.Hello.SNI, r.chosen, rec.Time)
		}
		rec.Code, rec.Detail = code, detail
		r.term.tellDistrust(r.Raw, &rec)
		return &rec
	}
	if rec.Code, rec.Detail = misuse(err); rec.Code != 0 {
		return &rec
	}
	rec.Code = diag.ClosedAfterShake
	rec.Detail = "the client closed right after the handshake without a request"
	if pair := r.chosen; pair != nil {
		rec.Detail += fmt.Sprintf("; it asked for %q, the certificate names %s", rec.Hello.SNI, namesOf(pair.Leaf))
	}
	return &rec
}
