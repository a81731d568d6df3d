package telemetry

import (
	"crypto/tls"
	"slices"

	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// names holds the names of TLS parameters ready-made, because tlsname makes them anew. It is read-only
// after newNames.
type names struct {
	suites  map[uint16]string // IANA
	openSSL map[uint16]string
}

func newNames() *names {
	n := &names{suites: map[uint16]string{}, openSSL: map[uint16]string{}}
	for _, c := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		n.suites[c.ID], n.openSSL[c.ID] = tlsname.Suite(c.ID), tlsname.OpenSSL(c.ID)
	}
	return n
}

// version returns "1.3", or "" for 0.
func (n *names) version(v uint16) string {
	if v == 0 {
		return ""
	}
	return tlsname.Version(v)
}

// suite returns the IANA name, or "" for 0.
func (n *names) suite(id uint16) string {
	if s, ok := n.suites[id]; ok || id == 0 {
		return s
	}
	return tlsname.Suite(id)
}

// group returns "X25519", or "" for 0.
func (n *names) group(id uint16) string {
	if id == 0 {
		return ""
	}
	return tlsname.Group(tls.CurveID(id))
}
