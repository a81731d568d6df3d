package clientcert

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

func certificate(verified bool) *filter.ClientCert {
	return &filter.ClientCert{Verified: verified, DER: [][]byte{bytes.Repeat([]byte{0xfb, 0xef}, 40), {1, 2, 3}}, Hash: "abcd",
		Subject: `CN=client\, inc,O=a"b`, URI: []string{"spiffe://x/y", "http://a;b"}, DNS: []string{"a.test"}}
}

func TestModes(t *testing.T) {
	const theirs, ours = "Hash=theirs", "Hash=abcd"
	for _, c := range []struct {
		mode       ir.ForwardMode
		certified  string // "no", "unverified", "yes"
		xfcc       string
		clientCert string // whose
	}{
		{ir.ForwardSanitize, "yes", "", ""},
		{ir.ForwardSanitize, "no", "", ""},
		{ir.ForwardOnly, "yes", theirs, "theirs"},
		{ir.ForwardOnly, "unverified", "", ""},
		{ir.ForwardOnly, "no", "", ""},
		{ir.ForwardAppend, "yes", theirs + "," + ours, "ours"},
		{ir.ForwardAppend, "unverified", "", ""},
		{ir.ForwardAppend, "no", "", ""},
		{ir.ForwardSanitizeSet, "yes", ours, "ours"},
		{ir.ForwardSanitizeSet, "unverified", "", ""},
		{ir.ForwardSanitizeSet, "no", "", ""},
		{"", "yes", ours, "ours"},
		{"", "no", "", ""},
		{"NONSENSE", "yes", "", ""},
		{ir.ForwardAlwaysOnly, "no", theirs, "theirs"},
	} {
		peer := &filter.Peer{Forward: c.mode}
		if c.certified != "no" {
			peer.ClientCert = certificate(c.certified == "yes")
			peer.Identity = &filter.Identity{XFCC: []byte(ours), Cert: []byte("ours")}
		}
		x := &filter.Exchange{Peer: peer, Request: &message.Request{}}
		for _, l := range []string{"x-forwarded-client-cert: " + theirs, "CLIENT-CERT: theirs", "Client-Cert-Chain: theirs", "Accept: x",
			"X_Forwarded_Client_Cert: theirs", "client_cert: theirs", "Client-Cert_Chain: theirs"} {
			n, v, _ := strings.Cut(l, ": ")
			x.Request.Fields.AddString(n, v)
		}
		New().Request(x)
		f := &x.Request.Fields
		xfcc, _ := f.Get(message.XForwardedClientCert)
		cert, _ := f.Get(message.ClientCert)
		if string(xfcc) != c.xfcc || string(cert) != c.clientCert || f.Count(message.XForwardedClientCert) > 1 {
			t.Errorf("%s, certificate %s: XFCC %q, Client-Cert %q; want %q, %q", c.mode, c.certified, xfcc, cert, c.xfcc, c.clientCert)
		}
		if chain, ok := f.Get(message.ClientCertChain); ok && c.clientCert != "theirs" {
			t.Errorf("%s, certificate %s: Client-Cert-Chain %q is left", c.mode, c.certified, chain)
		}
		for i := range f.Len() {
			if bytes.IndexByte(f.At(i).Name, '_') >= 0 {
				t.Errorf("%s, certificate %s: %s is left, which WSGI reads as an identity", c.mode, c.certified, f.At(i).Name)
			}
		}
		if !f.Has(message.Other) && f.Len() == 0 {
			t.Errorf("%s: other fields are gone", c.mode)
		}
	}
}

func TestPrepare(t *testing.T) {
	c := certificate(true)
	id := Prepare(c, Details{By: []string{"spiffe://me"}, Hash: true, Cert: true, Chain: true, Subject: true, URI: true, DNS: true, ClientCert: true, ClientCertChain: true})
	parts := strings.Split(string(id.XFCC), ";")
	var keys []string
	for _, p := range parts {
		k, _, _ := strings.Cut(p, "=")
		keys = append(keys, k)
	}
	if got := strings.Join(keys, " "); got != `By Hash Cert Chain Subject URI URI b" DNS` {
		t.Errorf("parts %s", got)
	}
	for _, want := range []string{`By=spiffe://me;`, `;Hash=abcd;`, `;Subject="CN=client\, inc,O=a\"b";`, `;URI=spiffe://x/y;`, `;URI="http://a;b";`, `;DNS=a.test`} {
		if !strings.Contains(string(id.XFCC), want) {
			t.Errorf("%s is not in %s", want, id.XFCC)
		}
	}
	text, err := url.QueryUnescape(strings.Trim(parts[2], `Cert="`))
	if err != nil {
		t.Fatal(err)
	}
	if b, rest := pem.Decode([]byte(text)); b == nil || !bytes.Equal(b.Bytes, c.DER[0]) || len(rest) != 0 {
		t.Errorf("Cert is %q", text)
	}
	if strings.ContainsAny(parts[2][6:len(parts[2])-1], " +/=\n\"") {
		t.Errorf("Cert is not URL-encoded: %s", parts[2])
	}
	if want := ":" + base64.StdEncoding.EncodeToString(c.DER[0]) + ":"; string(id.Cert) != want {
		t.Errorf("Client-Cert %s", id.Cert)
	}
	if string(id.Chain) != ":AQID:" {
		t.Errorf("Client-Cert-Chain %s", id.Chain)
	}
	if Prepare(certificate(false), Default()) != nil || Prepare(nil, Default()) != nil {
		t.Error("a certificate that did not verify was prepared")
	}
}

func FuzzSubjectStaysInItsQuotes(f *testing.F) {
	f.Add(`CN="x";URI=spiffe://evil`)
	f.Add(`a\`)
	f.Add("a\r\nX: y")
	f.Fuzz(func(t *testing.T, s string) {
		q := quoted(s)
		for i := range len(q) {
			if q[i] < ' ' || q[i] == 0x7f {
				t.Fatalf("%q holds a control byte", q)
			}
		}
		end := 0
		for i := 1; i < len(q); i++ {
			if q[i] == '\\' {
				i++
			} else if q[i] == '"' {
				end = i
				break
			}
		}
		if end != len(q)-1 {
			t.Errorf("%q ends its quotes early, in %q", s, q)
		}
	})
}
