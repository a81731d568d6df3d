package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// upstreamCauses are the errors of tls.Conn.Handshake on the client side that have no type.
func upstreamCauses() []cause {
	return []cause{
		{prefix: "tls: server selected unsupported protocol version", code: diag.UpstreamTLSVersion, detail: "the upstream chose a TLS version that was not offered"},
		{prefix: "tls: no supported versions satisfy MinVersion and MaxVersion", code: diag.UpstreamTLSVersion, detail: "the configured versions exclude each other"},
		{prefix: "tls: server chose an unconfigured cipher suite", code: diag.UpstreamTLSNoCommon, detail: "the upstream chose a cipher suite that was not offered"},
		{prefix: "tls: server selected unsupported curve", code: diag.UpstreamTLSNoCommon, detail: "the upstream chose a group that was not offered"},
		{prefix: "tls: server selected unoffered curve", code: diag.UpstreamTLSNoCommon, detail: "the upstream chose a group that was not offered"},
		{prefix: "tls: server selected unsupported group", code: diag.UpstreamTLSNoCommon, detail: "the upstream chose a group that was not offered"},
		{prefix: "tls: server selected unadvertised ALPN protocol", code: diag.UpstreamTLSNoCommon, detail: "the upstream chose an application protocol that was not offered"},
		{prefix: "tls: failed to parse certificate from server", code: diag.UpstreamCertInvalid, detail: "the upstream's certificate cannot be parsed"},
		{prefix: "tls: server sent certificate containing RSA key larger than", code: diag.UpstreamCertInvalid, detail: "the upstream's certificate has an RSA key of more than 8192 bits"},
		{prefix: "tls: server's certificate contains an unsupported type of public key", code: diag.UpstreamCertInvalid, detail: "the upstream's certificate has a key of a type that TLS does not use"},
		{prefix: "tls: invalid signature by the server certificate", code: diag.UpstreamCertInvalid, detail: "the upstream did not prove that it holds its certificate's key"},
		{prefix: "tls: certificate used with invalid signature algorithm", code: diag.UpstreamCertInvalid, detail: "the upstream did not prove that it holds its certificate's key"},
		{prefix: "tls: downgrade attempt detected", code: diag.UpstreamTLSVersion, detail: "something between here and the upstream lowers the TLS version"},
	}
}

// noHTTP2Fix ends the sentences about an upstream that was declared as HTTP/2 and is not.
const noHTTP2Fix = "HTTP/2 is spoken to the port (because of appProtocol, its name, h2UpgradePolicy or a GRPCRoute): " +
	"declare it as http, or enable HTTP/2 at the workload"

// refusedProtocols reports whether a handshake failed over the application protocol.
func refusedProtocols(err error) bool {
	if n, ok := receivedAlert(err); ok {
		return n == 120
	}
	return strings.HasPrefix(err.Error(), "tls: server selected unadvertised ALPN protocol")
}

// classify finds the reason of a failed handshake towards an upstream. asked says that it had asked
// for a client certificate.
func (o *Originator) classify(err error, asked bool) (diag.Code, string) {
	var own *refusal
	if errors.As(err, &own) {
		return own.code, own.detail
	}
	var head tls.RecordHeaderError
	if errors.As(err, &head) {
		if strings.HasPrefix(head.Msg, "first record") {
			return diag.UpstreamSpeaksPlaintext, fmt.Sprintf("the upstream answered the ClientHello with %q, which is no TLS", head.RecordHeader[:])
		}
		return diag.UpstreamTLSFailed, "the upstream broke the protocol: " + head.Msg
	}
	if n, ok := receivedAlert(err); ok {
		return o.fromAlert(n, asked)
	}
	if errors.Is(err, context.Canceled) {
		return diag.UpstreamTLSFailed, "the request ended before the TLS handshake"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return diag.UpstreamConnectTimeout, "the TLS handshake was not finished within the connect timeout"
	}
	if code, detail, ok := ended(err); ok {
		if code == diag.HandshakeTimeout {
			return diag.UpstreamConnectTimeout, "the TLS handshake was not finished within the connect timeout"
		}
		if asked && o.pair == nil {
			detail += "; it had asked for a client certificate, and none is configured"
		}
		return diag.UpstreamTLSFailed, strings.Replace(detail, "the peer", "the upstream", 1)
	}
	if n, ok := sentAlert(err); ok {
		return diag.UpstreamTLSFailed, "the upstream broke the protocol; it was sent " + alertWords(n)
	}
	text := err.Error()
	for _, c := range upstreamCauses() {
		if strings.HasPrefix(text, c.prefix) {
			return c.code, c.detail
		}
	}
	return diag.UpstreamTLSFailed, "the TLS library ended the handshake"
}

// fromAlert finds the reason for an upstream's alert.
func (o *Originator) fromAlert(n uint8, asked bool) (diag.Code, string) {
	said := "the upstream sent " + alertWords(n)
	switch n {
	case 116:
		return diag.UpstreamRequiresCert, said
	case 40, 42, 43, 44, 45, 46, 48, 49:
		if asked && o.pair == nil {
			return diag.UpstreamRequiresCert, said + " after asking for a client certificate; none is configured"
		}
		if asked && n != 40 {
			return diag.UpstreamRejectedCert, fmt.Sprintf("%s about our client certificate %s", said, describeCert(o.pair.Leaf))
		}
		if n == 40 {
			return diag.UpstreamTLSNoCommon, said + ": no cipher suite, group or signature algorithm in common"
		}
	case 70, 86:
		return diag.UpstreamTLSVersion, fmt.Sprintf("%s; offered was TLS %s and up", said, shortVersion(firstVersion(o.up.MinVersion)))
	case 71, 120:
		return diag.UpstreamTLSNoCommon, said
	case 112:
		return diag.UpstreamTLSFailed, said + ": it does not know the server name that was sent"
	}
	return diag.UpstreamTLSFailed, said
}

// ReadError finds the reason in an error of reading from a connection of Handshake. ok is false if it
// is none of TLS, a closed connection for example.
func (o *Originator) ReadError(err error) (code diag.Code, detail string, ok bool) {
	n, ok := receivedAlert(err)
	if !ok {
		return 0, "", false
	}
	// After the handshake only the client's certificate is left to complain about.
	code, detail = o.fromAlert(n, true)
	return code, detail, true
}
