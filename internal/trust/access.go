package trust

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// AccessPolicy makes the policy by which the certificates of an ir.AccessPolicy's clients are verified:
// chain, validity, use and revocation. Whom its rules let in is not this package's business. b is nil
// where the bundle is missing: then everybody is refused. online may be nil: then nothing is fetched.
// The error names a malformed entry of p.Revocation; nobody may be let in then.
func AccessPolicy(p *ir.AccessPolicy, b *ir.TrustBundle, online Online) (Policy, error) {
	out := Policy{Mode: ir.ClientAuthRequire, Online: online}
	out.take(b)
	if err := out.revocation(p.Revocation); err != nil {
		return Policy{}, err
	}
	return out, nil
}

// revocation takes what a policy says about revocation.
func (p *Policy) revocation(r ir.Revocation) error {
	if !r.Hard {
		p.CRLMode = CRLSoft
	}
	if r.NoCRL {
		p.CRLs = nil
	}
	serials := make([]string, len(r.Serials))
	for i, s := range r.Serials {
		serials[i] = normalSerial(s)
		if serials[i] == "" || strings.Trim(serials[i], "0123456789abcdef") != "" {
			return fmt.Errorf("revoked serial number %q is no hexadecimal number", s)
		}
	}
	pins, err := parsePins(r.SPKI, base64.StdEncoding.DecodeString)
	if err != nil {
		return fmt.Errorf("revoked key: %w", err)
	}
	r.Serials, r.SPKI = serials, encodePins(pins)
	p.Revocation = r
	return nil
}

func encodePins(pins [][sha256.Size]byte) []string {
	var out []string
	for _, pin := range pins {
		out = append(out, base64.StdEncoding.EncodeToString(pin[:]))
	}
	return out
}

// normalSerial writes a serial number as Facts.Serial has it.
func normalSerial(s string) string {
	s = strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), ":", ""))
	s = strings.TrimPrefix(s, "0x")
	if t := strings.TrimLeft(s, "0"); t != "" || s == "" {
		return t
	}
	return "0"
}
