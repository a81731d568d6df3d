package inspect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// Endpoint is a TLS server to look at.
type Endpoint struct {
	Address string // HOST:PORT
	SNI     string // "" sends none
}

// ParseEndpoint reads "https://host[:port][/…][?sni=NAME]". Without sni the host is sent, unless it is
// an IP address. The error says what is wrong with the URL.
func ParseEndpoint(s string) (Endpoint, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return Endpoint{}, fmt.Errorf("%q is no URL of the form https://HOST[:PORT][?sni=NAME]", s)
	}
	if u.Scheme != "https" && u.Scheme != "tls" {
		return Endpoint{}, fmt.Errorf("%s:// is not inspected: only servers that speak TLS from the first byte, as https://HOST[:PORT][?sni=NAME]", u.Scheme)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	e := Endpoint{Address: net.JoinHostPort(u.Hostname(), port), SNI: u.Hostname()}
	if u.Query().Has("sni") {
		e.SNI = u.Query().Get("sni")
	}
	if net.ParseIP(e.SNI) != nil {
		e.SNI = ""
	}
	return e, nil
}

// Session is what a server showed.
type Session struct {
	Version   string   `json:"version,omitempty"` // "1.3"
	Suite     string   `json:"suite,omitempty"`
	Protocol  string   `json:"protocol,omitempty"` // of ALPN
	WantsCert bool     `json:"wantsClientCertificate,omitempty"`
	Accepts   []string `json:"acceptedIssuers,omitempty"`
	Stapled   bool     `json:"stapled,omitempty"`
}

// Remote shakes hands with a server and reports what it shows, judged as a client would that asks for
// the endpoint's name. Servers that end the handshake for want of a client certificate are reported all
// the same. The deadline is ctx's, at most 15 s.
func Remote(ctx context.Context, name string, e Endpoint, opts Options) (*Report, Session) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var shown []*x509.Certificate
	var raw [][]byte
	var s Session
	config := &tls.Config{
		ServerName: e.SNI, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2", "http/1.1"},
		VerifyPeerCertificate: func(certs [][]byte, _ [][]*x509.Certificate) error { raw = certs; return nil },
		GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			s.WantsCert = true
			for _, der := range info.AcceptableCAs {
				s.Accepts = append(s.Accepts, secret.Subject(&x509.Certificate{RawSubject: der}))
			}
			return &tls.Certificate{}, nil
		},
	}
	var staple []byte
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", e.Address)
	if err == nil {
		state := conn.(*tls.Conn).ConnectionState()
		s.Version, s.Suite, s.Protocol, staple = tlsname.Version(state.Version), tls.CipherSuiteName(state.CipherSuite), state.NegotiatedProtocol, state.OCSPResponse
		conn.Close()
	}
	var inputs []Input
	for _, der := range raw {
		if c, err := x509.ParseCertificate(der); err == nil {
			shown = append(shown, c)
		}
		inputs = append(inputs, Input{Name: name, Data: der})
	}
	if len(staple) > 0 {
		s.Stapled = true
		inputs = append(inputs, Input{Name: name, Entry: "stapled", Data: staple})
	}
	if host := e.SNI; host != "" && opts.Hosts == nil && !opts.Client {
		if p, err := hostname.Parse(host); err == nil {
			opts.Hosts = []hostname.Pattern{p}
		}
	} else if ip, _, splitErr := net.SplitHostPort(e.Address); splitErr == nil && opts.Hosts == nil {
		if p, err := hostname.Parse(ip); err == nil {
			opts.Hosts = []hostname.Pattern{p}
		}
	}
	opts.Trusted = true
	rep := Read(inputs, opts)
	if len(shown) == 0 && len(raw) == 0 {
		code, fix := diag.EndpointUnreachable, "Check host, port and that it speaks TLS from the first byte."
		rep.Findings = append(rep.Findings, finding(spot{file: name}, code, diag.Error, fmt.Sprintf("%s shows no certificate: %s", e.Address, why(err)), fix))
		return rep, s
	}
	if s.WantsCert {
		what := "the server asks for a client certificate"
		if err != nil {
			what += ", and ended the handshake without one"
		}
		rep.Findings = append(rep.Findings, finding(spot{file: name}, diag.ServerWantsCert, diag.Info, what, ""))
	} else if err != nil {
		rep.Findings = append(rep.Findings, finding(spot{file: name}, diag.EndpointUnreachable, diag.Error, "the handshake was not finished: "+why(err), "Look at the server's log."))
	}
	return rep, s
}

// why puts a dialer's error into words.
func why(err error) string {
	var notTLS tls.RecordHeaderError
	switch {
	case err == nil:
		return "it sent none"
	case errors.As(err, &notTLS):
		return "it does not speak TLS on that port"
	case errors.Is(err, context.DeadlineExceeded):
		return "it did not answer in time"
	}
	return strings.TrimPrefix(err.Error(), "remote error: ")
}
