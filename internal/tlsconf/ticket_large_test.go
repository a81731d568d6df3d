package tlsconf

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// A session that no ticket can hold gives none: the client's chain is long, and judged all the same.
func TestChainTooLargeForATicket(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	fat := func() []pkix.Extension {
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Value: make([]byte, 36<<10)}}
	}
	middle := ca.Intermediate(testca.Spec{CommonName: "Middle", Extra: fat()})
	leaf := middle.Issue(testca.Spec{CommonName: "vera", Extra: fat()})
	state := NewState(nil)
	server := ca.Issue(testca.Spec{DNS: []string{"a.test"}})
	c := &class{state: state, auth: &ir.ClientAuth{Mode: ir.ClientAuthPolicy}, key: "k"}
	conf := &tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequestClientCert, WrapSession: c.wrapSession, UnwrapSession: c.unwrapSession}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		near, far := net.Pipe()
		for _, c := range [...]net.Conn{near, far} {
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		}
		done := make(chan error, 1)
		go func() { done <- tls.Server(far, conf).Handshake() }()
		client := tls.Client(near, &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", Certificates: []tls.Certificate{leaf.TLS()}, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)})
		if err := client.Handshake(); err != nil {
			t.Errorf("%x: client: %v", version, err)
		}
		go func() { _, _ = client.Read(make([]byte, 1)) }()
		if err := <-done; err != nil {
			t.Errorf("%x: server: %v", version, err)
		}
		_ = near.Close()
	}
}
