package cli

import (
	"fmt"
	"io"
)

// tellProxy tells the way of a request through a proxy: its answer to CONNECT, and whose certificate was shown inside.
func tellProxy(w io.Writer, r map[string]any) {
	if text(r, "proxy") == "" {
		return
	}
	said := "did not answer CONNECT"
	if s := text(r, "connect_status"); s != "" {
		said = "answered CONNECT with " + s
	}
	row(w, "proxy", joined(text(r, "proxy"), worded("at ", text(r, "proxy_address"), ""), said))
	inner := worded("certificate ", text(r, "inner_subject"), "")
	if inner == "" {
		return
	}
	by := "the destination's own"
	if text(r, "intercepted") == "true" {
		by = "made by the proxy, by its interception CA"
	}
	row(w, "inside", joined(inner, worded("issued by ", text(r, "inner_issuer"), ""), by))
}

// tellUpstreamHandshake tells of TLS with an upstream, or with a proxy itself.
func tellUpstreamHandshake(w io.Writer, h map[string]any) {
	fmt.Fprintf(w, "%s  TLS with %s%s\n", text(h, "ts"), text(h, "listener"), worded(" through the proxy ", text(h, "proxy"), ""))
	row(w, "hello", joined(worded("server name ", text(h, "sni"), ""), list(h, "offered_alpn")))
	row(w, "TLS", joined(text(h, "tls"), text(h, "cipher"), text(h, "group"), text(h, "alpn"), resumed(h)))
	row(w, "shown", joined(or(text(h, "client_subject"), text(h, "offered_cert")), worded("issued by ", text(h, "issuer"), "")))
	if text(h, "code") != "" {
		row(w, "refused", reason(h))
	}
}
