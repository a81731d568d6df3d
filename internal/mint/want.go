package mint

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Sign is who signs a leaf.
type Sign string

// Who signs.
const (
	Trusted   Sign = "trusted"   // the interception CA; the default
	Untrusted Sign = "untrusted" // an authority made here that nobody trusts: the client is to see that the destination is not verified
	Self      Sign = "self"      // the leaf itself
)

// Want is a leaf that somebody wants. At least one of Names, IPs and Mimic is there.
type Want struct {
	// What the client asked for: host names (lower case, wildcards allowed) and addresses. Without Mimic
	// they are what the leaf is for; with it, that one's names are, and these only have to be permitted.
	Names []string
	IPs   []netip.Addr

	Mimic *x509.Certificate // what the destination showed; nil if nothing is known of it
	Sign  Sign

	// Where they are not zero they take the place of the original's: of its validity (still no longer than
	// the CA's), and of its names, all of them.
	NotBefore, NotAfter time.Time
	CommonName          string

	KeyType string // "": the Options'
}

// key names everything that a leaf depends on besides its Authority.
type key [sha256.Size]byte

// key returns the leaf's name in caches. keyType is what keyType returned.
func (w *Want) key(kind string) key {
	var space [512]byte
	b := space[:0]
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(string(w.Sign))
	text(kind)
	text(w.CommonName)
	b = binary.BigEndian.AppendUint64(b, uint64(unix(w.NotBefore)))
	b = binary.BigEndian.AppendUint64(b, uint64(unix(w.NotAfter)))
	if w.Mimic != nil {
		sum := sha256.Sum256(w.Mimic.Raw)
		b = append(b, sum[:]...)
	}
	if w.Mimic == nil || !named(w.Mimic) || len(w.Mimic.DNSNames)+len(w.Mimic.IPAddresses) > maxNames {
		for _, n := range w.Names {
			text(n)
		}
		for _, ip := range w.IPs {
			text(string(ip.AsSlice()))
		}
	}
	return sha256.Sum256(b)
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// named reports whether a certificate has names that a leaf can take.
func named(c *x509.Certificate) bool {
	return len(c.DNSNames) > 0 || len(c.IPAddresses) > 0 || hostLike(c.Subject.CommonName)
}

// keyType returns which key the leaf gets: "rsa", "ecdsa" or "ecdsa384".
func (w *Want) keyType(standard string) string {
	kind := w.KeyType
	if kind == "" {
		kind = standard
	}
	if kind != KeyMimic {
		return kind
	}
	if w.Mimic == nil {
		return KeyECDSA
	}
	switch k := w.Mimic.PublicKey.(type) {
	case *rsa.PublicKey:
		return KeyRSA
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize > 256 {
			return keyECDSA384
		}
	}
	return KeyECDSA
}

// maxNames bounds the names of a leaf; some destinations have thousands, and each handshake carries them.
const maxNames = 250

// subjectNames are what a leaf is for.
type subjectNames struct {
	common string
	dns    []string
	ips    []net.IP
}

// names returns what the leaf is to be for, before constraints.
func (w *Want) names() subjectNames {
	var n subjectNames
	switch {
	case w.CommonName != "":
		n.common = w.CommonName
		n.add(w.CommonName)
	case w.Mimic != nil && named(w.Mimic):
		n.common = w.Mimic.Subject.CommonName
		for _, want := range w.Names { // whatever else is cut off, not this
			for _, d := range []string{want, "*." + parent(want)} {
				if slices.Contains(w.Mimic.DNSNames, d) {
					n.add(d)
				}
			}
		}
		for _, d := range w.Mimic.DNSNames {
			n.add(d)
		}
		for _, ip := range w.Mimic.IPAddresses {
			n.addIP(ip)
		}
		if len(n.dns)+len(n.ips) == 0 {
			n.add(w.Mimic.Subject.CommonName)
		}
	default:
		for _, d := range w.Names {
			n.add(d)
		}
		for _, ip := range w.IPs {
			n.addIP(ip.Unmap().AsSlice())
		}
	}
	if n.common == "" || len(n.common) > 64 {
		n.common = n.first()
	}
	return n
}

// first returns a name for the subject; "" if none is short enough for it (RFC 5280 appendix A.1).
func (n *subjectNames) first() string {
	for _, d := range n.dns {
		if len(d) <= 64 {
			return d
		}
	}
	if len(n.ips) > 0 {
		return n.ips[0].String()
	}
	return ""
}

// add takes a name in as what it is: an address, a host name, or nothing that a certificate can carry.
func (n *subjectNames) add(name string) {
	name = strings.TrimSuffix(name, ".")
	if ip := net.ParseIP(strings.Trim(name, "[]")); ip != nil {
		n.addIP(ip)
		return
	}
	if hostLike(name) && !slices.Contains(n.dns, name) && len(n.dns)+len(n.ips) < maxNames {
		n.dns = append(n.dns, name)
	}
}

func (n *subjectNames) addIP(ip net.IP) {
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	if (len(ip) == net.IPv4len || len(ip) == net.IPv6len) && !slices.ContainsFunc(n.ips, ip.Equal) && len(n.dns)+len(n.ips) < maxNames {
		n.ips = append(n.ips, ip)
	}
}

// hostLike reports whether a text can stand as dNSName: letters, digits, "-", "_", ".", and "*" as the first
// label.
func hostLike(s string) bool {
	if s == "" || len(s) > 253 || strings.Contains(s, "..") || s[0] == '.' {
		return false
	}
	rest := strings.TrimPrefix(s, "*.")
	for i := range len(rest) {
		c := rest[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return rest != ""
}
