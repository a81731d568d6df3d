//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The edge: a path that is open to clients with a certificate of one CA only, on a host whose other paths
// are open to all. The doors of such a deployment are ECDSA (no certificate is asked for), MTLS (the
// policy) and MTLSEnd (the policy, and with Deploy.List a revocation list of listed entries).

const (
	pathIn       = "/in/1k" // below a protected path; the upstream answers as for pathSmall; pathHead is protected, too
	listed       = 100_000  // entries of the revocation list
	certificates = 12_000   // of clients; enough that no target sees one twice in eleven rounds
	cardField    = "Client-Cert"
)

func edgeWorkloads() []workload {
	edge := deployment{Cores: 1, Log: true, Edge: true, List: true}
	without := edge
	without.List = false
	of := func(s loadSpec) loadSpec { s.Kind, s.Path = loadHandshakes, pathIn; return s }
	return []workload{
		{ID: "W9", Name: "resident memory with a policy, without list", Unit: "MB", Deploy: without, Once: true, run: resident},
		{ID: "W9", Name: "resident memory with a list of 100,000 entries", Unit: "MB", Deploy: edge, Once: true, run: resident},
		{ID: "W9", Name: "full TLS 1.3 handshake, a new client each time, list of 100,000", Unit: "µs/connection", Deploy: edge, run: cards(of(loadSpec{}), 5)},
		{ID: "W9", Name: "resumed TLS 1.3 handshake under the same policy and list", Unit: "µs/connection", Deploy: edge, run: cards(of(loadSpec{Resume: true}), 2)},
		{ID: "W9", Name: "resumed TLS 1.2 handshake under the same policy and list", Unit: "µs/connection", Deploy: edge, run: cards(of(loadSpec{Resume: true, TLS12: true}), 2)},
		{ID: "W9", Name: "403 without certificate, kept connections", Unit: "µs/request", Deploy: edge, run: kept(doorMTLS, pathIn, http.StatusForbidden, false)},
		{ID: "W9", Name: "admitted by certificate, kept connections", Unit: "µs/request", Deploy: edge, run: kept(doorMTLS, pathIn, http.StatusOK, true)},
		{ID: "W9", Name: "the same load without a policy", Unit: "µs/request", Deploy: edge, run: kept(doorECDSA, pathIn, http.StatusOK, false)},
	}
}

func doorMTLS(d doors) int { return d.MTLS }

// resident is the memory of a target that has served a few clients and then nothing.
func resident(b *bench, t *target) (sample, error) {
	if _, _, err := b.loaded(t, b.deal(t, loadSpec{Kind: loadHandshakes, Port: t.MTLSEnd, Conns: 8, Count: 200, Path: pathIn})); err != nil {
		return sample{}, err
	}
	time.Sleep(4 * time.Second)
	return sample{Value: float64(t.memory()) / 1e6}, nil
}

// deal gives a load certificates that t has not seen, as long as there are any.
func (b *bench) deal(t *target, s loadSpec) loadSpec {
	s.Cards, s.From = b.pki.Cards, b.dealt[t.name]
	b.dealt[t.name] += s.Count + 4*s.Conns
	return s
}

// cards makes connections of clients with certificates to the door with the list.
// The peers need milliseconds for a full handshake, so part divides how many there are.
func cards(s loadSpec, part int) func(*bench, *target) (sample, error) {
	return func(b *bench, t *target) (sample, error) {
		s := s
		s.Port, s.Conns, s.Count = t.MTLSEnd, 8, b.opt.handshakes/part
		got, res, err := b.loaded(t, b.deal(t, s))
		if err != nil {
			return got, err
		}
		if !s.Resume && res.Resumed > 0 {
			return got, fmt.Errorf("%s resumed %d sessions unasked", t.name, res.Resumed)
		}
		if s.Resume {
			got.Share = float64(res.Resumed) / float64(res.Count)
		}
		return got, nil
	}
}

// kept makes requests over 64 connections; with certificates each connection has one of its own.
func kept(door func(doors) int, path string, status int, certificates bool) func(*bench, *target) (sample, error) {
	return func(b *bench, t *target) (sample, error) {
		s := loadSpec{Kind: loadKeepAlive, Port: door(t.doors), Conns: 64, Count: b.opt.requests / 3, Path: path, Status: status}
		if certificates {
			s.Cards = b.pki.Cards
		}
		from, err := readCounts(b.upstream)
		if err != nil {
			return sample{}, err
		}
		got, _, err := b.loaded(t, s)
		if err != nil {
			return got, err
		}
		to, err := readCounts(b.upstream)
		got.Conns = to.Conns - from.Conns
		if n := to.Requests - from.Requests; err == nil && (status == http.StatusOK) != (n >= uint64(s.Count)) {
			err = fmt.Errorf("%s sent %d requests to the upstream for %d answers of status %d", t.name, n, s.Count, status)
		}
		return got, err
	}
}

// checkEdge proves that t keeps the path closed and its neighbours open, looks into the list, and tells
// the upstream of the certificate.
func (b *bench) checkEdge(t *target) error {
	if err := b.edgeAnswers(t); err != nil {
		return fmt.Errorf("%s does not do what is to be measured: %w\n%s", t.name, err, t.tail())
	}
	return nil
}

func (b *bench) edgeAnswers(t *target) error {
	good := func(port int) loadSpec { return loadSpec{Port: port, CA: b.pki.CA, Verify: true, Cards: b.pki.Cards} }
	bad := good(t.MTLSEnd)
	bad.Cards = b.pki.Revoked
	for _, c := range []struct {
		what string
		spec loadSpec
		path string
		want int // 0: anything but 200
	}{
		{"the door without policy", b.spec(t.ECDSA), pathIn, http.StatusOK},
		{"an open path", b.spec(t.MTLS), pathSmall, http.StatusOK},
		{"no certificate", b.spec(t.MTLS), pathIn, http.StatusForbidden},
		{"no certificate, with the list", b.spec(t.MTLSEnd), pathIn, http.StatusForbidden},
		{"a certificate", good(t.MTLS), pathIn, http.StatusOK},
		{"a certificate, with the list", good(t.MTLSEnd), pathIn, http.StatusOK},
		{"one of another CA", loadSpec{Port: t.MTLS, CA: b.pki.CA, Verify: true, Cards: b.pki.Stranger}, pathIn, 0},
		{"a revoked one, with the list", bad, pathIn, 0},
	} {
		if c.want == 0 && !b.current.Deploy.List && c.spec.Port == t.MTLSEnd {
			continue
		}
		status, _, err := status(c.spec, c.path)
		switch {
		case c.want == 0 && status == http.StatusOK:
			return fmt.Errorf("%s: it is let in", c.what)
		case c.want != 0 && err != nil:
			return fmt.Errorf("%s: %w", c.what, err)
		case c.want != 0 && status != c.want:
			return fmt.Errorf("%s: status %d, not %d", c.what, status, c.want)
		}
	}
	_, head, err := status(good(t.MTLS), pathHead)
	if err != nil {
		return err
	}
	if !bytes.Contains(head, []byte("\r\n"+cardField+": ")) && !bytes.Contains(head, []byte("\r\n"+strings.ToLower(cardField)+": ")) {
		return fmt.Errorf("the upstream is not told of the certificate: %q", head)
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return err
	}
	var names []string
	for n := range req.Header {
		names = append(names, n)
	}
	b.fieldNames(t.name+", edge", names)
	return nil
}

// status makes one request on a connection of its own, whatever the answer is.
func status(s loadSpec, path string) (int, []byte, error) {
	conf, err := clientTLS(s)
	if err != nil {
		return 0, nil, err
	}
	if s.Cards != "" {
		pairs, err := readCards(s.Cards, 0, 1)
		if err != nil {
			return 0, nil, err
		}
		conf.Certificates = pairs
	}
	c, err := dial(fmt.Sprintf("127.0.0.1:%d", s.Port), conf)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: bench\r\n\r\n", path, host, s.Port)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	if err == nil && resp.Close && resp.StatusCode == http.StatusForbidden && s.Cards == "" {
		err = errors.New("a refusal ends the connection")
	}
	return resp.StatusCode, body.Bytes(), err
}
