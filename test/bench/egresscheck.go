//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// checkEgress proves that t does the work of W11.
func (b *bench) checkEgress(t *target) error {
	for _, c := range []struct {
		what string
		run  func(*target) error
	}{
		{"interception", b.checkBumped}, {"tunnels", b.checkSpliced}, {"verification of destinations", b.checkVerifies}, {"answers that are not kept", b.checkMisses},
		{"cache hits", b.checkHits}, {"pinning", b.checkPinning},
	} {
		if err := c.run(t); err != nil {
			return fmt.Errorf("%s does not do what is to be measured: %s: %w\n%s", t.name, c.what, err, t.tail())
		}
	}
	return nil
}

// visit makes a connection through t and reads n answers of it. The certificate is nil without TLS.
func (b *bench) visit(t *target, door, n int, path string, e egressSpec) (leaf *x509.Certificate, text []byte, err error) {
	s := loadSpec{Conns: 1, Path: path}
	b.aim(t, door, &s, &e)
	l, err := newTunnels(s)
	if err != nil {
		return nil, nil, err
	}
	name := l.name()
	c, err := l.open(name)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if tc, ok := c.(*tls.Conn); ok {
		leaf = tc.ConnectionState().PeerCertificates[0]
		if err := leaf.VerifyHostname(name); err != nil && name != hostUntrue {
			return leaf, nil, err
		}
	}
	for range n {
		if text, err = readAnswer(c, l.request(name)); err != nil {
			return leaf, nil, err
		}
	}
	return leaf, text, nil
}

func readAnswer(c net.Conn, req []byte) ([]byte, error) {
	if _, err := c.Write(req); err != nil {
		return nil, err
	}
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		all = append(all, buf[:n]...)
		if end := bytes.Index(all, []byte("\r\n\r\n")); end >= 0 && len(all) >= end+4+contentLength(all[:end]) {
			if !bytes.HasPrefix(all, []byte("HTTP/1.1 200 ")) {
				return nil, fmt.Errorf("answer %.40q", all)
			}
			return all[end+4:], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// issuedBy says whether a certificate of a file issued leaf.
func issuedBy(leaf *x509.Certificate, file string) error {
	roots, err := pool(file)
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func (b *bench) checkBumped(t *target) error {
	for door, ca := range map[int]string{t.ECDSA: b.egress.PKI.ECDSA, t.MTLS: b.egress.PKI.ECDSA, t.doors.RSA: b.egress.PKI.RSA, t.MTLSEnd: b.egress.PKI.RSA} {
		for _, host := range []string{"warm." + domainBump, prefixNew + "%d." + domainBump} {
			leaf, text, err := b.visit(t, door, 1, pathSmall, egressSpec{Host: host})
			if err != nil {
				return err
			}
			if err := issuedBy(leaf, ca); err != nil {
				return fmt.Errorf("%s: not the proxy's certificate but one of %s, issued by %s: %w", host, leaf.Subject, leaf.Issuer, err)
			}
			if !bytes.Equal(text, body(smallBytes)) {
				return fmt.Errorf("%s: another body", host)
			}
			if strings.HasPrefix(host, prefixNew) && (len(leaf.DNSNames) != 1 || !strings.HasPrefix(leaf.DNSNames[0], prefixNew)) {
				return fmt.Errorf("%s: the leaf is for %q", host, leaf.DNSNames)
			}
			b.note("%s shows a leaf with an %s key, signed with %s, by a CA with %s", t.name, leaf.PublicKeyAlgorithm, leaf.SignatureAlgorithm, strings.TrimPrefix(leaf.Issuer.CommonName, "Interception "))
		}
	}
	return nil
}

func (b *bench) checkSpliced(t *target) error {
	leaf, text, err := b.visit(t, t.ECDSA, 1, pathBulk, egressSpec{Host: "warm." + domainSplice})
	if err != nil {
		return err
	}
	if err := issuedBy(leaf, b.pki.CA); err != nil {
		return fmt.Errorf("not the destination's certificate: %w", err)
	}
	if !bytes.Equal(text, body(bulkBytes)) {
		return errors.New("another body")
	}
	return nil
}

func (b *bench) checkVerifies(t *target) error {
	for _, door := range t.all() {
		if _, _, err := b.visit(t, door, 1, pathSmall, egressSpec{Host: hostUntrue}); err == nil {
			return errors.New("a destination is served whose certificate nobody vouches for")
		}
	}
	return nil
}

// served is how many connections and requests of the destination f makes.
func (b *bench) served(f func() error) (conns, requests int, err error) {
	read := func() (c counts) {
		resp, e := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", b.egress.Stats))
		if e != nil {
			err = e
			return c
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		_, _ = fmt.Sscan(string(text), &c.Conns, &c.Requests, &c.Bytes)
		return c
	}
	from := read()
	if err == nil {
		err = f()
	}
	to := read()
	return int(to.Conns - from.Conns), int(to.Requests - from.Requests), err
}

// checkMisses proves that what is measured as bumped requests comes from the destination, over kept connections.
func (b *bench) checkMisses(t *target) error {
	conns, requests, err := b.served(func() error {
		_, _, err := b.visit(t, t.ECDSA, 30, pathSmall, egressSpec{Host: "warm." + domainBump})
		return err
	})
	if err == nil && (requests != 30 || conns > 2) {
		err = fmt.Errorf("the destination saw %d of 30 requests on %d new connections", requests, conns)
	}
	return err
}

// checkHits proves that hits are hits: the destination hears of nothing.
func (b *bench) checkHits(t *target) error {
	for _, plain := range []bool{true, false} {
		for path, size := range map[string]int{pathKept: smallBytes, pathKeptLarge: keptLargeBytes} {
			to := egressSpec{Host: "warm." + domainBump, Plain: plain}
			if _, _, err := b.visit(t, t.ECDSA, 1, path, to); err != nil {
				return err
			}
			_, requests, err := b.served(func() error {
				_, text, err := b.visit(t, t.ECDSA, 20, path, to)
				if err == nil && !bytes.Equal(text, body(size)) {
					err = errors.New("another body")
				}
				return err
			})
			if err != nil || requests != 0 {
				return fmt.Errorf("%s, plain %t: the destination saw %d requests of 20 hits, %v", path, plain, requests, err)
			}
		}
	}
	return nil
}
