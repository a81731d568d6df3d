//go:build linux

package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Paths of the destination. Answers of those that begin with pathKept may be kept for an hour, the others not at all.
const (
	pathKept      = "/kept/1k"
	pathKeptLarge = "/kept/64k"

	keptLargeBytes = 64 << 10
)

// Names of the destination. All lead to it; what a proxy does with one is by its domain.
const (
	domainBump   = "bump.test"
	domainSplice = "splice.test"
	prefixNew    = "new-"                 // of names that have a certificate each
	hostUntrue   = "untrue." + domainBump // shows a certificate of nobody's CA
)

// nameServer is where the destination answers DNS, for every name.
const nameServer = "127.0.0.153"

// egressPKI is what W11 has beside the usual: CAs to intercept with and the destination's certificates.
type egressPKI struct {
	ECDSA, ECDSAKey, RSA, RSAKey string // CAs of proxies
	Wild, WildKey                string // of the destination, for all its names, issued by the CA of the benchmark
	Untrue, UntrueKey            string // the same, self-signed
}

// newEgressPKI writes them beside p's own.
func newEgressPKI(p *pki) (*egressPKI, error) {
	e := &egressPKI{}
	now := time.Now()
	number := int64(1000)
	template := func(name string, ca bool, names ...string) *x509.Certificate {
		number++
		t := &x509.Certificate{
			SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: name}, DNSNames: names, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
			BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if ca {
			t.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		} else {
			t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		return t
	}
	root, err := tls.LoadX509KeyPair(p.CA, filepath.Join(p.dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	for _, want := range []struct {
		file      string
		cert, key *string
		template  *x509.Certificate
		rsa, own  bool
	}{
		{"egress-ecdsa", &e.ECDSA, &e.ECDSAKey, template("Interception ECDSA", true), false, true},
		{"egress-rsa", &e.RSA, &e.RSAKey, template("Interception RSA", true), true, true},
		{"egress-wild", &e.Wild, &e.WildKey, template("destination", false, "*."+domainBump, "*."+domainSplice), false, false},
		{"egress-untrue", &e.Untrue, &e.UntrueKey, template("nobody", false, hostUntrue), false, true},
	} {
		var key any
		var public any
		if want.rsa {
			k, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				return nil, err
			}
			key, public = k, k.Public()
		} else {
			k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return nil, err
			}
			key, public = k, k.Public()
		}
		parent, signer := want.template, key
		if !want.own {
			parent, signer = root.Leaf, root.PrivateKey
		}
		der, err := x509.CreateCertificate(rand.Reader, want.template, parent, public, signer)
		if err != nil {
			return nil, err
		}
		if *want.cert, err = p.write(want.file+".crt", "CERTIFICATE", der); err != nil {
			return nil, err
		}
		if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			return nil, err
		}
		if *want.key, err = p.write(want.file+".key", "PRIVATE KEY", der); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// destination serves one of its ports and counts.
type destination struct {
	conns, requests, written atomic.Uint64
	small, bulk              []byte
	kept, keptLarge          []byte
}

// issuer makes a certificate for each name that is asked for, as thousands of destinations have.
type issuer struct {
	root   tls.Certificate
	key    crypto.PrivateKey
	number atomic.Int64
}

func (i *issuer) certificate(name string) (*tls.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1_000_000 + i.number.Add(1)), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, i.root.Leaf, i.key.(crypto.Signer).Public(), i.root.PrivateKey)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.key}, err
}

// answerHellos answers what comes first on a connection with a record, and waits for its end.
func (d *destination) answerHellos(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			var buf [2048]byte
			if n, err := nc.Read(buf[:]); err == nil && n > 5 && buf[0] == 22 {
				_, _ = nc.Write(d.small)
				_, _ = nc.Read(buf[:])
			}
		}()
	}
}

// runDestination serves TLS, plain HTTP, its counters and hellos on ports of their own, which it prints, and DNS at nameServer.
// Its task is CERT,KEY,CERT,KEY,CERT,KEY: the certificate of most names, that of hostUntrue, and the CA that issues one for
// each name of prefixNew.
func runDestination(spec string) error {
	f := strings.Split(spec, ",")
	if len(f) != 6 {
		return fmt.Errorf("the destination's task %q is no CERT,KEY,CERT,KEY,CERT,KEY", spec)
	}
	var pairs [3]tls.Certificate
	var err error
	for i := range pairs {
		if pairs[i], err = tls.LoadX509KeyPair(f[2*i], f[2*i+1]); err != nil {
			return err
		}
	}
	wild, untrue, each := pairs[0], pairs[1], &issuer{root: pairs[2], key: pairs[0].PrivateKey}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if h.ServerName == hostUntrue {
			return &untrue, nil
		}
		if strings.HasPrefix(h.ServerName, prefixNew) {
			return each.certificate(h.ServerName)
		}
		return &wild, nil
	}}
	d := &destination{small: destinationAnswer(smallBytes, "no-store"), bulk: destinationAnswer(bulkBytes, "no-store"),
		kept: destinationAnswer(smallBytes, "max-age=3600"), keptLarge: destinationAnswer(keptLargeBytes, "max-age=3600")}
	var ln [4]net.Listener
	for i := range ln {
		if ln[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	names, err := net.ListenPacket("udp", nameServer+":53")
	if err != nil {
		return err
	}
	go answerNames(names)
	go func() {
		_ = http.Serve(ln[2], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, counts{d.conns.Load(), d.requests.Load(), d.written.Load()})
		}))
	}()
	go d.accept(ln[1], nil)
	go d.answerHellos(ln[3])
	for i := range ln {
		fmt.Print(ln[i].Addr().(*net.TCPAddr).Port, " ")
	}
	fmt.Println()
	return d.accept(ln[0], conf)
}

func destinationAnswer(n int, control string) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nDate: %s\r\nLast-Modified: Mon, 02 Jan 2023 15:04:05 GMT\r\nCache-Control: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n",
		time.Now().UTC().Format(http.TimeFormat), control, n)
	return append([]byte(head), body(n)...)
}

func (d *destination) accept(ln net.Listener, conf *tls.Config) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		d.conns.Add(1)
		if conf != nil {
			nc = tls.Server(nc, conf)
		}
		go d.serve(nc)
	}
}

func (d *destination) serve(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 8<<10)
	filled := 0
	for {
		n, err := c.Read(buf[filled:])
		if err != nil || filled+n == len(buf) {
			return
		}
		if filled += n; !bytes.HasSuffix(buf[:filled], []byte("\r\n\r\n")) {
			continue
		}
		_, path, _ := bytes.Cut(buf[:filled], []byte(" "))
		is := func(p string) bool { return bytes.HasPrefix(path, []byte(p)) }
		out := d.small
		switch {
		case is(pathBulk):
			out = d.bulk
		case is(pathKeptLarge):
			out = d.keptLarge
		case is(pathKept):
			out = d.kept
		}
		filled = 0
		d.requests.Add(1)
		if n, err = c.Write(out); err != nil {
			return
		}
		d.written.Add(uint64(n))
	}
}

// answerNames answers every question for an IPv4 address with 127.0.0.1, and has nothing else.
func answerNames(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
			continue
		}
		q := m.Questions[0]
		m.Header = dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true}
		m.Additionals, m.Authorities, m.Answers = nil, nil, nil
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 3600}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		}
		if out, err := m.Pack(); err == nil {
			_, _ = c.WriteTo(out, from)
		}
	}
}
