package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/hostname"
)

func overlap(a, b string) bool {
	p, err := hostname.Parse(a)
	if err != nil {
		return false
	}
	q, err := hostname.Parse(b)
	if err != nil {
		return false
	}
	_, ok := hostname.Intersect(p, q)
	return ok
}

func problemOf(err error) *admin.Problem {
	var p *admin.Problem
	if errors.As(err, &p) {
		return p
	}
	return nil
}

// probeListeners shakes hands with every host at each TLS version and shows what happened.
func probeListeners(ctx context.Context, s Streams, st *admin.Status, rows []floor) {
	address := map[string]string{}
	for _, l := range st.Listeners {
		for _, c := range l.Chains {
			if l.Code == 0 {
				address[c.Name] = l.Address
			}
		}
	}
	t := newTable(s.Out, "PROBE", "HOST", "TLS 1.0", "TLS 1.1", "TLS 1.2", "TLS 1.3")
	const most = 20
	for i, r := range rows {
		if i == most {
			t.row(fmt.Sprintf("(%d more)", len(rows)-most), " ", " ", " ", " ", " ")
			break
		}
		cells := []string{address[r.Listener], r.Host}
		for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
			cells = append(cells, probe(ctx, address[r.Listener], r.Host, v))
		}
		t.row(cells...)
	}
	t.flush()
}

// probe says "ok" or how the handshake was refused.
func probe(ctx context.Context, address, host string, version uint16) string {
	if address == "" {
		return "not serving"
	}
	name := host
	if suffix, wild := strings.CutPrefix(host, "*."); wild {
		name = "probe." + suffix
	} else if host == "*" {
		name = "probe.invalid"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	config := &tls.Config{ServerName: name, MinVersion: version, MaxVersion: version, InsecureSkipVerify: true} // #nosec G402 -- a probe of versions, not of trust
	asked := false                                                                                              // the server took this version and went on to ask for a client certificate
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return &tls.Certificate{}, nil
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		config.CipherSuites = append(config.CipherSuites, suite.ID)
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", reachable(address))
	if err == nil {
		conn.Close()
	}
	switch {
	case asked:
		return "ok (asks for a certificate)"
	case err == nil:
		return "ok"
	}
	switch text := err.Error(); {
	case strings.Contains(text, "protocol version"):
		return "refused (70)"
	case strings.Contains(text, "EOF"), strings.Contains(text, "reset"):
		return "closed"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	default:
		if _, alert, ok := strings.Cut(text, "remote error: tls: "); ok {
			return "refused (" + alert + ")"
		}
		return "failed"
	}
}

// reachable turns a wildcard bind address into one that can be dialled.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
