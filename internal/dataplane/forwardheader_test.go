package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestForwardHeaderOfConnect has rules of the second step ask about the head of CONNECT, which is over by then.
func TestForwardHeaderOfConnect(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) {
		f.ACLs = []ir.ACL{{Name: "step1", Type: "at_step", Values: []string{"SslBump1"}}, {Name: "updater", Type: "browser", Values: []string{"^Updater/"}}}
		f.Interception.Rules = []ir.ForwardRule{{Action: "peek", ACLs: []string{"step1"}}, {Action: "splice", ACLs: []string{"updater"}}, {Action: "bump", ACLs: []string{"all"}}}
	})
	target := o.origin(o.public, testca.Spec{})
	for agent, want := range map[string]string{"Updater/1.0": "public", "curl/8": "mesh"} {
		conn, err := net.Dial("tcp", o.address(o.applied, "*:3128"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n\r\n", target, target, agent)
		if resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		c := tls.Client(conn, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			t.Errorf("%s: %v", agent, err)
			continue
		}
		if got := c.ConnectionState().PeerCertificates[0].Issuer.CommonName; got != want {
			t.Errorf("%s is shown a certificate of %s, want %s", agent, got, want)
		}
	}
}
