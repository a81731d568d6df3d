//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
)

// check proves that t does the work that is about to be measured. A peer that is set up wrongly makes
// a win that is none.
func (b *bench) check(t *target) error {
	for _, c := range []struct {
		what string
		run  func(*target) error
	}{
		{"negotiation", b.checkNegotiation}, {"bodies", b.checkBodies}, {"HTTP/2", b.checkHTTP2}, {"session tickets", b.checkTickets}, {"fields to the upstream", b.checkFields}, {"client certificates", b.checkMutual},
		{"upstream keep-alive", b.checkKeepAlive}, {"pinning", b.checkPinning},
	} {
		if err := c.run(t); err != nil {
			return fmt.Errorf("%s does not do what is to be measured: %s: %w\n%s", t.name, c.what, err, t.tail())
		}
	}
	return nil
}

func (b *bench) spec(port int) loadSpec {
	return loadSpec{Port: port, CA: b.pki.CA, Verify: true}
}

func (b *bench) mutualSpec(port int) loadSpec {
	return loadSpec{Port: port, CA: b.pki.CA, Verify: true, Cert: b.pki.Client, Key: b.pki.ClientKey}
}

func connect(s loadSpec) (*tls.Conn, error) {
	conf, err := clientTLS(s)
	if err != nil {
		return nil, err
	}
	return dial(fmt.Sprintf("127.0.0.1:%d", s.Port), conf)
}

// checkNegotiation looks at what a Go client and an OpenSSL client, whose preferences differ, get.
func (b *bench) checkNegotiation(t *target) error {
	for port, algorithm := range map[int]x509.PublicKeyAlgorithm{t.ECDSA: x509.ECDSA, t.doors.RSA: x509.RSA} {
		c, err := connect(b.spec(port))
		if err != nil {
			return err
		}
		st := c.ConnectionState()
		c.Close()
		if st.Version != tls.VersionTLS13 || st.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || st.CurveID != tls.X25519 {
			return fmt.Errorf("version %s, suite %s, group %s", tls.VersionName(st.Version), tls.CipherSuiteName(st.CipherSuite), st.CurveID)
		}
		if got := st.PeerCertificates[0].PublicKeyAlgorithm; got != algorithm {
			return fmt.Errorf("the certificate on port %d has a key of kind %s, not %s", port, got, algorithm)
		}
	}
	cmd := exec.Command("openssl", "s_client", "-connect", fmt.Sprintf("127.0.0.1:%d", t.ECDSA), "-servername", host)
	out, _ := cmd.CombinedOutput()
	for _, want := range []string{"New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256", "Server Temp Key: X25519, 253 bits"} {
		if !bytes.Contains(out, []byte(want)) {
			return fmt.Errorf("openssl s_client does not report %q", want)
		}
	}
	return nil
}

func (b *bench) checkBodies(t *target) error {
	for path, n := range map[string]int{pathSmall: smallBytes, pathBulk: bulkBytes} {
		_, got, err := b.get(b.spec(t.ECDSA), path)
		if err != nil {
			return err
		}
		if sha256.Sum256(got) != sha256.Sum256(body(n)) {
			return fmt.Errorf("%s: the body is not the one sent", path)
		}
	}
	_, got, err := b.get(b.mutualSpec(t.MTLSEnd), pathSmall)
	if err == nil && !bytes.Equal(got, body(smallBytes)) {
		err = errors.New("the body over mutual TLS is not the one sent")
	}
	return err
}

// get makes one request on a connection of its own.
func (b *bench) get(s loadSpec, path string) (*http.Response, []byte, error) {
	c, err := connect(s)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: bench\r\n\r\n", path, host, s.Port)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || resp.Proto != "HTTP/1.1" || resp.Close) {
		err = fmt.Errorf("%s: %s %s, connection ends: %t", path, resp.Proto, resp.Status, resp.Close)
	}
	return resp, got, err
}

// checkHTTP2 asks over HTTP/2: the same body, and the same fields at the upstream as over HTTP/1.1.
func (b *bench) checkHTTP2(t *target) error {
	conf, err := clientTLS(b.spec(t.ECDSA))
	if err != nil {
		return err
	}
	tr := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	for path, want := range map[string][]byte{pathSmall: body(smallBytes), pathHead: nil} {
		req, err := http.NewRequest("GET", fmt.Sprintf("https://%s:%d%s", host, t.ECDSA, path), nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "bench")
		req.Header.Set("Accept-Encoding", "identity")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || resp.Proto != "HTTP/2.0" {
			return fmt.Errorf("%s: %s %s, %w", path, resp.Proto, resp.Status, err)
		}
		if want != nil && !bytes.Equal(got, want) {
			return fmt.Errorf("%s: the body is not the one sent", path)
		}
		if want != nil {
			continue
		}
		seen, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(got)))
		if err != nil {
			return fmt.Errorf("%w: %q", err, got)
		}
		if seen.Host != req.URL.Host || seen.Close || seen.Proto != "HTTP/1.1" || seen.Header.Get("X-Forwarded-For") != "127.0.0.1" ||
			seen.Header.Get("X-Forwarded-Proto") != "https" || len(seen.Header.Get("X-Request-Id")) < 16 {
			return fmt.Errorf("the upstream sees %q", got)
		}
	}
	return nil
}

// checkTickets counts the session tickets that an OpenSSL client is sent.
func (b *bench) checkTickets(t *target) error {
	cmd := exec.Command("openssl", "s_client", "-connect", fmt.Sprintf("127.0.0.1:%d", t.ECDSA), "-servername", host, "-ign_eof")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", pathSmall, host, t.ECDSA))
	out, _ := cmd.CombinedOutput()
	if n := bytes.Count(out, []byte("Post-Handshake New Session Ticket arrived")); n != 1 {
		return fmt.Errorf("it sends %d session tickets", n)
	}
	return nil
}

// checkFields looks at the request head that the upstream received.
func (b *bench) checkFields(t *target) error {
	for _, s := range []loadSpec{b.spec(t.ECDSA), b.mutualSpec(t.MTLSEnd)} {
		_, head, err := b.get(s, pathHead)
		if err != nil {
			return err
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
		if err != nil {
			return fmt.Errorf("%w: %q", err, head)
		}
		if want := fmt.Sprintf("%s:%d", host, s.Port); req.Host != want {
			return fmt.Errorf("the upstream sees Host %q, not %q", req.Host, want)
		}
		if req.Close || req.Proto != "HTTP/1.1" {
			return fmt.Errorf("the request would end the upstream connection: %q", head)
		}
		for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "User-Agent": "bench"} {
			if got := req.Header.Get(name); got != want {
				return fmt.Errorf("%s is %q, not %q", name, got, want)
			}
		}
		if len(req.Header.Get("X-Request-Id")) < 16 {
			return fmt.Errorf("X-Request-Id is %q", req.Header.Get("X-Request-Id"))
		}
		if s.Port == t.ECDSA {
			var names []string
			for n := range req.Header {
				names = append(names, n)
			}
			b.fieldNames(t.name, names)
		}
	}
	return nil
}

func (b *bench) fieldNames(of string, names []string) {
	slices.Sort(names)
	b.fields[of] = strings.Join(names, ", ")
}

func (b *bench) checkMutual(t *target) error {
	for _, port := range []int{t.MTLS, t.MTLSEnd} {
		if _, _, err := b.get(b.spec(port), pathSmall); err == nil {
			return fmt.Errorf("port %d serves a client without certificate", port)
		}
		if _, _, err := b.get(b.mutualSpec(port), pathSmall); err != nil {
			return err
		}
	}
	return nil
}

// checkKeepAlive sends requests one after the other, each on a connection of its own: more than a few
// upstream connections mean that the target opens one for each.
func (b *bench) checkKeepAlive(t *target) error {
	for _, c := range []struct {
		spec  loadSpec
		stats int
	}{{b.spec(t.ECDSA), b.upstream}, {b.mutualSpec(t.MTLSEnd), b.tlsStats}} {
		before, err := readCounts(c.stats)
		if err != nil {
			return err
		}
		for range 30 {
			if _, _, err := b.get(c.spec, pathSmall); err != nil {
				return err
			}
		}
		after, err := readCounts(c.stats)
		if err != nil {
			return err
		}
		if opened := after.Conns - before.Conns; opened > 4 || after.Requests-before.Requests < 30 {
			return fmt.Errorf("%d upstream connections for %d requests", opened, after.Requests-before.Requests)
		}
	}
	return nil
}

func (b *bench) checkPinning(t *target) error {
	if got := t.allowedCPUs(); b.current.Deploy.Cores == 1 && got != b.proxyCPU() {
		return fmt.Errorf("it may run on cores %q", got)
	}
	return nil
}
