//go:build e2e

package egress

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
	"github.com/hakone-gateway/hakone/test/testca"
)

// held is what became of one client that holds a connection.
type held struct {
	Kind   string
	Done   int    // requests, or echoes
	Opened int    // connections
	Issuer string // of the certificate that the last one showed
	Why    string // that it was broken
}

// hold keeps twenty clients of each kind talking until a file is there, and prints what became of each as JSON. A bumped
// client opens another connection when one ends between requests; the others do with one. Its words are the gateway's
// address, a file with the CAs that are trusted, and the file that ends it.
func hold(words []string) error {
	pem, err := os.ReadFile(words[1])
	if err != nil {
		return err
	}
	h := &holder{gateway: words[0], end: words[2], roots: x509.NewCertPool()}
	h.roots.AppendCertsFromPEM(pem)
	var all sync.WaitGroup
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	for _, kind := range []string{"A", "spliced", "bumped", "socket"} {
		for range 20 {
			all.Go(func() {
				r := &held{Kind: kind}
				if err := h.run(r); err != nil {
					r.Why = err.Error()
				}
				mu.Lock()
				defer mu.Unlock()
				_ = out.Encode(r)
			})
		}
	}
	all.Wait()
	return nil
}

type holder struct {
	gateway, end string
	roots        *x509.CertPool
}

// open makes a connection of a kind, inside TLS where the kind has it.
func (h *holder) open(r *held) (net.Conn, *bufio.Reader, string, error) {
	host, port := "example.com", "3128"
	if r.Kind == "A" {
		port = "80"
	}
	if r.Kind == "spliced" {
		host = "pinned.test"
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(h.gateway, port), 10*time.Second)
	if err != nil {
		return nil, nil, host, err
	}
	r.Opened++
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if r.Kind != "A" {
		fmt.Fprintf(conn, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", host, host)
		if err := expect(bufio.NewReaderSize(conn, 16), http.StatusOK); err != nil {
			return nil, nil, host, err
		}
		secured := tls.Client(conn, &tls.Config{ServerName: host, RootCAs: h.roots, NextProtos: []string{"http/1.1"}})
		if err := secured.Handshake(); err != nil {
			return nil, nil, host, err
		}
		r.Issuer, conn = secured.ConnectionState().PeerCertificates[0].Issuer.CommonName, secured
	}
	in := bufio.NewReader(conn)
	if r.Kind == "socket" || r.Kind == "spliced" {
		fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host)
		err = expect(in, http.StatusSwitchingProtocols)
	}
	return conn, in, host, err
}

func (h *holder) run(r *held) error {
	var conn net.Conn
	var in *bufio.Reader
	var host string
	for {
		if _, err := os.Stat(h.end); err == nil {
			return nil
		}
		if conn == nil {
			var err error
			if conn, in, host, err = h.open(r); err != nil {
				return fmt.Errorf("open: %w", err)
			}
			defer conn.Close()
		}
		again, err := talkOnce(r, conn, in, host)
		if err != nil {
			return fmt.Errorf("after %d: %w", r.Done, err)
		}
		if again {
			conn.Close()
			conn = nil
		} else {
			r.Done++
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// talkOnce makes an echo or a request. again says that the connection has ended as it may.
func talkOnce(r *held, conn net.Conn, in *bufio.Reader, host string) (again bool, err error) {
	if r.Kind == "socket" || r.Kind == "spliced" {
		fmt.Fprint(conn, "\x81\x85\x00\x00\x00\x00hello")
		got := make([]byte, 11)
		if _, err := io.ReadFull(in, got); err != nil {
			return false, err
		}
		return false, nil
	}
	fmt.Fprintf(conn, "GET /seen HTTP/1.1\r\nHost: %s\r\n\r\n", host)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		if r.Kind == "bumped" && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)) {
			return true, nil
		}
		return false, err
	}
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s", resp.Status, b)
	}
	return resp.Close, err
}

// TestReloadUnderLoad changes access rules, the company's CA and the mesh's while twenty clients of each kind talk:
// tunnels and WebSockets live, requests are answered, and connections that the mesh's old CA vouched for give way to
// new ones. Then the company's old CA goes, and with it what it vouched for.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{More: "http_upgrade_request_protocols OTHER allow all\nhttp_upgrade_request_protocols websocket allow all\n"})
	next := testca.New(t, testca.Spec{CommonName: "The mesh's next CA"})
	w.write("trusted.crt", append(append(w.mesh.CertPEM(), next.CertPEM()...), w.squid.CA.CertPEM()...))
	config := func(more string) string {
		return w.corp() + "---\n" + w.egress(`    rules:
    - {action: Peek, acls: [step1]}
    - {action: Splice, acls: [pinned]}
    - {action: Bump, acls: [all]}
  acls:
  - {name: step1, type: at_step, values: [SslBump1]}
  - {name: pinned, type: "ssl::server_name", values: [.pinned.test]}
  - {name: www, type: dstdomain, values: [www.example.com]}
  access:
`+more+"  - {action: Allow, acls: [all]}\n")
	}
	w.start(map[string]string{"egress.yaml": config("")})
	end := w.TempDir() + "/end"
	log := program.Start(w, w.workload.On(program.Command{Path: os.Args[0], Dir: w.dir, Env: []string{"EGRESS_TEST_HOLD=" + w.hakone.Address + " trusted.crt " + end}}))
	served := func() int { return len(w.g.Lines()) }
	more := func(n int) {
		from := served()
		w.await("requests go on\n"+log(), func() bool { return served() >= from+n })
	}
	more(200)
	w.g.Change(func() { w.g.Write("egress.yaml", config("  - {action: Deny, acls: [www]}\n")) })
	if r := w.curl("-i", "http://www.example.com/"); !strings.Contains(r.Out, "HK4502") {
		t.Errorf("the new rule does not hold:\n%s", r.Out)
	}
	more(200)
	other := testca.New(t, testca.Spec{CommonName: "Company proxy, next"})
	w.g.Change(func() {
		w.g.Write("company.yaml", w.companyCA(w.squid.CA)+indent(string(other.CertPEM()), 4))
	})
	more(200)
	w.g.Change(func() {
		w.g.Write("mesh.yaml", testca.SecretYAML("default", "mesh-ca", next.SecretData(testca.FormatTLS, nil, nil)))
	})
	more(400)
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.await("the clients have ended", func() bool { return strings.Count(log(), "\n") >= 80 })
	seen := map[string]int{}
	for text := range strings.Lines(log()) {
		var r held
		if json.Unmarshal([]byte(text), &r) != nil {
			t.Errorf("no result: %s", text)
			continue
		}
		seen[r.Kind]++
		switch {
		case r.Why != "" || r.Done < 10:
			t.Errorf("%+v", r)
		case r.Kind == "bumped" && (r.Opened != 2 || r.Issuer != "The mesh's next CA"):
			t.Errorf("what the old CA vouched for has to end, once: %+v", r)
		case r.Kind != "bumped" && r.Opened != 1:
			t.Errorf("it was dropped: %+v", r)
		}
	}
	if len(seen) != 4 {
		t.Errorf("clients: %v\n%s", seen, log())
	}
	w.g.Change(func() { w.g.Write("company.yaml", w.companyCA(other)) })
	w.refusedWith("HK3322", "interception_unknown_ca", "http://example.com/")
}
